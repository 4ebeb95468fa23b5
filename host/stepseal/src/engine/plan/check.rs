//! A submission against what the host has: plugins resolved, inputs checked where they are known, policies asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{Capability, Stage, is_pure};

use super::refs::{Root, references};
use super::submission::{Draft, DraftStep, Faults, Pin, read};
use super::{
    INPUT_DEPTH_MAX, OnFailure, Plan, PlannedStep, Retry, Submission, Unresolved, resolve,
};
use crate::engine::components::Plugin;
use crate::engine::grants::wall_ms;
use crate::engine::payload::Sealed;
use crate::engine::policies::Rules;
use crate::engine::policy_input::{Judged, PolicyInput};
use crate::engine::schedules::check_labels;
use crate::engine::verdict::{Circumstances, Judgement, compose, denial};
use crate::engine::{Engine, EngineError};

/// How far ahead a step or a task can be put, in milliseconds: a year.
const NOT_BEFORE_MS_MAX: u64 = 366 * 86_400_000;

/// What a dry run says about a step.
#[derive(Clone, Debug)]
pub struct CheckedStep {
    /// The step's id in the plan.
    pub id: String,
    /// Name of the plugin.
    pub plugin: String,
    /// Version of the plugin.
    pub version: String,
    /// The step type.
    pub step_type: String,
    /// The pinned component.
    pub component: Digest,
    /// Whether its grants let it touch the world.
    pub effectful: bool,
    /// Ids of the steps it waits for.
    pub needs: Vec<String>,
    /// Whether its input is known before anything ran. Where it is not, `before-step` policies were not asked.
    pub input_known: bool,
    /// Milliseconds that one attempt may take: what the grant gives, or less where the plan says so.
    pub timeout_ms: u64,
    /// How often it is tried, and after what.
    pub retry: Retry,
    /// What becomes of the task where it fails for good, where the plan says it.
    pub on_failure: Option<OnFailure>,
    /// It does not begin before, whether its own rule says so or the plan's.
    pub not_before: Option<Timestamp>,
    /// What the policies say of this step.
    pub verdicts: Vec<VerdictView>,
    /// `allow`, `needs-approval`, `deny`, or `unknown` where the input is not known yet.
    pub verdict: &'static str,
}

/// One policy's verdict.
#[derive(Clone, Debug)]
pub struct VerdictView {
    /// Name of the policy.
    pub policy: String,
    /// Its component.
    pub component: Digest,
    /// `plan`, `before-step`, `after-step`.
    pub stage: &'static str,
    /// `enforce` or `monitor`.
    pub mode: &'static str,
    /// `not-applicable`, `allow`, `needs-approval`, `deny`.
    pub verdict: &'static str,
    /// For programs.
    pub code: Option<String>,
    /// For people.
    pub reason: Option<String>,
    /// Fuel it took.
    pub fuel: u64,
}

impl From<&Judgement> for VerdictView {
    fn from(judgement: &Judgement) -> Self {
        Self {
            policy: judgement.name.clone(),
            component: judgement.policy,
            stage: judgement.stage.as_str(),
            mode: judgement.mode.as_str(),
            verdict: judgement.verdict.as_str(),
            code: judgement.code.clone(),
            reason: judgement.reason.clone(),
            fuel: judgement.fuel,
        }
    }
}

/// What a dry run says.
#[derive(Clone, Debug)]
pub struct PlanCheck {
    /// Verdicts of stage `plan`.
    pub verdicts: Vec<VerdictView>,
    /// Milliseconds that the task may take, where the plan says it.
    pub timeout_ms: Option<u64>,
    /// The steps in plan order.
    pub steps: Vec<CheckedStep>,
    /// The worst of everything known: `deny`, else `needs-approval`, else `unknown`, else `allow`.
    pub verdict: &'static str,
}

/// A submission that may become a task.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) plan: Plan,
    pub(crate) input: Value,
    pub(crate) agent: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Inputs of the steps that need no other step, in plan order.
    known_inputs: Vec<Option<Value>>,
}

