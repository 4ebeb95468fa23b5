//! Plugins whose main module is a real one that wasm-mutate changed again and again: valid, and nearly what it was.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use stepseal_fuzz_sandbox::{Realloc, plugin, upload_and_run};
use wasm_mutate::WasmMutate;

/// Tries of one mutation.
const MUTATION_FUEL: u64 = 100;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let module = data[..size].to_vec();
    let mut mutate = WasmMutate::default();
    mutate.seed(seed.into()).fuel(MUTATION_FUEL);
    // Of a module that is broken already it says so, or panics.
    let valid = wasmparser::validate(&module).is_ok();
    let mutated = valid
        .then(|| mutate.run(&module).ok()?.next()?.ok())
        .flatten();
    match mutated {
        Some(mutant) if mutant.len() <= max_size => {
            data[..mutant.len()].copy_from_slice(&mutant);
            mutant.len()
        }
        // What it cannot change is changed blindly.
        _ => fuzzer_mutate(data, size, max_size),
    }
});

fuzz_target!(|module: &[u8]| {
    upload_and_run(&plugin(module, Realloc::Libc));
    upload_and_run(&plugin(module, Realloc::Main));
});
