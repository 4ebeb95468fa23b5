//! How a task ends: what is left of it is skipped or cancelled, and the last record says why.

use stepseal_receipts::record::{self, Kind, Outcome, Status};
use stepseal_receipts::state::StepState;
use stepseal_receipts::verify::{IN_PART, TIMEOUT};

use super::{RunError, Runner};
use crate::engine::event::Event;
use crate::engine::schema::{MESSAGE_BYTES_MAX, text};

impl Runner {
    /// Ends the task: what is left is skipped, and the last record says how it ended.
    pub(super) async fn close(&mut self) -> Result<(), RunError> {
        let mut reason = String::new();
        let mut worst = Status::Ok;
        let let_go = self.let_go();
        for index in 0..self.task.steps.len() {
            if self.task.has_items(index) {
                continue;
            }
            let step = self.task.plan.steps[index].id.clone();
            let said = self.task.steps[index].message.clone().unwrap_or_default();
            match self.task.step_state(index) {
                StepState::Denied if worst != Status::Denied => {
                    (worst, reason) = (Status::Denied, format!("step {step} was denied: {said}"));
                }
                StepState::Failed if worst == Status::Ok && !self.task.is_settled(index) => {
                    (worst, reason) = (Status::Failed, format!("step {step} failed: {said}"));
                }
                StepState::Pending => self.emit(Event::StepSkipped { step, reason: None })?,
                StepState::Waiting => {
                    self.void_approval(index).await?;
                    self.emit(Event::StepCancelled { step })?;
                }
                _ => {}
            }
        }
        let reason = text(&reason, MESSAGE_BYTES_MAX);
        self.end(match worst {
            Status::Ok => Event::TaskSucceeded { reason: let_go },
            Status::Denied => Event::TaskDenied { reason },
            _ => Event::TaskFailed { reason, code: None },
        })
        .await
    }

    /// Which steps have no output although nothing stands in the way of the task.
    fn let_go(&self) -> Option<String> {
        let of = |state| {
            let steps = 0..self.task.plan.pinned().count();
            let ids = steps.filter(|i| self.task.step_state(*i) == state);
            ids.map(|i| self.task.plan.steps[i].id.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let said: Vec<String> = [
            ("failed", StepState::Failed),
            ("skipped", StepState::Skipped),
        ]
        .into_iter()
        .map(|(word, state)| (word, of(state)))
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(word, ids)| format!("{word}: {ids}"))
        .collect();
        let said = text(&said.join("; "), MESSAGE_BYTES_MAX);
        (!said.is_empty()).then_some(said)
    }

    /// Ends a task that has had all its time.
    pub(super) async fn run_out(&mut self) -> Result<(), RunError> {
        self.stop().await?;
        let ms = self.task.plan.timeout_ms.unwrap_or_default();
        let reason = format!("the task was not over after the {ms} ms that its plan gives it");
        let code = Some(TIMEOUT.to_owned());
        self.end(Event::TaskFailed { reason, code }).await
    }

    /// Cancels what is left, once nothing runs any more.
    pub(super) async fn stop(&mut self) -> Result<(), RunError> {
        self.stopping = true;
        self.handle.cancel.cancel();
        while let Some(progress) = self.running.next().await {
            self.take(progress).await?;
        }
        for index in 0..self.task.steps.len() {
            if self.task.has_items(index) {
                continue;
            }
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
        Ok(())
    }

    /// The last event and the last record of a task.
    pub(super) async fn end(&mut self, event: Event) -> Result<(), RunError> {
        let (status, code, message) = match &event {
            Event::TaskSucceeded { reason } => {
                let code = reason.is_some().then(|| IN_PART.to_owned());
                (Status::Ok, code, reason.clone())
            }
            Event::TaskDenied { reason } => (Status::Denied, None, Some(reason.clone())),
            Event::TaskCancelled {} => (Status::Cancelled, None, None),
            Event::TaskFailed { reason, code } => {
                (Status::Failed, code.clone(), Some(reason.clone()))
            }
            _ => unreachable!("not the end of a task"),
        };
        // Looked at whatever the other way out: a task that ends must have begun.
        if event != (Event::TaskCancelled {}) {
            self.begin()?;
        }
        self.emit(event)?;
        let mut now = self.now();
        if code.as_deref() == Some(TIMEOUT) {
            // Whatever the clock does meanwhile, the record says that it was time.
            now = self.deadline().map_or(now, |deadline| deadline.max(now));
        }
        let (records, head) = (self.task.records + 1, self.task.head);
        self.record(Kind::TaskClose, |record| {
            record.plan = None;
            record.time = Some(record::Span {
                start: now,
                end: now,
            });
            record.outcome = Some(Outcome {
                status,
                code,
                message,
            });
            record.records = Some(records);
            record.head = head;
        })?;
        self.flush_until(None, false).await
    }
}
