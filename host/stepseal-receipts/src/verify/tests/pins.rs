//! What the verifier pinned: what ran, and what judged it.

use super::world::*;
use crate::digest::Digest;
use crate::record::{Mode, Record, Stage, VerdictKind};
use crate::verify::{Check, Options, Pins, Report, verify};

fn pinned(records: &[Record], components: &[Digest], policies: &[Digest]) -> Report {
    let options = Options {
        pins: Pins {
            components: components.to_vec(),
            policies: policies.to_vec(),
        },
        ..Options::default()
    };
    verify(&receipt_of(records), &trust(), &options)
}

/// A task of one pure step that a policy judged.
fn judged(change: impl FnOnce(&mut Record)) -> Vec<Record> {
    let mut step = completed("balance", 0);
    step.verdicts = vec![verdict(VerdictKind::NotApplicable)];
    change(&mut step);
    vec![opened(), step, closed(crate::record::Status::Ok)]
}

#[test]
fn a_receipt_whose_components_are_all_pinned_passes() {
    let report = pinned(&story(), &[digest(1), digest(41)], &[]);
    assert!(report.passed(), "{:?}", report.faults);
}

#[test]
fn a_component_that_ran_and_is_not_pinned_is_a_fault_of_each_record() {
    let report = pinned(&story(), &[digest(1)], &[]);
    let places = report.faults.iter().map(|f| (f.index, f.member.as_str()));
    let expected = (1..=5).map(|number| (Some(index_of(number)), "component.digest"));
    assert!(places.eq(expected), "{:?}", report.faults);
}

#[test]
fn a_step_that_did_not_run_needs_no_pinned_component() {
    let mut denied = attempt(crate::record::Kind::StepDenied, "balance", 0);
    denied.verdicts = vec![verdict(VerdictKind::Deny)];
    let denied = ended(denied, crate::record::Status::Denied);
    let records = [opened(), denied, closed(crate::record::Status::Denied)];
    let report = pinned(&records, &[digest(1)], &[digest(43)]);
    assert!(report.passed(), "{:?}", report.faults);
}

#[test]
fn a_step_that_a_pinned_policy_judged_passes_whatever_it_said() {
    let report = pinned(&judged(|_| {}), &[], &[digest(1), digest(43)]);
    assert!(report.passed(), "{:?}", report.faults);
}

#[test]
fn a_policy_that_had_a_say_and_is_not_pinned_is_a_fault() {
    let other = judged(|step| {
        let mut other = verdict(VerdictKind::Allow);
        other.policy = digest(60);
        step.verdicts.push(other);
    });
    let report = pinned(&other, &[], &[digest(43)]);
    assert_fault(
        &report,
        Check::Chain,
        Some(index_of(1)),
        "verdicts[1].policy",
    );

    let mut opening = judged(|_| {});
    opening[0].verdicts = vec![verdict(VerdictKind::Allow)];
    opening[0].verdicts[0].policy = digest(60);
    opening[0].verdicts[0].stage = Stage::Plan;
    let report = pinned(&opening, &[], &[digest(43)]);
    assert_fault(
        &report,
        Check::Chain,
        Some(index_of(0)),
        "verdicts[0].policy",
    );
}

#[test]
fn a_policy_that_only_monitors_neither_judges_nor_disturbs() {
    let monitored = judged(|step| {
        let mut other = verdict(VerdictKind::Deny);
        (other.policy, other.mode) = (digest(60), Mode::Monitor);
        step.verdicts.push(other);
    });
    assert!(pinned(&monitored, &[], &[digest(43)]).passed());
    let alone = judged(|step| step.verdicts[0].mode = Mode::Monitor);
    let report = pinned(&alone, &[], &[digest(43)]);
    assert_fault(&report, Check::Chain, Some(index_of(1)), "verdicts");
}

#[test]
fn a_step_that_ran_unjudged_is_a_fault() {
    for records in [
        judged(|step| step.verdicts.clear()),
        judged(|step| step.verdicts[0].stage = Stage::AfterStep),
    ] {
        let report = pinned(&records, &[], &[digest(43)]);
        assert_fault(&report, Check::Chain, Some(index_of(1)), "verdicts");
    }
}

#[test]
fn an_authorized_step_was_judged_with_its_authorization() {
    let effectful = [
        opened(),
        {
            let mut record = authorized();
            record.step.as_mut().unwrap().index = 0;
            record
        },
        {
            let mut record = paid();
            record.step.as_mut().unwrap().index = 0;
            record
        },
        closed(crate::record::Status::Ok),
    ];
    let report = pinned(&effectful, &[], &[digest(43)]);
    assert!(report.passed(), "{:?}", report.faults);
    let report = pinned(&effectful, &[], &[digest(1)]);
    assert_fault(
        &report,
        Check::Chain,
        Some(index_of(1)),
        "verdicts[0].policy",
    );
}
