//! A trust file that is read is written as one that says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stepseal_receipts::trust::TrustFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(trust) = TrustFile::parse(bytes) {
        assert_eq!(TrustFile::parse(&trust.to_json()).ok(), Some(trust));
    }
});
