//! Attacks by what a component says of itself, and by what it asks for.

use super::{ECHO, Ends, Upload, component, plugin, refused, taken};
use crate::wat::{Plugin, importing, policy};

pub(super) fn described() -> Vec<Upload> {
    [describing(), otherwise(), judging()]
        .into_iter()
        .flatten()
        .collect()
}

/// A plugin that is described by this.
fn describes(describe: &str) -> Vec<u8> {
    let plugin = Plugin {
        run: ECHO.into(),
        describe: Some(describe.into()),
        ..Plugin::default()
    };
    component(&plugin.text())
}

/// A plugin of this name that would be called otherwise if this gave another number than the first time.
fn named_by(mut plugin: Plugin, name: &str, number: &str) -> Vec<u8> {
    let last_letter = format!("(i32.add (i32.const 97) (i32.rem_u {number} (i32.const 26)))");
    plugin.describe = Some(format!(
        "(i32.store8 (i32.const 516) {last_letter}) (i32.const 600)"
    ));
    plugin.items = format!("{} (data (i32.const 512) \"{name}\")", plugin.items);
    component(&plugin.text())
}

/// A policy that imports this too.
fn judge_with(import: &str) -> Vec<u8> {
    let text = policy("", "(unreachable)");
    component(&text.replacen("(component", &format!("(component {import}"), 1))
}

/// A policy that is described by this.
fn judge_described(describe: &str) -> Vec<u8> {
    const DESCRIBE: &str = r#"(func (export "describe") (result i32) (i32.const 600))"#;
    let text = policy("", "(unreachable)");
    assert!(text.contains(DESCRIBE), "{text}");
    let other = format!(r#"(func (export "describe") (result i32) {describe})"#);
    component(&text.replace(DESCRIBE, &other))
}

/// A plugin whose `describe` says something and traps.
fn last_words() -> Vec<u8> {
    let mut plugin = importing(
        "wasi:logging/logging@0.1.0-draft",
        "(type $t (enum \"trace\" \"debug\" \"info\" \"warn\" \"error\" \"critical\")) (export \"level\" (type $level (eq $t)))",
        "log",
        "(param \"level\" $level) (param \"context\" string) (param \"message\" string)",
        "(param i32 i32 i32 i32 i32)",
        ECHO,
    );
    plugin.items = "(data (i32.const 1024) \"I give up\")".into();
    plugin.describe = Some(
        "(call $f (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 9)) (unreachable)".into(),
    );
    component(&plugin.text())
}

fn describing() -> Vec<Upload> {
    const LIMITS: &str = "describing runs under the limits of a policy, and no grant changes them";
    const LIFTED: &str = "16 MiB may be lifted out of a guest in one call";
    vec![
        refused(
            "a start function that loops",
            || {
                plugin(
                    "start",
                    String::new(),
                    "(func $start (loop $again (br $again))) (start $start)",
                )
            },
            "describe-failed",
            "fuel",
            LIMITS,
        ),
        refused(
            "a `describe` that loops",
            || describes("(loop $again (br $again)) (unreachable)"),
            "describe-failed",
            "fuel",
            LIMITS,
        ),
        refused(
            "a `describe` that traps",
            last_words,
            "describe-failed",
            "last log line: I give up",
            "the call ends as any other trap, and its author is told what it said last",
        ),
        refused(
            "a memory that begins with 125 MiB",
            || plugin("large", String::new(), "(memory 2000)"),
            "describe-failed",
            "memory",
            LIMITS,
        ),
        refused(
            "a `describe` that tells of 2^27 steps that are not there",
            || describes("(i32.store (i32.const 628) (i32.const 0x8000000)) (i32.const 600)"),
            "describe-failed",
            "",
            LIFTED,
        ),
        refused(
            "a `describe` that tells of 100,000 steps with the same four texts of 64 KiB: 26 GB",
            || {
                describes(
                    "(local $at i32) (drop (memory.grow (i32.const 100)))
                     (local.set $at (i32.const 0x40000))
                     (loop $again
                       (i64.store (local.get $at) (i64.const 0x1000000010000))
                       (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x350000))))
                     (i32.store (i32.const 624) (i32.const 0x40000))
                     (i32.store (i32.const 628) (i32.const 100000))
                     (i32.const 600)",
                )
            },
            "describe-failed",
            "too much data",
            LIFTED,
        ),
        refused(
            "a plugin whose name has 1 MB",
            || {
                describes(
                    "(drop (memory.grow (i32.const 20)))
                     (memory.fill (i32.const 65536) (i32.const 97) (i32.const 1000000))
                     (i32.store (i32.const 600) (i32.const 65536))
                     (i32.store (i32.const 604) (i32.const 1000000))
                     (i32.const 600)",
                )
            },
            "bad-descriptor",
            "`name`",
            "what a component says of itself is checked like anything a stranger says",
        ),
    ]
}

