//! Runs one task from where it is to where it must stop: to its end, or to a wait.
//!
//! The loop starts every step that is ready, takes what comes back, and says what happened as events and records. They gather in
//! [`Pending`] and are committed together where it matters: before an effect, before a wait, before the client is answered, at the
//! end. Until then a pure step's result may be lost with the host, which loses nothing: running it again gives the same bytes.
//!
//! A runner that fails is dropped, and the task is loaded again: recovery is the ordinary path.

mod attempt;
mod basis;
mod effects;
mod end;
mod settle;
mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepseal_receipts::record::{self, Kind, Record};
use stepseal_receipts::state::{StepState, TaskState};
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::Cancel;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::approvers::Given;
use super::event::Event;
use super::payload::Sealed;
use super::task::{Misfit, Task};
use super::{Engine, EngineError, lock};
use crate::store::{
    Accept, ApprovalRow, CommitError, KeyValueChanges, NewBlob, NewEvent, NewRecord, TaskRow,
    Transition,
};
pub use attempt::idempotency_key;
use basis::Basis;
use side::Side;

/// Steps of one task that run side by side.
const SIDE_BY_SIDE_MAX: usize = 8;

/// How long what happened may stay in memory while other steps of the task run. People and clients watch.
const SHOW_AFTER: Duration = Duration::from_millis(250);

/// How often a task with running steps looks for approvals that lapsed.
const LOOK_UP_EVERY: Duration = Duration::from_secs(1);

