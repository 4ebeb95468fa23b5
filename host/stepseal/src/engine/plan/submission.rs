//! The shape of a submission: everything that can be said without asking the host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use super::refs::{Root, escape, references};
use super::{OnFailure, Retry};
use crate::engine::Fault;
use crate::engine::grants::{CEILING, LimitsDocument, NAME_RULE, is_name, wall_ms};

/// Steps of one plan.
const STEPS_MAX: usize = 256;
/// Labels of one task.
const LABELS_MAX: usize = 32;
/// Characters of an agent's name, a label's name or value.
const TEXT_CHARS_MAX: usize = 128;
/// The longest time that a task may be given, in milliseconds: 31 days.
const TASK_TIMEOUT_MS_MAX: u64 = 31 * 86_400_000;
/// Faults listed in one answer.
const FAULTS_MAX: usize = 100;

/// A submission whose shape is right.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) steps: Vec<DraftStep>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) input: Value,
    pub(super) agent: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// One step of it.
#[derive(Debug)]
pub(super) struct DraftStep {
    /// JSON Pointer of the step in the submission.
    pub(super) at: String,
    pub(super) id: String,
    pub(super) uses: String,
    pub(super) target: Uses,
    pub(super) with: Value,
    pub(super) needs: Vec<String>,
    pub(super) retry: Retry,
    pub(super) limits: LimitsDocument,
    /// Milliseconds that an attempt may take; in `limits` too.
    pub(super) timeout_ms: Option<u64>,
    pub(super) approval: bool,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) not_before: Option<Timestamp>,
    /// None of its `$ref`s points at another step.
    pub(super) input_known: bool,
}

/// `plugin[@version or @sha256:...]/step-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) plugin: String,
    pub(super) pin: Pin,
    pub(super) step_type: String,
}

/// Which of a plugin's components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    Newest,
    Version(String),
    Digest(Digest),
}

impl Uses {
    fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not plugin[@version or @sha256:<hex>]/step-type");
        let (left, step_type) = text.rsplit_once('/').ok_or_else(form)?;
        let (plugin, pin) = match left.split_once('@') {
            None => (left, Pin::Newest),
            Some((plugin, digest)) if digest.starts_with("sha256:") => (
                plugin,
                Pin::Digest(
                    digest
                        .parse()
                        .map_err(|error| format!("{digest:?}: {error}"))?,
                ),
            ),
            Some((plugin, version)) => (plugin, Pin::Version(version.to_owned())),
        };
        if !is_name(plugin) || !is_name(step_type) {
            return Err(form());
        }
        Ok(Self {
            plugin: plugin.to_owned(),
            pin,
            step_type: step_type.to_owned(),
        })
    }
}

/// Collects faults, so that a client learns of all of them at once.
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault {
                pointer: pointer.into(),
                message: message.into(),
            });
        }
    }

    pub(super) fn unknown(&mut self, object: &Map<String, Value>, pointer: &str, known: &[&str]) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.add(
                format!("{pointer}/{}", escape(name)),
                format!("{name:?} is not known here; known are {}", known.join(", ")),
            );
        }
    }

    pub(super) fn object<'a>(
        &mut self,
        value: &'a Value,
        pointer: &str,
    ) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.add(pointer, "this must be an object");
        }
        object
    }

    pub(super) fn whole(
        &mut self,
        value: Option<&Value>,
        pointer: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> u64 {
        let Some(value) = value else { return default };
        if let Some(n) = value.as_u64().filter(|n| (min..=max).contains(n)) {
            return n;
        }
        self.add(
            pointer,
            format!("this must be a whole number from {min} to {max}"),
        );
        default
    }

    /// A number of milliseconds from 1 to `max`, where there is one.
    fn milliseconds(&mut self, value: Option<&Value>, pointer: &str, max: u64) -> Option<u64> {
        value.map(|value| self.whole(Some(value), pointer, 1, 1, max))
    }

    /// A point in time, where there is one.
    fn time(&mut self, value: Option<&Value>, pointer: &str) -> Option<Timestamp> {
        let text = value?.as_str().unwrap_or_default();
        let read = text.parse();
        if let Err(error) = &read {
            self.add(pointer, format!("{error}"));
        }
        read.ok()
    }
}

