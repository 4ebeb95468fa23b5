//! Schedules: submissions that the host makes by itself, at the times of a cron expression.
//!
//! A firing is a submission like any other: names are resolved, plugins pinned and policies asked when it is made, and its task says in its label
//! [`LABEL`] which schedule it came from. Its idempotency key is made of the schedule's name and of the time it was due, and no client can
//! send such a key: so a time of a schedule is one task at most, however many hosts look, and whenever one of them stops.

mod times;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::time::Timestamp;
use tokio::time::sleep;

use super::grants::{NAME_RULE, is_name};
use super::plan::Submission;
use super::schema::{MESSAGE_BYTES_MAX, text};
use super::{Engine, EngineError, Fault};
use crate::store::{OPERATOR, PutSchedule, ScheduleRow, StoreError};
use times::Times;

/// The label that tells which schedule a task came from. Clients cannot set it.
pub const LABEL: &str = "stepseal.schedule";

/// Schedules that a host has.
const SCHEDULES_MAX: u32 = 100;
/// Schedules that are taken up in one look.
const AT_A_TIME: u32 = 10;
/// The longest time between two looks: another host may have been told of a schedule, and stopped.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Rest after something did not work that may work later.
const REST: Duration = Duration::from_secs(1);

/// What a schedule does while the task of its last firing is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Leaves this time out.
    #[default]
    Skip,
    /// Submits another one.
    Allow,
}

/// When to submit what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// A cron expression.
    pub cron: String,
    /// The IANA time zone in which it counts.
    pub time_zone: String,
    /// What it does while its last task is not over.
    pub overlap: Overlap,
    /// What is submitted.
    pub submission: Submission,
}

/// What came of the last time that a schedule was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// When it was due.
    pub due: Timestamp,
    /// What came of it.
    pub outcome: FiringOutcome,
    /// The task it became, or the one that was not over.
    pub task: Option<String>,
    /// Why it became none.
    pub message: Option<String>,
}

/// What came of a time that a schedule was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FiringOutcome {
    /// A task.
    Submitted,
    /// Nothing: its last task was not over.
    Skipped,
    /// Nothing: the submission was no longer right.
    Refused,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it submits what.
    pub document: Document,
    /// When it was put there.
    pub changed: Timestamp,
    /// When it is due; never again where absent.
    pub next: Option<Timestamp>,
    /// What came of the last time it was due.
    pub last: Option<Firing>,
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = StoreError;

    fn try_from(row: ScheduleRow) -> Result<Self, StoreError> {
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            what: "a schedule",
            why: error.to_string(),
        };
        Ok(Self {
            name: row.name,
            document: serde_json::from_str(&row.document).map_err(corrupt)?,
            changed: row.changed,
            next: row.next,
            last: row
                .last
                .map(|last| serde_json::from_str(&last).map_err(corrupt))
                .transpose()?,
        })
    }
}

impl Engine {
    /// Puts a schedule in the place of the one with this name; true where there was none. Its times begin now, and what the one before missed
    /// is not made up for.
    pub async fn put_schedule(
        &self,
        name: &str,
        document: Document,
    ) -> Result<(Schedule, bool), EngineError> {
        let now = self.0.clock.now();
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, message: String| {
            faults.push(Fault {
                pointer: pointer.to_owned(),
                message,
            });
        };
        if !is_name(name) {
            fault(
                "",
                format!("{name:?} is not the name of a schedule: {NAME_RULE}"),
            );
        }
        let mut next = None;
        match Times::new(&document.cron, &document.time_zone) {
            Err(faults) => {
                for (pointer, message) in faults {
                    fault(pointer, message);
                }
            }
            Ok(times) => {
                next = times.after(now);
                if next.is_none() {
                    fault("/cron", "there is no such time, now or later".to_owned());
                }
            }
        }
        let rules = self.rules().await?;
        let pinned = match check_labels(&document.submission) {
            Ok(()) => self
                .pin(&labelled(&document.submission, name), &rules)
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        match pinned {
            Err(EngineError::Invalid(found)) => {
                for Fault { pointer, message } in found {
                    fault(&format!("/submission{pointer}"), message);
                }
            }
            pinned => pinned?,
        }
        if !faults.is_empty() {
            return Err(EngineError::Invalid(faults));
        }
        let row = ScheduleRow {
            name: name.to_owned(),
            id: self.0.clock.id(),
            document: canonical(&document),
            changed: now,
            next,
            last: None,
        };
        let new = match self.0.store.put_schedule(&row, SCHEDULES_MAX).await? {
            PutSchedule::New => true,
            PutSchedule::Changed => false,
            PutSchedule::TooMany => {
                return Err(EngineError::Conflict {
                    code: "too-many-schedules",
                    message: format!("the host has {SCHEDULES_MAX} schedules at most; remove one"),
                });
            }
        };
        self.0.wake_schedules.notify_one();
        Ok((self.schedule_named(name).await?, new))
    }

    /// Takes over a schedule of another log. Its times begin now, since nobody knows here which of them it was due at there.
    pub(super) async fn carry_schedule(&self, row: ScheduleRow) -> Result<(), EngineError> {
        let now = self.0.clock.now();
        let Schedule { document, .. } = row.clone().try_into()?;
        let times = Times::new(&document.cron, &document.time_zone).ok();
        let row = ScheduleRow {
            id: self.0.clock.id(),
            changed: now,
            next: times.and_then(|times| times.after(now)),
            last: None,
            ..row
        };
        self.0.store.put_schedule(&row, SCHEDULES_MAX).await?;
        Ok(())
    }

    /// Removes a schedule. Tasks that came from it go on.
    pub async fn remove_schedule(&self, name: &str) -> Result<(), EngineError> {
        if self.0.store.remove_schedule(name).await? {
            return Ok(());
        }
        Err(no_schedule(name))
    }

    /// A schedule.
    pub async fn schedule_named(&self, name: &str) -> Result<Schedule, EngineError> {
        let row = self.0.store.schedule(name).await?;
        Ok(row.ok_or_else(|| no_schedule(name))?.try_into()?)
    }

    /// Every schedule by name.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, EngineError> {
        let rows = self.0.store.schedules().await?;
        let schedules = rows.into_iter().map(Schedule::try_from);
        Ok(schedules.collect::<Result<_, _>>()?)
    }

