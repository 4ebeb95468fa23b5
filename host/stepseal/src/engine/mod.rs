//! Runs plans: takes submissions apart, asks policies and people, runs steps in the sandbox, signs what happened, and keeps all of
//! it in the store. `api` and `cli` call [`Engine`]; nothing here knows of HTTP.
//!
//! The way of a task: [`tasks`] accepts it → [`plan`] pins it → `scheduler` gives it a place → `runner` takes its steps through
//! [`policies`] and [`approvals`] into the sandbox, and what comes out into events and records → [`receipts`] hands them out.

mod acts;
pub mod approvals;
pub mod approvers;
mod buckets;
pub mod components;
pub mod content;
mod erasure;
pub mod error;
pub mod event;
pub mod grants;
mod hosts;
pub mod keys;
pub mod log;
mod metrics;
mod payload;
pub mod plan;
pub mod policies;
mod policy_input;
pub mod receipts;
mod runner;
mod scheduler;
pub mod schedules;
mod schema;
mod secrets;
mod shard;
mod task;
pub mod tasks;
pub mod tenants;
#[cfg(test)]
mod tests;
mod verdict;
mod waiters;
pub mod witnesses;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::record;
use stepseal_receipts::witness_policy::WitnessPolicy;
use stepseal_sandbox::{HttpClient, RuntimeInfo, Sandbox, SystemResolver, TlsRoots};
use tokio::sync::{Notify, Semaphore, watch};

pub use acts::Actor;
pub use error::{EngineError, Fault};
pub use runner::idempotency_key;
pub use scheduler::TaskLimits;
pub use shard::{Carried, Previous};
pub(crate) use verdict::{POLICY_FAILED, Said};

use crate::clock::Clock;
use crate::store::{KeyRow, Store};
use components::Registry;
use content::{Content, Shared};
use metrics::Metrics;
use policies::Rules;
use secrets::SecretStore;
use tenants::Tenants;
use waiters::Waiters;
use witnesses::Witnesses;

/// How long a person has to decide, in milliseconds, where the operator does not say otherwise.
pub const APPROVAL_TTL_MS: u64 = 24 * 3_600_000;

/// What an engine is made of.
pub struct EngineSettings {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Runs components.
    pub sandbox: Sandbox,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// The directory of components' bytes.
    pub components: PathBuf,
    /// Where other hosts of the log find them too.
    pub shared_components: Option<Shared>,
    /// Signs records.
    pub record_key: SigningKey,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// Signs them too, where it signed them before the other and is not revoked.
    pub log_key_before: Option<SigningKey>,
    /// Where the last checkpoint is kept that was signed, apart from the database.
    pub head: PathBuf,
    /// The file with the secrets that requests of steps need.
    pub secrets: PathBuf,
    /// Who vouches for the servers that steps reach.
    pub http_roots: TlsRoots,
    /// The log that this one continues, where it is a new one.
    pub previous: Option<Previous>,
    /// Origin of the log.
    pub origin: String,
    /// How long a person has to decide, in milliseconds.
    pub approval_ttl_ms: u64,
    /// How many tasks it takes.
    pub tasks: TaskLimits,
    /// How long payloads of finished tasks are kept; for ever where absent.
    pub keep_payloads: Option<Duration>,
    /// Who is to cosign the log's heads: the witnesses of this policy that have an address.
    pub witnesses: Option<WitnessPolicy>,
}

/// The engine behind API and CLI. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

/// What the clones share.
struct Inner {
    store: Arc<dyn Store>,
    sandbox: Sandbox,
    clock: Arc<dyn Clock>,
    content: Content,
    record_key: SigningKey,
    log_key: SigningKey,
    log_key_before: Option<SigningKey>,
    head: PathBuf,
    secrets: SecretStore,
    /// Sends the requests of steps.
    http: Arc<HttpClient>,
    origin: String,
    runtime: record::Runtime,
    approval_ttl_ms: u64,
    task_limits: TaskLimits,
    keep_payloads: Option<Duration>,
    witnesses: Option<Witnesses>,
    metrics: Metrics,
    registry: Registry,
    rules: RwLock<Arc<Rules>>,
    /// The database may hold other rules than `rules`.
    rules_stale: AtomicBool,
    /// Held while grants or policies change.
    rules_change: tokio::sync::Mutex<()>,
    tenants: Tenants,
    /// The database may have other tenants than `tenants`.
    tenants_stale: AtomicBool,
    /// Held while tenants change.
    tenants_change: tokio::sync::Mutex<()>,
    /// Held while the database is asked about a token that nobody knows.
    strangers: tokio::sync::Mutex<()>,
    /// Held while a checkpoint is signed.
    checkpoint_lock: tokio::sync::Mutex<()>,
    /// For each bucket that was granted, whose turn it is after a conflict.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    waiters: Waiters,
    active: Mutex<scheduler::Active>,
    running: Mutex<scheduler::Running>,
    permits: Arc<Semaphore>,
    /// Tasks wait in the database for a permit.
    backlog: AtomicBool,
    /// Wakes the scheduler.
    wake: Notify,
    /// Wakes whoever looks after schedules.
    wake_schedules: Notify,
    stopping: watch::Sender<bool>,
}

