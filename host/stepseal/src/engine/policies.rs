//! Policies: bound by the operator, asked about the plan, and before and after every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::record::{self, BindingChange, Kind};
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{Limits, LoadError, PolicyCall, PolicyRun, Stage};

use super::components::{Policy, reference};
use super::grants::{Grant, is_name};
use super::payload::Sealed;
pub use super::verdict::Mode;
use super::verdict::{Judgement, Said};
use super::{Actor, Engine, EngineError, Fault};
use crate::store::{ApproverRow, ComponentKind, NewAct, PolicyRow};

/// Bindings in force at once. All their verdicts go into one record, which has at most 32 KiB.
const BINDINGS_MAX: usize = 10;
/// A policy could not be asked for want of room.
const BUSY: EngineError = EngineError::Busy { retry_after_s: 1 };
/// Bytes of a binding's settings in canonical JSON.
const SETTINGS_BYTES_MAX: usize = 64 << 10;

/// What a policy is bound to. An absent member does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Only tasks of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only tasks of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only steps of this plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Only steps of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_type: Option<String>,
    /// Only tasks that have all these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Scope {
    /// Whether it covers what is judged. A plan is covered where one of its steps is.
    fn covers(&self, target: &Target<'_>) -> bool {
        let tenant = self.tenant.as_deref();
        tenant.is_none_or(|tenant| target.tenant == tenant)
            && self
                .agent
                .as_deref()
                .is_none_or(|agent| target.agent == Some(agent))
            && self
                .labels
                .iter()
                .all(|(name, value)| target.labels.get(name) == Some(value))
            && target.steps.iter().any(|(plugin, step_type)| {
                self.plugin
                    .as_deref()
                    .is_none_or(|wanted| wanted == *plugin)
                    && self
                        .step_type
                        .as_deref()
                        .is_none_or(|wanted| wanted == *step_type)
            })
    }
}

/// An operator's wish to bind a policy.
#[derive(Clone, Debug)]
pub struct BindPolicy {
    /// The policy component, by digest.
    pub component: Digest,
    /// Must fit the policy's `settings-schema`.
    pub settings: Value,
    /// Where it applies.
    pub scope: Scope,
    /// Whether it counts.
    pub mode: Mode,
}

