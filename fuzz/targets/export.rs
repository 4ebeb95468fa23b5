//! A log in any lines is judged without a panic.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use stepseal_fuzz::trust;
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{LogVerifier, Options, open_line};

static TRUST: LazyLock<TrustFile> = LazyLock::new(trust);

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let Ok(mut verifier) = LogVerifier::new(header, &TRUST, &Options::default()) else {
        return;
    };
    for line in lines {
        match open_line(line, &verifier.keys()) {
            Ok(opened) => {
                if !verifier.add(opened) {
                    break;
                }
            }
            Err(error) => {
                verifier.refuse(&error);
                break;
            }
        }
    }
    verifier.finish();
});
