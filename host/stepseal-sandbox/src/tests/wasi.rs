//! Clocks, randomness, logging and printing.

use std::time::Duration;

use super::wat::{Plugin, importing};
use super::{call, load, run, sandbox};
use crate::limits::LOG_LINES_MAX;
use crate::{LogLevel, LogLine, Outcome};

fn output(text: &str) -> Outcome {
    Outcome::Ok {
        output: text.into(),
    }
}

#[tokio::test]
async fn the_wall_clock_starts_where_the_record_says() {
    let plugin = importing(
        "wasi:clocks/wall-clock@0.2.3",
        "(type $t (record (field \"seconds\" u64) (field \"nanoseconds\" u32))) (export \"datetime\" (type $datetime (eq $t)))",
        "now",
        "(result $datetime)",
        "(param i32)",
        "(call $f (i32.const 2048)) (call $number (i64.load (i32.const 2048)))",
    );
    assert_eq!(
        run(&plugin.text()).await.outcome,
        output(&format!("\"{:016x}\"", 1_700_000_000))
    );
}

#[tokio::test]
async fn waiting_for_the_clock_to_move_ends() {
    // Spins until a second has passed.
    let plugin = importing(
        "wasi:clocks/monotonic-clock@0.2.0",
        "",
        "now",
        "(result u64)",
        "(result i64)",
        "(local $end i64) (local.set $end (i64.add (call $f) (i64.const 10000000)))
         (loop $again (br_if $again (i64.lt_u (call $f) (local.get $end))))
         (call $number (i64.const 1))",
    );
    let run = run(&plugin.text()).await;
    assert_eq!(run.outcome, output("\"0000000000000001\""));
    assert!(run.virtual_elapsed >= Duration::from_millis(10));
}

