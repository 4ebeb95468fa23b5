//! Policies: what [`policy!`](crate::policy!) is made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::bindings::policy::exports::stepseal::plugin::policy as contract;
use crate::{schema, step::decode};

/// When the host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Once, when a task is submitted: [`Input::plan`] is the whole plan and there is no step.
    Plan,
    /// Before every attempt of a step, with its real input.
    BeforeStep,
    /// After a step ran and before its output is used or its writes are kept.
    AfterStep,
}

/// What a policy judges: `wit/policy-input.schema.json`. Members that this version does not know are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Input {
    /// Who asked for the task.
    pub subject: Subject,
    /// The task.
    pub task: Task,
    /// The pinned plan.
    pub plan: Plan,
    /// The step that is judged. Absent at stage `plan`.
    pub step: Option<Step>,
    /// The exact component of the step. Absent at stage `plan`.
    pub plugin: Option<Component>,
    /// The grants in force for the plugin. Absent at stage `plan`.
    pub grants: Option<Map<String, Value>>,
    /// The step's real input. Absent at stage `plan`.
    #[serde(default, deserialize_with = "present")]
    pub input: Option<Value>,
    /// The step's output. Only at stage `after-step`.
    #[serde(default, deserialize_with = "present")]
    pub output: Option<Value>,
    /// The other steps of the task that have begun, in the order of the plan.
    pub history: Vec<Event>,
    /// The host's clock, RFC 3339.
    pub time: String,
}

/// Who asked for a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Subject {
    /// Whose token the task came with: the name of a tenant, or `operator` for the host's own.
    pub tenant: Option<String>,
    /// The agent's name as the client gave it: a claim, not proof.
    pub agent: Option<String>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Task {
    /// The task's id.
    pub id: String,
    /// As submitted.
    pub labels: BTreeMap<String, String>,
    /// `sha256:...` of the task's own input, if it has one.
    pub input_digest: Option<String>,
}

/// A pinned plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Plan {
    /// In the order of the plan.
    pub steps: Vec<PlannedStep>,
}

/// A step as planned.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PlannedStep {
    /// The step's id.
    pub id: String,
    /// As the plan wrote it.
    pub uses: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: Option<String>,
    /// The step type.
    pub step_type: String,
    /// `sha256:...` of the component it was pinned to.
    pub component: String,
    /// Ids of the steps it waits for.
    #[serde(default)]
    pub needs: Vec<String>,
    /// False if nothing it imports and is granted can touch the world.
    pub effects: bool,
}

/// The step that is judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// The step's id in the plan.
    pub id: String,
    /// Its place in the plan, from 0.
    pub index: u64,
    /// The step type.
    #[serde(rename = "type")]
    pub step_type: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// False if nothing it imports and is granted can touch the world.
    pub effects: bool,
    /// `required` where the plan itself asks for an approval.
    pub approval: Option<String>,
}

/// The exact component of a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Component {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:...` of its bytes.
    pub digest: String,
}

/// How far another step of the task is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The step's id in the plan.
    pub step: String,
    /// `plugin-name/step-type-name`.
    #[serde(rename = "type")]
    pub step_type: String,
    /// Its state, such as `succeeded`.
    pub state: String,
}

/// JSON `null` is a value here, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// What was found, and which rule speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For programs: `[a-z][a-z0-9-]*`, at most 64 characters.
    pub code: String,
    /// For people; the host cuts it at 1024 bytes.
    pub message: String,
}

/// What a person must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Why.
    pub reason: Reason,
    /// The role an approver must hold; `None` means any approver.
    pub role: Option<String>,
    /// How many different approvers are needed, 1 to 16.
    pub approvers: u32,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing about this.
    NotApplicable,
    /// It may run, as far as this policy is concerned.
    Allow,
    /// It may run once people approved it. After a step ran this is a `deny`.
    NeedsApproval(Approval),
    /// It may not run.
    Deny(Reason),
}

impl Verdict {
    /// Denies.
    pub fn deny(code: &str, message: impl Into<String>) -> Verdict {
        Verdict::Deny(Reason {
            code: code.into(),
            message: message.into(),
        })
    }

    /// Asks for the approval of one person.
    pub fn needs_approval(code: &str, message: impl Into<String>) -> Verdict {
        let reason = Reason {
            code: code.into(),
            message: message.into(),
        };
        Verdict::NeedsApproval(Approval {
            reason,
            role: None,
            approvers: 1,
        })
    }

