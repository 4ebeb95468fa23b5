//! What the host remembers.
//!
//! [`Store`] is the one door to the database. Each method is a whole transaction named for its meaning; nothing
//! outside this module knows SQL, and nothing in it knows what a policy or a sandbox is. [`sqlite`] is the embedded
//! default, [`postgres`] a server that others look after; [`sql`] is what they share. Everything that can be erased - inputs,
//! outputs, plans, transcripts - is a blob; events and rows hold digests.
//!
//! Guarantees of every implementation:
//! - When a method has returned `Ok`, its effect survives a power cut.
//! - Where a method takes a [`NewAct`], the act is in the log if and only if what it tells of was stored.
//! - [`Store::commit`] and [`Store::accept`] are atomic: state, records, events, blobs, approvals and key-value writes together or
//!   not at all. The leaf index of a record is given inside that transaction, so log order is commit order.
//! - `Err(CommitError::Store)` from them leaves open whether the effect happened; the caller loads the task again and looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::record::KeyRole;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::NodeId;

/// The tenant that tasks are of which came with the host's own token.
pub const OPERATOR: &str = "operator";

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod faulty;
mod keyvalue;
pub mod postgres;
pub mod sql;
pub mod sqlite;

pub use keyvalue::{KeyPage, KeyValueChanges, Listed, Read, Versioned, Write};

