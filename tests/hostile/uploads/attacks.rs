//! The attacks, and the bytes that are sent.
//!
//! What the compiler's process may take is tested in `blackbox/compiling.rs` too, where its limits can be set.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::described::described;
use super::{Ends, How, Upload, component, plugin, refused, taken};
use crate::host::guests;

/// A component with so many of these sections or fields.
fn many(what: &str, count: usize) -> Vec<u8> {
    component(&format!("(component {})", what.repeat(count)))
}

/// A number as WebAssembly writes it (core specification, section 5.2.2: LEB128).
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// What a component begins with, and a module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A section of a component or a module.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb128(content.len()), content].concat()
}

/// A function with so many locals. As text each would have to be written out; in bytes it is a count.
fn locals(count: usize) -> Vec<u8> {
    let mut body = vec![1];
    body.extend(leb128(count));
    // `i32`, and the end of the function.
    body.extend([0x7f, 0x0b]);
    let mut code = vec![1];
    code.extend(leb128(body.len()));
    code.extend(body);
    let mut module = MODULE.to_vec();
    // A type without parameters and results, a function of it, and its code.
    for (id, content) in [(1, vec![1, 0x60, 0, 0]), (3, vec![1, 0]), (10, code)] {
        module.extend(section(id, &content));
    }
    [COMPONENT, &section(1, &module)].concat()
}

/// So many components, each in the one before. As text it would be too deep to be read.
fn nested(depth: usize) -> Vec<u8> {
    // Built from the inside, back to front: the length of what is inside is not known before.
    let mut reversed: Vec<u8> = COMPONENT.iter().rev().copied().collect();
    for _ in 0..depth {
        let head = [COMPONENT, &[4], &leb128(reversed.len())].concat();
        reversed.extend(head.iter().rev());
    }
    reversed.reverse();
    reversed
}

/// Instances of a component that has two instances of a component, and so on: 2^16 in all.
fn doubling() -> Vec<u8> {
    let mut inner = "(component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..=16 {
        let below = level - 1;
        inner = format!(
            "(component $c{level} {inner} (instance (instantiate $c{below})) (instance (instantiate $c{below})))"
        );
    }
    plugin(
        "twice",
        format!("{inner} (instance (instantiate $c16))"),
        "",
    )
}

/// Types, each a pair of the one before.
fn type_bomb() -> Vec<u8> {
    let pairs: Vec<String> = (0..39)
        .map(|below| format!("(type $t{} (tuple $t{below} $t{below}))", below + 1))
        .collect();
    let types = pairs.concat();
    component(&format!(
        "(component (type $t0 (tuple string string)) {types})"
    ))
}

/// A plugin that imports so many resources. As text it takes minutes to be read.
fn resources(count: usize) -> Vec<u8> {
    let mut content = leb128(count);
    for number in 0..count {
        let name = format!("r{number}");
        content.push(0);
        content.extend(leb128(name.len()));
        content.extend(name.bytes());
        // `(type (sub resource))`
        content.extend([3, 1]);
    }
    [plugin("asker", String::new(), ""), section(10, &content)].concat()
}

/// A plugin that imports so many interfaces with nothing in them.
fn interfaces(count: usize) -> Vec<u8> {
    let imports: Vec<String> = (0..count)
        .map(|number| format!("(import \"a:b/c{number}\" (instance))"))
        .collect();
    plugin("asker", imports.concat(), "")
}

fn long_names() -> Vec<u8> {
    let name = "x".repeat(99_000);
    plugin(
        "named",
        String::new(),
        &format!("(func (export \"{name}\"))"),
    )
}

/// A component that a browser would show as a page and an archiver would open, in a section that engines skip.
fn polyglot() -> Vec<u8> {
    let mut bytes = plugin("zipit", String::new(), "");
    let mut content = leb128(4);
    content.extend(b"page<html><script>alert(1)</script></html>PK\x05\x06");
    content.extend([0; 18]);
    bytes.extend(section(0, &content));
    bytes
}

fn compressed() -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip is on every machine");
    let mut stdin = gzip.stdin.take().unwrap();
    let written = std::thread::spawn(move || stdin.write_all(&guests::bytes("hostile")));
    let output = gzip.wait_with_output().unwrap();
    written.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"\x1f\x8b"));
    output.stdout
}

/// Every attack, on a host to which the guests have been uploaded.
pub(in crate::hostile) fn uploads() -> Vec<Upload> {
    let here = [files(), large(), counts()];
    here.into_iter().flatten().chain(described()).collect()
}

