//! What every request passes: the token, the limits on requests and time, and the headers of every response.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::body::discard_body;
use super::limits::REQUEST_WALL_MAX;
use super::problem::{ApiError, Kind};
use super::routes::{self, HEALTH, PUBLIC};
use super::{Api, auth, try_permit};
use crate::engine::tenants::Caller;

/// Admits a request and finishes its response.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = if request.uri().path() == HEALTH {
        // Says only that the host lives, so it needs neither token nor permit and answers however much is going on.
        next.run(request).await
    } else {
        admitted(&api, request, next)
            .await
            .unwrap_or_else(IntoResponse::into_response)
    };
    finish(response.headers_mut());
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

/// The response, where the caller shows the token or needs none, and there is room.
///
/// The permit is given back when the response begins. What is streamed after that is bounded by permits of its own.
async fn admitted(api: &Api, mut request: Request, next: Next) -> Result<Response, ApiError> {
    if !request.uri().path().starts_with(PUBLIC) {
        let path = request.extensions().get::<MatchedPath>().cloned();
        let method = request.method().clone();
        match caller(api, request.headers(), &method, path).await {
            Ok(caller) => request.extensions_mut().insert(caller),
            Err(error) => {
                discard_body(request).await;
                return Err(error);
            }
        };
    }
    let _permit = try_permit(&api.0.requests).ok_or_else(|| {
        ApiError::new(Kind::Overloaded, "too many requests at one time; try again")
    })?;
    // A handler that panics must not take the connection down without a word.
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(REQUEST_WALL_MAX, handled).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => Err(ApiError::internal(&"a handler panicked")),
        Err(_) => Err(ApiError::new(
            Kind::Timeout,
            "the host did not answer in time; what was asked may still happen, so look before you ask again",
        )),
    }
}

/// Who asks, where that one may ask this.
async fn caller(
    api: &Api,
    headers: &HeaderMap,
    method: &Method,
    path: Option<MatchedPath>,
) -> Result<Caller, ApiError> {
    let check = || {
        let tenant_with = |token: &str| api.engine().tenant_with(token);
        auth::check(api.token(), tenant_with, headers)
    };
    let mut caller = check();
    if !matches!(caller, Ok(Caller::Operator)) && headers.contains_key(AUTHORIZATION) {
        // Another host may have let somebody in, or out.
        let is_known = caller.is_ok();
        api.engine().freshen_tenants(is_known).await?;
        caller = check();
    }
    let caller = caller?;
    let path = path.as_ref().map_or("", MatchedPath::as_str);
    if caller == Caller::Operator || routes::is_open_to_tenants(method, path) {
        return Ok(caller);
    }
    Err(ApiError::new(
        Kind::Forbidden,
        "a tenant may submit tasks and look after its own; this needs the host's own token",
    ))
}

/// Answers change and may be secret, so nothing keeps them unless a handler says otherwise.
pub(crate) fn finish(headers: &mut HeaderMap) {
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