/// The database behind a host.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Which log this database belongs to, once [`Store::claim`] was called.
    async fn identity(&self) -> Result<Option<Identity>, StoreError>;
    /// Binds an empty database to a log, whose first record is `act`. Fails where it is bound already.
    async fn claim(&self, identity: &Identity, act: NewAct) -> Result<(), StoreError>;
    /// Every key that ever signed for the log, by role, then from where it counts.
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError>;
    /// Adds a key. It must count from after the record of it: where the log has grown too far, nothing is stored.
    async fn add_key(&self, key: &KeyRow, act: NewAct) -> Result<(), StoreError>;
    /// Ends a key. It must count up to the record of it or further: where the log has grown too far, nothing is stored.
    async fn end_key(&self, key: &KeyRow, act: NewAct) -> Result<(), StoreError>;

    /// Adds the key of an approver, which counts from the index of the record of it on. One that is there is refused.
    async fn add_approver(
        &self,
        name: &str,
        key: &PublicKey,
        act: NewAct,
    ) -> Result<ApproverRow, StoreError>;
    /// Ends the key of an approver at the index of the record of it; false where none counts, and then `act` is not stored either.
    async fn end_approver(&self, key: &PublicKey, act: NewAct) -> Result<bool, StoreError>;
    /// Every key that an approver has or had, the oldest first.
    async fn approvers(&self) -> Result<Vec<ApproverRow>, StoreError>;
    /// Whether other hosts may serve the database at the same time. Then a task that runs is held by one host ([`Transition::keeps`]), and
    /// transitions by others fail as [`CommitError::Stale`].
    fn is_shared(&self) -> bool;
    /// Makes this process a host of the database; until it has left, it says by itself that it is there. `name` is of its data directory: one
    /// that had it before is gone. Where others took this one for gone, because nothing was heard of it for as long as `lease`, nothing that it
    /// writes is stored ([`StoreError::Lost`]) until it has joined anew, which it does by itself.
    async fn join(&self, name: &str, lease: Duration) -> Result<(), StoreError>;
    /// Gives back whatever this host holds. Afterwards it writes nothing.
    async fn leave(&self) -> Result<(), StoreError>;
    /// What other hosts did; what is missed is found by looking. Never, where there are none.
    async fn news(&self) -> News;
    /// How often that changed what every host goes by: components, grants, policies, the keys of people, tenants.
    async fn rules_version(&self) -> Result<u64, StoreError>;
    /// Whether the database answers and can be written to.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Adds a component, unless its digest is there or its kind, name and version belong to another one; then `act` is not
    /// stored either.
    async fn add_component(
        &self,
        component: &ComponentRow,
        act: NewAct,
    ) -> Result<AddComponent, StoreError>;
    /// The component with this digest.
    async fn component(&self, digest: &Digest) -> Result<Option<ComponentRow>, StoreError>;
    /// The component of this kind and name with this version, or the newest by time of upload where `version` is absent.
    async fn component_named(
        &self,
        kind: ComponentKind,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<ComponentRow>, StoreError>;
    /// Components by name, then time of upload.
    async fn components(&self) -> Result<Vec<ComponentRow>, StoreError>;

    /// Puts the grant of a plugin in the place of the one before; `row.version` is set to one more than that one's.
    async fn put_grant(&self, row: &GrantRow, act: NewAct) -> Result<u64, StoreError>;
    /// The grant in force for a plugin.
    async fn grant(&self, plugin: &str) -> Result<Option<GrantRow>, StoreError>;
    /// The document with this digest, whether it is in force or was once.
    async fn grant_document(&self, digest: &Digest) -> Result<Option<String>, StoreError>;
    /// The grants a plugin ever had, the newest first, `limit` at most.
    async fn grant_history(&self, plugin: &str, limit: u32) -> Result<Vec<GrantRow>, StoreError>;
    /// Every grant in force, by plugin.
    async fn grants(&self) -> Result<Vec<GrantRow>, StoreError>;

    /// Adds a policy binding.
    async fn bind_policy(&self, row: &PolicyRow, act: NewAct) -> Result<(), StoreError>;
    /// Every binding in force, oldest first.
    async fn policies(&self) -> Result<Vec<PolicyRow>, StoreError>;
    /// The settings among those that bindings have, or had before they ended, with one of these digests; each once.
    async fn settings(&self, digests: &BTreeSet<Digest>) -> Result<Vec<String>, StoreError>;
    /// Ends a binding; false where there was none, and then `act` is not stored either.
    async fn unbind_policy(&self, id: &str, at: Timestamp, act: NewAct)
    -> Result<bool, StoreError>;

    /// Stores a new task together with its first transition (`transition.after` is 0).
    async fn accept(&self, task: &NewTask, transition: Transition) -> Result<Accept, CommitError>;
    /// Stores what happened to a task. All or nothing; fenced by [`Transition::after`].
    async fn commit(&self, transition: Transition) -> Result<(), CommitError>;

    /// The task with this id.
    async fn task(&self, id: &str) -> Result<Option<TaskRow>, StoreError>;
    /// The task that came with this `Idempotency-Key`, and the digest of the request it came with.
    async fn task_with_key(&self, key: &str) -> Result<Option<(String, Digest)>, StoreError>;
    /// Tasks, newest first.
    async fn tasks(&self, query: &TaskQuery) -> Result<Vec<TaskRow>, StoreError>;
    /// Notes that a task is to be cancelled and makes it due; false where it is over or unknown.
    async fn request_cancel(&self, id: &str) -> Result<bool, StoreError>;
    /// Events of a task with `n > after`, in order, at most `limit`.
    async fn events(&self, task: &str, after: u64, limit: u32)
    -> Result<Vec<EventRow>, StoreError>;
    /// Unfinished tasks of these tenants that should be looked at: whose `wake_at` is at or before `now`, the longest due first, and
    /// those poked since they were last committed; `limit` at most of each tenant, one tenant after the other. Those that another host holds
    /// are not among them.
    async fn due(
        &self,
        now: Timestamp,
        tenants: &[String],
        limit: u32,
    ) -> Result<Vec<DueTask>, StoreError>;
    /// Takes up tasks for this host, where no other host has them and they are not finished; gives those that it has. Those that it had are among them.
    async fn take_up(&self, ids: &[String]) -> Result<Vec<String>, StoreError>;
    /// How many unfinished tasks of a tenant are due, counted up to `limit`.
    async fn count_due(&self, now: Timestamp, tenant: &str, limit: u32) -> Result<u32, StoreError>;
    /// Makes due at once what was due when it was stored, whatever the clock said then, and what waits for a time up to `until`: whoever runs it
    /// looks whether that has come. For when the clock was put back. Tasks that a host holds are left alone.
    async fn hasten(&self, until: Timestamp) -> Result<(), StoreError>;
    /// The earliest `wake_at` after `now` of an unfinished task of these tenants.
    async fn next_wake(
        &self,
        now: Timestamp,
        tenants: &[String],
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Every tenant that there is or was, by name.
    async fn tenants(&self) -> Result<Vec<TenantRow>, StoreError>;
    /// Adds a tenant, or puts it in the place of the one with this name; true where there was none, or it had been removed.
    async fn put_tenant(&self, row: &TenantRow) -> Result<bool, StoreError>;
    /// Removes a tenant; false where there is none.
    async fn remove_tenant(&self, name: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Every schedule, by name.
    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError>;
    /// The schedule with this name.
    async fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>, StoreError>;
    /// Schedules whose `next` is at or before `now`, the longest due first, at most `limit`.
    async fn due_schedules(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleRow>, StoreError>;
    /// The earliest `next` of a schedule, whether it is over or to come.
    async fn next_schedule(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Puts a schedule in the place of the one with its name, unless there are `most` others.
    async fn put_schedule(&self, row: &ScheduleRow, most: u32) -> Result<PutSchedule, StoreError>;
    /// Removes a schedule; false where there is none.
    async fn remove_schedule(&self, name: &str) -> Result<bool, StoreError>;
    /// Notes what came of the time `due` of the schedule with this `id`, and when it is due `next`; false where its `next` is another time
    /// than `due` by now, or it is gone, and then nothing is noted.
    async fn fired(
        &self,
        id: &str,
        due: Timestamp,
        next: Option<Timestamp>,
        last: &str,
    ) -> Result<bool, StoreError>;

    /// Deletes everything of a finished task but its row and its records, and puts `act` into the log; false, and nothing is
    /// done, where the task is not finished, unknown or erased already. When this has returned, no file of `SQLite` holds the bytes;
    /// those of a server may until it has vacuumed its tables and recycled its write-ahead log.
    async fn erase(&self, task: &str, at: Timestamp, act: NewAct) -> Result<bool, StoreError>;
    /// Puts a leaf in the place of the envelope of every record of a finished task, deletes whatever else there is of it but its
    /// row, and puts the records of the erasures into the log; false, and nothing is done, where the task is not finished, unknown
    /// or erased so already. Files are as after [`Store::erase`].
    async fn erase_records(
        &self,
        task: &str,
        at: Timestamp,
        erasures: &[NewErasure],
    ) -> Result<bool, StoreError>;
    /// Finished tasks that are not erased with an id after `after`, accepted before `before`, in the order of their ids.
    async fn erasable(
        &self,
        after: &str,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// The approval with this id.
    async fn approval(&self, id: &str) -> Result<Option<ApprovalRow>, StoreError>;
    /// Approvals, newest first.
    async fn approvals(&self, query: &ApprovalQuery) -> Result<Vec<ApprovalRow>, StoreError>;
    /// Stores a decision with what the approver signed, and makes the approval's task due, if the approval is still open with
    /// exactly the decisions `before`; false where it is not.
    async fn decide_approval(
        &self,
        row: &ApprovalRow,
        before: &str,
        signed: Option<&SignedApproval>,
    ) -> Result<bool, StoreError>;
    /// Envelopes that approvers signed about a task, whether or not a record speaks of them.
    async fn signed_approvals(&self, task: &str) -> Result<Vec<String>, StoreError>;
    /// The newest approved approval with this likeness.
    async fn last_approved(&self, likeness: &str) -> Result<Option<ApprovalRow>, StoreError>;

    /// A blob of a task by the digest of its bytes.
    async fn blob(&self, task: &str, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
    /// Those of a task's blobs that have one of these digests. However many there are, what the task has stored is read once.
    async fn blobs_of(
        &self,
        task: &str,
        digests: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<Digest, Vec<u8>>, StoreError>;
    /// Every blob that belongs to a task.
    async fn blobs(&self, task: &str) -> Result<Vec<Vec<u8>>, StoreError>;

    /// The records of a task by `seq`.
    async fn records(&self, task: &str) -> Result<Vec<RecordRow>, StoreError>;
    /// Records of the log from leaf index `first` on, at most `limit`.
    async fn log_records(&self, first: u64, limit: u32) -> Result<Vec<LogRow>, StoreError>;
    /// Size and root of the log.
    async fn log_head(&self) -> Result<LogHead, StoreError>;
    /// Hashes of complete subtrees of the log, those that exist.
    async fn log_nodes(&self, nodes: &[NodeId]) -> Result<BTreeMap<NodeId, Digest>, StoreError>;
    /// The newest signed checkpoint.
    async fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError>;
    /// Remembers a checkpoint before anyone sees its signature. The same size with another root is an error.
    async fn put_checkpoint(&self, row: &CheckpointRow) -> Result<(), StoreError>;
    /// Remembers a cosignature of a signed checkpoint, in the place of the one before of this witness, and forgets those of the
    /// sizes in `forget`.
    async fn put_cosignature(&self, row: &CosignatureRow, forget: &[u64])
    -> Result<(), StoreError>;
    /// Every cosignature that is remembered with its checkpoint, the smallest first.
    async fn cosignatures(&self) -> Result<Vec<(CheckpointRow, CosignatureRow)>, StoreError>;

    /// A key of a bucket, with the version its last write gave it.
    async fn bucket_get(&self, bucket: &str, key: &str) -> Result<Option<Versioned>, StoreError>;
    /// Keys of a bucket after `after`, in byte order, at most `limit`, and the version of the bucket.
    async fn bucket_keys(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<KeyPage, StoreError>;
    /// Buckets that were written to, by name.
    async fn buckets(&self) -> Result<Vec<String>, StoreError>;
    /// Puts keys into a bucket that no step has read yet.
    async fn fill_bucket(
        &self,
        bucket: &str,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError>;

    /// How many transactions have written since it was opened: transitions that come together share one.
    fn commits(&self) -> u64;

    /// Stores what is queued, then closes every connection. Afterwards every method fails. Nothing is lost without it.
    async fn close(&self);
}

/// Which log a database belongs to. A host with other keys must not write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Origin of the log.
    pub origin: String,
    /// The key that signs checkpoints now.
    pub log_key: PublicKey,
    /// The key that signs records now.
    pub record_key: PublicKey,
}

/// A key that signs or signed for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// What it signs.
    pub role: KeyRole,
    /// The key.
    pub key: PublicKey,
    /// First index of the log at which it counts.
    pub from_index: u64,
    /// Last index at which it counts; open-ended where absent.
    pub to_index: Option<u64>,
}

/// A key of a person who signs their own decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproverRow {
    /// Whose it is.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// First index of the log at which a record may speak of what it signed.
    pub from_index: u64,
    /// Last index at which one may; open-ended where absent.
    pub to_index: Option<u64>,
}

/// What an approver signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedApproval {
    /// SHA-256 of its PAE, by which a record speaks of it.
    pub digest: Digest,
    /// The DSSE envelope as JSON.
    pub envelope: String,
}

/// What a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComponentKind {
    /// `stepseal:plugin/step`.
    Plugin,
    /// `stepseal:plugin/policy`.
    Policy,
}

impl ComponentKind {
    /// The name used in the API and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Policy => "policy",
        }
    }
}

/// An uploaded component. Its bytes are kept by `engine::content`, not in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentRow {
    /// SHA-256 of the exact bytes.
    pub digest: Digest,
    /// What it exports.
    pub kind: ComponentKind,
    /// The name its descriptor gives.
    pub name: String,
    /// The version its descriptor gives.
    pub version: String,
    /// The descriptor as JSON.
    pub descriptor: String,
    /// Interfaces it imports, sorted.
    pub imports: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// When it was uploaded.
    pub added: Timestamp,
}

/// What came of adding a component.
#[derive(Clone, Debug, PartialEq)]
pub enum AddComponent {
    /// It is new.
    Added,
    /// The same bytes are there already.
    Known(ComponentRow),
    /// Kind, name and version belong to these other bytes.
    NameTaken(Digest),
}

/// What the operator lets one plugin use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// Name of the plugin; the grant holds for every version of it.
    pub plugin: String,
    /// The document in canonical JSON.
    pub document: String,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// 1 for the first grant of the plugin.
    pub version: u64,
    /// When it came into force.
    pub changed: Timestamp,
}

