//! A task in memory: its plan and input with its events folded in.
//!
//! There is one way for a task to change, [`Task::apply`]. Running a task applies events and stores them; loading one reads them
//! back and applies them again. So recovery after a crash is loading.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::{BLIND1_PREFIX, SALT_BYTES};
use stepseal_receipts::plan::{Fate, Listed, Root, Rules, Source, fate, listed};
use stepseal_receipts::record::Status;
use stepseal_receipts::state::{IllegalTransition, StepEvent, StepState, TaskEvent, TaskState};
use stepseal_receipts::time::Timestamp;

use super::event::Event;
use super::payload::{Payload, StoredPayload};
use super::plan::{OnFailure, Plan};
use super::verdict::{Again, Judgement};
use super::{Engine, EngineError};
use crate::store::TaskRow;

/// Events read in one go.
const EVENTS_PAGE: u32 = 1000;

/// A task with everything that happened to it.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    /// Whose token it came with.
    pub(crate) tenant: Arc<str>,
    pub(crate) agent: Option<String>,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) plan: Arc<Plan>,
    /// Blob of the pinned plan.
    pub(crate) plan_digest: Digest,
    pub(crate) input: Payload,
    pub(crate) state: TaskState,
    pub(crate) steps: Vec<StepProgress>,
    /// What policies of stage `plan` said when it was submitted.
    pub(crate) plan_judgements: Vec<Judgement>,
    /// Events applied so far.
    pub(crate) events: u64,
    /// Records signed so far.
    pub(crate) records: u64,
    /// Leaf hash of the newest record.
    pub(crate) head: Option<Digest>,
    /// Why it ended as it did.
    pub(crate) reason: Option<String>,
}

/// How far one step is.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepProgress {
    pub(crate) state: Progress,
    /// 0 before the first attempt was judged.
    pub(crate) attempt: u32,
    /// What was judged about the newest attempt.
    pub(crate) judged: Option<JudgedAttempt>,
    /// The approval asked for.
    pub(crate) approval: Option<String>,
    pub(crate) output: Option<StoredPayload>,
    /// The output itself, where it is in memory.
    pub(crate) value: Option<Arc<Value>>,
    /// When the next attempt may begin.
    pub(crate) retry_at: Option<Timestamp>,
    /// Where its items are, where it runs for each of some and it is known for which.
    pub(crate) items: Option<Range<usize>>,
    /// A person must be asked for the next attempt, or was for this one.
    pub(crate) again: Option<Again>,
    pub(crate) status: Option<Status>,
    pub(crate) message: Option<String>,
    pub(crate) fuel: Option<u64>,
}

/// A step's state, pending at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress(pub(crate) StepState);

impl Default for Progress {
    fn default() -> Self {
        Self(StepState::Pending)
    }
}

/// What was judged about an attempt, and under which rules.
#[derive(Clone, Debug)]
pub(crate) struct JudgedAttempt {
    pub(crate) judgements: Vec<Judgement>,
    pub(crate) input: StoredPayload,
    pub(crate) grants: Digest,
    pub(crate) policies: Digest,
}

/// An event that cannot have happened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misfit {
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("the plan has no step {0:?}")]
    NoStep(String),
}

impl Task {
    /// A task that was just accepted, before its first event.
    pub(crate) fn new(
        id: String,
        tenant: Arc<str>,
        agent: Option<String>,
        labels: BTreeMap<String, String>,
        plan: Arc<Plan>,
        plan_digest: Digest,
        input: Payload,
    ) -> Self {
        let steps = vec![StepProgress::default(); plan.steps.len()];
        Self {
            id,
            tenant,
            agent,
            labels: Arc::new(labels),
            plan,
            plan_digest,
            input,
            state: TaskState::Queued,
            steps,
            plan_judgements: Vec::new(),
            events: 0,
            records: 0,
            head: None,
            reason: None,
        }
    }

