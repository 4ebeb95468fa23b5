//! The sandbox with many components and with many runaway guests.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../../../benches/table.rs"]
mod table;
#[path = "../src/tests/wat.rs"]
#[expect(dead_code, reason = "the tests of the sandbox need more of it")]
mod wat;

use std::time::{Duration, Instant};

use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{
    Access, CacheSettings, Cancel, Invocation, Limits, Outcome, Sandbox, Settings, StepCall,
    StepComponent,
};
use tokio::runtime::{Builder, Runtime};

use table::Table;

/// Components that the host knows.
const REGISTERED: u32 = 10_000;
/// Those of them that are called.
const HOT: u32 = 100;
/// Calls of each.
const ROUNDS: u32 = 200;
/// What may come and go without being growth.
const GROWTH_KIB_MAX: u64 = 4 << 10;
/// Runaway guests beside the one that is measured.
const OTHERS: u32 = 64;
/// How often that one is.
const STOPS: u32 = 30;
/// How long it may run.
const WALL: Duration = Duration::from_millis(200);
/// How much later its caller may know.
const LATE_MAX: Duration = Duration::from_millis(20);

const ECHO: &str = "(call $ok (local.get $input) (local.get $input-len))";
const LOOP: &str = "(loop $again (br $again)) (unreachable)";

fn main() {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        // As the host sets it.
        .event_interval(3)
        .build()
        .expect("a runtime");
    let mut table = Table::new("make bench-sandbox", "crowd");
    registered(&runtime, &mut table);
    runaways(&runtime, &mut table);
    println!("{table}");
}

/// KiB of memory of this process that are resident and no file's: its own, and files in memory, which machine code from the cache is
/// mapped from.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.expect("Linux tells").trim().trim_end_matches(" kB");
        kib.parse().expect("a number")
    };
    kib("RssAnon:") + kib("RssShmem:")
}

/// The `number`th component: an echo with a constant of its own.
fn echo(number: u32) -> Vec<u8> {
    let items = format!("(global i32 (i32.const {number}))");
    wat::parse_str(wat::plugin_with(&items, ECHO)).expect("a component")
}

fn call() -> StepCall {
    StepCall {
        invocation: Invocation {
            task_id: "task".to_owned(),
            step_id: "step".to_owned(),
            attempt: 1,
            step_type: "probe".to_owned(),
            input: "{}".to_owned(),
            idempotency_key: "key".to_owned(),
        },
        limits: Limits::STEP,
        seed: [7; 32],
        start: Timestamp::from_unix_ms(1_790_000_000_000).expect("in range"),
        access: Access::default(),
        tenant: None,
        cancel: Cancel::new(),
    }
}

async fn load(sandbox: &Sandbox, bytes: Vec<u8>) -> StepComponent {
    let digest = Digest::of(&bytes);
    sandbox
        .step(digest, move || Ok(bytes))
        .await
        .expect("it runs here")
}

async fn answer(sandbox: &Sandbox, component: &StepComponent) {
    let outcome = sandbox.run(component, call()).await.outcome;
    assert!(matches!(outcome, Outcome::Ok { .. }), "{outcome:?}");
}

/// Memory while ever more components become known, and while some of them are called.
fn registered(runtime: &Runtime, table: &mut Table) {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        cache: Some(CacheSettings {
            dir: dir.path().to_owned(),
            key: [1; 32],
            bytes_max: u64::MAX,
        }),
        ..Settings::default()
    };
    let start = || {
        let settings = settings.clone();
        runtime
            .block_on(async { Sandbox::new(settings) })
            .expect("a sandbox")
    };
    // A host compiles in processes of their own, so what that took is not counted here. A sandbox compiles one at a time.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in (0..REGISTERED).take(processors) {
            let compiling = start();
            scope.spawn(move || {
                for number in (first..REGISTERED).step_by(processors) {
                    runtime.block_on(load(&compiling, echo(number)));
                }
            });
        }
    });

    let sandbox = start();
    // What is kept ready is full several times over before the growth counts.
    let warm = u32::try_from(settings.components_ready_max).expect("a few") * 4;
    let mut before = 0;
    for number in 0..REGISTERED {
        if number == warm {
            before = resident_kib();
        }
        runtime.block_on(async {
            let component = load(&sandbox, echo(number)).await;
            answer(&sandbox, &component).await;
        });
    }
    let after = resident_kib();
    growth(
        table,
        &format!("component {warm} to {REGISTERED} is loaded and called"),
        before,
        after,
    );

    let hot: Vec<Vec<u8>> = (0..HOT).map(echo).collect();
    let mut before = 0;
    for round in 0..ROUNDS {
        if round == ROUNDS / 4 {
            before = resident_kib();
        }
        for bytes in &hot {
            runtime.block_on(async {
                let component = load(&sandbox, bytes.clone()).await;
                answer(&sandbox, &component).await;
            });
        }
    }
    growth(
        table,
        &format!(
            "{HOT} of them are called {} times each",
            ROUNDS - ROUNDS / 4
        ),
        before,
        resident_kib(),
    );
    table.figure("  resident then", format!("{} MiB", resident_kib() >> 10));
}

fn growth(table: &mut Table, what: &str, before: u64, after: u64) {
    let grown = after.saturating_sub(before);
    table.target(
        format!("growth while {what}"),
        format!("{grown} KiB"),
        format!("≤ {GROWTH_KIB_MAX} KiB"),
        grown <= GROWTH_KIB_MAX,
    );
}

/// How late a runaway is stopped that has many beside it.
fn runaways(runtime: &Runtime, table: &mut Table) {
    let mut settings = Settings::default();
    settings.steps.concurrency = OTHERS + 1;
    settings.steps.component_concurrency = OTHERS + 1;
    let sandbox = runtime
        .block_on(async { Sandbox::new(settings) })
        .expect("a sandbox");
    let bytes = wat::parse_str(wat::plugin(LOOP)).expect("a component");
    let component = runtime.block_on(load(&sandbox, bytes));
    let runaway = |wall, cancel: &Cancel| {
        let (sandbox, component, mut call) = (sandbox.clone(), component.clone(), call());
        call.limits.fuel = u64::MAX / 2;
        call.limits.wall = wall;
        call.cancel = cancel.clone();
        runtime.spawn(async move {
            let begun = Instant::now();
            let outcome = sandbox.run(&component, call).await.outcome;
            (outcome, begun.elapsed())
        })
    };
    for (others, what) in [(0, "alone"), (OTHERS, "beside 64 others")] {
        let stop = Cancel::new();
        let others: Vec<_> = (0..others)
            .map(|_| runaway(Duration::from_mins(10), &stop))
            .collect();
        let mut late = Vec::new();
        for _ in 0..STOPS {
            let (outcome, took) = runtime
                .block_on(runaway(WALL, &Cancel::new()))
                .expect("it ends");
            assert_eq!(outcome, Outcome::Timeout);
            late.push(took.saturating_sub(WALL));
        }
        stop.cancel();
        for other in others {
            let (outcome, _) = runtime.block_on(other).expect("it ends");
            assert_eq!(outcome, Outcome::Cancelled);
        }
        late.sort_unstable();
        let (middle, worst) = (late[late.len() / 2], late[late.len() - 1]);
        let measured = |late: Duration| format!("{:.1} ms", late.as_secs_f64() * 1e3);
        table.target(
            format!("a runaway guest {what} is stopped after its deadline, worst of {STOPS}"),
            measured(worst),
            format!("≤ {} ms", LATE_MAX.as_millis()),
            worst <= LATE_MAX,
        );
        table.figure("  the middle one", measured(middle));
    }
}
