//! Forgeries by someone who holds a genuine receipt, and stories that a host with real keys must not get away with.

use serde_json::{Value, json};

use super::world::*;
use crate::dsse::{Envelope, IN_TOTO};
use crate::json;
use crate::payload::Blob;
use crate::receipt::Receipt;
use crate::record::{
    Decision, Kind, Record, Stage, Status, Verdict, VerdictKind, approval_subject,
};
use crate::verify::{Check, Options, Outcome3, Report, verify, verify_bytes};

fn with(change: impl FnOnce(&mut Value)) -> Report {
    let mut receipt: Value = serde_json::from_slice(&story_receipt().to_json()).unwrap();
    change(&mut receipt);
    let bytes = serde_json::to_vec(&receipt).unwrap();
    verify_bytes(&bytes, &trust(), &Options::default())
}

fn staged(kind: VerdictKind, stage: Stage) -> Verdict {
    Verdict {
        stage,
        ..verdict(kind)
    }
}

/// A task that was opened although a policy wants a person to approve every step of its plan.
fn opened_asking() -> Record {
    let mut open = opened();
    open.verdicts = vec![staged(VerdictKind::NeedsApproval, Stage::Plan)];
    open
}

fn allowed() -> Record {
    let mut record = attempt(Kind::StepAuthorized, "pay", 1);
    record.verdicts = vec![verdict(VerdictKind::Allow)];
    record
}

#[test]
fn an_envelope_written_as_an_array_is_no_envelope() {
    let report = with(|receipt| {
        let envelope = &mut receipt["entries"][1]["envelope"];
        *envelope = json!([
            envelope["payload"],
            envelope["payloadType"],
            envelope["signatures"]
        ]);
    });
    assert_fault(&report, Check::Receipt, None, "entries[1].envelope");
    let report = with(|receipt| {
        let signature = &mut receipt["entries"][1]["envelope"]["signatures"][0];
        *signature = json!([signature["keyid"], signature["sig"]]);
    });
    assert_fault(
        &report,
        Check::Receipt,
        None,
        "entries[1].envelope.signatures[0]",
    );
}

#[test]
fn nothing_unsigned_can_be_slipped_into_an_envelope() {
    let report = with(|receipt| receipt["entries"][1]["envelope"]["note"] = json!("approved"));
    assert_fault(&report, Check::Receipt, None, "entries[1].envelope.note");
    let report = with(|receipt| {
        receipt["entries"][1]["envelope"]["signatures"][0]["cert"] = json!("x");
    });
    assert_fault(
        &report,
        Check::Receipt,
        None,
        "entries[1].envelope.signatures[0].cert",
    );
    let report = with(|receipt| {
        receipt["entries"][1]["envelope"]["signatures"][0]["keyid"] = Value::Null;
    });
    assert_fault(
        &report,
        Check::Receipt,
        None,
        "entries[1].envelope.signatures[0].keyid",
    );
}

#[test]
fn a_digest_in_a_statement_has_no_second_algorithm() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 3] = [
        ("statement.subject[0].digest.sha512", |statement| {
            statement["subject"][0]["digest"]["sha512"] = json!("00");
        }),
        ("statement.subject[0].uri", |statement| {
            statement["subject"][0]["uri"] = json!("https://example.com");
        }),
        ("predicate.component.digest.sha512", |statement| {
            statement["predicate"]["component"]["digest"]["sha512"] = json!("00");
        }),
    ];
    for (member, change) in cases {
        let mut receipt = receipt_of(&story());
        let envelope = &mut receipt.entries[3].envelope;
        let mut statement = serde_json::from_slice(&envelope.payload).unwrap();
        change(&mut statement);
        *envelope = Envelope::sign(IN_TOTO, json::canonical(&statement), &record_key());
        assert_fault(&report(&receipt), Check::Chain, Some(index_of(3)), member);
    }
}

#[test]
fn inclusion_is_not_said_to_pass_where_an_entry_was_not_proven() {
    let mut receipt = story_receipt();
    for entry in &mut receipt.entries {
        entry.envelope.signatures[0].sig[0] ^= 1;
    }
    assert_eq!(report(&receipt).verdicts.inclusion, Outcome3::NotChecked);
}

