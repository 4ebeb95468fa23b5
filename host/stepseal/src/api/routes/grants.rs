//! What the operator lets a plugin use.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson};
use crate::api::limits::DOCUMENT_BYTES_MAX;
use crate::api::params::{ActorHeader, Segment};
use crate::api::problem::ApiError;
use crate::api::wire::{Fault, Fit, Grant, GrantDocument, List, Problem};
use crate::store::GrantRow;

/// A grant document; the engine checks it and lists every fault.
pub(super) struct Document(Value);

impl JsonBody for Document {
    const BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        Ok(Self(value))
    }
}

/// Puts a grant in force for every version of a plugin
///
/// It takes the place of the one before as a whole. Approvals that were opened under another grant become void.
#[utoipa::path(put, path = "/v1/plugins/{name}/grants", tag = "grants", operation_id = "put_grant",
    params(
        ("name" = String, Path, description = "Name of the plugin", example = "ledger"),
        ("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client"),
    ),
    request_body = GrantDocument,
    responses((status = 200, description = "The grant now in force", body = Grant)))]
pub(super) async fn put_grant(
    State(api): State<Api>,
    Segment(plugin): Segment,
    ActorHeader(actor): ActorHeader,
    StrictJson {
        value: Document(document),
        room: _room,
    }: StrictJson<Document>,
) -> Result<Json<Grant>, ApiError> {
    let row = api.engine().put_grant(&plugin, document, actor).await?;
    with_fit(&api, row).await
}

/// A grant beside what the plugin imports.
async fn with_fit(api: &Api, row: GrantRow) -> Result<Json<Grant>, ApiError> {
    let fit = api.engine().fit_of_newest(&row.plugin).await?;
    Ok(Json(Grant {
        fit: fit.map(Fit::from),
        ..Grant::try_from(row)?
    }))
}

/// Shows the grant in force for a plugin
#[utoipa::path(get, path = "/v1/plugins/{name}/grants", tag = "grants", operation_id = "show_grant",
    params(("name" = String, Path, description = "Name of the plugin", example = "ledger")),
    responses(
        (status = 200, description = "The grant in force", body = Grant),
        (status = 404, description = "Nothing is granted to it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_grant(
    State(api): State<Api>,
    Segment(plugin): Segment,
) -> Result<Json<Grant>, ApiError> {
    let row = api.engine().grant(&plugin).await?;
    with_fit(&api, row).await
}

/// Lists the grants a plugin ever had
///
/// The newest first: the one in force, then those it took the place of. Records name them by their digests. 1,000 at most.
#[utoipa::path(get, path = "/v1/plugins/{name}/grants/history", tag = "grants", operation_id = "list_grant_history",
    params(("name" = String, Path, description = "Name of the plugin", example = "ledger")),
    responses(
        (status = 200, description = "The grants it ever had", body = List<Grant>),
        (status = 404, description = "Nothing was ever granted to it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list_grant_history(
    State(api): State<Api>,
    Segment(plugin): Segment,
) -> Result<Json<List<Grant>>, ApiError> {
    listed(api.engine().grant_history(&plugin).await?)
}

/// Lists every grant in force by plugin
#[utoipa::path(get, path = "/v1/grants", tag = "grants", operation_id = "list_grants",
    responses((status = 200, description = "Every grant in force", body = List<Grant>)))]
pub(super) async fn list_grants(State(api): State<Api>) -> Result<Json<List<Grant>>, ApiError> {
    listed(api.engine().grants().await?)
}

fn listed(rows: Vec<GrantRow>) -> Result<Json<List<Grant>>, ApiError> {
    let items = rows
        .into_iter()
        .map(Grant::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Json(List { items }))
}
