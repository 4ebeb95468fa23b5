//! How a task ends: what is left of it is skipped, cancelled or out of time, and the last record says how it ended.

use stepseal_receipts::record::{self, Kind, Outcome, Status};
use stepseal_receipts::state::StepState;

use super::attempt::Bench;
use super::effects::MAY_HAVE_HAPPENED;
use super::{RunError, Runner};
use crate::engine::event::Event;
use crate::engine::schema::{MESSAGE_BYTES_MAX, text};

/// Code of an attempt that ended because the time of the whole task was over. One that took too long itself has none.
pub(super) const TASK_TIMEOUT: &str = "task-timeout";

impl Runner {
    /// Ends the task: what is left is skipped, and the last record says how it ended.
    pub(super) async fn close(&mut self) -> Result<(), RunError> {
        let mut reason = String::new();
        let mut worst = Status::Ok;
        for index in 0..self.task.steps.len() {
            let step = self.task.plan.steps[index].id.clone();
            let said = self.task.steps[index].message.clone().unwrap_or_default();
            match self.task.step_state(index) {
                StepState::Denied if worst != Status::Denied => {
                    (worst, reason) = (Status::Denied, format!("step {step} was denied: {said}"));
                }
                StepState::Failed if worst == Status::Ok => {
                    (worst, reason) = (Status::Failed, format!("step {step} failed: {said}"));
                }
                StepState::Pending => self.emit(Event::StepSkipped { step })?,
                StepState::Waiting => {
                    self.void_approval(index).await?;
                    self.emit(Event::StepCancelled { step })?;
                }
                _ => {}
            }
        }
        let reason = text(&reason, MESSAGE_BYTES_MAX);
        self.end(match worst {
            Status::Ok => Event::TaskSucceeded {},
            Status::Denied => Event::TaskDenied { reason },
            _ => Event::TaskFailed { reason },
        })
        .await
    }

    /// Cancels what is left, once nothing runs any more.
    pub(super) async fn stop(&mut self) -> Result<(), RunError> {
        self.handle.cancel.cancel();
        self.drain().await?;
        for index in 0..self.task.steps.len() {
            let step = self.task.plan.steps[index].id.clone();
            match self.task.step_state(index) {
                StepState::Waiting => {
                    self.void_approval(index).await?;
                    self.emit(Event::StepCancelled { step })?;
                }
                // Authorised in the database, and nobody ran it to its end: a crash came between.
                StepState::Running => self.abandon(index).await?,
                state if !state.is_final() => self.emit(Event::StepCancelled { step })?,
                _ => {}
            }
        }
        self.end(Event::TaskCancelled {}).await
    }

    /// Ends a task that has had all its time. What is under way is stopped and has failed, and so has what would have been next; what
    /// needs that is skipped. So the record of a step says why the task failed.
    pub(super) async fn run_out(&mut self) -> Result<(), RunError> {
        let failing = self.failing();
        self.handle.run_out();
        self.drain().await?;
        let message = self.task_timeout();
        for index in 0..self.task.steps.len() {
            let mut state = self.task.step_state(index);
            if state == StepState::Waiting {
                self.void_approval(index).await?;
                self.begin()?;
                self.emit(Event::StepVoided {
                    step: self.task.plan.steps[index].id.clone(),
                    attempt: self.task.steps[index].attempt,
                    reason: message.clone(),
                })?;
                state = StepState::Pending;
            }
            let mut said = message.clone();
            let (bench, attempt) = match state {
                StepState::Pending if !failing && self.task.is_ready(index) => {
                    let rules = self.engine.rules().await?;
                    let bench = Bench::new(&self.engine, &self.task.plan, index, &rules).await?;
                    (bench, self.task.steps[index].attempt + 1)
                }
                // Approved a moment ago, or left behind by a host that is gone.
                StepState::Authorized | StepState::Running => {
                    let authorized = self.authorized_before(index, Vec::new()).await?;
                    if self.may_have_left(index, &authorized.bench).await? {
                        said.push_str(MAY_HAVE_HAPPENED);
                    }
                    (authorized.bench, authorized.view.attempt)
                }
                _ => continue,
            };
            let status = Status::Timeout;
            self.fail_unrun(index, attempt, &bench, status, TASK_TIMEOUT, &said)?;
        }
        self.close().await
    }

    /// What a record says of an attempt that ended because the task's time was over.
    pub(super) fn task_timeout(&self) -> String {
        let ms = self.task.plan.timeout_ms.unwrap_or_default();
        format!("the task was not over after the {ms} ms that its plan gives it")
    }

    /// Takes what still comes of steps that were told to stop.
    async fn drain(&mut self) -> Result<(), RunError> {
        while let Some(progress) = self.running.next().await {
            self.take(progress).await?;
        }
        Ok(())
    }

    /// The last event and the last record of a task.
    async fn end(&mut self, event: Event) -> Result<(), RunError> {
        let (status, reason) = match &event {
            Event::TaskSucceeded {} => (Status::Ok, None),
            Event::TaskDenied { reason } => (Status::Denied, Some(reason.clone())),
            Event::TaskCancelled {} => (Status::Cancelled, None),
            Event::TaskFailed { reason } => (Status::Failed, Some(reason.clone())),
            _ => unreachable!("not the end of a task"),
        };
        // Looked at whatever the other way out: a task that ends must have begun.
        if event != (Event::TaskCancelled {}) {
            self.begin()?;
        }
        self.emit(event)?;
        let now = self.now();
        let (records, head) = (self.task.records + 1, self.task.head);
        self.record(Kind::TaskClose, |record| {
            record.plan = None;
            record.time = Some(record::Span {
                start: now,
                end: now,
            });
            record.outcome = Some(Outcome {
                status,
                code: None,
                message: reason,
            });
            record.records = Some(records);
            record.head = head;
        })?;
        self.flush_until(None, false).await
    }
}
