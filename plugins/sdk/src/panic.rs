//! Panics tell their message before the guest traps: `wasm32-unknown-unknown` has no stderr to tell it on.

use crate::log::{Level, log};

/// Sends the message and place of a panic to the step's log, as the last line before the trap.
pub(crate) fn log_panics() {
    if cfg!(target_arch = "wasm32") {
        std::panic::set_hook(Box::new(|panic| {
            log(Level::Critical, "panic", &panic.to_string());
        }));
    }
}
