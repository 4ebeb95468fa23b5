//! JSON that goes into a record by its digest and into a blob by its bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::payload::{Blob, CommitKind, Commitment};

use super::EngineError;
use crate::store::NewBlob;

/// Canonical JSON (RFC 8785) in the salted blob that a record names.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    blob: Arc<Blob>,
    digest: Digest,
}

impl Sealed {
    /// Salts canonical JSON. `salt` is used once.
    pub(crate) fn new(canonical: &[u8], salt: [u8; 32]) -> Self {
        let blob = Blob::blind(salt, canonical);
        Self {
            digest: blob.digest(),
            blob: Arc::new(blob),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.blob.payload()).expect("canonical JSON is UTF-8")
    }

    pub(crate) fn stored(&self) -> StoredPayload {
        StoredPayload {
            digest: self.digest,
            size: self.blob.payload().len() as u64,
        }
    }

    pub(crate) fn to_blob(&self) -> NewBlob {
        NewBlob {
            digest: self.digest,
            bytes: self.blob.bytes().to_vec(),
        }
    }
}

/// A JSON value, and what a record names of it.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    value: Arc<Value>,
    sealed: Sealed,
}

impl Payload {
    /// Salts a value. `salt` is used once.
    pub(crate) fn new(value: Value, salt: [u8; 32]) -> Self {
        let canonical = json::canonical(&value);
        Self::from_canonical(value, &canonical, salt)
    }

    /// The same where the canonical text is there already.
    pub(crate) fn from_canonical(value: Value, canonical: &[u8], salt: [u8; 32]) -> Self {
        Self {
            value: Arc::new(value),
            sealed: Sealed::new(canonical, salt),
        }
    }

    /// A payload read back from its blob.
    pub(crate) fn from_blob(blob: Vec<u8>, stored: StoredPayload) -> Result<Self, EngineError> {
        let broken = |why: String| EngineError::Internal(format!("blob {}: {why}", stored.digest));
        let payload = stepseal_receipts::payload::open(&stored.commitment(), &blob)
            .map_err(|e| broken(e.to_string()))?;
        let value = read_json(payload).map_err(broken)?;
        let blob = Blob::opened(blob).ok_or_else(|| broken("it has no salt".to_owned()))?;
        Ok(Self {
            value: Arc::new(value),
            sealed: Sealed {
                blob: Arc::new(blob),
                digest: stored.digest,
            },
        })
    }

    pub(crate) fn value(&self) -> &Arc<Value> {
        &self.value
    }

    pub(crate) fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Canonical JSON (RFC 8785).
    pub(crate) fn text(&self) -> &str {
        self.sealed.text()
    }

    pub(crate) fn stored(&self) -> StoredPayload {
        self.sealed.stored()
    }

    pub(crate) fn to_blob(&self) -> NewBlob {
        self.sealed.to_blob()
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
