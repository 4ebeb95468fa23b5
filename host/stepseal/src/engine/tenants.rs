//! Tenants: clients with a token and tasks of their own, which the operator lets in. A tenant sees its tasks and no others, has no say in
//! what the host goes by, and gets its share of the host and no more.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use stepseal_receipts::digest::Digest;

use super::grants::{NAME_RULE, is_name};
use super::{Engine, EngineError, Fault};
use crate::store::{OPERATOR, Store, StoreError, TaskRow, TenantRow};

/// Tenants that a host has, those that were removed included: each is looked up whenever tasks are.
const TENANTS_MAX: usize = 100;

/// Seconds after which a tenant whose queue is full may try again.
const QUEUE_RETRY_AFTER_S: u64 = 5;

/// Most of so many places that one tenant may take where there are others: three quarters, but of a single one all.
pub(crate) fn share(places: usize) -> usize {
    (places - places.div_ceil(4)).max(1)
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever has the host's own token.
    Operator,
    /// A tenant, by name.
    Tenant(Arc<str>),
}

impl Caller {
    /// The tenant that tasks are of which this caller submits.
    pub fn tenant(&self) -> &str {
        match self {
            Self::Operator => OPERATOR,
            Self::Tenant(name) => name,
        }
    }

    /// Whether it may see this task. The operator sees all of them.
    pub fn sees(&self, task: &TaskRow) -> bool {
        match self {
            Self::Operator => true,
            Self::Tenant(name) => *task.task.tenant == **name,
        }
    }
}

/// The tenants of a host as this process knows them.
#[derive(Default)]
pub(crate) struct Tenants(RwLock<Arc<Known>>);

#[derive(Default)]
struct Known {
    /// What the version of the rules was when they were read.
    version: u64,
    rows: BTreeMap<String, TenantRow>,
    by_token: HashMap<Digest, Arc<str>>,
    /// Everybody whose tasks may be due, the operator first.
    all: Arc<[String]>,
}

impl Tenants {
    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.0.read().expect("no panic while held"))
    }

    /// Reads them anew.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), StoreError> {
        // First: what changes meanwhile then has another one.
        let version = store.rules_version().await?;
        let rows = store.tenants().await?;
        let names = rows.iter().map(|row| row.name.clone());
        let all = std::iter::once(OPERATOR.to_owned()).chain(names).collect();
        let there = rows.iter().filter(|row| row.removed.is_none());
        let by_token = there
            .map(|row| (row.token, Arc::from(row.name.as_str())))
            .collect();
        let rows = rows.into_iter().map(|row| (row.name.clone(), row));
        let known = Known {
            version,
            rows: rows.collect(),
            by_token,
            all,
        };
        *self.0.write().expect("no panic while held") = Arc::new(known);
        Ok(())
    }

    /// What the version of the rules was when they were read.
    pub(crate) fn version(&self) -> u64 {
        self.known().version
    }

    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        !self.known().by_token.is_empty()
    }

    /// Everybody whose tasks may be due, the operator first.
    pub(crate) fn all(&self) -> Arc<[String]> {
        Arc::clone(&self.known().all)
    }
}

impl Engine {
    /// The tenant whose token this is.
    ///
    /// Digests are compared, so what the time tells is about the digest of a guess and leads to no better guess.
    pub fn tenant_with(&self, token: &str) -> Option<Arc<str>> {
        if self.0.tenants_stale.load(Ordering::SeqCst) {
            return None;
        }
        let known = self.0.tenants.known();
        known.by_token.get(&Digest::of(token.as_bytes())).cloned()
    }

    /// Tenants by name, without those that were removed.
    pub fn tenants(&self) -> Vec<TenantRow> {
        let known = self.0.tenants.known();
        let there = known.rows.values().filter(|row| row.removed.is_none());
        there.cloned().collect()
    }

    /// Lets a tenant in, and gives its token and whether it is new. One that was in gets another token; the one before counts no more.
    pub async fn put_tenant(&self, name: &str) -> Result<(String, bool), EngineError> {
        if !is_name(name) || name == OPERATOR {
            let message =
                format!("{name:?} is not the name of a tenant: {NAME_RULE}, and not {OPERATOR}");
            return Err(EngineError::Invalid(vec![Fault {
                pointer: String::new(),
                message,
            }]));
        }
        let name = name.to_owned();
        self.change_tenants(|engine| async move {
            let known = engine.0.tenants.known();
            if known.rows.len() >= TENANTS_MAX && !known.rows.contains_key(&name) {
                return Err(EngineError::Conflict {
                    code: "too-many-tenants",
                    message: format!(
                        "the host has {TENANTS_MAX} tenants at most, with those that were removed; use the name of one of these"
                    ),
                });
            }
            let token = engine.0.clock.token();
            let row = TenantRow {
                name,
                token: Digest::of(token.as_bytes()),
                added: engine.0.clock.now(),
                removed: None,
            };
            let new = engine.0.store.put_tenant(&row).await?;
            Ok((token, new))
        })
        .await
    }

    /// Shuts a tenant out. What it submitted goes on.
    pub async fn remove_tenant(&self, name: &str) -> Result<(), EngineError> {
        let id = name.to_owned();
        self.change_tenants(|engine| async move {
            let now = engine.0.clock.now();
            if engine.0.store.remove_tenant(&id, now).await? {
                Ok(())
            } else {
                Err(EngineError::NotFound { what: "tenant", id })
            }
        })
        .await
    }

    /// Changes tenants: stores, then lets in who is let in. Goes on to its end if the client who asked hangs up. Where nobody knows what came
    /// of it, nobody is let in until the database says so.
    async fn change_tenants<T, F>(
        &self,
        change: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send,
    {
        let engine = self.clone();
        let work = async move {
            let _changing = engine.0.tenants_change.lock().await;
            let changed = change(engine.clone()).await;
            engine.rules_changed();
            engine.reload_tenants().await?;
            changed
        };
        let done = tokio::spawn(work).await;
        done.map_err(|error| EngineError::Internal(error.to_string()))?
    }

    /// Reads tenants again. Where that fails, no tenant is let in, and the scheduler tries again.
    pub(crate) async fn reload_tenants(&self) -> Result<(), StoreError> {
        let loaded = self.0.tenants.load(&*self.0.store).await;
        self.0
            .tenants_stale
            .store(loaded.is_err(), Ordering::SeqCst);
        loaded
    }

    /// A task's row, where the caller may see it; else it is as if there were none.
    pub async fn task_row(&self, caller: &Caller, id: &str) -> Result<TaskRow, EngineError> {
        let row = self.0.store.task(id).await?;
        row.filter(|row| caller.sees(row))
            .ok_or_else(|| EngineError::NotFound {
                what: "task",
                id: id.to_owned(),
            })
    }

    /// Refuses a task where too many of its tenant wait to run already, which cannot be where there is room. Those that are submitted at the
    /// same time do not see each other.
    pub(crate) async fn check_queue(&self, tenant: &str) -> Result<(), EngineError> {
        let running = self.running_of(tenant);
        if self.0.permits.available_permits() > 0 && running < self.most_running() {
            return Ok(());
        }
        let now = self.0.clock.now();
        // Those that run may be due as well, and do not wait. Where hosts hold what they run, they are not counted.
        let running = if self.0.store.is_shared() { 0 } else { running };
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let most = self.0.task_limits.queued.saturating_add(running);
        if self.0.store.count_due(now, tenant, most).await? < most {
            Ok(())
        } else {
            Err(EngineError::Busy {
                retry_after_s: QUEUE_RETRY_AFTER_S,
            })
        }
    }
}
