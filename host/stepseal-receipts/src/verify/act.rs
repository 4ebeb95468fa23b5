//! What the record of an act of the host must hold by itself (format §5, "Acts of the host").
//!
//! It needs no other record, so whoever reads the log as a whole judges each record of an act with it.

use std::collections::HashSet;

use super::Fault;
use super::faults::{Faults, Place};
use crate::checkpoint::origin;
use crate::record::{Erasure, ErasureScope, KeyChange, KeyRole, Kind, Record, Shard};
use crate::tree;

/// Everything that is wrong with the record of an act which is at `index` of its log; no fault where it may stand
/// there. What a host signs must be what this accepts.
pub fn check_act(index: u64, record: &Record) -> Vec<Fault> {
    let mut faults = Faults::default();
    check(record, &mut Place::new(index, &mut faults));
    faults.into_list()
}

/// The members a kind must have besides `time`; of the known ones it may have no other but those of [`ANY_ACT`].
fn needed(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ComponentAdded => &["component"],
        Kind::GrantChanged => &["plugin", "grants"],
        Kind::PolicyChanged => &["component", "policies", "binding"],
        Kind::KeyRotate | Kind::KeyRevoke => &["key"],
        Kind::Erasure => &["erasure"],
        Kind::ShardOpen => &["shard"],
        Kind::TaskOpen
        | Kind::StepAuthorized
        | Kind::StepCompleted
        | Kind::StepFailed
        | Kind::StepDenied
        | Kind::TaskClose => &[],
    }
}

/// What the record of any act may have.
const ANY_ACT: [&str; 4] = ["time", "actor", "runtime", "trace"];

