//! Whether the host lives, and whether it can take tasks.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::problem::{ApiError, Kind};
use crate::api::wire::{Problem, Status};

/// Where the health check is. The guard lets it pass without token and permit.
pub(in crate::api) const HEALTH: &str = "/healthz";

/// Tells that the host lives
///
/// Needs no token and is answered however much is going on.
#[utoipa::path(get, path = "/healthz", tag = "host", operation_id = "healthz", security(()),
    responses((status = 200, description = "It lives", body = Status)))]
pub(in crate::api) async fn healthz() -> Json<Status> {
    Json(Status {
        status: "ok".to_owned(),
    })
}

/// Tells whether the host can take tasks
///
/// Asks the database whether it can be written to.
#[utoipa::path(get, path = "/readyz", tag = "host", operation_id = "readyz",
    responses(
        (status = 200, description = "It can", body = Status, example = json!({"status": "ready"})),
        (status = 503, description = "It cannot; its log says why", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Status>, ApiError> {
    match api.engine().ready().await {
        Ok(()) => Ok(Json(Status {
            status: "ready".to_owned(),
        })),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(ApiError::new(
                Kind::NotReady,
                "the host cannot take tasks; its log says why",
            ))
        }
    }
}
