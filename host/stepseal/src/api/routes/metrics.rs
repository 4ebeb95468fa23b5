//! What the host counts, for monitoring.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::api::Api;
use crate::api::problem::ApiError;

/// The media type of `OpenMetrics` 1.0.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Gives metrics of the host
///
/// `OpenMetrics` 1.0 text: events of tasks by kind, tasks that run, the log, and how it goes with its witnesses. Nothing in it names a
/// task, a plugin or an agent.
#[utoipa::path(get, path = "/metrics", tag = "host", operation_id = "metrics",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, ApiError> {
    let text = api.engine().metrics().await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}
