//! Whether the records are one task's, for this log, each linked to the one before (format §5.5).

use super::faults::{Faults, Place};
use super::{Check, Signed};
use crate::record::{Kind, Record, TaskLink};
use crate::trust::TrustFile;

/// Follows the links. Each record is compared with the one before it as it is, so that one gap is one fault.
pub(super) fn check(records: &[&Signed], trust: &TrustFile, faults: &mut Faults) {
    if records.is_empty() {
        faults.add(
            Check::Chain,
            None,
            "entries",
            &"there is no entry, and at least the record that opens the task is expected",
        );
    }
    let mut before: Option<(&Signed, &TaskLink)> = None;
    for signed in records {
        let mut place = Place::new(signed.index, faults);
        let record = &signed.record;
        check_log(record, trust, &mut place);
        let mut fault = |member: &str, message: String| place.fault(member, message);
        if record.kind.is_act() {
            let message = format!(
                "a {} record is an act of the host, and a receipt of a task has records of that task only",
                record.kind
            );
            fault("kind", message);
            continue;
        }
        let Some(task) = &record.task else {
            fault(
                "task",
                format!("a {} record must say which task it is of", record.kind),
            );
            continue;
        };
        if let Some((member, message)) = link_fault(signed, task, before) {
            fault(member, message);
        }
        if (record.kind == Kind::TaskOpen) != (task.seq == 0) {
            fault(
                "kind",
                format!(
                    "record {} of a task is {}, and exactly record 0 is task.open",
                    task.seq, record.kind
                ),
            );
        }
        before = Some((signed, task));
    }
}

/// Checks that a record was written for this log and not for another one.
pub(super) fn check_log(record: &Record, trust: &TrustFile, place: &mut Place<'_>) {
    let (found, expected) = (&record.log, &trust.origin);
    if found != expected {
        place.fault(
            "log",
            format!("the record was written for the log {found:?}, and {expected:?} is expected"),
        );
    }
}

fn link_fault(
    signed: &Signed,
    task: &TaskLink,
    before: Option<(&Signed, &TaskLink)>,
) -> Option<(&'static str, String)> {
    let Some((last, last_task)) = before else {
        return match (task.seq, task.prev) {
            (0, None) => None,
            (0, Some(_)) => Some((
                "task.prev",
                "the first record of a task has no record before it, and no prev is expected"
                    .to_owned(),
            )),
            (seq, _) => Some((
                "task.seq",
                format!(
                    "the first record has the number {seq}, and 0 is expected: records before it are missing"
                ),
            )),
        };
    };
    if signed.index <= last.index {
        let message = format!(
            "the index {} comes after {}, and indexes must rise: entries are out of order or doubled",
            signed.index, last.index
        );
        return Some(("index", message));
    }
    if task.id != last_task.id {
        let message = format!(
            "the record is of the task {:?}, and {:?} is expected",
            task.id, last_task.id
        );
        return Some(("task.id", message));
    }
    let expected = last_task.seq.checked_add(1);
    if Some(task.seq) != expected {
        let message = format!(
            "the record has the number {} after number {}: records are missing, doubled or out of order",
            task.seq, last_task.seq
        );
        return Some(("task.seq", message));
    }
    if task.prev != Some(last.leaf_hash) {
        let found = task
            .prev
            .map_or("absent".to_owned(), |prev| prev.to_string());
        let message = format!(
            "prev is {found}, and {} is expected, the leaf hash of the entry before",
            last.leaf_hash
        );
        return Some(("task.prev", message));
    }
    None
}
