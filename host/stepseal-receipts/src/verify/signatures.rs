//! Whose words these are: the checkpoint's note and each entry's envelope (format §5.2 and §5.4).

use super::faults::Faults;
use super::{Check, Signed};
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::dsse::{self, Envelope, Signature};
use crate::leaf;
use crate::note::VerifierKey;
use crate::receipt::Entry;
use crate::record::Record;
use crate::trust::{RecordKey, TrustFile};

/// Opens the receipt's checkpoint with the log's keys.
pub(super) fn open_checkpoint(
    note: &str,
    trust: &TrustFile,
    faults: &mut Faults,
) -> Option<Checkpoint> {
    match open_note(note, &trust.log, &trust.origin) {
        Ok(checkpoint) => Some(checkpoint),
        Err(reason) => {
            faults.add(Check::Signatures, None, "checkpoint", &reason);
            None
        }
    }
}

/// A checkpoint of the trusted log, or a sentence why it is none.
pub(super) fn open_note(
    note: &str,
    keys: &[VerifierKey],
    origin: &str,
) -> Result<Checkpoint, String> {
    let checkpoint = Checkpoint::open(note, keys).map_err(|error| error.to_string())?;
    if checkpoint.origin != origin {
        return Err(format!(
            "the checkpoint is of the log {:?}, and the trust file is for {origin:?}",
            checkpoint.origin
        ));
    }
    Ok(checkpoint)
}

/// The record of an entry, if a key that is believed at its index signed it and its bytes are a record's.
pub(super) fn open_entry(entry: &Entry, trust: &TrustFile, faults: &mut Faults) -> Option<Signed> {
    let index = entry.index;
    let (number, signature, pae) = match believe(&entry.envelope, index, &trust.records) {
        Ok(believed) => believed,
        Err((member, reason)) => {
            faults.add(Check::Signatures, Some(index), member, &reason);
            return None;
        }
    };
    let key = &trust.records[number].key;
    // Only now may the bytes be read (format §1.1).
    match Record::parse(&entry.envelope.payload) {
        Ok(record) => Some(Signed {
            index,
            leaf_hash: leaf::leaf_hash(&leaf::leaf(&Digest::of(&pae), &signature.sig, key)),
            record,
        }),
        Err(error) => {
            faults.add(Check::Chain, Some(index), error.member(), &error);
            None
        }
    }
}

/// The number of the key that signed, its signature, and what it signed.
type Believed<'a> = (usize, &'a Signature, Vec<u8>);

/// Finds the key that signed an envelope among those that count at its index, or says in which member the fault is.
pub(super) fn believe<'a>(
    envelope: &'a Envelope,
    index: u64,
    keys: &[RecordKey],
) -> Result<Believed<'a>, (&'static str, String)> {
    if envelope.payload_type != dsse::IN_TOTO {
        let found = &envelope.payload_type;
        let reason = format!(
            "the payload type is {found:?}, and {:?} is expected",
            dsse::IN_TOTO
        );
        return Err(("envelope.payloadType", reason));
    }
    let [signature] = envelope.signatures.as_slice() else {
        let found = envelope.signatures.len();
        let reason = format!("there are {found} signatures, and exactly one is expected");
        return Err(("envelope.signatures", reason));
    };
    let pae = envelope.pae();
    let hinted = |key: &RecordKey| signature.keyid.as_ref() == Some(&key.key.id().to_hex());
    let signs = |key: &RecordKey| key.key.verify(&pae, &signature.sig).is_ok();

    // Most trust files have one key for an index, and then the hint is not even looked at.
    let mut valid: Vec<usize> = (0..keys.len())
        .filter(|number| keys[*number].covers(index))
        .collect();
    if valid.len() > 1 {
        valid.sort_by_cached_key(|number| !hinted(&keys[*number]));
    }
    if let Some(number) = valid.into_iter().find(|number| signs(&keys[*number])) {
        return Ok((number, signature, pae));
    }
    let other = |key: &&RecordKey| !key.covers(index) && hinted(key) && signs(key);
    let reason = match keys.iter().find(other) {
        Some(key) => elsewhere(key, index),
        None => format!(
            "the payload is not signed by any record key of the trust file that counts at index {index}: \
             the payload or the signature was changed, or another key made it"
        ),
    };
    Err(("envelope.signatures", reason))
}

/// Says that a key signed an entry at which it does not count.
pub(super) fn elsewhere(key: &RecordKey, index: u64) -> String {
    let to = key
        .to_index
        .map_or("the end".to_owned(), |to| to.to_string());
    format!(
        "it is signed by the key {}, which counts from index {} to {to} and not at {index}",
        key.key.id().to_hex(),
        key.from_index,
    )
}
