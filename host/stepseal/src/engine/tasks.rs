//! Tasks: submit, look, wait, cancel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::record::{Kind, Outcome, Span, Status};
use stepseal_receipts::state::{StepState, TaskState};
use stepseal_receipts::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::event::Event;
use super::payload::{Payload, Sealed};
use super::plan::{Pinned, Submission, VerdictView};
use super::runner::{Fresh, Unstored, stored};
use super::schedules::check_labels;
use super::task::Task;
use super::verdict::{Composed, Judgement, denial};
use super::waiters::Waiter;
use super::{Engine, EngineError, Fault};
use crate::store::{
    Accept, CommitError, EventRow, KeyValueChanges, NewTask, TaskQuery, TaskRow, Transition,
};

/// Characters of an idempotency key.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// How long a client that cancels waits to see it done.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);
/// Events given in one answer.
const EVENTS_PAGE: u32 = 500;

/// A task in full.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The row.
    pub row: TaskRow,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Its steps in plan order.
    pub steps: Vec<StepView>,
    /// Why it ended as it did, where it did not succeed.
    pub reason: Option<String>,
}

/// A step of a task.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The step's id in the plan.
    pub id: String,
    /// `plugin@version/step-type`.
    pub uses: String,
    /// The pinned component.
    pub component: Digest,
    /// Where it is.
    pub state: StepState,
    /// Attempts so far.
    pub attempt: u32,
    /// Its output, where it succeeded and the output was not erased.
    pub output: Option<Value>,
    /// Digest in the record's `output`.
    pub output_digest: Option<Digest>,
    /// Fuel of the last attempt.
    pub fuel: Option<u64>,
    /// Outcome status of the last attempt (format: `outcome.status`), where there is one.
    pub status: Option<String>,
    /// Why it did not succeed.
    pub message: Option<String>,
    /// The approval it waits for.
    pub approval: Option<String>,
    /// Before this time its next attempt does not begin, where it has not begun.
    pub not_before: Option<Timestamp>,
    /// Verdicts on the last attempt.
    pub verdicts: Vec<VerdictView>,
}

/// What came of a submission.
#[derive(Debug)]
pub struct Submitted {
    /// The task as it was accepted.
    pub task: TaskView,
    /// False where the idempotency key named a task that is there already.
    pub new: bool,
    waiter: Waiter,
}

impl TaskView {
    pub(crate) fn new(task: &Task, row: TaskRow) -> Self {
        let steps = task
            .plan
            .steps
            .iter()
            .zip(&task.steps)
            .zip((0..).map(|index| task.due_at(index, row.updated)))
            .map(|((step, progress), due_at)| StepView {
                id: step.id.clone(),
                uses: format!("{}@{}/{}", step.plugin, step.version, step.step_type),
                component: step.component,
                state: progress.state.0,
                attempt: progress.attempt,
                output: progress.value.as_deref().cloned(),
                output_digest: progress.output.map(|output| output.digest),
                fuel: progress.fuel,
                status: progress.status.map(|status| status.as_str().to_owned()),
                message: progress.message.clone(),
                approval: progress
                    .approval
                    .clone()
                    .filter(|_| progress.state.0 == StepState::Waiting),
                not_before: due_at.filter(|_| progress.state.0 == StepState::Pending),
                verdicts: progress
                    .judged
                    .iter()
                    .flat_map(|judged| &judged.judgements)
                    .map(VerdictView::from)
                    .collect(),
            });
        Self {
            labels: task.labels.as_ref().clone(),
            steps: steps.collect(),
            reason: task.reason.clone(),
            row,
        }
    }

    /// Shows what runs now. Nothing is stored of a pure step before it ends.
    fn with_running(mut self, in_sandbox: &BTreeMap<usize, u32>) -> Self {
        for (index, attempt) in in_sandbox {
            let step = &mut self.steps[*index];
            let is_to_run = matches!(
                step.state,
                StepState::Pending | StepState::Judged | StepState::Authorized
            );
            if is_to_run && !self.row.state.is_final() {
                (step.state, step.attempt) = (StepState::Running, *attempt);
                self.row.state = TaskState::Running;
            }
        }
        self
    }

    /// Whether it is over, or a person is asked.
    fn rests(&self) -> bool {
        let asks = self
            .steps
            .iter()
            .any(|step| step.state == StepState::Waiting);
        self.row.state.is_final() || (self.row.state == TaskState::Waiting && asks)
    }
}

