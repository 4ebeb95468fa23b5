//! Questions put to people. An approval is bound to the digest of exactly what was shown; anything that changes voids it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::record;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::verify::check_approval;

use super::payload::{Payload, StoredPayload};
use super::plan::VerdictView;
use super::policies::Rules;
use super::schema::text;
pub use super::verdict::Ask;
use super::{Engine, EngineError, Fault, components};
use crate::store::{ApprovalQuery, ApprovalRow, ApprovalState, SignedApproval};

/// Bytes of an approver's name or role.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a comment that are kept.
const COMMENT_BYTES_MAX: usize = 512;
/// People who can decide about one approval; all of them go into the record.
const DECISIONS_MAX: usize = 16;
/// Bytes that an approver signs: digest, decision and role, and what their own tool adds.
const SIGNED_BYTES_MAX: usize = 4 << 10;

impl Ask {
    fn is_met(&self, decided: &[Decided]) -> bool {
        let fitting: BTreeSet<&str> = decided
            .iter()
            .filter(|decided| decided.approve && (self.role.is_none() || decided.role == self.role))
            .map(|decided| decided.approver.as_str())
            .collect();
        fitting.len() >= self.approvers as usize
    }
}

/// One person's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who, as the holder of the host's token said.
    pub approver: String,
    /// The role they claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// True for approve.
    pub approve: bool,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What they signed, where they signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// That an approver signed their decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// With which key.
    pub key: PublicKey,
    /// SHA-256 of the envelope's PAE.
    pub envelope: Digest,
}

impl Decided {
    /// Whether the keys that the person has let it count.
    pub(crate) fn counts(&self, rules: &Rules) -> bool {
        let key = self.signed.as_ref().map(|signed| &signed.key);
        rules.counts(&self.approver, key)
    }
}

/// Decisions on an approval so far.
pub(crate) fn decisions(row: &ApprovalRow) -> Result<Vec<Decided>, EngineError> {
    serde_json::from_str(&row.decisions).map_err(|error| {
        EngineError::Internal(format!("decisions on approval {}: {error}", row.id))
    })
}

/// What an approval is about, as stored with it: digests, no payloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) asks: Vec<Ask>,
    pub(crate) plugin: String,
    pub(crate) version: String,
    pub(crate) step_type: String,
    pub(crate) component: Digest,
    pub(crate) input: StoredPayload,
    pub(crate) grants: Digest,
    pub(crate) policies: Digest,
}

impl Shown {
    pub(crate) fn read(row: &ApprovalRow) -> Result<Self, EngineError> {
        serde_json::from_str(&row.body)
            .map_err(|error| EngineError::Internal(format!("approval {}: {error}", row.id)))
    }

    /// The exact bytes an approval is bound to, and their digest (format §2, `approvals`).
    pub(crate) fn subject(&self, task: &str, step: &str, attempt: u32) -> (Vec<u8>, Digest) {
        record::approval_subject(
            task,
            step,
            attempt,
            &self.component,
            &self.input.digest,
            &self.grants,
            &self.policies,
        )
    }

    /// Whether grants and policies are still those that were shown.
    pub(crate) fn holds(&self, rules: &Rules) -> bool {
        rules.policies_digest == self.policies && rules.grant(&self.plugin).digest == self.grants
    }

    /// Approvals alike ask about the same component and step type.
    pub(crate) fn likeness(&self) -> String {
        format!("{}/{}", self.component, self.step_type)
    }
}

/// An approval with everything an approver needs.
#[derive(Clone, Debug)]
pub struct ApprovalView {
    /// The row.
    pub row: ApprovalRow,
    /// What is asked.
    pub asks: Vec<Ask>,
    /// Decisions so far.
    pub decisions: Vec<Decided>,
    /// Exact bytes whose SHA-256 is `row.subject`.
    pub preimage: String,
    /// Plugin name.
    pub plugin: String,
    /// Plugin version.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// What the plugin says this step type does.
    pub summary: String,
    /// The component that would run.
    pub component: Digest,
    /// The grant document in force.
    pub grants: Value,
    /// The exact input it would run with; absent where it was erased.
    pub input: Option<Value>,
    /// Who submitted the task.
    pub agent: Option<String>,
    /// What the policies said.
    pub verdicts: Vec<VerdictView>,
    /// The last approved approval of the same component and step type, with its input.
    pub last_like_it: Option<(ApprovalRow, Option<Value>)>,
}

