//! Erasing what tasks left: no file keeps it, and the receipts prove as much as before.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::verify::{Check, Options, Outcome3, Report, verify_bytes};
use tempfile::TempDir;

use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, believes, eventually, verify};
use crate::support::stepseal;

/// What must not be found anywhere.
const SECRET: &str = "swordfish-7f1d9c";

/// How often the secret is in the files of a directory.
fn found(dir: &Path) -> usize {
    occurrences(dir, SECRET.as_bytes())
}

/// How often these bytes are in the files of a directory.
fn occurrences(dir: &Path, wanted: &[u8]) -> usize {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                return occurrences(&path, wanted);
            }
            // A file may go away between the two, as the log of a database does.
            let bytes = fs::read(&path).unwrap_or_default();
            bytes
                .windows(wanted.len())
                .filter(|window| *window == wanted)
                .count()
        })
        .sum()
}

/// Runs a task that is full of the secret; gives its id.
fn secretive(host: &Host) -> String {
    let mut submission = one_step("hostile/echo", &json!({"said": SECRET}));
    submission["input"] = json!({"also": SECRET});
    submission["agent"] = json!(SECRET);
    submission["labels"] = json!({"name": SECRET});
    let task = host
        .call("POST", "/v1/tasks")
        .header("prefer", "wait=60")
        .header("idempotency-key", "once")
        .json(&submission);
    let task = task.send().expect(201).json();
    assert_eq!(task["state"], "succeeded", "{task}");
    id(&task)
}

fn erase(host: &Host, task: &str, basis: &str) -> crate::host::client::Answer {
    host.call("DELETE", format!("/v1/tasks/{task}/payloads?basis={basis}"))
        .header("stepseal-actor", "dana")
        .send()
}

#[test]
fn what_is_erased_is_in_no_file_and_its_receipts_still_verify() {
    let host = Host::with_guests();
    let task = secretive(&host);
    let before = host.receipt(&task);
    assert!(
        found(&host.data()) >= 4,
        "the test looks in the wrong place"
    );
    erase(&host, &task, "GDPR%20Art.%2017").expect(204);
    assert_eq!(found(&host.data()), 0);

    let report = host.receipt_verified_without_payloads(&task);
    assert_eq!(report.verdicts.disclosure, Outcome3::NotChecked);
    let report = verify(&before, &believes(&host));
    assert!(report.passed() && report.verdicts.disclosure == Outcome3::Pass);
    let after = Receipt::parse(&host.receipt(&task), &ReceiptLimits::default()).unwrap();
    assert!(after.disclosures.is_empty());

    // The row tells that there was one, and its key makes no other.
    host.call("GET", format!("/v1/tasks/{task}"))
        .send()
        .problem(410, "erased");
    host.call("GET", format!("/v1/tasks/{task}/events"))
        .send()
        .problem(410, "erased");
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .problem(410, "erased");
    let listed = host.get("/v1/tasks");
    assert_eq!(listed["items"][0]["labels"], json!({}));
    assert_eq!(listed["items"][0]["agent"], Value::Null);
    let mut again = one_step("hostile/echo", &json!(1));
    again["labels"] = json!({});
    host.call("POST", "/v1/tasks")
        .header("idempotency-key", "once")
        .json(&again)
        .send()
        .problem(409, "key-reused");

    erase(&host, &task, "GDPR%20Art.%2017").expect(204);
    let dir = host.stop();
    assert_eq!(found(&dir.path()), 0);
    Host::on(dir).receipt_verified_without_payloads(&task);
}