impl Engine {
    /// Accepts a task; it is durable when this returns. Where the client `waits` for its end, it may have gone some way by then.
    pub async fn submit(
        &self,
        tenant: &str,
        submission: Submission,
        idempotency_key: Option<String>,
        waits: bool,
    ) -> Result<Submitted, EngineError> {
        if let Some(key) = &idempotency_key
            && (key.is_empty()
                || key.len() > IDEMPOTENCY_KEY_MAX
                || !key.bytes().all(|b| b.is_ascii_graphic()))
        {
            let message = format!(
                "an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
            );
            return Err(EngineError::Invalid(vec![Fault {
                pointer: String::new(),
                message,
            }]));
        }
        check_labels(&submission)?;
        // A key is its tenant's, and no name of a tenant has a slash.
        let idempotency = idempotency_key.map(|key| {
            let request = Digest::of(&json::canonical(&submission));
            (format!("{tenant}/{key}"), request)
        });
        self.submit_with_key(tenant, submission, idempotency, waits)
            .await
    }

    /// The same with a key that is no client's, and the digest of the request that it came with.
    pub(super) async fn submit_with_key(
        &self,
        tenant: &str,
        submission: Submission,
        idempotency: Option<(String, Digest)>,
        waits: bool,
    ) -> Result<Submitted, EngineError> {
        if let Some((key, request)) = &idempotency
            && let Some((id, known)) = self.0.store.task_with_key(key).await?
        {
            // Before anything else is looked at: the host may have changed since, the answer must not.
            return if known == *request {
                self.submitted_before(&id).await
            } else {
                Err(key_reused(&id))
            };
        }
        self.check_queue(tenant).await?;
        loop {
            let key = idempotency.clone();
            if let Some(submitted) = self.submit_once(tenant, &submission, key, waits).await? {
                return Ok(submitted);
            }
            // What it was pinned and judged by has changed in between.
            self.rules_changed();
        }
    }

    /// Pins, judges and stores a submission; nothing where the rules changed meanwhile.
    async fn submit_once(
        &self,
        tenant: &str,
        submission: &Submission,
        idempotency: Option<(String, Digest)>,
        waits: bool,
    ) -> Result<Option<Submitted>, EngineError> {
        let rules = self.rules().await?;
        let pinned = self.pin(submission, &rules).await?;
        let id = self.0.clock.id();
        let now = self.0.clock.now();
        let (judgements, shown) = self.judge_plan(&rules, &id, tenant, &pinned, now).await?;
        let (mut task, plan) = self.new_task(id, tenant, pinned)?;
        let new = NewTask {
            id: task.id.clone(),
            tenant: task.tenant.to_string(),
            agent: task.agent.clone(),
            labels: serde_json::to_string(&*task.labels).expect("labels are JSON"),
            idempotency,
            plan: task.plan_digest,
            input: task.input.stored().digest,
            created: now,
        };
        let mut transition = Transition {
            task: task.id.clone(),
            after: 0,
            events: Vec::new(),
            records: Vec::new(),
            blobs: vec![plan.to_blob(), task.input.to_blob()],
            state: TaskState::Queued,
            wake_at: Some(task.plan.not_before.map_or(now, |at| at.max(now))),
            keeps: false,
            rules: Some(rules.version),
            pokes_seen: 0,
            approvals: Vec::new(),
            keyvalue: KeyValueChanges::default(),
            at: now,
        };
        transition.blobs.extend(shown.map(|shown| shown.to_blob()));
        self.open_log(
            &mut task,
            judgements,
            &mut transition,
            rules.policies_digest,
        )?;
        let row = TaskRow {
            task: new,
            state: task.state,
            updated: now,
            wake_at: transition.wake_at,
            cancel: false,
            erased: None,
            pokes: 0,
            events: task.events,
            records: task.records,
            head: task.head,
        };
        let view = TaskView::new(&task, row);
        // Before it runs, so that its end cannot be missed.
        let waiter = self.0.waiters.join(&task.id);
        let accepted = self.accept(task, view.row.clone(), transition, waits).await;
        match accepted {
            Ok(Accept::New) => Ok(Some(Submitted {
                task: view,
                new: true,
                waiter,
            })),
            Ok(Accept::Known(id)) => self.submitted_before(&id).await.map(Some),
            Ok(Accept::KeyReused(id)) => Err(key_reused(&id)),
            Err(CommitError::RulesChanged) => Ok(None),
            Err(error) => {
                // Where it was stored all the same, it is found by looking.
                self.0.wake.notify_one();
                Err(not_stored(error))
            }
        }
    }

