//! Tasks and their steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::{StepState, TaskState};
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::plan::{Verdict, verdicts};
use super::present;
use super::scalar::{DigestText, TimestampText};
use crate::engine::tasks as engine;
use crate::store::{StoreError, TaskRow};

// Schema of `TaskState`, which the receipts crate has without one.
/// Where a task is.
#[derive(ToSchema)]
#[schema(as = TaskState, rename_all = "kebab-case")]
pub enum TaskStateText {
    /// Accepted; nothing has run.
    Queued,
    /// At least one step has been looked at.
    Running,
    /// Nothing can go on until a person decides or a time comes.
    Waiting,
    /// Every step succeeded.
    Succeeded,
    /// A step failed for good.
    Failed,
    /// A policy or a person said no.
    Denied,
    /// The client took it back.
    Cancelled,
}

// Schema of `StepState`, which the receipts crate has without one.
/// Where a step is.
#[derive(ToSchema)]
#[schema(as = StepState, rename_all = "kebab-case")]
pub enum StepStateText {
    /// Not looked at yet, or about to be tried again.
    Pending,
    /// The policies have spoken about this attempt.
    Judged,
    /// A person must decide.
    Waiting,
    /// May run.
    Authorized,
    /// In the sandbox.
    Running,
    /// Gave an output.
    Succeeded,
    /// The attempt failed. Final unless the plan allows another attempt.
    Failed,
    /// A policy or a person said no.
    Denied,
    /// Not needed any more, since a step it needs did not succeed.
    Skipped,
    /// The task was cancelled before the step ended.
    Cancelled,
}

/// A task as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskSummary {
    /// UUID version 7.
    pub id: String,
    /// Where it is.
    #[schema(value_type = TaskStateText)]
    pub state: TaskState,
    /// Whose token it came with: a tenant's name, or `operator`.
    #[schema(example = "operator")]
    pub tenant: String,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was accepted.
    #[schema(value_type = TimestampText)]
    pub created: Timestamp,
    /// When it last changed.
    #[schema(value_type = TimestampText)]
    pub updated: Timestamp,
}

impl TryFrom<TaskRow> for TaskSummary {
    type Error = StoreError;

    fn try_from(row: TaskRow) -> Result<Self, StoreError> {
        let labels =
            serde_json::from_str(&row.task.labels).map_err(|error| StoreError::Corrupt {
                what: "labels of a task",
                why: error.to_string(),
            })?;
        Ok(Self {
            id: row.task.id,
            state: row.state,
            tenant: row.task.tenant,
            agent: row.task.agent,
            labels,
            created: row.task.created,
            updated: row.updated,
        })
    }
}

/// A task in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// UUID version 7.
    pub id: String,
    /// Where it is.
    #[schema(value_type = TaskStateText)]
    pub state: TaskState,
    /// Whose token it came with: a tenant's name, or `operator`.
    #[schema(example = "operator")]
    pub tenant: String,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was accepted.
    #[schema(value_type = TimestampText)]
    pub created: Timestamp,
    /// When it last changed.
    #[schema(value_type = TimestampText)]
    pub updated: Timestamp,
    /// How many records it has.
    pub records: u64,
    /// Its steps in plan order.
    pub steps: Vec<Step>,
    /// Why it ended as it did, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}

impl From<engine::TaskView> for Task {
    fn from(view: engine::TaskView) -> Self {
        Self {
            id: view.row.task.id,
            state: view.row.state,
            tenant: view.row.task.tenant,
            agent: view.row.task.agent,
            labels: view.labels,
            created: view.row.task.created,
            updated: view.row.updated,
            records: view.row.records,
            steps: view.steps.into_iter().map(Step::from).collect(),
            reason: view.reason,
        }
    }
}

/// A step of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The step's id in the plan.
    pub id: String,
    /// `plugin@version/step-type`.
    #[schema(example = "ledger@0.1.0/transfer")]
    pub uses: String,
    /// The pinned component.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// Where it is.
    #[schema(value_type = StepStateText)]
    pub state: StepState,
    /// Attempts so far.
    pub attempt: u32,
    /// Its output, any JSON; absent until it succeeded, and where it was erased.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Value, required = false)]
    pub output: Option<Value>,
    /// The digest its record gives for the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DigestText, required = false)]
    pub output_digest: Option<Digest>,
    /// Fuel of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fuel: Option<u64>,
    /// How the last attempt ended: `ok`, `failed`, `invalid-input`, `unavailable`, `trap`, `out-of-fuel`, `out-of-memory`,
    /// `timeout`, `denied` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "ok")]
    pub status: Option<String>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub message: Option<String>,
    /// Id of the approval it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub approval: Option<String>,
    /// Its next attempt does not begin before: by the plan, or since it waits to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TimestampText, required = false)]
    pub not_before: Option<Timestamp>,
    /// What the policies said about the last attempt.
    pub verdicts: Vec<Verdict>,
}

impl From<engine::StepView> for Step {
    fn from(view: engine::StepView) -> Self {
        Self {
            id: view.id,
            uses: view.uses,
            component: view.component,
            state: view.state,
            attempt: view.attempt,
            output: view.output,
            output_digest: view.output_digest,
            fuel: view.fuel,
            status: view.status,
            message: view.message,
            approval: view.approval,
            not_before: view.not_before,
            verdicts: verdicts(view.verdicts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;

    fn documented<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let names = schema["enum"].as_array().expect("an enumeration");
        names
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_documented_task_states_are_those_of_the_state_machine() {
        use TaskState as S;
        let all = [
            S::Queued,
            S::Running,
            S::Waiting,
            S::Succeeded,
            S::Failed,
            S::Denied,
            S::Cancelled,
        ];
        assert_eq!(
            documented::<TaskStateText>(),
            all.map(|state| state.as_str().to_owned())
        );
    }

    #[test]
    fn the_documented_step_states_are_those_of_the_state_machine() {
        use StepState as S;
        let all = [
            S::Pending,
            S::Judged,
            S::Waiting,
            S::Authorized,
            S::Running,
            S::Succeeded,
            S::Failed,
            S::Denied,
            S::Skipped,
            S::Cancelled,
        ];
        assert_eq!(
            documented::<StepStateText>(),
            all.map(|state| state.as_str().to_owned())
        );
    }
}
