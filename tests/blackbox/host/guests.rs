//! The built components.

use std::path::PathBuf;

/// Where `make guests test-guests language-guests` puts components.
fn dir() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "target", "guests"]
        .iter()
        .collect()
}

/// Where the component of this name is.
pub(crate) fn path(name: &str) -> PathBuf {
    dir().join(format!("{name}.wasm"))
}

/// The bytes of the component of this name.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "there is no component {} ({error}): run `make guests test-guests language-guests`",
            path.display()
        )
    })
}

/// Other bytes that are the same component: a custom section (WebAssembly core specification, section 5.5.3) is added.
pub(crate) fn bytes_with_another_section(name: &str) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    let mut bytes = bytes(name);
    bytes.extend([CUSTOM, 5, 4]);
    bytes.extend(b"more");
    bytes
}
