//! What a client submits, and what a dry run says about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::grant::GrantLimits;
use super::present;
use super::scalar::{DigestText, TimestampText};
use crate::engine::plan as engine;

/// A task to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "plan": {"steps": [
        {"id": "balance", "uses": "ledger/balance", "with": {"account": "alice"}},
        {"id": "pay", "uses": "ledger@0.1.0/transfer",
         "with": {"from": "alice", "to": "bob", "amount": {"$ref": "#/steps/balance/output/available"}},
         "retry": {"max_attempts": 3, "backoff_ms": 500}, "approval": "required"}
    ]},
    "input": {},
    "agent": "treasury-bot",
    "labels": {"env": "prod"}
}))]
pub struct Submission {
    /// The steps.
    pub plan: Plan,
    /// What steps can point at as `#/input`; any JSON.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Value, required = false)]
    pub input: Option<Value>,
    /// Who submits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// For lists and for the scopes of policies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
}

/// The steps of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// At least one. Steps without a path between them may run side by side.
    pub steps: Vec<PlanStep>,
    /// Milliseconds from when the task is accepted, or from `not_before`, until it must be over, waiting for people and for retries included;
    /// then what runs is stopped and the task has failed. At most 31 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub timeout_ms: Option<u64>,
    /// No step begins before this time, which is at most a year ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TimestampText, required = false)]
    pub not_before: Option<Timestamp>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanStep {
    /// Names the step within the plan.
    pub id: String,
    /// `plugin/step-type`, `plugin@version/step-type` or `plugin@sha256:.../step-type`.
    #[schema(example = "ledger@0.1.0/transfer")]
    pub uses: String,
    /// Its input. `{"$ref":"#/input/..."}` and `{"$ref":"#/steps/<id>/output/..."}` are replaced by what they point at.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Value, required = false)]
    pub with: Option<Value>,
    /// Ids of steps that must succeed before, beside those it points at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub needs: Vec<String>,
    /// How often it is tried, and after what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry: Option<Retry>,
    /// Tighter limits than the grant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limits: Option<GrantLimits>,
    /// Milliseconds that one attempt may take in the sandbox: `limits.wall_ms`, but refused where the grant gives less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    pub timeout_ms: Option<u64>,
    /// `required`: a person must approve it whatever the policies say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "required")]
    pub approval: Option<String>,
    /// What becomes of the task where the step fails for good. Without it the task fails; but where an effectful step was tried more than once as
    /// the plan allows, or nobody knows how its last attempt ended, a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub on_failure: Option<OnFailure>,
    /// The step does not begin before this time, which is at most a year ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TimestampText, required = false)]
    pub not_before: Option<Timestamp>,
}

/// What becomes of a task where a step fails for good. A denial is no failure: it always ends the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The task fails.
    Fail,
    /// A person is asked whether it is tried again. Who rejects that denies the task.
    Pause,
}

impl From<engine::OnFailure> for OnFailure {
    fn from(on_failure: engine::OnFailure) -> Self {
        match on_failure {
            engine::OnFailure::Fail => Self::Fail,
            engine::OnFailure::Pause => Self::Pause,
        }
    }
}

/// When to try again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included: 1 to 100, and 1 where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_attempts: Option<u32>,
    /// The longest wait before the second attempt, in milliseconds; 1000 where it is absent. How long each wait is, is left to chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub backoff_ms: Option<u64>,
    /// How many times as long each further wait may be: 1 to 10, and 2 where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub backoff_factor: Option<u64>,
    /// The longest wait that this grows to; an hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub backoff_max_ms: Option<u64>,
    /// Outcomes that are followed by another attempt, out of `unavailable`, `timeout`, `out-of-memory`, `out-of-fuel` and `trap`; the first
    /// two where it is absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["unavailable", "timeout"]))]
    pub on: Vec<String>,
}