impl Engine {
    /// Binds a policy. Approvals given under the set of policies before are void from then on.
    pub async fn bind_policy(
        &self,
        bind: BindPolicy,
        actor: Actor,
    ) -> Result<PolicyRow, EngineError> {
        let row = self.component(&bind.component).await?;
        let fault = |pointer: &str, message: String| {
            Err(EngineError::Invalid(vec![Fault {
                pointer: pointer.to_owned(),
                message,
            }]))
        };
        if row.kind != ComponentKind::Policy {
            return fault(
                "/component",
                format!("{} is a plugin, not a policy", row.name),
            );
        }
        for (pointer, name) in [
            ("/scope/plugin", &bind.scope.plugin),
            ("/scope/step_type", &bind.scope.step_type),
        ] {
            if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
                return fault(
                    pointer,
                    format!("{name:?} can name nothing: {}", super::grants::NAME_RULE),
                );
            }
        }
        let policy = Policy::from_row(row)?;
        let faults = policy.settings.faults(&bind.settings, "/settings");
        if !faults.is_empty() {
            return Err(EngineError::Invalid(faults));
        }
        let settings = canonical(&bind.settings);
        if settings.len() > SETTINGS_BYTES_MAX {
            return fault(
                "/settings",
                format!(
                    "{} bytes; at most {SETTINGS_BYTES_MAX} are kept",
                    settings.len()
                ),
            );
        }
        let engine = self.clone();
        let scope = canonical(&serde_json::to_value(&bind.scope).expect("a scope is JSON"));
        self.change_rules(async move {
            let store = &engine.0.store;
            let mut in_force = store.policies().await?;
            if in_force.len() >= BINDINGS_MAX {
                return Err(EngineError::Conflict {
                    code: "too-many-policies",
                    message: format!("{BINDINGS_MAX} policies are bound already; unbind one first"),
                });
            }
            let row = PolicyRow {
                id: engine.0.clock.id(),
                component: bind.component,
                settings,
                scope,
                mode: bind.mode.as_str().to_owned(),
                bound: engine.0.clock.now(),
            };
            in_force.push(row.clone());
            let change = BindingChange::Bound;
            let act = engine.policy_changed(change, &row, &in_force, actor);
            store.bind_policy(&row, act.await?).await?;
            Ok(row)
        })
        .await
    }

    /// Every binding in force, oldest first.
    pub async fn policies(&self) -> Result<Vec<PolicyRow>, EngineError> {
        Ok(self.0.store.policies().await?)
    }

    /// Ends a binding.
    pub async fn unbind_policy(&self, id: &str, actor: Actor) -> Result<(), EngineError> {
        let (engine, id) = (self.clone(), id.to_owned());
        self.change_rules(async move {
            let store = &engine.0.store;
            let mut in_force = store.policies().await?;
            if let Some(at) = in_force.iter().position(|row| row.id == id) {
                let row = in_force.remove(at);
                let change = BindingChange::Ended;
                let act = engine.policy_changed(change, &row, &in_force, actor);
                let now = engine.0.clock.now();
                if store.unbind_policy(&id, now, act.await?).await? {
                    return Ok(());
                }
            }
            Err(EngineError::NotFound {
                what: "policy binding",
                id,
            })
        })
        .await
    }

    /// The record of a binding that begins or ends, with the set that is in force then.
    async fn policy_changed(
        &self,
        change: BindingChange,
        row: &PolicyRow,
        in_force: &[PolicyRow],
        actor: Actor,
    ) -> Result<NewAct, EngineError> {
        let component = self.component(&row.component).await?;
        let mode = row_mode(row)?;
        self.act(Kind::PolicyChanged, actor, |record| {
            record.component = Some(reference(&component));
            record.policies = Some(set_digest(in_force));
            record.binding = Some(record::Binding {
                change,
                mode: mode.recorded(),
                settings: Digest::of(row.settings.as_bytes()),
            });
        })
        .await
    }

    /// Changes grants, policies or approvers: stores, then puts in force. Goes on to its end if the client who asked hangs up.
    pub(crate) async fn change_rules<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let engine = self.clone();
        let work = async move {
            let _changing = engine.0.rules_change.lock().await;
            // From here until it is read back, whoever acts under the rules waits for the change.
            engine.0.rules_stale.store(true, Ordering::SeqCst);
            let changed = change.await?;
            engine.reload_rules().await?;
            Ok(changed)
        };
        let done = tokio::spawn(work).await;
        done.map_err(|error| EngineError::Internal(error.to_string()))?
    }

    /// Reads grants, bindings and approvers again. The caller holds `rules_change`.
    pub(crate) async fn reload_rules(&self) -> Result<(), EngineError> {
        // First: what changes meanwhile then has another one.
        let version = self.0.store.rules_version().await?;
        let mut grants = BTreeMap::new();
        for row in self.0.store.grants().await? {
            grants.insert(row.plugin.clone(), Arc::new(Grant::from_row(&row)?));
        }
        let mut bindings = Vec::new();
        for row in self.0.store.policies().await? {
            let component = self.component(&row.component).await?;
            bindings.push(Binding::new(row, Policy::from_row(component)?)?);
        }
        let approvers = self.0.store.approvers().await?;
        *self.0.rules.write().expect("no panic while held") =
            Arc::new(Rules::new(version, grants, bindings, approvers));
        self.0.registry.forget_names();
        self.0.rules_stale.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Grants and policies in force now. A change that was stored is in force, whatever became of those who made it.
    pub(crate) async fn rules(&self) -> Result<Arc<Rules>, EngineError> {
        if self.0.rules_stale.load(Ordering::SeqCst) {
            let _changing = self.0.rules_change.lock().await;
            if self.0.rules_stale.load(Ordering::SeqCst) {
                self.reload_rules().await?;
            }
        }
        Ok(Arc::clone(
            &self.0.rules.read().expect("no panic while held"),
        ))
    }

    /// Asks every policy in force that wants this stage and whose scope covers `target`, all about the same input.
    ///
    /// The input, canonical JSON, comes back where somebody was asked: it belongs to the record.
    pub(crate) async fn judge(
        &self,
        rules: &Rules,
        stage: Stage,
        target: &Target<'_>,
        input: impl FnOnce() -> Vec<u8>,
        now: Timestamp,
    ) -> Result<(Vec<Judgement>, Option<Sealed>), EngineError> {
        let asked: Vec<&Binding> = rules
            .bindings
            .iter()
            .filter(|binding| binding.stages.contains(&stage) && binding.scope.covers(target))
            .collect();
        if asked.is_empty() {
            return Ok((Vec::new(), None));
        }
        let input = Sealed::new(&input(), self.0.clock.random());
        let judgements = join_all(
            asked
                .into_iter()
                .map(|binding| self.ask(binding, stage, &input, now)),
        )
        .await;
        Ok((
            judgements.into_iter().collect::<Result<_, _>>()?,
            Some(input),
        ))
    }

    async fn ask(
        &self,
        binding: &Binding,
        stage: Stage,
        input: &Sealed,
        now: Timestamp,
    ) -> Result<Judgement, EngineError> {
        let run = self.evaluate(binding, stage, input, now).await?;
        if run.busy {
            // The host's own shortage is no verdict.
            return Err(BUSY);
        }
        let stage = match stage {
            Stage::Plan => record::Stage::Plan,
            Stage::BeforeStep => record::Stage::BeforeStep,
            Stage::AfterStep => record::Stage::AfterStep,
        };
        let fuel = run.fuel_used;
        let said = Said::of(run.verdict);
        Ok(Judgement {
            policy: binding.row.component,
            name: binding.name.clone(),
            stage,
            mode: binding.mode,
            verdict: said.verdict,
            code: said.code,
            reason: said.reason,
            role: said.role,
            approvers: said.approvers,
            settings: binding.settings_digest,
            input: input.stored(),
            fuel,
        })
    }

    /// Runs one policy.
    async fn evaluate(
        &self,
        binding: &Binding,
        stage: Stage,
        input: &Sealed,
        now: Timestamp,
    ) -> Result<PolicyRun, EngineError> {
        let content = self.0.content.clone();
        let digest = binding.row.component;
        match self
            .0
            .sandbox
            .policy(digest, move || content.get(digest))
            .await
        {
            Ok(component) => {
                let settings = binding.row.settings.clone();
                let call = question(stage, settings, input.text().to_owned(), now);
                Ok(self.0.sandbox.evaluate(&component, call).await)
            }
            // The host's trouble is nobody's verdict.
            Err(LoadError::Busy) => Err(BUSY),
            Err(
                error @ (LoadError::Unavailable(_) | LoadError::Io(_) | LoadError::WrongDigest),
            ) => {
                tracing::error!(policy = %digest, %error, "a bound policy could not be loaded");
                Err(error.into())
            }
            Err(error) => {
                tracing::error!(policy = %digest, %error, "a bound policy could not be loaded");
                Ok(PolicyRun {
                    busy: false,
                    verdict: Err(format!("the policy could not be loaded: {error}")),
                    fuel_used: 0,
                    memory_peak_bytes: 0,
                })
            }
        }
    }
}

