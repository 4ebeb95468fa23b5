//! What goes over the wire, one file per resource.
//!
//! Each type is `Serialize` and `Deserialize`, so that the host's answers and the CLI's client are the same text, and
//! `ToSchema`, so that `/openapi.json` says what they say. Types of engine and store are turned into these by `From`, or
//! by `TryFrom` where the database holds JSON text that might not be readable.

pub mod approval;
pub mod approver;
pub mod component;
pub mod event;
pub mod grant;
pub mod log;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod record;
pub mod scalar;
pub mod schedule;
pub mod secret;
pub mod status;
pub mod task;
pub mod tenant;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::store::StoreError;

pub use approval::{
    Approval, ApprovalState, ApprovalSummary, Ask, Choice, Decision, LastLikeIt, NewDecision,
};
pub use approver::{Approver, NewApprover};
pub use component::{Compilation, CompilationState, Component, ComponentKind};
pub use event::Event;
pub use grant::{Fit, Grant, GrantDocument, GrantLimits, HttpGrant, HttpLimits};
pub use log::{LogProof, LogWitness};
pub use plan::{CheckedStep, OnFailure, Plan, PlanCheck, PlanStep, Retry, Submission, Verdict};
pub use policy::{Mode, NewPolicy, Policy, Scope};
pub use problem::{Fault, Problem};
pub use record::Record;
pub use schedule::{Firing, FiringOutcome, NewSchedule, Overlap, Schedule};
pub use secret::{NewSecret, Secret};
pub use status::Status;
pub use task::{Step, Task, TaskSummary};
pub use tenant::{Tenant, TenantToken};

/// A whole list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// What is in it.
    pub items: Vec<T>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// Where the next page starts: send it as `cursor`, or for events as `after`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}

/// Reads a member that may hold JSON `null`: present is `Some`, whatever it holds; absent (with `#[serde(default)]`) is `None`.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// JSON text out of the database.
pub(crate) fn stored_json(what: &'static str, text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        what,
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(
            default,
            deserialize_with = "present",
            skip_serializing_if = "Option::is_none"
        )]
        value: Option<Value>,
    }

    #[test]
    fn a_null_is_not_the_same_as_nothing() {
        let null: Holder = serde_json::from_str(r#"{"value":null}"#).unwrap();
        assert_eq!(null.value, Some(Value::Null));
        assert_eq!(serde_json::to_string(&null).unwrap(), r#"{"value":null}"#);
        let absent: Holder = serde_json::from_str("{}").unwrap();
        assert_eq!(absent.value, None);
        assert_eq!(serde_json::to_string(&absent).unwrap(), "{}");
    }

    #[test]
    fn unreadable_text_from_the_database_is_named() {
        let error = stored_json("a scope", "{").unwrap_err();
        assert!(error.to_string().contains("a scope"), "{error}");
    }
}
