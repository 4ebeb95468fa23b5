//! Dry runs.

use axum::Json;
use axum::extract::State;

use super::tasks::submit::Body;
use crate::api::Api;
use crate::api::body::StrictJson;
use crate::api::params::Asker;
use crate::api::problem::ApiError;
use crate::api::wire::{PlanCheck, Submission};

/// Resolves and judges a submission and runs nothing
///
/// Every fault is listed in one answer. Where the input of a step is known only once another step ran, policies are asked
/// about it then.
#[utoipa::path(post, path = "/v1/plans/check", tag = "tasks", operation_id = "check_plan", request_body = Submission,
    responses((status = 200, description = "What would happen", body = PlanCheck)))]
pub(super) async fn check_plan(
    State(api): State<Api>,
    Asker(caller): Asker,
    StrictJson {
        value: Body(submission),
        room: _room,
    }: StrictJson<Body>,
) -> Result<Json<PlanCheck>, ApiError> {
    let check = api.engine().check_plan(caller.tenant(), submission);
    let check = check.await?;
    Ok(Json(check.into()))
}
