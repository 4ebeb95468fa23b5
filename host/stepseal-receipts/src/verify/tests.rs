mod acts;
mod append_only;
mod attacks;
mod container;
mod erased;
mod hostile;
mod links;
mod meaning;
mod pins;
mod vectors;
mod whole_log;
mod witnesses;
mod world;

use super::{Check, Options, Outcome3, verify};
use crate::digest::Digest;
use crate::record::{Decision, Fuel, Kind, Mode, Record, Stage, Status, VerdictKind};
use world::{
    ORIGIN, approval, attempt, authorized, closed, completed, ended, failed, linked, opened, paid,
    receipt_of, report, story, story_receipt, trust, verdict,
};

/// Asserts that a task with these records is believed.
#[track_caller]
fn assert_believed(records: &[Record]) {
    let report = report(&receipt_of(records));
    assert!(report.passed(), "{:#?}", report.faults);
    assert_eq!(report.records.len(), records.len());
}

#[test]
fn a_whole_receipt_is_believed_with_a_verdict_for_each_question() {
    let report = report(&story_receipt());
    assert!(report.passed(), "{:#?}", report.faults);
    let verdicts: Vec<String> = report
        .verdicts
        .all()
        .iter()
        .map(|(check, outcome)| format!("{check} {outcome}"))
        .collect();
    assert_eq!(
        verdicts,
        [
            "signatures pass",
            "chain pass",
            "inclusion pass",
            "completeness pass",
            "append-only not-checked",
            "witnessed not-checked",
            "disclosure pass",
            "replay not-checked",
        ]
    );
    assert!(!report.open);
    let checkpoint = report.checkpoint.unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), (ORIGIN, 19));
    let kinds: Vec<&str> = report
        .records
        .iter()
        .map(|(_, record)| record.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "task.open",
            "step.completed",
            "step.authorized",
            "step.completed",
            "step.failed",
            "step.completed",
            "task.close"
        ]
    );
}

#[test]
fn without_disclosures_the_disclosure_is_not_checked() {
    let report = report(&receipt_of(&story()));
    assert!(report.passed(), "{:#?}", report.faults);
    assert_eq!(report.verdicts.disclosure, Outcome3::NotChecked);
}

#[test]
fn an_open_task_is_believed_only_where_that_is_allowed() {
    let receipt = receipt_of(&story()[..4]);
    let strict = report(&receipt);
    assert!(strict.open);
    world::assert_fault(&strict, Check::Completeness, None, "entries");
    assert!(
        strict.faults[0].message.contains("open: tail unproven"),
        "{}",
        strict.faults[0]
    );

    let options = Options {
        allow_open: true,
        ..Options::default()
    };
    let lenient = verify(&receipt, &trust(), &options);
    assert!(lenient.passed(), "{:#?}", lenient.faults);
    assert!(lenient.open);
    assert_eq!(lenient.verdicts.completeness, Outcome3::NotChecked);
}

#[test]
fn a_step_that_a_policy_denied_closes_the_task_as_denied() {
    let mut denied = ended(attempt(Kind::StepDenied, "pay", 1), Status::Denied);
    denied.verdicts = vec![verdict(VerdictKind::Deny)];
    assert_believed(&[opened(), denied, closed(Status::Denied)]);
}

#[test]
fn a_step_that_a_person_rejected_closes_the_task_as_denied() {
    let mut denied = ended(attempt(Kind::StepDenied, "pay", 1), Status::Denied);
    denied.verdicts = vec![verdict(VerdictKind::NeedsApproval)];
    denied.approvals = vec![approval(&denied, "ada", Decision::Reject)];
    assert_believed(&[opened(), denied, closed(Status::Denied)]);
}

#[test]
fn a_step_may_be_denied_with_its_output_at_hand() {
    let mut denied = ended(paid(), Status::Denied);
    denied.kind = Kind::StepDenied;
    let mut after = verdict(VerdictKind::Deny);
    after.stage = Stage::AfterStep;
    denied.verdicts = vec![after];
    assert_believed(&[opened(), authorized(), denied, closed(Status::Denied)]);
}

