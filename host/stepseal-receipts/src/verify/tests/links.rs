//! Faults of signatures, links, proofs and disclosures: one change, one fault.

use serde_json::json;

use super::world::*;
use crate::digest::Digest;
use crate::dsse::{Envelope, IN_TOTO, Signature};
use crate::keys::SigningKey;
use crate::record::{Approval, Record, TaskLink};
use crate::verify::{Check, Options, Outcome3, Report, disclosable, verify};

/// A report on the story whose records are changed just before they are signed.
fn signed_with(change: impl Fn(usize, &mut Record)) -> Report {
    report(&linked(&story(), change).0)
}

fn link(record: &mut Record) -> &mut TaskLink {
    record.task.as_mut().unwrap()
}

#[test]
fn a_changed_payload_is_a_fault_of_its_signature() {
    let mut receipt = story_receipt();
    receipt.entries[3].envelope.payload[100] ^= 1;
    let report = report(&receipt);
    assert_fault(
        &report,
        Check::Signatures,
        Some(index_of(3)),
        "envelope.signatures",
    );
    assert_eq!(report.verdicts.chain, Outcome3::NotChecked);
    assert!(!report.open, "task.close is there and believed");
    assert_eq!(
        report.records.len(),
        6,
        "the changed record is not believed"
    );
}

#[test]
fn a_changed_signature_is_a_fault() {
    let mut receipt = story_receipt();
    receipt.entries[3].envelope.signatures[0].sig[40] ^= 1;
    assert_fault(
        &report(&receipt),
        Check::Signatures,
        Some(index_of(3)),
        "envelope.signatures",
    );
}

#[test]
fn a_second_signature_is_a_fault() {
    let mut receipt = story_receipt();
    let signatures = &mut receipt.entries[0].envelope.signatures;
    signatures.push(signatures[0].clone());
    assert_fault(
        &report(&receipt),
        Check::Signatures,
        Some(index_of(0)),
        "envelope.signatures",
    );
}

#[test]
fn another_payload_type_is_a_fault() {
    let mut receipt = story_receipt();
    receipt.entries[0].envelope.payload_type.push('x');
    assert_fault(
        &report(&receipt),
        Check::Signatures,
        Some(index_of(0)),
        "envelope.payloadType",
    );
}

#[test]
fn a_record_by_a_key_that_nobody_trusts_is_a_fault() {
    let mut receipt = story_receipt();
    let envelope = &mut receipt.entries[2].envelope;
    *envelope = Envelope::sign(
        IN_TOTO,
        envelope.payload.clone(),
        &SigningKey::from_seed([66; 32]),
    );
    assert_fault(
        &report(&receipt),
        Check::Signatures,
        Some(index_of(2)),
        "envelope.signatures",
    );
}

#[test]
fn a_key_counts_only_within_its_range() {
    let mut trust = trust();
    trust.records[0].to_index = Some(index_of(4));
    let report = verify(&story_receipt(), &trust, &Options::default());
    let places: Vec<_> = report
        .faults
        .iter()
        .map(|fault| (fault.check, fault.index))
        .collect();
    assert_eq!(
        places,
        [
            (Check::Signatures, Some(index_of(5))),
            (Check::Signatures, Some(index_of(6)))
        ]
    );
    assert!(
        report.faults[0]
            .message
            .contains("counts from index 0 to 11"),
        "{}",
        report.faults[0]
    );

    trust.records[0].to_index = Some(index_of(6));
    assert!(verify(&story_receipt(), &trust, &Options::default()).passed());
    trust.records[0].from_index = index_of(0) + 1;
    assert!(!verify(&story_receipt(), &trust, &Options::default()).passed());
}

#[test]
fn the_hint_of_a_key_is_not_trusted_and_not_needed() {
    let mut trust = trust();
    let mut other = trust.records[0].clone();
    other.key = SigningKey::from_seed([77; 32]).public();
    trust.records.insert(0, other.clone());
    let mut receipt = story_receipt();
    receipt.entries[0].envelope.signatures[0].keyid = None;
    receipt.entries[1].envelope.signatures[0].keyid = Some(other.key.id().to_hex());
    let report = verify(&receipt, &trust, &Options::default());
    assert!(report.passed(), "{:#?}", report.faults);
}

#[test]
fn a_tampered_checkpoint_is_not_believed_and_nothing_is_included() {
    let mut receipt = story_receipt();
    receipt.checkpoint = receipt.checkpoint.replace("\n19\n", "\n18\n");
    let report = report(&receipt);
    assert_fault(&report, Check::Signatures, None, "checkpoint");
    assert_eq!(report.checkpoint, None);
    assert_eq!(report.verdicts.inclusion, Outcome3::NotChecked);
    assert!(report.records.is_empty());
}