/// Why a runner gave up. The task itself is as it was last committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a step cannot be {0}")]
    Misfit(#[from] Misfit),
    #[error("a record could not be made: {0}")]
    Record(#[from] record::RecordError),
    /// The rules that something was judged by are in force no more. It is judged again.
    #[error("what it was judged by has changed")]
    Overtaken,
    /// Other hosts took this one for gone, and the task is theirs.
    #[error("the task is no longer this host's")]
    Lost,
    /// It never got into the database; who submitted it knows.
    #[error("the task was not accepted")]
    NotAccepted,
}

impl From<crate::store::StoreError> for RunError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// How others reach a task that is being run.
#[derive(Default)]
pub(crate) struct Handle {
    poked: AtomicBool,
    lost: AtomicBool,
    notify: Notify,
    cancel: Cancel,
    /// The task has had all its time. It stays so when it is loaded again, whatever the clock says by then.
    over_time: AtomicBool,
    /// Steps that were given to the sandbox and whose end is not stored yet, with their attempts. Nothing is stored of a pure step
    /// before it ends, and people watch.
    in_sandbox: Mutex<BTreeMap<usize, u32>>,
}

impl Handle {
    /// Something about the task changed in the database: an approval was decided.
    pub(crate) fn poke(&self) {
        self.poked.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    /// The client wants the task to stop.
    pub(crate) fn cancel(&self) {
        // In this order: a runner that sees the guest stop must know why.
        self.poke();
        self.cancel.cancel();
    }

    /// The task's time is over: what runs of it stops.
    fn run_out(&self) {
        self.over_time.store(true, Ordering::SeqCst);
        self.cancel.cancel();
    }

    fn is_over_time(&self) -> bool {
        self.over_time.load(Ordering::SeqCst)
    }

    /// The task is another host's: what runs of it here is for nothing.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }

    pub(crate) fn is_poked(&self) -> bool {
        self.poked.load(Ordering::SeqCst)
    }

    /// Steps that are in the sandbox, by their index, with their attempts.
    pub(crate) fn in_sandbox(&self) -> BTreeMap<usize, u32> {
        lock(&self.in_sandbox).clone()
    }

    /// Nothing of this task runs any more.
    pub(crate) fn left_sandbox(&self) {
        lock(&self.in_sandbox).clear();
    }
}

/// A task that was just submitted.
pub(crate) struct Fresh {
    pub(crate) task: Task,
    /// As it is in the database, or will be after the first commit.
    pub(crate) row: TaskRow,
    /// Where it is not in the database yet.
    pub(crate) unstored: Option<Unstored>,
}

/// A submission that nobody was promised anything about: the runner's first commit accepts it. A task of pure steps whose client
/// waits is then over with a single commit.
pub(crate) struct Unstored {
    pub(crate) first: Transition,
    /// Where to say what came of it.
    pub(crate) reply: oneshot::Sender<Result<Accept, CommitError>>,
}

/// What happened and is not committed yet.
#[derive(Clone, Debug, Default)]
struct Pending {
    /// When the first of it happened.
    since: Option<Timestamp>,
    events: Vec<NewEvent>,
    records: Vec<NewRecord>,
    blobs: Vec<NewBlob>,
    approvals: Vec<ApprovalRow>,
    /// The version of the rules that the task was accepted under, where that is part of it.
    rules: Option<u64>,
    /// What attempts were judged by.
    judged: Vec<Basis>,
    /// Decisions that the records speak of.
    given: Vec<Given>,
    keyvalue: KeyValueChanges,
}

/// One task being run.
pub(crate) struct Runner {
    engine: Engine,
    task: Task,
    /// The task's row as this runner last stored it or looked at it.
    row: TaskRow,
    handle: Arc<Handle>,
    pending: Pending,
    in_flight: BTreeSet<usize>,
    /// Steps that run beside this. Dropping the runner drops them.
    running: Side,
    /// Approvals should be looked at: at first, and when somebody poked.
    look: bool,
    /// Who is told when the task is in the database, where it is not.
    accepting: Option<oneshot::Sender<Result<Accept, CommitError>>>,
}

impl Runner {
    fn new(engine: Engine, task: Task, row: TaskRow, handle: Arc<Handle>) -> Self {
        Self {
            engine,
            task,
            row,
            handle,
            pending: Pending::default(),
            in_flight: BTreeSet::new(),
            running: Side::default(),
            look: false,
            accepting: None,
        }
    }

    /// A runner for a task that was just submitted.
    pub(crate) fn fresh(engine: Engine, fresh: Fresh, handle: Arc<Handle>) -> Self {
        let mut runner = Self::new(engine, fresh.task, fresh.row, handle);
        if let Some(Unstored { first, reply }) = fresh.unstored {
            runner.row.events = first.after;
            runner.pending = Pending {
                since: Some(first.at),
                events: first.events,
                records: first.records,
                blobs: first.blobs,
                approvals: first.approvals,
                rules: first.rules,
                judged: Vec::new(),
                given: Vec::new(),
                keyvalue: first.keyvalue,
            };
            runner.accepting = Some(reply);
        }
        runner
    }

    /// A runner for a task in the database.
    pub(crate) async fn load(
        engine: Engine,
        id: &str,
        handle: Arc<Handle>,
    ) -> Result<Self, RunError> {
        let (mut task, row) = engine.load(id).await?;
        engine.load_outputs(&mut task).await?;
        let mut runner = Self::new(engine, task, row, handle);
        runner.look = true;
        Ok(runner)
    }

    /// Runs until the task is over or waits, and gives it back as it then is in the database, with its row.
    pub(crate) async fn drive(mut self) -> Result<(Task, TaskRow), RunError> {
        match self.run().await {
            Ok(()) => Ok((self.task, self.row)),
            Err(error) if self.accepting.is_some() => {
                tracing::warn!(task = %self.task.id, %error, "a new task could not be run at once; it is stored first");
                Err(RunError::NotAccepted)
            }
            Err(error) => Err(error),
        }
    }

    async fn run(&mut self) -> Result<(), RunError> {
        while !self.task.state.is_final() {
            if self.handle.lost.load(Ordering::SeqCst) {
                return Err(RunError::Lost);
            }
            if self.handle.poked.swap(false, Ordering::SeqCst) {
                self.look_at_row().await?;
            }
            if self.row.cancel {
                self.stop().await?;
                break;
            }
            let looked = self.now();
            if self.handle.is_over_time() || self.deadline().is_some_and(|at| at <= looked) {
                self.run_out().await?;
                break;
            }
            if std::mem::take(&mut self.look) {
                self.settle().await?;
            }
            self.launch().await?;
            if self.running.is_empty() {
                if self.is_over() {
                    self.close().await?;
                } else {
                    self.wait().await?;
                    // Where there are other hosts it is nobody's now, and due for whoever comes first.
                    if self.engine.0.store.is_shared() || !self.handle.is_poked() {
                        break;
                    }
                }
                continue;
            }
            let handle = Arc::clone(&self.handle);
            let rest = self.rest(looked);
            tokio::select! {
                Some(progress) = self.running.next() => self.take(progress).await?,
                () = handle.notify.notified() => self.running.part(),
                () = sleep(rest) => self.look_up().await?,
            }
        }
        Ok(())
    }

    /// How long steps may run before something is due that was not when the task was looked at.
    fn rest(&self, looked: Timestamp) -> Duration {
        let now = self.now();
        let shown = self
            .pending
            .since
            .map(|since| SHOW_AFTER.saturating_sub(between(since, now)));
        // What was due then waits for something else.
        let due = self
            .times()
            .filter(|at| *at > looked)
            .map(|at| between(now, at));
        due.chain(shown).fold(LOOK_UP_EVERY, Duration::min)
    }

    /// Points in time at which the task goes on by itself.
    fn times(&self) -> impl Iterator<Item = Timestamp> {
        let pending = (0..self.task.steps.len())
            .filter(|index| self.task.step_state(*index) == StepState::Pending);
        let now = self.now();
        let due = pending.filter_map(move |index| Some((index, self.task.due_at(index, now)?)));
        let due = due.filter(|(index, _)| self.task.is_ready(*index));
        due.map(|(_, at)| at).chain(self.deadline())
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.task.plan.deadline(self.row.task.created)
    }

    /// Whether what is left of the task is being given up.
    fn is_stopping(&self) -> bool {
        self.row.cancel || self.handle.is_over_time()
    }

    fn now(&self) -> Timestamp {
        self.engine.0.clock.now()
    }

    /// While steps run: shows what happened beside them, and takes up what has come due.
    async fn look_up(&mut self) -> Result<(), RunError> {
        self.running.part();
        if !lock(&self.handle.in_sandbox).is_empty() {
            self.begin()?;
        }
        if !self.pending.events.is_empty() {
            self.flush().await?;
        }
        self.look = true;
        Ok(())
    }

    /// Reads what others may write to a task's row.
    async fn look_at_row(&mut self) -> Result<(), RunError> {
        if let Some(row) = self.engine.0.store.task(&self.task.id).await? {
            self.row.pokes = row.pokes;
            self.row.cancel |= row.cancel;
        }
        self.look = true;
        Ok(())
    }

    /// Starts every step that may go on.
    async fn launch(&mut self) -> Result<(), RunError> {
        let failing = self.failing();
        for index in 0..self.task.steps.len() {
            if self.in_flight.len() >= SIDE_BY_SIDE_MAX {
                break;
            }
            if self.in_flight.contains(&index) {
                continue;
            }
            match self.task.step_state(index) {
                StepState::Pending
                    if !failing && self.task.is_ready(index) && self.is_due(index) =>
                {
                    self.prepare(index);
                }
                // Authorised before a crash, or by a person a moment ago.
                StepState::Authorized | StepState::Running => self.resume(index).await?,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_due(&self, index: usize) -> bool {
        let now = self.now();
        self.task.due_at(index, now).is_none_or(|at| at <= now)
    }

    /// Whether a step has failed for good, so that no other is begun.
    fn failing(&self) -> bool {
        (0..self.task.steps.len()).any(|index| {
            matches!(
                self.task.step_state(index),
                StepState::Failed | StepState::Denied
            )
        })
    }

    fn is_over(&self) -> bool {
        self.failing()
            || (0..self.task.steps.len())
                .all(|index| self.task.step_state(index) == StepState::Succeeded)
    }

    /// Stores that nothing can go on before a person decides or a time comes.
    async fn wait(&mut self) -> Result<(), RunError> {
        if self.task.state == TaskState::Running {
            self.emit(Event::TaskWaiting {})?;
        }
        let mut wake = self.times().min();
        for index in 0..self.task.steps.len() {
            if self.task.step_state(index) == StepState::Waiting
                && let Some(expires) = self.approval_expiry(index).await?
            {
                wake = Some(wake.map_or(expires, |wake| wake.min(expires)));
            }
        }
        self.flush_until(wake, false).await
    }

    /// Says that the task goes on, where it has not been said.
    fn begin(&mut self) -> Result<(), RunError> {
        match self.task.state {
            TaskState::Queued => self.emit(Event::TaskStarted {}),
            TaskState::Waiting => self.emit(Event::TaskResumed {}),
            _ => Ok(()),
        }
    }

    /// Applies an event and keeps it for the next commit.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an event is made where it is emitted"
    )]
    fn emit(&mut self, event: Event) -> Result<(), RunError> {
        self.task.apply(&event)?;
        let now = self.engine.0.clock.now();
        self.pending.since.get_or_insert(now);
        self.pending.events.push(stored(&event, now));
        Ok(())
    }

    /// Signs a record and keeps it for the next commit.
    fn record(&mut self, kind: Kind, fill: impl FnOnce(&mut Record)) -> Result<(), RunError> {
        let record = self.engine.sign_record(&mut self.task, kind, fill)?;
        self.pending.records.push(record);
        Ok(())
    }

    fn keep(&mut self, payload: &Sealed) {
        self.pending.blobs.push(payload.to_blob());
    }

    /// Commits what happened so far, in the middle of things.
    async fn flush(&mut self) -> Result<(), RunError> {
        let now = self.engine.0.clock.now();
        self.flush_until(Some(now), true).await
    }

    /// The first commit of a task that is not in the database yet.
    async fn accept(
        &mut self,
        first: Transition,
        reply: oneshot::Sender<Result<Accept, CommitError>>,
    ) -> Result<(), RunError> {
        let accept = self.engine.store_new(&self.row.task, first).await;
        if matches!(accept, Err(CommitError::RulesChanged)) {
            // It is submitted anew.
            return Err(RunError::NotAccepted);
        }
        let is_new = matches!(accept, Ok(Accept::New));
        // Nobody listens where the client has gone away; the task runs all the same.
        let _ = reply.send(accept);
        if is_new {
            Ok(())
        } else {
            Err(RunError::NotAccepted)
        }
    }

    /// Commits what happened so far; a host should look at the task again at `wake_at`, and until then this one `keeps` it or not.
    async fn flush_until(
        &mut self,
        wake_at: Option<Timestamp>,
        keeps: bool,
    ) -> Result<(), RunError> {
        let rules = self.engine.rules().await?;
        let rules = self.pending.rests_on(&rules)?;
        let pending = std::mem::take(&mut self.pending);
        let basis = Pending {
            rules: pending.rules,
            judged: pending.judged,
            given: pending.given,
            ..Pending::default()
        };
        let has_effects = self.task.plan.steps.iter().any(|step| step.effects);
        let at = self.engine.0.clock.now();
        let transition = Transition {
            task: self.task.id.clone(),
            after: self.row.events,
            events: pending.events,
            records: pending.records,
            blobs: pending.blobs,
            state: self.task.state,
            wake_at,
            keeps,
            rules,
            pokes_seen: self.row.pokes,
            approvals: pending.approvals,
            keyvalue: pending.keyvalue,
            at,
        };
        match self.accepting.take() {
            None if has_effects => self.store_beside_effects(transition, &basis).await?,
            None => self.engine.store_more(transition).await?,
            Some(reply) => self.accept(transition, reply).await?,
        }
        self.row = TaskRow {
            state: self.task.state,
            updated: at,
            wake_at,
            events: self.task.events,
            records: self.task.records,
            head: self.task.head,
            ..self.row.clone()
        };
        lock(&self.handle.in_sandbox).retain(|index, _| self.in_flight.contains(index));
        let waiters = &self.engine.0.waiters;
        waiters.changed(&self.task.id);
        Ok(())
    }

    /// Commits what may have happened while effects are under way, which would be cut off with the runner: rules that changed and are not
    /// those that it rests on are no reason for that.
    async fn store_beside_effects(
        &mut self,
        mut transition: Transition,
        basis: &Pending,
    ) -> Result<(), RunError> {
        loop {
            match self.engine.store_more(transition.clone()).await {
                Err(CommitError::RulesChanged) => {
                    self.engine.rules_changed();
                    let rules = self.engine.rules().await?;
                    transition.rules = basis.rests_on(&rules)?;
                }
                stored => return Ok(stored?),
            }
        }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::from_millis(later.unix_ms().saturating_sub(earlier.unix_ms()))
}

/// An event as the store takes it.
pub(crate) fn stored(event: &Event, at: Timestamp) -> NewEvent {
    NewEvent {
        at,
        kind: event.kind(),
        body: serde_json::to_string(event).expect("an event is JSON"),
    }
}

impl Engine {
    /// Builds and signs the next record of a task.
    pub(crate) fn sign_record(
        &self,
        task: &mut Task,
        kind: Kind,
        fill: impl FnOnce(&mut Record),
    ) -> Result<NewRecord, record::RecordError> {
        let mut record = Record::new(kind, self.0.origin.clone(), self.nonce());
        record.task = Some(record::TaskLink {
            id: task.id.clone(),
            seq: task.records,
            prev: task.head,
        });
        record.plan = Some(task.plan_digest);
        record.runtime = Some(self.0.runtime.clone());
        fill(&mut record);
        let signed = record::sign(&record, &self.0.record_key)?;
        let stored = NewRecord {
            seq: task.records,
            envelope: String::from_utf8(signed.envelope.to_json()).expect("an envelope is JSON"),
            leaf_hash: signed.leaf_hash,
        };
        task.records += 1;
        task.head = Some(signed.leaf_hash);
        Ok(stored)
    }
}
