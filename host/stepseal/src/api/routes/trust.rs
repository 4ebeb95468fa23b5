//! The trust file.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::api::Api;
use crate::api::problem::ApiError;
use crate::api::wire::record::TRUST;

/// Gives the keys that a verifier of this host's receipts must believe
///
/// Fetch it once, over a way you trust, and keep it: a receipt proves nothing to who takes the keys from the one that sent it.
#[utoipa::path(get, path = "/v1/trust", tag = "host", operation_id = "trust",
    responses((status = 200, description = "The trust file", body = Object, content_type = "application/vnd.stepseal.trust.v1+json")))]
pub(super) async fn trust_file(State(api): State<Api>) -> Result<impl IntoResponse, ApiError> {
    let file = api.engine().trust().await?;
    Ok(([(CONTENT_TYPE, TRUST)], file))
}
