//! Tenants: clients with a token and tasks of their own, which the operator lets in. A tenant sees its tasks and no others, has no say in
//! what the host goes by, and gets its share of the host and no more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepseal_receipts::digest::Digest;

use super::grants::{NAME_RULE, is_name};
use super::{Engine, EngineError, Fault};
use crate::store::{OPERATOR, Store, StoreError, TaskRow, TenantRow};

/// Tenants that a host has, those that were removed included: each is looked up whenever tasks are.
const TENANTS_MAX: usize = 100;

/// Tasks of a tenant that are due and do not run. One more is not taken.
const QUEUE_MAX: u32 = 10_000;

/// Seconds after which a tenant whose queue is full may try again.
const QUEUE_RETRY_AFTER_S: u64 = 5;

/// Most of so many places that one tenant may take where there are others.
pub(crate) fn share(places: usize) -> usize {
    places - places / 4
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
        let rows = store.tenants().await?;
        let names = rows.iter().map(|row| row.name.clone());
        let all = std::iter::once(OPERATOR.to_owned()).chain(names).collect();
        let there = rows.iter().filter(|row| row.removed.is_none());
        let by_token = there
            .map(|row| (row.token, Arc::from(row.name.as_str())))
            .collect();
        let rows = rows.into_iter().map(|row| (row.name.clone(), row));
        let known = Known {
            rows: rows.collect(),
            by_token,
            all,
        };
        *self.0.write().expect("no panic while held") = Arc::new(known);
        Ok(())
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
        let _changing = self.0.tenants_change.lock().await;
        let known = self.0.tenants.known();
        if known.rows.len() >= TENANTS_MAX && !known.rows.contains_key(name) {
            return Err(EngineError::Conflict {
                code: "too-many-tenants",
                message: format!(
                    "the host has {TENANTS_MAX} tenants at most, with those that were removed; use the name of one of these"
                ),
            });
        }
        let token = URL_SAFE_NO_PAD.encode(self.0.clock.random());
        let row = TenantRow {
            name: name.to_owned(),
            token: Digest::of(token.as_bytes()),
            added: self.0.clock.now(),
            removed: None,
        };
        let new = self.0.store.put_tenant(&row).await?;
        self.0.tenants.load(&*self.0.store).await?;
        Ok((token, new))
    }

    /// Shuts a tenant out. What it submitted goes on.
    pub async fn remove_tenant(&self, name: &str) -> Result<(), EngineError> {
        let _changing = self.0.tenants_change.lock().await;
        let removed = self.0.store.remove_tenant(name, self.0.clock.now()).await?;
        self.0.tenants.load(&*self.0.store).await?;
        if removed {
            Ok(())
        } else {
            Err(EngineError::NotFound {
                what: "tenant",
                id: name.to_owned(),
            })
        }
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

    /// Refuses a task where too many of its tenant wait to run already. Asked only where there is no room to run it at once.
    pub(crate) async fn check_queue(&self, tenant: &str) -> Result<(), EngineError> {
        let now = self.0.clock.now();
        if self.0.store.count_due(now, tenant, QUEUE_MAX).await? < QUEUE_MAX {
            Ok(())
        } else {
            Err(EngineError::Busy {
                retry_after_s: QUEUE_RETRY_AFTER_S,
            })
        }
    }
}
