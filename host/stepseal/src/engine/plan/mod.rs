//! Plans: what a client submits, checked in one go, and what is pinned when the task is accepted.

pub(crate) mod check;
mod refs;
mod retry;
mod submission;

pub(crate) use check::Pinned;
pub use check::{CheckedStep, PlanCheck, VerdictView};
pub(crate) use refs::{INPUT_DEPTH_MAX, Unresolved, resolve};
pub(crate) use retry::BACKOFF_MS_MAX;
pub use retry::Retry;

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use super::grants::LimitsDocument;

/// A submission as it came: the request body, parsed strictly but not yet checked.
///
/// `{"plan":{"steps":[{"id","uses","with","needs","retry":{"max_attempts","backoff_ms","backoff_factor","backoff_max_ms","on"},
/// "limits":{...},"timeout_ms","approval":"required","on_failure","not_before"}],"timeout_ms","not_before"},"input":any,"agent":"...","labels":{...}}`
pub type Submission = serde_json::Value;

/// A plan whose every name is settled: what the task does, whatever is uploaded later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In the order the client gave.
    pub steps: Vec<PlannedStep>,
    /// Milliseconds from when it was accepted, or from `not_before`, until it must be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// No step begins before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Plan {
    /// When the time of a task is over that was accepted at `created`.
    pub fn deadline(&self, created: Timestamp) -> Option<Timestamp> {
        let begins = self.not_before.unwrap_or(created).max(created);
        let ends = begins.unix_ms().saturating_add(self.timeout_ms?);
        Timestamp::from_unix_ms(ends).ok()
    }
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
    /// How often it is tried, and after what.
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
    /// Its grants, when the task was accepted, let it touch the world.
    pub effects: bool,
}

/// What becomes of the task where a step fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The task fails.
    Fail,
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
                "this must be \"fail\" or \"pause\"",
            );
        }
        read
    }
}
