//! Plugins and policies as bytes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::body::{Bounded, WasmBody};
use crate::api::params::{ActorHeader, DigestSegment, Params};
use crate::api::problem::ApiError;
use crate::api::wire::scalar::{DigestText, WasmBytes};
use crate::api::wire::{Compilation, Component, ComponentKind, Fit, List, Problem};
use crate::store::ComponentRow;

/// Uploads a component
///
/// The host checks its imports and exports, compiles it and reads its description before it keeps it. At most 32 MiB. The
/// same bytes again are no error. The `code` of a refusal is one of `not-wasm`, `core-module`, `not-component`,
/// `no-known-export`, `ambiguous-export`, `foreign-import`, `import-mismatch`, `wrong-type`, `does-not-compile`,
/// `describe-failed` and `bad-descriptor`.
#[utoipa::path(post, path = "/v1/components", tag = "components", operation_id = "add_component",
    request_body(content = inline(WasmBytes), content_type = "application/wasm", description = "The component"),
    params(("Stepseal-Actor" = Option<String>, Header, nullable = false, description = "Who asks, for the record: 1 to 255 visible ASCII characters. A claim of the client")),
    responses(
        (status = 201, description = "It is new", body = Component, headers(("Location" = String, description = "Where it is"))),
        (status = 200, description = "The same bytes were there already", body = Component,
            headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "Its name and version belong to other bytes (`name-taken`)", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "It was refused; `code` says why", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn add_component(
    State(api): State<Api>,
    ActorHeader(actor): ActorHeader,
    WasmBody(Bounded { bytes, room }): WasmBody,
) -> Result<impl IntoResponse, ApiError> {
    let (row, new) = api.engine().add_component(bytes, actor).await?;
    drop(room);
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/v1/components/{}", row.digest);
    let component = with_fit(&api, row).await?;
    Ok((status, [(LOCATION, location)], Json(component)))
}

/// Which components to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only plugins, or only policies.
    #[param(nullable = false)]
    kind: Option<ComponentKind>,
}

/// Lists components by name, then time of upload
#[utoipa::path(get, path = "/v1/components", tag = "components", operation_id = "list_components", params(ListParams),
    responses((status = 200, description = "Every component", body = List<Component>)))]
pub(super) async fn list_components(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Result<Json<List<Component>>, ApiError> {
    let rows = api.engine().components(params.kind.map(Into::into)).await?;
    let items = rows
        .into_iter()
        .map(Component::try_from)
        .collect::<Result<_, _>>()?;
    Ok(Json(List { items }))
}

/// Shows a component
#[utoipa::path(get, path = "/v1/components/{digest}", tag = "components", operation_id = "show_component",
    params(("digest" = DigestText, Path, description = "Digest of its bytes")),
    responses(
        (status = 200, description = "The component", body = Component),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show_component(
    State(api): State<Api>,
    DigestSegment(digest): DigestSegment,
) -> Result<Json<Component>, ApiError> {
    let row = api.engine().component(&digest).await?;
    Ok(Json(with_fit(&api, row).await?))
}

/// A component beside what is granted to it.
async fn with_fit(api: &Api, row: ComponentRow) -> Result<Component, ApiError> {
    let fit = api.engine().fit(&row).await?;
    Ok(Component {
        fit: fit.map(Fit::from),
        ..Component::try_from(row)?
    })
}

/// Downloads the bytes of a component
///
/// They never change, so they may be kept for good.
#[utoipa::path(get, path = "/v1/components/{digest}/content", tag = "components", operation_id = "component_content",
    params(("digest" = DigestText, Path, description = "Digest of its bytes")),
    responses(
        (status = 200, description = "The exact bytes", body = inline(WasmBytes), content_type = "application/wasm"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn component_content(
    State(api): State<Api>,
    DigestSegment(digest): DigestSegment,
) -> Result<impl IntoResponse, ApiError> {
    let bytes = api.engine().component_content(&digest).await?;
    let headers = [
        (CONTENT_TYPE, "application/wasm"),
        (CACHE_CONTROL, "private, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes))
}

/// Lists what is compiled now, and what waits for it
///
/// In the order in which they came; one is compiled at a time. A component that is in neither state any more is checked, or done.
#[utoipa::path(get, path = "/v1/compilations", tag = "components", operation_id = "list_compilations",
    responses((status = 200, description = "Every component that is compiled or waits", body = List<Compilation>)))]
pub(super) async fn list_compilations(State(api): State<Api>) -> Json<List<Compilation>> {
    let items = api.engine().compilations();
    Json(List {
        items: items.into_iter().map(Into::into).collect(),
    })
}