    /// Stores a task and lets it run. Where its client waits and there is room, it runs at once and is stored with the first
    /// thing that must be durable; else, or where it comes to nothing that way, it is stored first.
    async fn accept(
        &self,
        task: Task,
        row: TaskRow,
        mut first: Transition,
        waits: bool,
    ) -> Result<Accept, CommitError> {
        let is_due = first.wake_at <= Some(first.at);
        let room = is_due.then(|| self.room_for(&task)).flatten();
        let tenant = Arc::clone(&task.tenant);
        if waits && let Some(room) = room {
            let (reply, accepted) = oneshot::channel();
            let new = row.task.clone();
            let unstored = Unstored {
                first: first.clone(),
                reply,
            };
            self.run_new(
                Fresh {
                    task,
                    row,
                    unstored: Some(unstored),
                },
                room,
            );
            if let Ok(accept) = accepted.await {
                return accept;
            }
            // Its runner gave up before there was anything to store. Stored, it is tried again like any other.
            let accept = self.store_new(&new, first).await;
            self.run_later(&tenant);
            return accept;
        }
        first.keeps = room.is_some();
        let accept = self.store_new(&row.task, first).await?;
        if accept == Accept::New && !task.state.is_final() {
            match room {
                Some(room) => self.run_new(
                    Fresh {
                        task,
                        row,
                        unstored: None,
                    },
                    room,
                ),
                None if is_due => self.run_later(&tenant),
                // The scheduler sleeps until the next one that it knows of.
                None => self.0.wake.notify_one(),
            }
        }
        Ok(accept)
    }

    /// The task a known `Idempotency-Key` belongs to.
    async fn submitted_before(&self, id: &str) -> Result<Submitted, EngineError> {
        let waiter = self.0.waiters.join(id);
        let task = self.task(id).await?;
        Ok(Submitted {
            task,
            new: false,
            waiter,
        })
    }

    fn new_task(
        &self,
        id: String,
        tenant: &str,
        pinned: Pinned,
    ) -> Result<(Task, Sealed), EngineError> {
        let plan = json::canonical_of(&pinned.plan)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let plan = Sealed::new(&plan, self.0.clock.random());
        let input = Payload::new(pinned.input, self.0.clock.random());
        let task = Task::new(
            id,
            tenant.into(),
            pinned.agent,
            pinned.labels,
            Arc::new(pinned.plan),
            plan.stored().digest,
            input,
        );
        Ok((task, plan))
    }

    /// The first record and event; and the last ones too, where a policy denies the plan.
    fn open_log(
        &self,
        task: &mut Task,
        judgements: Vec<Judgement>,
        transition: &mut Transition,
        policies: Digest,
    ) -> Result<(), EngineError> {
        let now = transition.at;
        let internal = |error: &dyn std::fmt::Display| EngineError::Internal(error.to_string());
        let input = task.input.stored().commitment();
        let opened = self.sign_record(task, Kind::TaskOpen, |record| {
            record.policies = Some(policies);
            record.input = Some(input);
            record.verdicts = judgements.iter().map(Judgement::to_record).collect();
            record.time = Some(Span {
                start: now,
                end: now,
            });
        });
        transition
            .records
            .push(opened.map_err(|error| internal(&error))?);
        let mut events = Vec::new();
        if let Some(Composed::Deny { message, .. }) = denial(&judgements) {
            for step in &task.plan.steps {
                events.push(Event::StepSkipped {
                    step: step.id.clone(),
                });
            }
            events.push(Event::TaskDenied {
                reason: message.clone(),
            });
            let (records, head) = (task.records + 1, task.head);
            let closed = self.sign_record(task, Kind::TaskClose, |record| {
                record.plan = None;
                record.time = Some(Span {
                    start: now,
                    end: now,
                });
                record.outcome = Some(Outcome {
                    status: Status::Denied,
                    code: None,
                    message: Some(message),
                });
                record.records = Some(records);
                record.head = head;
            });
            transition
                .records
                .push(closed.map_err(|error| internal(&error))?);
            transition.wake_at = None;
        }
        events.insert(0, Event::TaskAccepted { judgements });
        for event in events {
            task.apply(&event).map_err(|error| internal(&error))?;
            transition.events.push(stored(&event, now));
        }
        transition.state = task.state;
        Ok(())
    }

