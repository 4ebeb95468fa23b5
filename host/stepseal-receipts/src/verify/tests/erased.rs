//! Receipts of tasks whose records were erased.

use super::acts::act;
use super::world::*;
use crate::dsse::{Envelope, IN_TOTO};
use crate::leaf;
use crate::receipt::{Entry, Erased, Receipt};
use crate::record::{ErasedEntry, Erasure, ErasureScope, Kind, Record, Status};
use crate::verify::{Check, Options, Outcome3, Pins, Report, verify, verify_bytes};

/// The receipt of these records after those with the numbers in each list were erased by one erasure. `change` sees each erasure's
/// record just before it is signed. The first erasure has the place in the log that the record after the next would have, and each
/// further one that of the next.
pub(super) fn erase(
    receipt: (Receipt, Log),
    lists: &[&[usize]],
    change: impl Fn(usize, &mut Record),
) -> Receipt {
    let (mut receipt, mut log) = receipt;
    let leaves: Vec<Vec<u8>> = receipt.entries.iter().map(leaf_of).collect();
    for (number, list) in lists.iter().enumerate() {
        let entries = list.iter().map(|&seq| ErasedEntry {
            index: index_of(seq),
            seq: seq as u64,
            prev: seq.checked_sub(1).map(|seq| leaf::leaf_hash(&leaves[seq])),
        });
        let mut record = act(Kind::Erasure);
        record.nonce = [100 + u8::try_from(number).unwrap(); 16];
        record.erasure = Some(Erasure {
            scope: ErasureScope::Records,
            basis: "GDPR Art. 17".to_owned(),
            task: Some(TASK.to_owned()),
            blobs: Vec::new(),
            entries: entries.collect(),
        });
        change(number, &mut record);
        let entry = Entry {
            index: log.head().size,
            envelope: Envelope::sign(IN_TOTO, record.to_statement(), &record_key()),
            proof: Vec::new(),
        };
        let index = log.append(leaf::leaf_hash(&leaf_of(&entry)));
        assert_eq!(index, index_of(leaves.len() + 1 + number));
        log.append_others(1);
        receipt.entries.push(entry);
        receipt.erased.extend(list.iter().map(|&seq| Erased {
            index: index_of(seq),
            leaf: leaves[seq].clone(),
            proof: Vec::new(),
            erasure: index,
        }));
    }
    receipt.erased.sort_by_key(|erased| erased.index);
    let gone: Vec<u64> = receipt.erased.iter().map(|erased| erased.index).collect();
    receipt.entries.retain(|entry| !gone.contains(&entry.index));
    log.prove(&mut receipt);
    receipt
}

fn leaf_of(entry: &Entry) -> Vec<u8> {
    let envelope = &entry.envelope;
    let signature = &envelope.signatures[0].sig;
    leaf::leaf(&envelope.pae_digest(), signature, &record_key().public())
}

fn erased(records: &[Record], lists: &[&[usize]]) -> Receipt {
    erase(linked(records, |_, _| {}), lists, |_, _| {})
}

fn allowing() -> Options {
    Options {
        allow_erased: true,
        ..Options::default()
    }
}

#[track_caller]
fn assert_taken(receipt: &Receipt, completeness: Outcome3) -> Report {
    let report = verify_bytes(&receipt.to_json(), &trust(), &allowing());
    assert!(
        report.passed(),
        "{:#?} {:?}",
        report.faults,
        report.unanswered
    );
    assert_eq!(report.verdicts.signatures, Outcome3::Pass);
    assert_eq!(report.verdicts.inclusion, Outcome3::Pass);
    assert_eq!(report.verdicts.chain, Outcome3::NotChecked);
    assert_eq!(report.verdicts.completeness, completeness);
    report
}

const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6];

#[test]
fn erased_records_are_proven_to_have_been_there_and_no_more() {
    let receipt = erased(&story(), &[ALL]);
    let report = assert_taken(&receipt, Outcome3::NotChecked);
    assert!(!report.open);
    let [erasing] = report.erased.as_slice() else {
        panic!("{:?}", report.erased);
    };
    assert_eq!((erasing.index, erasing.entries), (index_of(8), 7));
    assert_eq!(erasing.basis, "GDPR Art. 17");
    assert_eq!(report.records.len(), 1);
}

#[test]
fn whoever_does_not_accept_erased_records_is_told_so() {
    for lists in [&[ALL][..], &[&[0, 1, 2]], &[&[3]]] {
        let report = report(&erased(&story(), lists));
        assert!(!report.passed() && report.faults.is_empty());
        let checks: Vec<_> = report.unanswered.iter().map(|asked| asked.check).collect();
        assert_eq!(checks, [Check::Chain]);
        let shown = report.unanswered[0].to_string();
        assert!(shown.contains("--allow-erased"), "{shown}");
    }
}

#[test]
fn to_accept_erased_records_accepts_nothing_else() {
    // Without an erasure nothing is excused.
    for count in [0, 3] {
        let mut receipt = receipt_of(&story());
        receipt.entries.truncate(count);
        assert!(!verify(&receipt, &trust(), &allowing()).passed());
    }
    // A task that goes on, whose last record is here.
    let receipt = erased(&story()[..5], &[&[1]]);
    let report = verify(&receipt, &trust(), &allowing());
    assert_fault(&report, Check::Completeness, None, "entries");
    assert!(report.open);
    let both = Options {
        allow_open: true,
        ..allowing()
    };
    assert!(verify(&receipt, &trust(), &both).passed());
}

#[test]
fn where_the_end_of_the_task_is_left_it_counts_the_records() {
    for lists in [&[&ALL[..6]][..], &[&[0]], &[&[0, 2], &[1, 5]]] {
        assert_taken(&erased(&story(), lists), Outcome3::Pass);
    }
    assert_taken(&erased(&story(), &[&[6]]), Outcome3::NotChecked);
}

#[test]
fn of_a_story_with_holes_nothing_is_said() {
    // With the records that are left, this could be seen to be wrong; with others in the holes, what is wrong would look right.
    let mut bad = story();
    bad[3] = ended(bad[3].clone(), Status::Denied);
    assert!(!report(&receipt_of(&bad)).passed());
    assert_taken(&erased(&bad, &[&[3]]), Outcome3::Pass);
    assert_taken(&erased(&bad, &[&[2]]), Outcome3::Pass);
}

#[test]
fn pins_cannot_be_answered_for_by_what_is_erased() {
    let options = Options {
        pins: Pins {
            components: vec![digest(41)],
            policies: Vec::new(),
        },
        ..allowing()
    };
    assert!(verify(&receipt_of(&story()), &trust(), &options).passed());
    let report = verify(&erased(&story(), &[&[3]]), &trust(), &options);
    assert!(!report.passed() && report.faults.is_empty());
    assert_eq!(report.unanswered[0].check, Check::Chain);
}

#[test]
fn what_the_records_that_are_left_speak_of_can_be_disclosed_and_nothing_else() {
    let mut receipt = erased(&story(), &[&[1]]);
    receipt.disclosures = vec![output_of("pay").into_bytes()];
    let report = assert_taken(&receipt, Outcome3::Pass);
    assert_eq!(report.verdicts.disclosure, Outcome3::Pass);
    receipt.disclosures = vec![input_of("balance").into_bytes()];
    let report = verify(&receipt, &trust(), &allowing());
    assert_fault(&report, Check::Disclosure, None, "disclosures[0]");
}
