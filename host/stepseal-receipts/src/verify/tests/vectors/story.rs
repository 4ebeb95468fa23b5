//! Records that are signed, linked and in the log, and tell what cannot have happened.

use super::super::world::*;
use super::{Vector, effectful, pure, retried};
use crate::payload::Blob;
use crate::record::{Decision, Kind, Mode, Record, Stage, Status, StepRef, VerdictKind};

/// Name, what is wrong, number of the record at fault, member at fault, change of the task's records.
type Row = (
    &'static str,
    &'static str,
    usize,
    &'static str,
    fn(&mut Vec<Record>),
);

fn step(record: &mut Record) -> &mut StepRef {
    record.step.as_mut().unwrap()
}

fn at(mut verdict: crate::record::Verdict, stage: Stage) -> Vec<crate::record::Verdict> {
    verdict.stage = stage;
    vec![verdict]
}

fn denied(id: &str, index: u64) -> Record {
    ended(attempt(Kind::StepDenied, id, index), Status::Denied)
}

/// Of a task with one pure step.
#[rustfmt::skip]
const PURE: &[Row] = &[
    ("opened-twice", "A second record opens the task.", 1, "kind", |s| s.insert(1, opened())),
    ("not-opened", "The first record does not open the task.", 0, "kind", |s| s[0].kind = Kind::TaskClose),
    ("plan-absent", "The task is opened without a plan.", 0, "plan", |s| s[0].plan = None),
    ("plan-changed", "A later record names another plan.", 1, "plan", |s| s[1].plan = Some(digest(0))),
    ("step-absent", "A record of a step does not say which.", 2, "step", |s| s.insert(2, {
        let mut other = s[1].clone();
        other.step = None;
        other
    })),
    ("attempt-zero", "The first attempt is number 0.", 1, "step.attempt", |s| step(&mut s[1]).attempt = 0),
    ("attempt-two-first", "The first attempt is number 2.", 1, "step.attempt", |s| step(&mut s[1]).attempt = 2),
    ("completed-twice", "An attempt is completed twice.", 2, "kind", |s| s.insert(2, s[1].clone())),
    ("two-steps-at-one-place", "Two steps are at one place of the plan.", 2, "step.index", |s| s.insert(2, {
        let mut other = s[1].clone();
        step(&mut other).id = "other".to_owned();
        other
    })),
    ("record-after-the-end", "A record of a step follows task.close.", 3, "kind", |s| s.push(completed("late", 9))),
    ("closed-twice", "A second record closes the task.", 3, "kind", |s| s.push(closed(Status::Ok))),
    ("effect-without-authorization", "A step made effectful calls and was not authorized.", 1, "hostcalls.count", |s| s[1].hostcalls = paid().hostcalls),
    ("denied-and-ran", "A policy denied the step, and it ran.", 1, "verdicts", |s| s[1].verdicts = vec![verdict(VerdictKind::Allow), verdict(VerdictKind::Deny)]),
    ("denied-afterwards-and-completed", "A policy denied the output, and the step is completed.", 1, "verdicts", |s| s[1].verdicts = at(verdict(VerdictKind::Deny), Stage::AfterStep)),
    ("asked-afterwards-and-completed", "A policy wanted an approval after the step, when nobody is left to ask, and the step is completed.", 1, "verdicts", |s| s[1].verdicts = at(verdict(VerdictKind::NeedsApproval), Stage::AfterStep)),
    ("asked-and-nobody-approved", "A policy wanted an approval, nobody gave it, and the step ran.", 1, "approvals", |s| s[1].verdicts = vec![verdict(VerdictKind::NeedsApproval)]),
    ("asked-for-nobody", "A policy wanted the approval of 0 people, and the step ran without one.", 1, "approvals", |s| {
        s[1].verdicts = vec![verdict(VerdictKind::NeedsApproval)];
        s[1].verdicts[0].approvers = Some(0);
    }),
    ("plan-asked-and-nobody-approved", "A policy wanted the plan approved, nobody did, and a step ran.", 1, "approvals", |s| s[0].verdicts = at(verdict(VerdictKind::NeedsApproval), Stage::Plan)),
    ("plan-denied-and-ran", "A policy denied the plan, and a step ran.", 1, "kind", |s| s[0].verdicts = at(verdict(VerdictKind::Deny), Stage::Plan)),
    ("plan-asked-too-late-and-ran", "An after-step needs-approval in task.open is a denial of the plan, and a step ran.", 1, "kind", |s| s[0].verdicts = at(verdict(VerdictKind::NeedsApproval), Stage::AfterStep)),
    ("denied-and-ran-before", "The step ran unapproved, and was denied with its output at hand.", 1, "approvals", |s| {
        s[1].kind = Kind::StepDenied;
        s[1].verdicts = vec![verdict(VerdictKind::NeedsApproval)];
        s[1].verdicts.extend(at(verdict(VerdictKind::Deny), Stage::AfterStep));
        s[1] = ended(s[1].clone(), Status::Denied);
        s[2] = closed(Status::Denied);
    }),
    ("denied-without-a-reason", "A step is denied, and nobody denied it.", 1, "verdicts", |s| {
        s[1] = denied("balance", 0);
        s[2] = closed(Status::Denied);
    }),
    ("denied-by-a-monitor", "A step is denied, and only a policy that monitors denied it.", 1, "verdicts", |s| {
        s[1] = denied("balance", 0);
        s[1].verdicts = vec![verdict(VerdictKind::Deny)];
        s[1].verdicts[0].mode = Mode::Monitor;
        s[2] = closed(Status::Denied);
    }),
    ("approval-of-the-task", "An approval in task.open, which is bound to nothing.", 0, "approvals", |s| s[0].approvals = vec![approval(&authorized(), "eve", Decision::Approve)]),
    ("approval-of-the-end", "An approval in task.close, which is bound to nothing.", 2, "approvals", |s| s[2].approvals = vec![approval(&authorized(), "eve", Decision::Approve)]),
    ("approval-without-grants", "An approval whose subject cannot be computed.", 1, "grants", |s| s[1].approvals = vec![approval(&authorized(), "ada", Decision::Approve)]),
    ("fuel-over-the-limit", "A step used more fuel than it had.", 1, "fuel.used", |s| s[1].fuel.as_mut().unwrap().used = 1001),
    ("fuel-limits-differ", "fuel.limit is not limits.fuel.", 1, "fuel.limit", |s| {
        s[1].limits = completed("balance", 0).limits;
        s[1].fuel.as_mut().unwrap().limit = 2000;
    }),
    ("output-absent", "A completed step without an output.", 1, "output", |s| s[1].output = None),
    ("input-absent", "A completed step without an input.", 1, "input", |s| s[1].input = None),
    ("fuel-absent", "A completed step without fuel.", 1, "fuel", |s| s[1].fuel = None),
    ("component-absent", "A completed step without a component.", 1, "component", |s| s[1].component = None),
    ("outcome-absent", "A completed step without an outcome.", 1, "outcome.status", |s| s[1].outcome = None),
    ("completed-failed", "A completed step whose status is failed.", 1, "outcome.status", |s| s[1] = ended(s[1].clone(), Status::Failed)),
    ("end-outcome-absent", "A closed task without an outcome.", 2, "outcome", |s| s[2].outcome = None),
    ("end-status", "A task that ends in a trap.", 2, "outcome.status", |s| s[2] = closed(Status::Trap)),
    ("ok-without-a-step", "A task is ok, and nothing ran.", 1, "kind", |s| drop(s.remove(1))),
    ("failed-without-a-step", "A task failed, and nothing ran.", 1, "kind", |s| {
        s[2] = closed(Status::Failed);
        s.remove(1);
    }),
];

