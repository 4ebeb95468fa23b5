//! The ways a step can end that are no attack, or that take more than one step to see: each is recorded and signed as what it was.

use serde_json::{Value, json};
use stepseal_receipts::record::{Kind, Record, Status};

use super::wide_limits;
use crate::host::Host;
use crate::host::tasks::{id, one_step};
use crate::support::{allow, ended};

/// One way to end.
struct Case {
    step: &'static str,
    with: Value,
    attempts_max: u32,
    status: Status,
    /// A part of the message in the record; none where it is empty.
    says: &'static str,
    attempts: usize,
}

/// What a case may use unless it says otherwise: little fuel and memory, and more time than a busy machine needs.
fn tight_limits() -> Value {
    json!({"fuel": 500_000_000, "memory_bytes": 64 << 20, "wall_ms": 120_000, "output_bytes": 1 << 20})
}

fn case(step: &'static str, with: Value, status: Status, says: &'static str) -> Case {
    Case {
        step,
        with,
        attempts_max: 1,
        status,
        says,
        attempts: 1,
    }
}

impl Case {
    fn tried(mut self, attempts_max: u32, attempts: usize) -> Self {
        (self.attempts_max, self.attempts) = (attempts_max, attempts);
        self
    }

    fn submission(&self) -> Value {
        let mut submission = one_step(&format!("hostile/{}", self.step), &self.with);
        submission["plan"]["steps"][0]["limits"] = tight_limits();
        submission["plan"]["steps"][0]["retry"] =
            json!({"max_attempts": self.attempts_max, "backoff_ms": 1});
        submission
    }

    fn name(&self) -> String {
        format!("{} {}", self.step, self.with)
    }
}

fn cases() -> Vec<Case> {
    let fail = |kind: &str| json!({"kind": kind, "message": "as told"});
    vec![
        case("eat-memory", json!({"bytes": 8 << 20}), Status::Ok, ""),
        case(
            "panic",
            json!({}),
            Status::Trap,
            "this guest panics on purpose",
        ),
        case(
            "log-flood",
            json!({"lines": 3_000, "line_bytes": 40}),
            Status::Ok,
            "",
        ),
        case(
            "big-output",
            json!({"bytes": 100_000_000}),
            Status::OutOfMemory,
            "",
        ),
        case("sleep", json!({"ms": 3_600_000}), Status::Ok, ""),
        case("random", json!({"bytes": 32}), Status::Ok, ""),
        case("random", json!({"bytes": 1_000_000}), Status::Trap, ""),
        case("now", json!({}), Status::Ok, ""),
        case("echo", json!({"a": [1, null, "\u{7f}"]}), Status::Ok, ""),
        case(
            "fail",
            fail("invalid-input"),
            Status::InvalidInput,
            "as told",
        ),
        case("fail", fail("failed"), Status::Failed, "as told"),
        case("fail", fail("unavailable"), Status::Unavailable, "as told").tried(3, 3),
        case("fail", fail("failed"), Status::Failed, "as told").tried(3, 1),
        case("unavailable-until", json!({"attempt": 3}), Status::Ok, "").tried(5, 3),
        // It was granted no bucket.
        case(
            "kv-write",
            json!({"key": "k", "value": 1}),
            Status::Failed,
            "",
        ),
    ]
}

/// The records of attempts, oldest first.
fn attempts(records: &[(u64, Record)]) -> Vec<&Record> {
    let records = records.iter().map(|(_, record)| record);
    records
        .filter(|record| matches!(record.kind, Kind::StepCompleted | Kind::StepFailed))
        .collect()
}

#[test]
fn every_other_way_a_guest_can_end_is_recorded_and_signed_as_what_it_was() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"limits": wide_limits()}));
    // All at once, so that they are in each other's way if anything is.
    let submitted: Vec<(Case, String)> = cases()
        .into_iter()
        .map(|case| {
            let id = id(&host.submit(&case.submission()));
            (case, id)
        })
        .collect();
    let honest = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".a + 1", "document": {"a": 41}}),
    ));
    assert_eq!(honest["steps"][0]["output"]["result"], 42, "{honest}");

    for (case, id) in submitted {
        let name = case.name();
        let task = ended(&host, &id);
        let wanted = if case.status == Status::Ok {
            "succeeded"
        } else {
            "failed"
        };
        assert_eq!(task["state"], wanted, "{name}: {task}");
        assert_eq!(
            task["steps"][0]["status"],
            case.status.as_str(),
            "{name}: {task}"
        );

        let report = host.receipt_verified(&id);
        let attempts = attempts(&report.records);
        assert_eq!(attempts.len(), case.attempts, "{name}: {attempts:?}");
        let last = attempts.last().unwrap();
        let outcome = last.outcome.as_ref().unwrap();
        assert_eq!(outcome.status, case.status, "{name}: {outcome:?}");
        assert!(
            outcome
                .message
                .as_deref()
                .unwrap_or_default()
                .contains(case.says),
            "{name}: {outcome:?}"
        );
        let (fuel, memory) = (last.fuel.unwrap(), last.memory.unwrap());
        assert!(
            fuel.used <= fuel.limit && memory.peak <= memory.limit,
            "{name}: {fuel:?} {memory:?}"
        );
        assert_eq!(
            fuel.used == fuel.limit,
            case.status == Status::OutOfFuel,
            "{name}: {fuel:?}"
        );
    }
    host.get("/readyz");
}