impl Engine {
    /// Resolves, pins and judges a submission and runs nothing.
    pub async fn check_plan(
        &self,
        tenant: &str,
        submission: Submission,
    ) -> Result<PlanCheck, EngineError> {
        check_labels(&submission)?;
        let rules = self.rules().await?;
        let pinned = self.pin(&submission, &rules).await?;
        let now = self.0.clock.now();
        let id = self.0.clock.id();
        let (plan_judgements, _) = self.judge_plan(&rules, &id, tenant, &pinned, now).await?;
        let mut steps = Vec::new();
        for (i, step) in pinned.plan.steps.iter().enumerate() {
            let mut judgements = plan_judgements.clone();
            let mut verdict = "unknown";
            if let Some(input) = &pinned.known_inputs[i] {
                let asked = PolicyInput {
                    task: &id,
                    tenant,
                    agent: pinned.agent.as_deref(),
                    labels: &pinned.labels,
                    input: None,
                    plan: &pinned.plan,
                    history: Vec::new(),
                    time: now,
                    judged: Some(Judged {
                        index: i,
                        attempt: 1,
                        effects: step.effects,
                        grants: &rules.grant(&step.plugin).value,
                        input,
                        output: None,
                    }),
                };
                let target = asked.target();
                let (said, _) = self
                    .judge(
                        &rules,
                        Stage::BeforeStep,
                        &target,
                        || asked.to_canonical(),
                        now,
                    )
                    .await?;
                judgements.extend(said);
                verdict = compose(
                    &judgements,
                    &Circumstances {
                        effectful: step.effects,
                        plan_asks: step.approval,
                        again: None,
                    },
                )
                .as_str();
            } else if denial(&judgements).is_some() {
                verdict = "deny";
            }
            steps.push(CheckedStep {
                id: step.id.clone(),
                plugin: step.plugin.clone(),
                version: step.version.clone(),
                step_type: step.step_type.clone(),
                component: step.component,
                effectful: step.effects,
                needs: step.needs.clone(),
                input_known: pinned.known_inputs[i].is_some(),
                retry: step.retry.clone(),
                on_failure: step.on_failure,
                not_before: step.not_before.max(pinned.plan.not_before),
                timeout_ms: wall_ms(&step.limits.below(rules.grant(&step.plugin).limits())),
                verdicts: judgements[plan_judgements.len()..]
                    .iter()
                    .map(VerdictView::from)
                    .collect(),
                verdict,
            });
        }
        let worst = ["deny", "needs-approval", "unknown"]
            .into_iter()
            .find(|worst| steps.iter().any(|step| step.verdict == *worst));
        Ok(PlanCheck {
            timeout_ms: pinned.plan.timeout_ms,
            verdicts: plan_judgements.iter().map(VerdictView::from).collect(),
            steps,
            verdict: worst.unwrap_or("allow"),
        })
    }

    /// What policies of stage `plan` say, and what they were shown.
    pub(crate) async fn judge_plan(
        &self,
        rules: &Rules,
        id: &str,
        tenant: &str,
        pinned: &Pinned,
        now: Timestamp,
    ) -> Result<(Vec<Judgement>, Option<Sealed>), EngineError> {
        let asked = PolicyInput {
            task: id,
            tenant,
            agent: pinned.agent.as_deref(),
            labels: &pinned.labels,
            input: None,
            plan: &pinned.plan,
            history: Vec::new(),
            time: now,
            judged: None,
        };
        let target = asked.target();
        self.judge(rules, Stage::Plan, &target, || asked.to_canonical(), now)
            .await
    }

    /// Checks everything that can be known before a task runs, and settles every name; or lists every fault.
    pub(crate) async fn pin(
        &self,
        submission: &Submission,
        rules: &Rules,
    ) -> Result<Pinned, EngineError> {
        let mut faults = Faults(Vec::new());
        let draft = read(submission, &mut faults);
        self.check_times(&draft, &mut faults);
        let mut steps = Vec::new();
        let mut known_inputs = Vec::new();
        for step in &draft.steps {
            let at = &step.at;
            if let Some(plugin) = self.resolve_plugin(step, at, &mut faults).await? {
                let planned = pin_step(step, &plugin, rules);
                check_timeout(step, &planned, rules, &mut faults);
                known_inputs.push(known_input(
                    step,
                    &planned,
                    &plugin,
                    &draft,
                    rules,
                    at,
                    &mut faults,
                ));
                steps.push(planned);
            }
        }
        if !faults.0.is_empty() {
            return Err(EngineError::Invalid(faults.0));
        }
        Ok(Pinned {
            plan: Plan {
                steps,
                timeout_ms: draft.timeout_ms,
                not_before: draft.not_before,
            },
            input: draft.input,
            agent: draft.agent,
            labels: draft.labels,
            known_inputs,
        })
    }

    /// What is too far ahead is refused: nobody remembers it, and it is more likely a mistake.
    fn check_times(&self, draft: &Draft, faults: &mut Faults) {
        let far = self.after(NOT_BEFORE_MS_MAX);
        let of_steps = draft.steps.iter().map(|step| (&*step.at, step.not_before));
        for (at, time) in of_steps.chain([("/plan", draft.not_before)]) {
            if time.is_some_and(|time| time > far) {
                faults.add(
                    format!("{at}/not_before"),
                    format!("this is more than a year ahead: give a time up to {far}, or submit it later"),
                );
            }
        }
    }

