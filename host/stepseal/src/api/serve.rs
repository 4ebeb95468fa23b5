//! Connections: how many, how slow, and how they end.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::limits::{
    CONNECTIONS_MAX, DRAIN_WALL_MAX, HEADER_BYTES_MAX, HEADER_WALL_MAX, SPARE_CONNECTIONS_MAX,
    SPARE_WALL_MAX,
};
use super::problem::{ApiError, Kind};
use super::routes::{HEALTH, healthz};
use super::{Api, Token, build, guard, try_permit};
use crate::engine::Engine;

/// Pause after the operating system refuses a connection for lack of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes read ahead of a connection.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Serves the interface on `listener` until `shutdown` completes; then takes no new connection, ends streams of events,
/// and returns when every request is answered, or after [`DRAIN_WALL_MAX`].
///
/// HTTP/1.1 only. A client that is slow with a header is cut off after [`HEADER_WALL_MAX`]. Beyond [`CONNECTIONS_MAX`], a
/// connection gets one quick answer: from `/healthz`, or 503.
///
/// # Errors
/// Where the listener's address cannot be read, that is, where the listener is broken from the start.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    token: Token,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let api = Api::new(engine, token);
    let router = build(api.clone());
    serve_router(listener, router, &api.0.closing, shutdown).await
}

/// The same for any service. `closing` becomes true when no more connections are taken.
///
/// # Errors
/// As those of [`serve`].
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    closing: &watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "serving");
    let lanes = Lanes::new(router);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        // One that is accepted while every lane is full waits here, the rest in the operating system's queue.
        let accepted = async { (listener.accept().await, lanes.enter().await) };
        let (accepted, lane) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(lane.serve(stream, closing.subscribe()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    closing.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_WALL_MAX, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were cut off, since the host is to stop"
        );
        connections.shutdown().await;
    }
    Ok(())
}

/// Whether only the one connection is broken.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused
    )
}

/// Where connections go: to the whole interface while there is room, else to the little one.
struct Lanes {
    whole: Router,
    little: Router,
    room: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

impl Lanes {
    fn new(whole: Router) -> Self {
        Self {
            whole,
            little: little(),
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS_MAX)),
        }
    }

    async fn enter(&self) -> Lane {
        if let Some(permit) = try_permit(&self.room) {
            return Lane {
                router: self.whole.clone(),
                spare: false,
                _permit: permit,
            };
        }
        let permit = self
            .spare
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Lane {
            router: self.little.clone(),
            spare: true,
            _permit: permit,
        }
    }
}

/// What a host with too many connections still says.
fn little() -> Router {
    Router::new()
        .route(HEALTH, get(healthz))
        .fallback(|| async {
            ApiError::new(
                Kind::Overloaded,
                "too many connections at one time; close idle ones, or try again",
            )
        })
        .layer(map_response(|mut response: Response| async {
            guard::finish(response.headers_mut());
            response
        }))
}

/// Where one connection goes.
struct Lane {
    router: Router,
    spare: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    async fn serve(self, stream: TcpStream, mut closing: watch::Receiver<bool>) {
        // Answers are small and clients wait for each.
        let _ = stream.set_nodelay(true);
        let header_wall = if self.spare {
            SPARE_WALL_MAX
        } else {
            HEADER_WALL_MAX
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_wall)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(READ_BUFFER_BYTES)
            .keep_alive(!self.spare)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(self.router.clone()),
            );
        let mut connection = pin!(connection);
        let served = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                _ = closing.wait_for(|closing| *closing) => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        let ended = if self.spare {
            timeout(SPARE_WALL_MAX, served).await.unwrap_or(Ok(()))
        } else {
            served.await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use hyper::service::Service as _;

    async fn asked(path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let service = TowerToHyperService::new(little());
        service.call(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_host_with_too_many_connections_still_says_that_it_lives() {
        assert_eq!(asked(HEALTH).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_host_with_too_many_connections_says_when_to_come_back() {
        let response = asked("/v1/tasks").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}
