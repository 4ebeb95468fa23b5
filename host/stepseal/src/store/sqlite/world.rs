//! What a batch decides: which of its transitions hold, and which rows they make. No SQL and no waiting here; what is
//! in the database was read before ([`super::batch`]).
//!
//! Transitions are taken in order, and each sees what the ones before it did, as if they had been committed.

use std::collections::{BTreeMap, HashMap};

use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::NodeId;

use super::log::Edge;
use super::row;
use crate::store::{
    Accept, ApprovalRow, CommitError, NewBlob, NewEvent, NewRecord, NewTask, StoreError, Transition,
};

/// A transition that somebody wants stored, with its task where that is new.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) task: Option<NewTask>,
    pub(super) transition: Transition,
}

impl Request {
    /// About how many bytes it brings.
    pub(super) fn bytes(&self) -> usize {
        let transition = &self.transition;
        let blobs: usize = transition.blobs.iter().map(|blob| blob.bytes.len()).sum();
        let events: usize = transition.events.iter().map(|event| event.body.len()).sum();
        let records: usize = transition
            .records
            .iter()
            .map(|record| record.envelope.len())
            .sum();
        let values: usize = transition
            .keyvalue
            .writes
            .iter()
            .filter_map(|write| write.value.as_ref().map(Vec::len))
            .sum();
        blobs + events + records + values
    }
}

/// A key of a bucket.
pub(super) type EntryKey = (String, String);

/// What the transitions of a batch are checked against, and the rows of those that passed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) edge: Edge,
    pub(super) tasks: BTreeMap<String, TaskView>,
    /// Idempotency keys: digest of the request and id of the task.
    pub(super) keys: HashMap<String, (Digest, String)>,
    /// Versions of keys; one that is missing has version 0.
    pub(super) entries: HashMap<EntryKey, u64>,
    /// Versions of buckets.
    pub(super) buckets: HashMap<String, u64>,
    pub(super) rows: Rows,
}

/// As much of a task as a commit needs.
#[derive(Debug)]
pub(super) struct TaskView {
    /// Where the task is new in this batch.
    pub(super) new: Option<NewTask>,
    pub(super) events: u64,
    pub(super) records: u64,
    pub(super) head: Option<Digest>,
    pub(super) pokes: u64,
    /// Where a transition of this batch left it.
    pub(super) change: Option<Change>,
}

/// Where a transition leaves a task.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) state: TaskState,
    pub(super) updated: Timestamp,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) pokes_seen: u64,
}

impl TaskView {
    /// Where the task is due once `change` holds: at once where there are pokes the runner has not looked at, and
    /// never where it is finished.
    pub(super) fn due_ms(&self, change: &Change) -> Option<i64> {
        if change.state.is_final() {
            None
        } else if self.pokes > change.pokes_seen {
            Some(0)
        } else {
            change.wake_at.map(row::ms)
        }
    }
}

/// Rows to be written, but for those of tasks.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Whether any transition passed.
    pub(super) any: bool,
    pub(super) events: Vec<(String, u64, NewEvent)>,
    /// With the leaf index.
    pub(super) records: Vec<(u64, String, NewRecord)>,
    /// Level 1 and up.
    pub(super) nodes: Vec<(NodeId, Digest)>,
    pub(super) blobs: Vec<(String, NewBlob)>,
    /// The last form of each.
    pub(super) approvals: BTreeMap<String, ApprovalRow>,
    /// The last write of each key, with its version; `None` deletes.
    pub(super) entries: BTreeMap<EntryKey, (u64, Option<Vec<u8>>)>,
    pub(super) buckets: BTreeMap<String, u64>,
}

impl World {
    pub(super) fn new(edge: Edge) -> Self {
        Self {
            edge,
            tasks: BTreeMap::new(),
            keys: HashMap::new(),
            entries: HashMap::new(),
            buckets: HashMap::new(),
            rows: Rows::default(),
        }
    }

    /// Takes a transition in, or says why not; then nothing has changed.
    pub(super) fn apply(&mut self, request: Request) -> Result<Accept, CommitError> {
        let Request { task, transition } = request;
        if let Some(task) = &task {
            if let Some(known) = self.known(task) {
                return Ok(known);
            }
            self.check_new(task, &transition)?;
        }
        let records = match (&task, self.tasks.get(&transition.task)) {
            (Some(_), None) => 0,
            (None, Some(view)) if view.events == transition.after => view.records,
            _ => return Err(CommitError::Stale(transition.task)),
        };
        self.check_keyvalue(&transition)?;
        check_whole(&transition, records)?;
        self.take(task, transition);
        Ok(Accept::New)
    }

