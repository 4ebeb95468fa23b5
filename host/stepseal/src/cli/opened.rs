//! A data directory opened for work: its database and its engine, which runs no task until it is told to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use stepseal_receipts::checkpoint::default_origin;
use stepseal_receipts::witness_policy::WitnessPolicy;
use stepseal_sandbox::{CacheSettings, TlsRoots};

use super::runtime;
use crate::clock::SystemClock;
use crate::data_dir::{DataDir, Held};
use crate::engine::content::Shared;
use crate::engine::{APPROVAL_TTL_MS, Engine, EngineSettings, Previous, TaskLimits};
use crate::store::postgres::{self, DatabaseUrl, Sharing};
use crate::store::sql::SqlStore;
use crate::store::{Store as _, sqlite};

/// What is open.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) store: Arc<SqlStore>,
}

/// How to open it, beyond what the directory itself says.
#[derive(Default)]
pub(super) struct OpenOptions {
    /// Where the database is, if not in the directory.
    pub(super) database: Option<DatabaseUrl>,
    /// Where other hosts of the log find components too.
    pub(super) shared_components: Option<Shared>,
    /// Whether other hosts may serve the database too.
    pub(super) together: bool,
    /// Names a new log; a log keeps the name it began with.
    pub(super) origin: Option<String>,
    /// The log that a new one continues.
    pub(super) previous: Option<Previous>,
    /// How many tasks it takes.
    pub(super) tasks: TaskLimits,
    /// How long payloads of finished tasks are kept; for ever where absent.
    pub(super) keep_payloads: Option<Duration>,
    /// Who is to cosign the log's heads.
    pub(super) witnesses: Option<WitnessPolicy>,
    /// Who vouches for the servers that steps reach.
    pub(super) http_roots: TlsRoots,
    /// Bytes of compiled components on disk; [`COMPILED_MIB_MAX`] where absent.
    pub(super) compiled_bytes_max: Option<u64>,
}

/// Mebibytes of compiled components on disk, unless the operator says otherwise: some hundred ordinary ones and a few interpreters.
pub(super) const COMPILED_MIB_MAX: u64 = 2_048;

impl Opened {
    /// Opens what is there, or makes it: keys, database and log.
    pub(super) async fn open(held: &Held, options: OpenOptions) -> anyhow::Result<Self> {
        held.check_database(options.database.as_ref())?;
        let dir = held.dir();
        let store = Arc::new(database(dir, options.database.as_ref(), options.together).await?);
        let identity = store.identity().await?;
        held.check_log(identity.as_ref())?;
        let keys = held.keys(identity.as_ref(), &SystemClock)?;
        let origin = options
            .origin
            .or_else(|| identity.map(|identity| identity.origin))
            .unwrap_or_else(|| default_origin(&keys.log.public()));
        let sandbox = runtime::sandbox(Some(CacheSettings {
            dir: dir.cache(),
            key: keys.cache,
            bytes_max: options.compiled_bytes_max.unwrap_or(COMPILED_MIB_MAX << 20),
        }))?;
        let engine = Engine::open(EngineSettings {
            store: store.clone(),
            sandbox,
            clock: Arc::new(SystemClock),
            components: dir.components(),
            shared_components: options.shared_components,
            record_key: keys.record,
            log_key: keys.log,
            log_key_before: keys.log_before,
            head: dir.head(),
            secrets: dir.injected(),
            http_roots: options.http_roots,
            previous: options.previous,
            origin,
            approval_ttl_ms: APPROVAL_TTL_MS,
            tasks: options.tasks,
            keep_payloads: options.keep_payloads,
            witnesses: options.witnesses,
        })
        .await?;
        Ok(Self { engine, store })
    }

    /// Finishes what runs, and closes the database.
    pub(super) async fn close(self) {
        self.engine.shutdown().await;
        self.store.close().await;
    }
}

/// The database of a data directory, brought up to date, which nobody else serves meanwhile but hosts it is shared `together` with.
pub(super) async fn database(
    dir: &DataDir,
    server: Option<&DatabaseUrl>,
    together: bool,
) -> anyhow::Result<SqlStore> {
    let (opened, name) = match server {
        Some(url) => {
            let sharing = if together {
                Sharing::Together
            } else {
                Sharing::Alone
            };
            (postgres::open(url, sharing).await, url.to_string())
        }
        None => (
            sqlite::open(&dir.database()).await,
            dir.database().display().to_string(),
        ),
    };
    opened.with_context(|| format!("the database {name} cannot be used"))
}
