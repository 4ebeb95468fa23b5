//! What a policy is told: `wit/policy-input.schema.json`, member by member.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use super::plan::Plan;
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

    pub(crate) fn to_value(&self) -> Value {
        let mut task = json!({"id": self.task, "labels": self.labels});
        if let Some(digest) = self.input {
            task["input_digest"] = json!(digest);
        }
        let mut subject = json!({"tenant": self.tenant});
        if let Some(agent) = self.agent {
            subject["agent"] = json!(agent);
        }
        let steps: Vec<Value> = self
            .plan
            .pinned()
            .map(|step| {
                json!({"id": step.id, "uses": step.uses, "plugin": step.plugin, "version": step.version,
                    "step_type": step.step_type, "component": step.component, "needs": step.needs, "effects": step.effects})
            })
            .collect();
        let history: Vec<Value> = self
            .history
            .iter()
            .map(|(step, uses, state)| json!({"step": step, "type": uses, "state": state}))
            .collect();
        let mut value = Map::new();
        value.insert("subject".to_owned(), subject);
        value.insert("task".to_owned(), task);
        value.insert("plan".to_owned(), json!({"steps": steps}));
        value.insert("history".to_owned(), Value::Array(history));
        value.insert("time".to_owned(), json!(self.time));
        if let Some(judged) = &self.judged {
            let step = &self.plan.steps[judged.index];
            let mut said = json!({"id": step.id, "index": self.plan.place(judged.index), "type": step.step_type,
                "attempt": judged.attempt, "effects": judged.effects});
            if let Some(item) = step.item {
                said["item"] = json!(item.number);
            }
            if step.approval {
                said["approval"] = json!("required");
            }
            value.insert("step".to_owned(), said);
            value.insert(
                "plugin".to_owned(),
                json!({"name": step.plugin, "version": step.version, "digest": step.component}),
            );
            value.insert("grants".to_owned(), judged.grants.clone());
            value.insert("input".to_owned(), judged.input.clone());
            if let Some(output) = judged.output {
                value.insert("output".to_owned(), output.clone());
            }
        }
        Value::Object(value)
    }
}
