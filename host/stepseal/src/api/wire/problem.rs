//! What went wrong (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine;

/// What every `type` begins with; the code follows.
pub const TYPE_PREFIX: &str = "https://stepseal.dev/problems/";

/// Media type of [`Problem`] (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong (RFC 9457 §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "https://stepseal.dev/problems/invalid",
    "title": "The request is not right",
    "status": 422,
    "detail": "the request has 1 fault",
    "code": "invalid",
    "faults": [{"pointer": "/plan/steps/0/uses", "message": "there is no plugin \"legder\"; upload it first"}]
}))]
pub struct Problem {
    /// Names the kind of problem: `https://stepseal.dev/problems/` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What is wrong with this request and what to do.
    pub detail: String,
    /// For programs: the end of `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub code: Option<String>,
    /// Every place in the request body that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub faults: Vec<Fault>,
}

/// One thing wrong with the request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// JSON Pointer (RFC 6901) of the place; empty for the whole body.
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl From<engine::Fault> for Fault {
    fn from(fault: engine::Fault) -> Self {
        Self {
            pointer: fault.pointer,
            message: fault.message,
        }
    }
}