/// What is judged.
pub(crate) struct Target<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) agent: Option<&'a str>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Plugin and step type: of the step, or of every step of the plan.
    pub(crate) steps: Vec<(&'a str, &'a str)>,
}

/// A policy in force.
#[derive(Debug)]
pub(crate) struct Binding {
    row: PolicyRow,
    name: String,
    scope: Scope,
    mode: Mode,
    settings_digest: Digest,
    stages: Vec<Stage>,
}

impl Binding {
    fn new(row: PolicyRow, policy: Policy) -> Result<Self, EngineError> {
        let corrupt = |error: serde_json::Error| {
            EngineError::Internal(format!("policy binding {}: {error}", row.id))
        };
        Ok(Self {
            name: policy.row.name,
            scope: serde_json::from_str(&row.scope).map_err(corrupt)?,
            mode: row_mode(&row)?,
            settings_digest: Digest::of(row.settings.as_bytes()),
            stages: policy.stages,
            row,
        })
    }
}

/// What a policy is asked. Its seed and clock follow from what it is shown, so that anyone who has that can judge again.
pub(crate) fn question(
    stage: Stage,
    settings: String,
    input: String,
    start: Timestamp,
) -> PolicyCall {
    PolicyCall {
        stage,
        settings,
        seed: *Digest::of(input.as_bytes()).as_bytes(),
        input,
        limits: Limits::POLICY,
        start,
    }
}

fn row_mode(row: &PolicyRow) -> Result<Mode, EngineError> {
    serde_json::from_value(Value::String(row.mode.clone()))
        .map_err(|error| EngineError::Internal(format!("policy binding {}: {error}", row.id)))
}

/// SHA-256 of the canonical JSON of `[{component, mode, scope, settings}...]`, oldest first.
fn set_digest<'a>(rows: impl IntoIterator<Item = &'a PolicyRow>) -> Digest {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let set = rows.into_iter().map(|row| {
        json!({"component": row.component, "mode": row.mode, "scope": value(&row.scope), "settings": value(&row.settings)})
    });
    Digest::of(&json::canonical(&Value::Array(set.collect())))
}

/// Grants and policies in force at one moment, and who signs their own decisions.
#[derive(Debug)]
pub(crate) struct Rules {
    /// What [`Store::rules_version`](crate::store::Store::rules_version) was.
    pub(crate) version: u64,
    grants: BTreeMap<String, Arc<Grant>>,
    nothing: Arc<Grant>,
    bindings: Vec<Binding>,
    pub(crate) approvers: Vec<ApproverRow>,
    /// SHA-256 of the canonical JSON of `[{component, mode, scope, settings}...]`, oldest first.
    pub(crate) policies_digest: Digest,
}