/// Members that only records of acts have.
fn act_members(record: &Record) -> [(&'static str, bool); 6] {
    [
        ("actor", record.actor.is_some()),
        ("plugin", record.plugin.is_some()),
        ("binding", record.binding.is_some()),
        ("key", record.key.is_some()),
        ("erasure", record.erasure.is_some()),
        ("shard", record.shard.is_some()),
    ]
}

/// Members that records of tasks have.
fn task_members(record: &Record) -> [(&'static str, bool); 21] {
    [
        ("task", record.task.is_some()),
        ("step", record.step.is_some()),
        ("plan", record.plan.is_some()),
        ("policies", record.policies.is_some()),
        ("component", record.component.is_some()),
        ("runtime", record.runtime.is_some()),
        ("grants", record.grants.is_some()),
        ("limits", record.limits.is_some()),
        ("input", record.input.is_some()),
        ("output", record.output.is_some()),
        ("verdicts", !record.verdicts.is_empty()),
        ("approvals", !record.approvals.is_empty()),
        ("hostcalls", record.hostcalls.is_some()),
        ("fuel", record.fuel.is_some()),
        ("memory", record.memory.is_some()),
        ("seed", record.seed.is_some()),
        ("time", record.time.is_some()),
        ("outcome", record.outcome.is_some()),
        ("trace", record.trace.is_some()),
        ("records", record.records.is_some()),
        ("head", record.head.is_some()),
    ]
}

/// A record of a task says nothing that only the host's own acts say.
pub(super) fn check_none(record: &Record, place: &mut Place<'_>) {
    for (member, present) in act_members(record) {
        if present {
            place.fault(
                member,
                format!("a {} record cannot have the member {member}", record.kind),
            );
        }
    }
}

/// Checks one record of an act.
pub(super) fn check(record: &Record, place: &mut Place<'_>) {
    let kind = record.kind;
    if !kind.is_act() {
        let message = format!("a {kind} record is of a task and no act of the host");
        return place.fault("kind", message);
    }
    let needed = needed(kind);
    let members = task_members(record).into_iter().chain(act_members(record));
    for (member, present) in members {
        let must = member == "time" || needed.contains(&member);
        if must && !present {
            let message = format!("a {kind} record must have the member {member}");
            place.fault(member, message);
        }
        if present && !must && !ANY_ACT.contains(&member) {
            let message = format!("a {kind} record cannot have the member {member}");
            place.fault(member, message);
        }
    }
    // Where a member is foreign, that is the fault, and not what it says.
    if let Some(key) = record.key.as_ref().filter(|_| needed.contains(&"key")) {
        check_key(kind, key, place);
    }
    if let (Kind::Erasure, Some(erasure)) = (kind, &record.erasure) {
        check_erasure(erasure, place);
    }
    if let (Kind::ShardOpen, Some(shard)) = (kind, &record.shard) {
        check_shard(record, shard, place);
    }
}

/// A key begins to count after the record that says so, and ends to count no earlier than there: neither can be
/// backdated, so what was believed when it was made stays so.
fn check_key(kind: Kind, key: &KeyChange, place: &mut Place<'_>) {
    if key.role == KeyRole::Approver {
        return check_approver_key(kind, key, place);
    }
    if key.name.is_some() {
        let message = format!(
            "a key of the role {} is the host's and has no name",
            key.role
        );
        place.fault("key.name", message);
    }
    let index = place.index();
    let (member, found, foreign) = match kind {
        Kind::KeyRotate => ("key.fromIndex", key.from_index, key.to_index),
        _ => ("key.toIndex", key.to_index, key.from_index),
    };
    if foreign.is_some() {
        let other = if member == "key.fromIndex" {
            "key.toIndex"
        } else {
            "key.fromIndex"
        };
        let message = format!("a {kind} record cannot have the member {other}");
        place.fault(other, message);
    }
    match found {
        None => place.fault(member, format!("a {kind} record must have {member}")),
        Some(from) if kind == Kind::KeyRotate && from <= index => place.fault(
            member,
            format!(
                "the key is to count from index {from} on, which is not after this record: a key cannot be backdated"
            ),
        ),
        Some(to) if kind == Kind::KeyRevoke && to < index => place.fault(
            member,
            format!("the key is to count up to index {to}, which is before this record: a revocation cannot be backdated"),
        ),
        Some(_) => {}
    }
}

/// A person's key begins and ends to count at the record that says so, and has no index of its own.
fn check_approver_key(kind: Kind, key: &KeyChange, place: &mut Place<'_>) {
    if key.name.is_none() {
        let message = format!("a {kind} record of an approver's key must have key.name");
        place.fault("key.name", message);
    }
    for (member, found) in [
        ("key.fromIndex", key.from_index),
        ("key.toIndex", key.to_index),
    ] {
        if found.is_some() {
            let message = format!("a {kind} record of an approver's key cannot have {member}");
            place.fault(member, message);
        }
    }
}

fn check_erasure(erasure: &Erasure, place: &mut Place<'_>) {
    match erasure.scope {
        ErasureScope::Payloads => {
            if !erasure.entries.is_empty() {
                place.fault(
                    "erasure.entries",
                    "an erasure of payloads leaves every entry's envelope, and no entries are expected",
                );
            }
            if erasure.task.is_none() && erasure.blobs.is_empty() {
                place.fault(
                    "erasure",
                    "neither task nor blobs say which payloads were erased",
                );
            }
        }
        ErasureScope::Records => {
            if !erasure.blobs.is_empty() {
                place.fault(
                    "erasure.blobs",
                    "an erasure of records takes their payloads too, and no blobs are expected",
                );
            }
            for (member, present) in [
                ("erasure.task", erasure.task.is_some()),
                ("erasure.entries", !erasure.entries.is_empty()),
            ] {
                if !present {
                    place.fault(
                        member,
                        format!("an erasure of records must have {member}, which keeps the chain of the task"),
                    );
                }
            }
        }
    }
    let mut seen = HashSet::new();
    for (number, blob) in erasure.blobs.iter().enumerate() {
        if !seen.insert(blob) {
            place.fault(
                &format!("erasure.blobs[{number}]"),
                format!("the blob {blob} is in the list already"),
            );
        }
    }
    check_entries(erasure, place);
}

/// Entries of one task, all before this record, in the order of the log and of the task.
fn check_entries(erasure: &Erasure, place: &mut Place<'_>) {
    let own = place.index();
    let mut before = None;
    for (number, entry) in erasure.entries.iter().enumerate() {
        let mut fault = |member: &str, message: String| {
            place.fault(&format!("erasure.entries[{number}].{member}"), message);
        };
        if entry.index >= own {
            let index = entry.index;
            fault(
                "index",
                format!("the entry {index} is not before this record, and cannot be erased yet"),
            );
        }
        if (entry.seq == 0) != entry.prev.is_none() {
            fault(
                "prev",
                format!(
                    "record {} of a task: exactly record 0 has no prev",
                    entry.seq
                ),
            );
        }
        if let Some((index, seq)) = before
            && (entry.index <= index || entry.seq <= seq)
        {
            fault(
                "index",
                "the entries must rise, in the log and in their task, each of them once".to_owned(),
            );
        }
        before = Some((entry.index, entry.seq));
    }
}

fn check_shard(record: &Record, shard: &Shard, place: &mut Place<'_>) {
    let index = place.index();
    if index != 0 {
        let message = format!("a log opens with its shard, at index 0 and not at {index}");
        place.fault("kind", message);
    }
    if (shard.number == 0) != shard.previous.is_none() {
        place.fault(
            "shard.previous",
            format!(
                "shard {}: exactly shard 0 continues no other log",
                shard.number
            ),
        );
    }
    let Some(previous) = &shard.previous else {
        return;
    };
    if let Err(error) = origin::check(&previous.origin) {
        place.fault("shard.previous.origin", error.to_string());
    }
    if previous.origin == record.log {
        place.fault(
            "shard.previous.origin",
            "a log cannot continue itself under its own origin",
        );
    }
    // A log that was opened has an entry.
    if !(1..=tree::SIZE_MAX).contains(&previous.size) {
        let message = format!(
            "the log before had {} entries, and 1 to 2^62 are expected",
            previous.size
        );
        place.fault("shard.previous.size", message);
    }
}
