//! The receipt: the file that proves a task's records (format §4).
//!
//! It is an unsigned container and holds no key. Everything believed comes out of a signature or a proof inside it,
//! and [`crate::verify`] is what takes it out. Reading one here only makes sure that it has the form of a receipt.

use serde_json::{Map, Value};

use crate::b64;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::json::{self, JsonError};
use crate::leaf;
use crate::record::members::{At, MemberError, Members};
use crate::tree::PROOF_HASHES_MAX;

/// `mediaType` of a receipt.
pub const MEDIA_TYPE: &str = "application/vnd.stepseal.receipt.v1+json";
/// Most consistency proofs in one receipt.
pub const CONSISTENCY_MAX: usize = 64;
/// Deepest nesting of a receipt.
const DEPTH_MAX: usize = 16;

/// What the text of a [`hash`] must be, for errors.
pub(crate) const HASH: &str = "the base64 of 32 bytes";
const SHARED: &str =
    "at most the hashes of the proof of the entry before, and with its own at most 64";
const RISING: &str = "a list whose sizes rise, each of them once";
const RISING_INDEXES: &str = "a list whose indexes rise, each of them once";

/// How large a receipt may be. A reader takes no more, so a hostile file costs no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptLimits {
    /// Bytes of the file.
    pub bytes_max: usize,
    /// Entries of the log in it, and as many erased ones and approvals.
    pub entries_max: usize,
    /// Disclosed blobs in it.
    pub disclosures_max: usize,
}

impl Default for ReceiptLimits {
    fn default() -> Self {
        Self {
            bytes_max: 64 * 1024 * 1024,
            entries_max: 100_000,
            disclosures_max: 400_000,
        }
    }
}

/// A receipt, as far as it can be read without believing any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The signed head of the log that the proofs lead to, a C2SP signed note.
    pub checkpoint: String,
    /// The task's entries of the log, in the log's order, and the records of the erasures that `erased` names.
    pub entries: Vec<Entry>,
    /// The task's entries whose envelopes were erased, in the log's order and each once.
    pub erased: Vec<Erased>,
    /// Envelopes that approvers signed themselves.
    pub approvals: Vec<Envelope>,
    /// Blobs whose digests the records hold: payloads with their prefix and salt.
    pub disclosures: Vec<Vec<u8>>,
    /// Proofs that the log grew from earlier sizes, the smallest first and each size once.
    pub consistency: Vec<Consistency>,
    /// Members this version does not know. Nothing signs them.
    pub unrecognised: Map<String, Value>,
}

/// One entry of the log with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index in the log.
    pub index: u64,
    /// The signed record.
    pub envelope: Envelope,
    /// RFC 6962 audit path from its leaf to the checkpoint's root.
    pub proof: Vec<Digest>,
}

/// One entry of the log whose envelope was erased, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Its index in the log.
    pub index: u64,
    /// Its leaf: all that is left of it.
    pub leaf: Vec<u8>,
    /// RFC 6962 audit path from its leaf to the checkpoint's root.
    pub proof: Vec<Digest>,
    /// Index in the log of the record of its erasure, which is among the receipt's entries.
    pub erasure: u64,
}

/// A proof that the log of the checkpoint holds the log of an earlier size as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// The earlier size: that of a checkpoint which somebody saw.
    pub size: u64,
    /// RFC 6962 consistency proof from that size to the checkpoint's.
    pub proof: Vec<Digest>,
}

