//! Erasing what tasks left: no file keeps it, and the receipts prove as much as before.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::verify::Outcome3;

use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, believes, eventually, verify};
use crate::support::stepseal;

/// What must not be found anywhere.
const SECRET: &str = "swordfish-7f1d9c";

/// How often the secret is in the files of a directory.
fn found(dir: &Path) -> usize {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                return found(&path);
            }
            // A file may go away between the two, as the log of a database does.
            let bytes = fs::read(&path).unwrap_or_default();
            bytes
                .windows(SECRET.len())
                .filter(|window| *window == SECRET.as_bytes())
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
