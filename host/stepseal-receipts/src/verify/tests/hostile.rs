//! Whatever a receipt is changed into, it is refused or nothing that is believed changes.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::append_only::earlier;
use super::erased::erase;
use super::witnesses::{TIME, cosignature, policy_text};
use super::world::*;
use crate::dsse::{Envelope, IN_TOTO};
use crate::json;
use crate::note::Note;
use crate::receipt::Receipt;
use crate::verify::{Options, Outcome3, Report, verify, verify_bytes};
use crate::witness_policy::WitnessPolicy;

static RECEIPT: LazyLock<Receipt> = LazyLock::new(story_receipt);
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| RECEIPT.to_json());
static HONEST: LazyLock<Report> = LazyLock::new(|| report(&RECEIPT));

/// A receipt on which every question that is answered offline can be asked, with the options that ask them.
static ASKED: LazyLock<(Vec<u8>, Options)> = LazyLock::new(|| {
    let mut records = story();
    let said = serde_json::json!({"decision": "approve", "role": "treasurer",
        "subject": {"sha256": records[2].approvals[0].subject.to_hex()}});
    let envelope = Envelope::sign(IN_TOTO, json::canonical(&said), &approver_key());
    signed_by_approver(&mut records[2], &envelope);
    let (mut receipt, log) = linked(&records, |_, _| {});
    receipt.approvals = vec![envelope];
    receipt.disclosures.clone_from(&RECEIPT.disclosures);
    receipt.consistency = vec![log.consistency(7)];
    let mut note = Note::parse(&receipt.checkpoint).unwrap();
    // As many as the policy asks for: without one of them the receipt is not witnessed.
    for seed in [71, 72] {
        let line = cosignature(&receipt.checkpoint, seed, TIME);
        note.signatures.push(line);
    }
    receipt.checkpoint = note.to_string();
    let options = Options {
        allow_open: false,
        last_seen: Some(earlier(&receipt, 7).checkpoint()),
        witnesses: Some(WitnessPolicy::parse(policy_text().as_bytes()).unwrap()),
        ..Options::default()
    };
    (receipt.to_json(), options)
});
/// A receipt of which all but the first and the last record are erased, and what is found in it.
static ERASED: LazyLock<(Vec<u8>, (Report, Options))> = LazyLock::new(|| {
    let lists: [&[usize]; 2] = [&[1, 2, 4], &[3, 5]];
    let bytes = erase(linked(&story(), |_, _| {}), &lists, |_, _| {}).to_json();
    let options = Options {
        allow_erased: true,
        ..Options::default()
    };
    let report = verify_bytes(&bytes, &trust(), &options);
    assert!(report.passed(), "{:#?}", report.faults);
    (bytes, (report, options))
});
static ANSWERED: LazyLock<Report> = LazyLock::new(|| {
    let report = verify_bytes(&ASKED.0, &trust(), &ASKED.1);
    assert!(report.passed(), "{:#?}", report.faults);
    let asked = &report.verdicts.all()[..7];
    assert!(asked.iter().all(|(_, outcome)| *outcome == Outcome3::Pass));
    report
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_receipt_with_one_byte_changed_is_refused_or_believed_the_same(place: Index, byte: u8) {
        let (mut bytes, options) = ASKED.clone();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        let mut report = verify_bytes(&bytes, &trust(), &options);
        if report.passed() {
            // A list that goes by another name is a member nobody knows: reported, and what it held is not believed.
            if report.unrecognised.len() == 1 {
                prop_assert_eq!(report.verdicts.disclosure, Outcome3::NotChecked);
                report.verdicts.disclosure = Outcome3::Pass;
                report.unrecognised.clear();
            }
            prop_assert_eq!(&report, &*ANSWERED);
        } else {
            prop_assert!(!report.faults.is_empty() || !report.unanswered.is_empty());
        }
    }

    #[test]
    fn a_receipt_of_erased_records_with_one_byte_changed_is_refused_or_believed_the_same(place: Index, byte: u8) {
        let (mut bytes, honest) = ERASED.clone();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        let report = verify_bytes(&bytes, &trust(), &honest.1);
        if report.passed() {
            prop_assert_eq!(report, honest.0);
        } else {
            prop_assert!(!report.faults.is_empty() || !report.unanswered.is_empty());
        }
    }

    #[test]
    fn a_receipt_with_one_bit_of_a_signed_payload_changed_is_refused(entry: Index, place: Index, bit in 0..8u8) {
        let mut receipt = RECEIPT.clone();
        let entry = entry.index(receipt.entries.len());
        let payload = &mut receipt.entries[entry].envelope.payload;
        let place = place.index(payload.len());
        payload[place] ^= 1 << bit;
        prop_assert!(!verify(&receipt, &trust(), &Options::default()).passed());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(!verify_bytes(&bytes, &trust(), &Options::default()).passed());
    }

    #[test]
    fn a_cut_or_spliced_receipt_never_panics(from: Index, to: Index, at: Index) {
        let (from, to) = (from.index(BYTES.len()), to.index(BYTES.len()));
        let piece = &BYTES[from.min(to)..from.max(to)];
        let at = at.index(BYTES.len());
        let spliced = [&BYTES[..at], piece, &BYTES[at..]].concat();
        let report = verify_bytes(&spliced, &trust(), &Options::default());
        prop_assert!(!report.passed() || report.records == HONEST.records);
        prop_assert!(!verify_bytes(piece, &trust(), &Options::default()).passed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_other_choice_or_order_of_the_entries_is_believed(chosen in proptest::collection::vec(0..7usize, 0..9)) {
        prop_assume!(chosen != [0, 1, 2, 3, 4, 5, 6]);
        let mut receipt = RECEIPT.clone();
        receipt.entries = chosen.iter().map(|number| RECEIPT.entries[*number].clone()).collect();
        prop_assert!(!verify(&receipt, &trust(), &Options::default()).passed());
    }
}
