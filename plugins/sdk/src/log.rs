//! The step's log (`wasi:logging`). Lines go into the host's log of the step, bounded in number and bytes; they
//! are not part of the signed record. Natively they go to stderr.
//!
//! Policies may not import `wasi:logging`: put what is worth saying into the verdict's reason.

use crate::bindings::host::wasi::logging::logging as host;
pub use crate::bindings::host::wasi::logging::logging::Level;

/// Writes one line. `context` groups lines; the functions named by their level leave it empty.
pub fn log(level: Level, context: &str, message: &str) {
    if cfg!(target_arch = "wasm32") {
        host::log(level, context, message);
    } else {
        eprintln!("{level:?} {context} {message}");
    }
}

macro_rules! levels {
    ($($name:ident $level:ident),+) => {$(
        #[doc = concat!("Writes one line at level `", stringify!($name), "`.")]
        pub fn $name(message: impl AsRef<str>) {
            log(Level::$level, "", message.as_ref());
        }
    )+};
}

levels!(trace Trace, debug Debug, info Info, warn Warn, error Error, critical Critical);