#[test]
fn a_plan_that_needs_an_approval_runs_no_step_without_one() {
    let unasked = report(&receipt_of(&[
        opened_asking(),
        allowed(),
        paid(),
        closed(Status::Ok),
    ]));
    assert_fault(&unasked, Check::Chain, Some(index_of(1)), "approvals");
    let pure = report(&receipt_of(&[
        opened_asking(),
        completed("balance", 0),
        closed(Status::Ok),
    ]));
    assert_fault(&pure, Check::Chain, Some(index_of(1)), "approvals");

    let mut approved = allowed();
    approved.approvals = vec![approval(&approved, "ada", Decision::Approve)];
    let approved = report(&receipt_of(&[
        opened_asking(),
        approved,
        paid(),
        closed(Status::Ok),
    ]));
    assert!(approved.passed(), "{:#?}", approved.faults);
}

#[test]
fn a_pure_step_that_ran_unapproved_is_a_fault_even_where_it_was_denied_afterwards() {
    let mut denied = ended(completed("balance", 0), Status::Denied);
    denied.kind = Kind::StepDenied;
    denied.verdicts = vec![
        verdict(VerdictKind::NeedsApproval),
        staged(VerdictKind::Deny, Stage::AfterStep),
    ];
    let report = report(&receipt_of(&[opened(), denied, closed(Status::Denied)]));
    assert_fault(&report, Check::Chain, Some(index_of(1)), "approvals");
}

#[test]
fn after_a_step_nobody_is_left_to_ask_so_an_ask_denies() {
    let ask = staged(VerdictKind::NeedsApproval, Stage::AfterStep);
    let mut completed = paid();
    completed.verdicts = vec![ask.clone()];
    let let_through = report(&receipt_of(&[
        opened(),
        authorized(),
        completed.clone(),
        closed(Status::Ok),
    ]));
    assert_fault(&let_through, Check::Chain, Some(index_of(2)), "verdicts");

    let mut denied = ended(completed, Status::Denied);
    denied.kind = Kind::StepDenied;
    let denied = report(&receipt_of(&[
        opened(),
        authorized(),
        denied,
        closed(Status::Denied),
    ]));
    assert!(denied.passed(), "{:#?}", denied.faults);
}

#[test]
fn only_an_allow_before_the_step_stands_for_an_approval() {
    for stage in [Stage::Plan, Stage::AfterStep] {
        let mut record = allowed();
        record.verdicts = vec![staged(VerdictKind::Allow, stage)];
        let report = report(&receipt_of(&[opened(), record, paid(), closed(Status::Ok)]));
        assert_fault(&report, Check::Chain, Some(index_of(1)), "approvals");
    }
}

#[test]
fn an_approval_outside_a_step_is_bound_to_nothing_and_a_fault() {
    for number in [0, 6] {
        let mut records = story();
        let mut approval = approval(&authorized(), "eve", Decision::Approve);
        approval.subject = digest(0);
        records[number].approvals = vec![approval];
        assert_fault(
            &report(&receipt_of(&records)),
            Check::Chain,
            Some(index_of(number)),
            "approvals",
        );
    }
}

#[test]
fn an_approval_of_another_task_or_attempt_does_not_count() {
    let subject_of = |task: &str, attempt: u32| {
        let record = authorized();
        approval_subject(
            task,
            "pay",
            attempt,
            &record.component.as_ref().unwrap().digest,
            &record.input.as_ref().unwrap().digest,
            record.grants.as_ref().unwrap(),
            &digest(40),
        )
        .1
    };
    for subject in [subject_of("task-8", 1), subject_of(TASK, 2)] {
        let mut records = story();
        records[2].approvals[0].subject = subject;
        assert_fault(
            &report(&receipt_of(&records)),
            Check::Chain,
            Some(index_of(2)),
            "approvals[0].subject",
        );
    }
}

/// A receipt in which a record speaks of an envelope that an approver signed, of some payload type.
fn enveloped(payload_type: &str) -> Receipt {
    let mut records = story();
    let said = json!({"decision": "approve", "role": "treasurer",
        "subject": {"sha256": records[2].approvals[0].subject.to_hex()}});
    let envelope = Envelope::sign(payload_type, json::canonical(&said), &approver_key());
    signed_by_approver(&mut records[2], &envelope);
    let mut receipt = receipt_of(&records);
    receipt.approvals = vec![envelope];
    receipt
}

#[test]
fn leaving_an_approvers_envelope_out_hides_nothing() {
    let mut receipt = enveloped(IN_TOTO);
    assert!(report(&receipt).passed());
    receipt.approvals.clear();
    assert_fault(
        &report(&receipt),
        Check::Signatures,
        Some(index_of(2)),
        "approvals[0].envelope",
    );
}

