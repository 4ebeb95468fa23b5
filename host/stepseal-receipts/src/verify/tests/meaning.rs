//! Faults of what signed and linked records say: one change of the story, one fault.

use super::world::*;
use crate::payload::Blob;
use crate::record::{Decision, Kind, Mode, Record, Stage, Status, VerdictKind};
use crate::verify::{Check, Report};

/// A report on the story after `change`, with the plan disclosed.
fn told(change: impl FnOnce(&mut Vec<Record>)) -> Report {
    let mut records = story();
    change(&mut records);
    let mut receipt = receipt_of(&records);
    receipt.disclosures = vec![plan().into_bytes()];
    report(&receipt)
}

/// Asserts that the changed story has one fault in the chain.
#[track_caller]
fn assert_chain(number: usize, member: &str, change: impl FnOnce(&mut Vec<Record>)) {
    assert_fault(&told(change), Check::Chain, Some(index_of(number)), member);
}

/// Asserts that the changed story has one fault of completeness.
#[track_caller]
fn assert_incomplete(number: Option<usize>, member: &str, change: impl FnOnce(&mut Vec<Record>)) {
    assert_fault(
        &told(change),
        Check::Completeness,
        number.map(index_of),
        member,
    );
}

fn step(record: &mut Record) -> &mut crate::record::StepRef {
    record.step.as_mut().unwrap()
}

#[test]
fn the_unchanged_story_has_no_fault() {
    assert!(told(|_| {}).passed());
}

#[test]
fn exactly_the_first_record_opens_the_task() {
    assert_chain(0, "kind", |story| story[0].kind = Kind::TaskClose);
    assert_chain(1, "kind", |story| story[1] = opened());
}

#[test]
fn a_task_is_opened_with_a_plan_and_keeps_it() {
    let report = {
        let mut records = story();
        records[0].plan = None;
        report(&receipt_of(&records))
    };
    assert_fault(&report, Check::Chain, Some(index_of(0)), "plan");
    assert_chain(3, "plan", |story| story[3].plan = Some(digest(0)));
}

#[test]
fn an_effectful_result_needs_its_authorization() {
    assert_chain(2, "hostcalls.count", |story| {
        story.remove(2);
    });
}

#[test]
fn an_authorization_comes_before_its_result() {
    let report = told(|story| story.swap(2, 3));
    let places: Vec<_> = report
        .faults
        .iter()
        .map(|fault| (fault.index, fault.member.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (Some(index_of(2)), "hostcalls.count"),
            (Some(index_of(3)), "kind")
        ]
    );
}

#[test]
fn an_authorization_counts_for_its_own_attempt_only() {
    assert_chain(3, "step.attempt", |story| step(&mut story[3]).attempt = 2);
    let report = told(|story| {
        let lost = failed("pay", 1, Status::Unavailable);
        step(&mut story[3]).attempt = 2;
        story.insert(3, lost);
    });
    assert_fault(&report, Check::Chain, Some(index_of(4)), "hostcalls.count");
}

#[test]
fn an_attempt_is_authorized_once_and_ends_once() {
    assert_chain(3, "kind", |story| story.insert(3, authorized()));
    assert_chain(4, "kind", |story| story.insert(4, paid()));
    assert_chain(2, "kind", |story| story.insert(2, completed("balance", 0)));
}

#[test]
fn attempts_are_counted_from_one_without_gap() {
    assert_chain(1, "step.attempt", |story| step(&mut story[1]).attempt = 2);
    assert_chain(1, "step.attempt", |story| step(&mut story[1]).attempt = 0);
    assert_chain(5, "step.attempt", |story| step(&mut story[5]).attempt = 3);
    assert_chain(5, "step.attempt", |story| step(&mut story[5]).attempt = 1);
}

#[test]
fn a_step_keeps_its_place_and_type() {
    assert_chain(3, "step", |story| {
        step(&mut story[3]).step_type = "other".to_owned();
    });
    assert_chain(3, "step", |story| step(&mut story[3]).index = 7);
    assert_chain(2, "step.index", |story| {
        let mut other = completed("other", 0);
        step(&mut other).index = 0;
        story.insert(2, other);
    });
}

#[test]
fn a_record_of_a_step_says_which() {
    assert_chain(1, "step", |story| story[1].step = None);
}

