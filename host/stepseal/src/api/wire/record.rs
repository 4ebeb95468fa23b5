//! Records of a task.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use utoipa::ToSchema;

use super::scalar::DigestText;
use super::stored_json;
use crate::store::{Kept, RecordRow, StoreError};

/// Media type of a receipt.
pub const RECEIPT: &str = "application/vnd.stepseal.receipt.v1+json";

/// Media type of a trust file.
pub const TRUST: &str = "application/vnd.stepseal.trust.v1+json";

/// One signed entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// Its leaf index in the log, from 0.
    pub index: u64,
    /// Its place in the task, from 0.
    pub seq: u64,
    /// Its leaf hash (RFC 6962 §2.1).
    #[schema(value_type = DigestText)]
    pub leaf_hash: Digest,
    /// The DSSE envelope around its in-toto statement; absent where it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    pub envelope: Option<Value>,
    /// Leaf index of the record of its erasure; absent where it was not erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub erasure: Option<u64>,
}

impl TryFrom<RecordRow> for Record {
    type Error = StoreError;

    fn try_from(row: RecordRow) -> Result<Self, StoreError> {
        let (envelope, erasure) = match &row.kept {
            Kept::Envelope(envelope) => (Some(stored_json("a record", envelope)?), None),
            Kept::Leaf { erasure, .. } => (None, Some(*erasure)),
        };
        Ok(Self {
            index: row.index,
            seq: row.seq,
            leaf_hash: row.leaf_hash,
            envelope,
            erasure,
        })
    }
}