/// Reads a submission. Steps that are wrong are left out of the draft; `faults` says why.
pub(super) fn read(submission: &Value, faults: &mut Faults) -> Draft {
    let empty = Map::new();
    let top = faults.object(submission, "").unwrap_or(&empty);
    faults.unknown(top, "", &["plan", "input", "agent", "labels"]);
    let mut steps = Vec::new();
    let (mut timeout_ms, mut not_before) = (None, None);
    match top.get("plan") {
        None => faults.add("/plan", "a plan is needed: {\"steps\":[...]}"),
        Some(plan) => {
            if let Some(plan) = faults.object(plan, "/plan") {
                faults.unknown(plan, "/plan", &["steps", "timeout_ms", "not_before"]);
                let (given, at) = (plan.get("timeout_ms"), "/plan/timeout_ms");
                timeout_ms = faults.milliseconds(given, at, TASK_TIMEOUT_MS_MAX);
                not_before = faults.time(plan.get("not_before"), "/plan/not_before");
                match plan.get("steps").and_then(Value::as_array) {
                    Some(list) if (1..=STEPS_MAX).contains(&list.len()) => {
                        for (i, step) in list.iter().enumerate() {
                            steps.extend(read_step(step, &format!("/plan/steps/{i}"), faults));
                        }
                        check_graph(list, &steps, faults);
                    }
                    _ => faults.add(
                        "/plan/steps",
                        format!("this must be an array of 1 to {STEPS_MAX} steps"),
                    ),
                }
            }
        }
    }
    Draft {
        steps,
        timeout_ms,
        not_before,
        input: top
            .get("input")
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new())),
        agent: top
            .get("agent")
            .and_then(|agent| short_text(agent, "/agent", faults)),
        labels: read_labels(top.get("labels"), faults),
    }
}

fn short_text(value: &Value, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = value.as_str().filter(|text| {
        !text.is_empty()
            && text.chars().count() <= TEXT_CHARS_MAX
            && !text.chars().any(char::is_control)
    });
    if text.is_none() {
        faults.add(
            pointer,
            format!(
                "this must be a text of 1 to {TEXT_CHARS_MAX} characters without control characters"
            ),
        );
    }
    text.map(str::to_owned)
}

fn read_labels(labels: Option<&Value>, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    let Some(labels) = labels.and_then(|labels| faults.object(labels, "/labels")) else {
        return read;
    };
    if labels.len() > LABELS_MAX {
        faults.add("/labels", format!("a task has at most {LABELS_MAX} labels"));
        return read;
    }
    for (name, value) in labels {
        let pointer = format!("/labels/{}", escape(name));
        let name = short_text(&Value::String(name.clone()), &pointer, faults);
        if let (Some(name), Some(value)) = (name, short_text(value, &pointer, faults)) {
            read.insert(name, value);
        }
    }
    read
}

fn read_step(step: &Value, at: &str, faults: &mut Faults) -> Option<DraftStep> {
    let step = faults.object(step, at)?;
    faults.unknown(
        step,
        at,
        &[
            "id",
            "uses",
            "with",
            "needs",
            "retry",
            "limits",
            "timeout_ms",
            "approval",
            "on_failure",
            "not_before",
        ],
    );
    let id = step
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| is_name(id));
    if id.is_none() {
        faults.add(
            format!("{at}/id"),
            format!("a step needs an id: {NAME_RULE}"),
        );
    }
    let uses = step.get("uses").and_then(Value::as_str).unwrap_or_default();
    let target = Uses::parse(uses)
        .map_err(|error| faults.add(format!("{at}/uses"), error))
        .ok();
    let approval = step.get("approval");
    if approval.is_some_and(|approval| approval != "required") {
        faults.add(format!("{at}/approval"), "this may only be \"required\"");
    }
    let with = step
        .get("with")
        .cloned()
        .unwrap_or_else(|| Value::Object(Map::new()));
    let (needs, input_known) = read_needs(step.get("needs"), &with, at, faults);
    let mut limits = read_limits(step.get("limits"), &format!("{at}/limits"), faults);
    let timeout_at = format!("{at}/timeout_ms");
    let timeout_ms = faults.milliseconds(step.get("timeout_ms"), &timeout_at, wall_ms(&CEILING));
    if timeout_ms.is_some() && limits.wall_ms.is_some() {
        faults.add(
            timeout_at,
            "timeout_ms and limits.wall_ms are the same limit: give one of them",
        );
    }
    limits.wall_ms = timeout_ms.or(limits.wall_ms);
    let draft = DraftStep {
        at: at.to_owned(),
        needs,
        input_known,
        retry: Retry::read(step.get("retry"), &format!("{at}/retry"), faults),
        limits,
        timeout_ms,
        approval: approval.is_some(),
        on_failure: OnFailure::read(step.get("on_failure"), at, faults),
        not_before: faults.time(step.get("not_before"), &format!("{at}/not_before")),
        id: id?.to_owned(),
        uses: uses.to_owned(),
        target: target?,
        with,
    };
    Some(draft)
}

