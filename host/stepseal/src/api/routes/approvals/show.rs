//! Showing an approval.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::params::Segment;
use crate::api::problem::ApiError;
use crate::api::wire::{Approval, Problem};

/// Shows an approval with everything an approver needs
///
/// `preimage` is the exact text whose SHA-256 is `subject`; recompute it before you approve.
#[utoipa::path(get, path = "/v1/approvals/{id}", tag = "approvals", operation_id = "show_approval",
    params(("id" = String, Path, description = "Id of the approval")),
    responses(
        (status = 200, description = "The approval", body = Approval),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn show_approval(
    State(api): State<Api>,
    Segment(id): Segment,
) -> Result<Json<Approval>, ApiError> {
    let view = api.engine().approval(&id).await?;
    Ok(Json(view.into()))
}
