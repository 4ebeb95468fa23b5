//! Records of a task.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use utoipa::ToSchema;

use super::scalar::DigestText;
use super::stored_json;
use crate::store::{RecordRow, StoreError};

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
    /// The DSSE envelope around its in-toto statement.
    #[schema(value_type = Object)]
    pub envelope: Value,
}

impl TryFrom<RecordRow> for Record {
    type Error = StoreError;

    fn try_from(row: RecordRow) -> Result<Self, StoreError> {
        Ok(Self {
            index: row.index,
            seq: row.record.seq,
            leaf_hash: row.record.leaf_hash,
            envelope: stored_json("a record", &row.record.envelope)?,
        })
    }
}