/// Of a task with one effectful step.
#[rustfmt::skip]
const EFFECTFUL: &[Row] = &[
    ("result-without-authorization", "The authorization is missing.", 1, "hostcalls.count", |s| drop(s.remove(1))),
    ("authorized-twice", "An attempt is authorized twice.", 2, "kind", |s| s.insert(2, s[1].clone())),
    ("authorized-another-attempt", "The authorization is of another attempt.", 2, "step.attempt", |s| step(&mut s[2]).attempt = 2),
    ("authorized-with-an-outcome", "An authorization has an outcome.", 1, "outcome.status", |s| s[1] = ended(s[1].clone(), Status::Ok)),
    ("nobody-allowed", "An effectful step that nobody allowed.", 1, "approvals", |s| s[1].verdicts.clear()),
    ("allowed-by-a-monitor", "An effectful step that only a policy that monitors allowed.", 1, "approvals", |s| s[1].verdicts[0].mode = Mode::Monitor),
    ("allowed-at-another-stage", "An effectful step that a policy allowed at stage plan only.", 1, "approvals", |s| s[1].verdicts[0].stage = Stage::Plan),
    ("allowed-and-rejected", "A person rejected the step, and it was authorized.", 1, "approvals", |s| s[1].approvals = vec![approval(&s[1], "eve", Decision::Reject)]),
    ("too-few-approvers", "A policy wanted two people, and one approved.", 1, "approvals", |s| {
        s[1] = authorized();
        s[1].approvals.pop();
    }),
    ("one-approver-twice", "A policy wanted two people, and one approved twice.", 1, "approvals", |s| {
        s[1] = authorized();
        s[1].approvals[1] = s[1].approvals[0].clone();
    }),
    ("approver-in-another-role", "An approver acted in another role than was asked for.", 1, "approvals", |s| {
        s[1] = authorized();
        s[1].approvals[1].role = Some("intern".to_owned());
    }),
    ("approver-in-no-role", "An approver acted in no role, and one was asked for.", 1, "approvals", |s| {
        s[1] = authorized();
        s[1].approvals[1].role = None;
    }),
    ("approval-of-something-else", "An approval has another subject.", 1, "approvals[1].subject", |s| {
        s[1] = authorized();
        s[1].approvals[1].subject = digest(0);
    }),
    ("approval-of-another-attempt", "An approval is of the next attempt.", 1, "approvals[0].subject", |s| {
        s[1] = authorized();
        let mut next = s[1].clone();
        step(&mut next).attempt = 2;
        s[1].approvals[0] = approval(&next, "ada", Decision::Approve);
    }),
    ("approval-of-another-step", "An approval is of another step.", 1, "approvals[0].subject", |s| {
        s[1] = authorized();
        let mut other = s[1].clone();
        step(&mut other).id = "refund".to_owned();
        s[1].approvals[0] = approval(&other, "ada", Decision::Approve);
    }),
    ("other-component-ran", "Another component ran than was authorized.", 2, "component.digest", |s| s[2].component.as_mut().unwrap().digest = digest(0)),
    ("other-input-ran", "Another input was used than was authorized.", 2, "input.digest", |s| s[2].input.as_mut().unwrap().digest = digest(0)),
    ("other-grants", "The step ran under other grants.", 2, "grants", |s| s[2].grants = Some(digest(0))),
    ("other-limits", "The step ran under other limits.", 2, "limits", |s| s[2].limits.as_mut().unwrap().memory += 1),
    ("other-policies", "The step ran under other policies.", 2, "policies", |s| {
        s[1].policies = Some(digest(40));
        s[2].policies = Some(digest(0));
    }),
    ("other-index", "The step's index changes.", 2, "step", |s| step(&mut s[2]).index = 7),
    ("other-type", "The step's type changes.", 2, "step", |s| step(&mut s[2]).step_type = "other".to_owned()),
    ("authorized-without-grants", "An authorization without grants.", 1, "grants", |s| s[1].grants = None),
    ("authorized-and-denied-unrun", "A step was authorized, and is denied without having run.", 2, "kind", |s| {
        s[2] = denied("pay", 1);
        s[2].verdicts = vec![verdict(VerdictKind::Deny)];
        s[3] = closed(Status::Denied);
    }),
    ("result-twice", "An attempt has two results.", 3, "kind", |s| s.insert(3, s[2].clone())),
    ("rejected-afterwards", "A person rejects the step in its result, and it is completed.", 2, "approvals", |s| s[2].approvals = vec![approval(&s[2], "eve", Decision::Reject)]),
];

