//! What an operator lets a plugin use.

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::{DigestText, TimestampText};
use crate::store::{GrantRow, StoreError};

/// What a plugin may use. An absent member grants nothing, or leaves the default limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"buckets": ["ledger"], "limits": {"fuel": 1_000_000}}))]
pub struct GrantDocument {
    /// Key-value buckets it may read and write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub buckets: Vec<String>,
    /// Limits of one call, in the place of the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<GrantLimits>,
}

/// Limits of one call. An absent member leaves the limit it would have without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantLimits {
    /// Units of wasmtime fuel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fuel: Option<u64>,
    /// Bytes of all memories and tables together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub memory_bytes: Option<u64>,
    /// Milliseconds on the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub wall_ms: Option<u64>,
    /// Bytes of canonical JSON going in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub input_bytes: Option<u64>,
    /// Bytes of canonical JSON coming out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub output_bytes: Option<u64>,
}

/// The grant in force for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Name of the plugin; it holds for every version of it.
    #[schema(example = "ledger")]
    pub plugin: String,
    /// What it may use.
    pub document: GrantDocument,
    /// SHA-256 of the document in canonical JSON (RFC 8785), as records name it.
    #[schema(value_type = DigestText)]
    pub digest: Digest,
    /// 1 for the first grant of the plugin.
    pub version: u64,
    /// When it came into force.
    #[schema(value_type = TimestampText)]
    pub changed: Timestamp,
}

impl TryFrom<GrantRow> for Grant {
    type Error = StoreError;

    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        let document =
            serde_json::from_str(&row.document).map_err(|error| StoreError::Corrupt {
                what: "a grant document",
                why: error.to_string(),
            })?;
        Ok(Self {
            plugin: row.plugin,
            document,
            digest: row.digest,
            version: row.version,
            changed: row.changed,
        })
    }
}