    /// Where step `index` is; with items, where they are.
    pub(crate) fn step_state(&self, index: usize) -> StepState {
        let Some(items) = &self.steps[index].items else {
            return self.steps[index].state.0;
        };
        let states = || self.steps[items.clone()].iter().map(|item| item.state.0);
        let any = |wanted: &[StepState]| states().any(|state| wanted.contains(&state));
        let is_begun = any(&[StepState::Judged, StepState::Authorized, StepState::Running]);
        let first_of = [
            (is_begun, StepState::Running),
            (any(&[StepState::Waiting]), StepState::Waiting),
            (any(&[StepState::Pending]), StepState::Pending),
            (any(&[StepState::Denied]), StepState::Denied),
            (any(&[StepState::Failed]), StepState::Failed),
            (any(&[StepState::Cancelled]), StepState::Cancelled),
            (any(&[StepState::Skipped]), StepState::Skipped),
        ];
        let first = first_of.into_iter().find(|(is, _)| *is);
        first.map_or(StepState::Succeeded, |(_, state)| state)
    }

    /// Whether step `index` stands for its items, which are begun in place of it.
    pub(crate) fn has_items(&self, index: usize) -> bool {
        self.steps[index].items.is_some()
    }

    /// Whether step `index` is an item of which as many others are under way as the plan allows.
    pub(crate) fn is_held_back(&self, index: usize, in_flight: &BTreeSet<usize>) -> bool {
        let Some(of) = self.plan.steps[index].item else {
            return false;
        };
        let parent = (
            &self.plan.steps[of.step].for_each,
            &self.steps[of.step].items,
        );
        let (Some(each), Some(items)) = parent else {
            return false;
        };
        let under_way = |at: &usize| {
            let state = self.step_state(*at);
            in_flight.contains(at) || !(state.is_final() || state == StepState::Pending)
        };
        items.clone().filter(under_way).count() >= each.side_by_side as usize
    }

    /// Puts the outputs of items together where all of them are over: `null` stands for one that failed and may.
    pub(crate) fn gather(&mut self) {
        for index in 0..self.steps.len() {
            let Some(items) = self.steps[index].items.clone() else {
                continue;
            };
            if self.steps[index].value.is_none() && self.is_settled(index) {
                let outputs = self.steps[items].iter();
                let output = |item: &StepProgress| item.value.as_deref().cloned();
                let outputs = outputs.map(|item| output(item).unwrap_or_default());
                self.steps[index].value = Some(Arc::new(outputs.collect()));
            }
        }
    }

    /// Items of all steps.
    pub(crate) fn count_items(&self) -> usize {
        self.steps.len() - self.plan.pinned().count()
    }

