//! The attacks, and the plugins that make them.

use serde_json::json;
use stepseal_receipts::record::Status;

use super::answers::{answer, answers, otherwise};
use super::network::network;
use super::{By, Run, little_time, run};
use crate::wat::{Plugin, importing};

pub(super) fn as_it_is(text: String) -> String {
    text
}

/// A plugin with this body of `run`.
pub(super) fn body(run: &str) -> By {
    with_items("", run)
}

/// A plugin with these functions, memories, tables and data, and this body of `run`.
pub(super) fn with_items(items: &str, run: &str) -> By {
    let plugin = Plugin {
        items: items.to_owned(),
        run: run.to_owned(),
        ..Plugin::default()
    };
    By::Text(plugin, as_it_is)
}

/// Answers a number, so that nothing else of it can be at fault.
pub(super) const FINE: &str = "(call $number (i64.const 1))";

/// The options of `run` as every text has them.
const RUN_OPTIONS: &str = r#"(core func $main "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))"#;

/// The text with other options of `run`.
fn with_options(text: &str, options: &str) -> String {
    assert!(text.contains(RUN_OPTIONS), "{text}");
    text.replace(RUN_OPTIONS, options)
}

/// A plugin whose arguments are put where this body of a `realloc` says.
fn realloc(body: &str) -> By {
    let plugin = Plugin {
        items: format!(r#"(func (export "evil") (param i32 i32 i32 i32) (result i32) {body})"#),
        run: FINE.to_owned(),
        ..Plugin::default()
    };
    By::Text(plugin, |text| {
        let evil = RUN_OPTIONS.replace(r#"$libc "realloc""#, r#"$main "evil""#);
        with_options(&text, &evil)
    })
}

/// A plugin that gives a good answer, and then does this when the host says that it has taken it.
fn post_return(body: &str) -> By {
    let plugin = Plugin {
        items: format!(r#"(func (export "after") (param i32) {body})"#),
        run: FINE.to_owned(),
        ..Plugin::default()
    };
    By::Text(plugin, |text| {
        let after = format!(r#"{RUN_OPTIONS} (post-return (core func $main "after"))"#);
        with_options(&text, &after)
    })
}

/// A plugin whose start function loops, but not while it is described: then the wall clock stands at zero.
fn loop_in_start() -> By {
    let mut plugin = importing(
        "wasi:clocks/wall-clock@0.2.0",
        "(type $t (record (field \"seconds\" u64) (field \"nanoseconds\" u32))) (export \"datetime\" (type $datetime (eq $t)))",
        "now",
        "(result $datetime)",
        "(param i32)",
        FINE,
    );
    plugin.items = String::from(
        "(func $start
        (call $f (i32.const 2048))
        (if (i64.ne (i64.load (i32.const 2048)) (i64.const 0)) (then (loop $again (br $again)))))
        (start $start)",
    );
    By::Text(plugin, as_it_is)
}

/// A plugin that calls `wasi:logging`.
fn logging(run: &str) -> By {
    let plugin = importing(
        "wasi:logging/logging@0.1.0-draft",
        "(type $t (enum \"trace\" \"debug\" \"info\" \"warn\" \"error\" \"critical\")) (export \"level\" (type $level (eq $t)))",
        "log",
        "(param \"level\" $level) (param \"context\" string) (param \"message\" string)",
        "(param i32 i32 i32 i32 i32)",
        run,
    );
    By::Text(plugin, as_it_is)
}

/// A plugin that asks for random numbers for ever.
fn random_for_ever() -> By {
    let plugin = importing(
        "wasi:random/random@0.2.0",
        "",
        "get-random-u64",
        "(result u64)",
        "(result i64)",
        "(loop $again (drop (call $f)) (br $again)) (unreachable)",
    );
    By::Text(plugin, as_it_is)
}

/// A plugin that ends the program.
fn exit() -> By {
    let plugin = importing(
        "wasi:cli/exit@0.2.0",
        "",
        "exit",
        "(param \"status\" (result))",
        "(param i32)",
        "(call $f (i32.const 1)) (unreachable)",
    );
    By::Text(plugin, as_it_is)
}

/// A plugin that makes resources of its own and drops none.
fn own_resources() -> By {
    let plugin = Plugin {
        imports: "(type $r (resource (rep i32))) (core func $new (canon resource.new $r))".into(),
        with: r#"(with "own" (instance (export "new" (func $new))))"#.into(),
        core_imports: r#"(import "own" "new" (func $new (param i32) (result i32)))"#.into(),
        run: "(loop $again (drop (call $new (i32.const 7))) (br $again)) (unreachable)".into(),
        ..Plugin::default()
    };
    By::Text(plugin, as_it_is)
}

/// A plugin of two components, of which one hands 8 MiB of text to the other for ever; the other wants UTF-16, so that the
/// engine itself writes each of them anew.
fn transcoding() -> By {
    const OTHER: &str = r#"
        (component $other
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
              (if (i32.lt_u (memory.size) (i32.const 300)) (then (drop (memory.grow (i32.const 300)))))
              (i32.const 0))
            (func (export "take") (param i32 i32)))
          (core instance $i (instantiate $m))
          (func (export "take") (param "text" string) (canon lift (core func $i "take")
            (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf16)))"#;
    let plugin = Plugin {
        imports: r#"(import "other" (instance $other (export "take" (func (param "text" string)))))
            (core func $take (canon lower (func $other "take") (memory (core memory $libc "memory"))))"#
            .into(),
        with: r#"(with "other" (instance (export "take" (func $take))))"#.into(),
        core_imports: r#"(import "other" "take" (func $take (param i32 i32)))"#.into(),
        run: "(drop (memory.grow (i32.const 130)))
            (memory.fill (i32.const 65536) (i32.const 120) (i32.const 0x800000))
            (loop $again (call $take (i32.const 65536) (i32.const 0x800000)) (br $again)) (unreachable)"
            .into(),
        ..Plugin::default()
    };
    By::Text(plugin, |text| {
        let plugin = text.replacen("(component", "(component $plugin", 1);
        format!(
            r#"(component {OTHER} (instance $other (instantiate $other))
            {plugin}
            (instance $plugin (instantiate $plugin (with "other" (instance $other))))
            (export "stepseal:plugin/step@0.1.0" (instance $plugin "stepseal:plugin/step@0.1.0")))"#
        )
    })
}

/// A plugin that makes these growths in turn until one is refused, then panics.
fn growing(items: &str, growths: &[&str]) -> By {
    let growths: Vec<String> = growths
        .iter()
        .map(|growth| format!("(br_if $again (i32.ne {growth} (i32.const -1)))"))
        .collect();
    with_items(
        items,
        &format!("(loop $again {}) (unreachable)", growths.concat()),
    )
}

/// Every attack. The guest `hostile` has been granted the bucket `hostile`, and nobody `ledger`.
pub(in crate::hostile) fn runs() -> Vec<Run> {
    let here = [
        cpu(),
        memory(),
        boundary(),
        answers(),
        otherwise(),
        capabilities(),
    ];
    here.into_iter().flatten().chain(network()).collect()
}

const FUEL: &str = "fuel: every instruction costs, and bulk instructions each byte";
const WALL: &str =
    "the wall deadline: a thread of the host's own ticks, and every loop looks at the tick";
pub(super) const LIFTED: &str = "16 MiB may be lifted out of a guest in one call";
const AGGREGATE: &str = "one limit for all memories and tables of an instance together";

fn cpu() -> Vec<Run> {
    let fill = "(drop (memory.grow (i32.const 512)))
        (loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 0x2000000)) (br $again)) (unreachable)";
    let copy = "(drop (memory.grow (i32.const 512)))
        (loop $again (memory.copy (i32.const 65536) (i32.const 65537) (i32.const 0x1ffffff)) (br $again)) (unreachable)";
    let table = "(loop $again (table.fill $t (i32.const 0) (ref.null func) (i32.const 90000)) (br $again)) (unreachable)";
    vec![
        run(
            "an infinite loop",
            By::Guest("loop", json!({})),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "an infinite loop with fuel to spare",
            By::Guest("loop", json!({})),
            Status::Timeout,
            "",
            WALL,
        )
        .under(little_time()),
        run(
            "an infinite loop in a start function that spares `describe`",
            loop_in_start(),
            Status::OutOfFuel,
            "",
            "fuel and deadline are set before anything is instantiated",
        ),
        run(
            "a loop of `memory.fill` over 32 MiB",
            body(fill),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "the same with fuel to spare",
            body(fill),
            Status::Timeout,
            "",
            WALL,
        )
        .under(little_time()),
        run(
            "a loop of `memory.copy` over 32 MiB",
            body(copy),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "a loop of `table.fill`",
            with_items("(table $t 90000 funcref)", table),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "`memory.fill` of 4 GiB that are not there",
            body("(memory.fill (i32.const 0) (i32.const 0) (i32.const -1)) (unreachable)"),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "a loop of texts that one component of the plugin hands to another in another encoding",
            transcoding(),
            Status::Timeout,
            "",
            "the wall deadline alone: the engine's own work on texts costs no fuel",
        )
        .under(little_time()),
        run(
            "recursion without end",
            with_items(
                "(func $deeper (param i32) (result i32)
                   (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))",
                "(call $deeper (i32.const 0))",
            ),
            Status::Trap,
            "call stack exhausted",
            "a stack of 512 KiB",
        ),
        run(
            "sleeping for a year",
            By::Guest("sleep", json!({"ms": 365_u64 * 86_400_000})),
            Status::Ok,
            "",
            "virtual clocks: the year passes at once",
        ),
    ]
}

