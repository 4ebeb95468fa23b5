//! One call of a guest, and every way it can end.

use std::sync::Arc;
use std::time::Duration;

use stepseal_receipts::record::Status;
use stepseal_receipts::time::Timestamp;

use crate::access::Access;
use crate::cancel::Cancel;
use crate::descriptor::Stage;
use crate::http::HttpUse;
use crate::keyvalue::KeyValueChanges;
use crate::limits::Limits;
use crate::transcript::Transcript;

/// What a plugin's `run` is given.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The task the step belongs to.
    pub task_id: String,
    /// The step's id in the plan.
    pub step_id: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// One of the plugin's step types.
    pub step_type: String,
    /// Canonical JSON (RFC 8785).
    pub input: String,
    /// The same on every attempt of a step.
    pub idempotency_key: String,
}

/// One attempt of one step.
#[derive(Clone, Debug)]
pub struct StepCall {
    /// What the guest is given.
    pub invocation: Invocation,
    /// What it may use.
    pub limits: Limits,
    /// What its randomness starts from.
    pub seed: [u8; 32],
    /// What its clocks start from.
    pub start: Timestamp,
    /// What it may use besides.
    pub access: Access,
    /// For whom it runs, where that is one of several who share the host.
    pub tenant: Option<Arc<str>>,
    /// Stops it.
    pub cancel: Cancel,
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// How it ended.
    pub outcome: Outcome,
    /// Fuel used, host calls included. The limit if it ran out.
    pub fuel_used: u64,
    /// Most bytes that memories and tables had together.
    pub memory_peak_bytes: u64,
    /// How far the guest's own clock moved.
    pub virtual_elapsed: Duration,
    /// What it logged or wrote to stdout and stderr, in order.
    pub logs: Vec<LogLine>,
    /// Log lines that did not fit.
    pub logs_dropped: u64,
    /// What it asked of the host, and what it was told.
    pub transcript: Transcript,
    /// What it read and what it wants to write.
    pub changes: KeyValueChanges,
    /// The requests it made.
    pub http: HttpUse,
}

/// One line a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How serious.
    pub level: LogLevel,
    /// The guest's grouping; `stdout` and `stderr` for what it printed.
    pub context: String,
    /// The text, cut at 16 KiB.
    pub message: String,
}

/// The levels of `wasi:logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Values and control flow.
    Trace,
    /// For who debugs the guest.
    Debug,
    /// For who watches the guest; what goes to stdout.
    Info,
    /// Something hazardous; what goes to stderr.
    Warn,
    /// A serious error.
    Error,
    /// A fatal error.
    Critical,
}

impl LogLevel {
    /// Its name in `wasi:logging`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Every way an attempt can end. Texts are cut at 1024 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest answered.
    Ok {
        /// Canonical JSON (RFC 8785).
        output: Vec<u8>,
    },
    /// The guest says the input is at fault, or it is larger than the limit.
    InvalidInput(String),
    /// The guest says the step is at fault.
    Failed(String),
    /// The guest asks for another try, or the host could not read its buckets.
    Unavailable(String),
    /// The host had no place to run it in time; nothing ran.
    Busy(String),
    /// The guest broke down, or broke the rules of the component model.
    Trap(String),
    /// It used all its fuel.
    OutOfFuel,
    /// It wanted more memory than it may have, and could not go on without.
    OutOfMemory(String),
    /// It took longer than the wall limit.
    Timeout,
    /// It was cancelled.
    Cancelled,
    /// It answered, but not with JSON that the format allows, or with too much of it.
    BadOutput(String),
    /// What it gave away has a secret in it that was injected for it; nothing of it is kept.
    SecretLeak(String),
}

impl Outcome {
    /// The status that goes into the record.
    pub fn status(&self) -> Status {
        match self {
            Self::Ok { .. } => Status::Ok,
            Self::InvalidInput(_) => Status::InvalidInput,
            Self::Failed(_) | Self::BadOutput(_) | Self::SecretLeak(_) => Status::Failed,
            Self::Unavailable(_) | Self::Busy(_) => Status::Unavailable,
            Self::Trap(_) => Status::Trap,
            Self::OutOfFuel => Status::OutOfFuel,
            Self::OutOfMemory(_) => Status::OutOfMemory,
            Self::Timeout => Status::Timeout,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// What the status alone does not say, for programs.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Busy(_) => Some("busy"),
            Self::BadOutput(_) => Some("bad-output"),
            Self::SecretLeak(_) => Some("secret-leak"),
            _ => None,
        }
    }

    /// The text that goes into the record.
    pub(crate) fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::InvalidInput(text)
            | Self::Failed(text)
            | Self::Unavailable(text)
            | Self::Busy(text)
            | Self::Trap(text)
            | Self::OutOfMemory(text)
            | Self::BadOutput(text)
            | Self::SecretLeak(text) => Some(text),
            Self::Ok { .. } | Self::OutOfFuel | Self::Timeout | Self::Cancelled => None,
        }
    }

    /// What happened, for people.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::InvalidInput(text)
            | Self::Failed(text)
            | Self::Unavailable(text)
            | Self::Busy(text)
            | Self::Trap(text)
            | Self::OutOfMemory(text)
            | Self::BadOutput(text)
            | Self::SecretLeak(text) => Some(text.clone()),
            Self::Ok { .. } | Self::OutOfFuel | Self::Timeout | Self::Cancelled => None,
        }
    }
}

/// One question to a policy.
#[derive(Clone, Debug)]
pub struct PolicyCall {
    /// When it is asked.
    pub stage: Stage,
    /// The operator's settings, JSON.
    pub settings: String,
    /// The policy input, JSON.
    pub input: String,
    /// What it may use.
    pub limits: Limits,
    /// What its randomness starts from.
    pub seed: [u8; 32],
    /// What its clocks start from.
    pub start: Timestamp,
}

/// How a policy answered.
#[derive(Clone, Debug)]
pub struct PolicyRun {
    /// What it says, or why it could not judge: that is a deny.
    pub verdict: Result<Verdict, String>,
    /// The host had no room to ask it; `verdict` says nothing about the policy, and it can be asked again.
    pub busy: bool,
    /// Fuel used, host calls included.
    pub fuel_used: u64,
    /// Most bytes that memories and tables had together.
    pub memory_peak_bytes: u64,
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing about this.
    NotApplicable,
    /// It may run.
    Allow,
    /// People must approve it.
    NeedsApproval(Approval),
    /// It must not run.
    Deny(Reason),
}

/// What people must approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Why.
    pub reason: Reason,
    /// The role an approver must hold; `None` means any approver.
    pub role: Option<String>,
    /// How many different approvers, 1 to 16.
    pub approvers: u32,
}

/// Why a policy says what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// For programs: `[a-z][a-z0-9-]*`, at most 64 bytes.
    pub code: String,
    /// For people, at most 1024 bytes.
    pub message: String,
}
