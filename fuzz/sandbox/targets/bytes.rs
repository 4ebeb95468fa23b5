//! Whatever is uploaded: changed bytes of plugins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stepseal_fuzz_sandbox::upload_and_run;

fuzz_target!(|bytes: &[u8]| {
    upload_and_run(bytes);
});
