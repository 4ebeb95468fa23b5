//! Whatever a receipt is changed into, it is refused or nothing that is believed changes.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::world::*;
use crate::receipt::Receipt;
use crate::verify::{Options, Report, verify, verify_bytes};

static RECEIPT: LazyLock<Receipt> = LazyLock::new(story_receipt);
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| RECEIPT.to_json());
static HONEST: LazyLock<Report> = LazyLock::new(|| report(&RECEIPT));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_receipt_with_one_byte_changed_is_refused_or_believed_the_same(place: Index, byte: u8) {
        let mut bytes = BYTES.clone();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        let report = verify_bytes(&bytes, &trust(), &Options::default());
        if report.passed() {
            prop_assert_eq!(&report.records, &HONEST.records);
            prop_assert_eq!(&report.checkpoint, &HONEST.checkpoint);
        } else {
            prop_assert!(!report.faults.is_empty());
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
