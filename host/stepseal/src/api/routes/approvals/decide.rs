//! Deciding an approval.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson, shape};
use crate::api::limits::DECISION_BYTES_MAX;
use crate::api::params::Segment;
use crate::api::problem::ApiError;
use crate::api::wire::{Approval, Fault, NewDecision, Problem};

impl JsonBody for NewDecision {
    const BYTES_MAX: usize = DECISION_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        shape(value)
    }
}

/// Approves or rejects, once per approver
///
/// `subject` says what the approver saw. Where that has changed since, nothing is decided.
#[utoipa::path(post, path = "/v1/approvals/{id}", tag = "approvals", operation_id = "decide_approval",
    params(("id" = String, Path, description = "Id of the approval")),
    request_body = NewDecision,
    responses(
        (status = 200, description = "The approval as it is now", body = Approval),
        (status = 403, description = "This approver may not decide it, or has a key and did not sign this with it", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is decided, has changed or has lapsed (`already-decided`, `changed`, `expired`)",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn decide_approval(
    State(api): State<Api>,
    Segment(id): Segment,
    StrictJson { value, room: _room }: StrictJson<NewDecision>,
) -> Result<Json<Approval>, ApiError> {
    let view = api.engine().decide(&id, value.into()).await?;
    Ok(Json(view.into()))
}
