//! What the benches upload and submit.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::Client;

/// A component that `make guests test-guests` built.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/guests")
        .join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `make guests test-guests` builds it",
            path.display()
        )
    })
}

/// Binds the policy that every step of these tasks is held against.
pub(crate) fn bind_policy(client: &Client) {
    let policy = client.upload(&component("spending-limit"));
    client.post(
        "/v1/policies",
        &json!({"component": policy["digest"], "settings": {"limits": {"EUR": {"approval_above": "100", "deny_above": "1000"}}}, "scope": {}, "mode": "enforce"}),
    );
}

/// Three steps, each with the result of the one before.
pub(crate) fn task(uses: &str, with: impl Fn(&Value) -> Value) -> Value {
    let steps: Vec<Value> = ["first", "second", "third"]
        .into_iter()
        .zip([
            json!({"$ref": "#/input"}),
            json!({"$ref": "#/steps/first/output"}),
            json!({"$ref": "#/steps/second/output"}),
        ])
        .map(|(id, document)| json!({"id": id, "uses": uses, "with": with(&document)}))
        .collect();
    json!({"plan": {"steps": steps}, "input": {"packages": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]}})
}

/// What is measured is what was meant: three steps that ran, each after the policy was asked.
pub(crate) fn check(client: &Client, body: &str) {
    let task: Value = client.submit(body);
    assert_eq!(task["state"], "succeeded", "{task}");
    let steps = task["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 3);
    for step in steps {
        assert_eq!(step["verdicts"][0]["verdict"], "not-applicable", "{step}");
    }
}