    fn look(&self, root: &Root) -> Source<'_> {
        match root {
            Root::Input => Source::Is(self.input.value()),
            Root::Item => Source::Unknown,
            Root::Output(id) => match self.index_of(id) {
                Some(at) if self.has_items(at) || self.step_state(at) == StepState::Succeeded => {
                    let value = self.steps[at].value.as_deref();
                    value.map_or(Source::Hidden, Source::Is)
                }
                _ => Source::Nothing,
            },
        }
    }

    /// What step `index` runs for, once what it needs is settled; none where it does not run for each of something.
    pub(crate) fn listed(&self, index: usize) -> Option<Listed<'_>> {
        let each = self.plan.steps[index].for_each.as_ref()?;
        Some(listed(&each.source, &|root| self.look(root)))
    }

    /// Whether everything that step `index` needs is settled.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        let needs = self.plan.steps[index].needs.iter();
        needs
            .map(|need| self.index_of(need))
            .all(|at| at.is_some_and(|at| self.is_settled(at)))
    }

    /// What the rules of the plan say of step `index`, once what it needs is settled.
    pub(crate) fn fate(&self, index: usize) -> Fate {
        let step = &self.plan.steps[index];
        let rules = Rules {
            with: &step.with,
            condition: step.condition.as_ref(),
            items: step.for_each.as_ref().map(|each| &each.source),
        };
        fate(&rules, &|root| self.look(root))
    }

    /// Whether step `index` is over and the task goes on.
    pub(crate) fn is_settled(&self, index: usize) -> bool {
        match self.step_state(index) {
            StepState::Succeeded | StepState::Skipped => true,
            StepState::Failed => self.lets_fail(index),
            _ => false,
        }
    }

    /// Whether the plan goes on where step `index` fails.
    fn lets_fail(&self, index: usize) -> bool {
        self.plan.steps[index].on_failure == Some(OnFailure::Continue)
    }

    /// Whether a step was denied or has failed for good, so that the task does.
    pub(crate) fn is_failing(&self) -> bool {
        (0..self.steps.len()).any(|index| match self.step_state(index) {
            StepState::Denied => true,
            StepState::Failed => !self.lets_fail(index),
            _ => false,
        })
    }

    /// When the next attempt of step `index` may begin, as far as it is a question of time.
    pub(crate) fn due_at(&self, index: usize) -> Option<Timestamp> {
        let of_step = self.plan.steps[index].not_before;
        let retry_at = self.steps[index].retry_at;
        [self.plan.not_before, of_step, retry_at]
            .into_iter()
            .flatten()
            .max()
    }

    /// The index of the step with this id.
    pub(crate) fn index_of(&self, id: &str) -> Option<usize> {
        self.plan.steps.iter().position(|step| step.id == id)
    }

    /// Other steps that have left `pending`, for policies.
    pub(crate) fn history(&self, but: usize) -> Vec<(usize, StepState)> {
        (0..self.steps.len())
            .filter(|index| *index != but)
            .filter(|index| !self.has_items(*index))
            .map(|index| (index, self.step_state(index)))
            .filter(|(_, state)| *state != StepState::Pending)
            .collect()
    }

    /// Folds in what happened.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), Misfit> {
        self.apply_inner(event)?;
        self.events += 1;
        Ok(())
    }

    fn apply_inner(&mut self, event: &Event) -> Result<(), Misfit> {
        match event {
            Event::TaskAccepted { judgements } => self.plan_judgements.clone_from(judgements),
            Event::TaskStarted {} => self.move_task(TaskEvent::Start, None)?,
            Event::TaskWaiting {} => self.move_task(TaskEvent::Wait, None)?,
            Event::TaskResumed {} => self.move_task(TaskEvent::Resume, None)?,
            Event::TaskSucceeded { reason } => {
                self.move_task(TaskEvent::Succeed, reason.as_ref())?;
            }
            Event::TaskFailed { reason, .. } => self.move_task(TaskEvent::Fail, Some(reason))?,
            Event::TaskDenied { reason } => self.move_task(TaskEvent::Deny, Some(reason))?,
            Event::TaskCancelled {} => self.move_task(TaskEvent::Cancel, None)?,
            Event::StepExpanded { step, items } => self.expand(step, *items)?,
            Event::StepJudged {
                step,
                attempt,
                judgements,
                input,
                grants,
                policies,
            } => {
                let step = self.move_step(step, StepEvent::Judge)?;
                *step = StepProgress {
                    state: step.state,
                    attempt: *attempt,
                    again: step.again.take(),
                    ..StepProgress::default()
                };
                step.judged = Some(JudgedAttempt {
                    judgements: judgements.clone(),
                    input: *input,
                    grants: *grants,
                    policies: *policies,
                });
            }
            Event::StepWaiting { step, approval, .. } => {
                self.move_step(step, StepEvent::AskApproval)?.approval = Some(approval.clone());
            }
            Event::StepAuthorized { step, .. } => {
                self.move_step(step, StepEvent::Authorize)?;
            }
            Event::StepStarted { step, .. } => {
                self.move_step(step, StepEvent::Start)?;
            }
            Event::StepLogged { .. } => {}
            Event::StepSucceeded {
                step, output, fuel, ..
            } => {
                let step = self.move_step(step, StepEvent::Succeed)?;
                step.output = Some(*output);
                step.status = Some(Status::Ok);
                step.fuel = Some(*fuel);
            }
            Event::StepFailed {
                step,
                attempt,
                status,
                message,
                fuel,
                ..
            } => {
                let step = self.move_step(step, StepEvent::Fail)?;
                step.attempt = *attempt;
                step.status = Some(*status);
                step.message.clone_from(message);
                step.fuel = *fuel;
            }
            Event::StepRetrying {
                step,
                attempt,
                at,
                asks,
            } => {
                let step = self.move_step(step, StepEvent::Retry)?;
                step.retry_at = Some(*at);
                let message = step.message.clone();
                step.again = asks.map(|why| Again::new(why, *attempt, message));
            }
            Event::StepVoided { step, attempt, .. } => {
                let step = self.move_step(step, StepEvent::Void)?;
                // The same attempt is judged again.
                *step = StepProgress {
                    attempt: attempt - 1,
                    again: step.again.take(),
                    ..StepProgress::default()
                };
            }
            Event::StepDenied { step, message, .. } => {
                let step = self.move_step(step, StepEvent::Deny)?;
                step.status = Some(Status::Denied);
                step.message = Some(message.clone());
            }
            Event::StepSkipped { step, reason } => {
                let step = self.move_step(step, StepEvent::Skip)?;
                step.message.clone_from(reason);
            }
            Event::StepCancelled { step } => {
                self.move_step(step, StepEvent::Cancel)?.status = Some(Status::Cancelled);
            }
        }
        Ok(())
    }

    fn expand(&mut self, id: &str, items: u32) -> Result<(), Misfit> {
        let index = self.index_of(id);
        let index = index.ok_or_else(|| Misfit::NoStep(id.to_owned()))?;
        let items = Arc::make_mut(&mut self.plan).add_items(index, items);
        self.steps.resize_with(items.end, StepProgress::default);
        self.steps[index].items = Some(items);
        Ok(())
    }

    fn move_task(
        &mut self,
        event: TaskEvent,
        reason: Option<&String>,
    ) -> Result<(), IllegalTransition> {
        self.state = self.state.next(event)?;
        self.reason = reason.cloned();
        Ok(())
    }

    fn move_step(&mut self, id: &str, event: StepEvent) -> Result<&mut StepProgress, Misfit> {
        let index = self
            .index_of(id)
            .ok_or_else(|| Misfit::NoStep(id.to_owned()))?;
        let step = &mut self.steps[index];
        step.state = Progress(step.state.0.next(event)?);
        Ok(step)
    }
}

