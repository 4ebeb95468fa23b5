//! Receipts of tasks whose records were erased: three of them, and `task.close` among them where it is not said.

use super::super::erased::erase;
use super::super::world::*;
use super::{Vector, pure};
use crate::dsse::{Envelope, IN_TOTO};
use crate::receipt::Receipt;
use crate::record::{ErasedEntry, Erasure, ErasureScope, Kind, Record};

const ALL: &[&[usize]] = &[&[0, 1, 2]];
/// The place of the erasure in the log, as the number of an entry.
const ERASURE: usize = 4;

fn receipt(lists: &[&[usize]]) -> Receipt {
    changed(lists, |_, _| {})
}

fn changed(lists: &[&[usize]], change: impl Fn(usize, &mut Record)) -> Receipt {
    erase(linked(&pure(), |_, _| {}), lists, change)
}

pub(super) fn accepted() -> Vec<Vector> {
    let of = |name: &str, about: &str, receipt: &Receipt| {
        Vector::accepted(&format!("erased/{name}"), about, receipt).allowing_erased()
    };
    let mut open = of(
        "open",
        "A record of a task that is not closed is erased, and the verifier allows both.",
        &erase(linked(&pure()[..2], |_, _| {}), &[&[0]], |_, _| {}),
    );
    open.options.allow_open = true;
    vec![
        of("all", "Every record is erased.", &receipt(ALL)),
        of(
            "by-two-erasures",
            "Every record is erased, by two erasures.",
            &receipt(&[&[0, 2], &[1]]),
        ),
        of(
            "all-but-the-close",
            "Every record but task.close is erased; that counts them.",
            &receipt(&[&[0, 1]]),
        ),
        of(
            "the-close",
            "Only task.close is erased, so nobody can say whether the records are all.",
            &receipt(&[&[2]]),
        ),
        of(
            "in-the-middle",
            "A record in the middle is erased.",
            &receipt(&[&[1]]),
        ),
        open,
    ]
}

fn entries(record: &mut Record) -> &mut Vec<ErasedEntry> {
    &mut record.erasure.as_mut().unwrap().entries
}