impl From<engine::Retry> for Retry {
    fn from(retry: engine::Retry) -> Self {
        let on = retry.on.iter().map(|status| status.as_str().to_owned());
        Self {
            max_attempts: Some(retry.max_attempts),
            backoff_ms: Some(retry.backoff_ms),
            backoff_factor: Some(retry.backoff_factor),
            backoff_max_ms: Some(retry.backoff_max_ms),
            on: on.collect(),
        }
    }
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Name of the policy.
    pub policy: String,
    /// Its component.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// `plan`, `before-step` or `after-step`.
    #[schema(example = "before-step")]
    pub stage: String,
    /// `enforce` or `monitor`.
    #[schema(example = "enforce")]
    pub mode: String,
    /// `not-applicable`, `allow`, `needs-approval` or `deny`.
    #[schema(example = "allow")]
    pub verdict: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub code: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// Fuel it took.
    pub fuel: u64,
}

impl From<engine::VerdictView> for Verdict {
    fn from(view: engine::VerdictView) -> Self {
        Self {
            policy: view.policy,
            component: view.component,
            stage: view.stage.to_owned(),
            mode: view.mode.to_owned(),
            verdict: view.verdict.to_owned(),
            code: view.code,
            reason: view.reason,
            fuel: view.fuel,
        }
    }
}

/// Verdicts as they go over the wire.
pub(crate) fn verdicts(views: Vec<engine::VerdictView>) -> Vec<Verdict> {
    views.into_iter().map(Verdict::from).collect()
}

/// What a dry run says about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckedStep {
    /// The step's id in the plan.
    pub id: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Version of the plugin.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// The component it would be pinned to.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// Whether its grants let it touch the world.
    pub effectful: bool,
    /// Ids of the steps it waits for.
    pub needs: Vec<String>,
    /// Whether its input is known before anything ran. Where it is not, policies were not asked about the step.
    pub input_known: bool,
    /// Milliseconds that one attempt may take: what the grant gives, or less where the plan says so.
    pub timeout_ms: u64,
    /// How often it is tried, and after what, with what holds where the plan does not say.
    pub retry: Retry,
    /// What becomes of the task where it fails for good, where the plan says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub on_failure: Option<OnFailure>,
    /// It does not begin before, whether its own rule says so or the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TimestampText, required = false)]
    pub not_before: Option<Timestamp>,
    /// What the policies say.
    pub verdicts: Vec<Verdict>,
    /// `allow`, `needs-approval` or `deny`; `unknown` where the input is not known.
    #[schema(example = "allow")]
    pub verdict: String,
}

impl From<engine::CheckedStep> for CheckedStep {
    fn from(step: engine::CheckedStep) -> Self {
        Self {
            id: step.id,
            plugin: step.plugin,
            version: step.version,
            step_type: step.step_type,
            component: step.component,
            effectful: step.effectful,
            needs: step.needs,
            input_known: step.input_known,
            timeout_ms: step.timeout_ms,
            retry: step.retry.into(),
            on_failure: step.on_failure.map(OnFailure::from),
            not_before: step.not_before,
            verdicts: verdicts(step.verdicts),
            verdict: step.verdict.to_owned(),
        }
    }
}

/// What a dry run says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanCheck {
    /// What policies say about the plan as a whole.
    pub verdicts: Vec<Verdict>,
    /// The steps in plan order.
    pub steps: Vec<CheckedStep>,
    /// Milliseconds that the task may take, where the plan says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timeout_ms: Option<u64>,
    /// Everything known taken together: `allow`, `needs-approval`, `deny` or `unknown`.
    #[schema(example = "needs-approval")]
    pub verdict: String,
}

impl From<engine::PlanCheck> for PlanCheck {
    fn from(check: engine::PlanCheck) -> Self {
        Self {
            verdicts: verdicts(check.verdicts),
            steps: check.steps.into_iter().map(CheckedStep::from).collect(),
            timeout_ms: check.timeout_ms,
            verdict: check.verdict.to_owned(),
        }
    }
}