/// Of a task with one step that fails and then succeeds.
#[rustfmt::skip]
const RETRIED: &[Row] = &[
    ("attempt-again", "The second attempt has the number of the first.", 2, "step.attempt", |s| step(&mut s[2]).attempt = 1),
    ("attempt-skipped", "The second attempt is number 3.", 2, "step.attempt", |s| step(&mut s[2]).attempt = 3),
    ("attempt-after-cancel", "A cancelled step is tried again.", 2, "step.attempt", |s| s[1] = ended(s[1].clone(), Status::Cancelled)),
    ("attempt-after-success", "A step that succeeded is tried again.", 3, "step.attempt", |s| s.insert(3, {
        let mut third = s[2].clone();
        step(&mut third).attempt = 3;
        third
    })),
    ("failed-ok", "A failed attempt whose status is ok.", 1, "outcome.status", |s| s[1] = ended(s[1].clone(), Status::Ok)),
    ("failed-denied", "A failed attempt whose status is denied.", 1, "outcome.status", |s| s[1] = ended(s[1].clone(), Status::Denied)),
    ("failed-without-an-outcome", "A failed attempt without an outcome.", 1, "outcome.status", |s| s[1].outcome = None),
];

/// Of the end of a task: what is wrong with the whole.
#[rustfmt::skip]
const ENDS: &[Row] = &[
    ("ok-after-a-failure", "The task is ok, and its step failed.", 2, "outcome.status", |s| drop(s.remove(2))),
    ("failed-after-a-success", "The task failed, and no step did.", 3, "outcome.status", |s| s[3] = closed(Status::Failed)),
    ("denied-without-a-denial", "The task is denied, and nobody denied a step or its plan.", 3, "outcome.status", |s| s[3] = closed(Status::Denied)),
];

