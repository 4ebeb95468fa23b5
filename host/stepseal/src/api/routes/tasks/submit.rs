//! Submitting a task.

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::api::body::{JsonBody, StrictJson};
use crate::api::limits::SUBMISSION_BYTES_MAX;
use crate::api::params::{Asker, PREFERENCE_APPLIED, idempotency_key, prefer_wait};
use crate::api::problem::ApiError;
use crate::api::wire::{Fault, Problem, Submission, Task};
use crate::api::{Api, try_permit};
use crate::engine::tasks::Submitted;

/// A submission; the engine checks it and lists every fault.
pub(in crate::api) struct Body(pub(in crate::api) Value);

impl JsonBody for Body {
    const BYTES_MAX: usize = SUBMISSION_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        Ok(Self(value))
    }
}

/// Submits a task
///
/// When this is answered with 201 the task is on disk and runs, whatever happens to the host. With `Prefer: wait=N` the
/// answer comes when the task is final or waits for a person, or after N seconds.
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks", operation_id = "submit_task", request_body = Submission,
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, description = "1 to 255 visible ASCII characters. The same key with the same \
            body again gives the same task"),
        ("Prefer" = Option<String>, Header, nullable = false, description = "`wait=N`: wait up to N seconds, at most 60", example = "wait=10"),
    ),
    responses(
        (status = 201, description = "It is accepted", body = Task, headers(
            ("Location" = String, description = "Where the task is"),
            ("Preference-Applied" = String, description = "`wait`, where the host waited"))),
        (status = 200, description = "The key was known: the task it made", body = Task, headers(
            ("Location" = String, description = "Where the task is"),
            ("Preference-Applied" = String, description = "`wait`, where the host waited"))),
        (status = 409, description = "The key came with another body before (`key-reused`)", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn submit_task(
    State(api): State<Api>,
    Asker(caller): Asker,
    headers: HeaderMap,
    StrictJson {
        value: Body(submission),
        room,
    }: StrictJson<Body>,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?;
    let wait = prefer_wait(&headers).zip(try_permit(&api.0.waits));
    let engine = api.engine();
    let submitted = engine.submit(caller.tenant(), submission, key, wait.is_some());
    let mut submitted = submitted.await?;
    drop(room);
    if let Some((patience, _permit)) = &wait {
        let mut closing = api.closing();
        tokio::select! {
            later = api.engine().wait(&mut submitted, *patience) => submitted.task = later?,
            // The host is to stop, and the task is safe: answer with what is known.
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    let Submitted { task, new, .. } = submitted;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/v1/tasks/{}", task.row.task.id);
    let mut response = (status, [(LOCATION, location)], Json(Task::from(task))).into_response();
    if wait.is_some() {
        response
            .headers_mut()
            .insert(PREFERENCE_APPLIED, HeaderValue::from_static("wait"));
    }
    Ok(response)
}