/// A decision as it is sent.
#[derive(Clone, Debug)]
pub struct Decide {
    /// Digest of what the approver saw.
    pub subject: Digest,
    /// True for approve.
    pub approve: bool,
    /// Who.
    pub approver: String,
    /// The role they hold.
    pub role: Option<String>,
    /// What they say.
    pub comment: Option<String>,
    /// The same, signed by the approver. Who has a key must sign.
    pub envelope: Option<Envelope>,
}

impl Decide {
    /// As a record gives it, without the envelope.
    fn claim(&self) -> record::Approval {
        record::Approval {
            approver: self.approver.clone(),
            decision: decision(self.approve),
            role: self.role.clone(),
            subject: self.subject,
            envelope: None,
        }
    }
}

/// A decision as a record names it.
pub(crate) fn decision(approve: bool) -> record::Decision {
    if approve {
        record::Decision::Approve
    } else {
        record::Decision::Reject
    }
}

impl Engine {
    /// Approvals, newest first, without input, verdicts and the last one like it: [`Engine::approval`] has those.
    pub async fn approvals(&self, query: ApprovalQuery) -> Result<Vec<ApprovalView>, EngineError> {
        let mut views = Vec::new();
        for row in self.0.store.approvals(&query).await? {
            views.push(self.outline(row).await?);
        }
        Ok(views)
    }

    /// One approval.
    pub async fn approval(&self, id: &str) -> Result<ApprovalView, EngineError> {
        let row = self.approval_row(id).await?;
        self.view_approval(row).await
    }

    /// Approves or rejects, once per approver. What was decided is stored when this returns.
    pub async fn decide(&self, id: &str, decide: Decide) -> Result<ApprovalView, EngineError> {
        let row = self.approval_row(id).await?;
        let envelope = decide.envelope.clone();
        let decided = self.decided(&row, decide).await?;
        let signed = decided.signed.as_ref().zip(envelope);
        let signed = signed.map(|(signed, envelope)| SignedApproval {
            digest: signed.envelope,
            envelope: String::from_utf8(envelope.to_json()).expect("an envelope is JSON"),
        });
        let mut all = decisions(&row)?;
        if all.len() >= DECISIONS_MAX {
            return Err(conflict(
                "already-decided",
                format!(
                    "{DECISIONS_MAX} people have decided about approval {id}; more are not kept"
                ),
            ));
        }
        if all
            .iter()
            .any(|earlier| earlier.approver == decided.approver)
        {
            return Err(conflict(
                "already-decided",
                format!(
                    "{} has decided about approval {id} already",
                    decided.approver
                ),
            ));
        }
        let approve = decided.approve;
        all.push(decided);
        let met = Shown::read(&row)?.asks.iter().all(|ask| ask.is_met(&all));
        let state = match (approve, met) {
            (false, _) => ApprovalState::Rejected,
            (true, true) => ApprovalState::Approved,
            (true, false) => ApprovalState::Open,
        };
        let new = ApprovalRow {
            state,
            decisions: serde_json::to_string(&all).expect("decisions are JSON"),
            ..row.clone()
        };
        let store = &self.0.store;
        let stored = store.decide_approval(&new, &row.decisions, signed.as_ref());
        let stored = stored.await;
        if stored.is_err() {
            // It may have been stored all the same.
            self.poke(&new.task);
        }
        if !stored? {
            return Err(conflict(
                "already-decided",
                format!("somebody else decided about approval {id} just now; look at it again"),
            ));
        }
        self.poke(&new.task);
        self.view_approval(new).await
    }

