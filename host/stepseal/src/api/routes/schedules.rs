//! Submissions that the host makes by itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson, shape};
use crate::api::limits::DOCUMENT_BYTES_MAX;
use crate::api::params::Segment;
use crate::api::problem::ApiError;
use crate::api::wire::{Fault, List, NewSchedule, Problem, Schedule};

impl JsonBody for NewSchedule {
    const BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        shape(value)
    }
}

/// Puts a schedule in the place of the one with its name
///
/// Its submission is checked as a task's is, and nothing of it is kept but the text: names are resolved, plugins pinned and policies asked each
/// time that it is due. Its tasks are the operator's and have the label `stepseal.schedule`. Its times begin now.
#[utoipa::path(put, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "put_schedule", request_body = NewSchedule,
    params(("name" = String, Path, description = "Name of the schedule", example = "nightly")),
    responses(
        (status = 201, description = "There was none, and now there is", body = Schedule),
        (status = 200, description = "It took the place of another", body = Schedule),
        (status = 409, description = "There are too many (`too-many-schedules`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put_schedule(
    State(api): State<Api>,
    Segment(name): Segment,
    StrictJson { value, room: _room }: StrictJson<NewSchedule>,
) -> Result<(StatusCode, Json<Schedule>), ApiError> {
    let (schedule, new) = api.engine().put_schedule(&name, value.into()).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(schedule.into())))
}

/// Shows a schedule
#[utoipa::path(get, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "show_schedule",
    params(("name" = String, Path, description = "Name of the schedule", example = "nightly")),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_schedule(
    State(api): State<Api>,
    Segment(name): Segment,
) -> Result<Json<Schedule>, ApiError> {
    Ok(Json(api.engine().schedule_named(&name).await?.into()))
}

/// Lists schedules by name
///
/// What they submit is left out.
#[utoipa::path(get, path = "/v1/schedules", tag = "schedules", operation_id = "list_schedules",
    responses((status = 200, description = "Every schedule", body = List<Schedule>)))]
pub(super) async fn list_schedules(
    State(api): State<Api>,
) -> Result<Json<List<Schedule>>, ApiError> {
    let schedules = api.engine().schedules().await?.into_iter();
    let items = schedules.map(|schedule| Schedule {
        submission: None,
        ..schedule.into()
    });
    Ok(Json(List {
        items: items.collect(),
    }))
}

/// Removes a schedule
///
/// What it submitted goes on.
#[utoipa::path(delete, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "remove_schedule",
    params(("name" = String, Path, description = "Name of the schedule")),
    responses(
        (status = 204, description = "It is removed"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove_schedule(
    State(api): State<Api>,
    Segment(name): Segment,
) -> Result<StatusCode, ApiError> {
    api.engine().remove_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
