//! What an operator lets a plugin use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::{DigestText, TimestampText};
use crate::engine::grants;
use crate::store::{GrantRow, StoreError};

/// What a plugin may use. An absent member grants nothing, or leaves the default limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"buckets": ["ledger"], "limits": {"fuel": 1_000_000}}))]
pub struct GrantDocument {
    /// Form of the document: 1, which it is too where this is absent. An answer leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub format: Option<u64>,
    /// Key-value buckets it may read and write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub buckets: Vec<String>,
    /// What `wasi:config/store` gives it. Receipts show these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub config: BTreeMap<String, String>,
    /// What it may ask the network for, one rule each. A request that fits none is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub http: Vec<HttpGrant>,
    /// Limits of one call, in the place of the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<GrantLimits>,
}

/// One destination on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"host": "api.example.com", "path": "/v1", "methods": ["GET", "POST"],
    "secrets": {"authorization": "Bearer {api-key}"}}))]
pub struct HttpGrant {
    /// `https`, which it is where this is absent, or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub scheme: Option<String>,
    /// Name or address of the host, exactly.
    pub host: String,
    /// The scheme's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub port: Option<u16>,
    /// Where paths begin; `/` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub path: Option<String>,
    /// `GET` and `HEAD` where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub methods: Vec<String>,
    /// Addresses that may be reached although they are loopback, private, link-local or otherwise not of the public internet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Headers that the host sets, each a text with the name of one secret in braces. The guest never sees the secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub secrets: BTreeMap<String, String>,
    /// Limits of these requests, in the place of the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<HttpLimits>,
}

/// Limits of the requests under one rule. An absent member leaves the limit it would have without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpLimits {
    /// Requests that one attempt may send: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub calls: Option<u64>,
    /// Bytes of a request's body: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_bytes: Option<u64>,
    /// Bytes of a response's body: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_bytes: Option<u64>,
    /// Milliseconds until the connection stands: 5,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub connect_ms: Option<u64>,
    /// Milliseconds from there to the response's headers: 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub first_byte_ms: Option<u64>,
    /// Milliseconds in all: 20,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub total_ms: Option<u64>,
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
    /// How it fits what the newest version of the plugin imports. Absent where none was uploaded, and in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fit: Option<Fit>,
}

/// What a plugin imports against what it is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fit {
    /// The component whose imports they are.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// Interfaces it imports of which nothing is granted: calls of them are refused.
    #[schema(example = json!(["wasi:keyvalue/store@0.2.0-draft"]))]
    pub not_granted: Vec<String>,
    /// Members of the grant document, as JSON Pointers, that grant what it does not import.
    #[schema(example = json!(["/config"]))]
    pub not_imported: Vec<String>,
    /// Names of secrets that the grant injects and the host does not have: requests that need them are refused.
    pub secrets_missing: Vec<String>,
}

impl From<grants::Fit> for Fit {
    fn from(fit: grants::Fit) -> Self {
        Self {
            component: fit.component,
            not_granted: fit.not_granted,
            not_imported: fit.not_imported,
            secrets_missing: fit.secrets_missing,
        }
    }
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
            fit: None,
        })
    }
}
