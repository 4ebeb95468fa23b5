//! C2SP tlog-proof: the proof of one entry as text, whose `extra` is the base64 of the envelope's JSON. The leaf is rebuilt from
//! that and the record key, which is not in it.

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ImportError, Proved, envelope};
use crate::json::decimal;
use crate::receipt::{Entry, HASH, hash};
use crate::tree::PROOF_HASHES_MAX;

/// The first line.
pub(super) const HEADER: &str = "c2sp.org/tlog-proof@v1\n";

const SHAPE: &str = "followed by the proof's hashes, an empty line and the checkpoint, in UTF-8";
const EXTRA: &str = "`extra ` and the base64 of the record's DSSE envelope";
const INDEX: &str = "`index ` and the index in the log, a decimal number";
const TOO_MANY: &str = "empty: a proof has at most 64 hashes";

/// The proof of one entry.
pub fn write(checkpoint: &str, entry: &Entry) -> Vec<u8> {
    let extra = STANDARD.encode(entry.envelope.to_json());
    let mut text = format!("{HEADER}extra {extra}\nindex {}\n", entry.index);
    for hash in &entry.proof {
        text.push_str(&STANDARD.encode(hash.as_bytes()));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(checkpoint);
    text.into_bytes()
}

/// Reads what [`write`] writes. The checkpoint is taken verbatim.
pub(super) fn read(bytes: &[u8]) -> Result<Proved, ImportError> {
    let wrong = |line, expected| ImportError::Line { line, expected };
    let text = str::from_utf8(bytes).map_err(|_| wrong(1, SHAPE))?;
    let (head, checkpoint) = text.split_once("\n\n").ok_or(wrong(1, SHAPE))?;
    let mut lines = head.split('\n').skip(1);
    let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
    let extra = extra.and_then(|base64| STANDARD.decode(base64).ok());
    let extra = extra.ok_or(wrong(2, EXTRA))?;
    let index = lines.next().and_then(|line| line.strip_prefix("index "));
    let index = index.and_then(decimal::parse).ok_or(wrong(3, INDEX))?;
    let mut proof = Vec::new();
    for (line, text) in (4..).zip(lines) {
        if proof.len() == PROOF_HASHES_MAX {
            return Err(wrong(line, TOO_MANY));
        }
        proof.push(hash(text).ok_or(wrong(line, HASH))?);
    }
    let envelope = envelope(&extra).map_err(ImportError::Extra)?;
    Ok(Proved {
        checkpoint: checkpoint.to_owned(),
        entry: Entry {
            index,
            envelope,
            proof,
        },
    })
}
