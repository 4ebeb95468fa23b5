//! The description of the interface.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::api::openapi_json;

static DOCUMENT: LazyLock<String> = LazyLock::new(openapi_json);

/// Describes this interface
#[utoipa::path(get, path = "/openapi.json", tag = "host", operation_id = "openapi",
    responses((status = 200, description = "The OpenAPI document", body = Object)))]
pub(super) async fn openapi_document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
