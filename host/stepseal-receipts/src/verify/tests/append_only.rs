//! What a verifier learns who kept a checkpoint of the log: that it only grew, that it did not, or that it must ask again.

use super::world::*;
use crate::receipt::Receipt;
use crate::verify::{Check, Options, Outcome3, Report, verify};

/// What a verifier finds who saw the head `note` before.
fn seen(receipt: &Receipt, note: String) -> Report {
    let options = Options {
        last_seen: Some(note),
        ..Options::default()
    };
    verify(receipt, &trust(), &options)
}

/// The receipt's log when it had `size` leaves.
pub(super) fn earlier(receipt: &Receipt, size: u64) -> Log {
    let mut log = Log::default();
    for index in 0..size {
        match receipt.entries.iter().find(|entry| entry.index == index) {
            None => log.append_others(1),
            Some(entry) => {
                let envelope = &entry.envelope;
                let sig = &envelope.signatures[0].sig;
                let leaf = crate::leaf::leaf(&envelope.pae_digest(), sig, &record_key().public());
                log.append(crate::leaf::leaf_hash(&leaf));
            }
        }
    }
    log
}

/// A log of `size` leaves that shares none with the receipt's.
pub(super) fn other(size: u8) -> Log {
    let mut log = Log::default();
    for n in 0..size {
        log.append(digest(n));
    }
    log
}

#[test]
fn a_log_that_grew_since_it_was_last_seen_is_append_only() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    for size in 1..19 {
        receipt.consistency = vec![log.consistency(size)];
        let report = seen(&receipt, earlier(&receipt, size).checkpoint());
        assert!(report.passed(), "{size}: {:#?}", report.faults);
        assert_eq!(report.verdicts.append_only, Outcome3::Pass);
    }
    receipt.consistency.clear();
    let same = seen(&receipt, log.checkpoint());
    assert!(same.passed(), "the same head needs no proof");
    assert_eq!(same.verdicts.append_only, Outcome3::Pass);
    let empty = seen(&receipt, Log::default().checkpoint());
    assert!(empty.passed(), "every log continues the empty one");
    assert_eq!(empty.verdicts.append_only, Outcome3::Pass);
}

#[test]
fn of_many_proofs_the_one_for_the_last_seen_size_counts() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    receipt.consistency = (1..19).map(|size| log.consistency(size)).collect();
    let bytes = receipt.to_json();
    let read = Receipt::parse(&bytes, &crate::receipt::ReceiptLimits::default()).unwrap();
    assert_eq!(read, receipt);
    assert!(seen(&read, earlier(&receipt, 11).checkpoint()).passed());
    // A fork is found although seventeen genuine proofs stand beside it.
    let forked = seen(&read, other(11).checkpoint());
    assert_fault(&forked, Check::AppendOnly, None, "consistency[10].proof");
}

#[test]
fn a_log_that_forked_after_it_was_last_seen_is_a_fault() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    receipt.consistency = vec![log.consistency(7)];
    let report = seen(&receipt, other(7).checkpoint());
    assert_fault(&report, Check::AppendOnly, None, "consistency[0].proof");
    assert_eq!(report.verdicts.append_only, Outcome3::Fail);
}

#[test]
fn a_proof_that_was_changed_or_is_of_another_size_is_a_fault() {
    let (receipt, log) = linked(&story(), |_, _| {});
    let honest = log.consistency(7);
    let mut changed = honest.clone();
    changed.proof[1] = digest(1);
    let mut shorter = honest.clone();
    shorter.proof.pop();
    let mut longer = honest.clone();
    longer.proof.push(digest(1));
    let mut relabelled = log.consistency(6);
    relabelled.size = 7;
    for proof in [changed, shorter, longer, relabelled] {
        let mut receipt = receipt.clone();
        receipt.consistency = vec![proof];
        let report = seen(&receipt, earlier(&receipt, 7).checkpoint());
        assert_fault(&report, Check::AppendOnly, None, "consistency[0].proof");
    }
}

#[test]
fn two_heads_of_one_size_are_proof_of_misbehaviour() {
    let receipt = receipt_of(&story());
    let forked = seen(&receipt, other(19).checkpoint());
    assert_fault(&forked, Check::AppendOnly, None, "checkpoint");
    let shown = forked.faults[0].to_string();
    assert!(shown.contains("proof of misbehaviour"), "{shown}");
    assert!(shown.contains("size 19"), "{shown}");
}

#[test]
fn a_log_that_was_rewound_is_a_fault_whatever_the_receipt_proves() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    let mut later = log.clone();
    later.append_others(9);
    let rewound = seen(&receipt, later.checkpoint());
    assert_fault(&rewound, Check::AppendOnly, None, "checkpoint");
    let shown = rewound.faults[0].to_string();
    assert!(shown.contains("28") && shown.contains("19"), "{shown}");
    // The proof that the later log continues this one, under the later size.
    let mut proof = later.consistency(19);
    proof.size = 28;
    receipt.consistency = vec![proof];
    let proven = seen(&receipt, later.checkpoint());
    assert_fault(&proven, Check::AppendOnly, None, "checkpoint");
}

#[test]
fn without_the_proof_nothing_is_said_and_the_receipt_does_not_pass() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    receipt.consistency = vec![log.consistency(6), log.consistency(8)];
    let report = seen(&receipt, earlier(&receipt, 7).checkpoint());
    assert_eq!(report.verdicts.append_only, Outcome3::NotChecked);
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    let [unanswered] = report.unanswered.as_slice() else {
        panic!("one question is open: {:#?}", report.unanswered);
    };
    let shown = unanswered.to_string();
    assert!(shown.starts_with("append-only: "), "{shown}");
    assert!(shown.contains("from size 7") && shown.contains("ask"));
    // A log that forked leaves the proof out, so whoever asks for it must not be told that all is well.
    assert!(!report.passed());
    receipt.consistency.clear();
    assert!(!seen(&receipt, other(7).checkpoint()).passed());
}

#[test]
fn a_last_seen_note_that_the_log_did_not_sign_is_a_fault() {
    let receipt = receipt_of(&story());
    let forged = Log::default().head().sign(&record_key()).unwrap();
    for note in [forged, String::new(), "\u{2014} \n\n".repeat(40_000)] {
        let report = seen(&receipt, note);
        assert_fault(&report, Check::AppendOnly, None, "last-seen");
    }
}

#[test]
fn nobody_who_saw_nothing_is_told_that_the_log_only_grew() {
    let (mut receipt, log) = linked(&story(), |_, _| {});
    receipt.consistency = vec![log.consistency(7)];
    let report = report(&receipt);
    assert_eq!(report.verdicts.append_only, Outcome3::NotChecked);
    assert!(report.unanswered.is_empty());
    assert!(report.passed());
}
