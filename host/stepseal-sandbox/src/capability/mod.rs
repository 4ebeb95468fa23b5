//! What a guest can be given, one file each, and the linkers that give it.

pub(crate) mod base;
pub(crate) mod clocks;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub(crate) mod logging;
pub(crate) mod random;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::capabilities::{
    atomics, batch, config as wasi_config, logging as wasi_logging, store,
};
use crate::guest::Guest;

/// Everything a plugin may import; that of WASI 0.3 where the engine is a concurrent one.
pub(crate) fn step_linker(engine: &Engine, concurrent: bool) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = policy_linker(engine, concurrent)?;
    let l = &mut linker;
    wasi_logging::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    store::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    atomics::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    batch::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    wasi_config::add_to_linker::<Guest, HasSelf<Guest>>(l, |guest| guest)?;
    http::add_to_linker(l)?;
    Ok(linker)
}

/// Everything a policy may import: the base, which touches nothing.
pub(crate) fn policy_linker(engine: &Engine, concurrent: bool) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    base::add_to_linker(&mut linker)?;
    clocks::add_to_linker(&mut linker)?;
    random::add_to_linker(&mut linker)?;
    if concurrent {
        base::add_wasi_0_3_to_linker(&mut linker)?;
        clocks::add_wasi_0_3_to_linker(&mut linker)?;
        random::add_wasi_0_3_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// Interfaces of [`policy_linker`] of WASI 0.2.
const BASE_0_2: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Interfaces of [`policy_linker`] of WASI 0.3.
const BASE_0_3: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// Whether `name` is in the base that every guest may import.
pub(crate) fn is_base(name: &str) -> bool {
    is_of("0.2.", name, BASE_0_2) || is_of("0.3.", name, BASE_0_3)
}

/// Whether `name` is one of these interfaces in a patch of this version of WASI.
fn is_of(patches: &str, name: &str, interfaces: &[&str]) -> bool {
    let Some((interface, version)) = name.split_once('@') else {
        return false;
    };
    version.starts_with(patches) && interfaces.contains(&interface)
}

/// Whether `name` is a capability that a plugin may import.
pub(crate) fn is_capability(name: &str) -> bool {
    matches!(
        name,
        "wasi:logging/logging@0.1.0-draft"
            | "wasi:keyvalue/store@0.2.0-draft"
            | "wasi:keyvalue/atomics@0.2.0-draft"
            | "wasi:keyvalue/batch@0.2.0-draft"
            | "wasi:config/store@0.2.0-rc.1"
    ) || is_of("0.2.", name, &http::INTERFACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_offered_in_every_patch_of_wasi_0_2_and_0_3() {
        for version in ["0.2.0", "0.2.9", "0.3.0", "0.3.1"] {
            assert!(is_base(&format!("wasi:cli/environment@{version}")));
        }
        assert!(is_capability("wasi:http/types@0.2.0"));
        for name in [
            "wasi:cli/environment",
            "wasi:cli/environment@0.4.0",
            "wasi:io/poll@0.3.0",
            "wasi:clocks/system-clock@0.2.0",
            "wasi:http/types@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft",
        ] {
            assert!(!is_base(name), "{name}");
        }
    }
}
