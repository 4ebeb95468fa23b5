//! Plans: what a client submits, checked in one go, and what is pinned when the task is accepted.

pub(crate) mod check;
mod refs;
mod submission;

pub(crate) use check::Pinned;
pub use check::{CheckedStep, PlanCheck, VerdictView};
pub(crate) use refs::{INPUT_DEPTH_MAX, Unresolved, resolve};

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use super::grants::LimitsDocument;

/// A submission as it came: the request body, parsed strictly but not yet checked.
///
/// `{"plan":{"steps":[{"id","uses","with","needs","retry":{"max_attempts","backoff_ms"},"limits":{...},"timeout_ms",
/// "approval":"required"}],"timeout_ms"},"input":any,"agent":"...","labels":{...}}`
pub type Submission = serde_json::Value;

/// A plan whose every name is settled: what the task does, whatever is uploaded later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In the order the client gave.
    pub steps: Vec<PlannedStep>,
    /// Milliseconds from when it was accepted until it must be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Plan {
    /// When the time of a task is over that was accepted at `created`.
    pub fn deadline(&self, created: Timestamp) -> Option<Timestamp> {
        let ends = created.unix_ms().saturating_add(self.timeout_ms?);
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
    /// What happens when it is `unavailable`.
    pub retry: Retry,
    /// Limits lower than the granted ones.
    pub limits: LimitsDocument,
    /// The plan itself asks for a person.
    pub approval: bool,
    /// Its grants, when the task was accepted, let it touch the world.
    pub effects: bool,
}

/// How often and when an `unavailable` step is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// All attempts, the first included.
    pub max_attempts: u32,
    /// Milliseconds before the second attempt; twice as long before each further one.
    pub backoff_ms: u64,
}

/// The longest wait between two attempts, in milliseconds.
const BACKOFF_MS_MAX: u64 = 3_600_000;

impl Retry {
    /// One attempt only.
    pub const NEVER: Self = Self {
        max_attempts: 1,
        backoff_ms: 0,
    };

    /// Milliseconds to wait after `attempt` failed.
    pub fn wait_ms(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(32);
        self.backoff_ms
            .saturating_mul(1 << doublings)
            .min(BACKOFF_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_an_hour() {
        let retry = Retry {
            max_attempts: 99,
            backoff_ms: 500,
        };
        assert_eq!(
            (1..=3).map(|n| retry.wait_ms(n)).collect::<Vec<_>>(),
            [500, 1000, 2000]
        );
        assert_eq!(retry.wait_ms(99), BACKOFF_MS_MAX);
    }
}