#[test]
fn nothing_follows_the_end_of_the_task() {
    assert_chain(7, "kind", |story| story.push(completed("late", 9)));
    assert_chain(7, "kind", |story| story.push(closed(Status::Ok)));
}

#[test]
fn an_approval_of_something_else_is_a_fault() {
    assert_chain(2, "approvals[1].subject", |story| {
        story[2].approvals[1].subject = digest(0);
    });
}

#[test]
fn an_approval_is_bound_to_each_thing_that_was_shown() {
    type Change = fn(&mut Record);
    let changes: [Change; 3] = [
        |record| record.component.as_mut().unwrap().digest = digest(0),
        |record| record.input = Some(Blob::plain(b"1").commitment("application/json")),
        |record| record.grants = Some(digest(0)),
    ];
    for change in changes {
        let report = told(|story| {
            change(&mut story[2]);
            change(&mut story[3]);
        });
        let members: Vec<&str> = report
            .faults
            .iter()
            .map(|fault| fault.member.as_str())
            .collect();
        assert_eq!(members, ["approvals[0].subject", "approvals[1].subject"]);
    }
}

#[test]
fn an_approval_whose_subject_cannot_be_computed_is_a_fault() {
    assert_chain(1, "grants", |story| {
        story[1].approvals = vec![approval(&story[1], "ada", Decision::Approve)];
        story[1].grants = None;
    });
}

#[test]
fn as_many_different_people_approve_as_the_policy_asked_for() {
    assert_chain(2, "approvals", |story| {
        story[2].approvals.pop();
    });
    assert_chain(2, "approvals", |story| {
        story[2].approvals[1] = story[2].approvals[0].clone();
    });
    assert_chain(2, "approvals", |story| {
        story[2].approvals[1].role = Some("intern".to_owned());
    });
    assert_chain(1, "approvals", |story| {
        story[1].verdicts = vec![verdict(VerdictKind::NeedsApproval)];
    });
}

#[test]
fn a_rejected_step_does_not_run() {
    assert_chain(2, "approvals", |story| {
        let rejection = approval(&story[2], "eve", Decision::Reject);
        story[2].approvals.push(rejection);
    });
}

#[test]
fn a_denied_step_does_not_run() {
    assert_chain(1, "verdicts", |story| {
        story[1].verdicts = vec![verdict(VerdictKind::Allow), verdict(VerdictKind::Deny)];
    });
    assert_chain(4, "verdicts", |story| {
        story[4].verdicts = vec![verdict(VerdictKind::Deny)];
    });
}

#[test]
fn a_denied_plan_does_not_run() {
    let report = told(|story| {
        let mut plan = verdict(VerdictKind::Deny);
        plan.stage = Stage::Plan;
        story[0].verdicts = vec![plan];
        story.truncate(2);
        story.push(closed(Status::Ok));
    });
    assert_fault(&report, Check::Chain, Some(index_of(1)), "kind");
}

#[test]
fn an_effectful_step_that_nobody_allowed_does_not_run() {
    assert_chain(2, "approvals", |story| {
        story[2].approvals.clear();
        story[2].verdicts.clear();
    });
    assert_chain(2, "approvals", |story| {
        story[2].approvals.clear();
        let mut monitor = verdict(VerdictKind::Allow);
        monitor.mode = Mode::Monitor;
        story[2].verdicts = vec![monitor];
    });
}

#[test]
fn a_denial_says_who_denied() {
    let denied = ended(attempt(Kind::StepDenied, "balance", 0), Status::Denied);
    let report = report(&receipt_of(&[opened(), denied, closed(Status::Denied)]));
    assert_fault(&report, Check::Chain, Some(index_of(1)), "verdicts");
}

#[test]
fn a_step_that_was_authorized_is_not_denied_without_having_run() {
    let mut denied = ended(attempt(Kind::StepDenied, "pay", 1), Status::Denied);
    denied.verdicts = vec![verdict(VerdictKind::Deny)];
    let report = report(&receipt_of(&[
        opened(),
        authorized(),
        denied,
        closed(Status::Denied),
    ]));
    assert_fault(&report, Check::Chain, Some(index_of(2)), "kind");
}

