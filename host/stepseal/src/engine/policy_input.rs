//! What a policy is told: `wit/policy-input.schema.json`, member by member.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::time::Timestamp;

use super::plan::{Plan, PlannedStep};
use super::policies::Target;

/// Everything a policy may know about what it judges.
pub(crate) struct PolicyInput<'a> {
    pub(crate) task: &'a str,
    pub(crate) tenant: &'a str,
    pub(crate) agent: Option<&'a str>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Digest of the task's input, once it is stored.
    pub(crate) input: Option<Digest>,
    pub(crate) plan: &'a Plan,
    /// Other steps that have left `pending`: id, `plugin/step-type`, state.
    pub(crate) history: Vec<(&'a str, String, &'static str)>,
    pub(crate) time: Timestamp,
    /// The step; absent at stage `plan`.
    pub(crate) judged: Option<Judged<'a>>,
}

/// The step that is judged.
pub(crate) struct Judged<'a> {
    pub(crate) index: usize,
    pub(crate) attempt: u32,
    pub(crate) effects: bool,
    pub(crate) grants: &'a Value,
    pub(crate) input: &'a Value,
    /// Only at stage `after-step`.
    pub(crate) output: Option<&'a Value>,
}

impl<'a> PolicyInput<'a> {
    /// What scopes are compared with: the judged step, or the whole plan.
    pub(crate) fn target(&self) -> Target<'a> {
        let steps = match &self.judged {
            Some(judged) => std::slice::from_ref(&self.plan.steps[judged.index]),
            None => &self.plan.steps[..],
        };
        Target {
            tenant: self.tenant,
            agent: self.agent,
            labels: self.labels,
            steps: steps
                .iter()
                .map(|step| (step.plugin.as_str(), step.step_type.as_str()))
                .collect(),
        }
    }

    /// As it is shown: canonical JSON.
    pub(crate) fn to_canonical(&self) -> Vec<u8> {
        let steps = &self.plan.steps;
        let judged = self.judged.as_ref();
        let step = judged.map(|judged| &steps[judged.index]);
        let shown = Shown {
            grants: judged.map(|judged| judged.grants),
            history: self.history.iter().map(ShownEvent::from).collect(),
            input: judged.map(|judged| judged.input),
            output: judged.and_then(|judged| judged.output),
            plan: ShownPlan {
                steps: steps.iter().map(ShownPlannedStep::from).collect(),
            },
            plugin: step.map(|step| ShownPlugin {
                digest: step.component,
                name: &step.plugin,
                version: &step.version,
            }),
            step: judged.zip(step).map(|(judged, step)| ShownStep {
                approval: step.approval.then_some("required"),
                attempt: judged.attempt,
                effects: judged.effects,
                id: &step.id,
                index: judged.index,
                step_type: &step.step_type,
            }),
            subject: ShownSubject {
                agent: self.agent,
                tenant: self.tenant,
            },
            task: ShownTask {
                id: self.task,
                input_digest: self.input,
                labels: self.labels,
            },
            time: self.time,
        };
        json::canonical_of(&shown).expect("what is shown is JSON")
    }
}

// Members stand in the order of their names, in which they are written.

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<&'a Value>,
    history: Vec<ShownEvent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    plan: ShownPlan<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<ShownPlugin<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<ShownStep<'a>>,
    subject: ShownSubject<'a>,
    task: ShownTask<'a>,
    time: Timestamp,
}

#[derive(Serialize)]
struct ShownEvent<'a> {
    state: &'a str,
    step: &'a str,
    #[serde(rename = "type")]
    uses: &'a str,
}

impl<'a> From<&'a (&'a str, String, &'static str)> for ShownEvent<'a> {
    fn from((step, uses, state): &'a (&'a str, String, &'static str)) -> Self {
        Self { state, step, uses }
    }
}

#[derive(Serialize)]
struct ShownPlan<'a> {
    steps: Vec<ShownPlannedStep<'a>>,
}

#[derive(Serialize)]
struct ShownPlannedStep<'a> {
    component: Digest,
    effects: bool,
    id: &'a str,
    needs: &'a [String],
    plugin: &'a str,
    step_type: &'a str,
    uses: &'a str,
    version: &'a str,
}

impl<'a> From<&'a PlannedStep> for ShownPlannedStep<'a> {
    fn from(step: &'a PlannedStep) -> Self {
        Self {
            component: step.component,
            effects: step.effects,
            id: &step.id,
            needs: &step.needs,
            plugin: &step.plugin,
            step_type: &step.step_type,
            uses: &step.uses,
            version: &step.version,
        }
    }
}

#[derive(Serialize)]
struct ShownPlugin<'a> {
    digest: Digest,
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct ShownStep<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'static str>,
    attempt: u32,
    effects: bool,
    id: &'a str,
    index: usize,
    #[serde(rename = "type")]
    step_type: &'a str,
}

#[derive(Serialize)]
struct ShownSubject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    tenant: &'a str,
}

#[derive(Serialize)]
struct ShownTask<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_digest: Option<Digest>,
    labels: &'a BTreeMap<String, String>,
}
