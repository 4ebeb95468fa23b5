//! A database whose writes fail when a test wants them to: before anything is stored, or after all of it is, with the answer lost. A caller
//! cannot tell one from the other, and must come out right either way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::NodeId;

use super::{
    Accept, AddComponent, ApprovalQuery, ApprovalRow, ApproverRow, CheckpointRow, CommitError,
    ComponentKind, ComponentRow, CosignatureRow, DueTask, EventRow, GrantRow, Identity, KeyPage,
    KeyRow, LogHead, LogRow, NewAct, NewErasure, NewTask, News, PolicyRow, PutSchedule, RecordRow,
    ScheduleRow, SignedApproval, Store, StoreError, TaskQuery, TaskRow, TenantRow, Transition,
    Versioned,
};

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is stored.
    NotStored,
    /// Everything is stored, and the caller hears that it failed.
    AnswerLost,
}

/// Passes everything on to another store, but for the write that is to fail.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    next: Mutex<Next>,
    reads: AtomicU32,
}

/// Which write fails next.
#[derive(Debug, Default)]
struct Next {
    /// In how many writes, 1 being the next one, and how.
    fault: Option<(u32, Fault)>,
    /// How many fail from there on.
    count: u32,
    /// The only method whose writes count; every one where absent.
    only: Option<&'static str>,
    /// What failed, by the name of the method.
    struck: Vec<&'static str>,
}

impl FaultyStore {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            next: Mutex::default(),
            reads: AtomicU32::new(0),
        }
    }

    /// Lets the `nth` write from now on fail.
    pub(crate) fn arm(&self, nth: u32, fault: Fault) {
        *self.next() = Next {
            fault: Some((nth, fault)),
            count: 1,
            ..Next::default()
        };
    }

    /// Lets the next `count` writes of this method fail, with nothing stored.
    pub(crate) fn refuse(&self, only: &'static str, count: u32) {
        *self.next() = Next {
            fault: Some((1, Fault::NotStored)),
            count,
            only: Some(only),
            ..Next::default()
        };
    }

    /// Lets nothing fail any more; gives the writes that did.
    pub(crate) fn disarm(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.next()).struck
    }

    /// How often it was asked for anything.
    pub(crate) fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this write fails.
    fn fault(&self, write: &'static str) -> Option<Fault> {
        let mut next = self.next();
        if next.only.is_some_and(|only| only != write) {
            return None;
        }
        let (left, fault) = next.fault?;
        if left > 1 {
            next.fault = Some((left - 1, fault));
            return None;
        }
        next.struck.push(write);
        next.count = next.count.saturating_sub(1);
        if next.count == 0 {
            next.fault = None;
        }
        Some(fault)
    }
}

fn failed(write: &str) -> StoreError {
    let why = io::Error::other(format!("{write} was to fail"));
    StoreError::Database(sqlx::Error::Io(why))
}

/// Writes the trait out: reads are passed on, writes may fail.
macro_rules! store {
    (
        reads { $(fn $read:ident($($of:ident: $of_type:ty),*) -> $found:ty;)+ }
        writes { $(fn $write:ident($($what:ident: $what_type:ty),*) -> Result<$done:ty, $error:ty>;)+ }
    ) => {
        #[async_trait]
        impl Store for FaultyStore {
            $(async fn $read(&self, $($of: $of_type),*) -> $found {
                self.reads.fetch_add(1, Ordering::SeqCst);
                self.inner.$read($($of),*).await
            })+
            $(async fn $write(&self, $($what: $what_type),*) -> Result<$done, $error> {
                match self.fault(stringify!($write)) {
                    None => self.inner.$write($($what),*).await,
                    Some(Fault::NotStored) => Err(failed(stringify!($write)).into()),
                    Some(Fault::AnswerLost) => {
                        // Where it is refused, there is nothing to be unsure of.
                        self.inner.$write($($what),*).await?;
                        Err(failed(stringify!($write)).into())
                    }
                }
            })+
            fn is_shared(&self) -> bool {
                self.inner.is_shared()
            }
            async fn news(&self) -> News {
                self.inner.news().await
            }
            fn commits(&self) -> u64 {
                self.inner.commits()
            }
            async fn close(&self) {
                self.inner.close().await;
            }
        }
    };
}