/// Ids named by `needs` and by `$ref`s, and whether no `$ref` points at a step.
fn read_needs(
    needs: Option<&Value>,
    with: &Value,
    at: &str,
    faults: &mut Faults,
) -> (Vec<String>, bool) {
    let mut all: Vec<String> = Vec::new();
    match needs {
        None => {}
        Some(Value::Array(list))
            if list.len() <= STEPS_MAX && list.iter().all(Value::is_string) =>
        {
            all.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Some(_) => faults.add(format!("{at}/needs"), "this must be an array of step ids"),
    }
    let mut known = true;
    for (pointer, reference) in references(with, &format!("{at}/with")) {
        match reference {
            Err(error) => faults.add(pointer, error),
            Ok(reference) => {
                if let Root::Output(step) = reference.root {
                    known = false;
                    all.push(step);
                }
            }
        }
    }
    all.sort();
    all.dedup();
    (all, known)
}

fn read_limits(limits: Option<&Value>, at: &str, faults: &mut Faults) -> LimitsDocument {
    let Some(limits) = limits else {
        return LimitsDocument::default();
    };
    match serde_json::from_value::<LimitsDocument>(limits.clone()) {
        Ok(limits) => {
            faults.0.extend(limits.faults(at));
            limits
        }
        Err(error) => {
            faults.add(at, error.to_string());
            LimitsDocument::default()
        }
    }
}

/// Ids are unique, every step needed exists, and there is no cycle.
fn check_graph(list: &[Value], steps: &[DraftStep], faults: &mut Faults) {
    let mut index_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, step) in list.iter().enumerate() {
        let Some(id) = step.get("id").and_then(Value::as_str) else {
            continue;
        };
        if index_of.contains_key(id) {
            faults.add(
                format!("/plan/steps/{i}/id"),
                format!("{id:?} is the id of an earlier step"),
            );
        } else {
            index_of.insert(id, i);
        }
    }
    for step in steps {
        for need in step
            .needs
            .iter()
            .filter(|need| !index_of.contains_key(need.as_str()))
        {
            faults.add(
                step.at.clone(),
                format!("it needs step {need:?}, which the plan does not have"),
            );
        }
    }
    for id in in_cycles(steps) {
        faults.add(
            format!("/plan/steps/{}", index_of[id]),
            format!("step {id:?} waits, through what it needs, for itself or for a step that does"),
        );
    }
}

