//! Why the engine did not do what it was asked.

use std::io::ErrorKind;

use serde_path_to_error::{Path, Segment};
use stepseal_sandbox::LoadError;

use crate::store::{Identity, StoreError};

/// One thing wrong with what a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) of the place in the request body; empty for the whole.
    pub pointer: String,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
}

/// A path as a JSON Pointer (RFC 6901 §3).
pub(crate) fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let segment = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => token(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&segment);
    }
    pointer
}

/// A member's name as a token of a JSON Pointer.
pub(crate) fn token(member: &str) -> String {
    member.replace('~', "~0").replace('/', "~1")
}

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `task`, `component`, ...
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// It was there, and is erased.
    #[error("task {0} was erased; its receipt proves what is left of it")]
    Erased(String),
    /// What was sent is not right; every fault is listed.
    #[error("the request has {} fault(s)", .0.len())]
    Invalid(Vec<Fault>),
    /// A component was refused.
    #[error("{0}")]
    Component(LoadError),
    /// It clashes with what is there.
    #[error("{message}")]
    Conflict {
        /// For programs: `name-taken`, `already-decided`, `changed`, `key-reused`, `finished`, `expired`, `in-use`,
        /// `too-many-secrets`.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The database belongs to another log or was written with other keys.
    #[error("the database belongs to log {} with log key {} and record key {}, this host is {} with {} and {}: \
        use the keys the database was made with, or another data directory",
        found.origin, found.log_key.id(), found.record_key.id(), ours.origin, ours.log_key.id(), ours.record_key.id())]
    Foreign {
        /// What the database says.
        found: Box<Identity>,
        /// What this host has.
        ours: Box<Identity>,
    },
    /// The database is not what the log signed last.
    #[error(
        "the log {origin} has signed a head of {signed} records, and the database {found}: it is an older copy, such as a restored \
        backup. To go on from it would fork the log, and whoever saw the newer head could prove that. Put the newest copy of the database \
        back. Where that is lost, open a new log that continues this one: stepseal log open-shard --help"
    )]
    Behind {
        /// Name of the log.
        origin: String,
        /// Records in the head.
        signed: u64,
        /// What the database has instead.
        found: String,
    },
    /// Too much is going on.
    #[error("the host is busy, try again in {retry_after_s} s")]
    Busy {
        /// Seconds after which it is worth trying again.
        retry_after_s: u64,
    },
    /// Where components are kept cannot be reached now. The text is for the log, never for clients.
    #[error("{0}")]
    Unreachable(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect, or a broken disk. The text is for the log, never for clients.
    #[error("{0}")]
    Internal(String),
}

impl EngineError {
    /// What went wrong with the bytes of a component: where another machine has them, it may go right later.
    pub(super) fn from_content(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotConnected => Self::Unreachable(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl From<LoadError> for EngineError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Io(error) if error.kind() == ErrorKind::NotConnected => {
                Self::from_content(&error)
            }
            error => Self::Component(error),
        }
    }
}
