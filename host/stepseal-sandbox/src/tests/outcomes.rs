//! Every way a guest can end has its own outcome, and none of them harms the host or another guest.

use std::time::Duration;

use stepseal_receipts::record::Status;

use super::wat::{plugin, plugin_with};
use super::{call, load, outcome, run, sandbox};
use crate::{Limits, Outcome};

/// A plugin that answers its input.
const ECHO: &str = "(call $ok (local.get $input) (local.get $input-len))";

/// A plugin that never ends.
const LOOP: &str = "(loop $again (br $again)) (unreachable)";

/// A plugin that answers this text.
fn answer(text: &str) -> String {
    let escaped = super::wat::escaped(text.as_bytes());
    let data = format!("(data (i32.const 1024) \"{escaped}\")");
    plugin_with(
        &data,
        &format!("(call $ok (i32.const 1024) (i32.const {}))", text.len()),
    )
}

/// A plugin that fails in one of the three ways.
fn fail(kind: u32) -> String {
    plugin_with(
        "(data (i32.const 1024) \"no\")",
        &format!("(call $fail (i32.const {kind}) (i32.const 1024) (i32.const 2))"),
    )
}

#[track_caller]
fn expect_text(outcome: &Outcome, status: Status, text: &str) {
    assert_eq!(outcome.status(), status, "{outcome:?}");
    let message = outcome.message().unwrap_or_default();
    assert!(
        message.contains(text),
        "{message:?} does not contain {text:?}"
    );
}

#[tokio::test]
async fn an_answer_is_made_canonical() {
    assert_eq!(
        outcome(&plugin(ECHO)).await,
        Outcome::Ok {
            output: b"{\"n\":1}".to_vec()
        }
    );
    let spelled = answer("{ \"b\": 1.0, \"a\": \"\\u00e9\" }");
    assert_eq!(
        outcome(&spelled).await,
        Outcome::Ok {
            output: "{\"a\":\"é\",\"b\":1}".into()
        }
    );
}

#[tokio::test]
async fn the_three_failures_of_the_contract_are_kept_apart() {
    assert_eq!(outcome(&fail(0)).await, Outcome::InvalidInput("no".into()));
    assert_eq!(outcome(&fail(1)).await, Outcome::Failed("no".into()));
    assert_eq!(outcome(&fail(2)).await, Outcome::Unavailable("no".into()));
}

#[tokio::test]
async fn an_endless_loop_uses_up_its_fuel() {
    let run = run(&plugin(LOOP)).await;
    assert_eq!(run.outcome, Outcome::OutOfFuel);
    assert_eq!(run.fuel_used, Limits::STEP.fuel);
}

#[tokio::test]
async fn a_loop_in_a_start_function_uses_up_its_fuel() {
    let start = "(func $start (loop $again (br $again))) (start $start)";
    assert_eq!(outcome(&plugin_with(start, ECHO)).await, Outcome::OutOfFuel);
}

#[tokio::test]
async fn a_loop_with_fuel_to_spare_runs_out_of_time() {
    let component = load(&plugin(LOOP)).await;
    let mut call = call();
    call.limits = Limits {
        fuel: u64::MAX / 2,
        wall: Duration::from_millis(30),
        ..Limits::STEP
    };
    assert_eq!(
        sandbox().run(&component, call).await.outcome,
        Outcome::Timeout
    );
}

#[tokio::test]
async fn a_running_guest_can_be_cancelled() {
    let component = load(&plugin(LOOP)).await;
    let mut call = call();
    call.limits.fuel = u64::MAX / 2;
    let cancel = call.cancel.clone();
    let running = tokio::spawn(async move { sandbox().run(&component, call).await });
    tokio::task::yield_now().await;
    cancel.cancel();
    assert_eq!(running.await.unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn what_was_cancelled_before_does_not_run() {
    let component = load(&plugin(ECHO)).await;
    let call = call();
    call.cancel.cancel();
    let run = sandbox().run(&component, call).await;
    assert_eq!((run.outcome, run.fuel_used), (Outcome::Cancelled, 0));
}

#[tokio::test]
async fn deep_recursion_traps() {
    let recursion = "(func $deeper (param i32) (result i32)
        (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))";
    let outcome = outcome(&plugin_with(recursion, "(call $deeper (i32.const 0))")).await;
    expect_text(&outcome, Status::Trap, "call stack exhausted");
}

#[tokio::test]
async fn a_panic_is_a_trap() {
    expect_text(
        &outcome(&plugin("(unreachable)")).await,
        Status::Trap,
        "unreachable",
    );
    let zero = "(i32.div_u (i32.const 1) (local.get $input-len)) (drop) (i32.div_u (i32.const 1) (i32.const 0))";
    expect_text(
        &outcome(&plugin(zero)).await,
        Status::Trap,
        "divide by zero",
    );
}

#[tokio::test]
async fn a_trap_names_the_functions_it_happened_in() {
    let items = "(func $inner (unreachable))
        (func $_ZN5outer4call17h0123456789abcdefE (call $inner))";
    let traps = [
        ("(call $inner) (unreachable)", "; in inner < "),
        (
            "(call $_ZN5outer4call17h0123456789abcdefE) (unreachable)",
            "; in inner < outer::call < ",
        ),
    ];
    for (body, place) in traps {
        let outcome = outcome(&plugin_with(items, body)).await;
        expect_text(&outcome, Status::Trap, place);
    }
}

#[tokio::test]
async fn names_of_functions_cannot_make_a_trap_long() {
    let long = "x".repeat(60_000);
    let items = format!(
        "(func ${long} (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (unreachable)))
        (call ${long} (i32.sub (local.get 0) (i32.const 1))))"
    );
    let outcome = outcome(&plugin_with(
        &items,
        &format!("(call ${long} (i32.const 40))"),
    ))
    .await;
    expect_text(&outcome, Status::Trap, "unreachable");
    assert!(outcome.message().unwrap().len() <= 1_024);
}