#[test]
fn fuel_stays_within_its_limit() {
    assert_chain(1, "fuel.used", |story| {
        story[1].fuel.as_mut().unwrap().used = 1001;
    });
    assert_chain(1, "fuel.limit", |story| {
        story[1].fuel.as_mut().unwrap().limit = 2000;
    });
}

#[test]
fn the_outcome_fits_the_kind() {
    for (number, status) in [
        (1, Status::Failed),
        (2, Status::Ok),
        (4, Status::Ok),
        (4, Status::Denied),
    ] {
        assert_chain(number, "outcome.status", |story| {
            story[number] = ended(story[number].clone(), status);
        });
    }
    assert_chain(1, "outcome.status", |story| story[1].outcome = None);
    assert_chain(6, "outcome.status", |story| story[6] = closed(Status::Trap));
    assert_chain(6, "outcome", |story| story[6].outcome = None);
}

#[test]
fn a_completed_step_has_what_proves_it() {
    assert_chain(1, "output", |story| story[1].output = None);
    assert_chain(1, "input", |story| story[1].input = None);
    assert_chain(1, "fuel", |story| story[1].fuel = None);
    assert_chain(1, "component", |story| story[1].component = None);
}

#[test]
fn what_was_authorized_is_what_ran() {
    assert_chain(3, "component.digest", |story| {
        story[3].component.as_mut().unwrap().digest = digest(0);
    });
    assert_chain(3, "input.digest", |story| {
        story[3].input.as_mut().unwrap().digest = digest(0);
    });
    assert_chain(3, "grants", |story| story[3].grants = Some(digest(0)));
    assert_chain(3, "limits", |story| {
        story[3].limits.as_mut().unwrap().memory += 1;
    });
    assert_chain(3, "policies", |story| {
        story[2].policies = Some(digest(40));
        story[3].policies = Some(digest(0));
    });
}

#[test]
fn a_task_without_close_is_open() {
    assert_incomplete(None, "entries", |story| {
        story.pop();
    });
}

#[test]
fn the_close_counts_the_records_and_names_the_last() {
    type Change = fn(&mut Record);
    let cases: [(&str, Change); 4] = [
        ("records", |record| record.records = Some(8)),
        ("records", |record| record.records = None),
        ("head", |record| record.head = Some(digest(0))),
        ("head", |record| record.head = None),
    ];
    for (member, change) in cases {
        let (receipt, _) = linked(&story(), |number, record| {
            if number == 6 {
                change(record);
            }
        });
        assert_fault(
            &report(&receipt),
            Check::Completeness,
            Some(index_of(6)),
            member,
        );
    }
}

#[test]
fn a_task_ends_as_its_steps_did() {
    assert_incomplete(Some(5), "outcome.status", |story| {
        story.remove(5);
    });
    assert_incomplete(Some(6), "outcome.status", |story| {
        story[6] = closed(Status::Failed);
    });
    assert_incomplete(Some(6), "outcome.status", |story| {
        story[6] = closed(Status::Denied);
    });
}

#[test]
fn a_task_that_ran_nothing_cannot_be_ok_or_have_failed() {
    for status in [Status::Ok, Status::Failed] {
        let report = report(&receipt_of(&[opened(), closed(status)]));
        assert_fault(&report, Check::Chain, Some(index_of(1)), "kind");
    }
}

#[test]
fn an_authorization_has_its_result_before_the_task_is_closed() {
    assert_incomplete(Some(2), "step", |story| {
        story.remove(3);
        *story.last_mut().unwrap() = closed(Status::Cancelled);
    });
}

#[test]
fn a_task_that_is_ok_has_every_step_of_its_disclosed_plan() {
    assert_incomplete(None, "plan", |story| {
        story.remove(1);
    });
}

#[test]
fn a_step_that_is_not_in_the_disclosed_plan_is_a_fault() {
    assert_incomplete(Some(2), "plan", |story| {
        story.insert(2, completed("other", 3));
    });
}

#[test]
fn a_disclosed_plan_that_is_none_is_a_fault() {
    for text in [&b"no JSON"[..], b"{}", br#"{"steps":[{}]}"#] {
        let blob = Blob::blind([9; 32], text);
        let mut records = story();
        records[0].plan = Some(blob.digest());
        let mut receipt = receipt_of(&records);
        receipt.disclosures = vec![blob.into_bytes()];
        assert_fault(&report(&receipt), Check::Completeness, None, "plan");
    }
}