impl Rules {
    pub(crate) fn new(
        version: u64,
        grants: BTreeMap<String, Arc<Grant>>,
        bindings: Vec<Binding>,
        approvers: Vec<ApproverRow>,
    ) -> Self {
        Self {
            version,
            grants,
            nothing: Arc::new(Grant::new(super::grants::GrantDocument::default())),
            policies_digest: set_digest(bindings.iter().map(|binding| &binding.row)),
            bindings,
            approvers,
        }
    }

    /// What a plugin may use; nothing, where nobody granted anything.
    pub(crate) fn grant(&self, plugin: &str) -> &Arc<Grant> {
        self.grants.get(plugin).unwrap_or(&self.nothing)
    }
}

fn canonical(value: &Value) -> String {
    String::from_utf8(json::canonical(value)).expect("canonical JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_narrows_by_every_member_it_has() {
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        let target = Target {
            tenant: "treasury",
            agent: Some("bot"),
            labels: &labels,
            steps: vec![("ledger", "transfer")],
        };
        let scope = |value: Value| serde_json::from_value::<Scope>(value).unwrap();
        for covering in [
            json!({}),
            json!({"plugin":"ledger"}),
            json!({"plugin":"ledger","step_type":"transfer","tenant":"treasury","agent":"bot","labels":{"env":"prod"}}),
        ] {
            assert!(scope(covering.clone()).covers(&target), "{covering}");
        }
        for other in [
            json!({"plugin":"jq"}),
            json!({"step_type":"balance"}),
            json!({"tenant":"operator"}),
            json!({"agent":"other"}),
            json!({"labels":{"env":"test"}}),
            json!({"labels":{"team":"a"}}),
        ] {
            assert!(!scope(other.clone()).covers(&target), "{other}");
        }
    }

    #[test]
    fn a_plan_is_covered_where_one_step_is() {
        let labels = BTreeMap::new();
        let target = Target {
            tenant: "operator",
            agent: None,
            labels: &labels,
            steps: vec![("jq", "filter"), ("ledger", "transfer")],
        };
        let scope = Scope {
            plugin: Some("ledger".to_owned()),
            ..Scope::default()
        };
        assert!(scope.covers(&target));
    }

    /// As much as strangers can put into one record: every policy speaks before and after, and everybody decides.
    #[test]
    fn the_largest_record_can_be_signed() {
        use stepseal_receipts::keys::SigningKey;
        use stepseal_receipts::payload::CommitKind;
        use stepseal_receipts::record::{
            Approval, Decision, Kind, Outcome, PolicyInput, Record, Status, VerdictKind,
        };

        use crate::engine::schema::text;
        use crate::engine::verdict::{CODE_BYTES_MAX, REASON_BYTES_MAX};

        let digest = Digest::of(b"x");
        let long = |bytes| Some(text(&"\"".repeat(2000), bytes));
        let verdict = record::Verdict {
            policy: digest,
            name: "n".repeat(64),
            stage: record::Stage::BeforeStep,
            verdict: VerdictKind::NeedsApproval,
            mode: record::Mode::Enforce,
            code: long(CODE_BYTES_MAX),
            reason: long(REASON_BYTES_MAX),
            approvers: Some(16),
            role: long(CODE_BYTES_MAX),
            settings: digest,
            input: PolicyInput {
                digest,
                size: u64::MAX,
                commit: CommitKind::Blind1,
            },
            fuel: u64::MAX,
        };
        let approval = Approval {
            approver: "\"".repeat(64),
            decision: Decision::Approve,
            role: Some("\"".repeat(64)),
            subject: digest,
            envelope: Some(digest),
        };
        let mut record = Record::new(Kind::StepCompleted, "o".repeat(255), [0; 16]);
        record.verdicts = vec![verdict; 2 * BINDINGS_MAX];
        record.approvals = vec![approval; 16];
        record.outcome = Some(Outcome {
            status: Status::Failed,
            code: long(CODE_BYTES_MAX),
            message: long(super::super::schema::MESSAGE_BYTES_MAX),
        });
        let signed = record::sign(&record, &SigningKey::from_seed([1; 32])).unwrap();
        // What else a record says - ids, digests, limits, times - has room as well.
        let spare = json::RECORD_BYTES_MAX - signed.envelope.payload.len();
        assert!(spare > 3 << 10, "{spare} bytes are left");
    }
}
