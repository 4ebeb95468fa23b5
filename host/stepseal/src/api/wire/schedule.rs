//! Submissions that the host makes by itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::plan::Submission;
use super::scalar::TimestampText;
use crate::engine::schedules as engine;

/// What a schedule does while its last task is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Leaves this time out.
    #[default]
    Skip,
    /// Submits another one.
    Allow,
}

impl From<Overlap> for engine::Overlap {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Allow => Self::Allow,
        }
    }
}

impl From<engine::Overlap> for Overlap {
    fn from(overlap: engine::Overlap) -> Self {
        match overlap {
            engine::Overlap::Skip => Self::Skip,
            engine::Overlap::Allow => Self::Allow,
        }
    }
}

/// When to submit what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "cron": "0 3 * * MON-FRI",
    "time_zone": "Europe/Berlin",
    "submission": {"plan": {"steps": [{"id": "balance", "uses": "ledger/balance", "with": {"account": "alice"}}]}}
}))]
pub struct NewSchedule {
    /// Minute, hour, day of month, month and day of week; a second before them and a year after them where they matter.
    #[schema(example = "0 3 * * MON-FRI")]
    pub cron: String,
    /// IANA name of the time zone in which it counts; `UTC` where absent.
    #[serde(default = "utc")]
    #[schema(required = false, example = "Europe/Berlin")]
    pub time_zone: String,
    /// What it does while its last task is not over; `skip` where absent.
    #[serde(default)]
    #[schema(required = false)]
    pub overlap: Overlap,
    /// What is submitted, as to `POST /v1/tasks`.
    #[schema(value_type = Submission)]
    pub submission: Value,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl From<NewSchedule> for engine::Document {
    fn from(new: NewSchedule) -> Self {
        Self {
            cron: new.cron,
            time_zone: new.time_zone,
            overlap: new.overlap.into(),
            submission: new.submission,
        }
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    #[schema(example = "nightly")]
    pub name: String,
    /// Minute, hour, day of month, month and day of week; a second before them and a year after them where they matter.
    pub cron: String,
    /// IANA name of the time zone in which it counts.
    pub time_zone: String,
    /// What it does while its last task is not over.
    pub overlap: Overlap,
    /// What is submitted. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Submission, required = false)]
    pub submission: Option<Value>,
    /// When it was put there.
    #[schema(value_type = TimestampText)]
    pub changed: Timestamp,
    /// When it is due. Absent where it never is again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TimestampText, required = false)]
    pub next: Option<Timestamp>,
    /// What came of the last time it was due. Absent where it was not due yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last: Option<Firing>,
}

/// What came of a time that a schedule was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Firing {
    /// When it was due.
    #[schema(value_type = TimestampText)]
    pub due: Timestamp,
    /// What came of it.
    pub outcome: FiringOutcome,
    /// The task it became; where it was skipped, the one that was not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task: Option<String>,
    /// Why it became none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub message: Option<String>,
}

/// What came of a time that a schedule was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FiringOutcome {
    /// A task.
    Submitted,
    /// Nothing: its last task was not over.
    Skipped,
    /// Nothing: the submission was no longer right.
    Refused,
}

impl From<engine::Firing> for Firing {
    fn from(firing: engine::Firing) -> Self {
        Self {
            due: firing.due,
            outcome: match firing.outcome {
                engine::FiringOutcome::Submitted => FiringOutcome::Submitted,
                engine::FiringOutcome::Skipped => FiringOutcome::Skipped,
                engine::FiringOutcome::Refused => FiringOutcome::Refused,
            },
            task: firing.task,
            message: firing.message,
        }
    }
}

impl From<engine::Schedule> for Schedule {
    fn from(schedule: engine::Schedule) -> Self {
        let document = schedule.document;
        Self {
            name: schedule.name,
            cron: document.cron,
            time_zone: document.time_zone,
            overlap: document.overlap.into(),
            submission: Some(document.submission),
            changed: schedule.changed,
            next: schedule.next,
            last: schedule.last.map(Firing::from),
        }
    }
}