store! {
    reads {
        fn identity() -> Result<Option<Identity>, StoreError>;
        fn keys() -> Result<Vec<KeyRow>, StoreError>;
        fn approvers() -> Result<Vec<ApproverRow>, StoreError>;
        fn join(name: &str, lease: Duration) -> Result<(), StoreError>;
        fn leave() -> Result<(), StoreError>;
        fn rules_version() -> Result<u64, StoreError>;
        fn probe() -> Result<(), StoreError>;
        fn component(digest: &Digest) -> Result<Option<ComponentRow>, StoreError>;
        fn component_named(kind: ComponentKind, name: &str, version: Option<&str>) -> Result<Option<ComponentRow>, StoreError>;
        fn components() -> Result<Vec<ComponentRow>, StoreError>;
        fn grant(plugin: &str) -> Result<Option<GrantRow>, StoreError>;
        fn grant_document(digest: &Digest) -> Result<Option<String>, StoreError>;
        fn grant_history(plugin: &str, limit: u32) -> Result<Vec<GrantRow>, StoreError>;
        fn grants() -> Result<Vec<GrantRow>, StoreError>;
        fn policies() -> Result<Vec<PolicyRow>, StoreError>;
        fn settings(digests: &BTreeSet<Digest>) -> Result<Vec<String>, StoreError>;
        fn task(id: &str) -> Result<Option<TaskRow>, StoreError>;
        fn task_with_key(key: &str) -> Result<Option<(String, Digest)>, StoreError>;
        fn tasks(query: &TaskQuery) -> Result<Vec<TaskRow>, StoreError>;
        fn events(task: &str, after: u64, limit: u32) -> Result<Vec<EventRow>, StoreError>;
        fn due(now: Timestamp, tenants: &[String], limit: u32) -> Result<Vec<DueTask>, StoreError>;
        fn count_due(now: Timestamp, tenant: &str, limit: u32) -> Result<u32, StoreError>;
        fn next_wake(now: Timestamp, tenants: &[String]) -> Result<Option<Timestamp>, StoreError>;
        fn tenants() -> Result<Vec<TenantRow>, StoreError>;
        fn erasable(after: &str, before: Timestamp, limit: u32) -> Result<Vec<String>, StoreError>;
        fn approval(id: &str) -> Result<Option<ApprovalRow>, StoreError>;
        fn approvals(query: &ApprovalQuery) -> Result<Vec<ApprovalRow>, StoreError>;
        fn signed_approvals(task: &str) -> Result<Vec<String>, StoreError>;
        fn last_approved(likeness: &str) -> Result<Option<ApprovalRow>, StoreError>;
        fn blob(task: &str, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
        fn blobs_of(task: &str, digests: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, Vec<u8>>, StoreError>;
        fn blobs(task: &str) -> Result<Vec<Vec<u8>>, StoreError>;
        fn records(task: &str) -> Result<Vec<RecordRow>, StoreError>;
        fn log_records(first: u64, limit: u32) -> Result<Vec<LogRow>, StoreError>;
        fn log_head() -> Result<LogHead, StoreError>;
        fn log_nodes(nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Digest>, StoreError>;
        fn checkpoint() -> Result<Option<CheckpointRow>, StoreError>;
        fn cosignatures() -> Result<Vec<(CheckpointRow, CosignatureRow)>, StoreError>;
        fn bucket_get(bucket: &str, key: &str) -> Result<Option<Versioned>, StoreError>;
        fn bucket_keys(bucket: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, StoreError>;
        fn buckets() -> Result<Vec<String>, StoreError>;
        fn schedules() -> Result<Vec<ScheduleRow>, StoreError>;
        fn schedule(name: &str) -> Result<Option<ScheduleRow>, StoreError>;
        fn due_schedules(now: Timestamp, limit: u32) -> Result<Vec<ScheduleRow>, StoreError>;
        fn next_schedule() -> Result<Option<Timestamp>, StoreError>;
    }
    writes {
        fn claim(identity: &Identity, act: NewAct) -> Result<(), StoreError>;
        fn add_key(key: &KeyRow, act: NewAct) -> Result<(), StoreError>;
        fn end_key(key: &KeyRow, act: NewAct) -> Result<(), StoreError>;
        fn add_approver(name: &str, key: &PublicKey, act: NewAct) -> Result<ApproverRow, StoreError>;
        fn end_approver(key: &PublicKey, act: NewAct) -> Result<bool, StoreError>;
        fn add_component(component: &ComponentRow, act: NewAct) -> Result<AddComponent, StoreError>;
        fn put_grant(row: &GrantRow, act: NewAct) -> Result<u64, StoreError>;
        fn bind_policy(row: &PolicyRow, act: NewAct) -> Result<(), StoreError>;
        fn unbind_policy(id: &str, at: Timestamp, act: NewAct) -> Result<bool, StoreError>;
        fn accept(task: &NewTask, transition: Transition) -> Result<Accept, CommitError>;
        fn commit(transition: Transition) -> Result<(), CommitError>;
        fn request_cancel(id: &str) -> Result<bool, StoreError>;
        fn hasten(until: Timestamp) -> Result<(), StoreError>;
        fn take_up(ids: &[String]) -> Result<Vec<String>, StoreError>;
        fn put_tenant(row: &TenantRow) -> Result<bool, StoreError>;
        fn remove_tenant(name: &str, at: Timestamp) -> Result<bool, StoreError>;
        fn erase(task: &str, at: Timestamp, act: NewAct) -> Result<bool, StoreError>;
        fn erase_records(task: &str, at: Timestamp, erasures: &[NewErasure]) -> Result<bool, StoreError>;
        fn decide_approval(row: &ApprovalRow, before: &str, signed: Option<&SignedApproval>) -> Result<bool, StoreError>;
        fn put_checkpoint(row: &CheckpointRow) -> Result<(), StoreError>;
        fn put_cosignature(row: &CosignatureRow, forget: &[u64]) -> Result<(), StoreError>;
        fn put_schedule(row: &ScheduleRow, most: u32) -> Result<PutSchedule, StoreError>;
        fn remove_schedule(name: &str) -> Result<bool, StoreError>;
        fn fired(id: &str, due: Timestamp, next: Option<Timestamp>, last: &str) -> Result<bool, StoreError>;
        fn fill_bucket(bucket: &str, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError>;
    }
}
