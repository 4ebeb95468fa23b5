//! Whether the records are one task's, for this log, each linked to the one before (format §5.5). Of an erased one, the
//! record of its erasure says what it was linked to.

use super::erased::Restated;
use super::faults::{Faults, Place};
use super::{Check, Signed};
use crate::digest::Digest;
use crate::record::{Kind, Record, TaskLink};
use crate::trust::TrustFile;

/// An entry of the task and how it is linked.
#[derive(Clone, Copy)]
struct Link<'a> {
    index: u64,
    leaf_hash: Digest,
    task: &'a TaskLink,
}

/// Follows the links. Each record is compared with the one before it as it is, so that one gap is one fault.
pub(super) fn check(
    records: &[&Signed],
    restated: &[Restated],
    trust: &TrustFile,
    faults: &mut Faults,
) {
    if records.is_empty() && restated.is_empty() {
        faults.add(
            Check::Chain,
            None,
            "entries",
            &"there is no entry, and at least the record that opens the task is expected",
        );
    }
    let mut before: Option<Link<'_>> = None;
    let mut restated = restated.iter().peekable();
    for signed in records {
        while let Some(erased) = restated.next_if(|erased| erased.index <= signed.index) {
            before = Some(follow_erased(erased, before, faults));
        }
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
        let link = Link {
            index: signed.index,
            leaf_hash: signed.leaf_hash,
            task,
        };
        if let Some((member, message)) = link_fault(link, before) {
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
        before = Some(link);
    }
    for erased in restated {
        before = Some(follow_erased(erased, before, faults));
    }
}

/// What is wrong with the link of an erased entry is wrong in the record of its erasure.
fn follow_erased<'a>(
    erased: &'a Restated,
    before: Option<Link<'_>>,
    faults: &mut Faults,
) -> Link<'a> {
    let link = Link {
        index: erased.index,
        leaf_hash: erased.leaf_hash,
        task: &erased.task,
    };
    if let Some((member, message)) = link_fault(link, before) {
        let member = match member.trim_start_matches("task.") {
            "id" => "erasure.task".to_owned(),
            member => format!("{}.{member}", erased.member),
        };
        let message = format!("of the erased entry {}: {message}", erased.index);
        Place::new(erased.erasure, faults).fault(&member, message);
    }
    link
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

fn link_fault(link: Link<'_>, before: Option<Link<'_>>) -> Option<(&'static str, String)> {
    let task = link.task;
    let Some(last) = before else {
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
    if link.index <= last.index {
        let message = format!(
            "the index {} comes after {}, and indexes must rise: entries are out of order or doubled",
            link.index, last.index
        );
        return Some(("index", message));
    }
    if task.id != last.task.id {
        let message = format!(
            "the record is of the task {:?}, and {:?} is expected",
            task.id, last.task.id
        );
        return Some(("task.id", message));
    }
    let expected = last.task.seq.checked_add(1);
    if Some(task.seq) != expected {
        let message = format!(
            "the record has the number {} after number {}: records are missing, doubled or out of order",
            task.seq, last.task.seq
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
