//! Receipts: whatever way a task ends, a stranger can check it, and nobody can change it.

use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::record::{Kind, Record, Status};
use stepseal_receipts::verify::{Options, Outcome3, verify_bytes};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, believes, verify};

fn kinds(records: &[(u64, Record)]) -> Vec<Kind> {
    records.iter().map(|(_, record)| record.kind).collect()
}

#[test]
fn every_way_a_task_ends_has_a_receipt_that_verifies_and_says_which() {
    let host = Host::with_guests();
    let succeeded = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let failed = id(&host.submit_and_wait(&one_step("hostile/panic", &json!({}))));
    let asks = json!({"plan": {"steps": [{"id": "asks", "uses": "hostile/echo", "approval": "required"}]}});
    let denied = id(&host.submit_and_wait(&asks));
    host.decide(&host.approval_of(&denied), "reject", "ada")
        .expect(200);
    host.task_in(&denied, "denied");
    let cancelled = id(&host.submit_and_wait(&asks));
    host.call("POST", format!("/v1/tasks/{cancelled}/cancel"))
        .send()
        .expect(200);
    host.task_in(&cancelled, "cancelled");

    for (task, end, middle) in [
        (&succeeded, Status::Ok, Some(Kind::StepCompleted)),
        (&failed, Status::Failed, Some(Kind::StepFailed)),
        (&denied, Status::Denied, Some(Kind::StepDenied)),
        (&cancelled, Status::Cancelled, None),
    ] {
        let report = host.receipt_verified(task);
        let expected: Vec<_> = [Kind::TaskOpen]
            .into_iter()
            .chain(middle)
            .chain([Kind::TaskClose])
            .collect();
        assert_eq!(kinds(&report.records), expected, "{task}");
        let outcome = report.records.last().unwrap().1.outcome.as_ref().unwrap();
        assert_eq!(outcome.status, end, "{task}");
    }
}

#[test]
fn the_records_of_a_task_are_one_chain() {
    let host = Host::with_guests();
    let task = id(&host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "a", "uses": "hostile/echo"}, {"id": "b", "uses": "hostile/echo", "needs": ["a"]},
    ]}})));
    let list = host.get(format!("/v1/tasks/{task}/records"));
    let records = list["items"].as_array().unwrap();
    assert_eq!(records.len(), 4);
    assert_eq!(host.task(&task)["records"], 4);
    let report = host.receipt_verified(&task);
    let mut head = None;
    for (seq, (listed, (index, record))) in records.iter().zip(&report.records).enumerate() {
        let link = record.task.as_ref().unwrap();
        assert_eq!(
            (&listed["seq"], &listed["index"]),
            (&json!(seq), &json!(index))
        );
        assert_eq!(
            (link.id.as_str(), link.seq, link.prev),
            (task.as_str(), seq as u64, head)
        );
        head = Some(listed["leaf_hash"].as_str().unwrap().parse().unwrap());
    }
}

#[test]
fn a_receipt_with_one_byte_changed_is_not_believed() {
    let host = Host::with_guests();
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!({"amount": "12.50"}))));
    let receipt = host.receipt(&task);
    let trust = believes(&host);
    assert!(verify(&receipt, &trust).passed());
    let parsed: Value = serde_json::from_slice(&receipt).unwrap();
    let payload = parsed["entries"][1]["envelope"]["payload"]
        .as_str()
        .unwrap();
    let signature = parsed["entries"][1]["envelope"]["signatures"][0]["sig"]
        .as_str()
        .unwrap();
    let proof = parsed["entries"][0]["proof"][0].as_str().unwrap();
    let disclosed = parsed["disclosures"][0]["blob"].as_str().unwrap();
    let checkpoint = parsed["checkpoint"]
        .as_str()
        .unwrap()
        .lines()
        .nth(2)
        .unwrap();
    for part in [payload, signature, proof, disclosed, checkpoint] {
        let at = receipt
            .windows(part.len())
            .position(|window| window == part.as_bytes())
            .expect("it is in the file");
        let mut changed = receipt.clone();
        let byte = &mut changed[at + part.len() / 2];
        *byte = if *byte == b'A' { b'B' } else { b'A' };
        let report = verify(&changed, &trust);
        assert!(
            !report.passed() && !report.faults.is_empty(),
            "{part}: {report:#?}"
        );
    }
}

