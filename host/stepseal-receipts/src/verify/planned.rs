//! Whether what happened is what the plan says, where the plan is disclosed (format §5, Meaning).

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::faults::Faults;
use super::meaning::Story;
use super::{Check, IN_PART, TIMEOUT};
use crate::digest::Digest;
use crate::json::{self, Limits, PAYLOAD_DEPTH_MAX};
use crate::payload::{BLIND1_PREFIX, SALT_BYTES};
use crate::plan::{Fate, Root, Source, fate};
use crate::state::{StepState, TaskState};
use crate::time::Timestamp;

/// Largest disclosed plan, input or output that is read, in bytes.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a verifier reads of a plan. What else is in it is not its business.
#[derive(Deserialize)]
struct Plan {
    steps: Vec<Step>,
    timeout_ms: Option<u64>,
    not_before: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Step {
    id: String,
    #[serde(default)]
    with: Value,
    #[serde(rename = "if")]
    condition: Option<Value>,
    on_failure: Option<String>,
}

/// The plan, and what else can be looked at beside it.
struct Planned<'a> {
    plan: Plan,
    story: &'a Story<'a>,
    /// What conditions point into, as far as it is disclosed.
    input: Option<Value>,
    outputs: HashMap<&'a str, Value>,
}

/// Checks the story against its plan, where that is disclosed.
pub(super) fn check(disclosures: &[Vec<u8>], story: &Story<'_>, faults: &mut Faults) {
    let Some(pinned) = story.opened.and_then(|opened| opened.plan) else {
        return;
    };
    let mut blobs = disclosures.iter();
    let Some(blob) = blobs.find(|blob| Digest::of(blob) == pinned) else {
        return;
    };
    let plan = payload(blob).and_then(|plan| read_plan(&plan));
    let plan = match plan {
        Ok(plan) => plan,
        Err(reason) => {
            let message = format!("the disclosed plan cannot be read: {reason}");
            return faults.add(Check::Completeness, None, "plan", &message);
        }
    };
    let planned = Planned::new(plan, disclosures, story);
    planned.check_places(faults);
    planned.check_skipped(faults);
    if story.task == TaskState::Succeeded {
        planned.check_let_go(faults);
    }
    if story.closes_with(TIMEOUT) {
        planned.check_time(faults);
    }
}

fn payload(blob: &[u8]) -> Result<Value, String> {
    let payload = blob
        .strip_prefix(BLIND1_PREFIX)
        .and_then(|rest| rest.get(SALT_BYTES..))
        .ok_or("it is no blind1 blob")?;
    let limits = Limits {
        bytes_max: PAYLOAD_BYTES_MAX,
        depth_max: PAYLOAD_DEPTH_MAX,
    };
    json::parse(payload, &limits).map_err(|error| error.to_string())
}

fn read_plan(plan: &Value) -> Result<Plan, String> {
    Plan::deserialize(plan).map_err(|error| error.to_string())
}

impl<'a> Planned<'a> {
    fn new(plan: Plan, disclosures: &[Vec<u8>], story: &'a Story<'a>) -> Self {
        let mut planned = Self {
            plan,
            story,
            input: None,
            outputs: HashMap::new(),
        };
        let conditions = planned.plan.steps.iter();
        if conditions
            .filter_map(|step| step.condition.as_ref())
            .count()
            > 0
        {
            let blobs = disclosures.iter().map(|blob| (Digest::of(blob), blob));
            let blobs: HashMap<Digest, &Vec<u8>> = blobs.collect();
            let read = |digest: Digest| payload(blobs.get(&digest)?).ok();
            let input = story.opened.and_then(|opened| opened.input.as_ref());
            planned.input = input.and_then(|input| read(input.digest));
            for (id, step) in &story.steps {
                let output = step.output.and_then(read);
                planned.outputs.extend(output.map(|output| (*id, output)));
            }
        }
        planned
    }

    /// Every step that has a record is one of the plan, at its place.
    fn check_places(&self, faults: &mut Faults) {
        for step in self.story.steps.values() {
            let (id, index) = (&step.step.id, step.step.index);
            let place = usize::try_from(index).ok();
            let planned = place.and_then(|place| self.plan.steps.get(place));
            if planned.map(|planned| &planned.id) != Some(id) {
                let message = format!("step {id:?} is not in the plan at its place {index}");
                faults.add(Check::Completeness, Some(step.last_index), "plan", &message);
            }
        }
    }

