//! Faults of the file itself.

use serde_json::{Value, json};

use super::world::*;
use crate::verify::{Check, FAULTS_MAX, MESSAGE_BYTES_MAX, Options, Report, verify, verify_bytes};

/// A report on the story's receipt whose JSON is changed.
fn with(change: impl FnOnce(&mut Value)) -> Report {
    let mut receipt: Value = serde_json::from_slice(&story_receipt().to_json()).unwrap();
    change(&mut receipt);
    let bytes = serde_json::to_vec_pretty(&receipt).unwrap();
    verify_bytes(&bytes, &trust(), &Options::default())
}

#[test]
fn white_space_changes_nothing() {
    assert!(with(|_| {}).passed());
}

#[test]
fn bytes_that_are_no_receipt_are_a_fault_and_nothing_is_believed() {
    for bytes in [&b""[..], b"{}", b"[]", b"null", b"\xff"] {
        let report = verify_bytes(bytes, &trust(), &Options::default());
        assert!(!report.passed());
        assert_eq!(report.faults.len(), 1);
        assert_eq!(report.faults[0].check, Check::Receipt);
        assert!(report.records.is_empty());
    }
}

#[test]
fn each_malformed_member_is_named() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 15] = [
        ("mediaType", |r| r["mediaType"] = json!("application/json")),
        ("checkpoint", |r| r["checkpoint"] = json!(["a"])),
        ("entries[1].index", |r| r["entries"][1]["index"] = json!(5)),
        ("entries[1].index", |r| {
            r["entries"][1]["index"] = json!("05");
        }),
        ("entries[2].proof[0]", |r| {
            r["entries"][2]["proof"][0] = json!("AA==");
        }),
        ("entries[2].envelope.payload", |r| {
            r["entries"][2]["envelope"]["payload"] = json!("?");
        }),
        ("entries[2].envelope.signatures", |r| {
            r["entries"][2]["envelope"]["signatures"] = json!([]);
        }),
        ("entries[2].note", |r| r["entries"][2]["note"] = json!("x")),
        ("entries[0].proof", |r| {
            r["entries"][0]["proof"] = json!(vec![""; 65]);
        }),
        ("disclosures[0].blob", |r| {
            r["disclosures"][0]["blob"] = json!("AA=");
        }),
        ("consistency[0].size", |r| {
            r["consistency"] = json!([{"size": "-1", "proof": []}]);
        }),
        ("consistency[0].proof", |r| {
            r["consistency"] = json!([{"size": "1", "proof": vec![""; 65]}]);
        }),
        // Which of two proofs would count?
        ("consistency", |r| {
            r["consistency"] = json!([{"size": "1", "proof": []}, {"size": "1", "proof": []}]);
        }),
        ("consistency", |r| {
            r["consistency"] = json!(vec![json!({"size": "1", "proof": []}); 65]);
        }),
        ("erased[0].index", |r| r["erased"] = json!([{}])),
    ];
    for (member, change) in cases {
        let report = with(change);
        assert_fault(&report, Check::Receipt, None, member);
        let shown = report.faults[0].to_string();
        assert!(shown.contains(member), "{shown}");
    }
}

#[test]
fn an_unknown_member_is_reported_and_changes_nothing() {
    let report = with(|receipt| receipt["remark"] = json!("hello"));
    assert!(report.passed(), "{:#?}", report.faults);
    assert_eq!(report.unrecognised, ["remark"]);
}

#[test]
fn a_member_that_stands_twice_is_a_fault() {
    let text = String::from_utf8(story_receipt().to_json()).unwrap();
    let doubled = text.replacen('{', r#"{"checkpoint":"","#, 1);
    let report = verify_bytes(doubled.as_bytes(), &trust(), &Options::default());
    assert!(!report.passed());
    assert_eq!(report.faults[0].check, Check::Receipt);
}

#[test]
fn a_hostile_receipt_cannot_make_the_report_large() {
    let mut receipt = receipt_of(&story());
    let mut entry = receipt.entries[0].clone();
    entry.envelope.payload_type = "x".repeat(255);
    receipt.entries = vec![entry; FAULTS_MAX + 10];
    let report = verify(&receipt, &trust(), &Options::default());
    assert_eq!(report.faults.len(), FAULTS_MAX + 1);
    assert!(
        report.faults[FAULTS_MAX]
            .message
            .starts_with("10 more faults")
    );

    let long = with(|receipt| receipt["entries"][0]["x".repeat(100_000)] = json!("x"));
    let fault = &long.faults[0];
    assert!(fault.member.len() + fault.message.len() < 3 * MESSAGE_BYTES_MAX);
}