/// Grows the memory by 4 MiB until it may not, then panics.
const EAT_MEMORY: &str = "(loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) (unreachable)";

#[tokio::test]
async fn eating_memory_ends_at_the_limit() {
    let run = run(&plugin(EAT_MEMORY)).await;
    expect_text(&run.outcome, Status::OutOfMemory, "67108864");
    assert!(
        run.memory_peak_bytes > 60 << 20 && run.memory_peak_bytes <= 64 << 20,
        "{}",
        run.memory_peak_bytes
    );
}

#[tokio::test]
async fn several_memories_share_the_limit() {
    let memories = "(memory $a 1) (memory $b 1)";
    let eat = "(loop $again
        (br_if $again (i32.ne (memory.grow $a (i32.const 64)) (i32.const -1)))
        (br_if $again (i32.ne (memory.grow $b (i32.const 64)) (i32.const -1)))) (unreachable)";
    let run = run(&plugin_with(memories, eat)).await;
    expect_text(&run.outcome, Status::OutOfMemory, "in all");
    assert!(
        run.memory_peak_bytes <= 64 << 20,
        "{}",
        run.memory_peak_bytes
    );
}

#[tokio::test]
async fn a_table_counts_as_memory() {
    let component = load(&plugin_with(
        "(table $t 1 funcref)",
        "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)",
    ))
    .await;
    let mut call = call();
    call.limits.memory_bytes = 1 << 20;
    let run = sandbox().run(&component, call).await;
    expect_text(&run.outcome, Status::OutOfMemory, "table");
    assert!(
        run.memory_peak_bytes > 1_000_000 && run.memory_peak_bytes <= 1 << 20,
        "{}",
        run.memory_peak_bytes
    );
}

#[tokio::test]
async fn a_memory_that_begins_too_large_does_not_start() {
    let memory = plugin_with("(memory $large 2000)", ECHO);
    expect_text(&outcome(&memory).await, Status::OutOfMemory, "limit");
}

#[tokio::test]
async fn a_guest_that_copes_with_refused_memory_and_fails_later_did_not_fail_for_memory() {
    let cope = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))";
    assert_eq!(
        outcome(&plugin(&format!("{cope} {ECHO}"))).await,
        Outcome::Ok {
            output: b"{\"n\":1}".to_vec()
        }
    );
    let divide = format!("{cope} (i32.div_u (i32.const 1) (i32.const 0))");
    expect_text(
        &outcome(&plugin(&divide)).await,
        Status::Trap,
        "divide by zero",
    );
}