/// Interfaces for sleeping: `$timer` makes a pollable for a duration, `$poll` waits for some of them.
fn sleeping(run: &str) -> Plugin {
    Plugin {
        imports: r#"
            (import "wasi:io/poll@0.2.0" (instance $poll
              (export "pollable" (type $pollable (sub resource)))
              (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
              (alias outer 1 $pollable (type $p))
              (export "pollable" (type $pollable (eq $p)))
              (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
            (core func $poll (canon lower (func $poll "poll") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
            (core func $timer (canon lower (func $clock "subscribe-duration")))"#
            .into(),
        with: r#"(with "import" (instance (export "poll" (func $poll)) (export "timer" (func $timer))))"#.into(),
        core_imports: r#"
            (import "import" "poll" (func $poll (param i32 i32 i32)))
            (import "import" "timer" (func $timer (param i64) (result i32)))"#
            .into(),
        run: run.into(),
        ..Plugin::default()
    }
}

#[tokio::test]
async fn sleeping_for_a_year_takes_no_time() {
    let year = Duration::from_hours(365 * 24);
    let plugin = sleeping(&format!(
        "(i32.store (i32.const 2048) (call $timer (i64.const {})))
         (call $poll (i32.const 2048) (i32.const 1) (i32.const 2056))
         (call $number (i64.load32_u (i32.const 2060)))",
        year.as_nanos()
    ));
    let component = load(&plugin.text()).await;
    let mut call = call();
    // Far less than a year, and far more than the call takes.
    call.limits.wall = Duration::from_mins(1);
    let run = sandbox().run(&component, call).await;
    assert_eq!(run.outcome, output("\"0000000000000001\""));
    assert_eq!(run.virtual_elapsed, year);
}

#[tokio::test]
async fn of_two_timers_only_the_earlier_one_fires() {
    let plugin = sleeping(
        "(i32.store (i32.const 2048) (call $timer (i64.const 3600000000000)))
         (i32.store (i32.const 2052) (call $timer (i64.const 10000000)))
         (call $poll (i32.const 2048) (i32.const 2) (i32.const 2056))
         ;; How many fired, and which was the first.
         (call $number (i64.or
            (i64.shl (i64.load32_u (i32.const 2060)) (i64.const 32))
            (i64.load32_u (i32.load (i32.const 2056)))))",
    );
    let run = run(&plugin.text()).await;
    assert_eq!(run.outcome, output("\"0000000100000001\""));
    assert_eq!(run.virtual_elapsed, Duration::from_millis(10));
}

fn random(interface: &str, name: &str) -> Plugin {
    importing(
        interface,
        "",
        name,
        "(result u64)",
        "(result i64)",
        "(drop (call $f)) (call $number (call $f))",
    )
}

#[tokio::test]
async fn randomness_comes_from_the_seed_alone() {
    let secure = random("wasi:random/random@0.2.0", "get-random-u64").text();
    let insecure = random("wasi:random/insecure@0.2.0", "get-insecure-random-u64").text();
    let (first, again, other) = (run(&secure).await, run(&secure).await, run(&insecure).await);
    assert!(
        matches!(first.outcome, Outcome::Ok { .. }),
        "{:?}",
        first.outcome
    );
    assert_eq!(first.outcome, again.outcome);
    assert_eq!(first.fuel_used, again.fuel_used);
    assert_ne!(first.outcome, other.outcome);
    let mut reseeded = call();
    reseeded.seed = [8; 32];
    let component = load(&secure).await;
    assert_ne!(
        sandbox().run(&component, reseeded).await.outcome,
        first.outcome
    );
}

#[tokio::test]
async fn what_randomness_gives_never_changes() {
    // If this fails, receipts of before will not re-run under this host.
    let secure = run(&random("wasi:random/random@0.2.0", "get-random-u64").text())
        .await
        .outcome;
    assert_eq!(secure, output("\"a5f18c19346a3cdf\""));
}

#[tokio::test]
async fn too_much_randomness_at_once_is_refused() {
    let plugin = importing(
        "wasi:random/random@0.2.0",
        "",
        "get-random-bytes",
        "(param \"len\" u64) (result (list u8))",
        "(param i64 i32)",
        "(call $f (i64.const 0x7fffffffffffffff) (i32.const 2048)) (call $number (i64.const 1))",
    );
    let outcome = run(&plugin.text()).await.outcome;
    assert!(
        matches!(&outcome, Outcome::Trap(text) if text.contains("random bytes")),
        "{outcome:?}"
    );
}

fn logging(run: &str) -> Plugin {
    let mut plugin = importing(
        "wasi:logging/logging@0.1.0-draft",
        "(type $t (enum \"trace\" \"debug\" \"info\" \"warn\" \"error\" \"critical\")) (export \"level\" (type $level (eq $t)))",
        "log",
        "(param \"level\" $level) (param \"context\" string) (param \"message\" string)",
        "(param i32 i32 i32 i32 i32)",
        run,
    );
    plugin.items = "(data (i32.const 1024) \"contextmessage\")
        (func $log (call $f (i32.const 3) (i32.const 1024) (i32.const 7) (i32.const 1031) (i32.const 7)))"
        .into();
    plugin
}

#[tokio::test]
async fn what_a_guest_logs_is_kept() {
    let run = run(&logging("(call $log) (call $number (i64.const 0))").text()).await;
    let line = LogLine {
        level: LogLevel::Warn,
        context: "context".into(),
        message: "message".into(),
    };
    assert_eq!(run.logs, [line]);
}

#[tokio::test]
async fn the_last_words_of_a_guest_explain_its_trap() {
    let outcome = run(&logging("(call $log) (unreachable)").text())
        .await
        .outcome;
    assert!(
        matches!(&outcome, Outcome::Trap(text) if text.contains("; last log line: message; in ")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_log_flood_is_paid_for_and_dropped() {
    let run = run(&logging("(loop $again (call $log) (br $again)) (unreachable)").text()).await;
    assert_eq!(run.outcome, Outcome::OutOfFuel);
    assert_eq!(run.fuel_used, 500_000_000);
    assert_eq!(run.logs.len(), LOG_LINES_MAX);
    assert!(run.logs_dropped > 1_000);
}

/// Prints `hello\n` to stdout with `blocking-write-and-flush`, so often.
fn printing(times: u32) -> Plugin {
    Plugin {
        imports: r#"
            (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
            (alias export $error "error" (type $error))
            (import "wasi:io/streams@0.2.0" (instance $streams
              (export "output-stream" (type $output-stream (sub resource)))
              (alias outer 1 $error (type $e))
              (export "error" (type $error (eq $e)))
              (type $v (variant (case "last-operation-failed" (own $error)) (case "closed")))
              (export "stream-error" (type $stream-error (eq $v)))
              (export "[method]output-stream.blocking-write-and-flush" (func
                (param "self" (borrow $output-stream)) (param "contents" (list u8))
                (result (result (error $stream-error)))))))
            (alias export $streams "output-stream" (type $output-stream))
            (import "wasi:cli/stdout@0.2.0" (instance $stdout
              (alias outer 1 $output-stream (type $o))
              (export "output-stream" (type $output-stream (eq $o)))
              (export "get-stdout" (func (result (own $output-stream))))))
            (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
              (memory (core memory $libc "memory"))))
            (core func $stdout (canon lower (func $stdout "get-stdout")))"#
            .into(),
        with: r#"(with "import" (instance (export "write" (func $write)) (export "stdout" (func $stdout))))"#.into(),
        core_imports: r#"
            (import "import" "write" (func $write (param i32 i32 i32 i32)))
            (import "import" "stdout" (func $stdout (result i32)))"#
            .into(),
        items: "(data (i32.const 1024) \"hello\\0a\")".into(),
        run: format!(
            "(local $out i32) (local $i i32) (local.set $out (call $stdout))
             (loop $again
                (call $write (local.get $out) (i32.const 1024) (i32.const 6) (i32.const 2048))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))
             (call $number (i64.const 0))"
        ),
        ..Plugin::default()
    }
}

#[tokio::test]
async fn what_a_guest_prints_is_logged() {
    let run = run(&printing(2).text()).await;
    assert!(
        matches!(run.outcome, Outcome::Ok { .. }),
        "{:?}",
        run.outcome
    );
    let line = LogLine {
        level: LogLevel::Info,
        context: "stdout".into(),
        message: "hello".into(),
    };
    assert_eq!(run.logs, [line.clone(), line]);
}

#[tokio::test]
async fn calls_into_wasi_cost_the_same_fuel_every_time() {
    let (once, twice, again) = (
        run(&printing(1).text()).await,
        run(&printing(2).text()).await,
        run(&printing(2).text()).await,
    );
    assert_eq!(twice.fuel_used, again.fuel_used);
    assert!(twice.fuel_used - once.fuel_used >= crate::limits::HOST_CALL_FUEL);
}

#[tokio::test]
async fn printing_without_end_is_paid_for() {
    let component = load(&printing(u32::MAX).text()).await;
    let mut call = call();
    call.limits.fuel = 2_000_000;
    let run = sandbox().run(&component, call).await;
    assert_eq!(
        (run.outcome, run.fuel_used),
        (Outcome::OutOfFuel, 2_000_000)
    );
}

#[tokio::test]
async fn sockets_link_and_refuse() {
    let codes = [
        "unknown",
        "access-denied",
        "not-supported",
        "invalid-argument",
        "out-of-memory",
        "timeout",
        "concurrency-conflict",
        "not-in-progress",
        "would-block",
        "invalid-state",
        "new-socket-limit",
        "address-not-bindable",
        "address-in-use",
        "remote-unreachable",
        "connection-refused",
        "connection-reset",
        "connection-aborted",
        "datagram-too-large",
        "name-unresolvable",
        "temporary-resolver-failure",
        "permanent-resolver-failure",
    ]
    .map(|code| format!("\"{code}\""))
    .join(" ");
    let plugin = Plugin {
        imports: format!(
            r#"
            (import "wasi:sockets/network@0.2.0" (instance $network
              (type $c (enum {codes})) (export "error-code" (type (eq $c)))
              (type $f (enum "ipv4" "ipv6")) (export "ip-address-family" (type (eq $f)))))
            (alias export $network "error-code" (type $code))
            (alias export $network "ip-address-family" (type $family))
            (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
            (alias export $tcp "tcp-socket" (type $socket))
            (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
              (alias outer 1 $code (type $c)) (export "error-code" (type $code (eq $c)))
              (alias outer 1 $family (type $f)) (export "ip-address-family" (type $family (eq $f)))
              (alias outer 1 $socket (type $s)) (export "tcp-socket" (type $socket (eq $s)))
              (export "create-tcp-socket" (func
                (param "address-family" $family) (result (result (own $socket) (error $code)))))))
            (core func $create (canon lower (func $create "create-tcp-socket") (memory (core memory $libc "memory"))))"#
        ),
        with: r#"(with "import" (instance (export "f" (func $create))))"#.into(),
        core_imports: r#"(import "import" "f" (func $f (param i32 i32)))"#.into(),
        run: "(call $f (i32.const 0) (i32.const 2048))
              ;; Whether it failed, and the error's number.
              (call $number (i64.or
                (i64.shl (i64.load8_u (i32.const 2048)) (i64.const 8))
                (i64.load8_u (i32.const 2052))))"
            .into(),
        ..Plugin::default()
    };
    assert_eq!(
        run(&plugin.text()).await.outcome,
        output("\"0000000000000101\"")
    );
}
