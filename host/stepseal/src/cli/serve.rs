//! `stepseal serve`: the host.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use stepseal_sandbox::TlsRoots;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::opened::{COMPILED_MIB_MAX, OpenOptions, Opened};
use super::runtime::block_on;
use super::verify::read_policy;
use super::{Answer, Context, files};
use crate::api;
use crate::clock::SystemClock;
use crate::config::{LEASE_S_DEFAULT, LISTEN_DEFAULT, ServeSettings};
use crate::data_dir::Held;
use crate::engine::TaskLimits;
use crate::engine::content::bucket::Bucket;
use crate::engine::content::{Place, Shared};
use crate::store::Store as _;
use crate::witnesses;

/// Environment variable that says what is logged, in the syntax of `tracing_subscriber::EnvFilter`.
const LOG_VARIABLE: &str = "STEPSEAL_LOG";

/// Bytes of a file of authorities: all of Mozilla's fit several times.
const ROOTS_BYTES_MAX: u64 = 1 << 20;

/// Serve the REST API and run tasks, until SIGTERM or ctrl-c.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stepseal serve --data ./stepseal-data\n  \
    STEPSEAL_LOG=debug stepseal serve --listen 127.0.0.1:0\n  \
    stepseal serve --witness-policy policy.txt\n  \
    stepseal serve --database postgres://stepseal@db.example/stepseal\n\n\
    At the first start it makes the data directory, its keys and the token that clients must show. \
    Back up the data directory: without its keys nobody can go on with its log.")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, each of which stands for itself"
)]
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
    /// Authorities that vouch for servers which steps reach by HTTPS, besides the public ones: a file of PEM certificates.
    #[arg(long, value_name = "FILE")]
    http_ca: Option<PathBuf>,
    /// Believe the authorities of --http-ca and no others.
    #[arg(long, requires = "http_ca")]
    http_ca_only: bool,
    /// Name of a new log, a host and path such as example.org/payments. Default: derived from its key
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Keep components where all hosts of a database find them: a directory that each of them reaches, or a bucket.
    #[arg(
        long,
        value_name = "DIRECTORY|s3://BUCKET/PREFIX",
        env = "STEPSEAL_COMPONENTS"
    )]
    components: Option<Place>,
    /// Where several hosts serve one database: let the others take over what this one runs once it was silent for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE_S_DEFAULT)]
    lease: u64,
    /// Run so many tasks at a time; the rest waits in the database. Where there are tenants, each gets three quarters at most.
    #[arg(long, value_name = "TASKS", default_value_t = TaskLimits::default().running, value_parser = clap::value_parser!(u32).range(1..=4096))]
    running: u32,
    /// Let so many tasks of one tenant wait to run; one more is refused until later.
    #[arg(long, value_name = "TASKS", default_value_t = TaskLimits::default().queued, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    queued: u32,
    /// Commit every step when it ends. Otherwise pure steps gather, since nothing is lost where they run again.
    #[arg(long)]
    commit_per_step: bool,
    /// Erase the payloads of tasks that are over this many days after they were accepted. Default: never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(..=36_500))]
    keep_payloads: Option<u64>,
    /// Keep this much of compiled components on disk; what was not used for longest is compiled again when it is needed.
    #[arg(long, value_name = "MEBIBYTES", default_value_t = COMPILED_MIB_MAX, value_parser = clap::value_parser!(u64).range(..=1 << 24))]
    compiled_mib: u64,
}

impl Serve {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let settings = ServeSettings {
            listen: self.listen,
            allow_remote: self.allow_remote,
            data: context.data.clone(),
            database: context.database.clone(),
            origin: self.origin,
            components: self.components,
            lease: Duration::from_secs(self.lease),
            tasks: TaskLimits {
                running: self.running,
                queued: self.queued,
                commit_per_step: self.commit_per_step,
            },
            keep_payloads: self
                .keep_payloads
                .map(|days| Duration::from_hours(24 * days)),
            witnesses: self
                .witness_policy
                .as_deref()
                .map(read_policy)
                .transpose()?,
            witness_plain_http: self.witness_plain_http,
            http_roots: match &self.http_ca {
                Some(file) => read_roots(file, self.http_ca_only)?,
                None => TlsRoots::default(),
            },
        };
        settings.check()?;
        start_logging()?;
        let held = settings.data.hold()?;
        block_on(serve(context, &settings, self.compiled_mib << 20, &held))?;
        Ok(Answer::Yes)
    }
}

/// The authorities of a file, besides the public ones or alone.
fn read_roots(path: &Path, alone: bool) -> anyhow::Result<TlsRoots> {
    let pem = files::read(path, "the file of --http-ca", ROOTS_BYTES_MAX)?;
    TlsRoots::from_pem(&pem, alone)
        .with_context(|| format!("{} names no authorities for --http-ca", path.display()))
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

async fn serve(
    context: &Context,
    settings: &ServeSettings,
    compiled_bytes_max: u64,
    held: &Held,
) -> anyhow::Result<()> {
    // Asked for first, so that a signal during the start is not lost.
    let stop = stop_signal()?;
    let dir = held.dir();
    let shared_components = match settings.components.clone() {
        Some(Place::Directory(path)) => Some(Shared::Directory(path)),
        Some(Place::Bucket(url)) => {
            let opened = Bucket::open(url).await;
            Some(Shared::Bucket(opened.context("--components")?))
        }
        None => None,
    };
    let options = OpenOptions {
        database: settings.database.clone(),
        origin: settings.origin.clone(),
        tasks: settings.tasks,
        keep_payloads: settings.keep_payloads,
        witnesses: settings.witnesses.clone(),
        http_roots: settings.http_roots.clone(),
        compiled_bytes_max: Some(compiled_bytes_max),
        shared_components,
        together: true,
        ..OpenOptions::default()
    };
    let opened = Opened::open(held, options).await?;
    if let Some(identity) = opened.store.identity().await? {
        let own = [&identity.log_key, &identity.record_key];
        settings.check_keys(&identity.origin, own)?;
    }
    let token = held.token(&SystemClock)?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "{} cannot be listened on: choose another with --listen",
            settings.listen
        )
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    let runtime = opened.engine.runtime();
    let name = held.name(&SystemClock)?;
    opened.engine.join(&name, settings.lease).await?;
    opened.engine.start();
    // Dropped, and with it whatever is asked, when the host stops.
    let _asking = witnesses::start(&opened.engine);
    held.announce(&url)?;
    let database = match &settings.database {
        Some(database) => format!("\n  in     {database}"),
        None => String::new(),
    };
    let text = format!(
        "stepseal {} listens on {url}\n  data   {} (the token is in {}){database}\n  engine {}, {}\n  try    stepseal --data {} doctor",
        env!("CARGO_PKG_VERSION"),
        dir.root().display(),
        dir.token().display(),
        runtime.engine,
        runtime.allocator,
        dir.root().display(),
    );
    context.output.note(&text);
    let token = api::Token::new(&token)?;
    let served = api::serve(listener, opened.engine.clone(), token, stop).await;
    opened.close().await;
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
