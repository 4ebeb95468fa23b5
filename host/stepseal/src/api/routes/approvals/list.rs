//! Listing approvals.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::limits::APPROVAL_PAGE_MAX;
use crate::api::params::{Params, cursor, cut, page_size};
use crate::api::problem::ApiError;
use crate::api::wire::{ApprovalState, ApprovalSummary, Page};
use crate::store::ApprovalQuery;

/// Which approvals to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ListParams {
    /// Only approvals in this state.
    #[param(nullable = false)]
    state: Option<ApprovalState>,
    /// Only approvals of this task.
    #[param(nullable = false)]
    task: Option<String>,
    /// Entries of the page, 50 where absent.
    #[param(minimum = 1, maximum = 50, nullable = false)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Lists approvals, newest first
///
/// Without what may be large: input, grants and verdicts are in the approval itself.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", operation_id = "list_approvals", params(ListParams),
    responses((status = 200, description = "A page of approvals", body = Page<ApprovalSummary>)))]
pub(in crate::api) async fn list_approvals(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<ApprovalSummary>>, ApiError> {
    let size = page_size(params.limit, APPROVAL_PAGE_MAX)?;
    let query = ApprovalQuery {
        state: params.state.map(Into::into),
        task: params.task,
        before: cursor(params.cursor)?,
        // One more tells whether there is a page after this.
        limit: size + 1,
    };
    let mut views = api.engine().approvals(query).await?;
    let next = cut(&mut views, size, |view| &view.row.id);
    let items = views.into_iter().map(ApprovalSummary::from).collect();
    Ok(Json(Page { items, next }))
}
