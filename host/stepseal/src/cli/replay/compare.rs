//! What comparing came to, and where the first difference is.

use std::fmt;

use serde_json::{Value, json};
use stepseal_receipts::record::Runtime;
use stepseal_sandbox::RuntimeInfo;

/// What comparing one thing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Comparison {
    /// The same.
    Same,
    /// Something else; the text names the first difference.
    Differs(String),
    /// Not compared, and why.
    NotChecked(String),
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Differs(how) => write!(f, "DIFFERS: {how}"),
            Self::NotChecked(why) => write!(f, "not checked: {why}"),
        }
    }
}

impl Comparison {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Same => json!({ "result": "same" }),
            Self::Differs(how) => json!({ "result": "differs", "detail": how }),
            Self::NotChecked(why) => json!({ "result": "not-checked", "detail": why }),
        }
    }
}

/// Compares fuel, where the engine is the one of the record: another one counts otherwise.
pub(super) fn fuel(
    recorded: u64,
    there: Option<&Runtime>,
    used: u64,
    here: &RuntimeInfo,
) -> Comparison {
    match there {
        None => Comparison::NotChecked("the record does not name its engine".to_owned()),
        Some(there) if there.engine != here.engine => Comparison::NotChecked(format!(
            "it ran under {}, this is {}",
            there.engine, here.engine
        )),
        Some(there) if there.config != here.config => Comparison::NotChecked(format!(
            "it ran under {} with another configuration",
            there.engine
        )),
        Some(_) if used == recorded => Comparison::Same,
        Some(_) => Comparison::Differs(format!("the record says {recorded}, this run used {used}")),
    }
}

/// Names the first place where two outputs differ.
pub(super) fn first_difference(recorded: &[u8], found: &[u8]) -> String {
    let parsed = (
        serde_json::from_slice(recorded),
        serde_json::from_slice(found),
    );
    if let (Ok(recorded), Ok(found)) = parsed
        && let Some((pointer, recorded, found)) = difference(&recorded, &found, String::new())
    {
        let place = if pointer.is_empty() {
            "the whole output"
        } else {
            &pointer
        };
        return format!("at {place} the record has {recorded}, this run gave {found}");
    }
    let at = recorded
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    format!("from byte {at} on")
}

/// The JSON Pointer of the first difference, and what is there in each.
fn difference(
    recorded: &Value,
    found: &Value,
    pointer: String,
) -> Option<(String, String, String)> {
    let none = || "nothing".to_owned();
    match (recorded, found) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(a, b, pointer),
                    (a, b) => Some((
                        pointer,
                        a.map_or_else(none, brief),
                        b.map_or_else(none, brief),
                    )),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|at| {
            let pointer = format!("{pointer}/{at}");
            match (a.get(at), b.get(at)) {
                (Some(a), Some(b)) => difference(a, b, pointer),
                (a, b) => Some((
                    pointer,
                    a.map_or_else(none, brief),
                    b.map_or_else(none, brief),
                )),
            }
        }),
        (a, b) if a == b => None,
        (a, b) => Some((pointer, brief(a), brief(b))),
    }
}

/// A value short enough for a sentence.
fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::digest::Digest;

    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_pointer() {
        let recorded = br#"{"a":[1,{"b/c":2}],"z":1}"#;
        let found = br#"{"a":[1,{"b/c":3}],"z":2}"#;
        assert_eq!(
            first_difference(recorded, found),
            "at /a/1/b~1c the record has 2, this run gave 3"
        );
        assert_eq!(
            first_difference(b"[1]", b"[1,2]"),
            "at /1 the record has nothing, this run gave 2"
        );
        assert_eq!(
            first_difference(b"1", b"2"),
            "at the whole output the record has 1, this run gave 2"
        );
        assert_eq!(first_difference(b"x1", b"x2"), "from byte 1 on");
    }

    #[test]
    fn fuel_is_compared_under_the_same_engine_alone() {
        let here = RuntimeInfo {
            engine: "wasmtime 48.0.8".to_owned(),
            config: Digest::of(b"config"),
            allocator: "pooling".to_owned(),
        };
        let there = Runtime {
            host: "stepseal 0".to_owned(),
            engine: here.engine.clone(),
            config: here.config,
        };
        assert_eq!(fuel(5, Some(&there), 5, &here), Comparison::Same);
        assert!(matches!(
            fuel(5, Some(&there), 6, &here),
            Comparison::Differs(how) if how.contains("says 5") && how.contains("used 6")
        ));
        let other = [
            Runtime {
                engine: "wasmtime 47.0.0".to_owned(),
                ..there.clone()
            },
            Runtime {
                config: Digest::of(b"other"),
                ..there
            },
        ];
        for there in [Some(&other[0]), Some(&other[1]), None] {
            let compared = fuel(5, there, 6, &here);
            assert!(matches!(compared, Comparison::NotChecked(_)), "{compared}");
        }
    }
}