#[test]
fn only_what_is_over_is_erased_and_for_a_reason() {
    let host = Host::with_guests();
    let asks = json!({"plan": {"steps": [{"id": "asks", "uses": "hostile/echo", "approval": "required"}]}});
    let task = id(&host.submit_and_wait(&asks));
    erase(&host, &task, "x").problem(409, "unfinished");
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    for basis in ["", "a%0Ab", &"x".repeat(256)] {
        erase(&host, &task, basis).problem(422, "invalid");
    }
    host.call("DELETE", format!("/v1/tasks/{task}/payloads"))
        .send()
        .problem(400, "bad-parameter");
    erase(&host, "0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e", "x").problem(404, "not-found");
    let data = host.data();
    let data = data.to_str().unwrap();
    stepseal(&[
        "task",
        "erase",
        &task,
        "--basis",
        "contract 7",
        "--data",
        data,
    ])
    .expect(0);
    host.call("GET", format!("/v1/approvals?task={task}"))
        .send()
        .expect(200);
    assert_eq!(
        host.get(format!("/v1/approvals?task={task}"))["items"],
        json!([])
    );
}

#[test]
fn what_was_kept_for_long_enough_is_erased_by_itself() {
    let host = Host::with_guests();
    let task = secretive(&host);
    let dir: DataDir = host.stop();
    let host = Host::with(dir, &["--keep-payloads", "0"]);
    eventually("the payloads are erased", || {
        (found(&host.data()) == 0).then_some(())
    });
    host.receipt_verified_without_payloads(&task);
}

fn erase_records(host: &Host, task: &str) -> crate::host::client::Answer {
    let place = format!("/v1/tasks/{task}/records?basis=GDPR%20Art.%2017");
    host.call("DELETE", place)
        .header("stepseal-actor", "dana")
        .send()
}

/// Pieces of the envelopes of a task, as they are in the database.
fn pieces(host: &Host, task: &str) -> Vec<String> {
    let records = host.get(format!("/v1/tasks/{task}/records"));
    let payloads = records["items"].as_array().unwrap().iter().map(|record| {
        let payload = record["envelope"]["payload"].as_str().unwrap();
        payload.as_bytes().chunks_exact(48)
    });
    let pieces = payloads.flatten();
    pieces
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect()
}

/// The entries of the log, a line each.
fn entries(host: &Host) -> String {
    let lines = host
        .call("GET", "/v1/log/entries?from=0")
        .send()
        .expect(200);
    String::from_utf8(lines.body).unwrap()
}

/// What a stranger finds who accepts that records are erased.
#[track_caller]
fn accepted(host: &Host, task: &str) -> Report {
    let options = Options {
        allow_erased: true,
        ..Options::default()
    };
    let report = verify_bytes(&host.receipt(task), &believes(host), &options);
    assert!(report.passed(), "{report:#?}");
    report
}

#[test]
fn erased_records_are_in_no_file_and_their_leaves_stay_in_the_log() {
    let host = Host::with_guests();
    let task = secretive(&host);
    let other = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let before = host.receipt(&task);
    let size = entries(&host).lines().count();
    let tile = format!("/log/tile/entries/000.p/{size}");
    let leaves = host.call("GET", &tile).send().expect(200).body;
    let mut pieces = pieces(&host, &task);
    let all = pieces.len();
    for piece in &pieces {
        let there = occurrences(&host.data(), piece.as_bytes());
        assert!(there > 0, "the test looks in the wrong place for {piece}");
    }
    erase_records(&host, &task).expect(204);
    erase_records(&host, &task).expect(204);
    erase(&host, &task, "again").expect(204);

    // What other records say too is there still.
    let kept = entries(&host);
    pieces.retain(|piece| !kept.contains(piece));
    assert!(pieces.len() > all / 2, "{} of {all}", pieces.len());
    for piece in &pieces {
        assert_eq!(occurrences(&host.data(), piece.as_bytes()), 0, "{piece}");
    }

    // The log is as it was, and one act longer.
    assert_eq!(kept.lines().count(), size + 1);
    assert_eq!(host.call("GET", &tile).send().expect(200).body, leaves);
    assert_eq!(kept.matches("\"leaf\"").count(), 3);
    let records = host.get(format!("/v1/tasks/{task}/records"));
    for record in records["items"].as_array().unwrap() {
        assert_eq!(record["erasure"], size);
        assert_eq!(record["envelope"], Value::Null);
    }
    host.call("GET", format!("/v1/tasks/{task}"))
        .send()
        .problem(410, "erased");

    let strict = verify(&host.receipt(&task), &believes(&host));
    assert!(!strict.passed() && strict.faults.is_empty());
    assert_eq!(strict.unanswered[0].check, Check::Chain);
    let report = accepted(&host, &task);
    assert_eq!(report.verdicts.chain, Outcome3::NotChecked);
    assert_eq!(report.erased[0].entries, 3);
    assert_eq!(report.erased[0].basis, "GDPR Art. 17");
    assert!(verify(&before, &believes(&host)).passed());
    host.receipt_verified(&other);

    let host = Host::on(host.stop());
    accepted(&host, &task);
    for piece in &pieces {
        assert_eq!(occurrences(&host.data(), piece.as_bytes()), 0, "{piece}");
    }
}