    fn known(&self, task: &NewTask) -> Option<Accept> {
        let (key, digest) = task.idempotency.as_ref()?;
        let (digest_before, id) = self.keys.get(key)?;
        Some(if digest_before == digest {
            Accept::Known(id.clone())
        } else {
            Accept::KeyReused(id.clone())
        })
    }

    fn check_new(&self, task: &NewTask, transition: &Transition) -> Result<(), CommitError> {
        if task.id != transition.task || transition.after != 0 {
            return Err(refused(
                "a task",
                format!(
                    "its first transition is of task {} after event {}",
                    transition.task, transition.after
                ),
            ));
        }
        if self.tasks.contains_key(&task.id) {
            return Err(CommitError::Stale(task.id.clone()));
        }
        Ok(())
    }

    fn check_keyvalue(&self, transition: &Transition) -> Result<(), CommitError> {
        for read in &transition.keyvalue.reads {
            let entry = (read.bucket.clone(), read.key.clone());
            if self.entries.get(&entry).copied().unwrap_or(0) != read.version {
                return Err(CommitError::Conflict {
                    bucket: read.bucket.clone(),
                    key: read.key.clone(),
                });
            }
        }
        for listed in &transition.keyvalue.listed {
            if self.buckets.get(&listed.bucket).copied().unwrap_or(0) != listed.version {
                return Err(CommitError::Conflict {
                    bucket: listed.bucket.clone(),
                    key: String::new(),
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, task: Option<NewTask>, transition: Transition) {
        let id = transition.task;
        if let Some((key, digest)) = task.as_ref().and_then(|task| task.idempotency.clone()) {
            self.keys.insert(key, (digest, id.clone()));
        }
        let view = self.tasks.entry(id.clone()).or_insert(TaskView {
            new: task,
            events: 0,
            records: 0,
            head: None,
            pokes: 0,
            change: None,
        });
        for event in transition.events {
            view.events += 1;
            self.rows.events.push((id.clone(), view.events, event));
        }
        for record in transition.records {
            view.records += 1;
            view.head = Some(record.leaf_hash);
            let index = self.edge.frontier.size();
            let completed = self.edge.frontier.append(record.leaf_hash);
            let above = completed.into_iter().filter(|(node, _)| node.level > 0);
            self.rows.nodes.extend(above);
            self.rows.records.push((index, id.clone(), record));
        }
        view.change = Some(Change {
            state: transition.state,
            updated: transition.at,
            wake_at: transition.wake_at,
            pokes_seen: transition.pokes_seen,
        });
        for blob in transition.blobs {
            self.rows.blobs.push((id.clone(), blob));
        }
        for approval in transition.approvals {
            self.rows.approvals.insert(approval.id.clone(), approval);
        }
        if !transition.keyvalue.writes.is_empty() {
            self.edge.write_version += 1;
        }
        let version = self.edge.write_version;
        for write in transition.keyvalue.writes {
            let entry = (write.bucket, write.key);
            let seen = if write.value.is_some() { version } else { 0 };
            self.entries.insert(entry.clone(), seen);
            self.buckets.insert(entry.0.clone(), version);
            self.rows.buckets.insert(entry.0.clone(), version);
            self.rows.entries.insert(entry, (version, write.value));
        }
        self.rows.any = true;
    }
}

/// Whether a transition is of one piece, for a task with so many records. The engine sees to that; one that is not would
/// fail the statements that other transitions share.
fn check_whole(transition: &Transition, records: u64) -> Result<(), CommitError> {
    for (record, seq) in transition.records.iter().zip(records..) {
        if record.seq != seq {
            return Err(refused(
                "a record",
                format!(
                    "the next one of task {} is {seq}, this one is {}",
                    transition.task, record.seq
                ),
            ));
        }
    }
    for approval in &transition.approvals {
        if approval.task != transition.task {
            return Err(refused(
                "an approval",
                format!(
                    "it is of task {} and came with task {}",
                    approval.task, transition.task
                ),
            ));
        }
    }
    Ok(())
}

fn refused(what: &'static str, why: String) -> CommitError {
    CommitError::Store(StoreError::Refused { what, why })
}
