//! Secrets that the host injects into requests of steps. They come in and never go out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;

use crate::api::Api;
use crate::api::body::{JsonBody, StrictJson, shape};
use crate::api::limits::DECISION_BYTES_MAX;
use crate::api::params::Segment;
use crate::api::problem::ApiError;
use crate::api::wire::{Fault, List, NewSecret, Problem, Secret};

impl JsonBody for NewSecret {
    const BYTES_MAX: usize = DECISION_BYTES_MAX;

    fn from_json(value: Value) -> Result<Self, Fault> {
        shape(value)
    }
}

/// Keeps a secret
///
/// It takes the place of the one before. Grants say into which requests it goes. The value is in no answer, record or log.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "grants", operation_id = "put_secret", request_body = NewSecret,
    params(("name" = String, Path, description = "Name of the secret", example = "api-key")),
    responses(
        (status = 200, description = "It is kept", body = Secret),
        (status = 409, description = "There are too many (`too-many-secrets`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn put_secret(
    State(api): State<Api>,
    Segment(name): Segment,
    StrictJson { value, room: _room }: StrictJson<NewSecret>,
) -> Result<Json<Secret>, ApiError> {
    api.engine().put_secret(&name, value.value).await?;
    Ok(Json(Secret { name }))
}

/// Lists the names of all secrets
#[utoipa::path(get, path = "/v1/secrets", tag = "grants", operation_id = "list_secrets",
    responses((status = 200, description = "Every name", body = List<Secret>)))]
pub(super) async fn list_secrets(State(api): State<Api>) -> Json<List<Secret>> {
    let names = api.engine().secrets().into_iter();
    let items = names.map(|name| Secret { name }).collect();
    Json(List { items })
}

/// Forgets a secret
///
/// Requests that need it are refused from then on.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "grants", operation_id = "remove_secret",
    params(("name" = String, Path, description = "Name of the secret")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn remove_secret(
    State(api): State<Api>,
    Segment(name): Segment,
) -> Result<StatusCode, ApiError> {
    api.engine().remove_secret(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