#[test]
fn a_flood_of_log_lines_is_kept_up_to_a_limit_and_counted_beyond_it() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&one_step(
        "hostile/log-flood",
        &json!({"lines": 2_500, "line_bytes": 10}),
    ));
    assert_eq!(task["state"], "succeeded", "{task}");
    let logged = host
        .stream(&id(&task), None)
        .find(|event| event.kind == "step.logged")
        .unwrap();
    let lines = logged.data["lines"].as_array().unwrap().len() as u64;
    assert!((1..2_500).contains(&lines), "{lines} lines were kept");
    assert_eq!(logged.data["dropped"].as_u64().unwrap(), 2_500 - lines);
}

#[test]
fn the_world_of_a_guest_is_virtual() {
    let host = Host::with_guests();
    let output = |step: &str, with: Value| {
        let task = host.submit_and_wait(&one_step(&format!("hostile/{step}"), &with));
        assert_eq!(task["state"], "succeeded", "{task}");
        task["steps"][0]["output"].clone()
    };
    // An hour passes for the guest at once.
    assert!(
        output("sleep", json!({"ms": 3_600_000}))["ms"]
            .as_u64()
            .unwrap()
            >= 3_600_000
    );
    let (one, other) = (
        output("random", json!({"bytes": 16})),
        output("random", json!({"bytes": 16})),
    );
    assert_eq!(one["hex"].as_str().unwrap().len(), 32);
    assert_ne!(one, other, "two tasks were given the same randomness");
}

#[test]
fn what_a_failed_step_wrote_is_gone() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    allow(
        &host,
        "hostile",
        &[
            "kv-write",
            "kv-read",
            "kv-add",
            "kv-write-then-trap",
            "kv-write-then-fail",
        ],
    );
    let step = |step: &str, with: Value| {
        host.submit_and_wait(&one_step(&format!("hostile/{step}"), &with))["steps"][0].clone()
    };
    let value = || step("kv-read", json!({"key": "k"}))["output"]["value"].clone();

    assert_eq!(value(), Value::Null);
    let trapped = step(
        "kv-write-then-trap",
        json!({"key": "k", "value": "from a trap"}),
    );
    assert_eq!(
        (trapped["state"].as_str(), trapped["status"].as_str()),
        (Some("failed"), Some("trap"))
    );
    assert_eq!(value(), Value::Null);
    assert_eq!(
        step("kv-write", json!({"key": "k", "value": "kept"}))["output"]["value"],
        "kept"
    );
    let failed = step(
        "kv-write-then-fail",
        json!({"key": "k", "value": "from a failure"}),
    );
    assert_eq!(
        (failed["state"].as_str(), failed["status"].as_str()),
        (Some("failed"), Some("failed"))
    );
    assert_eq!(value(), "kept");
}

#[test]
fn a_failed_step_ends_its_task_and_the_steps_after_it_never_run() {
    let host = Host::with_guests();
    let submission = json!({"plan": {"steps": [
        {"id": "first", "uses": "hostile/echo", "with": {"n": 1}},
        {"id": "bad", "uses": "hostile/panic", "with": {}, "needs": ["first"]},
        {"id": "after", "uses": "hostile/echo", "with": {"from": {"$ref": "#/steps/bad/output"}}}
    ]}});
    let task = host.submit_and_wait(&submission);
    assert_eq!(task["state"], "failed", "{task}");
    let states: Vec<&str> = task["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["succeeded", "failed", "skipped"]);
    assert!(task["reason"].as_str().unwrap().contains("bad"), "{task}");
    let report = host.receipt_verified(&id(&task));
    let close = report.records.last().unwrap();
    assert_eq!(
        (close.1.kind, close.1.outcome.as_ref().unwrap().status),
        (Kind::TaskClose, Status::Failed)
    );
}
