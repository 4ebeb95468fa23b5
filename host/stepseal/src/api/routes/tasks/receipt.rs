//! The receipt of a task.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::params::{Params, TaskSegment};
use crate::api::problem::ApiError;
use crate::api::wire::Problem;
use crate::api::wire::record::RECEIPT;

/// What to put into the receipt.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ReceiptParams {
    /// Whether inputs, outputs and other payloads are disclosed; `true` where absent. Without them the receipt still
    /// proves their digests.
    #[param(nullable = false)]
    payloads: Option<bool>,
    /// Leaves of the log in the last checkpoint that the reader saw: the receipt then proves that the log only grew since.
    #[param(nullable = false)]
    seen: Option<u64>,
}

/// Gives the receipt of a task as of now
///
/// It proves the task's records offline, to whoever has the trust file. Of a task that is not over, it says so.
#[utoipa::path(get, path = "/v1/tasks/{id}/receipt", tag = "tasks", operation_id = "task_receipt",
    params(("id" = String, Path, description = "Id of the task"), ReceiptParams),
    responses(
        (status = 200, description = "The receipt", body = Object, content_type = "application/vnd.stepseal.receipt.v1+json",
            headers(("Content-Disposition" = String, description = "A name for the file"))),
        (status = 404, description = "There is no such task", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The log has fewer leaves than `seen`", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn task_receipt(
    State(api): State<Api>,
    TaskSegment(id): TaskSegment,
    Params(params): Params<ReceiptParams>,
) -> Result<Response, ApiError> {
    let receipt = api
        .engine()
        .receipt(&id, params.payloads.unwrap_or(true), params.seen)
        .await?;
    let mut response = ([(CONTENT_TYPE, RECEIPT)], receipt).into_response();
    // The engine knows the id, so it is one of its own making; anything else would not fit between the quotes.
    if let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{id}.stepseal.json\""))
    {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
