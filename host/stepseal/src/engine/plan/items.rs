//! `for_each`: what a step runs for, once for each item.

use serde_json::Value;
use stepseal_receipts::plan::{Listed, Root, Source, listed};

use super::ForEach;
use super::refs::references;
use super::submission::Faults;
use crate::engine::runner::SIDE_BY_SIDE_MAX;

/// Items of all steps of a task together: each has an output in memory and records of its own.
pub(crate) const ITEMS_MAX: u32 = 256;

impl ForEach {
    /// Reads what a plan says. Steps that it points at are added to `needs`.
    pub(super) fn read(
        value: Option<&Value>,
        at: &str,
        needs: &mut Vec<String>,
        faults: &mut Faults,
    ) -> Option<Self> {
        let object = faults.object(value?, at)?;
        faults.unknown(object, at, &["in", "max_items", "side_by_side"]);
        let most = u64::from(ITEMS_MAX);
        let max_items = format!("{at}/max_items");
        let max_items = faults.whole(object.get("max_items"), &max_items, most, 1, most);
        let most = SIDE_BY_SIDE_MAX as u64;
        let beside = format!("{at}/side_by_side");
        let beside = faults.whole(object.get("side_by_side"), &beside, most, 1, most);
        let read = Self {
            source: object.get("in").cloned().unwrap_or_default(),
            max_items: u32::try_from(max_items).unwrap_or(ITEMS_MAX),
            side_by_side: u32::try_from(beside).unwrap_or(1),
        };
        read.check(&format!("{at}/in"), needs, faults);
        Some(read)
    }

    fn check(&self, at: &str, needs: &mut Vec<String>, faults: &mut Faults) {
        let is_list = self.source.is_array();
        for (place, reference) in references(&self.source, at) {
            match reference {
                Err(error) => faults.add(place, error),
                Ok(_) if is_list => faults.add(
                    place,
                    "an array of items has no $ref; the step's \"with\" may",
                ),
                Ok(reference) => match reference.root {
                    Root::Input => {}
                    Root::Output(step) => needs.push(step),
                    Root::Item => faults.add(place, "there is no item before \"in\" says which"),
                },
            }
        }
        // What it points at is looked at when it is there.
        let told = listed(&self.source, &|_| Source::Hidden);
        match told {
            Listed::Not(error) => faults.add(at, error),
            Listed::Are(items) => {
                if let Some(error) = self.too_many(items.len()) {
                    faults.add(at, error);
                }
            }
            Listed::Unknown => {}
        }
    }

    /// What is wrong with so many items.
    pub(crate) fn too_many(&self, count: usize) -> Option<String> {
        (count > self.max_items as usize).then(|| {
            format!(
                "there are {count} items, and \"max_items\" is {}: list fewer, or split them over several tasks",
                self.max_items
            )
        })
    }
}
