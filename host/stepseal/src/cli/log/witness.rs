//! `stepseal log witness`: cosigns the heads of logs that only grow (C2SP tlog-witness).

mod book;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::Args;
use stepseal_receipts::witness::{REQUEST_BYTES_MAX, Refusal, SIZE_MEDIA_TYPE};
use stepseal_receipts::witness_policy::{POLICY_BYTES_MAX, WitnessPolicy};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::api;
use crate::cli::runtime::block_on;
use crate::cli::serve::{start_logging, stop_signal};
use crate::cli::{Answer, Context, files};
use crate::clock::SystemClock;
use crate::config::check_listen;
use book::{Book, NotCosigned};

/// Where a witness listens unless it is told otherwise.
const LISTEN_DEFAULT: &str = "127.0.0.1:8788";

/// Requests that are judged at one time; others wait for their turn.
const JUDGED_MAX: usize = 16;

/// How long a request may take to arrive and to wait for its turn.
const REQUEST_WALL_MAX: Duration = Duration::from_secs(10);

/// Serve a witness, until SIGTERM or ctrl-c: it cosigns heads of logs that only grow.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  echo \"log $(jq -r '.log[0]' trust.json)\" > logs.txt\n  \
    stepseal log witness --state ./witness --logs logs.txt --name example.org/w1\n\n\
    It speaks C2SP tlog-witness: POST <address>/add-checkpoint. At the first start it makes the directory and its key; \
    witness.vkey in it is for the policies of those who believe this witness. Never put back an older copy of the \
    directory: the witness would vouch for what it has seen otherwise. Where a log's own signatures prove that it \
    forked, they are kept in <DIR>/evidence."
)]
pub(in crate::cli) struct Serve {
    /// What the witness remembers, and its key.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The logs it knows, as lines `log <vkey>` (C2SP tlog-policy).
    #[arg(long, value_name = "FILE")]
    logs: PathBuf,
    /// Name of a new witness, a host and path such as example.org/w1. Default: derived from its key
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = LISTEN_DEFAULT, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Listen where other machines can reach it. It speaks plain HTTP: the network between must be trusted.
    #[arg(long)]
    allow_remote: bool,
}

impl Serve {
    pub(in crate::cli) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        check_listen(self.listen, self.allow_remote)?;
        let logs = files::read(&self.logs, "the list of logs", POLICY_BYTES_MAX as u64)?;
        let logs = WitnessPolicy::parse_logs(&logs)
            .with_context(|| format!("{} is not a list of logs", self.logs.display()))?;
        anyhow::ensure!(
            !logs.is_empty(),
            "{} names no log: write a line `log <vkey>` for each; a host's is in its trust file",
            self.logs.display()
        );
        start_logging()?;
        let book = Book::open(&self.state, self.name.as_deref(), logs, &SystemClock)?;
        block_on(serve(context, &self, book))?;
        Ok(Answer::Yes)
    }
}

/// What requests share.
struct Witness {
    book: Book,
    turns: Semaphore,
}

async fn serve(context: &Context, settings: &Serve, book: Book) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "{} cannot be listened on: choose another with --listen",
            settings.listen
        )
    })?;
    context.output.note(&format!(
        "stepseal {} log witness listens on http://{}\n  key    {}\n  logs   {} of {}\n  state  {}",
        env!("CARGO_PKG_VERSION"),
        listener.local_addr()?,
        book.key(),
        book.logs(),
        settings.logs.display(),
        settings.state.display(),
    ));
    serve_on(listener, book, stop).await
}

async fn serve_on(
    listener: TcpListener,
    book: Book,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let witness = Arc::new(Witness {
        book,
        turns: Semaphore::new(JUDGED_MAX),
    });
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .fallback(|| async { (StatusCode::NOT_FOUND, "POST to /add-checkpoint\n") })
        .with_state(witness);
    let closing = watch::Sender::new(false);
    api::serve_router(listener, router, &closing, stop)
        .await
        .context("the witness stopped")
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, request: Request) -> Response {
    let arrives = to_bytes(request.into_body(), REQUEST_BYTES_MAX);
    let body = match timeout(REQUEST_WALL_MAX, arrives).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let said = format!("a whole body of at most {REQUEST_BYTES_MAX} bytes is wanted\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, said).into_response();
        }
        Err(_) => {
            return (StatusCode::REQUEST_TIMEOUT, "the body did not arrive\n").into_response();
        }
    };
    let Ok(Ok(_turn)) = timeout(REQUEST_WALL_MAX, witness.turns.acquire()).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n").into_response();
    };
    // It waits for the disk. A client that hangs up does not stop it half-way.
    let judging = Arc::clone(&witness);
    let judged = spawn_blocking(move || judging.book.add_checkpoint(&body, &SystemClock)).await;
    match judged {
        Ok(Ok(cosignature)) => cosignature.into_response(),
        Ok(Err(NotCosigned::Refused(refusal))) => refused(&refusal),
        Ok(Err(NotCosigned::Failed(error))) => {
            tracing::error!(error = format!("{error:#}"), "a head was not cosigned");
            failed()
        }
        Err(error) => {
            tracing::error!(%error, "a head was not cosigned");
            failed()
        }
    }
}

fn failed() -> Response {
    let said = "the witness failed, and cosigned nothing\n";
    (StatusCode::INTERNAL_SERVER_ERROR, said).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    if let Refusal::Stale { size } = refusal {
        let media_type = HeaderValue::from_static(SIZE_MEDIA_TYPE);
        return (status, [(CONTENT_TYPE, media_type)], format!("{size}\n")).into_response();
    }
    (status, format!("{refusal}\n")).into_response()
}
