//! The life of a task and of a step, each as one `match`.
//!
//! The engine, its recovery after a crash and the verifier of receipts all go through [`TaskState::next`] and
//! [`StepState::next`], so what the host may do and what a receipt may claim is the same text.

use serde::{Deserialize, Serialize};

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Accepted; nothing has run.
    Queued,
    /// At least one step has been looked at.
    Running,
    /// Nothing can go on until a person decides or a time comes.
    Waiting,
    /// Every step succeeded.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// A policy or a person said no.
    Denied,
    /// The client took it back.
    Cancelled,
}

/// What happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskEvent {
    /// A host took the task up.
    Start,
    /// Every step that could go on waits for a person or for a time.
    Wait,
    /// What the task waited for has come.
    Resume,
    /// The last step succeeded.
    Succeed,
    /// A step failed for good.
    Fail,
    /// A step, or the whole plan, was denied.
    Deny,
    /// The client cancelled it.
    Cancel,
}

impl TaskState {
    /// The state after `event`, or why there is none.
    pub fn next(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        use TaskEvent as E;
        use TaskState as S;
        Ok(match (self, event) {
            (S::Queued, E::Start) | (S::Waiting, E::Resume) => S::Running,
            (S::Running, E::Wait) => S::Waiting,
            (S::Running, E::Succeed) => S::Succeeded,
            (S::Running, E::Fail) => S::Failed,
            (S::Queued | S::Running, E::Deny) => S::Denied,
            (S::Queued | S::Running | S::Waiting, E::Cancel) => S::Cancelled,
            (state, event) => {
                return Err(IllegalTransition::new(
                    "task",
                    state.as_str(),
                    event.as_verb(),
                ));
            }
        })
    }

    /// Whether nothing can happen to the task any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Denied | Self::Cancelled
        )
    }

    /// The name used in the API and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Not looked at yet, or about to be tried again.
    Pending,
    /// The policies have spoken about this attempt.
    Judged,
    /// A person must decide.
    Waiting,
    /// May run.
    Authorized,
    /// In the sandbox.
    Running,
    /// Gave an output.
    Succeeded,
    /// The attempt failed. Final unless the plan allows another attempt.
    Failed,
    /// A policy or a person said no.
    Denied,
    /// Not needed any more, since a step it needs did not succeed.
    Skipped,
    /// The task was cancelled before the step ended.
    Cancelled,
}

/// What happens to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepEvent {
    /// The policies were asked about this attempt.
    Judge,
    /// A person is asked.
    AskApproval,
    /// Nothing stands in the way: policies allowed it, or the people asked approved it.
    Authorize,
    /// Handed to the sandbox.
    Start,
    /// The sandbox gave an output.
    Succeed,
    /// The attempt failed.
    Fail,
    /// The plan allows another attempt.
    Retry,
    /// A policy or a person said no, before or after it ran.
    Deny,
    /// A step it needs did not succeed.
    Skip,
    /// The task was cancelled.
    Cancel,
    /// The approval expired or what it was bound to changed: judge again.
    Void,
}

impl StepState {
    /// The state after `event`, or why there is none.
    pub fn next(self, event: StepEvent) -> Result<Self, IllegalTransition> {
        use StepEvent as E;
        use StepState as S;
        Ok(match (self, event) {
            (S::Pending, E::Judge) => S::Judged,
            (S::Judged, E::AskApproval) => S::Waiting,
            (S::Judged | S::Waiting, E::Authorize) => S::Authorized,
            (S::Judged | S::Waiting | S::Running, E::Deny) => S::Denied,
            (S::Waiting, E::Void) | (S::Failed, E::Retry) => S::Pending,
            (S::Authorized, E::Start) => S::Running,
            (S::Running, E::Succeed) => S::Succeeded,
            // An attempt may fail before it runs, where its input cannot be made or does not fit.
            (S::Pending | S::Judged | S::Authorized | S::Running, E::Fail) => S::Failed,
            (S::Pending, E::Skip) => S::Skipped,
            (
                S::Pending | S::Judged | S::Waiting | S::Authorized | S::Running | S::Failed,
                E::Cancel,
            ) => S::Cancelled,
            (state, event) => {
                return Err(IllegalTransition::new(
                    "step",
                    state.as_str(),
                    event.as_verb(),
                ));
            }
        })
    }

    /// Whether the step is over, as long as a failed one is not tried again.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Denied | Self::Skipped | Self::Cancelled
        )
    }

    /// The name used in the API and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Judged => "judged",
            Self::Waiting => "waiting",
            Self::Authorized => "authorized",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl TaskEvent {
    /// What a task does, as a sentence says it.
    fn as_verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Wait => "wait",
            Self::Resume => "go on",
            Self::Succeed => "succeed",
            Self::Fail => "fail",
            Self::Deny => "be denied",
            Self::Cancel => "be cancelled",
        }
    }
}

impl StepEvent {
    /// What a step does, as a sentence says it.
    fn as_verb(self) -> &'static str {
        match self {
            Self::Judge => "be judged",
            Self::AskApproval => "wait for an approval",
            Self::Authorize => "be authorized",
            Self::Start => "start",
            Self::Succeed => "succeed",
            Self::Fail => "fail",
            Self::Retry => "be tried again",
            Self::Deny => "be denied",
            Self::Skip => "be skipped",
            Self::Cancel => "be cancelled",
            Self::Void => "lose its approval",
        }
    }
}

/// An event that cannot happen in a state: a defect of the host, or a forged receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {machine} that is {state} cannot {event}")]
pub struct IllegalTransition {
    machine: &'static str,
    state: &'static str,
    event: &'static str,
}

impl IllegalTransition {
    fn new(machine: &'static str, state: &'static str, event: &'static str) -> Self {
        Self {
            machine,
            state,
            event,
        }
    }
}

#[cfg(test)]
mod tests;