    /// Checks that a decision may be taken, and about what was seen.
    async fn decided(&self, row: &ApprovalRow, decide: Decide) -> Result<Decided, EngineError> {
        let now = self.0.clock.now();
        let id = &row.id;
        match row.state {
            ApprovalState::Open if row.expires <= now => {
                self.poke(&row.task);
                return Err(conflict(
                    "expired",
                    format!("approval {id} lapsed at {}", row.expires),
                ));
            }
            ApprovalState::Open => {}
            ApprovalState::Expired => {
                return Err(conflict(
                    "expired",
                    format!("approval {id} lapsed at {}", row.expires),
                ));
            }
            ApprovalState::Void => {
                return Err(conflict(
                    "changed",
                    format!("approval {id} is void: what it was about has changed or is over"),
                ));
            }
            ApprovalState::Approved | ApprovalState::Rejected => {
                return Err(conflict(
                    "already-decided",
                    format!("approval {id} is {} already", row.state.as_str()),
                ));
            }
        }
        if decide.subject != row.subject {
            return Err(conflict(
                "changed",
                format!(
                    "approval {id} is about {}, not about {}: look at it again before you decide",
                    row.subject, decide.subject
                ),
            ));
        }
        let rules = self.rules().await?;
        let earlier = decisions(row)?;
        let counts = |decided: &Decided| decided.counts(&rules);
        if !Shown::read(row)?.holds(&rules) || !earlier.iter().all(counts) {
            let void = ApprovalRow {
                state: ApprovalState::Void,
                ..row.clone()
            };
            self.0
                .store
                .decide_approval(&void, &row.decisions, None)
                .await?;
            self.poke(&row.task);
            return Err(conflict(
                "changed",
                format!(
                    "grants, policies or an approver's keys changed since approval {id} was asked for; the step is judged again"
                ),
            ));
        }
        check_name("/approver", &decide.approver)?;
        if let Some(role) = &decide.role {
            check_name("/role", role)?;
        }
        let task = self.0.store.task(&row.task).await?;
        let submitter = task.and_then(|task| task.task.agent);
        if submitter.as_deref() == Some(decide.approver.as_str()) {
            return Err(EngineError::Forbidden(format!(
                "{} submitted the task and cannot decide about it",
                decide.approver
            )));
        }
        let signed = signed(&decide, &rules)?;
        Ok(Decided {
            approver: decide.approver,
            role: decide.role,
            approve: decide.approve,
            comment: decide
                .comment
                .map(|comment| text(&comment, COMMENT_BYTES_MAX)),
            at: now,
            signed,
        })
    }

    async fn approval_row(&self, id: &str) -> Result<ApprovalRow, EngineError> {
        let found = self.0.store.approval(id).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "approval",
            id: id.to_owned(),
        })
    }

    async fn view_approval(&self, row: ApprovalRow) -> Result<ApprovalView, EngineError> {
        let mut view = self.outline(row).await?;
        let (task, _) = self.load(&view.row.task).await?;
        let judged = task
            .index_of(&view.row.step)
            .and_then(|index| task.steps[index].judged.as_ref());
        view.verdicts = task
            .plan_judgements
            .iter()
            .chain(judged.into_iter().flat_map(|judged| &judged.judgements))
            .map(VerdictView::from)
            .collect();
        view.input = self
            .input_of(&view.row.task, Shown::read(&view.row)?.input)
            .await?;
        let last = self.0.store.last_approved(&view.row.likeness).await?;
        if let Some(last) = last.filter(|last| last.id != view.row.id) {
            let input = self.input_of(&last.task, Shown::read(&last)?.input).await?;
            view.last_like_it = Some((last, input));
        }
        Ok(view)
    }

    /// An approval without what may be large: input, verdicts, and the one before that is like it.
    async fn outline(&self, row: ApprovalRow) -> Result<ApprovalView, EngineError> {
        let shown = Shown::read(&row)?;
        let (preimage, _) = shown.subject(&row.task, &row.step, row.attempt);
        let summary = match self.plugin(&shown.component).await? {
            Some(plugin) => components::summary(&plugin, &shown.step_type),
            None => String::new(),
        };
        let task = self.0.store.task(&row.task).await?;
        Ok(ApprovalView {
            decisions: decisions(&row)?,
            preimage: String::from_utf8(preimage).expect("canonical JSON is UTF-8"),
            summary,
            grants: self.rules().await?.grant(&shown.plugin).value.clone(),
            input: None,
            agent: task.and_then(|task| task.task.agent),
            verdicts: Vec::new(),
            last_like_it: None,
            asks: shown.asks,
            plugin: shown.plugin,
            version: shown.version,
            step_type: shown.step_type,
            component: shown.component,
            row,
        })
    }

    async fn input_of(
        &self,
        task: &str,
        stored: StoredPayload,
    ) -> Result<Option<Value>, EngineError> {
        let Some(blob) = self.0.store.blob(task, &stored.digest).await? else {
            return Ok(None);
        };
        Ok(Some(
            Payload::from_blob(blob, stored)?.value().as_ref().clone(),
        ))
    }
}

