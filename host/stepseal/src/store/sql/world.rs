//! What a batch decides: which of its transitions hold, and which rows they make. No SQL and no waiting here; what is
//! in the database was read before, while nobody else could write (`sqlite::batch`, `postgres::batch`).
//!
//! Transitions are taken in order, and each sees what the ones before it did, as if they had been committed.

use std::collections::{BTreeMap, HashMap};

use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::NodeId;

use super::log::Edge;
use super::row;
use super::transitions::{self, Packed};
use crate::store::{Accept, ApprovalRow, CommitError, NewRecord, NewTask, StoreError, Transition};

/// What became of each request, in their order.
pub(in crate::store) type Outcomes = Vec<Result<Accept, CommitError>>;

/// A transition that somebody wants stored, with its task where that is new.
#[derive(Debug)]
pub(in crate::store) struct Request {
    pub(in crate::store) task: Option<NewTask>,
    pub(in crate::store) transition: Transition,
}

impl Request {
    /// About how many bytes it brings.
    pub(in crate::store) fn bytes(&self) -> usize {
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
pub(in crate::store) type EntryKey = (String, String);

/// What the transitions of a batch are checked against, and the rows of those that passed.
#[derive(Debug)]
pub(in crate::store) struct World {
    pub(in crate::store) edge: Edge,
    /// The host that writes, where there may be others.
    me: Option<i64>,
    pub(in crate::store) tasks: BTreeMap<String, TaskView>,
    /// Idempotency keys: digest of the request and id of the task.
    pub(in crate::store) keys: HashMap<String, (Digest, String)>,
    /// Versions of keys; one that is missing has version 0.
    pub(in crate::store) entries: HashMap<EntryKey, u64>,
    /// Versions of buckets.
    pub(in crate::store) buckets: HashMap<String, u64>,
    pub(in crate::store) rows: Rows,
}

/// As much of a task as a commit needs.
#[derive(Debug)]
pub(in crate::store) struct TaskView {
    /// Where the task is new in this batch.
    pub(in crate::store) new: Option<NewTask>,
    pub(in crate::store) events: u64,
    pub(in crate::store) records: u64,
    pub(in crate::store) head: Option<Digest>,
    pub(in crate::store) pokes: u64,
    /// The host that has it.
    pub(in crate::store) holder: Option<i64>,
    /// Where a transition of this batch left it.
    pub(in crate::store) change: Option<Change>,
}

/// Where a transition leaves a task.
#[derive(Debug)]
pub(in crate::store) struct Change {
    pub(in crate::store) state: TaskState,
    pub(in crate::store) updated: Timestamp,
    pub(in crate::store) wake_at: Option<Timestamp>,
    pub(in crate::store) pokes_seen: u64,
}

impl TaskView {
    /// Where the task is due once `change` holds: at once where there are pokes the runner has not looked at, and
    /// never where it is finished.
    pub(in crate::store) fn due_ms(&self, change: &Change) -> Option<i64> {
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
pub(in crate::store) struct Rows {
    /// Whether any transition passed.
    pub(in crate::store) any: bool,
    /// Events and blobs.
    pub(in crate::store) transitions: Vec<Packed>,
    /// With the leaf index.
    pub(in crate::store) records: Vec<(u64, String, NewRecord)>,
    /// Level 1 and up.
    pub(in crate::store) nodes: Vec<(NodeId, Digest)>,
    /// The last form of each.
    pub(in crate::store) approvals: BTreeMap<String, ApprovalRow>,
    /// The last write of each key, with its version; `None` deletes.
    pub(in crate::store) entries: BTreeMap<EntryKey, (u64, Option<Vec<u8>>)>,
    pub(in crate::store) buckets: BTreeMap<String, u64>,
}

impl World {
    pub(in crate::store) fn new(edge: Edge, me: Option<i64>) -> Self {
        Self {
            edge,
            me,
            tasks: BTreeMap::new(),
            keys: HashMap::new(),
            entries: HashMap::new(),
            buckets: HashMap::new(),
            rows: Rows::default(),
        }
    }

    /// Takes a transition in, or says why not; then nothing has changed.
    pub(in crate::store) fn apply(&mut self, request: Request) -> Result<Accept, CommitError> {
        let Request { task, transition } = request;
        if let Some(task) = &task {
            if let Some(known) = self.known(task) {
                return Ok(known);
            }
            self.check_new(task, &transition)?;
        }
        let records = match (&task, self.tasks.get(&transition.task)) {
            (Some(_), None) => 0,
            (None, Some(view)) if view.events == transition.after && view.holder == self.me => {
                view.records
            }
            _ => return Err(CommitError::Stale(transition.task)),
        };
        if transition
            .rules
            .is_some_and(|rules| rules != self.edge.rules)
        {
            return Err(CommitError::RulesChanged);
        }
        self.check_keyvalue(&transition)?;
        check_whole(task.as_ref(), &transition, records)?;
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
            holder: None,
            change: None,
        });
        let is_kept = transition.keeps && !transition.state.is_final();
        view.holder = self.me.filter(|_| is_kept);
        if !transition.events.is_empty() {
            view.events += transition.events.len() as u64;
            let (events, blobs) = (&transition.events, &transition.blobs);
            let packed = transitions::pack(id.clone(), view.events, events, blobs);
            self.rows.transitions.push(packed);
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
fn check_whole(
    task: Option<&NewTask>,
    transition: &Transition,
    records: u64,
) -> Result<(), CommitError> {
    if texts(task, transition).any(|text| text.contains('\0')) {
        return Err(refused(
            "a transition",
            format!(
                "a text of task {} has a zero character, which not every database stores",
                transition.task
            ),
        ));
    }
    transitions::check(&transition.events, &transition.blobs)?;
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

/// Everything that goes into a column of text, but for keys of buckets, which go in as bytes.
fn texts<'t>(
    task: Option<&'t NewTask>,
    transition: &'t Transition,
) -> impl Iterator<Item = &'t str> {
    let task = task.into_iter().flat_map(|task| {
        let key = task.idempotency.as_ref().map(|(key, _)| key);
        let texts = [
            Some(&task.id),
            Some(&task.tenant),
            task.agent.as_ref(),
            Some(&task.labels),
            key,
        ];
        texts.into_iter().flatten()
    });
    let events = transition.events.iter().map(|event| &event.body);
    let records = transition.records.iter().map(|record| &record.envelope);
    let approvals = transition
        .approvals
        .iter()
        .flat_map(|row| [&row.id, &row.step, &row.body, &row.likeness, &row.decisions]);
    let writes = transition.keyvalue.writes.iter().map(|write| &write.bucket);
    let reads = transition.keyvalue.reads.iter().map(|read| &read.bucket);
    let listed = transition
        .keyvalue
        .listed
        .iter()
        .map(|listed| &listed.bucket);
    let texts = task.chain(events).chain(records).chain(approvals);
    texts
        .chain(writes)
        .chain(reads)
        .chain(listed)
        .chain([&transition.task])
        .map(String::as_str)
}

fn refused(what: &'static str, why: String) -> CommitError {
    CommitError::Store(StoreError::Refused { what, why })
}
