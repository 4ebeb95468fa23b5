//! JSON that goes into a record by its digest and into a blob by its bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::payload::{Blob, CommitKind, Commitment};

use super::EngineError;
use crate::store::NewBlob;

/// A JSON value, its canonical text, and the salted blob that a record names.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    value: Arc<Value>,
    text: Arc<str>,
    blob: Arc<[u8]>,
    digest: Digest,
}

impl Payload {
    /// Salts a value. `salt` is used once.
    pub(crate) fn new(value: Value, salt: [u8; 32]) -> Self {
        let text = String::from_utf8(json::canonical(&value)).expect("canonical JSON is UTF-8");
        Self::from_canonical(value, text, salt)
    }

    /// The same where the canonical text is there already.
    pub(crate) fn from_canonical(value: Value, text: String, salt: [u8; 32]) -> Self {
        let blob = Blob::blind(salt, text.as_bytes());
        Self {
            value: Arc::new(value),
            text: text.into(),
            digest: blob.digest(),
            blob: blob.into_bytes().into(),
        }
    }

    /// A payload read back from its blob.
    pub(crate) fn from_blob(blob: Vec<u8>, stored: StoredPayload) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Internal(format!("blob {}: {why}", stored.digest));
        let payload = stepseal_receipts::payload::open(&stored.commitment(), &blob)
            .map_err(|e| broken(e.to_string()))?;
        let text = std::str::from_utf8(payload)
            .map_err(|e| broken(e.to_string()))?
            .to_owned();
        let value = read_json(text.as_bytes()).map_err(broken)?;
        Ok(Self {
            value: Arc::new(value),
            text: text.into(),
            blob: blob.into(),
            digest: stored.digest,
        })
    }

    pub(crate) fn value(&self) -> &Arc<Value> {
        &self.value
    }

    /// Canonical JSON (RFC 8785).
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn stored(&self) -> StoredPayload {
        StoredPayload {
            digest: self.digest,
            size: self.text.len() as u64,
        }
    }

    pub(crate) fn to_blob(&self) -> NewBlob {
        NewBlob {
            digest: self.digest,
            bytes: self.blob.to_vec(),
        }
    }
}

/// JSON that this host wrote or a guest gave. One reader for both, so that what was accepted can be read back.
pub(crate) fn read_json(text: &[u8]) -> Result<Value, String> {
    let limits = json::Limits {
        bytes_max: text.len(),
        depth_max: json::PAYLOAD_DEPTH_MAX,
    };
    json::parse(text, &limits).map_err(|error| error.to_string())
}

/// A payload kept as a blob: what a record's [`Commitment`] says, in the engine's own JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPayload {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the payload itself.
    pub size: u64,
}

/// Every payload of a step is JSON.
const JSON_MEDIA_TYPE: &str = "application/json";

impl StoredPayload {
    /// As a record names it.
    pub fn commitment(&self) -> Commitment {
        Commitment {
            digest: self.digest,
            size: self.size,
            media_type: JSON_MEDIA_TYPE.to_owned(),
            commit: CommitKind::Blind1,
        }
    }
}
