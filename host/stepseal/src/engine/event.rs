//! What happens to a task, as stored and as streamed.
//!
//! A task in memory is its plan and input with its events folded in ([`super::task::Task::apply`]); so is a task that was
//! loaded from the database. Events hold digests and decisions, never payloads, so that erasing a blob erases everything.

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::Status;
use stepseal_receipts::time::Timestamp;

use super::payload::StoredPayload;
use super::verdict::{Judgement, WhyAgain};

/// One thing that happened to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Event {
    /// The task is stored; `judgements` are what policies of stage `plan` said.
    #[serde(rename = "task.accepted")]
    TaskAccepted {
        /// One for each policy asked.
        judgements: Vec<Judgement>,
    },
    /// A host took the task up.
    #[serde(rename = "task.started")]
    TaskStarted {},
    /// Nothing can go on until a person decides or a time comes.
    #[serde(rename = "task.waiting")]
    TaskWaiting {},
    /// What the task waited for has come.
    #[serde(rename = "task.resumed")]
    TaskResumed {},
    /// Every step succeeded.
    #[serde(rename = "task.succeeded")]
    TaskSucceeded {},
    /// A step failed for good.
    #[serde(rename = "task.failed")]
    TaskFailed {
        /// Which and why.
        reason: String,
    },
    /// A policy or a person said no.
    #[serde(rename = "task.denied")]
    TaskDenied {
        /// Who and why.
        reason: String,
    },
    /// The client took it back.
    #[serde(rename = "task.cancelled")]
    TaskCancelled {},
    /// The policies have spoken about an attempt.
    #[serde(rename = "step.judged")]
    StepJudged {
        /// The step's id in the plan.
        step: String,
        /// 1 for the first try.
        attempt: u32,
        /// One for each policy asked, at stage `before-step`.
        judgements: Vec<Judgement>,
        /// The input they were asked about.
        input: StoredPayload,
        /// Digest of the grants in force.
        grants: Digest,
        /// Digest of the set of policies in force.
        policies: Digest,
    },
    /// A person is asked.
    #[serde(rename = "step.waiting")]
    StepWaiting {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// The approval.
        approval: String,
    },
    /// Nothing stands in the way.
    #[serde(rename = "step.authorized")]
    StepAuthorized {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
    },
    /// Handed to the sandbox.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
    },
    /// What the guest logged.
    #[serde(rename = "step.logged")]
    StepLogged {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// In order.
        lines: Vec<LogLine>,
        /// How many more there were than the limit keeps.
        dropped: u64,
    },
    /// The sandbox gave an output.
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// The output.
        output: StoredPayload,
        /// Fuel it took.
        fuel: u64,
    },
    /// An attempt failed.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// The record's `outcome.status`.
        status: Status,
        /// For programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Fuel it took, where it ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fuel: Option<u64>,
    },
    /// There is to be another attempt.
    #[serde(rename = "step.retrying")]
    StepRetrying {
        /// The step's id in the plan.
        step: String,
        /// The attempt that failed.
        attempt: u32,
        /// When the next one may begin. Not `at`, which is when an event happened.
        not_before: Timestamp,
        /// Why a person is asked for it, where the plan does not allow it by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asks: Option<WhyAgain>,
    },
    /// What the approval was bound to changed, and the step is judged again; or the task's time is over.
    #[serde(rename = "step.voided")]
    StepVoided {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// What changed.
        reason: String,
    },
    /// A policy or a person said no.
    #[serde(rename = "step.denied")]
    StepDenied {
        /// The step's id in the plan.
        step: String,
        /// Which attempt.
        attempt: u32,
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// A step it needs did not succeed.
    #[serde(rename = "step.skipped")]
    StepSkipped {
        /// The step's id in the plan.
        step: String,
    },
    /// The task was cancelled first.
    #[serde(rename = "step.cancelled")]
    StepCancelled {
        /// The step's id in the plan.
        step: String,
    },
}

impl Event {
    /// The name of the event in the stream.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TaskAccepted { .. } => "task.accepted",
            Self::TaskStarted {} => "task.started",
            Self::TaskWaiting {} => "task.waiting",
            Self::TaskResumed {} => "task.resumed",
            Self::TaskSucceeded {} => "task.succeeded",
            Self::TaskFailed { .. } => "task.failed",
            Self::TaskDenied { .. } => "task.denied",
            Self::TaskCancelled {} => "task.cancelled",
            Self::StepJudged { .. } => "step.judged",
            Self::StepWaiting { .. } => "step.waiting",
            Self::StepAuthorized { .. } => "step.authorized",
            Self::StepStarted { .. } => "step.started",
            Self::StepLogged { .. } => "step.logged",
            Self::StepSucceeded { .. } => "step.succeeded",
            Self::StepFailed { .. } => "step.failed",
            Self::StepRetrying { .. } => "step.retrying",
            Self::StepVoided { .. } => "step.voided",
            Self::StepDenied { .. } => "step.denied",
            Self::StepSkipped { .. } => "step.skipped",
            Self::StepCancelled { .. } => "step.cancelled",
        }
    }
}

/// A line a guest logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// `trace` to `critical`.
    pub level: String,
    /// What the guest gave to group its lines.
    pub context: String,
    /// The text.
    pub message: String,
}
