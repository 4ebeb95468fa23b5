//! Policies bound by the operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::{DigestText, TimestampText};
use super::stored_json;
use crate::engine::policies as engine;
use crate::store::{PolicyRow, StoreError};

/// Where a policy applies. An absent member does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Only tasks of this tenant; `operator` for those that came with the host's own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tenant: Option<String>,
    /// Only tasks of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// Only steps of this plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub plugin: Option<String>,
    /// Only steps of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub step_type: Option<String>,
    /// Only tasks that have all these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
}

impl From<Scope> for engine::Scope {
    fn from(scope: Scope) -> Self {
        Self {
            tenant: scope.tenant,
            agent: scope.agent,
            plugin: scope.plugin,
            step_type: scope.step_type,
            labels: scope.labels,
        }
    }
}

/// Whether a policy's verdict counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It counts.
    #[default]
    Enforce,
    /// It is recorded and changes nothing.
    Monitor,
}

impl From<Mode> for engine::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Monitor => Self::Monitor,
        }
    }
}

/// A policy to bind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "component": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "settings": {"limits": {"EUR": {"approval_above": "1000", "deny_above": "10000"}}},
    "scope": {"plugin": "ledger"},
    "mode": "enforce"
}))]
pub struct NewPolicy {
    /// The policy component.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// Must fit the policy's settings schema; `{}` where absent.
    #[serde(default = "no_settings")]
    #[schema(required = false)]
    pub settings: Value,
    /// Where it applies; everywhere where absent.
    #[serde(default)]
    #[schema(required = false)]
    pub scope: Scope,
    /// Whether it counts; `enforce` where absent.
    #[serde(default)]
    #[schema(required = false)]
    pub mode: Mode,
}

fn no_settings() -> Value {
    Value::Object(serde_json::Map::new())
}

impl From<NewPolicy> for engine::BindPolicy {
    fn from(policy: NewPolicy) -> Self {
        Self {
            component: policy.component,
            settings: policy.settings,
            scope: policy.scope.into(),
            mode: policy.mode.into(),
        }
    }
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Id of the binding.
    pub id: String,
    /// The policy component.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// The component's name.
    #[schema(example = "spending-limit")]
    pub name: String,
    /// The component's version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// What it was bound with.
    pub settings: Value,
    /// Where it applies.
    pub scope: Scope,
    /// Whether it counts.
    pub mode: Mode,
    /// When it was bound.
    #[schema(value_type = TimestampText)]
    pub bound: Timestamp,
}

impl Policy {
    /// A binding, with name and version of its component.
    pub fn new(row: PolicyRow, name: String, version: String) -> Result<Self, StoreError> {
        let corrupt = |what| {
            move |error: serde_json::Error| StoreError::Corrupt {
                what,
                why: error.to_string(),
            }
        };
        Ok(Self {
            settings: stored_json("settings of a policy", &row.settings)?,
            scope: serde_json::from_str(&row.scope).map_err(corrupt("a scope"))?,
            mode: serde_json::from_value(Value::String(row.mode)).map_err(corrupt("a mode"))?,
            id: row.id,
            component: row.component,
            name,
            version,
            bound: row.bound,
        })
    }
}
