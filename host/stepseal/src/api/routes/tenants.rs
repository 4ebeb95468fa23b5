//! Clients with a token and tasks of their own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::Api;
use crate::api::params::Segment;
use crate::api::problem::ApiError;
use crate::api::wire::{List, Problem, Tenant, TenantToken};

/// Lets a tenant in
///
/// The answer is the only place where its token ever is. Where the tenant is in already it gets another one, and the one before
/// counts no more.
#[utoipa::path(put, path = "/v1/tenants/{name}", tag = "tenants", operation_id = "put_tenant",
    params(("name" = String, Path, description = "Name of the tenant", example = "treasury")),
    responses(
        (status = 201, description = "It is let in", body = TenantToken),
        (status = 200, description = "It has another token", body = TenantToken),
        (status = 422, description = "This cannot be a tenant's name", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are too many (`too-many-tenants`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put_tenant(
    State(api): State<Api>,
    Segment(name): Segment,
) -> Result<(StatusCode, Json<TenantToken>), ApiError> {
    let (token, new) = api.engine().put_tenant(&name).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(TenantToken { name, token })))
}

/// Lists tenants by name
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", operation_id = "list_tenants",
    responses((status = 200, description = "Every tenant", body = List<Tenant>)))]
pub(super) async fn list_tenants(State(api): State<Api>) -> Json<List<Tenant>> {
    let tenants = api.engine().tenants().into_iter();
    let items = tenants.map(Tenant::from).collect();
    Json(List { items })
}

/// Shuts a tenant out
///
/// Its token counts no more. What it submitted goes on.
#[utoipa::path(delete, path = "/v1/tenants/{name}", tag = "tenants", operation_id = "remove_tenant",
    params(("name" = String, Path, description = "Name of the tenant")),
    responses(
        (status = 204, description = "It is shut out"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove_tenant(
    State(api): State<Api>,
    Segment(name): Segment,
) -> Result<StatusCode, ApiError> {
    api.engine().remove_tenant(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
