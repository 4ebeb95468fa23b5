//! Which steps begin and when, and what the plan's rules say in place of them.

use std::time::Duration;

use stepseal_receipts::plan::{Fate, Listed};
use stepseal_receipts::state::StepState;
use stepseal_receipts::time::Timestamp;

use super::{LOOK_UP_EVERY, RunError, Runner, SIDE_BY_SIDE_MAX, since_then};
use crate::engine::event::Event;
use crate::engine::plan::ITEMS_MAX;

impl Runner {
    /// How long steps may run before another one may begin, or the task's time is over.
    pub(super) fn until_due(&self) -> Duration {
        let now = self.now();
        // What is due already waits for something else.
        let next = self.times().filter(|at| *at > now).min();
        next.map_or(LOOK_UP_EVERY, |next| since_then(now, next))
    }

    /// Points in time at which the task goes on by itself.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        let pending = (0..self.task.steps.len()).filter(|index| {
            self.task.step_state(*index) == StepState::Pending && self.may_begin(*index)
        });
        pending
            .filter_map(|index| self.task.due_at(index))
            .chain(self.deadline())
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.task.plan.deadline(self.row.task.created)
    }

    /// Starts every step that may go on, and skips those that the plan's rules skip, until nothing more comes of it.
    pub(super) async fn launch(&mut self) -> Result<(), RunError> {
        loop {
            self.task.gather();
            let before = self.task.events;
            for index in 0..self.task.steps.len() {
                if self.in_flight.len() >= SIDE_BY_SIDE_MAX {
                    return Ok(());
                }
                if self.in_flight.contains(&index) || self.task.has_items(index) {
                    continue;
                }
                match self.task.step_state(index) {
                    StepState::Pending
                        if !self.task.is_failing()
                            && self.may_begin(index)
                            && self.is_due(index) =>
                    {
                        self.begin_step(index).await?;
                    }
                    // Authorised before a crash, or by a person a moment ago.
                    StepState::Authorized | StepState::Running => self.resume(index).await?,
                    _ => {}
                }
            }
            // What was skipped or failed at once may let others go on.
            if self.task.events == before {
                return Ok(());
            }
        }
    }

    /// Begins a step whose turn it is, or does what the plan's rules say in place of it.
    async fn begin_step(&mut self, index: usize) -> Result<(), RunError> {
        match self.task.fate(index) {
            Fate::Runs if self.task.plan.steps[index].for_each.is_some() => {
                self.expand(index).await?;
            }
            Fate::Runs => self.prepare(index),
            Fate::Skipped(reason) => {
                self.begin()?;
                let step = self.task.plan.steps[index].id.clone();
                let reason = Some(reason);
                self.emit(Event::StepSkipped { step, reason })?;
            }
            Fate::Fails(message) => self.fail_unbegun(index, "bad-condition", &message).await?,
            Fate::Unknown => {
                let message = "what its \"if\" points at is not kept any more";
                self.fail_unbegun(index, "bad-condition", message).await?;
            }
        }
        Ok(())
    }

    /// Makes steps of the items of a step.
    async fn expand(&mut self, index: usize) -> Result<(), RunError> {
        let each = self.task.plan.steps[index].for_each.as_ref();
        let left = (ITEMS_MAX as usize).saturating_sub(self.task.count_items());
        let told = match self.task.listed(index) {
            Some(Listed::Are(items)) => match each.and_then(|each| each.too_many(items.len())) {
                Some(error) => Err(error),
                None if items.len() > left => Err(format!(
                    "there are {} items, and a task may have {ITEMS_MAX} in all, of which {left} are left",
                    items.len()
                )),
                None => Ok(u32::try_from(items.len()).unwrap_or(ITEMS_MAX)),
            },
            Some(Listed::Not(error)) => Err(error),
            Some(Listed::Unknown) | None => Err("what it runs for is not kept any more".to_owned()),
        };
        match told {
            Ok(items) => {
                self.begin()?;
                let step = self.task.plan.steps[index].id.clone();
                self.emit(Event::StepExpanded { step, items })?;
                // Without items it is over.
                self.task.gather();
                Ok(())
            }
            Err(message) => self.fail_unbegun(index, "bad-items", &message).await,
        }
    }

    /// Whether a step that is pending waits for nothing but its time.
    pub(super) fn may_begin(&self, index: usize) -> bool {
        !self.task.has_items(index)
            && self.task.is_ready(index)
            && !self.task.is_held_back(index, &self.in_flight)
    }

    fn is_due(&self, index: usize) -> bool {
        self.task.due_at(index).is_none_or(|at| at <= self.now())
    }
}