#[test]
fn a_checkpoint_of_another_log_is_a_fault() {
    let mut trust = trust();
    trust.origin = "log.example/two".to_owned();
    let report = verify(&story_receipt(), &trust, &Options::default());
    let fault = &report.faults[0];
    assert_eq!(
        (fault.check, fault.member.as_str()),
        (Check::Signatures, "checkpoint")
    );
    assert!(!report.passed());
}

#[test]
fn a_dropped_entry_is_a_gap_at_the_next_one() {
    for dropped in 1..6 {
        let mut receipt = story_receipt();
        receipt.entries.remove(dropped);
        let report = report(&receipt);
        let places: Vec<_> = report
            .faults
            .iter()
            .filter(|fault| fault.check == Check::Chain)
            .map(|fault| (fault.index, fault.member.as_str()))
            .collect();
        assert_eq!(
            places,
            [(Some(index_of(dropped + 1)), "task.seq")],
            "{dropped}"
        );
        assert!(!report.passed());
    }
}

#[test]
fn a_receipt_without_its_first_entry_is_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.entries.remove(0);
    assert_fault(
        &report(&receipt),
        Check::Chain,
        Some(index_of(1)),
        "task.seq",
    );
}

#[test]
fn a_doubled_entry_is_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.entries.insert(4, receipt.entries[3].clone());
    assert_fault(&report(&receipt), Check::Chain, Some(index_of(3)), "index");
}

#[test]
fn entries_out_of_order_are_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.entries.swap(3, 4);
    let report = report(&receipt);
    assert!(!report.passed());
    assert_eq!(report.faults[0].check, Check::Chain);
    assert_eq!(report.faults[0].index, Some(index_of(4)));
    assert_eq!(report.faults[0].member, "task.seq");
}

#[test]
fn a_receipt_without_entries_is_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.entries.clear();
    let report = report(&receipt);
    assert_fault(&report, Check::Chain, None, "entries");
}

#[test]
fn a_wrong_index_is_a_fault_of_the_proof() {
    let mut receipt = receipt_of(&story());
    receipt.entries[3].index += 1;
    assert_fault(
        &report(&receipt),
        Check::Inclusion,
        Some(index_of(3) + 1),
        "proof",
    );
}

#[test]
fn an_index_past_the_checkpoint_is_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.entries[6].index = 19;
    assert_fault(&report(&receipt), Check::Inclusion, Some(19), "index");
}

#[test]
fn a_changed_or_shortened_proof_is_a_fault_and_the_record_is_not_believed() {
    let mut receipt = receipt_of(&story());
    receipt.entries[3].proof[1] = digest(0);
    let changed = report(&receipt);
    assert_fault(&changed, Check::Inclusion, Some(index_of(3)), "proof");
    assert!(
        changed
            .records
            .iter()
            .all(|(index, _)| *index != index_of(3))
    );
    receipt.entries[3].proof.pop();
    assert_fault(
        &report(&receipt),
        Check::Inclusion,
        Some(index_of(3)),
        "proof",
    );
}

#[test]
fn swapped_proofs_are_a_fault_at_both_entries() {
    let mut receipt = receipt_of(&story());
    let (left, right) = receipt.entries.split_at_mut(2);
    std::mem::swap(&mut left[1].proof, &mut right[0].proof);
    let places: Vec<_> = report(&receipt)
        .faults
        .iter()
        .map(|fault| (fault.check, fault.index))
        .collect();
    assert_eq!(
        places,
        [
            (Check::Inclusion, Some(index_of(1))),
            (Check::Inclusion, Some(index_of(2)))
        ]
    );
}

#[test]
fn a_record_written_for_another_log_is_a_fault_and_not_believed() {
    let report = signed_with(|number, record| {
        if number == 2 {
            record.log = "log.example/two".to_owned();
        }
    });
    assert_fault(&report, Check::Chain, Some(index_of(2)), "log");
    assert_eq!(report.records.len(), 6);
}

#[test]
fn a_record_of_another_task_is_a_fault() {
    let report = signed_with(|number, record| {
        if number >= 6 {
            link(record).id = "task-8".to_owned();
        }
    });
    assert_fault(&report, Check::Chain, Some(index_of(6)), "task.id");
}

#[test]
fn a_record_of_no_task_is_a_fault() {
    let report = signed_with(|number, record| {
        if number == 6 {
            record.task = None;
        }
    });
    assert_fault(&report, Check::Chain, Some(index_of(6)), "task");
}

#[test]
fn a_wrong_link_is_a_fault() {
    let absent = signed_with(|number, record| {
        if number == 4 {
            link(record).prev = None;
        }
    });
    assert_fault(&absent, Check::Chain, Some(index_of(4)), "task.prev");
    let other = signed_with(|number, record| {
        if number == 4 {
            link(record).prev = Some(digest(0));
        }
    });
    assert_fault(&other, Check::Chain, Some(index_of(4)), "task.prev");
    let first = signed_with(|number, record| {
        if number == 0 {
            link(record).prev = Some(digest(0));
        }
    });
    assert_fault(&first, Check::Chain, Some(index_of(0)), "task.prev");
}

