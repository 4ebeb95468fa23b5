//! Receipts in the formats of other tools, and back (format §4, "Other forms").
//!
//! A C2SP tlog-proof ([`tlog_proof`]) and a Sigstore bundle ([`sigstore`]) prove one record each, and carry all of it: envelope,
//! index, audit path and checkpoint. [`read`] takes either, and [`gather`] makes a receipt of them again. What they have no
//! room for are the receipt's other lists: disclosures, approvals and consistency proofs. DSSE lines ([`dsse_lines`]) are
//! envelopes only, and no receipt can be made of them.

use crate::dsse::Envelope;
use crate::json::{self, JsonError};
use crate::receipt::{Entry, Receipt};
use crate::record::members::{At, MemberError, Members};

pub mod dsse_lines;
pub mod sigstore;
pub mod tlog_proof;

/// Most bytes of a file that [`read`] looks at: more than the largest record and the largest checkpoint take in either format.
pub const FILE_BYTES_MAX: usize = 512 * 1024;

/// Deepest nesting of the JSON that is read here.
const DEPTH_MAX: usize = 8;

/// The limits of the JSON that is read here.
const LIMITS: json::Limits = json::Limits {
    bytes_max: FILE_BYTES_MAX,
    depth_max: DEPTH_MAX,
};

/// One record with its proof, as a file of another format carries it. None of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The head of the log that the proof leads to, a signed note.
    pub checkpoint: String,
    /// The record and its proof.
    pub entry: Entry,
}

/// Why a file is not one that [`read`] takes.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Too long to be looked at.
    #[error("a tlog-proof or a bundle has at most {FILE_BYTES_MAX} bytes, this file has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Envelopes without proofs.
    #[error(
        "these are DSSE envelopes; they say nothing of a log, so no receipt can be made of them: ask the host for it"
    )]
    OnlyEnvelopes,
    /// A line of a tlog-proof is not what it must be.
    #[error("line {line} of the tlog-proof must be {expected}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it should have been.
        expected: &'static str,
    },
    /// A tlog-proof without the envelope: some other tool's.
    #[error("the tlog-proof's `extra` is not a DSSE envelope: {0}")]
    Extra(EnvelopeError),
    /// Neither a tlog-proof nor JSON.
    #[error("this is neither a tlog-proof nor the JSON of a Sigstore bundle: {0}")]
    Json(#[from] JsonError),
    /// A member of a bundle is absent, malformed or unknown.
    #[error("the bundle's {0}")]
    Member(#[from] MemberError),
    /// The bundle is of another signature than the one its log holds.
    #[error(
        "the bundle's canonicalizedBody is not the entry of its envelope in a log of Stepseal (hashedrekord 0.0.2)"
    )]
    OtherLeaf,
    /// What the bundle says of the tree is not what its checkpoint says.
    #[error("the bundle's {member} is not that of its checkpoint")]
    OtherTree {
        /// Which member.
        member: &'static str,
    },
}

/// Why bytes are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member is absent, malformed or unknown.
    #[error(transparent)]
    Member(#[from] MemberError),
}

/// Why proofs do not make one receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// There are none.
    #[error("a receipt needs at least one record")]
    Nothing,
    /// They lead to different heads.
    #[error(
        "number {number} (from 1) has another checkpoint than the first; a receipt has one, so export all under the same"
    )]
    OtherCheckpoint {
        /// Which, from 1.
        number: usize,
    },
    /// Two say what stands at one index.
    #[error("there are two proofs for index {index}; leave one out")]
    Twice {
        /// The index of the log.
        index: u64,
    },
}

/// Reads a tlog-proof or a Sigstore bundle, whichever it is.
pub fn read(bytes: &[u8]) -> Result<Proved, ImportError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ImportError::TooLarge { bytes: bytes.len() });
    }
    if bytes.starts_with(tlog_proof::HEADER.as_bytes()) {
        tlog_proof::read(bytes)
    } else if dsse_lines::begin(bytes) {
        Err(ImportError::OnlyEnvelopes)
    } else {
        sigstore::read(bytes)
    }
}

/// The receipt of these records, in whatever order they come. It has no disclosures, approvals or consistency proofs.
pub fn gather(proved: Vec<Proved>) -> Result<Receipt, GatherError> {
    let checkpoint = match proved.first() {
        Some(first) => first.checkpoint.clone(),
        None => return Err(GatherError::Nothing),
    };
    let other = |one: &Proved| one.checkpoint != checkpoint;
    if let Some(number) = proved.iter().position(other) {
        return Err(GatherError::OtherCheckpoint { number: number + 1 });
    }
    let mut entries: Vec<Entry> = proved.into_iter().map(|one| one.entry).collect();
    entries.sort_by_key(|entry| entry.index);
    for pair in entries.windows(2) {
        if pair[0].index == pair[1].index {
            return Err(GatherError::Twice {
                index: pair[0].index,
            });
        }
    }
    Ok(Receipt {
        checkpoint,
        entries,
        erased: Vec::new(),
        approvals: Vec::new(),
        disclosures: Vec::new(),
        consistency: Vec::new(),
        unrecognised: serde_json::Map::new(),
    })
}

/// An envelope's JSON.
fn envelope(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
    let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &LIMITS)?)?;
    let envelope = Envelope::read(&mut members)?;
    members.finish_known()?;
    Ok(envelope)
}

#[cfg(test)]
mod tests;
