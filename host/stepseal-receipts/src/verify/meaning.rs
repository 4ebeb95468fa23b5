//! Whether the records tell a story that can have happened (format §5.6): they replay through the state machines that
//! the host itself runs on.

use std::collections::{BTreeMap, HashMap};

use super::faults::{Faults, Place};
use super::{Pins, Signed, act, attempt, pins};
use crate::record::{Kind, Outcome, Record, Status, StepRef};
use crate::state::{IllegalTransition, StepEvent, StepState, TaskEvent, TaskState};

/// What the records say happened.
pub(super) struct Story<'a> {
    /// Where the task ended up.
    pub(super) task: TaskState,
    /// Every step that has a record.
    pub(super) steps: BTreeMap<&'a str, StepStory<'a>>,
    /// The record that opened the task.
    pub(super) opened: Option<&'a Record>,
}

/// What the records say of one step.
pub(super) struct StepStory<'a> {
    pub(super) state: StepState,
    pub(super) step: &'a StepRef,
    /// The authorization of the attempt that is under way.
    pub(super) authorized: Option<&'a Record>,
    /// Index in the log of its last record.
    pub(super) last_index: u64,
}

/// Folds the records, in order.
pub(super) fn check<'a>(records: &[&'a Signed], pins: &Pins, faults: &mut Faults) -> Story<'a> {
    let mut story = Story {
        task: TaskState::Queued,
        steps: BTreeMap::new(),
        opened: None,
    };
    // Two steps cannot be at one place of the plan.
    let mut places: HashMap<u64, &str> = HashMap::new();
    for signed in records {
        let record = &signed.record;
        let mut place = Place::new(signed.index, faults);
        act::check_none(record, &mut place);
        check_plan(&story, record, &mut place);
        if matches!(record.kind, Kind::TaskOpen | Kind::TaskClose) && !record.approvals.is_empty() {
            place.fault(
                "approvals",
                format!(
                    "an approval is of an attempt of a step, and a {} record can have none",
                    record.kind
                ),
            );
        }
        match record.kind {
            Kind::TaskOpen => {
                open(&mut story, record, &mut place);
                pins::check(pins, record, false, &mut place);
            }
            Kind::TaskClose => close(&mut story, record, &mut place),
            _ => {
                let Some(step) = &record.step else {
                    place.fault(
                        "step",
                        format!("a {} record must say which step it is of", record.kind),
                    );
                    continue;
                };
                let first = *places.entry(step.index).or_insert(&step.id);
                if first != step.id {
                    place.fault(
                        "step.index",
                        format!(
                            "step {:?} is at place {} of the plan, where step {first:?} is",
                            step.id, step.index
                        ),
                    );
                }
                run(&mut story, signed, step, pins, &mut place);
            }
        }
    }
    story
}

fn check_plan(story: &Story<'_>, record: &Record, place: &mut Place<'_>) {
    let pinned = story.opened.and_then(|opened| opened.plan);
    if let (Some(pinned), Some(plan)) = (pinned, record.plan)
        && pinned != plan
    {
        place.fault(
            "plan",
            format!("the plan is {plan}, and {pinned} is expected, which the task was opened with"),
        );
    }
}

fn open<'a>(story: &mut Story<'a>, record: &'a Record, place: &mut Place<'_>) {
    story.opened = Some(record);
    if record.plan.is_none() {
        place.fault("plan", "a task.open record must pin a plan");
    }
}

/// Whether a policy whose word counts denied the whole plan.
pub(super) fn plan_denied(opened: &Record) -> bool {
    attempt::enforced(opened).any(attempt::denies)
}

fn close(story: &mut Story<'_>, record: &Record, place: &mut Place<'_>) {
    let event = match status(record) {
        Some(Status::Ok) => TaskEvent::Succeed,
        Some(Status::Failed) => TaskEvent::Fail,
        Some(Status::Denied) => TaskEvent::Deny,
        Some(Status::Cancelled) => TaskEvent::Cancel,
        Some(other) => {
            place.fault(
                "outcome.status",
                format!("a task ends ok, failed, denied or cancelled, and not {other}"),
            );
            return;
        }
        None => {
            place.fault("outcome", "a task.close record must say how the task ended");
            return;
        }
    };
    match story.task.next(event) {
        Ok(next) => story.task = next,
        Err(illegal) => place.fault("kind", illegal.to_string()),
    }
}

