//! Plugins whose main module is made up by wasm-smith: valid code that does anything.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use stepseal_fuzz_sandbox::{Realloc, main_module_config, plugin, upload_and_run};
use wasm_smith::{Config, Module};

static CONFIG: LazyLock<Config> = LazyLock::new(main_module_config);

fuzz_target!(|bytes: &[u8]| {
    let Some((realloc, bytes)) = bytes.split_first() else {
        return;
    };
    let realloc = if realloc % 2 == 0 {
        Realloc::Libc
    } else {
        Realloc::Main
    };
    if let Ok(module) = Module::new(CONFIG.clone(), &mut Unstructured::new(bytes)) {
        upload_and_run(&plugin(&module.to_bytes(), realloc));
    }
});
