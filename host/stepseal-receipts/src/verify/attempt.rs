//! What one record of a step must hold by itself and beside its authorization.

use super::approvals;
use super::faults::Place;
use crate::digest::Digest;
use crate::record::{Approval, Decision, Kind, Mode, Record, Stage, Verdict, VerdictKind};

/// Whether the record says that the attempt ran, or that it may.
pub(super) fn may_run(record: &Record) -> bool {
    matches!(record.kind, Kind::StepAuthorized | Kind::StepCompleted) || record.fuel.is_some()
}

/// Checks one record. `authorized` is the authorization of the same attempt, `opened` the record that opened the task.
pub(super) fn check(
    record: &Record,
    authorized: Option<&Record>,
    opened: Option<&Record>,
    place: &mut Place<'_>,
) {
    check_present(record, place);
    check_usage(record, place);
    match authorized {
        Some(authorized) => check_same(record, authorized, place),
        None => check_pure(record, place),
    }
    let policies = opened.and_then(|opened| opened.policies);
    approvals::check_subjects(record, authorized, policies.as_ref(), place);
    if may_run(record) {
        check_allowed(record, place);
        check_asked(record, authorized, opened, place);
    }
    if record.kind == Kind::StepDenied {
        check_denied(record, place);
    }
}

/// The members without which the record proves nothing.
fn check_present(record: &Record, place: &mut Place<'_>) {
    if !may_run(record) {
        return;
    }
    let completed = record.kind == Kind::StepCompleted;
    let needed = [
        ("component", record.component.is_some()),
        ("input", record.input.is_some()),
        (
            "grants",
            record.grants.is_some() || record.kind != Kind::StepAuthorized,
        ),
        ("output", record.output.is_some() || !completed),
        ("fuel", record.fuel.is_some() || !completed),
    ];
    for (member, present) in needed {
        if !present {
            place.fault(
                member,
                format!("a {} record must have the member {member}", record.kind),
            );
        }
    }
}

fn check_usage(record: &Record, place: &mut Place<'_>) {
    let Some(fuel) = record.fuel else { return };
    if fuel.used > fuel.limit {
        place.fault(
            "fuel.used",
            format!(
                "the step used {} fuel, and at most {} is expected",
                fuel.used, fuel.limit
            ),
        );
    }
    if let Some(limits) = record.limits
        && limits.fuel != fuel.limit
    {
        place.fault(
            "fuel.limit",
            format!(
                "the limit is {}, and {} is expected as in limits.fuel",
                fuel.limit, limits.fuel
            ),
        );
    }
}

/// A step without an authorization cannot have touched the world.
fn check_pure(record: &Record, place: &mut Place<'_>) {
    let calls = record.hostcalls.map_or(0, |calls| calls.count);
    if calls > 0 {
        place.fault(
            "hostcalls.count",
            format!("the step made {calls} effectful calls, and a step.authorized record of this attempt is expected before"),
        );
    }
}

/// What was authorized is what ran.
fn check_same(record: &Record, authorized: &Record, place: &mut Place<'_>) {
    let component = |record: &Record| record.component.as_ref().map(|component| component.digest);
    let input = |record: &Record| record.input.as_ref().map(|input| input.digest);
    let pinned: [(&str, Option<Digest>, Option<Digest>); 4] = [
        ("component.digest", component(record), component(authorized)),
        ("input.digest", input(record), input(authorized)),
        ("grants", record.grants, authorized.grants),
        ("policies", record.policies, authorized.policies),
    ];
    for (member, found, expected) in pinned {
        if let (Some(found), Some(expected)) = (found, expected)
            && found != expected
        {
            place.fault(
                member,
                format!("{found} ran, and {expected} is expected, which was authorized"),
            );
        }
    }
    if let (Some(found), Some(expected)) = (record.limits, authorized.limits)
        && found != expected
    {
        place.fault(
            "limits",
            "the step ran under other limits than were authorized",
        );
    }
}

/// The verdicts whose word counts.
pub(super) fn enforced(record: &Record) -> impl Iterator<Item = &Verdict> {
    let verdicts = record.verdicts.iter();
    verdicts.filter(|verdict| verdict.mode == Mode::Enforce)
}

fn has(record: &Record, decision: Decision) -> Option<&Approval> {
    let mut approvals = record.approvals.iter();
    approvals.find(|approval| approval.decision == decision)
}

/// Whether a verdict is a no. After the step nobody is left to ask, so whoever needs an approval there says no.
pub(super) fn denies(verdict: &Verdict) -> bool {
    match verdict.verdict {
        VerdictKind::Deny => true,
        VerdictKind::NeedsApproval => verdict.stage == Stage::AfterStep,
        VerdictKind::NotApplicable | VerdictKind::Allow => false,
    }
}

/// Nobody said no. What the authorization says was checked with the authorization.
fn check_allowed(record: &Record, place: &mut Place<'_>) {
    let kind = record.kind;
    for verdict in enforced(record) {
        // A denial with the output at hand comes after the step ran, and then ends it as denied.
        let after = kind == Kind::StepDenied && verdict.stage == Stage::AfterStep;
        if denies(verdict) && !after {
            let name = &verdict.name;
            place.fault(
                "verdicts",
                format!("policy {name:?} denied the step, and {kind} is not expected"),
            );
        }
    }
    if let Some(no) = has(record, Decision::Reject).filter(|_| kind != Kind::StepDenied) {
        let name = &no.approver;
        place.fault(
            "approvals",
            format!("{name:?} rejected the step, and {kind} is not expected"),
        );
    }
}

/// Everybody who had to be asked said yes, and an effectful step did not run unasked. A policy that wants the plan
/// approved wants it of every step. Of an attempt that was authorized, that was settled with the authorization.
fn check_asked(
    record: &Record,
    authorized: Option<&Record>,
    opened: Option<&Record>,
    place: &mut Place<'_>,
) {
    let of_plan = opened.filter(|_| authorized.is_none());
    let verdicts = of_plan
        .into_iter()
        .flat_map(enforced)
        .chain(enforced(record));
    for verdict in verdicts {
        if verdict.verdict == VerdictKind::NeedsApproval && !denies(verdict) {
            approvals::check_quorum(verdict, record, authorized, place);
        }
    }
    let allows = |verdict: &Verdict| {
        verdict.stage == Stage::BeforeStep
            && matches!(
                verdict.verdict,
                VerdictKind::Allow | VerdictKind::NeedsApproval
            )
    };
    let asked = enforced(record).any(allows) || has(record, Decision::Approve).is_some();
    if record.kind == Kind::StepAuthorized && !asked {
        place.fault(
            "approvals",
            "no policy allowed the effectful step, and a person's approval is expected",
        );
    }
}

/// A denial says who denied.
fn check_denied(record: &Record, place: &mut Place<'_>) {
    let by_policy = enforced(record).any(denies);
    let by_person = has(record, Decision::Reject).is_some();
    let by_code = record
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.code.is_some());
    if !by_policy && !by_person && !by_code {
        place.fault(
            "verdicts",
            "the step is denied, and a verdict, a rejection or a code that says why is expected",
        );
    }
}
