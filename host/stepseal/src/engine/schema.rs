//! JSON Schemas that plugins and policies bring, and values checked against them.
//!
//! A schema is a stranger's program: references outside it are never fetched, patterns run on an engine without backtracking.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::Fault;

/// Faults listed for one value; the rest would not teach more.
const FAULTS_MAX: usize = 16;
/// Compiled size of one pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled JSON Schema (2020-12).
#[derive(Debug)]
pub(crate) struct Schema(Validator);

impl Schema {
    /// Compiles a schema, or says what is wrong with it.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(
                PatternOptions::regex()
                    .size_limit(PATTERN_BYTES_MAX)
                    .dfa_size_limit(PATTERN_BYTES_MAX),
            )
            .build(schema)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// What does not fit, each with its place below `pointer`.
    pub(crate) fn faults(&self, value: &Value, pointer: &str) -> Vec<Fault> {
        self.0
            .iter_errors(value)
            .take(FAULTS_MAX)
            .map(|error| Fault {
                pointer: format!("{pointer}{}", error.instance_path()),
                message: text(&error.to_string(), MESSAGE_BYTES_MAX),
            })
            .collect()
    }

    /// The first thing that does not fit, as one sentence.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        match self.faults(value, "").into_iter().next() {
            None => Ok(()),
            Some(fault) if fault.pointer.is_empty() => Err(fault.message),
            Some(fault) => Err(format!("at {}: {}", fault.pointer, fault.message)),
        }
    }
}

/// The longest message that goes into a record or an answer, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

/// A stranger's text made fit for a record: cut at `bytes_max` on a character's edge, control characters replaced,
/// so that what is signed has a bounded size and cannot play tricks on a terminal. What JSON escapes counts as escaped.
pub(crate) fn text(from: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(from.len().min(bytes_max));
    let mut bytes = 0;
    for c in from.chars() {
        let c = if c.is_control() { ' ' } else { c };
        bytes += c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        if bytes > bytes_max {
            break;
        }
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_names_its_place() {
        let schema =
            Schema::compile(&json!({"type":"object","properties":{"a":{"type":"integer"}}}))
                .unwrap();
        let faults = schema.faults(&json!({"a":"x"}), "/plan/steps/0/with");
        assert_eq!(faults[0].pointer, "/plan/steps/0/with/a");
        assert!(schema.check(&json!({"a": 1})).is_ok());
    }

    #[test]
    fn a_reference_outside_the_schema_is_refused() {
        assert!(Schema::compile(&json!({"$ref":"http://127.0.0.1:1/schema.json"})).is_err());
        assert!(Schema::compile(&json!({"$ref":"file:///etc/passwd"})).is_err());
    }

    #[test]
    fn a_pattern_that_would_backtrack_for_ever_answers() {
        let schema = Schema::compile(&json!({"type":"string","pattern":"^(a+)+$"})).unwrap();
        let text = "a".repeat(50_000) + "!";
        assert!(schema.check(&json!(text)).is_err());
    }

    #[test]
    fn text_is_cut_between_characters_and_keeps_no_controls() {
        assert_eq!(text("a\u{1b}[2Jé", 6), "a [2J");
        assert_eq!(text("éé", 3), "é");
        assert_eq!(text("\"\"", 3), "\"");
    }
}