#[test]
fn signed_bytes_that_are_no_record_are_a_fault_that_names_the_member() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 3] = [
        ("payload", |s| s["predicate"]["task"]["seq"] = json!(3)),
        ("predicate.grants.sha256", |s| {
            s["predicate"]["grants"]["sha256"] = json!("AB".repeat(32));
        }),
        ("predicate.task.seq", |s| {
            s["predicate"]["task"]["seq"] = json!("03");
        }),
    ];
    for (member, change) in cases {
        let mut receipt = receipt_of(&story());
        let envelope = &mut receipt.entries[3].envelope;
        let mut statement = serde_json::from_slice(&envelope.payload).unwrap();
        change(&mut statement);
        *envelope = Envelope::sign(IN_TOTO, crate::json::canonical(&statement), &record_key());
        assert_fault(&report(&receipt), Check::Chain, Some(index_of(3)), member);
    }
}

#[test]
fn a_blob_of_which_no_record_speaks_is_a_fault() {
    let mut receipt = story_receipt();
    receipt.disclosures.push(b"{}".to_vec());
    assert_fault(&report(&receipt), Check::Disclosure, None, "disclosures[4]");
}

#[test]
fn what_the_records_say_is_disclosable_is_all_that_may_be_disclosed() {
    let mut receipt = story_receipt();
    receipt.disclosures.push(b"{}".to_vec());
    let said: Vec<Digest> = report(&receipt)
        .records
        .iter()
        .flat_map(|(_, record)| disclosable(record))
        .collect();
    receipt
        .disclosures
        .retain(|blob| said.contains(&Digest::of(blob)));
    assert_eq!(receipt, story_receipt());
    assert!(report(&receipt).passed());
}

#[test]
fn a_changed_blob_is_a_fault() {
    let mut receipt = story_receipt();
    *receipt.disclosures[2].last_mut().unwrap() ^= 1;
    assert_fault(&report(&receipt), Check::Disclosure, None, "disclosures[2]");
}

#[test]
fn a_record_that_lies_about_the_size_of_a_disclosed_payload_is_a_fault() {
    let (mut receipt, _) = linked(&story(), |number, record| {
        if number == 1 {
            record.output.as_mut().unwrap().size += 1;
        }
    });
    assert!(report(&receipt).passed(), "the lie shows only in the blob");
    receipt.disclosures.push(output_of("balance").into_bytes());
    assert_fault(
        &report(&receipt),
        Check::Disclosure,
        Some(index_of(1)),
        "output.size",
    );
}

/// A receipt in which an approver signed her approval herself.
fn with_envelope(payload: &serde_json::Value, key: &SigningKey) -> crate::receipt::Receipt {
    let payload = crate::json::canonical(payload);
    let envelope = Envelope::sign(IN_TOTO, payload, key);
    let mut records = story();
    signed_by_approver(&mut records[2], &envelope);
    let mut receipt = receipt_of(&records);
    receipt.approvals = vec![envelope];
    receipt
}

fn said(approval: &Approval, decision: &str) -> serde_json::Value {
    json!({"decision": decision, "role": "treasurer", "subject": {"sha256": approval.subject.to_hex()}})
}

#[test]
fn an_approver_may_sign_the_approval_too() {
    let approval = authorized().approvals.remove(0);
    let signed = with_envelope(&said(&approval, "approve"), &approver_key());
    assert!(report(&signed).passed(), "{:#?}", report(&signed).faults);

    let forged = with_envelope(&said(&approval, "approve"), &record_key());
    assert_fault(
        &report(&forged),
        Check::Signatures,
        Some(index_of(2)),
        "approvals[0]",
    );
    let rejected = with_envelope(&said(&approval, "reject"), &approver_key());
    assert_fault(
        &report(&rejected),
        Check::Signatures,
        Some(index_of(2)),
        "approvals[0]",
    );
    let other = Approval {
        subject: Digest::of(b""),
        ..approval
    };
    let other = with_envelope(&said(&other, "approve"), &approver_key());
    assert_fault(
        &report(&other),
        Check::Signatures,
        Some(index_of(2)),
        "approvals[0]",
    );
}

#[test]
fn an_approvers_envelope_of_which_no_record_speaks_is_a_fault() {
    let mut receipt = receipt_of(&story());
    receipt.approvals = vec![Envelope {
        payload_type: "x".to_owned(),
        payload: b"{}".to_vec(),
        signatures: vec![Signature {
            keyid: None,
            sig: [0; 64],
        }],
    }];
    assert_fault(&report(&receipt), Check::Signatures, None, "approvals[0]");
}

#[test]
fn a_fault_is_a_sentence_with_its_place() {
    let mut receipt = receipt_of(&story());
    receipt.entries[6].index = 19;
    let shown = report(&receipt).faults[0].to_string();
    assert!(
        shown.starts_with("inclusion: entry 19: index: the entry is not proven"),
        "{shown}"
    );
}