/// A policy bound by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// Id of the binding.
    pub id: String,
    /// The policy component.
    pub component: Digest,
    /// Settings in canonical JSON.
    pub settings: String,
    /// Scope in canonical JSON.
    pub scope: String,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// When it was bound.
    pub bound: Timestamp,
}

/// What does not change of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// UUID version 7.
    pub id: String,
    /// Whose token it came with.
    pub tenant: String,
    /// Who submitted it, as the client said.
    pub agent: Option<String>,
    /// Labels in canonical JSON.
    pub labels: String,
    /// The client's `Idempotency-Key` and the digest of the request it came with.
    pub idempotency: Option<(String, Digest)>,
    /// Blob of the pinned plan.
    pub plan: Digest,
    /// Blob of the task's input.
    pub input: Digest,
    /// When it was accepted.
    pub created: Timestamp,
}

/// A client with a token and tasks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRow {
    /// Its name.
    pub name: String,
    /// SHA-256 of its token.
    pub token: Digest,
    /// When it got that token.
    pub added: Timestamp,
    /// When it was removed.
    pub removed: Option<Timestamp>,
}

/// A submission that the host makes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// Of this version of it.
    pub id: String,
    /// When it submits what, in canonical JSON.
    pub document: String,
    /// When it was put there.
    pub changed: Timestamp,
    /// When it is due, or has been; never again where absent.
    pub next: Option<Timestamp>,
    /// What came of the last time it was due, as JSON.
    pub last: Option<String>,
}