/// Takes one record of a step.
fn run<'a>(
    story: &mut Story<'a>,
    signed: &'a Signed,
    step: &'a StepRef,
    pins: &Pins,
    place: &mut Place<'_>,
) {
    let record = &signed.record;
    if story.task == TaskState::Queued {
        story.task = TaskState::Queued
            .next(TaskEvent::Start)
            .expect("a queued task can start");
    } else if story.task.is_final() {
        place.fault(
            "kind",
            format!(
                "the task is {} already, and no record of a step may follow",
                story.task.as_str()
            ),
        );
        return;
    }
    if story.opened.is_some_and(plan_denied) && attempt::may_run(record) {
        place.fault(
            "kind",
            "the step ran although a policy denied the plan when the task was opened",
        );
    }
    let opened = story.opened;
    let known = story.steps.entry(&step.id).or_insert(StepStory {
        state: StepState::Pending,
        step,
        authorized: None,
        last_index: signed.index,
    });
    if (step.index, &step.step_type) != (known.step.index, &known.step.step_type) {
        place.fault(
            "step",
            format!(
                "index and type of step {:?} differ from those of its earlier record",
                step.id
            ),
        );
    }
    if let Some(message) = status_fault(record) {
        place.fault("outcome.status", message);
    }
    if let Err((member, message)) = advance(known, record, step) {
        place.fault(member, message);
        return;
    }
    attempt::check(record, known.authorized, opened, place);
    pins::check(pins, record, known.authorized.is_some(), place);
    known.step = step;
    known.last_index = signed.index;
    known.authorized = (record.kind == Kind::StepAuthorized).then_some(record);
}

/// Moves the step's state machine as far as the record says, and checks the number of the attempt.
fn advance(
    known: &mut StepStory<'_>,
    record: &Record,
    step: &StepRef,
) -> Result<(), (&'static str, String)> {
    let mut state = known.state;
    // A step that was not seen before is at its first attempt; one that failed is tried again under the next number.
    let expected = match state {
        StepState::Pending => Some(1),
        StepState::Failed => known.step.attempt.checked_add(1),
        _ => Some(known.step.attempt),
    };
    if Some(step.attempt) != expected {
        let (id, found) = (&step.id, step.attempt);
        let expected = expected.map_or("none".to_owned(), |expected| expected.to_string());
        return Err((
            "step.attempt",
            format!("attempt {found} of step {id:?}, and attempt {expected} is expected"),
        ));
    }
    let illegal = |error: IllegalTransition| {
        let (kind, id) = (record.kind, &step.id);
        (
            "kind",
            format!("{kind} of step {id:?} cannot follow its earlier records: {error}"),
        )
    };
    if state == StepState::Failed {
        state = state.next(StepEvent::Retry).map_err(illegal)?;
    }
    for event in events(state, record) {
        state = state.next(event).map_err(illegal)?;
    }
    known.state = state;
    Ok(())
}

/// What happened to the step between its last record and this one.
fn events(state: StepState, record: &Record) -> Vec<StepEvent> {
    let end = match record.kind {
        Kind::StepAuthorized => None,
        Kind::StepCompleted => Some(StepEvent::Succeed),
        Kind::StepDenied => Some(StepEvent::Deny),
        _ if status(record) == Some(Status::Cancelled) => Some(StepEvent::Cancel),
        _ => Some(StepEvent::Fail),
    };
    let ran = record.kind == Kind::StepCompleted || record.fuel.is_some();
    let asked = !record.approvals.is_empty();
    let mut events = Vec::new();
    if state != StepState::Authorized {
        let judged = end != Some(StepEvent::Fail) || ran || asked || !record.verdicts.is_empty();
        if judged {
            events.push(StepEvent::Judge);
        }
        if asked {
            events.push(StepEvent::AskApproval);
        }
        if ran || end.is_none() || (asked && end == Some(StepEvent::Fail)) {
            events.push(StepEvent::Authorize);
        }
    } else if end.is_none() {
        // Authorized twice: the machine says no.
        events.push(StepEvent::Authorize);
    }
    if ran {
        events.push(StepEvent::Start);
    }
    events.extend(end);
    events
}

/// Whether the outcome is one that the record's kind can have.
fn status_fault(record: &Record) -> Option<String> {
    let kind = record.kind;
    let expected = match kind {
        Kind::StepAuthorized => None,
        Kind::StepCompleted => Some("ok"),
        Kind::StepDenied => Some("denied"),
        _ => Some("neither ok nor denied"),
    };
    let fits = match (kind, status(record)) {
        (Kind::StepAuthorized, found) => found.is_none(),
        (Kind::StepCompleted, found) => found == Some(Status::Ok),
        (Kind::StepDenied, found) => found == Some(Status::Denied),
        (_, None | Some(Status::Ok | Status::Denied)) => false,
        (_, Some(_)) => true,
    };
    let found = status(record).map_or("absent", Status::as_str);
    let expected = expected.unwrap_or("no outcome yet");
    (!fits).then(|| format!("the status of a {kind} record is {found}, and {expected} is expected"))
}

fn status(record: &Record) -> Option<Status> {
    record
        .outcome
        .as_ref()
        .map(|Outcome { status, .. }| *status)
}