fn files() -> Vec<Upload> {
    const FIRST: &str = "the first bytes are looked at before anything else";
    const COMPILER: &str = "the compiler's own checks, in a process with little to lose";
    vec![
        refused(
            "a truncated component",
            || guests::bytes("hostile")[..10_000].to_vec(),
            "does-not-compile",
            "",
            COMPILER,
        ),
        refused(
            "a compressed component",
            compressed,
            "not-wasm",
            "",
            "nothing is ever unpacked",
        ),
        refused(
            "a ZIP file with a component in it",
            || [&b"PK\x03\x04"[..], &guests::bytes("hostile")[..]].concat(),
            "not-wasm",
            "",
            FIRST,
        ),
        refused(
            "a component with a ZIP file after it",
            || [&guests::bytes("hostile")[..], b"PK\x03\x04"].concat(),
            "does-not-compile",
            "",
            COMPILER,
        ),
        refused(
            "a core module with a component after it",
            || [&component("(module)")[..], &guests::bytes("hostile")].concat(),
            "core-module",
            "",
            FIRST,
        ),
        taken(
            "a component that is a web page and an archive as well, in a custom section",
            polyglot,
            "it is kept and given out as the bytes it is, of type `application/wasm`",
        ),
    ]
}

fn large() -> Vec<Upload> {
    const SIZE: &str = "32 MiB, then the rest is thrown away unread for a while";
    vec![
        Upload {
            attack: "1 GB, announced",
            held_by: SIZE,
            send: How::Flood { announced: true },
            ends: Ends::Refused(413, "too-large", ""),
        },
        Upload {
            attack: "1 GB, in chunks without an end",
            held_by: SIZE,
            send: How::Flood { announced: false },
            ends: Ends::Refused(413, "too-large", ""),
        },
        Upload {
            attack: "half of what is announced, then nothing",
            held_by: "nothing is kept of a body that is not whole",
            send: How::Part,
            ends: Ends::Refused(400, "broken-body", ""),
        },
        refused(
            "30 MB of data for its memory",
            || {
                let data = format!(
                    "(memory 460) (data (i32.const 0) \"{}\")",
                    "x".repeat(30_000_000)
                );
                plugin("heavy", String::new(), &data)
            },
            "describe-failed",
            "memory",
            "describing runs under the limits of a policy: 16 MiB",
        ),
        taken(
            "30 MB of data that it never uses",
            || {
                let data = format!("(data $unused \"{}\")", "x".repeat(30_000_000));
                plugin("stout", String::new(), &data)
            },
            "machine code and data are mapped from the cache, not copied",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn counts() -> Vec<Upload> {
    const PARSER: &str = "the limits of the parser";
    const CHILD: &str = "compiling is done in a process of its own, with limits of memory and time";
    vec![
        // A hundred thousand end the same and take the compiler ten times as long, a minute where it is not optimised.
        taken(
            "10,000 functions",
            || plugin("funcs", String::new(), &"(func)".repeat(10_000)),
            CHILD,
        ),
        taken(
            "100,000 types",
            || {
                plugin(
                    "types",
                    String::new(),
                    &"(type (func (param i32 i64)))".repeat(100_000),
                )
            },
            CHILD,
        ),
        taken(
            "10,000 blocks, each in the one before",
            || {
                let blocks = format!(
                    "(func {} {})",
                    "block ".repeat(10_000),
                    "end ".repeat(10_000)
                );
                plugin("block", String::new(), &blocks)
            },
            CHILD,
        ),
        refused(
            "a function with 2^31 locals",
            || locals(1 << 31),
            "does-not-compile",
            "too many locals",
            PARSER,
        ),
        refused(
            "100,000 imports",
            || resources(100_000),
            "foreign-import",
            "imports r0",
            "there is a list of what a host offers, and compiling what is not in it is limited",
        ),
        refused(
            "200 imports that ask for nothing",
            || interfaces(200),
            "import-mismatch",
            "more than 128 imports",
            "128 imports",
        ),
        refused(
            "100,000 components side by side",
            || many("(component)", 100_000),
            "does-not-compile",
            "components count exceeds limit of 1000",
            PARSER,
        ),
        refused(
            "100,000 components, each in the one before",
            || nested(100_000),
            "does-not-compile",
            "of memory",
            CHILD,
        ),
        refused(
            "10,000 instances of a module",
            || {
                component(&format!(
                    "(component (core module $m) {})",
                    "(core instance (instantiate $m))".repeat(10_000)
                ))
            },
            "does-not-compile",
            "instances count exceeds limit of 1000",
            PARSER,
        ),
        refused(
            "2^16 instances out of 16 components, each of which has the one before twice",
            doubling,
            "does-not-compile",
            "core module instances",
            "64 instances of modules in a component",
        ),
        refused(
            "a type of 2^40 texts out of 40 pairs",
            type_bomb,
            "does-not-compile",
            "type size",
            PARSER,
        ),
        refused(
            "10,000 memories",
            || {
                component(&format!(
                    "(component (core module {}))",
                    "(memory 0)".repeat(10_000)
                ))
            },
            "does-not-compile",
            "memories count exceeds limit",
            PARSER,
        ),
        refused(
            "10,000 tables",
            || {
                component(&format!(
                    "(component (core module {}))",
                    "(table 0 funcref)".repeat(10_000)
                ))
            },
            "does-not-compile",
            "tables count exceeds limit",
            PARSER,
        ),
        taken(
            "a name of 99,000 letters",
            long_names,
            "names are bounded by the parser, and errors cut them",
        ),
    ]
}
