//! `stepseal serve`: the host.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use stepseal_receipts::checkpoint::default_origin;
use stepseal_sandbox::CacheSettings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::runtime::{self, block_on};
use super::verify::read_policy;
use super::{Answer, Context};
use crate::api;
use crate::clock::SystemClock;
use crate::config::{LISTEN_DEFAULT, ServeSettings};
use crate::data_dir::Held;
use crate::engine::{APPROVAL_TTL_MS, Engine, EngineSettings};
use crate::store::Store as _;
use crate::store::sqlite::SqliteStore;
use crate::witnesses;

/// Environment variable that says what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
const LOG_VARIABLE: &str = "STEPSEAL_LOG";

/// Serve the REST API and run tasks, until SIGTERM or ctrl-c.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stepseal serve --data ./stepseal-data\n  \
    STEPSEAL_LOG=debug stepseal serve --listen 127.0.0.1:0\n  \
    stepseal serve --witness-policy policy.txt\n\n\
    At the first start it makes the data directory, its keys and the token that clients must show. \
    Back up the data directory: without its keys nobody can go on with its log.")]
pub(super) struct Serve {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = LISTEN_DEFAULT, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Listen where other machines can reach it. The host speaks plain HTTP: the network between must be trusted.
    #[arg(long)]
    allow_remote: bool,
    /// Witnesses to ask for cosignatures of the log's heads: a C2SP tlog-policy with their URLs.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// Ask witnesses on other machines over plain HTTP too.
    #[arg(long)]
    witness_plain_http: bool,
    /// Name of a new log, a host and path such as example.org/payments. Default: derived from its key
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let settings = ServeSettings {
            listen: self.listen,
            allow_remote: self.allow_remote,
            data: context.data.clone(),
            origin: self.origin,
            witnesses: self
                .witness_policy
                .as_deref()
                .map(read_policy)
                .transpose()?,
            witness_plain_http: self.witness_plain_http,
        };
        settings.check()?;
        start_logging()?;
        let held = settings.data.hold()?;
        block_on(serve(context, &settings, &held))?;
        Ok(Answer::Yes)
    }
}

/// Writes what is logged to stderr.
pub(super) fn start_logging() -> anyhow::Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(directives) => EnvFilter::try_new(directives)
            .with_context(|| format!("{LOG_VARIABLE} cannot be read"))?,
        Err(_) => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

async fn serve(context: &Context, settings: &ServeSettings, held: &Held) -> anyhow::Result<()> {
    // Asked for first, so that a signal during the start is not lost.
    let stop = stop_signal()?;
    let clock = Arc::new(SystemClock);
    let dir = held.dir();
    held.check_database()?;
    let store = SqliteStore::open(&dir.database())
        .await
        .with_context(|| format!("the database {} cannot be used", dir.database().display()))?;
    let store = Arc::new(store);
    let identity = store.identity().await?;
    let keys = held.keys(identity.as_ref(), clock.as_ref())?;
    // A log keeps the origin it began with; the engine refuses another one.
    let origin = settings.origin.clone();
    let origin = origin
        .or_else(|| identity.map(|identity| identity.origin))
        .unwrap_or_else(|| default_origin(&keys.log.public()));
    settings.check_keys(&origin, [&keys.log.public(), &keys.record.public()])?;
    let token = held.token(clock.as_ref())?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "{} cannot be listened on: choose another with --listen",
            settings.listen
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    let sandbox = runtime::sandbox(Some(CacheSettings {
        dir: dir.cache(),
        key: keys.cache,
    }))?;
    let runtime = sandbox.runtime().clone();
    let engine = Engine::open(EngineSettings {
        store: store.clone(),
        sandbox,
        clock,
        components: dir.components(),
        record_key: keys.record,
        log_key: keys.log,
        origin,
        approval_ttl_ms: APPROVAL_TTL_MS,
        witnesses: settings.witnesses.clone(),
    })
    .await?;
    // Dropped, and with it whatever is asked, when the host stops.
    let _asking = witnesses::start(&engine);
    held.announce(&url)?;
    let text = format!(
        "stepseal {} listens on {url}\n  data   {} (the token is in {})\n  engine {}, {}\n  try    stepseal --data {} doctor",
        env!("CARGO_PKG_VERSION"),
        dir.root().display(),
        dir.token().display(),
        runtime.engine,
        runtime.allocator,
        dir.root().display(),
    );
    context.output.note(&text);
    let served = api::serve(listener, engine.clone(), api::Token::new(&token)?, stop).await;
    engine.shutdown().await;
    store.close().await;
    held.withdraw()?;
    served.context("the REST API stopped")
}

/// Completes at SIGTERM or ctrl-c.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("ctrl-c cannot be waited for")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new requests are taken");
    })
}
