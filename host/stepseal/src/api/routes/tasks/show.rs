//! Showing a task.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::params::TaskSegment;
use crate::api::problem::ApiError;
use crate::api::wire::{Problem, Task};

/// Shows a task with its steps and their outputs
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks", operation_id = "show_task",
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The task", body = Task),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "It was erased (`erased`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn show_task(
    State(api): State<Api>,
    TaskSegment(id): TaskSegment,
) -> Result<Json<Task>, ApiError> {
    let task = api.engine().task(&id).await?;
    Ok(Json(task.into()))
}