/// Plugins that would tell others something else than the one who uploads them.
fn otherwise() -> Vec<Upload> {
    let same = |attack, bytes, held_by| Upload {
        ends: Ends::SameAgain,
        ..taken(attack, bytes, held_by)
    };
    vec![
        same(
            "a `describe` that says something else the second time",
            || {
                let plugin = Plugin {
                    items: "(global $asked (mut i32) (i32.const 0))".into(),
                    run: ECHO.into(),
                    ..Plugin::default()
                };
                let count = "(block (result i32)
                    (global.set $asked (i32.add (global.get $asked) (i32.const 1))) (global.get $asked))";
                named_by(plugin, "count", count)
            },
            "it is asked once, and whoever asks again asks a fresh instance",
        ),
        same(
            "a `describe` that says something else tomorrow",
            || {
                let plugin = importing(
                    "wasi:clocks/monotonic-clock@0.2.0",
                    "",
                    "now",
                    "(result u64)",
                    "(result i64)",
                    ECHO,
                );
                named_by(plugin, "clock", "(i32.wrap_i64 (call $f))")
            },
            "the clock of `describe` stands at the same time for ever",
        ),
        same(
            "a `describe` that throws dice",
            || {
                let plugin = importing(
                    "wasi:random/random@0.2.0",
                    "",
                    "get-random-u64",
                    "(result u64)",
                    "(result i64)",
                    ECHO,
                );
                named_by(plugin, "throw", "(i32.wrap_i64 (call $f))")
            },
            "the randomness of `describe` has the same seed for ever",
        ),
        same(
            "a `run` that takes every step type, though `describe` names one",
            || plugin("ready", String::new(), ""),
            "plans are made of what was described",
        ),
    ]
}

/// Policies.
fn judging() -> Vec<Upload> {
    const NOTHING: &str =
        "a policy is offered the base of WASI, with nothing behind it, and nothing else";
    const FOREIGN: &str = "foreign-import";
    vec![
        refused(
            "a policy that imports the key-value store",
            || {
                judge_with(
                    r#"(import "wasi:keyvalue/store@0.2.0-draft" (instance (export "open" (func))))"#,
                )
            },
            FOREIGN,
            "wasi:keyvalue/store",
            NOTHING,
        ),
        refused(
            "a policy that imports HTTP",
            || {
                judge_with(
                    r#"(import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))"#,
                )
            },
            FOREIGN,
            "wasi:http/outgoing-handler",
            NOTHING,
        ),
        refused(
            "a policy that imports the log of steps",
            || {
                judge_with(
                    r#"(import "wasi:logging/logging@0.1.0-draft" (instance (export "log" (func))))"#,
                )
            },
            FOREIGN,
            "wasi:logging/logging",
            NOTHING,
        ),
        refused(
            "a policy that imports a function that would grant",
            || {
                judge_with(
                    r#"(import "stepseal:host/grants@0.1.0" (instance (export "grant" (func))))"#,
                )
            },
            FOREIGN,
            "stepseal:host/grants",
            NOTHING,
        ),
        refused(
            "a plugin that is a policy too",
            || {
                let plugin = Plugin {
                    run: ECHO.into(),
                    ..Plugin::default()
                };
                let text = plugin.text();
                let (text, _) = text.rsplit_once(')').unwrap();
                component(&format!(
                    r#"{text} (export "stepseal:plugin/policy@0.1.0" (instance $exports)))"#
                ))
            },
            "ambiguous-export",
            "",
            "a component is one or the other",
        ),
        refused(
            "a policy whose `describe` tells of 2^27 stages that are not there",
            || judge_described("(i32.store (i32.const 636) (i32.const 0x8000000)) (i32.const 600)"),
            "describe-failed",
            "",
            "16 MiB may be lifted out of a guest in one call",
        ),
        refused(
            "a policy whose `describe` tells of ten million stages",
            || {
                judge_described(
                    "(drop (memory.grow (i32.const 160)))
                     (i32.store (i32.const 632) (i32.const 65536))
                     (i32.store (i32.const 636) (i32.const 10000000))
                     (i32.const 600)",
                )
            },
            "bad-descriptor",
            "twice",
            "what a component says of itself is checked like anything a stranger says",
        ),
    ]
}
