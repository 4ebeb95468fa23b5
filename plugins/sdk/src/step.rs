//! Step handlers: what [`plugin!`](crate::plugin) is made of.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::step::exports::stepseal::plugin::step as contract;
use crate::schema;

/// One attempt of one step, without its input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// The task the step belongs to.
    pub task_id: String,
    /// The step's id in the plan.
    pub step_id: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The step type.
    pub step_type: String,
    /// The same on every attempt of a step and different for every other step: hand it on to make an effect happen
    /// once.
    pub idempotency_key: String,
}

/// Why a step gave no output. The text goes into the signed record; the host cuts it at 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The input is at fault: never retried.
    InvalidInput(String),
    /// The step is at fault: never retried.
    Failed(String),
    /// Something else is at fault just now: tried again under the step's retry policy.
    Unavailable(String),
}

impl Failure {
    /// The input is at fault: never retried.
    pub fn invalid_input(message: impl Into<String>) -> Failure {
        Failure::InvalidInput(message.into())
    }

    /// The step is at fault: never retried.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::Failed(message.into())
    }

    /// Something else is at fault just now: tried again under the step's retry policy.
    pub fn unavailable(message: impl Into<String>) -> Failure {
        Failure::Unavailable(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::InvalidInput(message) => write!(f, "invalid input: {message}"),
            Failure::Failed(message) => write!(f, "failed: {message}"),
            Failure::Unavailable(message) => write!(f, "unavailable: {message}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for contract::Failure {
    fn from(failure: Failure) -> contract::Failure {
        match failure {
            Failure::InvalidInput(message) => contract::Failure::InvalidInput(message),
            Failure::Failed(message) => contract::Failure::Failed(message),
            Failure::Unavailable(message) => contract::Failure::Unavailable(message),
        }
    }
}

/// What [`plugin!`](crate::plugin) defines.
pub struct Plugin {
    /// What plans and grants call it.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What it can do.
    pub steps: &'static [StepType],
}

/// One kind of step, made by [`plugin!`](crate::plugin) from a handler.
pub struct StepType {
    /// What plans call it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// JSON Schema of the input.
    pub input_schema: fn() -> String,
    /// JSON Schema of the output.
    pub output_schema: fn() -> String,
    /// Decodes, calls the handler, encodes.
    pub run: fn(&Call, &str) -> Result<String, Failure>,
}

impl Plugin {
    /// Runs a step on JSON text, as the host would.
    pub fn run(&self, call: &Call, input: &str) -> Result<String, Failure> {
        let step = self.steps.iter().find(|step| step.name == call.step_type);
        let step = step.ok_or_else(|| {
            let known: Vec<_> = self.steps.iter().map(|step| step.name).collect();
            Failure::InvalidInput(format!(
                "there is no step type `{}` in `{}`; it has {}",
                call.step_type,
                self.name,
                known.join(", ")
            ))
        })?;
        (step.run)(call, input)
    }

    /// What the plugin says of itself.
    pub fn describe(&self) -> contract::Descriptor {
        contract::Descriptor {
            name: self.name.into(),
            version: self.version.into(),
            summary: self.summary.trim().into(),
            steps: self
                .steps
                .iter()
                .map(|step| contract::StepType {
                    name: step.name.into(),
                    summary: step.summary.trim().into(),
                    input_schema: (step.input_schema)(),
                    output_schema: (step.output_schema)(),
                })
                .collect(),
        }
    }

    /// What the component's `run` does.
    #[doc(hidden)]
    pub fn invoke(&self, call: contract::Invocation) -> Result<String, contract::Failure> {
        #[cfg(feature = "panic-log")]
        crate::panic::log_panics();
        let contract::Invocation {
            task_id,
            step_id,
            attempt,
            step_type,
            input,
            idempotency_key,
        } = call;
        let call = Call {
            task_id,
            step_id,
            attempt,
            step_type,
            idempotency_key,
        };
        self.run(&call, &input).map_err(contract::Failure::from)
    }
}

/// The JSON Schema of a handler's input.
#[doc(hidden)]
pub fn input_schema<I: JsonSchema, O>(_: fn(&Call, I) -> Result<O, Failure>) -> String {
    schema::of_input::<I>()
}

/// The JSON Schema of a handler's output.
#[doc(hidden)]
pub fn output_schema<I, O: JsonSchema>(_: fn(&Call, I) -> Result<O, Failure>) -> String {
    schema::of_output::<O>()
}

/// Decodes, calls the handler, encodes.
#[doc(hidden)]
pub fn run<I: DeserializeOwned, O: Serialize>(
    handler: fn(&Call, I) -> Result<O, Failure>,
    call: &Call,
    input: &str,
) -> Result<String, Failure> {
    let input =
        decode(input).map_err(|fault| Failure::InvalidInput(format!("the input{fault}")))?;
    let output = handler(call, input)?;
    serde_json::to_string(&output)
        .map_err(|fault| Failure::Failed(format!("the output cannot be written as JSON: {fault}")))
}

/// Decodes JSON text; the error starts with the place, such as ` at amount: ...`.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|fault| {
        let path = fault.path().to_string();
        let place = if path == "." {
            String::new()
        } else {
            format!(" at {path}")
        };
        format!("{place}: {}", fault.inner())
    })?;
    reader.end().map_err(|fault| format!(": {fault}"))?;
    Ok(value)
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "`plugin!` is meant for the root of a crate")]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Add {
        /// The first.
        a: i32,
        b: i32,
    }

    #[derive(Serialize, JsonSchema)]
    struct Sum {
        sum: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    #[expect(clippy::needless_pass_by_value, reason = "the shape `plugin!` takes")]
    fn add(call: &Call, input: Add) -> Result<Sum, Failure> {
        let sum = input
            .a
            .checked_add(input.b)
            .ok_or_else(|| Failure::failed("the sum is too large"))?;
        Ok(Sum {
            sum,
            note: (call.attempt > 1).then(|| "again".into()),
        })
    }

    crate::plugin! {
        /// Sums,
        /// of two numbers.
        name: "sums",
        steps: {
            /// Adds two numbers.
            "add" => add,
        }
    }

    fn call(step_type: &str) -> Call {
        Call {
            step_type: step_type.into(),
            attempt: 1,
            ..Call::default()
        }
    }

    #[test]
    fn a_handler_gets_its_input_and_call_and_gives_json() {
        let output = PLUGIN.run(&call("add"), r#"{"a":2,"b":3}"#);
        assert_eq!(output.as_deref(), Ok(r#"{"sum":5}"#));
        let again = PLUGIN.run(
            &Call {
                attempt: 2,
                ..call("add")
            },
            r#"{"a":2,"b":3}"#,
        );
        assert_eq!(again.as_deref(), Ok(r#"{"sum":5,"note":"again"}"#));
    }

    #[test]
    fn a_wrong_input_is_told_with_its_place() {
        let Err(Failure::InvalidInput(message)) = PLUGIN.run(&call("add"), r#"{"a":2,"b":"x"}"#)
        else {
            panic!("a text is no number")
        };
        assert!(
            message.starts_with("the input at b: invalid type: string"),
            "{message}"
        );
        for bad in [
            "",
            "{",
            r#"{"a":1}"#,
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"a":1,"b":2} x"#,
            r#"{"a":1,"b":2,"b":2}"#,
        ] {
            assert!(
                matches!(PLUGIN.run(&call("add"), bad), Err(Failure::InvalidInput(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_handlers_failure_is_passed_on() {
        let output = PLUGIN.run(&call("add"), &json!({"a": i32::MAX, "b": 1}).to_string());
        assert_eq!(output, Err(Failure::failed("the sum is too large")));
    }

    #[test]
    fn an_unknown_step_type_is_told_what_there_is() {
        let Err(Failure::InvalidInput(message)) = PLUGIN.run(&call("subtract"), "{}") else {
            panic!("there is no such step type")
        };
        assert_eq!(
            message,
            "there is no step type `subtract` in `sums`; it has add"
        );
    }

    #[test]
    fn the_description_carries_summaries_version_and_schemas() {
        let descriptor = PLUGIN.describe();
        assert_eq!(descriptor.name, "sums");
        assert_eq!(descriptor.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(descriptor.summary, "Sums, of two numbers.");
        assert_eq!(descriptor.steps[0].summary, "Adds two numbers.");
        let input: Value = serde_json::from_str(&descriptor.steps[0].input_schema).unwrap();
        assert_eq!(
            input["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(input["required"], json!(["a", "b"]));
        assert_eq!(input["additionalProperties"], json!(false));
        assert_eq!(input["properties"]["a"]["description"], "The first.");
        let output: Value = serde_json::from_str(&descriptor.steps[0].output_schema).unwrap();
        assert_eq!(output["required"], json!(["sum"]));
    }

    #[test]
    fn schemas_accept_what_handlers_give_and_take() {
        let descriptor = PLUGIN.describe();
        let schema =
            |text: &str| jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap();
        let input = schema(&descriptor.steps[0].input_schema);
        assert!(input.is_valid(&json!({"a": 1, "b": 2})));
        assert!(!input.is_valid(&json!({"a": 1, "b": 2, "c": 3})));
        let output = PLUGIN.run(&call("add"), r#"{"a":2,"b":3}"#).unwrap();
        assert!(
            schema(&descriptor.steps[0].output_schema)
                .is_valid(&serde_json::from_str(&output).unwrap())
        );
    }
}
