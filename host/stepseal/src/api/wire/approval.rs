//! Questions put to people.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::plan::{Verdict, verdicts};
use super::present;
use super::scalar::{DigestText, TimestampText};
use crate::engine::approvals as engine;
use crate::store::{self, ApprovalRow};

/// Where an approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// Somebody must decide.
    Open,
    /// Everything asked was approved.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody decided in time.
    Expired,
    /// What it was bound to changed, or its task ended.
    Void,
}

impl From<store::ApprovalState> for ApprovalState {
    fn from(state: store::ApprovalState) -> Self {
        match state {
            store::ApprovalState::Open => Self::Open,
            store::ApprovalState::Approved => Self::Approved,
            store::ApprovalState::Rejected => Self::Rejected,
            store::ApprovalState::Expired => Self::Expired,
            store::ApprovalState::Void => Self::Void,
        }
    }
}

impl From<ApprovalState> for store::ApprovalState {
    fn from(state: ApprovalState) -> Self {
        match state {
            ApprovalState::Open => Self::Open,
            ApprovalState::Approved => Self::Approved,
            ApprovalState::Rejected => Self::Rejected,
            ApprovalState::Expired => Self::Expired,
            ApprovalState::Void => Self::Void,
        }
    }
}

/// One thing that must be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ask {
    /// Who asks: a policy's name, `baseline` or `plan`.
    #[schema(example = "spending-limit")]
    pub by: String,
    /// For programs.
    pub code: String,
    /// For people.
    pub reason: String,
    /// The role an approver must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<String>,
    /// How many different approvers.
    pub approvers: u32,
}

impl From<engine::Ask> for Ask {
    fn from(ask: engine::Ask) -> Self {
        Self {
            by: ask.by,
            code: ask.code,
            reason: ask.reason,
            role: ask.role,
            approvers: ask.approvers,
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Run it.
    Approve,
    /// Do not run it; the task is denied.
    Reject,
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// Who, as the holder of the host's token said.
    pub approver: String,
    /// The role they claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<String>,
    /// What they decided.
    pub decision: Choice,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub comment: Option<String>,
    /// When.
    #[schema(value_type = TimestampText)]
    pub at: Timestamp,
    /// SHA-256 of the PAE of what the approver signed; absent where they have no key, and the decision is a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DigestText, nullable = false)]
    pub envelope: Option<Digest>,
}

impl From<engine::Decided> for Decision {
    fn from(decided: engine::Decided) -> Self {
        Self {
            approver: decided.approver,
            role: decided.role,
            decision: if decided.approve {
                Choice::Approve
            } else {
                Choice::Reject
            },
            comment: decided.comment,
            at: decided.at,
            envelope: decided.signed.map(|signed| signed.envelope),
        }
    }
}

/// A decision to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "decision": "approve",
    "subject": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "approver": "ada",
    "comment": "checked with the supplier"
}))]
pub struct NewDecision {
    /// Yes or no.
    pub decision: Choice,
    /// Digest of what the approver saw: the approval's `subject`.
    #[schema(value_type = DigestText)]
    pub subject: Digest,
    /// Who decides.
    pub approver: String,
    /// The role they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<String>,
    /// What they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub comment: Option<String>,
    /// The same, signed by the approver: a DSSE envelope (FORMAT.md §2, "An approver's own envelope"). Who has a key must sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    pub envelope: Option<Envelope>,
}

impl From<NewDecision> for engine::Decide {
    fn from(decision: NewDecision) -> Self {
        Self {
            subject: decision.subject,
            approve: match decision.decision {
                Choice::Approve => true,
                Choice::Reject => false,
            },
            approver: decision.approver,
            role: decision.role,
            comment: decision.comment,
            envelope: decision.envelope,
        }
    }
}

