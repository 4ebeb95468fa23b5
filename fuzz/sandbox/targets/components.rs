//! Components that are made up by wasm-smith: valid, and hardly ever plugins.
#![no_main]

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use stepseal_fuzz_sandbox::{config, upload_and_run};
use wasm_smith::Component;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(component) = Component::new(config(), &mut Unstructured::new(bytes)) {
        upload_and_run(&component.to_bytes());
    }
});
