//! What can still be said of a task whose envelopes were erased (format §5.5): the record of the erasure, an act of the host,
//! restates how each erased entry was linked, so that the chain goes on over it. What it said is gone.

use std::collections::{HashMap, HashSet};

use super::faults::{Faults, Place};
use super::{Erasing, Signed, act, chain};
use crate::digest::Digest;
use crate::leaf;
use crate::receipt::Receipt;
use crate::record::{ErasureScope, Kind, TaskLink};
use crate::trust::TrustFile;

/// An erased entry with the link that its erasure restates.
pub(super) struct Restated {
    pub(super) index: u64,
    pub(super) leaf_hash: Digest,
    pub(super) task: TaskLink,
    /// Index of the erasure's record.
    pub(super) erasure: u64,
    /// Where in that record the entry is.
    pub(super) member: String,
}

/// What each erasure restates, by its index and that of the entry, and where.
type Links = HashMap<u64, HashMap<u64, (TaskLink, String)>>;

/// The records of the task, and those of the erasures that the receipt's `erased` names. Any other act stays among the records,
/// where it is a fault.
pub(super) fn split<'a>(
    receipt: &Receipt,
    records: Vec<&'a Signed>,
) -> (Vec<&'a Signed>, Vec<&'a Signed>) {
    let named: HashSet<u64> = receipt.erased.iter().map(|erased| erased.erasure).collect();
    let erases =
        |signed: &&Signed| signed.record.kind == Kind::Erasure && named.contains(&signed.index);
    let (erasures, records) = records.into_iter().partition(erases);
    (records, erasures)
}

/// What the report says of the erasures.
pub(super) fn shown(erasures: &[&Signed]) -> Vec<Erasing> {
    let erasures = erasures.iter().filter_map(|signed| {
        let erasure = signed.record.erasure.as_ref()?;
        Some(Erasing {
            index: signed.index,
            basis: erasure.basis.clone(),
            entries: erasure.entries.len(),
        })
    });
    erasures.collect()
}

/// Checks the erasures and that each speaks of exactly the entries that name it. Gives the entries in the log's order.
pub(super) fn check(
    receipt: &Receipt,
    erasures: &[&Signed],
    trust: &TrustFile,
    faults: &mut Faults,
) -> Vec<Restated> {
    let named: HashSet<(u64, u64)> = receipt
        .erased
        .iter()
        .map(|erased| (erased.erasure, erased.index))
        .collect();
    let mut links = Links::new();
    // Erasures of which enough was said.
    let mut missing = HashSet::new();
    for signed in erasures {
        let own = signed.index;
        let mut place = Place::new(own, faults);
        chain::check_log(&signed.record, trust, &mut place);
        act::check(&signed.record, &mut place);
        let mut listed = HashMap::new();
        if let Some(erasure) = &signed.record.erasure {
            if erasure.scope != ErasureScope::Records {
                place.fault(
                    "erasure.scope",
                    "it erased payloads alone, and an erasure of records is expected here",
                );
                missing.insert(own);
                continue;
            }
            for (number, entry) in erasure.entries.iter().enumerate() {
                let member = format!("erasure.entries[{number}]");
                let index = entry.index;
                if !named.contains(&(own, index)) {
                    let message =
                        format!("the entry {index} was erased, and is expected among the erased");
                    place.fault(&member, message);
                }
                let link = TaskLink {
                    id: erasure.task.clone().unwrap_or_default(),
                    seq: entry.seq,
                    prev: entry.prev,
                };
                listed.insert(index, (link, member));
            }
        }
        if links.insert(own, listed).is_some() {
            place.fault("index", "the erasure is in the receipt twice");
        }
    }
    restate(receipt, links, missing, faults)
}

fn restate(
    receipt: &Receipt,
    mut links: Links,
    mut missing: HashSet<u64>,
    faults: &mut Faults,
) -> Vec<Restated> {
    let mut restated = Vec::with_capacity(receipt.erased.len());
    for (number, erased) in receipt.erased.iter().enumerate() {
        let (index, erasure) = (erased.index, erased.erasure);
        let mut fault = |message: String| {
            let member = format!("erased[{number}].erasure");
            Place::new(index, faults).fault(&member, message);
        };
        let Some(listed) = links.get_mut(&erasure) else {
            // Once for all that name it.
            if missing.insert(erasure) {
                fault(format!(
                    "the record of the erasure at index {erasure} is expected among the entries"
                ));
            }
            continue;
        };
        let Some((task, member)) = listed.remove(&index) else {
            fault(format!(
                "the erasure at index {erasure} does not speak of the entry {index}"
            ));
            continue;
        };
        restated.push(Restated {
            index,
            leaf_hash: leaf::leaf_hash(&erased.leaf),
            task,
            erasure,
            member,
        });
    }
    restated
}