fn memory() -> Vec<Run> {
    vec![
        run(
            "growing one memory without end",
            By::Guest("eat-memory", json!({})),
            Status::OutOfMemory,
            "limit is 67108864",
            AGGREGATE,
        )
        .under(json!({"fuel": 500_000_000})),
        run(
            "growing three memories in turn",
            growing(
                "(memory $a 1) (memory $b 1)",
                &[
                    "(memory.grow (i32.const 16))",
                    "(memory.grow $a (i32.const 16))",
                    "(memory.grow $b (i32.const 16))",
                ],
            ),
            Status::OutOfMemory,
            "in all",
            AGGREGATE,
        ),
        run(
            "growing a table without end",
            growing(
                "(table $t 1 funcref)",
                &["(table.grow $t (ref.null func) (i32.const 1000))"],
            ),
            Status::OutOfMemory,
            "table",
            "entries of a table are bounded, and count as memory",
        ),
        run(
            "growing ten tables and a memory in turn",
            growing(
                "(table $t0 1 funcref) (table $t1 1 funcref) (table $t2 1 funcref) (table $t3 1 funcref) (table $t4 1 funcref)
                 (table $t5 1 funcref) (table $t6 1 funcref) (table $t7 1 funcref) (table $t8 1 funcref) (table $t9 1 funcref)",
                &[
                    "(table.grow $t0 (ref.null func) (i32.const 1000))",
                    "(table.grow $t1 (ref.null func) (i32.const 1000))",
                    "(table.grow $t2 (ref.null func) (i32.const 1000))",
                    "(table.grow $t3 (ref.null func) (i32.const 1000))",
                    "(table.grow $t4 (ref.null func) (i32.const 1000))",
                    "(table.grow $t5 (ref.null func) (i32.const 1000))",
                    "(table.grow $t6 (ref.null func) (i32.const 1000))",
                    "(table.grow $t7 (ref.null func) (i32.const 1000))",
                    "(table.grow $t8 (ref.null func) (i32.const 1000))",
                    "(table.grow $t9 (ref.null func) (i32.const 1000))",
                    "(memory.grow (i32.const 1))",
                ],
            ),
            Status::OutOfMemory,
            "",
            AGGREGATE,
        )
        .under(json!({"memory_bytes": 8 << 20})),
        run(
            "resources of its own, made and never dropped",
            own_resources(),
            Status::Trap,
            "handle limit",
            "1,024 handles at a time",
        ),
        run(
            "timers, made and never dropped",
            By::Guest("hoard-handles", json!({"handles": 1_000_000})),
            Status::Trap,
            "no free keys",
            "1,024 resources of the host at a time",
        ),
    ]
}