/// What came of putting a schedule there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutSchedule {
    /// There was none.
    New,
    /// It took the place of another.
    Changed,
    /// There are too many.
    TooMany,
}

/// A task that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTask {
    /// Whose.
    pub tenant: String,
    /// Its id.
    pub id: String,
}

/// What a host hears of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Something happened to tasks; some of them may be `due` and held by nobody.
    Changed {
        /// Their ids.
        tasks: Vec<String>,
        /// Whether to look for tasks to run.
        due: bool,
    },
    /// Something that this task waits for was decided.
    Poked(String),
    /// This task is to stop.
    Cancelled(String),
    /// Tasks are due and held by nobody, or a schedule was changed.
    Due,
    /// What every host goes by has changed.
    Rules,
    /// Something may have been missed: anything may have changed.
    Missed,
    /// Others took this host for gone, and what it ran is theirs.
    Lost,
}

/// What came of accepting a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// It is stored.
    New,
    /// The same key came with the same request before: this task.
    Known(String),
    /// The same key came with another request before: this task.
    KeyReused(String),
}

/// A task as the lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// What does not change.
    pub task: NewTask,
    /// Where it is.
    pub state: TaskState,
    /// When it last changed.
    pub updated: Timestamp,
    /// When a host should look at it again, where it waits for a time.
    pub wake_at: Option<Timestamp>,
    /// It is to be cancelled.
    pub cancel: bool,
    /// How often somebody who does not run the task changed something it waits for: a decision, a cancellation.
    pub pokes: u64,
    /// How many events it has.
    pub events: u64,
    /// How many records it has.
    pub records: u64,
    /// Leaf hash of its newest record.
    pub head: Option<Digest>,
    /// When everything else of it was erased.
    pub erased: Option<Timestamp>,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only of this tenant, which is not the operator.
    pub tenant: Option<String>,
    /// Only in this state.
    pub state: Option<TaskState>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only tasks older than the one with this id.
    pub before: Option<String>,
    /// At most this many.
    pub limit: u32,
}

