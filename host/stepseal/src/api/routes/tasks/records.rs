//! The records of a task.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::params::TaskSegment;
use crate::api::problem::ApiError;
use crate::api::wire::{List, Problem, Record};

/// Lists the signed records of a task in order
#[utoipa::path(get, path = "/v1/tasks/{id}/records", tag = "tasks", operation_id = "task_records",
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "Its records", body = List<Record>),
        (status = 404, description = "There is no such task", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn task_records(
    State(api): State<Api>,
    TaskSegment(id): TaskSegment,
) -> Result<Json<List<Record>>, ApiError> {
    let rows = api.engine().records(&id).await?;
    let items = rows
        .into_iter()
        .map(Record::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Json(List { items }))
}