/// Checks that who has a key has signed exactly this decision with it.
fn signed(decide: &Decide, rules: &Rules) -> Result<Option<Signed>, EngineError> {
    let name = &decide.approver;
    let Some(envelope) = &decide.envelope else {
        if rules.counts(name, None) {
            return Ok(None);
        }
        return Err(EngineError::Forbidden(format!(
            "{name} has a key and signs what they decide: stepseal approval approve (or reject) ID --as {name} --key FILE"
        )));
    };
    if envelope.payload.len() > SIGNED_BYTES_MAX {
        return Err(EngineError::Invalid(vec![Fault {
            pointer: "/envelope".to_owned(),
            message: format!("an approver signs at most {SIGNED_BYTES_MAX} bytes"),
        }]));
    }
    let key = check_approval(envelope, &decide.claim(), rules.keys_of(name)).map_err(|why| {
        EngineError::Forbidden(format!(
            "{why}; `stepseal keys approver list` shows whose keys count"
        ))
    })?;
    Ok(Some(Signed {
        key: key.clone(),
        envelope: envelope.pae_digest(),
    }))
}

/// Checks the name of a person or of a role.
pub(crate) fn check_name(pointer: &str, value: &str) -> Result<(), EngineError> {
    let fits =
        !value.is_empty() && value.len() <= NAME_BYTES_MAX && !value.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(EngineError::Invalid(vec![Fault {
        pointer: pointer.to_owned(),
        message: format!(
            "this must be a text of 1 to {NAME_BYTES_MAX} bytes without control characters"
        ),
    }]))
}

fn conflict(code: &'static str, message: String) -> EngineError {
    EngineError::Conflict { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(approver: &str, role: Option<&str>, approve: bool) -> Decided {
        Decided {
            approver: approver.to_owned(),
            role: role.map(str::to_owned),
            approve,
            comment: None,
            at: Timestamp::from_unix_ms(0).unwrap(),
            signed: None,
        }
    }

    fn ask(role: Option<&str>, approvers: u32) -> Ask {
        Ask {
            by: "p".to_owned(),
            code: "c".to_owned(),
            reason: "r".to_owned(),
            role: role.map(str::to_owned),
            approvers,
        }
    }

    #[test]
    fn it_takes_as_many_different_people_as_were_asked_for() {
        let twice = [decided("ann", None, true), decided("ann", None, true)];
        assert!(!ask(None, 2).is_met(&twice));
        let two = [decided("ann", None, true), decided("bob", None, true)];
        assert!(ask(None, 2).is_met(&two));
        assert!(!ask(None, 2).is_met(&[decided("ann", None, true), decided("bob", None, false)]));
    }

    #[test]
    fn a_role_asked_for_must_be_held() {
        assert!(!ask(Some("treasurer"), 1).is_met(&[
            decided("ann", Some("intern"), true),
            decided("bob", None, true)
        ]));
        assert!(ask(Some("treasurer"), 1).is_met(&[decided("ann", Some("treasurer"), true)]));
    }
}