fn boundary() -> Vec<Run> {
    const HARMLESS: &str =
        "the engine checks where arguments are to go; within its own memory a guest harms itself";
    vec![
        run(
            "a `cabi_realloc` that points outside of its memory",
            realloc("(i32.const 0x7ffffff0)"),
            Status::Trap,
            "realloc",
            HARMLESS,
        ),
        run(
            "a `cabi_realloc` that puts everything in one place, over its own data",
            realloc("(i32.const 1024)"),
            Status::Ok,
            "",
            HARMLESS,
        ),
        run(
            "a `cabi_realloc` that traps",
            realloc("(unreachable)"),
            Status::Trap,
            "unreachable",
            "the call ends as any other trap",
        ),
        run(
            "a `cabi_realloc` that loops",
            realloc("(loop $again (br $again)) (unreachable)"),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "a `post-return` that traps after a good answer",
            post_return("(unreachable)"),
            Status::Trap,
            "unreachable",
            "an answer counts when the call is over",
        ),
        run(
            "a `post-return` that loops after a good answer",
            post_return("(loop $again (br $again))"),
            Status::OutOfFuel,
            "",
            FUEL,
        ),
        run(
            "an input made too large by `$ref`, twice the output of a step before",
            By::Plan(json!({"plan": {"steps": [
                {"id": "large", "uses": "hostile/big-output", "with": {"bytes": 900_000}},
                {"id": "only", "uses": "hostile/echo", "needs": ["large"],
                    "with": [{"$ref": "#/steps/large/output"}, {"$ref": "#/steps/large/output"}]}]}})),
            Status::InvalidInput,
            "1048576 bytes",
            "the size of an input is limited before anything runs",
        )
        .code("input-too-large"),
        run(
            "an answer of 2 MB",
            By::Guest("big-output", json!({"bytes": 2_000_000})),
            Status::Failed,
            "limit is 1048576",
            "the size of an output is limited",
        )
        .code("bad-output"),
        run(
            "an answer of 100 MB",
            By::Guest("big-output", json!({"bytes": 100_000_000})),
            Status::Failed,
            "too much data",
            LIFTED,
        )
        .code("bad-output")
        .under(json!({"fuel": 1_000_000_000_000_u64, "memory_bytes": 512 << 20})),
        run(
            "a log line of 60 MB",
            logging(
                "(drop (memory.grow (i32.const 960)))
                 (call $f (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 60000000)) (unreachable)",
            ),
            Status::Trap,
            "too much data",
            LIFTED,
        ),
        run(
            "an answer that lies outside of its memory",
            answer("", 0x7fff_ffff, 9),
            Status::Failed,
            "out of bounds",
            "the engine checks where answers are",
        )
        .code("bad-output"),
    ]
}