#[test]
fn a_plan_that_a_policy_denied_has_no_steps() {
    let mut open = opened();
    let mut plan = verdict(VerdictKind::Deny);
    plan.stage = Stage::Plan;
    open.verdicts = vec![plan];
    assert_believed(&[open, closed(Status::Denied)]);
}

#[test]
fn a_step_whose_input_does_not_fit_fails_without_running() {
    let mut invalid = failed("balance", 0, Status::InvalidInput);
    invalid.fuel = None;
    invalid.input = None;
    assert_believed(&[opened(), invalid, closed(Status::Failed)]);
}

#[test]
fn a_failed_attempt_may_be_tried_again_and_fail_again() {
    let mut again = failed("balance", 0, Status::Unavailable);
    again.step.as_mut().unwrap().attempt = 2;
    let first = failed("balance", 0, Status::Unavailable);
    assert_believed(&[opened(), first, again, closed(Status::Failed)]);
}

#[test]
fn an_authorized_attempt_that_never_ran_may_fail_and_be_authorized_again() {
    let mut lost = failed("pay", 1, Status::Unavailable);
    lost.fuel = None;
    let mut again = authorized();
    again.step.as_mut().unwrap().attempt = 2;
    again.approvals = ["ada", "bob"]
        .map(|approver| approval(&again, approver, Decision::Approve))
        .to_vec();
    let mut paid = paid();
    paid.step.as_mut().unwrap().attempt = 2;
    assert_believed(&[
        opened(),
        authorized(),
        lost,
        again,
        paid,
        closed(Status::Ok),
    ]);
}

#[test]
fn a_running_step_of_a_cancelled_task_is_cancelled() {
    let cancelled = failed("pay", 1, Status::Cancelled);
    assert_believed(&[opened(), authorized(), cancelled, closed(Status::Cancelled)]);
    assert_believed(&[opened(), closed(Status::Cancelled)]);
}

#[test]
fn a_policy_that_only_monitors_stops_nothing() {
    let mut step = completed("balance", 0);
    let mut monitor = verdict(VerdictKind::Deny);
    monitor.mode = Mode::Monitor;
    step.verdicts = vec![monitor];
    assert_believed(&[opened(), step, closed(Status::Ok)]);
}

#[test]
fn an_effectful_step_runs_where_a_policy_allows_it() {
    let mut allowed = attempt(Kind::StepAuthorized, "pay", 1);
    allowed.verdicts = vec![
        verdict(VerdictKind::NotApplicable),
        verdict(VerdictKind::Allow),
    ];
    assert_believed(&[opened(), allowed, paid(), closed(Status::Ok)]);
}

#[test]
fn an_approval_is_bound_to_the_records_own_policies_where_it_has_them() {
    let mut record = authorized();
    record.policies = Some(Digest::of(b"other policies"));
    let report = report(&receipt_of(&[opened(), record, paid(), closed(Status::Ok)]));
    let members: Vec<&str> = report
        .faults
        .iter()
        .map(|fault| fault.member.as_str())
        .collect();
    assert_eq!(members, ["approvals[0].subject", "approvals[1].subject"]);
}

#[test]
fn a_record_with_members_of_a_later_version_is_believed_and_shows_them() {
    let (receipt, _) = linked(&story(), |number, record| {
        if number == 1 {
            record.unrecognised.insert("region".to_owned(), "eu".into());
        }
    });
    let report = report(&receipt);
    assert!(report.passed(), "{:#?}", report.faults);
    assert_eq!(report.records[1].1.unrecognised["region"], "eu");
}

#[test]
fn steps_side_by_side_may_finish_in_any_order() {
    let mut slow = completed("balance", 0);
    slow.fuel = Some(Fuel {
        limit: 1000,
        used: 0,
    });
    assert_believed(&[opened(), authorized(), slow, paid(), closed(Status::Ok)]);
}
