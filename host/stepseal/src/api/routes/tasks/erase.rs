//! Erasing what a task left.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::params::{ActorHeader, Params, Segment};
use crate::api::problem::ApiError;
use crate::api::wire::Problem;

/// Why it must be erased.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EraseParams {
    /// The legal basis or other reason, for the log: 1 to 255 bytes without control characters. It is never erased, so name nobody.
    #[param(example = "GDPR Art. 17, request 4711")]
    basis: String,
}

/// Erases the payloads of a task
///
/// Plan, inputs, outputs, what policies were shown, events, approvals, agent and labels: all that is kept of a finished task but its
/// records, which prove as much as before and show nothing. When this answers, no file of the host holds the bytes. Receipts that
/// were made before keep what they disclose. Erasing twice is no error.
#[utoipa::path(delete, path = "/v1/tasks/{id}/payloads", tag = "tasks", operation_id = "erase_payloads",
    params(
        ("id" = String, Path, description = "Id of the task"),
        ("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client"),
        EraseParams,
    ),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "There is no such task", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not over (`unfinished`)", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The basis is not right", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn erase_payloads(
    State(api): State<Api>,
    Segment(id): Segment,
    ActorHeader(actor): ActorHeader,
    Params(params): Params<EraseParams>,
) -> Result<StatusCode, ApiError> {
    api.engine()
        .erase_payloads(&id, &params.basis, actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Erases the records of a task
///
/// The deeper form: the signed envelopes go, with everything that erasing the payloads takes. What stays is the task's row and, of each
/// record, its leaf in the log, which holds a digest, a signature and a key. The task's receipt proves that they were there and what
/// the basis was, and no more; it is accepted only by who allows that. Whole logs verify as before. Erasing twice is no error.
#[utoipa::path(delete, path = "/v1/tasks/{id}/records", tag = "tasks", operation_id = "erase_records",
    params(
        ("id" = String, Path, description = "Id of the task"),
        ("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client"),
        EraseParams,
    ),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "There is no such task", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not over (`unfinished`)", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The basis is not right", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn erase_records(
    State(api): State<Api>,
    Segment(id): Segment,
    ActorHeader(actor): ActorHeader,
    Params(params): Params<EraseParams>,
) -> Result<StatusCode, ApiError> {
    api.engine()
        .erase_records(&id, &params.basis, actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