fn capabilities() -> Vec<Run> {
    const CHARGED: &str = "host calls cost fuel, by the call and by the byte";
    vec![
        run(
            "a flood of log lines",
            logging(
                "(loop $again
                   (call $f (i32.const 0) (i32.const 512) (i32.const 5) (i32.const 512) (i32.const 5)) (br $again)) (unreachable)",
            ),
            Status::OutOfFuel,
            "",
            "host calls cost fuel; 1,000 lines are kept, the rest is counted",
        ),
        run(
            "random numbers without end",
            random_for_ever(),
            Status::OutOfFuel,
            "",
            CHARGED,
        ),
        run(
            "2^40 random bytes at once",
            By::Guest("random", json!({"bytes": 1_u64 << 40})),
            Status::Trap,
            "random bytes",
            "64 KiB in one call",
        ),
        run(
            "ending the program",
            exit(),
            Status::Trap,
            "exit code 1",
            "a guest ends itself, not the host",
        ),
        run(
            "writing into the bucket of another plugin",
            By::Guest("kv-write-elsewhere", json!({"bucket": "ledger", "key": "k", "value": 1})),
            Status::Failed,
            "not granted",
            "buckets are granted by name, to one plugin",
        ),
        run(
            "writing, then trapping",
            By::Guest("kv-write-then-trap", json!({"key": "k", "value": 1})),
            Status::Trap,
            "unreachable",
            "writes are committed with the record of a success, or not at all",
        ),
        run(
            "writing, then failing",
            By::Guest("kv-write-then-fail", json!({"key": "k", "value": 1})),
            Status::Failed,
            "",
            "writes are committed with the record of a success, or not at all",
        ),
    ]
}
