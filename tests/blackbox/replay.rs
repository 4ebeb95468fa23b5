//! Whoever has a receipt and the components runs the steps again and gets the same bytes for the same fuel; whoever was given
//! something else learns it.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::concurrency::{ledger, transfer};
use crate::host::tasks::{id, one_step};
use crate::host::{Host, guests};
use crate::support::{Ran, stepseal};

/// What an auditor holds: a receipt, the keys they believe, and components.
struct Auditor {
    temp: tempfile::TempDir,
}

impl Auditor {
    fn new(host: &Host, task: &str, components: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("receipt.json"), host.receipt(task)).unwrap();
        let trust = host.call("GET", "/v1/trust").send().expect(200);
        fs::write(temp.path().join("trust.json"), trust.body).unwrap();
        fs::create_dir(temp.path().join("components")).unwrap();
        for name in components {
            // The name of the file means nothing.
            fs::write(
                temp.path()
                    .join("components")
                    .join(format!("{name}-of-unknown-origin")),
                guests::bytes(name),
            )
            .unwrap();
        }
        Self { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn receipt(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("receipt.json")).unwrap()).unwrap()
    }

    /// Replays a receipt file, verified first or not.
    fn replays(&self, receipt: &Path, verified: bool) -> Ran {
        let (receipt, trust, components) = (
            receipt.to_str().unwrap(),
            self.path("trust.json"),
            self.path("components"),
        );
        let mut arguments = vec![
            "--output",
            "json",
            "replay",
            receipt,
            "--components",
            components.to_str().unwrap(),
        ];
        if verified {
            arguments.extend(["--trust", trust.to_str().unwrap()]);
        }
        stepseal(&arguments)
    }

    /// Replays the receipt with the statement of one of its records changed, which breaks its signature.
    fn replays_forged(&self, entry: usize, forge: impl FnOnce(&Value) -> Value) -> Ran {
        let mut receipt = self.receipt();
        let payload = &mut receipt["entries"][entry]["envelope"]["payload"];
        let statement = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        let statement: Value = serde_json::from_slice(&statement).unwrap();
        let forged = forge(&statement);
        assert_ne!(forged, statement);
        *payload = json!(STANDARD.encode(forged.to_string()));
        let forged = self.path("forged.json");
        fs::write(&forged, receipt.to_string()).unwrap();
        assert_eq!(
            self.replays(&forged, true).code,
            1,
            "a forged receipt was run"
        );
        self.replays(&forged, false)
    }
}

/// Expects every one of so many steps to have been the same in everything.
fn expect_same(ran: Ran, steps: usize) -> Value {
    let report = ran.expect(0).json();
    assert_eq!(
        (&report["same"], report["steps"].as_array().unwrap().len()),
        (&json!(true), steps),
        "{report:#}"
    );
    for step in report["steps"].as_array().unwrap() {
        for compared in ["status", "output", "fuel"] {
            assert_eq!(step[compared]["result"], "same", "{report:#}");
        }
    }
    report
}

fn two_filters() -> Value {
    json!({"input": {"numbers": [3, 1, 2], "text": "\u{e9}\u{1f600}"}, "plan": {"steps": [
        {"id": "sort", "uses": "jq/filter", "with": {"filter": ".numbers | sort | {sorted: ., mean: (add / length)}", "document": {"$ref": "#/input"}}},
        {"id": "last", "uses": "jq/filter", "with": {"filter": ".sorted[-1]", "document": {"$ref": "#/steps/sort/output/result"}}}
    ]}})
}

#[test]
fn pure_steps_give_the_same_again_and_on_every_host() {
    let (host, other) = (Host::with_guests(), Host::with_guests());
    let task = host.submit_and_wait(&two_filters());
    assert_eq!(task["steps"][1]["output"]["result"], 3, "{task}");
    let auditor = Auditor::new(&host, &id(&task), &["jq", "ledger"]);
    let report = expect_same(auditor.replays(&auditor.path("receipt.json"), true), 2);
    let elsewhere = other.submit_and_wait(&two_filters());
    for step in [0, 1] {
        let (here, there) = (&task["steps"][step], &elsewhere["steps"][step]);
        assert_eq!(
            (&here["output"], &here["fuel"]),
            (&there["output"], &there["fuel"])
        );
        assert_eq!(here["fuel"], report["steps"][step]["fuel_used"]);
    }
}

