//! Taking a task back.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::params::TaskSegment;
use crate::api::problem::ApiError;
use crate::api::wire::{Problem, Task};

/// Takes a task back
///
/// Steps that run are stopped. An effect that has begun is not undone.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", tag = "tasks", operation_id = "cancel_task",
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The task as it is now", body = Task),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "It was erased (`erased`)", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over already (`finished`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn cancel_task(
    State(api): State<Api>,
    TaskSegment(id): TaskSegment,
) -> Result<Json<Task>, ApiError> {
    let task = api.engine().cancel(&id).await?;
    Ok(Json(task.into()))
}
