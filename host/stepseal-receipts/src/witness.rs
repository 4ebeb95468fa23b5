//! What a log and a witness say to each other (C2SP tlog-witness, `add-checkpoint`), and what a witness may cosign.
//!
//! Deliberately absent: keeping the heads. Whoever answers must have stored the head that [`judge`] let through, in the same
//! breath in which it was judged against the one before. Heads with extension lines are refused, as everywhere here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{CosignatureError, WitnessKey};
use crate::digest::Digest;
use crate::evidence::{Evidence, Misbehaviour};
use crate::json::decimal;
use crate::note::{
    NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, Note, NoteError, NoteSignature, VerifierKey,
};
use crate::receipt;
use crate::tree::{self, TreeError};

/// Most hashes of a proof in a request.
pub const PROOF_LINES_MAX: usize = 63;

/// Most bytes of a request: the line of the old size, the proof, and the note.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + (PROOF_LINES_MAX + 1) * 45 + 1;

/// Most bytes of an answer that is looked at.
pub const ANSWER_BYTES_MAX: usize = NOTE_BYTES_MAX;

/// Media type of the size in a refusal of a stale request.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";

/// What a witness is asked to cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the head that the witness cosigned last, as far as the asker knows.
    pub old: u64,
    /// RFC 6962 consistency proof from that size to the checkpoint's.
    pub proof: Vec<Digest>,
    /// The signed note.
    pub checkpoint: String,
}

/// A head of a log whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The note with one signature of each known key that signed it, and no others.
    pub note: Note,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// Why a head is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not such a request.
    #[error("{0}")]
    Malformed(String),
    /// The witness does not know the log.
    #[error("this witness does not know the log {0:?}")]
    UnknownLog(String),
    /// Nobody who may sign for the log did.
    #[error("no known key of the log signed the checkpoint: {0}")]
    NotSigned(CheckpointError),
    /// The asker thinks of another head as the last one.
    #[error("the last head that was cosigned has {size} entries")]
    Stale {
        /// Size of that head.
        size: u64,
    },
    /// The log signed two trees of one size.
    #[error("{misbehaviour}")]
    Split {
        /// What it did.
        misbehaviour: Misbehaviour,
        /// The proof of it.
        evidence: Box<Evidence>,
    },
    /// The proof does not show that the log only grew.
    #[error("{error}")]
    Proof {
        /// What is wrong with it.
        error: TreeError,
        /// Where the request itself proves that the log was rewritten: what it did, and the proof of it.
        evidence: Option<Box<(Misbehaviour, Evidence)>>,
    },
}