    fn look(&self, root: &Root) -> Source<'_> {
        let known = match root {
            Root::Input => self.input.as_ref(),
            Root::Output(step) => {
                let state = self.story.steps.get(step.as_str()).map(|step| step.state);
                if state != Some(StepState::Succeeded) {
                    return Source::Nothing;
                }
                self.outputs.get(step.as_str())
            }
        };
        known.map_or(Source::Unknown, Source::Is)
    }

    /// A step has no record exactly where the plan's own rules skip it, as far as what they look at is disclosed; or where the task
    /// did not come so far.
    fn check_skipped(&self, faults: &mut Faults) {
        for step in &self.plan.steps {
            let known = self.story.steps.get(step.id.as_str());
            let complete = self.story.task == TaskState::Succeeded;
            if known.is_none() && !complete {
                continue;
            }
            let id = &step.id;
            match (
                known,
                fate(&step.with, step.condition.as_ref(), &|root| self.look(root)),
            ) {
                (Some(known), Fate::Skipped(why)) => {
                    let message =
                        format!("step {id:?} has a record although its plan skips it: {why}");
                    faults.add(
                        Check::Completeness,
                        Some(known.last_index),
                        "plan",
                        &message,
                    );
                }
                (None, Fate::Runs | Fate::Fails(_)) => {
                    let message =
                        format!("the task is ok although step {id:?} of its plan has no record");
                    faults.add(Check::Completeness, None, "plan", &message);
                }
                _ => {}
            }
        }
    }

    /// A task that is ok says so where not every step succeeded, and then only those failed that the plan lets fail. Without that word
    /// none may have failed, whatever the plan says.
    fn check_let_go(&self, faults: &mut Faults) {
        let (mut complete, mut skipped, mut failed_unsaid) = (true, false, false);
        let in_part = self.story.closes_with(IN_PART);
        for step in &self.plan.steps {
            let known = self.story.steps.get(step.id.as_str());
            skipped |= known.is_none();
            complete &= known.is_some_and(|known| known.state == StepState::Succeeded);
            let failed = known.filter(|known| known.state == StepState::Failed);
            failed_unsaid |= failed.is_some() && !in_part;
            let lets_fail = step.on_failure.as_deref() == Some("continue");
            if let Some(failed) = failed.filter(|_| in_part && !lets_fail) {
                let id = &step.id;
                let message = format!(
                    "the task is ok although step {id:?} failed, which its plan does not let pass"
                );
                faults.add(
                    Check::Completeness,
                    Some(failed.last_index),
                    "plan",
                    &message,
                );
            }
        }
        let message = match (in_part, complete, skipped) {
            (true, true, _) => {
                "every step of the plan succeeded, and the code \"in-part\" is not expected"
            }
            // A step that should have a record and has none is a fault by itself, and so is one that failed.
            (false, _, true) if !failed_unsaid && !faults.any(Check::Completeness) => {
                "the plan skips a step, and the code \"in-part\" is expected"
            }
            _ => return,
        };
        let index = self.story.closed.map(|(index, _)| index);
        faults.add(Check::Completeness, index, "outcome.code", &message);
    }

    /// A task that ran out of its time was given some, and had it.
    fn check_time(&self, faults: &mut Faults) {
        let Some((index, close)) = self.story.closed else {
            return;
        };
        let mut fault = |member: &str, message: &str| {
            faults.add(Check::Completeness, Some(index), member, &message);
        };
        let Some(timeout_ms) = self.plan.timeout_ms else {
            return fault(
                "outcome.code",
                "the task ran out of its time, and its plan sets none",
            );
        };
        let opened = self.story.opened.and_then(|opened| opened.time);
        if let (Some(opened), Some(closed)) = (opened, close.time) {
            let begins = self
                .plan
                .not_before
                .map_or(opened.start, |at| at.max(opened.start));
            if closed.end.unix_ms() < begins.unix_ms().saturating_add(timeout_ms) {
                fault("time", "the task ran out of its time before it was over");
            }
        }
    }
}
