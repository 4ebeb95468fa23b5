//! Listing tasks.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use stepseal_receipts::state::TaskState;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::limits::PAGE_MAX;
use crate::api::params::{Asker, Params, cursor, cut, page_size};
use crate::api::problem::ApiError;
use crate::api::wire::task::TaskStateText;
use crate::api::wire::{Page, TaskSummary};
use crate::engine::tenants::Caller;
use crate::store::TaskQuery;

/// Which tasks to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListParams {
    /// Only tasks in this state.
    #[param(value_type = Option<TaskStateText>, nullable = false)]
    state: Option<TaskState>,
    /// Only tasks of this agent.
    #[param(nullable = false)]
    agent: Option<String>,
    /// Entries of the page, 50 where absent.
    #[param(minimum = 1, maximum = 200, nullable = false)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Lists tasks, newest first
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", operation_id = "list_tasks", params(ListParams),
    responses((status = 200, description = "A page of tasks", body = Page<TaskSummary>)))]
pub(in crate::api) async fn list_tasks(
    State(api): State<Api>,
    Asker(caller): Asker,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<TaskSummary>>, ApiError> {
    let size = page_size(params.limit, PAGE_MAX)?;
    let query = TaskQuery {
        tenant: match &caller {
            Caller::Operator => None,
            Caller::Tenant(name) => Some(name.to_string()),
        },
        state: params.state,
        agent: params.agent,
        before: cursor(params.cursor)?,
        // One more tells whether there is a page after this.
        limit: size + 1,
    };
    let mut rows = api.engine().tasks(query).await?;
    let next = cut(&mut rows, size, |row| &row.task.id);
    let items = rows
        .into_iter()
        .map(TaskSummary::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next }))
}
