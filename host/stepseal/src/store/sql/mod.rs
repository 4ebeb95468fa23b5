//! What both databases share, which is nearly all: statements that read the same to both, the rows they give, what a batch decides, and the
//! queue of the one writer.
//!
//! Connections that cannot write answer ([`ask`]); one task ([`writer`]) holds the one connection that writes. Transitions that wait for it
//! share a transaction and its flush to disk: what they are checked against is read, [`world`] decides, and what passed is written.
//! Everything that writes takes the head of the log first: `SQLite` has one writer at a time anyway, and in PostgreSQL its row is
//! locked, so that nothing which was read can change before the commit, whichever host would. Queueing in front of that costs nothing, is fair,
//! and takes the lock once for many.
//!
//! Every file here holds one concern and the SQL for it. The text of SQL never depends on data.

pub(super) mod approvals;
mod approvers;
pub(super) mod ask;
mod components;
pub(super) mod connection;
pub(super) mod erase;
mod grants;
mod keys;
pub(super) mod keyvalue;
pub(super) mod log;
pub(super) mod row;
mod schedules;
pub(super) mod schema;
pub(super) mod tasks;
mod tenants;
pub(super) mod transitions;
pub(super) mod world;
pub(super) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::NodeId;

use self::ask::Readers;
use self::connection::{Connection, Options};
use self::writer::Writer;
use super::postgres::Hosts;
use super::{
    Accept, AddComponent, ApprovalQuery, ApprovalRow, ApproverRow, CheckpointRow, CommitError,
    ComponentKind, ComponentRow, CosignatureRow, DueTask, EventRow, GrantRow, Identity, KeyPage,
    KeyRow, LogHead, LogRow, NewAct, NewErasure, NewTask, News, PolicyRow, PutSchedule, RecordRow,
    ScheduleRow, SignedApproval, Store, StoreError, TaskQuery, TaskRow, TenantRow, Transition,
    Versioned,
};

/// An open database.
#[derive(Debug)]
pub struct SqlStore {
    pub(super) readers: Readers,
    writer: Arc<Writer>,
    /// Where there may be others.
    hosts: Option<Arc<Hosts>>,
}

impl SqlStore {
    /// Must be called inside a tokio runtime, on which the writer then lives.
    pub(super) fn new(
        hosts: Option<Hosts>,
        readers: Readers,
        writer: Connection,
        options: Options,
    ) -> Self {
        Self {
            readers,
            writer: Arc::new(Writer::start(writer, options)),
            hosts: hosts.map(Arc::new),
        }
    }

