//! Panics tell their message before the guest traps: `wasm32-unknown-unknown` has no stderr to tell it on. The host repeats the last
//! line that a guest wrote in what it says of the trap.

use std::panic::set_hook;

use crate::bindings::stdio::wasi::cli::stderr::get_stderr;
use crate::log::{Level, log};

/// Bytes that a stream takes in one call.
const WRITE_BYTES_MAX: usize = 4_096;

/// Sends the message and place of a panic to the step's log, as the last line before the trap.
pub(crate) fn log_panics() {
    if cfg!(target_arch = "wasm32") {
        set_hook(Box::new(|panic| {
            log(Level::Critical, "panic", &panic.to_string());
        }));
    }
}

/// The same to stderr, for policies: they may not import `wasi:logging`.
pub(crate) fn print_panics() {
    if cfg!(target_arch = "wasm32") {
        set_hook(Box::new(|panic| {
            // In one line, so that the last one has all of it.
            let said = panic.to_string().replace('\n', " ");
            let said = said.as_bytes();
            // There is nobody to tell where this fails too.
            let _ = get_stderr().blocking_write_and_flush(&said[..said.len().min(WRITE_BYTES_MAX)]);
        }));
    }
}