fn of(
    check: &'static str,
    group: &str,
    base: fn() -> Vec<Record>,
    rows: &'static [Row],
) -> Vec<Vector> {
    let rows = rows.iter().map(|(name, about, number, member, change)| {
        let mut records = base();
        change(&mut records);
        let name = format!("{group}/{name}");
        Vector::refused(
            &name,
            about,
            &receipt_of(&records),
            (check, Some(*number), member),
        )
    });
    rows.collect()
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut unfinished = effectful();
    unfinished.remove(2);
    unfinished[2] = closed(Status::Cancelled);
    let unfinished = Vector::refused(
        "completeness/authorized-without-a-result",
        "A step was authorized, and no record says how it ended.",
        &receipt_of(&unfinished),
        ("completeness", Some(1), "step"),
    );
    [
        of("chain", "meaning", pure, PURE),
        of("chain", "meaning", effectful, EFFECTFUL),
        of("chain", "meaning", retried, RETRIED),
        of("completeness", "completeness", retried, ENDS),
        vec![unfinished, before_its_authorization()],
        plans(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The one story in which a wrong order is two faults: the effect comes unasked, and the authorization after its result.
fn before_its_authorization() -> Vector {
    let mut records = effectful();
    records.swap(1, 2);
    Vector::refused(
        "meaning/result-before-authorization",
        "The result comes before its authorization.",
        &receipt_of(&records),
        ("chain", Some(1), "hostcalls.count"),
    )
    .and_fault("chain", Some(2), "kind")
}

/// The plan is disclosed, and does not fit what ran.
fn plans() -> Vec<Vector> {
    let of =
        |name: &str, about: &str, number: Option<usize>, text: &str, blob: fn(&[u8]) -> Blob| {
            let plan = blob(text.as_bytes());
            let mut records = pure();
            records[0].plan = Some(plan.digest());
            let mut receipt = receipt_of(&records);
            receipt.disclosures = vec![plan.into_bytes()];
            Vector::refused(
                &format!("completeness/{name}"),
                about,
                &receipt,
                ("completeness", number, "plan"),
            )
        };
    let blind = |text: &[u8]| Blob::blind([9; 32], text);
    vec![
        of(
            "plan-has-more",
            "The task is ok, and a step of its plan has no record.",
            None,
            r#"{"steps":[{"id":"balance"},{"id":"pay"}]}"#,
            blind,
        ),
        of(
            "plan-has-another-step",
            "A step ran that is not in the plan.",
            Some(1),
            r#"{"steps":[{"id":"pay"},{"id":"balance"}]}"#,
            blind,
        )
        .and_fault("completeness", None, "plan"),
        of(
            "plan-not-json",
            "The disclosed plan is not JSON.",
            None,
            "no JSON",
            blind,
        ),
        of(
            "plan-without-steps",
            "The disclosed plan has no list of steps.",
            None,
            "{}",
            blind,
        ),
        of(
            "plan-step-without-id",
            "A step of the disclosed plan has no id.",
            None,
            r#"{"steps":[{}]}"#,
            blind,
        ),
        of(
            "plan-duplicate-member",
            "The disclosed plan has a member twice.",
            None,
            r#"{"steps":[{"id":"balance"}],"steps":[]}"#,
            blind,
        ),
        of(
            "plan-without-salt",
            "The plan is disclosed without a salt.",
            None,
            r#"{"steps":[{"id":"balance"}]}"#,
            Blob::plain,
        ),
    ]
}