/// Why bytes are no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// Not JSON, or too large.
    #[error("the receipt is not JSON that can be read: {0}")]
    Json(#[from] JsonError),
    /// A member is absent, malformed or unknown.
    #[error("the receipt's {0}")]
    Member(#[from] MemberError),
}

impl ReceiptError {
    /// Path of the member at fault; empty where it is the whole file.
    pub fn member(&self) -> &str {
        match self {
            Self::Json(error) => &error.pointer,
            Self::Member(error) => error.member(),
        }
    }
}

impl Receipt {
    /// Reads a receipt.
    pub fn parse(bytes: &[u8], limits: &ReceiptLimits) -> Result<Self, ReceiptError> {
        let json_limits = json::Limits {
            bytes_max: limits.bytes_max,
            depth_max: DEPTH_MAX,
        };
        let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &json_limits)?)?;
        members.need_parsed("mediaType", MEDIA_TYPE, |text| {
            (text == MEDIA_TYPE).then_some(())
        })?;
        let entries = members.list("entries", limits.entries_max, entry)?;
        let entries = whole_proofs(entries).map_err(|number| MemberError::Wrong {
            member: format!("entries[{number}].shared"),
            expected: SHARED,
        })?;
        let erased = members.list("erased", limits.entries_max, erased)?;
        if !erased.is_sorted_by(|one, next| one.index < next.index) {
            return Err(members.wrong("erased", RISING_INDEXES).into());
        }
        let consistency = members.list("consistency", CONSISTENCY_MAX, consistency)?;
        // Two proofs for one size would leave it to the reader which of them counts.
        if !consistency.is_sorted_by(|one, next| one.size < next.size) {
            return Err(members.wrong("consistency", RISING).into());
        }
        Ok(Self {
            checkpoint: members.need_text("checkpoint")?,
            entries,
            erased,
            approvals: members.list("approvals", limits.entries_max, envelope)?,
            disclosures: members.list("disclosures", limits.disclosures_max, disclosure)?,
            consistency,
            unrecognised: members.finish(),
        })
    }

    /// The file's text, one that [`Receipt::parse`] reads. Empty lists are left out.
    pub fn to_json(&self) -> Vec<u8> {
        let mut members = self.unrecognised.clone();
        members.insert("mediaType".to_owned(), Value::from(MEDIA_TYPE));
        members.insert("checkpoint".to_owned(), self.checkpoint.as_str().into());
        let mut before: &[Digest] = &[];
        let entries = self.entries.iter().map(|entry| {
            let shared = shared(before, &entry.proof);
            before = &entry.proof;
            let own = &entry.proof[..entry.proof.len() - shared];
            let mut members = Map::new();
            members.insert("index".to_owned(), entry.index.to_string().into());
            members.insert("envelope".to_owned(), envelope_value(&entry.envelope));
            members.insert("proof".to_owned(), hashes_value(own));
            if shared > 0 {
                members.insert("shared".to_owned(), shared.to_string().into());
            }
            Value::Object(members)
        });
        members.insert("entries".to_owned(), entries.collect());
        let erased = self.erased.iter().map(|erased| {
            object([
                ("index", erased.index.to_string().into()),
                ("entry", b64::encode(&erased.leaf).into()),
                ("proof", hashes_value(&erased.proof)),
                ("erasure", erased.erasure.to_string().into()),
            ])
        });
        insert_some(&mut members, "erased", erased.collect());
        let approvals = self.approvals.iter().map(envelope_value);
        insert_some(&mut members, "approvals", approvals.collect());
        let blob = |blob: &Vec<u8>| object([("blob", b64::encode(blob).into())]);
        let disclosures = self.disclosures.iter().map(blob);
        insert_some(&mut members, "disclosures", disclosures.collect());
        let consistency = self.consistency.iter().map(|consistency| {
            object([
                ("size", consistency.size.to_string().into()),
                ("proof", hashes_value(&consistency.proof)),
            ])
        });
        insert_some(&mut members, "consistency", consistency.collect());
        json::canonical(&Value::Object(members))
    }
}

fn insert_some(members: &mut Map<String, Value>, name: &str, items: Vec<Value>) {
    if !items.is_empty() {
        members.insert(name.to_owned(), Value::Array(items));
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter();
    Value::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn envelope_value(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).expect("an envelope is strings only")
}

pub(crate) fn hashes_value(hashes: &[Digest]) -> Value {
    hashes
        .iter()
        .map(|hash| b64::encode(hash.as_bytes()))
        .collect()
}

/// An entry with the hashes of its own, and how many it shares with the one before.
fn entry(members: &mut Members<'_>) -> Result<(Entry, u64), MemberError> {
    let entry = Entry {
        index: members.need_integer("index")?,
        envelope: members.need_object("envelope", envelope)?,
        proof: hashes(members)?,
    };
    let shared = members.integer("shared")?.unwrap_or_default();
    members.finish_known()?;
    Ok((entry, shared))
}

/// Gives each entry the hashes it shares with the one before, or says the number of the first that cannot share so many.
fn whole_proofs(entries: Vec<(Entry, u64)>) -> Result<Vec<Entry>, usize> {
    let mut whole: Vec<Entry> = Vec::with_capacity(entries.len());
    for (number, (mut entry, shared)) in entries.into_iter().enumerate() {
        if shared > 0 {
            let before = whole.last().map_or(&[][..], |entry| &entry.proof);
            let shared = usize::try_from(shared).map_err(|_| number)?;
            let from = before.len().checked_sub(shared).ok_or(number)?;
            if entry.proof.len() + shared > PROOF_HASHES_MAX {
                return Err(number);
            }
            entry.proof.extend_from_slice(&before[from..]);
        }
        whole.push(entry);
    }
    Ok(whole)
}

/// How many hashes two proofs share at their ends: two leaves have everything above their first common node in common.
fn shared(one: &[Digest], other: &[Digest]) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(one, other)| one == other).count()
}

fn erased(members: &mut Members<'_>) -> Result<Erased, MemberError> {
    let erased = Erased {
        index: members.need_integer("index")?,
        leaf: members.need_parsed("entry", leaf::LEAF_TEXT, leaf::from_base64)?,
        proof: hashes(members)?,
        erasure: members.need_integer("erasure")?,
    };
    members.finish_known()?;
    Ok(erased)
}

fn envelope(members: &mut Members<'_>) -> Result<Envelope, MemberError> {
    let envelope = Envelope::read(members)?;
    members.finish_known()?;
    Ok(envelope)
}

fn disclosure(members: &mut Members<'_>) -> Result<Vec<u8>, MemberError> {
    let blob = members.need_parsed("blob", "base64", b64::decode)?;
    members.finish_known()?;
    Ok(blob)
}

fn consistency(members: &mut Members<'_>) -> Result<Consistency, MemberError> {
    let consistency = Consistency {
        size: members.need_integer("size")?,
        proof: hashes(members)?,
    };
    members.finish_known()?;
    Ok(consistency)
}

/// The hashes of the member `proof`.
pub(crate) fn hashes(members: &mut Members<'_>) -> Result<Vec<Digest>, MemberError> {
    members.texts("proof", PROOF_HASHES_MAX, HASH, hash)
}

/// A hash of a proof in base64.
pub(crate) fn hash(text: &str) -> Option<Digest> {
    b64::decode_array(text).map(Digest::from_bytes)
}

#[cfg(test)]
mod tests;
