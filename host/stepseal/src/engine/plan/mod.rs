//! Plans: what a client submits, checked in one go, and what is pinned when the task is accepted.

pub(crate) mod check;
mod items;
mod refs;
mod retry;
mod submission;

pub(crate) use check::Pinned;
pub use check::{CheckedStep, PlanCheck, VerdictView};
pub(crate) use items::ITEMS_MAX;
pub(crate) use refs::{INPUT_DEPTH_MAX, Unresolved, resolve};
pub use retry::Retry;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::plan::item_id;
use stepseal_receipts::time::Timestamp;

use super::grants::LimitsDocument;

/// A submission as it came: the request body, parsed strictly but not yet checked.
///
/// `{"plan":{"steps":[{"id","uses","with","needs","retry":{"max_attempts","backoff_ms","backoff_max_ms","on"},"timeout_ms",
/// "limits":{...},"approval":"required","on_failure","not_before","if","for_each":{"in","max_items","side_by_side"}}],"timeout_ms","not_before"},"input":any,"agent":"...","labels":{...}}`
pub type Submission = serde_json::Value;

/// A plan whose every name is settled: what the task does, whatever is uploaded later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In the order the client gave.
    pub steps: Vec<PlannedStep>,
    /// Milliseconds from when it may begin until it must be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// No step begins before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// One step of a pinned plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// Unique in the plan.
    pub id: String,
    /// As the client wrote it.
    pub uses: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Version of the plugin.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// The exact component.
    pub component: Digest,
    /// The input, with `$ref`s.
    pub with: serde_json::Value,
    /// Ids of the steps it waits for, for data or not, in plan order.
    pub needs: Vec<String>,
    /// How often it is tried.
    pub retry: Retry,
    /// Limits lower than the granted ones.
    pub limits: LimitsDocument,
    /// The plan itself asks for a person.
    pub approval: bool,
    /// What becomes of the task where it fails for good, where the plan says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// It does not begin before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It is skipped where this is not met.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<serde_json::Value>,
    /// Its grants, when the task was accepted, let it touch the world.
    pub effects: bool,
    /// It runs once for each of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// Of which step it is an item. A plan has none when it is pinned: they come when it is known how many there are.
    #[serde(skip)]
    pub item: Option<ItemOf>,
}

/// What a step runs for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// An array, or a `$ref` to one.
    #[serde(rename = "in")]
    pub source: serde_json::Value,
    /// With more items than these the step fails.
    pub max_items: u32,
    /// How many items are begun and not over.
    pub side_by_side: u32,
}

/// One item of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOf {
    /// Place of the step in the plan.
    pub step: usize,
    /// From 0.
    pub number: u32,
}

/// What becomes of the task where a step fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The task fails.
    Fail,
    /// The other steps go on, but for those that need this one's output.
    Continue,
    /// A person is asked whether it is tried again.
    Pause,
}

impl OnFailure {
    /// Reads what a plan says of a step.
    fn read(
        value: Option<&serde_json::Value>,
        at: &str,
        faults: &mut submission::Faults,
    ) -> Option<Self> {
        let read = serde_json::from_value(value?.clone()).ok();
        if read.is_none() {
            faults.add(
                format!("{at}/on_failure"),
                "this must be \"fail\", \"continue\" or \"pause\"",
            );
        }
        read
    }
}

impl Plan {
    /// The steps as they were pinned, without items.
    pub fn pinned(&self) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(|step| step.item.is_none())
    }

    /// The place in the pinned plan of the step that `index` is, or is an item of.
    pub fn place(&self, index: usize) -> usize {
        self.steps[index].item.map_or(index, |item| item.step)
    }

    /// Adds `count` items of a step, and says where they are.
    pub(crate) fn add_items(&mut self, step: usize, count: u32) -> Range<usize> {
        let first = self.steps.len();
        for number in 0..count {
            let of = &self.steps[step];
            let item = PlannedStep {
                id: item_id(&of.id, number.into()),
                // That of the step, which is there once.
                with: serde_json::Value::Null,
                needs: Vec::new(),
                not_before: None,
                condition: None,
                for_each: None,
                item: Some(ItemOf { step, number }),
                uses: of.uses.clone(),
                plugin: of.plugin.clone(),
                version: of.version.clone(),
                step_type: of.step_type.clone(),
                retry: of.retry.clone(),
                ..*of
            };
            self.steps.push(item);
        }
        first..self.steps.len()
    }

    /// When a task's time is over that was accepted at `created`.
    pub fn deadline(&self, created: Timestamp) -> Option<Timestamp> {
        let begins = self.not_before.unwrap_or(created).max(created);
        let ends = begins.unix_ms().saturating_add(self.timeout_ms?);
        Timestamp::from_unix_ms(ends).ok()
    }
}