/// Steps that no order of running ever reaches (Kahn's algorithm), by id.
fn in_cycles(steps: &[DraftStep]) -> BTreeSet<&str> {
    let mut left: BTreeSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in steps {
        // Of two steps with one id, a fault already, the first counts.
        if waits.contains_key(step.id.as_str()) {
            continue;
        }
        let needs = step
            .needs
            .iter()
            .map(String::as_str)
            .filter(|need| left.contains(need));
        let needs: Vec<&str> = needs.collect();
        waits.insert(&step.id, needs.len());
        for need in needs {
            needed_by.entry(need).or_default().push(&step.id);
        }
    }
    let mut free: Vec<&str> = waits
        .iter()
        .filter(|(_, waits)| **waits == 0)
        .map(|(id, _)| *id)
        .collect();
    while let Some(id) = free.pop() {
        left.remove(id);
        for next in needed_by.remove(id).unwrap_or_default() {
            if let Some(waits) = waits.get_mut(next) {
                *waits -= 1;
                if *waits == 0 {
                    free.push(next);
                }
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults_of(submission: &Value) -> Vec<(String, String)> {
        let mut faults = Faults(Vec::new());
        read(submission, &mut faults);
        faults
            .0
            .into_iter()
            .map(|fault| (fault.pointer, fault.message))
            .collect()
    }

    fn pointers(submission: &Value) -> Vec<String> {
        faults_of(submission)
            .into_iter()
            .map(|(pointer, _)| pointer)
            .collect()
    }

    #[test]
    fn every_fault_is_listed_with_its_place() {
        let found = pointers(&json!({"plan":{"steps":[
            {"id":"A","uses":"nope","with":{"x":{"$ref":"#/grants"}},"retry":{"max_attempts":0},"limits":{"fuel":0},"approval":"maybe"},
            {"id":"b","uses":"jq/filter","needs":["ghost"],"colour":"red"},
            {"id":"b","uses":"jq@sha256:00/filter"}
        ]},"agent":7,"labels":{"env":1},"goal":{}}));
        for expected in [
            "/goal",
            "/plan/steps/0/id",
            "/plan/steps/0/uses",
            "/plan/steps/0/with/x",
            "/plan/steps/0/retry/max_attempts",
            "/plan/steps/0/limits/fuel",
            "/plan/steps/0/approval",
            "/plan/steps/1/colour",
            "/plan/steps/1",
            "/plan/steps/2/id",
            "/plan/steps/2/uses",
            "/agent",
            "/labels/env",
        ] {
            assert!(
                found.iter().any(|pointer| pointer == expected),
                "{expected} is missing in {found:?}"
            );
        }
    }

    #[test]
    fn a_cycle_is_named_and_a_diamond_is_none() {
        let step = |id: &str, needs: &[&str]| json!({"id":id,"uses":"jq/filter","needs":needs});
        let diamond = json!({"plan":{"steps":[step("a",&[]),step("b",&["a"]),step("c",&["a"]),step("d",&["b","c"])]}});
        assert_eq!(pointers(&diamond), Vec::<String>::new());
        let cycle = json!({"plan":{"steps":[step("a",&["c"]),step("b",&["a"]),step("c",&["b"]),step("d",&[])]}});
        assert_eq!(
            pointers(&cycle),
            ["/plan/steps/0", "/plan/steps/1", "/plan/steps/2"]
        );
        assert_eq!(
            pointers(&json!({"plan":{"steps":[step("a",&["a"])]}})),
            ["/plan/steps/0"]
        );
    }

    #[test]
    fn a_plan_without_steps_or_with_too_many_is_refused() {
        assert_eq!(pointers(&json!({"plan":{"steps":[]}})), ["/plan/steps"]);
        assert_eq!(pointers(&json!({})), ["/plan"]);
        assert_eq!(pointers(&json!([])), ["", "/plan"]);
        let step = json!({"id":"a","uses":"jq/filter"});
        assert_eq!(
            pointers(&json!({"plan":{"steps":vec![step; STEPS_MAX + 1]}})),
            ["/plan/steps"]
        );
    }

    #[test]
    fn uses_may_pin_a_version_or_a_digest() {
        let digest = Digest::of(b"x");
        assert_eq!(Uses::parse("jq/filter").unwrap().pin, Pin::Newest);
        assert_eq!(
            Uses::parse("jq@1.2.0/filter").unwrap().pin,
            Pin::Version("1.2.0".to_owned())
        );
        assert_eq!(
            Uses::parse(&format!("jq@{digest}/filter")).unwrap().pin,
            Pin::Digest(digest)
        );
        for wrong in [
            "",
            "jq",
            "/filter",
            "jq/",
            "JQ/filter",
            "jq@sha256:1/filter",
            "jq/a b",
        ] {
            assert!(Uses::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_flood_of_faults_is_cut() {
        let steps = vec![json!({"x1":1,"x2":1,"x3":1,"x4":1,"x5":1,"x6":1}); STEPS_MAX];
        assert_eq!(
            faults_of(&json!({"plan":{"steps":steps}})).len(),
            FAULTS_MAX
        );
    }
}