/// An approval as lists show it: without input, grants and verdicts, which may be large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalSummary {
    /// UUID version 7.
    pub id: String,
    /// The task.
    pub task: String,
    /// The step's id in the plan.
    pub step: String,
    /// Which attempt.
    pub attempt: u32,
    /// Where it is.
    pub state: ApprovalState,
    /// Digest of what is approved.
    #[schema(value_type = DigestText)]
    pub subject: Digest,
    /// What is asked.
    pub asks: Vec<Ask>,
    /// Decisions so far.
    pub decisions: Vec<Decision>,
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// What the plugin says this step type does.
    pub summary: String,
    /// Who submitted the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// When it was opened.
    #[schema(value_type = TimestampText)]
    pub opened: Timestamp,
    /// When it lapses.
    #[schema(value_type = TimestampText)]
    pub expires: Timestamp,
}

impl From<engine::ApprovalView> for ApprovalSummary {
    fn from(view: engine::ApprovalView) -> Self {
        Self {
            id: view.row.id,
            task: view.row.task,
            step: view.row.step,
            attempt: view.row.attempt,
            state: view.row.state.into(),
            subject: view.row.subject,
            asks: view.asks.into_iter().map(Ask::from).collect(),
            decisions: view.decisions.into_iter().map(Decision::from).collect(),
            plugin: view.plugin,
            version: view.version,
            step_type: view.step_type,
            summary: view.summary,
            agent: view.agent,
            opened: view.row.opened,
            expires: view.row.expires,
        }
    }
}

/// An approval with everything an approver needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// UUID version 7.
    pub id: String,
    /// The task.
    pub task: String,
    /// The step's id in the plan.
    pub step: String,
    /// Which attempt.
    pub attempt: u32,
    /// Where it is.
    pub state: ApprovalState,
    /// SHA-256 of `preimage`: what is approved.
    #[schema(value_type = DigestText)]
    pub subject: Digest,
    /// The exact text whose SHA-256 is `subject`: canonical JSON of task, step, attempt, component, input, grants and policies.
    pub preimage: String,
    /// What is asked.
    pub asks: Vec<Ask>,
    /// Decisions so far.
    pub decisions: Vec<Decision>,
    /// Name of the plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// What the plugin says this step type does.
    pub summary: String,
    /// The component that would run.
    #[schema(value_type = DigestText)]
    pub component: Digest,
    /// The grant document in force.
    pub grants: Value,
    /// The exact input it would run with, any JSON; absent where it was erased.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Value, required = false)]
    pub input: Option<Value>,
    /// Who submitted the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// What the policies said.
    pub verdicts: Vec<Verdict>,
    /// When it was opened.
    #[schema(value_type = TimestampText)]
    pub opened: Timestamp,
    /// When it lapses.
    #[schema(value_type = TimestampText)]
    pub expires: Timestamp,
    /// The last approved approval of the same component and step type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub last_like_it: Option<LastLikeIt>,
}

impl From<engine::ApprovalView> for Approval {
    fn from(view: engine::ApprovalView) -> Self {
        Self {
            id: view.row.id,
            task: view.row.task,
            step: view.row.step,
            attempt: view.row.attempt,
            state: view.row.state.into(),
            subject: view.row.subject,
            preimage: view.preimage,
            asks: view.asks.into_iter().map(Ask::from).collect(),
            decisions: view.decisions.into_iter().map(Decision::from).collect(),
            plugin: view.plugin,
            version: view.version,
            step_type: view.step_type,
            summary: view.summary,
            component: view.component,
            grants: view.grants,
            input: view.input,
            agent: view.agent,
            verdicts: verdicts(view.verdicts),
            opened: view.row.opened,
            expires: view.row.expires,
            last_like_it: view.last_like_it.map(LastLikeIt::from),
        }
    }
}

/// An earlier approval to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastLikeIt {
    /// Its id.
    pub id: String,
    /// Its task.
    pub task: String,
    /// Its step's id in the plan.
    pub step: String,
    /// What was approved.
    #[schema(value_type = DigestText)]
    pub subject: Digest,
    /// When it was opened.
    #[schema(value_type = TimestampText)]
    pub opened: Timestamp,
    /// The input that was approved, any JSON; absent where it was erased.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Value, required = false)]
    pub input: Option<Value>,
}

impl From<(ApprovalRow, Option<Value>)> for LastLikeIt {
    fn from((row, input): (ApprovalRow, Option<Value>)) -> Self {
        Self {
            id: row.id,
            task: row.task,
            step: row.step,
            subject: row.subject,
            opened: row.opened,
            input,
        }
    }
}