    /// The task once it is final or waits for a person, or as it is after `patience`.
    ///
    /// Who runs the task hands it over as it was stored: the database is not asked again.
    pub async fn wait(
        &self,
        submitted: &mut Submitted,
        patience: Duration,
    ) -> Result<TaskView, EngineError> {
        if submitted.task.rests() {
            return Ok(submitted.task.clone());
        }
        let id = &submitted.task.row.task.id;
        // One that waits for its next attempt goes on by itself.
        let stopped = self.until(id, &mut submitted.waiter, TaskView::rests);
        match timeout(patience, stopped).await {
            Ok(view) => view,
            Err(_) => self.task(id).await,
        }
    }

    /// The task once this is true of it. Where another host runs it, it is looked at whenever that says that something happened.
    async fn until(
        &self,
        id: &str,
        waiter: &mut Waiter,
        is_so: impl Fn(&TaskView) -> bool,
    ) -> Result<TaskView, EngineError> {
        loop {
            let view = match waiter.changed().await.stopped {
                Some(view) => Arc::unwrap_or_clone(view),
                None if self.0.store.is_shared() && !self.is_running(id) => self.task(id).await?,
                None => continue,
            };
            if is_so(&view) {
                return Ok(view);
            }
        }
    }

    /// A task.
    pub async fn task(&self, id: &str) -> Result<TaskView, EngineError> {
        let (mut task, row) = self.load(id).await?;
        self.load_outputs(&mut task).await?;
        Ok(TaskView::new(&task, row).with_running(&self.in_sandbox(id)))
    }

    /// Tasks, newest first.
    pub async fn tasks(&self, query: TaskQuery) -> Result<Vec<TaskRow>, EngineError> {
        Ok(self.0.store.tasks(&query).await?)
    }

    /// Takes a task back: what runs is stopped, what is left is not begun. An effect that has happened is not undone.
    /// The task is `cancelled` when this returns or, where the host has much to do, soon after; unless it ended first.
    pub async fn cancel(&self, id: &str) -> Result<TaskView, EngineError> {
        let mut waiter = self.0.waiters.join(id);
        let view = self.task(id).await?;
        if view.row.state.is_final() {
            return Err(EngineError::Conflict {
                code: "finished",
                message: format!("task {id} is {} already", view.row.state.as_str()),
            });
        }
        if let Err(error) = self.0.store.request_cancel(id).await {
            // It may have been stored all the same: whoever runs the task looks.
            self.poke(id);
            return Err(error.into());
        }
        self.cancel_running(id);
        let ended = self.until(id, &mut waiter, |view| view.row.state.is_final());
        match timeout(CANCEL_PATIENCE, ended).await {
            Ok(view) => view,
            Err(_) => self.task(id).await,
        }
    }

    /// Events after number `after`, waiting for at least one up to `patience`; empty where none came. True where the task is
    /// final and these are the last.
    pub async fn events(
        &self,
        id: &str,
        after: u64,
        patience: Duration,
    ) -> Result<(Vec<EventRow>, bool), EngineError> {
        let mut waiter = self.0.waiters.join(id);
        let news = async {
            loop {
                let (events, last) = self.events_now(id, after).await?;
                if !events.is_empty() || last {
                    return Ok((events, last));
                }
                waiter.changed().await;
            }
        };
        timeout(patience, news)
            .await
            .unwrap_or_else(|_| Ok((Vec::new(), false)))
    }

    async fn events_now(&self, id: &str, after: u64) -> Result<(Vec<EventRow>, bool), EngineError> {
        let row = self.0.store.task(id).await?;
        let row = row.ok_or_else(|| EngineError::NotFound {
            what: "task",
            id: id.to_owned(),
        })?;
        let events = self.0.store.events(id, after, EVENTS_PAGE).await?;
        let seen = events.last().map_or(after, |event| event.n);
        Ok((events, row.state.is_final() && seen >= row.events))
    }
}

fn key_reused(id: &str) -> EngineError {
    EngineError::Conflict {
        code: "key-reused",
        message: format!(
            "this Idempotency-Key came with another request before, which became task {id}; use a new key"
        ),
    }
}

fn not_stored(error: CommitError) -> EngineError {
    match error {
        CommitError::Store(error) => error.into(),
        other => EngineError::Internal(other.to_string()),
    }
}
