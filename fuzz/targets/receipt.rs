//! What is read as a receipt is written as one, and verifying it never panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stepseal_fuzz::{policy, trust};
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{Options, verify_bytes};
use stepseal_receipts::witness_policy::WitnessPolicy;

static TRUST: LazyLock<TrustFile> = LazyLock::new(trust);
static OPTIONS: LazyLock<Options> = LazyLock::new(|| Options {
    witnesses: WitnessPolicy::parse(policy().as_bytes()).ok(),
    ..Options::default()
});

fuzz_target!(|bytes: &[u8]| {
    let limits = ReceiptLimits::default();
    if let Ok(receipt) = Receipt::parse(bytes, &limits) {
        let again = Receipt::parse(&receipt.to_json(), &limits);
        assert_eq!(again.ok(), Some(receipt));
    }
    verify_bytes(bytes, &TRUST, &OPTIONS);
});
