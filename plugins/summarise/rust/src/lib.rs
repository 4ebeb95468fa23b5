//! Summarises a JSON document: the plugin that is also there in JavaScript, Python, C and Go (see `plugins/summarise`).

use std::borrow::Cow;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_plugin::schemars::{Schema, SchemaGenerator};
use stepseal_plugin::{Call, Failure, JsonSchema, plugin};

/// What is to be summarised.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    document: Value,
}

/// What there is to say about it.
#[derive(Default, Serialize)]
pub struct Summary {
    types: Types,
    depth: usize,
    keys: usize,
    longest_string: usize,
}

/// How many values of each type there are.
#[derive(Default, Serialize)]
struct Types {
    null: u64,
    boolean: u64,
    number: u64,
    string: u64,
    array: u64,
    object: u64,
}

/// The schemas are those of all languages. A plugin that is only in Rust derives its own.
macro_rules! schema {
    ($type:ty, $file:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                serde_json::from_str(include_str!($file)).expect("the file holds a JSON Schema")
            }
        }
    };
}
schema!(Input, "../../input.schema.json");
schema!(Summary, "../../output.schema.json");

#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "the shape `plugin!` takes"
)]
fn summarise(_: &Call, input: Input) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let mut names = HashSet::new();
    summary.depth = look(&input.document, &mut summary, &mut names);
    summary.keys = names.len();
    Ok(summary)
}

/// Counts a value and what is in it, and returns how deep it is.
fn look<'a>(value: &'a Value, summary: &mut Summary, names: &mut HashSet<&'a str>) -> usize {
    match value {
        Value::Null => summary.types.null += 1,
        Value::Bool(_) => summary.types.boolean += 1,
        Value::Number(_) => summary.types.number += 1,
        Value::String(text) => {
            summary.types.string += 1;
            summary.longest_string = summary.longest_string.max(text.chars().count());
        }
        Value::Array(items) => {
            summary.types.array += 1;
            let depths = items.iter().map(|item| look(item, summary, names));
            return 1 + depths.max().unwrap_or(0);
        }
        Value::Object(members) => {
            summary.types.object += 1;
            names.extend(members.keys().map(String::as_str));
            let depths = members.values().map(|value| look(value, summary, names));
            return 1 + depths.max().unwrap_or(0);
        }
    }
    1
}

plugin! {
    /// Summarises a JSON document.
    name: "summarise-rust",
    steps: {
        /// Counts values by type and member names, and finds the depth and the longest string.
        "summarise" => summarise,
    }
}
