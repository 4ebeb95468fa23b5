//! A witness policy is read without a panic, and what it asks for meets it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stepseal_receipts::witness_policy::WitnessPolicy;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = WitnessPolicy::parse(bytes) {
        assert!(policy.is_met(|_| true));
        assert_eq!(policy.is_met(|_| false), policy.is_none());
    }
});