    async fn resolve_plugin(
        &self,
        step: &DraftStep,
        at: &str,
        faults: &mut Faults,
    ) -> Result<Option<Arc<Plugin>>, EngineError> {
        let uses = &step.target;
        let (plugin, asked) = match &uses.pin {
            Pin::Newest => (
                self.plugin_named(&uses.plugin, None).await?,
                uses.plugin.clone(),
            ),
            Pin::Version(version) => (
                self.plugin_named(&uses.plugin, Some(version)).await?,
                format!("{} in version {version}", uses.plugin),
            ),
            Pin::Digest(digest) => (
                self.plugin(digest)
                    .await?
                    .filter(|plugin| plugin.row.name == uses.plugin),
                format!("{} with digest {digest}", uses.plugin),
            ),
        };
        let Some(plugin) = plugin else {
            faults.add(format!("{at}/uses"), format!("this host has no plugin {asked}; upload it, or list what it has with GET /v1/components"));
            return Ok(None);
        };
        if !plugin.steps.contains_key(&uses.step_type) {
            let offered: Vec<&str> = plugin.steps.keys().map(String::as_str).collect();
            faults.add(
                format!("{at}/uses"),
                format!(
                    "plugin {asked} has no step type {:?}; it has {}",
                    uses.step_type,
                    offered.join(", ")
                ),
            );
            return Ok(None);
        }
        Ok(Some(plugin))
    }
}

fn pin_step(step: &DraftStep, plugin: &Plugin, rules: &Rules) -> PlannedStep {
    PlannedStep {
        id: step.id.clone(),
        uses: step.uses.clone(),
        plugin: plugin.row.name.clone(),
        version: plugin.row.version.clone(),
        step_type: step.target.step_type.clone(),
        component: plugin.row.digest,
        with: step.with.clone(),
        needs: step.needs.clone(),
        retry: step.retry.clone(),
        limits: step.limits,
        approval: step.approval,
        on_failure: step.on_failure,
        not_before: step.not_before,
        effects: effects(plugin, rules),
    }
}

/// What a step asks for by name must be within what is granted, so that nobody is surprised by an earlier end.
fn check_timeout(step: &DraftStep, planned: &PlannedStep, rules: &Rules, faults: &mut Faults) {
    let granted = wall_ms(&rules.grant(&planned.plugin).limits());
    if step.timeout_ms.is_some_and(|wanted| wanted > granted) {
        faults.add(
            format!("{}/timeout_ms", step.at),
            format!(
                "plugin {} is granted {granted} ms a call: ask for at most that, or have more granted",
                planned.plugin
            ),
        );
    }
}

/// Whether the grants in force let a plugin touch the world.
pub(crate) fn effects(plugin: &Plugin, rules: &Rules) -> bool {
    let granted = rules.grant(&plugin.row.name).document.capabilities();
    !is_pure(&plugin.row.imports, &granted)
}

/// Whether the grants in force let a plugin do what no commit undoes.
pub(crate) fn leaves_host(plugin: &Plugin, rules: &Rules) -> bool {
    !rules.grant(&plugin.row.name).http.is_empty() && asks_for_network(plugin)
}

/// Whether a plugin asks for the network at all.
pub(crate) fn asks_for_network(plugin: &Plugin) -> bool {
    let asks = |import: &String| Capability::Http.is_asked_by(import);
    plugin.row.imports.iter().any(asks)
}

/// The input of a step that needs no other, where it can be made and fits.
fn known_input(
    step: &DraftStep,
    planned: &PlannedStep,
    plugin: &Plugin,
    draft: &Draft,
    rules: &Rules,
    at: &str,
    faults: &mut Faults,
) -> Option<Value> {
    if dangling(step, &draft.input, at, faults) || !step.input_known {
        return None;
    }
    let limits = planned.limits.below(rules.grant(&planned.plugin).limits());
    match resolve(&step.with, &draft.input, &|_| None, limits.input_bytes) {
        Ok(input) => {
            let schema = &plugin.steps.get(&planned.step_type)?.input;
            for fault in schema.faults(&input, &format!("{at}/with")) {
                faults.add(fault.pointer, fault.message);
            }
            Some(input)
        }
        Err(Unresolved::Missing { pointer, reference }) => {
            faults.add(
                format!("{at}/with{pointer}"),
                format!("{reference} points at nothing in this task's input"),
            );
            None
        }
        Err(Unresolved::TooDeep) => {
            faults.add(
                format!("{at}/with"),
                format!("the input is nested deeper than {INPUT_DEPTH_MAX} levels"),
            );
            None
        }
        Err(Unresolved::TooLarge) => {
            faults.add(
                format!("{at}/with"),
                format!(
                    "the input is larger than the {} bytes this step may take",
                    limits.input_bytes
                ),
            );
            None
        }
    }
}

/// Lists every `$ref` that points at nothing in the task's input; true where there is one, or one that cannot be read at all.
fn dangling(step: &DraftStep, input: &Value, at: &str, faults: &mut Faults) -> bool {
    let mut any = false;
    for (pointer, reference) in references(&step.with, &format!("{at}/with")) {
        match reference {
            Ok(reference) if reference.root != Root::Input => {}
            Ok(reference) if input.pointer(&reference.pointer).is_some() => {}
            Ok(reference) => {
                any = true;
                let message = format!(
                    "#/input{} points at nothing in this task's input",
                    reference.pointer
                );
                faults.add(pointer, message);
            }
            // Listed already, when the submission was read.
            Err(_) => any = true,
        }
    }
    any
}