impl Engine {
    /// Opens an engine over a database; [`start`](Self::start) makes it run tasks. Refuses a database of another log, of other keys,
    /// or older than what the log signed last.
    pub async fn open(settings: EngineSettings) -> Result<Self, EngineError> {
        let log_key_before = match settings.log_key_before {
            Some(key) => {
                let counts = |row: &KeyRow| row.to_index.is_none() && row.key == key.public();
                let keys = settings.store.keys().await?;
                keys.iter().any(counts).then_some(key)
            }
            None => None,
        };
        let witnesses = match settings.witnesses {
            Some(policy) => Some(Witnesses::new(policy, settings.store.cosignatures().await?)),
            None => None,
        };
        let sandbox = settings.sandbox.runtime();
        let runtime = record::Runtime {
            host: concat!("stepseal ", env!("CARGO_PKG_VERSION")).to_owned(),
            engine: sandbox.engine.clone(),
            config: sandbox.config,
        };
        let metrics = Metrics::new(&runtime.host, &runtime.engine);
        // The first schema brings the schema of all schemas with it, which takes longer than most steps: not at somebody's first call.
        let any = serde_json::json!({"type": "object"});
        tokio::task::spawn_blocking(move || schema::Schema::compile(&any));
        let http = HttpClient::new(Arc::new(SystemResolver), settings.http_roots)
            .map_err(|error| EngineError::Internal(format!("TLS cannot be set up: {error}")))?;
        let engine = Self(Arc::new(Inner {
            store: settings.store,
            sandbox: settings.sandbox,
            clock: settings.clock,
            content: Content::with_shared(settings.components, settings.shared_components),
            record_key: settings.record_key,
            log_key: settings.log_key,
            log_key_before,
            head: settings.head,
            secrets: SecretStore::open(settings.secrets)?,
            http: Arc::new(http),
            origin: settings.origin,
            runtime,
            approval_ttl_ms: settings.approval_ttl_ms,
            task_limits: settings.tasks,
            keep_payloads: settings.keep_payloads,
            witnesses,
            metrics,
            registry: Registry::new(),
            rules: RwLock::new(Arc::new(Rules::new(
                0,
                std::collections::BTreeMap::new(),
                Vec::new(),
                Vec::new(),
            ))),
            rules_stale: AtomicBool::new(true),
            rules_change: tokio::sync::Mutex::new(()),
            tenants: Tenants::default(),
            tenants_stale: AtomicBool::new(false),
            tenants_change: tokio::sync::Mutex::new(()),
            strangers: tokio::sync::Mutex::new(()),
            checkpoint_lock: tokio::sync::Mutex::new(()),
            turns: Mutex::new(HashMap::new()),
            waiters: Waiters::default(),
            active: Mutex::new(HashMap::new()),
            running: Mutex::default(),
            permits: Arc::new(Semaphore::new(settings.tasks.running as usize)),
            backlog: AtomicBool::new(false),
            wake: Notify::new(),
            wake_schedules: Notify::new(),
            stopping: watch::Sender::new(false),
        }));
        engine.claim(settings.previous).await?;
        engine.check_head().await?;
        engine.rules().await?;
        engine.0.tenants.load(&*engine.0.store).await?;
        Ok(engine)
    }

    /// Takes up what it was doing, and takes tasks.
    pub fn start(&self) {
        tokio::spawn(self.clone().schedule());
        tokio::spawn(self.clone().keep_schedules());
        if self.0.store.is_shared() {
            tokio::spawn(self.clone().hear());
        }
        if let Some(keep) = self.0.keep_payloads {
            tokio::spawn(self.clone().erase_old(keep));
        }
    }

    /// The name of the log.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// What runs the guests.
    pub fn runtime(&self) -> &RuntimeInfo {
        self.0.sandbox.runtime()
    }

    /// The turn of a bucket.
    fn turn(&self, bucket: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.0.turns).entry(bucket.to_owned()).or_default())
    }
}

/// Locks a mutex that guards nothing half done: what a panicking holder left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