    /// Asks for an approver who holds this role. Only changes [`Verdict::NeedsApproval`].
    #[must_use]
    pub fn by_role(mut self, role: Option<String>) -> Verdict {
        if let Verdict::NeedsApproval(approval) = &mut self {
            approval.role = role;
        }
        self
    }

    /// Asks for this many different approvers, 1 to 16. Only changes [`Verdict::NeedsApproval`].
    #[must_use]
    pub fn by_approvers(mut self, approvers: u32) -> Verdict {
        if let Verdict::NeedsApproval(approval) = &mut self {
            approval.approvers = approvers;
        }
        self
    }
}

/// What [`policy!`](crate::policy!) defines.
pub struct Policy {
    /// What operators call it.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// When it wants to be asked.
    pub stages: &'static [Stage],
    /// JSON Schema of the settings.
    pub settings_schema: fn() -> String,
    /// Decodes and judges.
    pub judge: fn(Stage, &str, &str) -> Result<Verdict, String>,
}

impl Policy {
    /// Judges JSON text, as the host would ask. An error is a `deny` to the host.
    pub fn judge(&self, stage: Stage, settings: &str, input: &str) -> Result<Verdict, String> {
        (self.judge)(stage, settings, input)
    }

    /// What the policy says of itself.
    pub fn describe(&self) -> contract::Descriptor {
        #[cfg(feature = "panic-log")]
        crate::panic::print_panics();
        contract::Descriptor {
            name: self.name.into(),
            version: self.version.into(),
            summary: self.summary.trim().into(),
            settings_schema: (self.settings_schema)(),
            stages: self
                .stages
                .iter()
                .map(|stage| match stage {
                    Stage::Plan => contract::Stage::Plan,
                    Stage::BeforeStep => contract::Stage::BeforeStep,
                    Stage::AfterStep => contract::Stage::AfterStep,
                })
                .collect(),
        }
    }

    /// What the component's `evaluate` does.
    #[doc(hidden)]
    pub fn evaluate(
        &self,
        stage: contract::Stage,
        settings: &str,
        input: &str,
    ) -> Result<contract::Verdict, String> {
        #[cfg(feature = "panic-log")]
        crate::panic::print_panics();
        let stage = match stage {
            contract::Stage::Plan => Stage::Plan,
            contract::Stage::BeforeStep => Stage::BeforeStep,
            contract::Stage::AfterStep => Stage::AfterStep,
        };
        let reason = |Reason { code, message }| contract::Reason { code, message };
        Ok(match self.judge(stage, settings, input)? {
            Verdict::NotApplicable => contract::Verdict::NotApplicable,
            Verdict::Allow => contract::Verdict::Allow,
            Verdict::NeedsApproval(Approval {
                reason: why,
                role,
                approvers,
            }) => contract::Verdict::NeedsApproval(contract::Approval {
                reason: reason(why),
                role,
                approvers,
            }),
            Verdict::Deny(why) => contract::Verdict::Deny(reason(why)),
        })
    }
}

/// The function a policy is: `judge` of [`policy!`](crate::policy!).
pub type Judge<S> = fn(Stage, &S, &Input) -> Result<Verdict, String>;

/// The JSON Schema of a policy's settings.
#[doc(hidden)]
pub fn settings_schema<S: JsonSchema>(_: Judge<S>) -> String {
    schema::of_input::<S>()
}