#[test]
fn an_approvers_envelope_of_another_type_was_signed_for_something_else() {
    assert_fault(
        &report(&enveloped("application/vnd.example.vote+json")),
        Check::Signatures,
        Some(index_of(2)),
        "approvals[0]",
    );
}

#[test]
fn an_envelope_or_a_blob_a_second_time_is_refused_before_it_costs_anything() {
    let mut receipt = enveloped(IN_TOTO);
    receipt.approvals.push(receipt.approvals[0].clone());
    assert_fault(&report(&receipt), Check::Signatures, None, "approvals[1]");

    let mut receipt = receipt_of(&story());
    receipt.disclosures = vec![output_of("pay").into_bytes(); 2];
    assert_fault(&report(&receipt), Check::Disclosure, None, "disclosures[1]");
}

#[test]
fn a_step_stands_at_its_place_of_the_disclosed_plan() {
    let mut records = story();
    for (number, index) in [(1, 2), (4, 0), (5, 0)] {
        records[number].step.as_mut().unwrap().index = index;
    }
    let mut receipt = receipt_of(&records);
    assert!(report(&receipt).passed(), "the lie shows only in the plan");
    receipt.disclosures = vec![plan().into_bytes()];
    let report = report(&receipt);
    let places: Vec<_> = report.faults.iter().map(|f| (f.check, f.index)).collect();
    assert_eq!(
        places,
        [
            (Check::Completeness, Some(index_of(1))),
            (Check::Completeness, Some(index_of(5)))
        ],
        "{:#?}",
        report.faults
    );
}

#[test]
fn a_plan_is_disclosed_under_its_salt_only() {
    let mut records = story();
    let plain = Blob::plain(plan().payload());
    records[0].plan = Some(plain.digest());
    let mut receipt = receipt_of(&records);
    receipt.disclosures = vec![plain.into_bytes()];
    assert_fault(&report(&receipt), Check::Completeness, None, "plan");
}

#[test]
fn faults_of_one_receipt_come_in_one_order() {
    let mut records = story();
    records.truncate(1);
    for index in 0..20 {
        records.push(completed(&format!("extra-{index}"), 3 + index));
    }
    records.push(closed(Status::Failed));
    let mut receipt = receipt_of(&records);
    receipt.disclosures = vec![plan().into_bytes()];
    let first = verify(&receipt, &trust(), &Options::default());
    assert!(first.faults.len() > 10);
    for _ in 0..5 {
        let again = verify(&receipt, &trust(), &Options::default());
        assert_eq!(first.faults, again.faults);
    }
}

#[test]
fn no_control_character_of_a_receipt_reaches_the_reader_of_a_fault() {
    let shown = |report: &Report| {
        let fault = report.faults[0].to_string();
        assert!(!fault.chars().any(char::is_control), "{fault:?}");
        fault
    };
    let name = "\u{1b}[2J\u{1b}[1;1HVALID\n";
    assert!(shown(&with(|r| r["entries"][0][name] = json!("x"))).contains("VALID"));
    let report = with(|r| r[name] = json!("x"));
    assert!(!report.unrecognised[0].chars().any(char::is_control));
    let text = String::from_utf8(story_receipt().to_json()).unwrap();
    let doubled = text.replacen('{', r#"{"\u001b[2J":"","\u001b[2J":"","#, 1);
    shown(&verify_bytes(
        doubled.as_bytes(),
        &trust(),
        &Options::default(),
    ));
}

#[test]
fn records_of_two_tasks_of_one_log_make_no_receipt() {
    let (one, _) = linked(&story(), |_, _| {});
    let (other, _) = linked(&story(), |_, record| {
        record.task.as_mut().unwrap().id = "task-8".to_owned();
    });
    for number in 1..7 {
        let mut mixed = one.clone();
        mixed.entries[number] = other.entries[number].clone();
        assert!(!report(&mixed).passed(), "{number}");
    }
}

#[test]
fn a_tail_cut_off_and_closed_by_another_tasks_close_is_refused() {
    let (one, _) = linked(&story(), |_, _| {});
    let short = [opened(), completed("balance", 0), closed(Status::Ok)];
    let (other, _) = linked(&short, |_, record| {
        record.task.as_mut().unwrap().id = "task-8".to_owned();
    });
    let mut cut = one;
    cut.entries.truncate(2);
    cut.entries.push(other.entries[2].clone());
    assert!(!report(&cut).passed());
}