#[test]
fn a_transfer_is_replayed_from_its_transcript_though_the_world_has_moved_on() {
    let host = Host::with_guests();
    ledger(&host);
    let task = host.submit_and_wait(&transfer(1));
    assert_eq!(task["state"], "succeeded", "{task}");
    // The same again now would find other balances.
    host.submit_and_wait(&transfer(5));
    let auditor = Auditor::new(&host, &id(&task), &["ledger"]);
    expect_same(auditor.replays(&auditor.path("receipt.json"), true), 1);
}

#[test]
fn steps_that_fail_and_steps_that_ask_for_time_and_chance_are_replayed_too() {
    let host = Host::with_guests();
    for (step, with) in [
        ("random", json!({"bytes": 64})),
        ("now", json!({})),
        ("sleep", json!({"ms": 1234})),
        ("panic", json!({})),
        ("eat-memory", json!({})),
        ("fail", json!({"kind": "failed", "message": "as told"})),
    ] {
        let task = host.submit_and_wait(&one_step(&format!("hostile/{step}"), &with));
        let auditor = Auditor::new(&host, &id(&task), &["hostile"]);
        let report = auditor
            .replays(&auditor.path("receipt.json"), true)
            .expect(0)
            .json();
        for compared in ["status", "output", "fuel"] {
            assert_eq!(
                report["steps"][0][compared]["result"], "same",
                "{step}: {report:#}"
            );
        }
    }
}

#[test]
fn a_forged_record_is_caught_by_running_the_step_again() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": {"a": 1}}),
    ));
    let auditor = Auditor::new(&host, &id(&task), &["jq"]);
    let fuel = |by: i64| {
        move |statement: &Value| {
            let mut statement = statement.clone();
            let used = &mut statement["predicate"]["fuel"]["used"];
            // Records write 64-bit numbers as texts.
            *used = json!((used.as_str().unwrap().parse::<i64>().unwrap() + by).to_string());
            statement
        }
    };
    for by in [-1, 1] {
        let ran = auditor.replays_forged(1, fuel(by)).expect(1).json();
        assert_eq!(ran["steps"][0]["fuel"]["result"], "differs", "{ran:#}");
        assert_eq!(ran["steps"][0]["output"]["result"], "same", "{ran:#}");
    }
    // The digest stands in the predicate and in the subject.
    let other_output = |statement: &Value| {
        let digest = statement["predicate"]["output"]["digest"].to_string();
        let digest = digest
            .rsplit_once('"')
            .unwrap()
            .0
            .rsplit_once('"')
            .unwrap()
            .1;
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
        serde_json::from_str(&statement.to_string().replace(digest, &"0".repeat(64))).unwrap()
    };
    let ran = auditor.replays_forged(1, other_output).expect(1).json();
    assert_eq!(ran["same"], false, "{ran:#}");
    assert_eq!(
        ran["steps"][0]["output"]["result"], "not-checked",
        "{ran:#}"
    );
}

#[test]
fn other_components_and_other_inputs_prove_nothing() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": {"a": 1}}),
    ));
    // The right name, other bytes.
    let auditor = Auditor::new(&host, &id(&task), &["ledger"]);
    fs::write(
        auditor.path("components").join("jq.wasm"),
        guests::bytes_with_another_section("jq"),
    )
    .unwrap();
    let ran = auditor
        .replays(&auditor.path("receipt.json"), true)
        .expect(1)
        .json();
    assert_eq!(
        (&ran["same"], &ran["steps"][0]["status"]["result"]),
        (&json!(false), &json!("not-checked")),
        "{ran:#}"
    );
    fs::remove_dir_all(auditor.path("components")).unwrap();
    auditor
        .replays(&auditor.path("receipt.json"), true)
        .expect(1)
        .says(&["components"]);

    let auditor = Auditor::new(&host, &id(&task), &["jq"]);
    let bare = host
        .call(
            "GET",
            format!("/v1/tasks/{}/receipt?payloads=false", id(&task)),
        )
        .send()
        .expect(200);
    fs::write(auditor.path("bare.json"), bare.body).unwrap();
    let ran = auditor
        .replays(&auditor.path("bare.json"), true)
        .expect(1)
        .json();
    assert_eq!(
        ran["steps"][0]["status"]["result"], "not-checked",
        "{ran:#}"
    );
}