/// What happened to a task, to be stored together.
#[derive(Clone, Debug)]
pub struct Transition {
    /// The task.
    pub task: String,
    /// How many events the writer knows to be stored. Another number in the database means that somebody else wrote:
    /// [`CommitError::Stale`], and nothing is stored.
    pub after: u64,
    /// What happened, in order; numbered from `after + 1`.
    pub events: Vec<NewEvent>,
    /// Signed records in order.
    pub records: Vec<NewRecord>,
    /// Byte strings the records and events name. One that is there already is left alone.
    pub blobs: Vec<NewBlob>,
    /// Where the task is after this.
    pub state: TaskState,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
    /// Whether the host goes on with the task. Else whoever finds it due does.
    pub keeps: bool,
    /// What [`Store::rules_version`] was when it was judged, where it rests on a judgement. Where that has changed:
    /// [`CommitError::RulesChanged`], and nothing is stored.
    pub rules: Option<u64>,
    /// [`TaskRow::pokes`] that the writer has looked at. Where there are more, the task stays due.
    pub pokes_seen: u64,
    /// Approvals opened, or closed in the form the writer knows. One that somebody decided about since is left as it is.
    pub approvals: Vec<ApprovalRow>,
    /// What the step read, to be checked, and wrote, to be kept.
    pub keyvalue: KeyValueChanges,
    /// Now.
    pub at: Timestamp,
}

