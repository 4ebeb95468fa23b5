//! Keys of people who sign their own decisions.

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use utoipa::ToSchema;

use super::scalar::DigestText;
use crate::store::ApproverRow;

/// A key for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "dana",
    "key": "MCowBQYDK2VwAyEAEOm8gEafs8xl/G3yrEEGghI6TomlkFwMxu2QF1dKYaM="
}))]
pub struct NewApprover {
    /// Whose it is: the `approver` of their decisions.
    pub name: String,
    /// Base64 of the 44 bytes of the DER of an Ed25519 public key.
    #[schema(value_type = String)]
    pub key: PublicKey,
}

/// A key of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Approver {
    /// SHA-256 of the key's DER.
    #[schema(value_type = DigestText)]
    pub id: Digest,
    /// Whose it is.
    pub name: String,
    /// Base64 of the 44 bytes of its DER.
    #[schema(value_type = String)]
    pub key: PublicKey,
    /// First index of the log at which a record may speak of what it signed.
    pub from_index: u64,
    /// Last index at which one may; absent while the key counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub to_index: Option<u64>,
}

impl From<ApproverRow> for Approver {
    fn from(row: ApproverRow) -> Self {
        Self {
            id: row.key.id(),
            name: row.name,
            key: row.key,
            from_index: row.from_index,
            to_index: row.to_index,
        }
    }
}
