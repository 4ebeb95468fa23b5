//! Whether what happened is what the plan says, where the plan is disclosed (format §5, Meaning).

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::faults::Faults;
use super::meaning::{StepStory, Story};
use super::{Check, IN_PART, TIMEOUT};
use crate::digest::Digest;
use crate::json::{self, Limits, PAYLOAD_DEPTH_MAX};
use crate::payload::{BLIND1_PREFIX, SALT_BYTES};
use crate::plan::{Fate, Listed, Root, Rules, Source, fate, listed, split_id};
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
    for_each: Option<ForEach>,
    on_failure: Option<String>,
}

#[derive(Deserialize)]
struct ForEach {
    #[serde(rename = "in")]
    source: Value,
}

/// How a step ended, with all its items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Succeeded,
    Failed,
    /// There is no record of it.
    Absent,
    /// It had no item or was skipped, which cannot be seen.
    Unseen,
    Otherwise,
}

/// The plan, and what else can be looked at beside it.
struct Planned<'a> {
    plan: Plan,
    story: &'a Story<'a>,
    /// Steps that run for each of some items.
    for_each: HashSet<String>,
    /// The items of a step that have a record, by their numbers.
    items: HashMap<&'a str, Vec<(u64, &'a StepStory<'a>)>>,
    /// What rules point into, as far as it is disclosed.
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
        let mut items: HashMap<&str, Vec<(u64, &StepStory<'_>)>> = HashMap::new();
        for (id, step) in &story.steps {
            if let (base, Some(number)) = split_id(id) {
                items.entry(base).or_default().push((number, step));
            }
        }
        for numbered in items.values_mut() {
            numbered.sort_by_key(|(number, _)| *number);
        }
        let for_each = plan.steps.iter().filter(|step| step.for_each.is_some());
        let mut planned = Self {
            for_each: for_each.map(|step| step.id.clone()).collect(),
            plan,
            story,
            items,
            input: None,
            outputs: HashMap::new(),
        };
        let mut steps = planned.plan.steps.iter();
        if steps.any(|step| step.condition.is_some() || step.for_each.is_some()) {
            planned.read_payloads(disclosures);
        }
        planned
    }

    fn read_payloads(&mut self, disclosures: &[Vec<u8>]) {
        let blobs = disclosures.iter().map(|blob| (Digest::of(blob), blob));
        let blobs: HashMap<Digest, &Vec<u8>> = blobs.collect();
        let read = |digest: Digest| payload(blobs.get(&digest)?).ok();
        let input = self.story.opened.and_then(|opened| opened.input.as_ref());
        self.input = input.and_then(|input| read(input.digest));
        for (id, step) in &self.story.steps {
            let output = step.output.and_then(read);
            self.outputs.extend(output.map(|output| (*id, output)));
        }
        for (id, items) in &self.items {
            let output = |(number, (place, step)): (usize, &(u64, &StepStory<'_>))| {
                let in_order = number as u64 == *place;
                match step.state {
                    StepState::Succeeded => self.outputs.get(step.step.id.as_str()).cloned(),
                    StepState::Failed => Some(Value::Null),
                    _ => None,
                }
                .filter(|_| in_order)
            };
            let all: Option<Vec<Value>> = items.iter().enumerate().map(output).collect();
            self.outputs.extend(all.map(|all| (*id, Value::Array(all))));
        }
    }

    /// Every step that has a record is one of the plan, at its place; one that runs for each item has records of its items.
    fn check_places(&self, faults: &mut Faults) {
        for step in self.story.steps.values() {
            let (id, index) = (&step.step.id, step.step.index);
            let (base, item) = split_id(id);
            let place = usize::try_from(index).ok();
            let planned = place.and_then(|place| self.plan.steps.get(place));
            let fits = planned.is_some_and(|planned| {
                // One whose items could not be told failed before it had any.
                let is_item = item.is_some() || step.state == StepState::Failed;
                planned.id == base
                    && (item.is_none() || planned.for_each.is_some())
                    && (planned.for_each.is_none() || is_item)
            });
            if !fits {
                let message = format!("step {id:?} is not in the plan at its place {index}");
                faults.add(Check::Completeness, Some(step.last_index), "plan", &message);
            }
        }
    }

    fn look(&self, root: &Root) -> Source<'_> {
        let known = match root {
            Root::Item => return Source::Unknown,
            Root::Input => self.input.as_ref(),
            Root::Output(step) if self.items.contains_key(step.as_str()) => {
                self.outputs.get(step.as_str())
            }
            Root::Output(step) => match self.story.steps.get(step.as_str()) {
                Some(known) if known.state == StepState::Succeeded => {
                    self.outputs.get(step.as_str())
                }
                None if self.for_each.contains(step) => return Source::Unknown,
                _ => return Source::Nothing,
            },
        };
        known.map_or(Source::Hidden, Source::Is)
    }

    /// The items of a step that runs for each of some, where they can be seen.
    fn listed(&self, step: &'a Step) -> Option<&[Value]> {
        let source = &step.for_each.as_ref()?.source;
        match listed(source, &|root| self.look(root)) {
            Listed::Are(items) => Some(items),
            Listed::Not(_) | Listed::Unknown => None,
        }
    }

    fn fate(&self, step: &Step) -> Fate {
        let rules = Rules {
            with: &step.with,
            condition: step.condition.as_ref(),
            items: step.for_each.as_ref().map(|each| &each.source),
        };
        fate(&rules, &|root| self.look(root))
    }

    /// How a step ended, and the index of a record of it that says so.
    fn ended(&self, step: &Step) -> (Ended, Option<u64>) {
        let of = |state| match state {
            StepState::Succeeded => Ended::Succeeded,
            StepState::Failed => Ended::Failed,
            _ => Ended::Otherwise,
        };
        if let Some(known) = self.story.steps.get(step.id.as_str()) {
            return (of(known.state), Some(known.last_index));
        }
        let Some(items) = self.items.get(step.id.as_str()) else {
            return (self.ended_without_a_record(step), None);
        };
        let states = items
            .iter()
            .map(|(_, item)| (of(item.state), Some(item.last_index)));
        let not_ok = states.filter(|(ended, _)| *ended != Ended::Succeeded);
        let worst = not_ok.max_by_key(|(ended, _)| *ended == Ended::Failed);
        worst.unwrap_or((Ended::Succeeded, None))
    }

    fn ended_without_a_record(&self, step: &Step) -> Ended {
        if step.for_each.is_none() {
            return Ended::Absent;
        }
        match (self.fate(step), self.listed(step)) {
            (Fate::Runs, Some([])) => Ended::Succeeded,
            (Fate::Runs, Some(_)) | (Fate::Skipped(_), _) => Ended::Absent,
            _ => Ended::Unseen,
        }
    }

    /// A step has no record exactly where the plan's own rules skip it, as far as what they look at is disclosed; or where the task
    /// did not come so far.
    fn check_skipped(&self, faults: &mut Faults) {
        let complete = self.story.task == TaskState::Succeeded;
        for step in &self.plan.steps {
            let items = self.items.get(step.id.as_str());
            let known = self.story.steps.get(step.id.as_str());
            let known = known.or_else(|| items?.first().map(|(_, item)| *item));
            let id = &step.id;
            if let Some(known) = known {
                if let Fate::Skipped(why) = self.fate(step) {
                    let message =
                        format!("step {id:?} has a record although its plan skips it: {why}");
                    faults.add(
                        Check::Completeness,
                        Some(known.last_index),
                        "plan",
                        &message,
                    );
                }
            } else if complete
                && matches!(self.fate(step), Fate::Runs | Fate::Fails(_))
                && !matches!(self.ended(step).0, Ended::Succeeded | Ended::Unseen)
            {
                let message =
                    format!("the task is ok although step {id:?} of its plan has no record");
                faults.add(Check::Completeness, None, "plan", &message);
            }
            if let (Some(items), Some(listed)) = (items, self.listed(step)) {
                check_items(id, items, listed.len() as u64, complete, faults);
            }
        }
    }

    /// A task that is ok says so where not every step succeeded, and then only those failed that the plan lets fail. Without that word
    /// none may have failed, whatever the plan says.
    fn check_let_go(&self, faults: &mut Faults) {
        let in_part = self.story.closes_with(IN_PART);
        let ended: Vec<_> = self
            .plan
            .steps
            .iter()
            .map(|step| self.ended(step))
            .collect();
        let any = |wanted: Ended| ended.iter().any(|(ended, _)| *ended == wanted);
        for (step, (end, index)) in self.plan.steps.iter().zip(&ended) {
            let lets_fail = step.on_failure.as_deref() == Some("continue");
            if in_part && *end == Ended::Failed && !lets_fail {
                let id = &step.id;
                let message = format!(
                    "the task is ok although step {id:?} failed, which its plan does not let pass"
                );
                faults.add(Check::Completeness, *index, "plan", &message);
            }
        }
        let complete = ended.iter().all(|(ended, _)| *ended == Ended::Succeeded);
        let message = if in_part && complete {
            "every step of the plan succeeded, and the code \"in-part\" is not expected"
        } else if !in_part
            && any(Ended::Absent)
            // A step that should have a record and has none is a fault by itself, and so is one that failed.
            && !any(Ended::Failed)
            && !faults.any(Check::Completeness)
        {
            "the plan skips a step, and the code \"in-part\" is expected"
        } else {
            return;
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

/// The items that have a record are among those that there were, and a task that is ok has one of each.
fn check_items(
    id: &str,
    items: &[(u64, &StepStory<'_>)],
    count: u64,
    complete: bool,
    faults: &mut Faults,
) {
    for (number, item) in items.iter().filter(|(number, _)| *number >= count) {
        let message = format!("step {id:?} has a record of item {number}, and has {count} items");
        faults.add(Check::Completeness, Some(item.last_index), "plan", &message);
    }
    // Each has a number of its own.
    let there = items.iter().filter(|(number, _)| *number < count).count() as u64;
    if complete && there < count {
        let message = format!(
            "the task is ok although {} of the {count} items of step {id:?} have no record",
            count - there
        );
        faults.add(Check::Completeness, None, "plan", &message);
    }
}