/// An event of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// What, such as `step.succeeded`.
    pub kind: &'static str,
    /// The rest as JSON.
    pub body: String,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// 1 for the first of the task.
    pub n: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: String,
    /// The rest as JSON.
    pub body: String,
}

/// A signed record to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Its place in the task, from 0.
    pub seq: u64,
    /// The DSSE envelope as JSON.
    pub envelope: String,
    /// Its leaf hash.
    pub leaf_hash: Digest,
}

/// A stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Leaf index in the log, from 0.
    pub index: u64,
    /// Its place in the task, from 0.
    pub seq: u64,
    /// What there is of it.
    pub kept: Kept,
    /// Its leaf hash.
    pub leaf_hash: Digest,
}

/// What there is of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The DSSE envelope as JSON.
    Envelope(String),
    /// The leaf alone: the envelope was erased.
    Leaf {
        /// Its bytes.
        leaf: Vec<u8>,
        /// Leaf index of the record of its erasure.
        erasure: u64,
    },
}

impl Kept {
    /// The DSSE envelope as JSON, where it was not erased.
    pub fn envelope(&self) -> Option<&str> {
        match self {
            Self::Envelope(envelope) => Some(envelope),
            Self::Leaf { .. } => None,
        }
    }
}

/// An erasure of records of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewErasure {
    /// The record of it.
    pub act: NewAct,
    /// Leaf index of each record whose envelope goes, with the leaf that stays.
    pub leaves: Vec<(u64, Vec<u8>)>,
}

/// The signed record of an act of the host, to be appended to the log together with what it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAct {
    /// The DSSE envelope as JSON.
    pub envelope: String,
    /// Its leaf hash.
    pub leaf_hash: Digest,
}

/// A record as it stands in the log, of a task or of the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Leaf index in the log, from 0.
    pub index: u64,
    /// What there is of it.
    pub kept: Kept,
    /// Its leaf hash.
    pub leaf_hash: Digest,
}

