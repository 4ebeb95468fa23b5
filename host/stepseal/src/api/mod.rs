//! The REST interface: `/v1`, JSON in and out, problems per RFC 9457, described at `/openapi.json`.
//!
//! A request comes in one way: [`serve`] bounds connections and headers, `guard` checks the token and admits it,
//! `body` and `params` take it apart strictly, the handler calls the engine, and `problem` turns what went wrong into an
//! answer. Nothing here decides anything about tasks.
//!
//! Deliberately absent: cross-origin headers (a page from elsewhere has no business here), TLS (loopback by default; a
//! proxy in front of it otherwise), and cookies (the only credential is the bearer token, which no browser adds by itself).

mod auth;
mod body;
mod events;
mod guard;
mod limits;
mod openapi;
mod params;
mod problem;
mod routes;
mod serve;
pub mod wire;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::engine::Engine;

pub use auth::{TOKEN_LENGTH_MAX, TOKEN_LENGTH_MIN, Token, TokenError};
pub use limits::*;
pub use openapi::{openapi, openapi_json};
pub use serve::{serve, serve_router};

/// Everything of the interface as one service, for [`serve`] and for tests that bring their own connections.
pub fn router(engine: Engine, token: Token) -> Router {
    build(Api::new(engine, token))
}

fn build(api: Api) -> Router {
    let (router, _) = routes::all().split_for_parts();
    router
        .fallback(routes::no_such_place)
        .method_not_allowed_fallback(routes::no_such_method)
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    engine: Engine,
    token: Token,
    /// One permit a request, [`REQUESTS_MAX`].
    requests: Arc<Semaphore>,
    /// One permit a request that waits for a task, [`WAITS_MAX`].
    waits: Arc<Semaphore>,
    /// One permit a stream of events, [`EVENT_STREAMS_MAX`].
    streams: Arc<Semaphore>,
    /// One permit a KiB of request bodies in memory, [`BODIES_BYTES_MAX`].
    bodies: Arc<Semaphore>,
    /// True from when the host shuts down: streams end then.
    closing: watch::Sender<bool>,
}

impl Api {
    fn new(engine: Engine, token: Token) -> Self {
        Self(Arc::new(Shared {
            engine,
            token,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            waits: Arc::new(Semaphore::new(WAITS_MAX)),
            streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX / body::UNIT_BYTES)),
            closing: watch::Sender::new(false),
        }))
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn token(&self) -> &Token {
        &self.0.token
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }
}

/// A permit, if there is one right now.
fn try_permit(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    semaphore.clone().try_acquire_owned().ok()
}