pub(super) fn rejected() -> Vec<Vector> {
    let of = |name: &str, about: &str, receipt: &Receipt, place: (&'static str, usize, &str)| {
        let (check, number, member) = place;
        let place = (check, Some(number), member);
        Vector::refused(&format!("erased/{name}"), about, receipt, place).allowing_erased()
    };
    let with = |lists: &[&[usize]], change: fn(&mut Receipt)| {
        let mut receipt = receipt(lists);
        change(&mut receipt);
        receipt
    };
    let signed = |change: fn(&mut Record)| changed(ALL, |_, record| change(record));
    let not_allowed = |name: &str, about: &str, receipt: &Receipt| Vector {
        unanswered: vec!["chain"],
        ..Vector::accepted(&format!("erased/{name}"), about, receipt)
    };
    let mut open = of(
        "open-not-allowed",
        "A record is erased, the last one is there, and it is not task.close.",
        &erase(linked(&pure()[..2], |_, _| {}), &[&[0]], |_, _| {}),
        ("completeness", 0, "entries"),
    );
    open.faults[0].1 = None;
    let mut after = pure();
    after.push(completed("balance", 0));
    let after = erase(linked(&after, |_, _| {}), &[&[3]], |_, _| {});
    let unsigned = {
        let mut receipt = receipt(ALL);
        let payload = receipt.entries[0].envelope.payload.clone();
        receipt.entries[0].envelope = Envelope::sign(IN_TOTO, payload, &log_key());
        receipt
    };
    let miscounted = erase(
        linked(&pure(), |_, record| {
            if record.kind == Kind::TaskClose {
                record.records = Some(2);
            }
        }),
        &[&[1]],
        |_, _| {},
    );
    let foreign = erase(
        linked(&pure(), |number, record| {
            if number == 2 {
                record.task.as_mut().unwrap().id = "task-8".to_owned();
            }
        }),
        &[&[0, 1]],
        |_, _| {},
    );
    let payloads = signed(|record| {
        record.erasure = Some(Erasure {
            scope: ErasureScope::Payloads,
            entries: Vec::new(),
            ..record.erasure.clone().unwrap()
        });
    });
    let mut present = receipt(&[&[1]]);
    let whole = receipt_of(&pure()).entries[1].clone();
    let proof = present.erased[0].proof.clone();
    present
        .entries
        .insert(1, crate::receipt::Entry { proof, ..whole });
    let mut first_missing = receipt(&[&[1, 2]]);
    first_missing.entries.remove(0);
    let prev = "erasure.entries[1].prev";
    #[rustfmt::skip]
    let refused = vec![
        of("leaf-changed", "One bit of a leaf is changed.", &with(ALL, |r| r.erased[2].leaf[100] ^= 1), ("inclusion", 2, "proof")),
        of("leaf-of-a-linked-entry-changed", "One bit of a leaf is changed, to which the next record is linked.", &with(&[&[1]], |r| r.erased[0].leaf[100] ^= 1), ("inclusion", 1, "proof"))
            .and_fault("chain", Some(2), "task.prev"),
        of("leaf-of-another", "The last erased entry has the leaf of the one before.", &with(ALL, |r| r.erased[2].leaf = r.erased[1].leaf.clone()), ("inclusion", 2, "proof")),
        of("proof-changed", "A hash of an erased entry's proof is changed.", &with(ALL, |r| r.erased[1].proof[0] = digest(0)), ("inclusion", 1, "proof")),
        of("proof-of-another", "An erased entry has the proof of another one.", &with(ALL, |r| r.erased[1].proof = r.erased[2].proof.clone()), ("inclusion", 1, "proof")),
        of("proof-missing", "An erased entry has no proof.", &with(ALL, |r| r.erased[1].proof.clear()), ("inclusion", 1, "proof")),
        of("erasure-missing", "The erasure is not among the entries.", &with(&[&[0, 1]], |r| drop(r.entries.remove(1))), ("chain", 0, "erased[0].erasure")),
        of("no-entry", "There is no entry but the erased ones.", &with(ALL, |r| r.entries.clear()), ("chain", 0, "erased[0].erasure")),
        of("erasure-is-a-record", "An erased entry names a record of the task as its erasure.", &with(&[&[1]], |r| {
            r.erased[0].erasure = r.entries[1].index;
            r.entries.pop();
        }), ("chain", 1, "erased[0].erasure")),
        of("erasure-doubled", "The erasure is among the entries twice.", &with(ALL, |r| r.entries.push(r.entries[0].clone())), ("chain", ERASURE, "index")),
        of("erasure-unsigned", "The erasure is signed by a key that is not trusted for records.", &unsigned, ("signatures", ERASURE, "envelope.signatures")),
        of("erasure-not-in-the-log", "A hash of the erasure's proof is changed.", &with(ALL, |r| r.entries[0].proof[0] = digest(0)), ("inclusion", ERASURE, "proof")),
        of("erasure-of-another-log", "The erasure was written for another log.", &signed(|r| r.log = "log.example/two".to_owned()), ("chain", ERASURE, "log")),
        of("erasure-of-payloads", "The erasure is of payloads.", &payloads, ("chain", ERASURE, "erasure.scope")),
        of("erasure-of-another-task", "The second erasure is of another task.", &changed(&[&[0, 1], &[2]], |number, record| {
            if number == 1 {
                record.erasure.as_mut().unwrap().task = Some("task-8".to_owned());
            }
        }), ("chain", ERASURE + 1, "erasure.task")),
        of("record-of-another-task", "What is left is of another task than the erasure.", &foreign, ("chain", 2, "task.id")),
        of("not-listed", "The erasure does not speak of the last erased entry.", &signed(|r| entries(r).truncate(2)), ("chain", 2, "erased[2].erasure")),
        of("left-out", "The last entry of which the erasure speaks is left out.", &with(ALL, |r| drop(r.erased.pop())), ("chain", ERASURE, "erasure.entries[2]")),
        of("entry-missing", "A record between an erased one and task.close is missing.", &with(&[&[0]], |r| drop(r.entries.remove(0))), ("chain", 2, "task.seq")),
        of("link-wrong", "The erasure restates another link.", &signed(|r| entries(r)[1].prev = Some(digest(0))), ("chain", ERASURE, prev)),
        of("link-absent", "The erasure restates no link.", &signed(|r| entries(r)[1].prev = None), ("chain", ERASURE, prev))
            .and_fault("chain", Some(ERASURE), prev),
        of("seq-gap", "The numbers that the erasure restates leave a gap.", &signed(|r| entries(r)[2].seq = 3), ("chain", ERASURE, "erasure.entries[2].seq")),
        of("first-missing", "The first of the erased entries is not the first of the task.", &first_missing, ("chain", ERASURE, "erasure.entries[0].seq")),
        of("present", "An erased entry is among the entries too.", &present, ("chain", 1, "index")),
        of("close-miscounts", "task.close counts one record too few.", &miscounted, ("completeness", 2, "records")),
        of("after-the-close", "An erased record follows task.close.", &after, ("chain", 2, "kind")),
    ];
    let mut unnamed = erase(linked(&pure(), |_, _| {}), &[&[1]], |_, _| {});
    unnamed.erased.clear();
    let whole = receipt_of(&pure()).entries[1].clone();
    unnamed.entries.insert(
        1,
        crate::receipt::Entry {
            proof: present.entries[1].proof.clone(),
            ..whole
        },
    );
    let others = [
        open,
        of(
            "not-erased",
            "The record that the erasure speaks of is there, and nothing is said to be erased.",
            &unnamed,
            ("chain", ERASURE, "kind"),
        ),
        not_allowed(
            "not-allowed",
            "Every record is erased, and the verifier does not allow that.",
            &receipt(ALL),
        ),
        not_allowed(
            "one-not-allowed",
            "One record is erased, and the verifier does not allow that.",
            &receipt(&[&[1]]),
        ),
    ];
    refused.into_iter().chain(others).collect()
}
