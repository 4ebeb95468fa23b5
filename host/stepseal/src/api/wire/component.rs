//! Uploaded components.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::{DigestText, TimestampText};
use super::{Fit, stored_json};
use crate::store::{self, ComponentRow, StoreError};

/// What a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// A step handler.
    Plugin,
    /// A policy.
    Policy,
}

impl From<store::ComponentKind> for ComponentKind {
    fn from(kind: store::ComponentKind) -> Self {
        match kind {
            store::ComponentKind::Plugin => Self::Plugin,
            store::ComponentKind::Policy => Self::Policy,
        }
    }
}

impl From<ComponentKind> for store::ComponentKind {
    fn from(kind: ComponentKind) -> Self {
        match kind {
            ComponentKind::Plugin => Self::Plugin,
            ComponentKind::Policy => Self::Policy,
        }
    }
}

/// An uploaded component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Component {
    /// SHA-256 of the exact bytes.
    #[schema(value_type = DigestText)]
    pub digest: Digest,
    /// What it exports.
    pub kind: ComponentKind,
    /// The name it gives itself.
    #[schema(example = "ledger")]
    pub name: String,
    /// The version it gives itself (Semantic Versioning 2.0).
    #[schema(example = "0.1.0")]
    pub version: String,
    /// What it says it does.
    pub summary: String,
    /// Interfaces it imports, sorted.
    #[schema(example = json!(["wasi:keyvalue/store@0.2.0-draft"]))]
    pub imports: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// When it was uploaded.
    #[schema(value_type = TimestampText)]
    pub added: Timestamp,
    /// What its `describe` answered, JSON Schemas as objects.
    #[schema(value_type = Object)]
    pub descriptor: Value,
    /// What it imports against what is granted to the plugin. Absent for a policy, and in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fit: Option<Fit>,
}

impl TryFrom<ComponentRow> for Component {
    type Error = StoreError;

    fn try_from(row: ComponentRow) -> Result<Self, StoreError> {
        let descriptor = stored_json("a descriptor", &row.descriptor)?;
        let summary = descriptor["summary"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            digest: row.digest,
            kind: row.kind.into(),
            name: row.name,
            version: row.version,
            summary,
            imports: row.imports,
            size: row.size,
            added: row.added,
            descriptor,
            fit: None,
        })
    }
}

/// How far the compilation of a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompilationState {
    /// Others come first.
    Waiting,
    /// Its turn has come.
    Compiling,
}

/// A component that is compiled, or is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Compilation {
    /// SHA-256 of the exact bytes.
    #[schema(value_type = DigestText)]
    pub digest: Digest,
    /// How far it is.
    pub state: CompilationState,
    /// Bytes of the component, once its turn has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub size: Option<u64>,
    /// Milliseconds it has been in this state.
    pub elapsed_ms: u64,
}

impl From<stepseal_sandbox::Compilation> for Compilation {
    fn from(compilation: stepseal_sandbox::Compilation) -> Self {
        let size = compilation.component_bytes;
        Self {
            digest: compilation.digest,
            state: size.map_or(CompilationState::Waiting, |_| CompilationState::Compiling),
            size,
            elapsed_ms: u64::try_from(compilation.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