    /// This host's number among those that serve the database.
    fn epoch(&self) -> Option<i64> {
        self.hosts.as_ref().map(|hosts| hosts.epoch())
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn identity(&self) -> Result<Option<Identity>, StoreError> {
        keys::identity(&self.readers).await
    }

    async fn claim(&self, identity: &Identity, act: NewAct) -> Result<(), StoreError> {
        keys::claim(&self.writer, identity.clone(), act).await
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        keys::all(&self.readers).await
    }

    async fn add_key(&self, key: &KeyRow, act: NewAct) -> Result<(), StoreError> {
        keys::add(&self.writer, key.clone(), act).await
    }

    async fn end_key(&self, key: &KeyRow, act: NewAct) -> Result<(), StoreError> {
        keys::end(&self.writer, key.clone(), act).await
    }

    async fn add_approver(
        &self,
        name: &str,
        key: &PublicKey,
        act: NewAct,
    ) -> Result<ApproverRow, StoreError> {
        approvers::add(&self.writer, name.to_owned(), key.clone(), act).await
    }

    async fn end_approver(&self, key: &PublicKey, act: NewAct) -> Result<bool, StoreError> {
        approvers::end(&self.writer, key.clone(), act).await
    }

    async fn approvers(&self) -> Result<Vec<ApproverRow>, StoreError> {
        approvers::all(&self.readers).await
    }

    fn is_shared(&self) -> bool {
        self.hosts.is_some()
    }

    async fn join(&self, name: &str, lease: Duration) -> Result<(), StoreError> {
        match &self.hosts {
            Some(hosts) => hosts.join(&self.writer, name, lease).await,
            None => Ok(()),
        }
    }

    async fn leave(&self) -> Result<(), StoreError> {
        match &self.hosts {
            Some(hosts) => hosts.leave(&self.writer).await,
            None => Ok(()),
        }
    }

    async fn news(&self) -> News {
        match &self.hosts {
            Some(hosts) => hosts.news().await,
            None => std::future::pending().await,
        }
    }

    async fn rules_version(&self) -> Result<u64, StoreError> {
        log::rules_version(&self.readers).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        log::probe(&self.readers, &self.writer).await
    }

    async fn add_component(
        &self,
        component: &ComponentRow,
        act: NewAct,
    ) -> Result<AddComponent, StoreError> {
        components::add(&self.readers, &self.writer, component, act).await
    }

    async fn component(&self, digest: &Digest) -> Result<Option<ComponentRow>, StoreError> {
        components::by_digest(&self.readers, digest).await
    }

    async fn component_named(
        &self,
        kind: ComponentKind,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<ComponentRow>, StoreError> {
        components::named(&self.readers, kind, name, version).await
    }

    async fn components(&self) -> Result<Vec<ComponentRow>, StoreError> {
        components::all(&self.readers).await
    }

    async fn put_grant(&self, row: &GrantRow, act: NewAct) -> Result<u64, StoreError> {
        grants::put(&self.writer, row.clone(), act).await
    }

    async fn grant(&self, plugin: &str) -> Result<Option<GrantRow>, StoreError> {
        grants::of(&self.readers, plugin).await
    }

    async fn grant_document(&self, digest: &Digest) -> Result<Option<String>, StoreError> {
        grants::document(&self.readers, digest).await
    }

    async fn grant_history(&self, plugin: &str, limit: u32) -> Result<Vec<GrantRow>, StoreError> {
        grants::history(&self.readers, plugin, limit).await
    }

    async fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        grants::all(&self.readers).await
    }

    async fn bind_policy(&self, row: &PolicyRow, act: NewAct) -> Result<(), StoreError> {
        grants::bind_policy(&self.writer, row.clone(), act).await
    }

    async fn policies(&self) -> Result<Vec<PolicyRow>, StoreError> {
        grants::policies(&self.readers).await
    }

    async fn settings(&self, digests: &BTreeSet<Digest>) -> Result<Vec<String>, StoreError> {
        grants::settings(&self.readers, digests).await
    }

    async fn unbind_policy(
        &self,
        id: &str,
        at: Timestamp,
        act: NewAct,
    ) -> Result<bool, StoreError> {
        grants::unbind_policy(&self.writer, id.to_owned(), at, act).await
    }

    async fn accept(&self, task: &NewTask, transition: Transition) -> Result<Accept, CommitError> {
        self.writer.accept(task.clone(), transition).await
    }

    async fn commit(&self, transition: Transition) -> Result<(), CommitError> {
        self.writer.commit(transition).await
    }

    async fn task(&self, id: &str) -> Result<Option<TaskRow>, StoreError> {
        tasks::by_id(&self.readers, id).await
    }

    async fn task_with_key(&self, key: &str) -> Result<Option<(String, Digest)>, StoreError> {
        tasks::with_key(&self.readers, key).await
    }

    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, StoreError> {
        tasks::list(&self.readers, query).await
    }

    async fn request_cancel(&self, id: &str) -> Result<bool, StoreError> {
        tasks::request_cancel(&self.writer, id.to_owned()).await
    }

    async fn events(
        &self,
        task: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        transitions::events(&self.readers, task, after, limit).await
    }

    async fn due(
        &self,
        now: Timestamp,
        tenants: &[String],
        limit: u32,
    ) -> Result<Vec<DueTask>, StoreError> {
        tasks::due(&self.readers, now, tenants, limit, self.epoch()).await
    }

    async fn take_up(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        match &self.hosts {
            Some(hosts) => hosts.take_up(ids).await,
            None => Ok(ids.to_vec()),
        }
    }

    async fn count_due(&self, now: Timestamp, tenant: &str, limit: u32) -> Result<u32, StoreError> {
        tasks::count_due(&self.readers, now, tenant, limit).await
    }

    async fn hasten(&self, until: Timestamp) -> Result<(), StoreError> {
        tasks::hasten(&self.writer, until).await
    }

    async fn next_wake(
        &self,
        now: Timestamp,
        tenants: &[String],
    ) -> Result<Option<Timestamp>, StoreError> {
        tasks::next_wake(&self.readers, now, tenants).await
    }

    async fn tenants(&self) -> Result<Vec<TenantRow>, StoreError> {
        tenants::all(&self.readers).await
    }

    async fn put_tenant(&self, row: &TenantRow) -> Result<bool, StoreError> {
        tenants::put(&self.writer, row.clone()).await
    }

    async fn remove_tenant(&self, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        tenants::remove(&self.writer, name.to_owned(), at).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        schedules::all(&self.readers).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>, StoreError> {
        schedules::by_name(&self.readers, name).await
    }

    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        schedules::due(&self.readers, now, limit).await
    }

    async fn next_schedule(&self) -> Result<Option<Timestamp>, StoreError> {
        schedules::next(&self.readers).await
    }

    async fn put_schedule(&self, row: &ScheduleRow, most: u32) -> Result<PutSchedule, StoreError> {
        schedules::put(&self.writer, row.clone(), most).await
    }

    async fn remove_schedule(&self, name: &str) -> Result<bool, StoreError> {
        schedules::remove(&self.writer, name.to_owned()).await
    }

    async fn fired(
        &self,
        id: &str,
        due: Timestamp,
        next: Option<Timestamp>,
        last: &str,
    ) -> Result<bool, StoreError> {
        schedules::fired(&self.writer, id.to_owned(), due, next, last.to_owned()).await
    }

    async fn erase(&self, task: &str, at: Timestamp, act: NewAct) -> Result<bool, StoreError> {
        erase::erase(&self.writer, task.to_owned(), at, act).await
    }

    async fn erase_records(
        &self,
        task: &str,
        at: Timestamp,
        erasures: &[NewErasure],
    ) -> Result<bool, StoreError> {
        erase::erase_records(&self.writer, task.to_owned(), at, erasures.to_vec()).await
    }

    async fn erasable(
        &self,
        after: &str,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        erase::erasable(&self.readers, after, before, limit).await
    }

    async fn approval(&self, id: &str) -> Result<Option<ApprovalRow>, StoreError> {
        approvals::by_id(&self.readers, id).await
    }

    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<ApprovalRow>, StoreError> {
        approvals::list(&self.readers, query).await
    }

    async fn decide_approval(
        &self,
        row: &ApprovalRow,
        before: &str,
        signed: Option<&SignedApproval>,
    ) -> Result<bool, StoreError> {
        approvals::decide(
            &self.writer,
            row.clone(),
            before.to_owned(),
            signed.cloned(),
        )
        .await
    }

    async fn signed_approvals(&self, task: &str) -> Result<Vec<String>, StoreError> {
        approvals::signed(&self.readers, task).await
    }

    async fn last_approved(&self, likeness: &str) -> Result<Option<ApprovalRow>, StoreError> {
        approvals::last_approved(&self.readers, likeness).await
    }

    async fn blob(&self, task: &str, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        transitions::blob(&self.readers, task, digest).await
    }

    async fn blobs_of(
        &self,
        task: &str,
        digests: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<Digest, Vec<u8>>, StoreError> {
        transitions::blobs_of(&self.readers, task, digests).await
    }

    async fn blobs(&self, task: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        transitions::blobs(&self.readers, task).await
    }

    async fn records(&self, task: &str) -> Result<Vec<RecordRow>, StoreError> {
        log::records(&self.readers, task).await
    }

    async fn log_records(&self, first: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        log::records_from(&self.readers, first, limit).await
    }

    async fn log_head(&self) -> Result<LogHead, StoreError> {
        log::head(&self.readers).await
    }

    async fn log_nodes(&self, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Digest>, StoreError> {
        log::nodes(&self.readers, nodes).await
    }

    async fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        log::checkpoint(&self.readers).await
    }

    async fn put_checkpoint(&self, row: &CheckpointRow) -> Result<(), StoreError> {
        log::put_checkpoint(&self.writer, row.clone()).await
    }

    async fn put_cosignature(
        &self,
        row: &CosignatureRow,
        forget: &[u64],
    ) -> Result<(), StoreError> {
        log::put_cosignature(&self.writer, row.clone(), forget).await
    }

    async fn cosignatures(&self) -> Result<Vec<(CheckpointRow, CosignatureRow)>, StoreError> {
        log::cosignatures(&self.readers).await
    }

    async fn bucket_get(&self, bucket: &str, key: &str) -> Result<Option<Versioned>, StoreError> {
        keyvalue::get(&self.readers, bucket, key).await
    }

    async fn bucket_keys(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<KeyPage, StoreError> {
        keyvalue::keys(&self.readers, bucket, after, limit).await
    }

    async fn buckets(&self) -> Result<Vec<String>, StoreError> {
        keyvalue::buckets(&self.readers).await
    }

    async fn fill_bucket(
        &self,
        bucket: &str,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        keyvalue::fill(&self.writer, bucket.to_owned(), entries).await
    }

    fn commits(&self) -> u64 {
        self.writer.commits()
    }

    async fn close(&self) {
        // The last connection to close folds SQLite's log in, and a reader cannot.
        self.readers.close().await;
        if let Some(hosts) = &self.hosts {
            hosts.close().await;
        }
        self.writer.close().await;
    }
}
