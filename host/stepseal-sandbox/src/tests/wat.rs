//! Components as text.

use std::fmt::Write as _;

pub(super) use ::wat::parse_str;

/// A plugin whose `run` is written by the test.
#[derive(Default)]
pub(super) struct Plugin {
    /// Imports of the component, and `canon lower`s of them.
    pub(super) imports: String,
    /// What the main module is instantiated with beyond `libc`.
    pub(super) with: String,
    /// Imports of the main module.
    pub(super) core_imports: String,
    /// Functions, tables, memories and data of the main module.
    pub(super) items: String,
    /// The body of `run`: leaves the address of the result.
    pub(super) run: String,
    /// The body of `describe`, if not the usual one.
    pub(super) describe: Option<String>,
}

/// A plugin that only runs code.
pub(crate) fn plugin(run: &str) -> String {
    Plugin {
        run: run.to_owned(),
        ..Plugin::default()
    }
    .text()
}

/// A plugin with more than one function.
pub(super) fn plugin_with(items: &str, run: &str) -> String {
    Plugin {
        items: items.to_owned(),
        run: run.to_owned(),
        ..Plugin::default()
    }
    .text()
}

/// A plugin with one function imported from an interface: `$f` of the main module.
pub(super) fn importing(
    interface: &str,
    types: &str,
    name: &str,
    signature: &str,
    core: &str,
    run: &str,
) -> Plugin {
    Plugin {
        imports: format!(
            "(import \"{interface}\" (instance $import {types} (export \"{name}\" (func {signature}))))
             (core func $lowered (canon lower (func $import \"{name}\")
                (memory (core memory $libc \"memory\")) (realloc (core func $libc \"realloc\"))))"
        ),
        with: "(with \"import\" (instance (export \"f\" (func $lowered))))".into(),
        core_imports: format!("(import \"import\" \"f\" (func $f {core}))"),
        run: run.into(),
        ..Plugin::default()
    }
}

/// Bytes, as data of a module.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "\\{byte:02x}").unwrap();
    }
    text
}

/// Four bytes, as data of a module.
fn word(value: usize) -> String {
    escaped(&u32::try_from(value).unwrap().to_le_bytes())
}

/// Texts the descriptors point to, at address 512: `probe` `1.0.0` `{}`.
const NAME: (usize, usize) = (512, 5);
const VERSION: (usize, usize) = (517, 5);
const SCHEMA: (usize, usize) = (522, 2);
const EMPTY: (usize, usize) = (522, 0);
const TEXTS: &str = "(data (i32.const 512) \"probe1.0.0{}\")";

fn words(strings: &[(usize, usize)]) -> String {
    strings
        .iter()
        .map(|(at, len)| word(*at) + &word(*len))
        .collect()
}

/// Memory and an allocator that only goes up, shared by all: `memory`, `realloc`. Room for 64 KiB; more grows the memory.
const LIBC: &str = r#"
    (core module $libc-module
      (memory (export "memory") 2)
      (global $top (mut i32) (i32.const 65536))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
        (global.set $top (i32.add (local.get $at) (local.get 3)))
        (block $fits
          (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $fits (i32.ne (i32.const -1)
            (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
          (unreachable))
        (local.get $at)))
    (core instance $libc (instantiate $libc-module))
"#;

/// What every main module has: `$ok` and `$fail` make a result of `run` out of a text, at address 16; `$number` writes a 64-bit
/// number as 16 hexadecimal digits in quotes at address 64, which is JSON, and answers with it.
const HELPERS: &str = r"
    (func $ok (param $at i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $at))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    (func $fail (param $kind i32) (param $at i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (local.get $kind))
      (i32.store (i32.const 24) (local.get $at))
      (i32.store (i32.const 28) (local.get $len))
      (i32.const 16))
    (func $number (param $n i64) (result i32)
      (local $i i32) (local $digit i32)
      (i32.store8 (i32.const 64) (i32.const 34))
      (i32.store8 (i32.const 81) (i32.const 34))
      (loop $next
        (local.set $digit (i32.wrap_i64 (i64.and (local.get $n) (i64.const 15))))
        (i32.store8
          (i32.sub (i32.const 80) (local.get $i))
          (i32.add (local.get $digit)
            (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 10)))))
        (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $i) (i32.const 16))))
      (call $ok (i32.const 64) (i32.const 18)))
";

impl Plugin {
    pub(super) fn text(&self) -> String {
        let Self {
            imports,
            with,
            core_imports,
            items,
            run,
            describe,
        } = self;
        let step_type = words(&[NAME, EMPTY, SCHEMA, SCHEMA]);
        let descriptor = words(&[NAME, VERSION, EMPTY, (640, 1)]);
        let describe = describe.as_deref().unwrap_or("(i32.const 600)");
        format!(
            r#"(component
    {LIBC}
    {imports}
    (core module $main-module
      (import "libc" "memory" (memory $memory 2))
      (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
      {core_imports}
      {HELPERS}
      {TEXTS}
      (data (i32.const 600) "{descriptor}")
      (data (i32.const 640) "{step_type}")
      {items}
      (func (export "describe") (result i32) {describe})
      (func (export "run")
        (param $task i32) (param i32) (param $step i32) (param i32) (param $attempt i32) (param $type i32) (param i32)
        (param $input i32) (param $input-len i32) (param $key i32) (param i32) (result i32)
        {run}))
    (core instance $main (instantiate $main-module (with "libc" (instance $libc)) {with}))
    (type $step-type (record
      (field "name" string) (field "summary" string) (field "input-schema" string) (field "output-schema" string)))
    (type $descriptor (record
      (field "name" string) (field "version" string) (field "summary" string) (field "steps" (list $step-type))))
    (type $invocation (record
      (field "task-id" string) (field "step-id" string) (field "attempt" u32) (field "step-type" string)
      (field "input" string) (field "idempotency-key" string)))
    (type $failure (variant
      (case "invalid-input" string) (case "failed" string) (case "unavailable" string)))
    (func $describe (result $descriptor) (canon lift (core func $main "describe") (memory (core memory $libc "memory"))))
    (func $run (param "call" $invocation) (result (result string (error $failure)))
      (canon lift (core func $main "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (instance $exports
      (export "step-type" (type $step-type)) (export "descriptor" (type $descriptor))
      (export "invocation" (type $invocation)) (export "failure" (type $failure))
      (export "describe" (func $describe)) (export "run" (func $run)))
    (export "stepseal:plugin/step@0.1.0" (instance $exports)))"#
        )
    }
}

/// A policy whose `evaluate` leaves the address of the result; `$stage`, `$settings` and `$input` are its parameters.
pub(super) fn policy(items: &str, evaluate: &str) -> String {
    let descriptor = words(&[NAME, VERSION, EMPTY, SCHEMA]) + &word(640) + &word(2);
    format!(
        r#"(component
    {LIBC}
    (core module $main-module
      (import "libc" "memory" (memory $memory 2))
      {TEXTS}
      (data (i32.const 600) "{descriptor}\01\02")
      {items}
      (func (export "describe") (result i32) (i32.const 600))
      (func (export "evaluate")
        (param $stage i32) (param $settings i32) (param $settings-len i32) (param $input i32) (param $input-len i32)
        (result i32)
        {evaluate}))
    (core instance $main (instantiate $main-module (with "libc" (instance $libc))))
    (type $stage (enum "plan" "before-step" "after-step"))
    (type $descriptor (record
      (field "name" string) (field "version" string) (field "summary" string) (field "settings-schema" string)
      (field "stages" (list $stage))))
    (type $reason (record (field "code" string) (field "message" string)))
    (type $approval (record (field "reason" $reason) (field "role" (option string)) (field "approvers" u32)))
    (type $verdict (variant
      (case "not-applicable") (case "allow") (case "needs-approval" $approval) (case "deny" $reason)))
    (func $describe (result $descriptor) (canon lift (core func $main "describe") (memory (core memory $libc "memory"))))
    (func $evaluate (param "stage" $stage) (param "settings" string) (param "input" string)
      (result (result $verdict (error string)))
      (canon lift (core func $main "evaluate") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (instance $exports
      (export "stage" (type $stage)) (export "descriptor" (type $descriptor)) (export "reason" (type $reason))
      (export "approval" (type $approval)) (export "verdict" (type $verdict))
      (export "describe" (func $describe)) (export "evaluate" (func $evaluate)))
    (export "stepseal:plugin/policy@0.1.0" (instance $exports)))"#
    )
}
