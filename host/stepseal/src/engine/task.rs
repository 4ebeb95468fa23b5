//! A task in memory: its plan and input with its events folded in.
//!
//! There is one way for a task to change, [`Task::apply`]. Running a task applies events and stores them; loading one reads them
//! back and applies them again. So recovery after a crash is loading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::{BLIND1_PREFIX, SALT_BYTES};
use stepseal_receipts::record::Status;
use stepseal_receipts::state::{IllegalTransition, StepEvent, StepState, TaskEvent, TaskState};
use stepseal_receipts::time::Timestamp;

use super::event::Event;
use super::payload::{Payload, StoredPayload};
use super::plan::{BACKOFF_MS_MAX, Plan};
use super::verdict::{Ask, Judgement, WhyAgain};
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
    /// Where the steps are that each of them waits for.
    needs: Arc<[Vec<usize>]>,
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
    /// What a person must be asked before the next attempt, or was before this one, because of the attempt before. It stays when the
    /// rules change and the step is judged again.
    pub(crate) again: Option<Ask>,
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
        let needs = places_of_needs(&plan);
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
            needs,
            plan_judgements: Vec::new(),
            events: 0,
            records: 0,
            head: None,
            reason: None,
        }
    }

    /// Where step `index` is.
    pub(crate) fn step_state(&self, index: usize) -> StepState {
        self.steps[index].state.0
    }

    /// Whether everything step `index` needs has succeeded.
    pub(crate) fn is_ready(&self, index: usize) -> bool {
        let succeeded = |step: &StepProgress| step.state.0 == StepState::Succeeded;
        let mut needs = self.needs[index].iter();
        needs.all(|at| self.steps.get(*at).is_some_and(succeeded))
    }

    /// When the next attempt of step `index` may begin, as far as it is a question of time. One that is to follow another is not further off
    /// than it ever was: then the clock was put back, and it is due.
    pub(crate) fn due_at(&self, index: usize, now: Timestamp) -> Option<Timestamp> {
        let of_step = self.plan.steps[index].not_before;
        let latest = now.unix_ms().saturating_add(BACKOFF_MS_MAX);
        let retry_at = self.steps[index].retry_at;
        let retry_at = retry_at.filter(|at| at.unix_ms() <= latest);
        self.plan.not_before.max(of_step).max(retry_at)
    }

    /// The index of the step with this id.
    pub(crate) fn index_of(&self, id: &str) -> Option<usize> {
        self.plan.steps.iter().position(|step| step.id == id)
    }

    /// Other steps that have left `pending`, for policies.
    pub(crate) fn history(&self, but: usize) -> Vec<(usize, StepState)> {
        (0..self.steps.len())
            .filter(|index| *index != but)
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
            Event::TaskSucceeded {} => self.move_task(TaskEvent::Succeed, None)?,
            Event::TaskFailed { reason } => self.move_task(TaskEvent::Fail, Some(reason))?,
            Event::TaskDenied { reason } => self.move_task(TaskEvent::Deny, Some(reason))?,
            Event::TaskCancelled {} => self.move_task(TaskEvent::Cancel, None)?,
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
                not_before,
                asks,
            } => {
                let step = self.move_step(step, StepEvent::Retry)?;
                step.retry_at = Some(*not_before);
                let ask = |why: &WhyAgain| why.ask(*attempt, step.message.as_deref());
                step.again = asks.as_ref().map(ask);
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
            Event::StepSkipped { step } => {
                self.move_step(step, StepEvent::Skip)?;
            }
            Event::StepCancelled { step } => {
                self.move_step(step, StepEvent::Cancel)?.status = Some(Status::Cancelled);
            }
        }
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

/// Found once, since each step is asked whether it is ready whenever another one ends. A step that is not there is at no place.
fn places_of_needs(plan: &Plan) -> Arc<[Vec<usize>]> {
    let ids = plan.steps.iter().map(|step| step.id.as_str());
    let places: BTreeMap<&str, usize> = ids.zip(0..).collect();
    let place = |need: &String| places.get(need.as_str()).copied().unwrap_or(usize::MAX);
    let needs = plan
        .steps
        .iter()
        .map(|step| step.needs.iter().map(place).collect());
    needs.collect()
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
        let missing = task.steps.iter().filter(|step| step.value.is_none());
        let missing = missing.filter_map(|step| Some(step.output?.digest));
        let missing: BTreeSet<Digest> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut blobs = self.0.store.blobs_of(&task.id, &missing).await?;
        for step in &mut task.steps {
            // Each output is salted, so no two have one digest.
            if let (Some(stored), None) = (step.output, &step.value)
                && let Some(blob) = blobs.remove(&stored.digest)
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