/// A byte string under its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The bytes: salt and payload, as they are disclosed.
    pub bytes: Vec<u8>,
}

/// Where an approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    /// Somebody must decide.
    Open,
    /// Everything asked was approved.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// What it was bound to changed, or its task ended.
    Void,
}

impl ApprovalState {
    /// The name used in the API and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

/// A question put to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRow {
    /// UUID version 7.
    pub id: String,
    /// The task.
    pub task: String,
    /// The step's id in the plan.
    pub step: String,
    /// Which attempt.
    pub attempt: u32,
    /// Digest of what was shown (the format's `subject`).
    pub subject: Digest,
    /// What is asked and what is shown, as JSON; no payloads, only digests.
    pub body: String,
    /// Approvals with the same likeness ask about the same component and step type.
    pub likeness: String,
    /// Where it is.
    pub state: ApprovalState,
    /// Decisions so far, as JSON.
    pub decisions: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it lapses.
    pub expires: Timestamp,
}

/// Which approvals to list.
#[derive(Clone, Debug, Default)]
pub struct ApprovalQuery {
    /// Only in this state.
    pub state: Option<ApprovalState>,
    /// Only of this task.
    pub task: Option<String>,
    /// Only approvals older than the one with this id.
    pub before: Option<String>,
    /// At most this many.
    pub limit: u32,
}

/// Size and root of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root hash.
    pub root: Digest,
}

/// A checkpoint that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// What it says.
    pub head: LogHead,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub signed: Timestamp,
}

/// A cosignature of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignatureRow {
    /// Leaves of the checkpoint.
    pub size: u64,
    /// The witness's key (a vkey).
    pub witness: String,
    /// The signature line, without its newline.
    pub line: String,
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database was made by a newer Stepseal.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: use the newer stepseal that wrote it"
    )]
    Newer {
        /// Version in the database.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// A value in the database is not what this program writes.
    #[error("the database holds {what} that cannot be read: {why}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The file cannot be used as our database.
    #[error("the database {path} cannot be used: {why}")]
    Unusable {
        /// Which file.
        path: String,
        /// What is wrong with it and what can be done.
        why: String,
    },
    /// What was to be stored contradicts what is stored, or itself. Nothing was stored.
    #[error("{what} was not stored: {why}")]
    Refused {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Other hosts took this one for gone, and what it holds is theirs. Nothing was stored.
    #[error("this host was silent for too long, and others have taken over what it ran")]
    Lost,
    /// The writer is gone or its queue is full.
    #[error("the database is too busy")]
    Busy,
    /// There is no room on the disk that the database is on. Nothing was stored.
    #[error("the disk that the database is on is full, so nothing is stored until there is room")]
    Full,
    /// Anything the database itself says.
    #[error("the database: {0}")]
    Database(sqlx::Error),
    /// A migration failed.
    #[error("bringing the database up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Database(said) if is_full(said.code().as_deref()) => Self::Full,
            error => Self::Database(error),
        }
    }
}

/// Whether a database says that its disk is full: `SQLITE_FULL`, or `disk_full` as SQLSTATE has it.
fn is_full(code: Option<&str>) -> bool {
    matches!(code, Some("13" | "53100"))
}

/// Why a transition was not stored, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the task. Nothing was stored.
    #[error("task {0} was changed by somebody else")]
    Stale(String),
    /// What it was judged by has changed since. Nothing was stored.
    #[error("grants, policies or other rules changed meanwhile")]
    RulesChanged,
    /// A key or list that the step read has changed since. Nothing was stored.
    #[error("key {key:?} of bucket {bucket:?} changed while the step ran")]
    Conflict {
        /// The bucket.
        bucket: String,
        /// The key, or empty where the list of keys changed.
        key: String,
    },
    /// The database failed; whether it stored the transition is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}