#[tokio::test]
async fn answers_that_cannot_be_recorded_are_bad_output() {
    for (text, why) in [
        ("{\"a\":1,\"a\":2}", "\"a\""),
        ("nonsense", "not JSON"),
        ("", "not JSON"),
        ("9007199254740993", "JSON"),
        (&"[".repeat(200), "JSON"),
    ] {
        let outcome = outcome(&answer(text)).await;
        expect_text(&outcome, Status::Failed, why);
        assert_eq!(outcome.code(), Some("bad-output"));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_text_is_bad_output() {
    let invalid = plugin_with(
        "(data (i32.const 1024) \"\\ff\\fe\")",
        "(call $ok (i32.const 1024) (i32.const 2))",
    );
    expect_text(&outcome(&invalid).await, Status::Failed, "utf-8");
    let outside = plugin("(call $ok (i32.const 0x7fffffff) (i32.const 9))");
    expect_text(&outcome(&outside).await, Status::Failed, "out of bounds");
}

/// Answers so many mebibytes of zeroes; JSON or not, they are too much.
fn huge(mebibytes: u32) -> String {
    plugin(&format!(
        "(drop (memory.grow (i32.const {}))) (call $ok (i32.const 65536) (i32.const {}))",
        mebibytes * 16,
        mebibytes << 20
    ))
}

#[tokio::test]
async fn a_huge_answer_is_bad_output() {
    expect_text(&outcome(&huge(2)).await, Status::Failed, "limit is 1048576");
    expect_text(&outcome(&huge(60)).await, Status::Failed, "too much data");
}

#[tokio::test]
async fn canonical_numbers_count_as_they_are_written() {
    let component = load(&answer("[1e20,1e20]")).await;
    let mut call = call();
    call.limits.output_bytes = 20;
    let outcome = sandbox().run(&component, call).await.outcome;
    expect_text(&outcome, Status::Failed, "45 bytes");
}

#[tokio::test]
async fn too_large_an_input_is_invalid_and_nothing_runs() {
    let component = load(&plugin(ECHO)).await;
    let mut call = call();
    call.limits.input_bytes = 3;
    let run = sandbox().run(&component, call).await;
    expect_text(&run.outcome, Status::InvalidInput, "7 bytes");
    assert_eq!(run.fuel_used, 0);
}

#[tokio::test]
async fn two_runs_use_the_same_fuel() {
    let text = plugin_with(
        "(func $work (local $i i32) (loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 100000)))))",
        &format!("(call $work) {ECHO}"),
    );
    let (first, second) = (run(&text).await, run(&text).await);
    assert_eq!(first.outcome, second.outcome);
    assert_eq!(first.fuel_used, second.fuel_used);
    assert!(first.fuel_used > 100_000);
}

#[tokio::test]
async fn a_canonical_nan_is_the_same_everywhere() {
    let nan = "(call $number (i64.reinterpret_f64 (f64.div (f64.const 0) (f64.const 0))))";
    assert_eq!(
        outcome(&plugin(nan)).await,
        Outcome::Ok {
            output: b"\"7ff8000000000000\"".to_vec()
        }
    );
}

#[tokio::test]
async fn nothing_survives_from_one_call_to_the_next() {
    let count = plugin(
        "(i64.store (i32.const 2048) (i64.add (i64.const 1) (i64.load (i32.const 2048))))
         (call $number (i64.load (i32.const 2048)))",
    );
    let component = load(&count).await;
    for _ in 0..3 {
        let run = sandbox().run(&component, call()).await;
        assert_eq!(
            run.outcome,
            Outcome::Ok {
                output: b"\"0000000000000001\"".to_vec()
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn runaways_do_not_starve_an_honest_call() {
    let endless = load(&plugin(LOOP)).await;
    let honest = load(&plugin(ECHO)).await;
    let mut calls = Vec::new();
    let mut runaways = Vec::new();
    for _ in 0..10 {
        let (component, mut call) = (endless.clone(), call());
        call.limits = Limits {
            fuel: u64::MAX / 2,
            wall: Duration::from_mins(10),
            ..Limits::STEP
        };
        calls.push(call.cancel.clone());
        runaways.push(tokio::spawn(async move {
            sandbox().run(&component, call).await
        }));
    }
    // On the one worker that the runaways share, it gets its turn.
    let outcome = tokio::spawn(async move { sandbox().run(&honest, call()).await.outcome })
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Ok { .. }));
    assert!(runaways.iter().all(|runaway| !runaway.is_finished()));
    for cancel in &calls {
        cancel.cancel();
    }
    for runaway in runaways {
        assert_eq!(runaway.await.unwrap().outcome, Outcome::Cancelled);
    }
}

#[tokio::test]
async fn a_call_without_a_place_is_busy() {
    let mut settings = crate::Settings {
        pooling: false,
        ..Default::default()
    };
    settings.steps.concurrency = 1;
    settings.steps.wait = Duration::from_millis(1);
    let sandbox = crate::Sandbox::new(settings).unwrap();
    let bytes = super::wat::parse_str(plugin(LOOP)).unwrap();
    let component = sandbox
        .step(stepseal_receipts::digest::Digest::of(&bytes), || Ok(bytes))
        .await
        .unwrap();
    let mut first = call();
    first.limits.fuel = u64::MAX / 2;
    let cancel = first.cancel.clone();
    let (running, waiting) = tokio::join!(sandbox.run(&component, first), async {
        let waiting = sandbox.run(&component, call()).await;
        cancel.cancel();
        waiting
    });
    assert_eq!(running.outcome, Outcome::Cancelled);
    assert_eq!(waiting.outcome.code(), Some("busy"));
    assert_eq!(waiting.outcome.status(), Status::Unavailable);
}

#[tokio::test]
async fn a_busy_component_leaves_places_to_others() {
    let mut settings = crate::Settings {
        pooling: false,
        ..Default::default()
    };
    settings.steps.concurrency = 3;
    settings.steps.component_concurrency = 2;
    settings.steps.wait = Duration::from_millis(1);
    // Dropped after every load: what is loaded again has the share that it had before.
    settings.components_ready_max = 1;
    let sandbox = crate::Sandbox::new(settings).unwrap();
    let load = async |text: &str| {
        let bytes = super::wat::parse_str(text).unwrap();
        let digest = stepseal_receipts::digest::Digest::of(&bytes);
        sandbox.step(digest, || Ok(bytes)).await.unwrap()
    };
    let cancel = crate::Cancel::new();
    let endless = || {
        let mut call = call();
        call.limits.fuel = u64::MAX / 2;
        call.limits.wall = Duration::from_mins(10);
        call.cancel = cancel.clone();
        call
    };
    let busy = load(&plugin(LOOP)).await;
    let (first, second, ()) = tokio::join!(
        sandbox.run(&busy, endless()),
        sandbox.run(&busy, endless()),
        async {
            let honest = load(&plugin(ECHO)).await;
            let again = load(&plugin(LOOP)).await;
            let third = sandbox.run(&again, endless()).await.outcome;
            assert_eq!(third.code(), Some("busy"), "{third:?}");
            let outcome = sandbox.run(&honest, call()).await.outcome;
            assert!(matches!(outcome, Outcome::Ok { .. }), "{outcome:?}");
            cancel.cancel();
        }
    );
    for run in [first, second] {
        assert_eq!(run.outcome, Outcome::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_guest_that_waits_for_its_turn_is_stopped_in_time_and_leaves_the_turns_whole() {
    let endless = load(&plugin(LOOP)).await;
    let runaway = |wall| {
        let (component, mut call) = (endless.clone(), call());
        call.limits = Limits {
            fuel: u64::MAX / 2,
            wall,
            ..Limits::STEP
        };
        let cancel = call.cancel.clone();
        let running = tokio::spawn(async move { sandbox().run(&component, call).await.outcome });
        (running, cancel)
    };
    let others: Vec<_> = (0..20).map(|_| runaway(Duration::from_mins(10))).collect();
    for _ in 0..3 {
        let (short, _) = runaway(Duration::from_millis(100));
        assert_eq!(short.await.unwrap(), Outcome::Timeout);
    }
    assert!(others.iter().all(|(running, _)| !running.is_finished()));
    for (_, cancel) in &others {
        cancel.cancel();
    }
    for (running, _) in others {
        assert_eq!(running.await.unwrap(), Outcome::Cancelled);
    }
    // Every turn was given back: a long call gets its own again and again.
    let long = plugin_with(
        "(func $work (local $i i64) (loop $again
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $i) (i64.const 200000000)))))",
        &format!("(call $work) {ECHO}"),
    );
    let component = load(&long).await;
    let mut call = call();
    call.limits.fuel = u64::MAX / 2;
    call.limits.wall = Duration::from_mins(10);
    let run = sandbox().run(&component, call).await;
    assert!(
        matches!(run.outcome, Outcome::Ok { .. }),
        "{:?}",
        run.outcome
    );
}

#[tokio::test]
async fn a_busy_tenant_leaves_places_to_others() {
    let mut settings = crate::Settings {
        pooling: false,
        ..Default::default()
    };
    settings.steps.concurrency = 3;
    settings.steps.tenant_concurrency = 2;
    settings.steps.wait = Duration::from_millis(1);
    let sandbox = crate::Sandbox::new(settings).unwrap();
    let load = async |text: &str| {
        let bytes = super::wat::parse_str(text).unwrap();
        let digest = stepseal_receipts::digest::Digest::of(&bytes);
        sandbox.step(digest, || Ok(bytes)).await.unwrap()
    };
    let (endless, echo) = (load(&plugin(LOOP)).await, load(&plugin(ECHO)).await);
    let cancel = crate::Cancel::new();
    let of = |tenant: Option<&str>| {
        let mut call = call();
        call.limits.fuel = u64::MAX / 2;
        call.limits.wall = Duration::from_mins(10);
        call.tenant = tenant.map(Into::into);
        call.cancel = cancel.clone();
        call
    };
    let (first, second, ()) = tokio::join!(
        sandbox.run(&endless, of(Some("busy"))),
        sandbox.run(&endless, of(Some("busy"))),
        async {
            // Another component is no way round.
            let third = sandbox.run(&echo, of(Some("busy"))).await.outcome;
            assert_eq!(third.code(), Some("busy"), "{third:?}");
            for other in [Some("honest"), None] {
                let outcome = sandbox.run(&echo, of(other)).await.outcome;
                assert!(matches!(outcome, Outcome::Ok { .. }), "{outcome:?}");
            }
            cancel.cancel();
        }
    );
    for run in [first, second] {
        assert_eq!(run.outcome, Outcome::Cancelled);
    }
}