/// Decodes and judges.
#[doc(hidden)]
pub fn judge<S: DeserializeOwned>(
    judge: Judge<S>,
    stage: Stage,
    settings: &str,
    input: &str,
) -> Result<Verdict, String> {
    let settings = decode(settings).map_err(|fault| format!("the settings{fault}"))?;
    let input = decode(input).map_err(|fault| format!("the policy input{fault}"))?;
    judge(stage, &settings, &input)
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "`policy!` is meant for the root of a crate")]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        agent: String,
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape `policy!` takes")]
    fn only_agent(stage: Stage, settings: &Settings, input: &Input) -> Result<Verdict, String> {
        Ok(match &input.subject.agent {
            _ if stage == Stage::Plan => Verdict::NotApplicable,
            Some(agent) if *agent == settings.agent => Verdict::Allow,
            Some(agent) => Verdict::deny("other-agent", format!("{agent} may not.")),
            None => Verdict::needs_approval("no-agent", "Who asks?")
                .by_role(Some("owner".into()))
                .by_approvers(2),
        })
    }

    crate::policy! {
        /// One agent only.
        name: "only-agent",
        stages: [Plan, BeforeStep],
        judge: only_agent,
    }

    /// The example of every member of the policy input.
    fn full() -> Value {
        let digest = format!("sha256:{}", "0a".repeat(32));
        json!({
            "subject": {"agent": "treasury-bot"},
            "task": {"id": "t1", "labels": {"env": "prod"}, "input_digest": digest},
            "plan": {"steps": [{"id": "pay", "uses": "ledger@0.1.0/transfer", "plugin": "ledger", "version": "0.1.0",
                "step_type": "transfer", "component": digest, "needs": ["look"], "effects": true}]},
            "step": {"id": "pay", "index": 0, "type": "transfer", "attempt": 1, "effects": true, "approval": "required"},
            "plugin": {"name": "ledger", "version": "0.1.0", "digest": digest},
            "grants": {"keyvalue": ["ledger"]},
            "input": null,
            "output": {"x": [1]},
            "history": [{"step": "look", "type": "ledger/balance", "state": "succeeded"}],
            "time": "2026-01-02T03:04:05.678Z"
        })
    }

    /// As at stage `plan`, with nothing that may be absent.
    fn least() -> Value {
        json!({"subject": {}, "task": {"id": "t1", "labels": {}}, "plan": {"steps": []}, "history": [],
            "time": "2026-01-02T03:04:05.678Z"})
    }

    fn schema() -> jsonschema::Validator {
        let schema = include_str!("../../../wit/policy-input.schema.json");
        jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
    }

    fn asked(agent: &Value) -> Result<Verdict, String> {
        let mut input = full();
        input["subject"] = agent.clone();
        POLICY.judge(Stage::BeforeStep, r#"{"agent":"a"}"#, &input.to_string())
    }

    #[test]
    fn the_types_and_the_schema_take_the_same_inputs() {
        for input in [full(), least()] {
            schema().validate(&input).unwrap();
            let decoded: Input = decode(&input.to_string()).unwrap();
            assert_eq!(decoded.step.is_some(), input.get("step").is_some());
            assert_eq!(
                decoded.input,
                input.get("input").cloned(),
                "null is an input, absence is none"
            );
        }
    }

    #[test]
    fn the_types_need_what_the_schema_requires() {
        for member in ["subject", "task", "plan", "history", "time"] {
            let mut input = full();
            input.as_object_mut().unwrap().remove(member);
            assert!(!schema().is_valid(&input), "{member}");
            assert!(decode::<Input>(&input.to_string()).is_err(), "{member}");
        }
        for (object, members) in [
            ("/task", vec!["id", "labels"]),
            ("/step", vec!["id", "index", "type", "attempt", "effects"]),
            ("/plugin", vec!["name", "version", "digest"]),
            (
                "/plan/steps/0",
                vec!["id", "uses", "plugin", "step_type", "component", "effects"],
            ),
            ("/history/0", vec!["step", "type", "state"]),
        ] {
            for member in members {
                let mut input = full();
                input
                    .pointer_mut(object)
                    .unwrap()
                    .as_object_mut()
                    .unwrap()
                    .remove(member);
                assert!(!schema().is_valid(&input), "{object}/{member}");
                assert!(
                    decode::<Input>(&input.to_string()).is_err(),
                    "{object}/{member}"
                );
            }
        }
    }

    #[test]
    fn a_verdict_is_what_the_function_says() {
        assert_eq!(asked(&json!({"agent": "a"})), Ok(Verdict::Allow));
        assert_eq!(
            asked(&json!({"agent": "b"})),
            Ok(Verdict::deny("other-agent", "b may not."))
        );
        let Ok(Verdict::NeedsApproval(approval)) = asked(&json!({})) else {
            panic!("it asks")
        };
        assert_eq!(
            (approval.role.as_deref(), approval.approvers),
            (Some("owner"), 2)
        );
    }

    #[test]
    fn settings_or_inputs_that_cannot_be_read_are_errors_with_their_place() {
        let input = least().to_string();
        let error = POLICY
            .judge(Stage::Plan, r#"{"agent":1}"#, &input)
            .unwrap_err();
        assert!(
            error.starts_with("the settings at agent: invalid type"),
            "{error}"
        );
        let error = POLICY
            .judge(
                Stage::Plan,
                r#"{"agent":"a"}"#,
                r#"{"subject":{"agent":1}}"#,
            )
            .unwrap_err();
        assert!(
            error.starts_with("the policy input at subject.agent: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn the_description_names_the_stages_and_the_settings() {
        let descriptor = POLICY.describe();
        assert_eq!(
            descriptor.stages,
            [contract::Stage::Plan, contract::Stage::BeforeStep]
        );
        let schema: Value = serde_json::from_str(&descriptor.settings_schema).unwrap();
        assert_eq!(schema["required"], json!(["agent"]));
    }
}
