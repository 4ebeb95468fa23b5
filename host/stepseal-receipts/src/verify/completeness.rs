//! Whether the receipt tells the whole of the task: it is closed, and the end fits what came before.

use serde_json::Value;

use super::erased::Restated;
use super::faults::Faults;
use super::meaning::{self, Story};
use super::{Check, Signed};
use crate::digest::Digest;
use crate::json::{self, Limits, PAYLOAD_DEPTH_MAX};
use crate::payload::{BLIND1_PREFIX, SALT_BYTES};
use crate::record::Kind;
use crate::state::{StepState, TaskState};

/// Largest disclosed plan that is read, in bytes.
const PLAN_BYTES_MAX: usize = 16 * 1024 * 1024;

const OPEN: &str =
    "open: tail unproven. The last entry is not task.close, so records after it may be missing";

/// Whether a record closes its task.
pub(super) fn closes(signed: &Signed) -> bool {
    signed.record.kind == Kind::TaskClose
}

/// Checks the end of a task whose records make a chain and a story.
pub(super) fn check(
    disclosures: &[Vec<u8>],
    records: &[&Signed],
    story: &Story<'_>,
    allow_open: bool,
    faults: &mut Faults,
) {
    let Some(last) = records.last() else { return };
    check_steps_in_plan(disclosures, story, faults);
    if !closes(last) {
        if !allow_open {
            faults.add(Check::Completeness, None, "entries", &OPEN);
        }
        return;
    }
    check_count(last, records.len(), faults);
    if let Some(message) = end_fault(story) {
        faults.add(
            Check::Completeness,
            Some(last.index),
            "outcome.status",
            &message,
        );
    }
    for step in story
        .steps
        .values()
        .filter(|step| step.state == StepState::Authorized)
    {
        faults.add(
            Check::Completeness,
            Some(step.last_index),
            "step",
            &format!("step {:?} was authorized, and a record of how it ended is expected before task.close", step.step.id),
        );
    }
}

/// Checks the end of a task whose entries make a chain and are erased in part, so that they tell no story. Returns whether
/// the end is there.
pub(super) fn check_erased(
    records: &[&Signed],
    restated: &[Restated],
    allow_open: bool,
    faults: &mut Faults,
) -> bool {
    let last_erased = restated.last().map(|erased| erased.index);
    let ends = |signed: &Signed| last_erased.is_none_or(|index| index < signed.index);
    let last = records.last().filter(|signed| ends(signed));
    for signed in records.iter().filter(|signed| closes(signed)) {
        if last.is_none_or(|last| last.index != signed.index) {
            let message = "nothing may follow task.close, and an entry does";
            faults.add(Check::Chain, Some(signed.index), "kind", &message);
        }
    }
    match last {
        Some(last) if closes(last) => {
            check_count(last, records.len() + restated.len(), faults);
            true
        }
        Some(_) if !allow_open => {
            faults.add(Check::Completeness, None, "entries", &OPEN);
            false
        }
        _ => false,
    }
}

/// Whether `task.close` counts as many records as there are, and names the one before. That this is the one its `prev` names
/// was checked with the chain.
fn check_count(close: &Signed, count: usize, faults: &mut Faults) {
    let mut fault = |member: &str, message: String| {
        faults.add(Check::Completeness, Some(close.index), member, &message);
    };
    let record = &close.record;
    if record.records != Some(count as u64) {
        let found = record
            .records
            .map_or("absent".to_owned(), |found| found.to_string());
        fault(
            "records",
            format!("the number of records is {found}, and {count} is expected"),
        );
    }
    let before = record.task.as_ref().and_then(|task| task.prev);
    if record.head != before {
        let shown = |digest: Option<Digest>| {
            digest.map_or("absent".to_owned(), |digest| digest.to_string())
        };
        fault(
            "head",
            format!(
                "the head is {}, and {} is expected, the leaf hash of the entry before",
                shown(record.head),
                shown(before)
            ),
        );
    }
}

/// Whether the task can have ended so, given how its steps did.
fn end_fault(story: &Story<'_>) -> Option<String> {
    let has = |state: StepState| story.steps.values().any(|step| step.state == state);
    match story.task {
        TaskState::Succeeded => {
            let mut unfinished: Vec<_> = story
                .steps
                .values()
                .filter(|step| step.state != StepState::Succeeded)
                .collect();
            unfinished.sort_by_key(|step| step.step.index);
            let step = unfinished.first()?;
            let (id, state) = (&step.step.id, step.state.as_str());
            Some(format!(
                "the task is ok although step {id:?} is {state}; every step must have succeeded"
            ))
        }
        TaskState::Failed if !has(StepState::Failed) => {
            Some("the task failed although no step did".to_owned())
        }
        TaskState::Denied => {
            let denied = has(StepState::Denied) || story.opened.is_some_and(meaning::plan_denied);
            (!denied).then(|| {
                "the task is denied although no step was and no policy denied its plan".to_owned()
            })
        }
        _ => None,
    }
}

/// Where the plan is disclosed: every step that has a record is one of the plan, and a task that is ok has them all.
fn check_steps_in_plan(disclosures: &[Vec<u8>], story: &Story<'_>, faults: &mut Faults) {
    let Some(pinned) = story.opened.and_then(|opened| opened.plan) else {
        return;
    };
    let mut blobs = disclosures.iter();
    let Some(blob) = blobs.find(|blob| Digest::of(blob) == pinned) else {
        return;
    };
    let mut fault = |index: Option<u64>, message: String| {
        faults.add(Check::Completeness, index, "plan", &message);
    };
    let ids = match step_ids(blob) {
        Ok(ids) => ids,
        Err(reason) => {
            return fault(None, format!("the disclosed plan cannot be read: {reason}"));
        }
    };
    for step in story.steps.values() {
        let (id, index) = (&step.step.id, step.step.index);
        let planned = usize::try_from(index).ok().and_then(|place| ids.get(place));
        if planned != Some(id) {
            fault(
                Some(step.last_index),
                format!("step {id:?} is not in the plan at its place {index}"),
            );
        }
    }
    if story.task == TaskState::Succeeded {
        for id in ids
            .iter()
            .filter(|id| !story.steps.contains_key(id.as_str()))
        {
            fault(
                None,
                format!("the task is ok although step {id:?} of its plan has no record"),
            );
        }
    }
}

fn step_ids(blob: &[u8]) -> Result<Vec<String>, String> {
    let plan = blob
        .strip_prefix(BLIND1_PREFIX)
        .and_then(|rest| rest.get(SALT_BYTES..))
        .ok_or("it is no blind1 blob")?;
    let limits = Limits {
        bytes_max: PLAN_BYTES_MAX,
        depth_max: PAYLOAD_DEPTH_MAX,
    };
    let plan = json::parse(plan, &limits).map_err(|error| error.to_string())?;
    let steps = plan.get("steps").and_then(Value::as_array);
    let steps = steps.ok_or("it has no list of steps")?;
    let id = |step: &Value| step.get("id").and_then(Value::as_str).map(str::to_owned);
    steps
        .iter()
        .map(|step| id(step).ok_or_else(|| "a step of it has no id".to_owned()))
        .collect()
}