    /// Submits what is due, until the engine stops.
    pub(super) async fn keep_schedules(self) {
        let mut stopping = self.0.stopping.subscribe();
        while !*stopping.borrow() {
            let rest = match self.fire_due().await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::error!(%error, "schedules could not be looked up");
                    REST
                }
            };
            tokio::select! {
                () = self.0.wake_schedules.notified() => {}
                () = sleep(rest) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// Submits what is due; gives the time until more is.
    async fn fire_due(&self) -> Result<Duration, StoreError> {
        let now = self.0.clock.now();
        let mut failed = false;
        for row in self.0.store.due_schedules(now, AT_A_TIME).await? {
            let name = row.name.clone();
            if let Err(error) = self.fire(row, now).await {
                tracing::warn!(schedule = name, %error, "what is due could not be submitted yet");
                failed = true;
            }
        }
        if failed {
            return Ok(REST);
        }
        let Some(next) = self.0.store.next_schedule().await? else {
            return Ok(LOOK_EVERY);
        };
        let now = self.0.clock.now().unix_ms();
        Ok(Duration::from_millis(next.unix_ms().saturating_sub(now)).min(LOOK_EVERY))
    }

    /// Submits what a schedule has been due for; of times that were missed, the last one. Whoever else does so at the same time comes to the same
    /// task, and so does the next look after a stop before the row was written.
    async fn fire(&self, row: ScheduleRow, now: Timestamp) -> Result<(), EngineError> {
        let Some(from) = row.next else { return Ok(()) };
        let (name, id) = (row.name.clone(), row.id.clone());
        let Schedule { document, last, .. } = row.try_into()?;
        let times = Times::new(&document.cron, &document.time_zone)
            .map_err(|why| EngineError::Internal(format!("schedule {name}: {why:?}")))?;
        let due = times.last(now).map_or(from, |last| last.max(from));
        let unfinished = match (document.overlap, last.and_then(|last| last.task)) {
            (Overlap::Skip, Some(task)) => {
                let row = self.0.store.task(&task).await?;
                row.is_some_and(|row| !row.state.is_final()).then_some(task)
            }
            _ => None,
        };
        let firing = match unfinished {
            Some(task) => Firing {
                due,
                outcome: FiringOutcome::Skipped,
                message: Some(format!("task {task} was not over")),
                task: Some(task),
            },
            None => {
                self.submit_due(&name, document.submission, from, due)
                    .await?
            }
        };
        let next = times.after(now.max(due));
        let last = canonical(&firing);
        self.0.store.fired(&id, from, next, &last).await?;
        Ok(())
    }

    /// Submits what is due since `from`. The key is made of that: it is the same for everybody who read the row before somebody noted what came of it,
    /// however long after it they look.
    async fn submit_due(
        &self,
        name: &str,
        submission: Submission,
        from: Timestamp,
        due: Timestamp,
    ) -> Result<Firing, EngineError> {
        let submission = labelled(&submission, name);
        // No client's key has a space in it.
        let key = format!("{OPERATOR}/schedule {name} {from}");
        let request = Digest::of(&json::canonical(&submission));
        let refused = |message: &str| Firing {
            due,
            outcome: FiringOutcome::Refused,
            task: None,
            message: Some(text(message, MESSAGE_BYTES_MAX)),
        };
        let submitted = self
            .submit_with_key(OPERATOR, submission, Some((key, request)), false)
            .await;
        match submitted {
            Ok(submitted) => Ok(Firing {
                due,
                outcome: FiringOutcome::Submitted,
                task: Some(submitted.task.row.task.id),
                message: None,
            }),
            Err(EngineError::Invalid(faults)) => {
                let fault = faults.first();
                let fault = fault.map(|fault| format!("{}: {}", fault.pointer, fault.message));
                Ok(refused(&fault.unwrap_or_default()))
            }
            Err(error @ (EngineError::Conflict { .. } | EngineError::Erased(_))) => {
                Ok(refused(&error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

/// Refuses a submission of a client that says it came from a schedule.
pub(super) fn check_labels(submission: &Submission) -> Result<(), EngineError> {
    if submission["labels"].get(LABEL).is_none() {
        return Ok(());
    }
    Err(EngineError::Invalid(vec![Fault {
        pointer: format!("/labels/{LABEL}"),
        message: "this label is the host's own: it says which schedule a task came from".to_owned(),
    }]))
}

/// What a schedule submits. A submission that cannot have labels is left as it is, for the checks to say so.
fn labelled(submission: &Submission, schedule: &str) -> Submission {
    let mut submission = submission.clone();
    if let Some(members) = submission.as_object_mut() {
        let labels = members.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(LABEL.to_owned(), schedule.into());
        }
    }
    submission
}

fn canonical(value: &impl Serialize) -> String {
    let text = json::canonical_of(value).expect("schedules are JSON");
    String::from_utf8(text).expect("canonical JSON is UTF-8")
}

fn no_schedule(name: &str) -> EngineError {
    EngineError::NotFound {
        what: "schedule",
        id: name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