#[test]
fn a_receipt_of_another_host_is_not_believed() {
    let (one, other) = (Host::with_guests(), Host::empty());
    let task = id(&one.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let report = verify(&one.receipt(&task), &believes(&other));
    assert_eq!(
        (report.passed(), report.verdicts.signatures),
        (false, Outcome3::Fail)
    );
}

#[test]
fn a_receipt_can_keep_its_payloads_to_itself() {
    let host = Host::with_guests();
    let secret = "quite-a-secret";
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!({"text": secret}))));
    let shown = host
        .call("GET", format!("/v1/tasks/{task}/receipt"))
        .send()
        .expect(200);
    assert_eq!(
        shown.header("content-disposition"),
        Some(format!("attachment; filename=\"{task}.stepseal.json\"").as_str())
    );
    let parsed = shown.json();
    assert!(!parsed["disclosures"].as_array().unwrap().is_empty());
    let hidden = host
        .call("GET", format!("/v1/tasks/{task}/receipt?payloads=false"))
        .send()
        .expect(200);
    assert!(
        hidden.json()["disclosures"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    let report = verify(&hidden.body, &believes(&host));
    assert_eq!(
        (report.passed(), report.verdicts.disclosure),
        (true, Outcome3::NotChecked)
    );
    assert!(!hidden.text().contains(secret));
}

#[test]
fn the_receipt_of_a_task_that_goes_on_says_that_it_is_open() {
    let host = Host::with_guests();
    let asks = json!({"plan": {"steps": [{"id": "asks", "uses": "hostile/echo", "approval": "required"}]}});
    let task = id(&host.submit_and_wait(&asks));
    let receipt = host.receipt(&task);
    let report = verify(&receipt, &believes(&host));
    assert_eq!((report.passed(), report.open), (false, true));
    let accepting = Options {
        allow_open: true,
        ..Options::default()
    };
    let report = verify_bytes(&receipt, &believes(&host), &accepting);
    assert!(report.passed() && report.open, "{report:#?}");
}

#[test]
fn a_receipt_that_was_taken_earlier_stays_good_while_the_log_grows() {
    let host = Host::with_guests();
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let early = host.receipt(&task);
    for n in 0..3 {
        host.submit_and_wait(&one_step("hostile/echo", &json!(n)));
    }
    assert_ne!(
        host.receipt(&task),
        early,
        "a later one is under a later checkpoint"
    );
    assert!(verify(&early, &believes(&host)).passed());
    host.receipt_verified(&task);
}

#[test]
fn a_receipt_proves_that_the_log_only_grew_since_it_was_seen() {
    let host = Host::with_guests();
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let seen = Receipt::parse(&host.receipt(&task), &ReceiptLimits::default()).unwrap();
    let size = Checkpoint::open(&seen.checkpoint, &believes(&host).log)
        .unwrap()
        .size;
    let options = Options {
        last_seen: Some(seen.checkpoint),
        ..Options::default()
    };
    let judged = |rest: &str| {
        let receipt = host
            .call("GET", format!("/v1/tasks/{task}/receipt{rest}"))
            .send()
            .expect(200)
            .body;
        verify_bytes(&receipt, &believes(&host), &options)
    };
    assert!(judged(&format!("?seen={size}")).passed(), "the same head");
    host.submit_and_wait(&one_step("hostile/echo", &json!(2)));
    let proven = judged(&format!("?seen={size}"));
    assert_eq!(
        (proven.passed(), proven.verdicts.append_only),
        (true, Outcome3::Pass)
    );
    let unproven = judged("");
    assert_eq!(
        (unproven.passed(), unproven.verdicts.append_only),
        (false, Outcome3::NotChecked)
    );
    host.call("GET", format!("/v1/tasks/{task}/receipt?seen=1000"))
        .send()
        .problem(422, "invalid");
}
