//! The same step from several languages: uploaded as their toolchains made it, run under the limits that every step has, replayed.
//! `make languages` does the same with those whose toolchains take longer.

use std::fs;

use serde_json::{Value, json};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, guests};
use crate::support::stepseal;

/// What `make language-guests` builds.
const LANGUAGES: [&str; 6] = [
    "summarise-rust",
    "summarise-c",
    "summarise-c-wasi",
    "summarise-qjs",
    "summarise-qjs-wasi",
    "summarise-qjs-async",
];

/// A document whose summary differs between those who count bytes, UTF-16 units and characters, or who stumble over escapes.
fn document() -> Value {
    json!({
        "ä": ["\u{1f980}\u{1f980}\u{1f980}", "abcd", "\u{1}\n\"\\\u{7f}", "", null, true, -0.5e-7, []],
        "a": {"ä": {}, "\"": [[[1]]]},
        "": false
    })
}

fn summary() -> Value {
    json!({
        "types": {"null": 1, "boolean": 2, "number": 2, "string": 4, "array": 5, "object": 3},
        "depth": 6, "keys": 4, "longest_string": 5
    })
}

#[test]
fn every_language_gives_the_same_answer_under_the_usual_limits_and_replays() {
    let host = Host::empty();
    let temp = tempfile::tempdir().unwrap();
    let components = temp.path().join("components");
    fs::create_dir(&components).unwrap();
    for name in LANGUAGES {
        host.upload(name);
        fs::copy(guests::path(name), components.join(name)).unwrap();
    }
    for name in LANGUAGES {
        let uses = format!("{name}/summarise");
        let task = host.submit_and_wait(&one_step(&uses, &json!({"document": document()})));
        assert_eq!(task["state"], "succeeded", "{name}: {task:#}");
        assert_eq!(task["steps"][0]["output"], summary(), "{name}");
        let receipt = temp.path().join(name);
        fs::write(&receipt, host.receipt(&id(&task))).unwrap();
        let replayed = stepseal(&[
            "--output",
            "json",
            "replay",
            receipt.to_str().unwrap(),
            "--components",
            components.to_str().unwrap(),
        ]);
        let step = &replayed.expect(0).json()["steps"][0];
        for what in ["status", "output", "hostcalls", "fuel"] {
            assert_eq!(step[what]["result"], "same", "{name}: {step:#}");
        }
    }
}

#[test]
fn the_schemas_are_one_text_in_every_language() {
    let host = Host::empty();
    let described: Vec<Value> = LANGUAGES
        .iter()
        .map(|name| {
            let digest = host.upload(name);
            let component = host.get(format!("/v1/components/{digest}"));
            let mut step = component["descriptor"]["steps"][0].clone();
            step.as_object_mut().unwrap().remove("summary");
            assert_eq!(step["name"], "summarise", "{component:#}");
            step
        })
        .collect();
    for (name, step) in LANGUAGES.iter().zip(&described) {
        assert_eq!(step, &described[0], "{name}");
    }
    assert!(described[0].to_string().contains("longest_string"));
}