impl AddCheckpoint {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |why: &str| Refusal::Malformed(why.to_owned());
        if body.len() > REQUEST_BYTES_MAX {
            return Err(Refusal::Malformed(format!(
                "a request has at most {REQUEST_BYTES_MAX} bytes"
            )));
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed("the request is not UTF-8"))?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or_else(|| malformed("a blank line must stand before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal::parse)
            .filter(|&old| old <= tree::SIZE_MAX)
            .ok_or_else(|| {
                malformed("the first line must be `old` and a size in decimal, at most 2^62")
            })?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == PROOF_LINES_MAX {
                return Err(malformed("a proof has at most 63 hashes"));
            }
            let hash = receipt::hash(line);
            proof.push(hash.ok_or_else(|| {
                malformed("a line of the proof must be the padded standard base64 of 32 bytes")
            })?);
        }
        Ok(Self {
            old,
            proof,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// The body of the request.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Which log it is about, as it says itself.
    pub fn origin(&self) -> &str {
        self.checkpoint.split('\n').next().unwrap_or_default()
    }
}

impl Head {
    /// Reads a note that one of these keys signed under the origin of its checkpoint.
    pub fn open(note: &str, known: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::open(note, known)?;
        let Note { text, signatures } = Note::parse(note)?;
        let of = |key: &VerifierKey| signatures.iter().find(|line| key.is_named_by(line));
        let signatures = known.iter().filter_map(of).cloned().collect();
        let note = Note { text, signatures };
        Ok(Self { note, checkpoint })
    }
}

impl Refusal {
    /// The HTTP status that C2SP tlog-witness gives it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Stale { .. } | Self::Split { .. } => 409,
            Self::Proof { .. } => 422,
        }
    }

    /// What the request proves against the log.
    pub fn evidence(&self) -> Option<(&Misbehaviour, &Evidence)> {
        match self {
            Self::Split {
                misbehaviour,
                evidence,
            } => Some((misbehaviour, evidence)),
            Self::Proof {
                evidence: Some(evidence),
                ..
            } => Some((&evidence.0, &evidence.1)),
            _ => None,
        }
    }
}

/// Whether a head may be cosigned after `last`, the one that was cosigned last, which is remembered in its place then.
/// `known` are the keys of the log.
pub fn judge(
    request: &AddCheckpoint,
    known: &[VerifierKey],
    last: Option<&Head>,
) -> Result<Head, Refusal> {
    let head = Head::open(&request.checkpoint, known).map_err(|error| match error {
        CheckpointError::OtherLog { .. }
        | CheckpointError::Note(NoteError::NoKnownKey | NoteError::BadSignature { .. }) => {
            Refusal::NotSigned(error)
        }
        malformed => Refusal::Malformed(malformed.to_string()),
    })?;
    let now = &head.checkpoint;
    if request.old > now.size {
        return Err(Refusal::Malformed(format!(
            "the old size {} is larger than the checkpoint's {}",
            request.old, now.size
        )));
    }
    let (size, root) = last.map_or((0, tree::empty_root()), |last| {
        (last.checkpoint.size, last.checkpoint.root)
    });
    if request.old != size {
        return Err(Refusal::Stale { size });
    }
    let Err(error) = tree::verify_consistency(size, &root, now.size, &now.root, &request.proof)
    else {
        return Ok(head);
    };
    let evidence = last.and_then(|last| {
        let evidence = Evidence {
            before: last.note.to_string(),
            now: head.note.to_string(),
            proof: request.proof.clone(),
        };
        let misbehaviour = evidence.proves(known).ok()?;
        Some(Box::new((misbehaviour, evidence)))
    });
    Err(match evidence {
        Some(proof) if now.size == size => Refusal::Split {
            misbehaviour: proof.0,
            evidence: Box::new(proof.1),
        },
        evidence => Refusal::Proof { error, evidence },
    })
}

/// The body of the answer of a witness that cosigned.
pub fn cosigned(lines: &[NoteSignature]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Why an answer is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not signature lines.
    #[error("the answer is not signature lines of a note")]
    Lines,
    /// None is by the witness that was asked.
    #[error("the answer has no cosignature by the key {0}")]
    Absent(String),
    /// One under its name does not verify.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
}

/// The cosignature of a witness in its answer, over the text of the checkpoint it was asked to cosign, checked. Lines of other
/// keys are passed over.
pub fn read_cosignature(
    answer: &[u8],
    text: &str,
    witness: &WitnessKey,
) -> Result<NoteSignature, AnswerError> {
    let answer = std::str::from_utf8(answer).map_err(|_| AnswerError::Lines)?;
    let lines = answer.strip_suffix('\n').ok_or(AnswerError::Lines)?;
    if answer.len() > ANSWER_BYTES_MAX || lines.split('\n').count() > NOTE_SIGNATURES_MAX {
        return Err(AnswerError::Lines);
    }
    let lines: Option<Vec<_>> = lines.split('\n').map(NoteSignature::parse).collect();
    let lines = lines.ok_or(AnswerError::Lines)?;
    let line = lines.into_iter().find(|line| witness.is_named_by(line));
    let line = line.ok_or_else(|| AnswerError::Absent(witness.to_string()))?;
    witness.verify(text, &line)?;
    Ok(line)
}

/// The size in the refusal of a stale request.
pub fn read_size(answer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(answer).ok()?.strip_suffix('\n')?;
    decimal::parse(text).filter(|&size| size <= tree::SIZE_MAX)
}

#[cfg(test)]
pub(crate) mod tests;
