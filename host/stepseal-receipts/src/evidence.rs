//! Proof that a log misbehaved, for whoever knows its key: two heads it signed that no honest log signs both.
//!
//! Of one size with different roots they speak for themselves. Of different sizes they need the hashes that show which older
//! tree the newer root holds. A smaller head after a larger one proves nothing to others: anybody can show an old head again.

use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::digest::Digest;
use crate::json::{self, JsonError};
use crate::note::{NOTE_BYTES_MAX, VerifierKey};
use crate::receipt::{hashes, hashes_value};
use crate::record::members::{At, MemberError, Members};
use crate::tree;

/// Largest file of evidence, in bytes: two notes, with room for JSON's escapes, and a proof.
pub const EVIDENCE_BYTES_MAX: usize = 4 * NOTE_BYTES_MAX;

/// What a log did that no honest log does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// It shows a smaller tree than before. Only who saw both in this order knows it.
    #[error("the log was rewound: it signed {before} entries before, and {now} now")]
    Rewound {
        /// Leaves it had.
        before: u64,
        /// Leaves it says it has.
        now: u64,
    },
    /// Two trees of one size.
    #[error(
        "the log shows different people different trees: it signed two heads of {size} entries with different roots"
    )]
    Split {
        /// Leaves of both.
        size: u64,
    },
    /// A larger tree that does not hold the smaller one.
    #[error(
        "the log was rewritten: its {now} entries do not continue the {before} that it signed before"
    )]
    Rewritten {
        /// Leaves of the smaller tree.
        before: u64,
        /// Leaves of the larger tree.
        now: u64,
    },
}

/// Two signed heads of one log, and what shows that they contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The head that was there before, a signed note.
    pub before: String,
    /// The head that came later, a signed note.
    pub now: String,
    /// Of two sizes: the RFC 6962 consistency proof as of the larger tree, with the root of its first leaves in front where
    /// the smaller size is a power of two. Empty where there is none to show.
    pub proof: Vec<Digest>,
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Not JSON, or too large.
    #[error("the evidence is not JSON that can be read: {0}")]
    Json(#[from] JsonError),
    /// A member is absent, malformed or unknown.
    #[error("the evidence's {0}")]
    Member(#[from] MemberError),
    /// A head that is not this log's.
    #[error("the head {member:?} is not signed by the log: {error}")]
    Head {
        /// Which.
        member: &'static str,
        /// What is wrong with it.
        error: CheckpointError,
    },
    /// Heads of two logs.
    #[error("the heads are of two logs, {before} and {now}")]
    TwoLogs {
        /// Origin of the first.
        before: String,
        /// Origin of the second.
        now: String,
    },
    /// An honest log could have signed both.
    #[error(
        "the log signed both heads, but nothing here shows that they contradict each other: they are of {before} and {now} \
         entries, and the proof does not lead from the larger tree's root to another root of the smaller one"
    )]
    Nothing {
        /// Leaves of the first.
        before: u64,
        /// Leaves of the second.
        now: u64,
    },
}

impl Evidence {
    /// What this proves about the log of these keys, to anybody.
    pub fn proves(&self, known: &[VerifierKey]) -> Result<Misbehaviour, EvidenceError> {
        let open = |member, note| {
            Checkpoint::open(note, known).map_err(|error| EvidenceError::Head { member, error })
        };
        let (before, now) = (open("before", &self.before)?, open("now", &self.now)?);
        if before.origin != now.origin {
            return Err(EvidenceError::TwoLogs {
                before: before.origin,
                now: now.origin,
            });
        }
        let (small, large) = if before.size <= now.size {
            (&before, &now)
        } else {
            (&now, &before)
        };
        if small.size == large.size && small.root != large.root {
            return Ok(Misbehaviour::Split { size: small.size });
        }
        if tree::contradicts(
            small.size,
            &small.root,
            large.size,
            &large.root,
            &self.proof,
        ) {
            return Ok(Misbehaviour::Rewritten {
                before: small.size,
                now: large.size,
            });
        }
        Err(EvidenceError::Nothing {
            before: before.size,
            now: now.size,
        })
    }

    /// Reads a file of evidence. What it says in words is not believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let limits = json::Limits {
            bytes_max: EVIDENCE_BYTES_MAX,
            depth_max: 4,
        };
        let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &limits)?)?;
        members.need_text("misbehaviour")?;
        let evidence = Self {
            before: members.need_text("before")?,
            now: members.need_text("now")?,
            proof: hashes(&mut members)?,
        };
        members.finish_known()?;
        Ok(evidence)
    }

    /// The file's text, one that [`Evidence::parse`] reads. `misbehaviour` says in words what was seen.
    pub fn to_json(&self, misbehaviour: &Misbehaviour) -> Vec<u8> {
        let mut members = Map::new();
        let mut insert = |name: &str, value: Value| members.insert(name.to_owned(), value);
        insert("misbehaviour", misbehaviour.to_string().into());
        insert("before", self.before.as_str().into());
        insert("now", self.now.as_str().into());
        if !self.proof.is_empty() {
            insert("proof", hashes_value(&self.proof));
        }
        json::canonical(&Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