impl Engine {
    /// Reads a task back from the database.
    pub(crate) async fn load(&self, id: &str) -> Result<(Task, TaskRow), EngineError> {
        let row = self.0.store.task(id).await?;
        let row = row.ok_or_else(|| EngineError::NotFound {
            what: "task",
            id: id.to_owned(),
        })?;
        if row.erased.is_some() {
            return Err(EngineError::Erased(id.to_owned()));
        }
        let corrupt = |why: String| EngineError::Internal(format!("task {id}: {why}"));
        let plan = self.stored_payload(id, row.task.plan).await?;
        let input = self.stored_payload(id, row.task.input).await?;
        let labels = serde_json::from_str(&row.task.labels).map_err(|e| corrupt(e.to_string()))?;
        let parsed: Plan = serde_json::from_value(plan.value().as_ref().clone())
            .map_err(|e| corrupt(e.to_string()))?;
        let mut task = Task::new(
            row.task.id.clone(),
            row.task.tenant.as_str().into(),
            row.task.agent.clone(),
            labels,
            Arc::new(parsed),
            row.task.plan,
            input,
        );
        loop {
            let page = self.0.store.events(id, task.events, EVENTS_PAGE).await?;
            // The task may have gone on since its row was read; this is the task as of that row.
            for stored in page.iter().filter(|stored| stored.n <= row.events) {
                let event: Event = serde_json::from_str(&stored.body)
                    .map_err(|e| corrupt(format!("event {}: {e}", stored.n)))?;
                task.apply(&event)
                    .map_err(|e| corrupt(format!("event {}: {e}", stored.n)))?;
            }
            if page.len() < EVENTS_PAGE as usize || task.events >= row.events {
                break;
            }
        }
        task.records = row.records;
        task.head = row.head;
        if task.events != row.events || task.state != row.state {
            return Err(corrupt(format!(
                "its {} events lead to {}, its row says {} events and {}",
                task.events,
                task.state.as_str(),
                row.events,
                row.state.as_str()
            )));
        }
        Ok((task, row))
    }

    /// Reads the outputs that are not in memory yet. One that was erased stays absent.
    pub(crate) async fn load_outputs(&self, task: &mut Task) -> Result<(), EngineError> {
        for step in &mut task.steps {
            if let (Some(stored), None) = (step.output, &step.value)
                && let Some(blob) = self.0.store.blob(&task.id, &stored.digest).await?
            {
                step.value = Some(Arc::clone(Payload::from_blob(blob, stored)?.value()));
            }
        }
        Ok(())
    }

    /// A payload of a task by the digest of its blob, whose size is taken from the blob itself.
    async fn stored_payload(&self, task: &str, digest: Digest) -> Result<Payload, EngineError> {
        let blob = self.0.store.blob(task, &digest).await?;
        let blob = blob.ok_or_else(|| EngineError::Internal(format!("blob {digest} is gone")))?;
        let size = blob.len().saturating_sub(BLIND1_PREFIX.len() + SALT_BYTES) as u64;
        Payload::from_blob(blob, StoredPayload { digest, size })
    }
}