#[test]
fn the_command_line_erases_records_and_says_what_a_receipt_without_them_is_good_for() {
    let host = Host::with_guests();
    let task = secretive(&host);
    let temp = TempDir::new().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let (receipt, trust, log) = (path("r.json"), path("trust.json"), path("log.jsonl"));
    let data = host.data();
    let asks =
        |arguments: &[&str]| stepseal(&[arguments, &["--data", data.to_str().unwrap()]].concat());
    let erased = asks(&["task", "erase", &task, "--records", "--basis", "contract 7"]).expect(0);
    assert!(erased.stdout.contains("leaves"), "{erased:?}");
    asks(&["receipt", "get", &task, "--out", &receipt]).expect(0);
    asks(&["keys", "trust", "--out", &trust]).expect(0);
    asks(&["log", "export", "--out", &log]).expect(0);

    let strict = stepseal(&["verify", &receipt, "--trust", &trust]).expect(1);
    for said in [
        "3 of the task's 3 records were erased",
        "--allow-erased",
        "contract 7",
        &task,
    ] {
        assert!(strict.stdout.contains(said), "{said}: {strict:#?}");
    }
    let lenient = stepseal(&["verify", &receipt, "--trust", &trust, "--allow-erased"]).expect(0);
    assert!(lenient.stdout.contains("contract 7"), "{lenient:#?}");
    let whole = stepseal(&["verify", &log, "--trust", &trust]).expect(0);
    assert!(whole.stdout.contains("3 erased entries"), "{whole:#?}");

    let replay = [
        "replay",
        &receipt,
        "--components",
        temp.path().to_str().unwrap(),
    ];
    stepseal(&replay).expect(1).says(&["were erased"]);
    let export = ["receipt", "export", &receipt, "--format", "dsse-jsonl"];
    stepseal(&export).expect(1).says(&["erased entries"]);
}

#[test]
fn the_many_records_of_a_task_are_erased_at_once() {
    let host = Host::with_guests();
    let steps: Vec<Value> = (0..256)
        .map(|n| json!({"id": format!("s{n}"), "uses": "hostile/echo", "with": n}))
        .collect();
    let task = host.submit_and_wait(&json!({"plan": {"steps": steps}}));
    assert_eq!(task["state"], "succeeded", "{task}");
    let task = id(&task);
    erase_records(&host, &task).expect(204);
    let report = accepted(&host, &task);
    let counts: Vec<usize> = report
        .erased
        .iter()
        .map(|erasing| erasing.entries)
        .collect();
    assert_eq!(counts, [200, 58]);
}

#[test]
fn records_are_erased_of_what_is_over_and_for_a_reason() {
    let host = Host::with_guests();
    let asks = json!({"plan": {"steps": [{"id": "asks", "uses": "hostile/echo", "approval": "required"}]}});
    let task = id(&host.submit_and_wait(&asks));
    erase_records(&host, &task).problem(409, "unfinished");
    let place = format!("/v1/tasks/{task}/records");
    host.call("DELETE", format!("{place}?basis="))
        .send()
        .problem(422, "invalid");
    host.call("DELETE", place)
        .send()
        .problem(400, "bad-parameter");
    erase_records(&host, "0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e").problem(404, "not-found");
}
