//! Runs plans: takes submissions apart, asks policies and people, runs steps in the sandbox, signs what happened, and keeps all of
//! it in the store. `api` and `cli` call [`Engine`]; nothing here knows of HTTP.
//!
//! The way of a task: [`tasks`] accepts it → [`plan`] pins it → `scheduler` gives it a place → `runner` takes its steps through
//! [`policies`] and [`approvals`] into the sandbox, and what comes out into events and records → [`receipts`] hands them out.

pub mod approvals;
mod buckets;
pub mod components;
pub mod error;
pub mod event;
pub mod grants;
pub mod log;
mod payload;
pub mod plan;
pub mod policies;
mod policy_input;
pub mod receipts;
mod runner;
mod scheduler;
mod schema;
mod task;
pub mod tasks;
mod verdict;
mod waiters;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::record;
use stepseal_sandbox::Sandbox;
use tokio::sync::{Notify, Semaphore, watch};

pub use error::{EngineError, Fault};
pub use runner::idempotency_key;

use crate::clock::Clock;
use crate::store::{Identity, Store};
use components::{Content, Registry};
use policies::Rules;
use waiters::Waiters;

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
    /// Signs records.
    pub record_key: SigningKey,
    /// Signs checkpoints.
    pub log_key: SigningKey,
    /// Origin of the log.
    pub origin: String,
    /// How long a person has to decide, in milliseconds.
    pub approval_ttl_ms: u64,
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
    origin: String,
    runtime: record::Runtime,
    approval_ttl_ms: u64,
    registry: Registry,
    rules: RwLock<Arc<Rules>>,
    /// The database may hold other rules than `rules`.
    rules_stale: AtomicBool,
    /// Held while grants or policies change.
    rules_change: tokio::sync::Mutex<()>,
    /// Held while a checkpoint is signed.
    checkpoint_lock: tokio::sync::Mutex<()>,
    /// For each bucket that was granted, whose turn it is after a conflict.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    waiters: Waiters,
    active: Mutex<scheduler::Active>,
    permits: Arc<Semaphore>,
    /// Tasks wait in the database for a permit.
    backlog: AtomicBool,
    /// Wakes the scheduler.
    wake: Notify,
    stopping: watch::Sender<bool>,
}

impl Engine {
    /// Opens an engine over a database and takes up what it was doing. Refuses a database of another log, or of other keys.
    pub async fn open(settings: EngineSettings) -> Result<Self, EngineError> {
        let identity = Identity {
            origin: settings.origin.clone(),
            log_key: settings.log_key.public().id(),
            record_key: settings.record_key.public().id(),
        };
        match settings.store.identity().await? {
            None => settings.store.claim(&identity).await?,
            Some(found) if found == identity => {}
            Some(found) => {
                return Err(EngineError::Foreign {
                    found: Box::new(found),
                    ours: Box::new(identity),
                });
            }
        }
        let sandbox = settings.sandbox.runtime();
        let runtime = record::Runtime {
            host: concat!("stepseal ", env!("CARGO_PKG_VERSION")).to_owned(),
            engine: sandbox.engine.clone(),
            config: sandbox.config,
        };
        let engine = Self(Arc::new(Inner {
            store: settings.store,
            sandbox: settings.sandbox,
            clock: settings.clock,
            content: Content::new(settings.components),
            record_key: settings.record_key,
            log_key: settings.log_key,
            origin: settings.origin,
            runtime,
            approval_ttl_ms: settings.approval_ttl_ms,
            registry: Registry::new(),
            rules: RwLock::new(Arc::new(Rules::new(
                std::collections::BTreeMap::new(),
                Vec::new(),
            ))),
            rules_stale: AtomicBool::new(true),
            rules_change: tokio::sync::Mutex::new(()),
            checkpoint_lock: tokio::sync::Mutex::new(()),
            turns: Mutex::new(HashMap::new()),
            waiters: Waiters::default(),
            active: Mutex::new(HashMap::new()),
            permits: Arc::new(Semaphore::new(scheduler::RUNNING_MAX)),
            backlog: AtomicBool::new(false),
            wake: Notify::new(),
            stopping: watch::Sender::new(false),
        }));
        engine.rules().await?;
        tokio::spawn(engine.clone().schedule());
        Ok(engine)
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
