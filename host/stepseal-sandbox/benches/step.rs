//! What the sandbox costs over plain wasmtime: the same component, settings and imports, a fresh instance for every call.
//!
//! The raw side does as little as it can: its engine has the sandbox's settings (fuel, epochs with a ticker, pool, stack,
//! NaN canonicalisation), its linker has wasmtime's own WASI, and a call makes a store, sets fuel and deadline, instantiates
//! and calls. It has no memory limit, timeout, cancellation, log, virtual clock, key-value store, no check of the answer
//! and, as in the sandbox, makes no WASI context before a guest asks for it. Calls follow each other on a runtime that runs
//! already, as in a host: what it takes to enter one is nobody's cost.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "../../../benches/table.rs"]
mod table;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{
    Access, Cancel, Invocation, Limits, Outcome, PolicyCall, PolicyComponent, Sandbox, Settings,
    Stage, StepCall, StepComponent, Verdict,
};
use tokio::runtime::Runtime;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use table::{Table, median, microseconds, per_awaited_turn};

/// Rounds of each measurement, ours and the raw one in turn; the middle one counts.
const ROUNDS: usize = 9;
/// How long a round takes, about.
const ROUND: Duration = Duration::from_millis(400);
/// The largest ratio.
const RATIO_MAX: f64 = 1.15;

mod step {
    wasmtime::component::bindgen!({ path: "../../wit", world: "plugin-step", exports: { default: async } });
}

mod policy {
    wasmtime::component::bindgen!({ path: "../../wit", world: "plugin-policy", exports: { default: async } });
}

use policy::exports::stepseal::plugin::policy as raw_policy;
use step::exports::stepseal::plugin::step as raw_step;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let sandbox = runtime
        .block_on(async { Sandbox::new(Settings::default()) })
        .expect("a sandbox");
    let raw = Raw::new();
    let mut table = Table::new("make bench-sandbox", "step");
    let echo = ("hostile", "echo", r#"{"amount":"12.50","currency":"EUR"}"#);
    let filter = (
        "jq",
        "filter",
        r#"{"document":{"a":[1,2,3]},"filter":".a"}"#,
    );
    for (plugin, step_type, input) in [echo, filter] {
        measure_step(
            &runtime,
            &sandbox,
            &raw,
            (plugin, step_type, input),
            &mut table,
        );
    }
    measure_policy(&runtime, &sandbox, &raw, &mut table);
    println!("{table}");
}

fn component(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/guests")
        .join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; `make guests test-guests` builds it",
            path.display()
        )
    })
}

fn measure_step(
    runtime: &Runtime,
    sandbox: &Sandbox,
    raw: &Raw,
    (plugin, step_type, input): (&str, &str, &str),
    table: &mut Table,
) {
    let bytes = component(plugin);
    let raw_pre = raw.step(&bytes);
    let ready = runtime
        .block_on(sandbox.step(Digest::of(&bytes), move || Ok(bytes)))
        .expect("it runs here");
    let ours = async || sandbox_step(sandbox, &ready, step_type, input).await;
    let plain = async || raw.run(&raw_pre, step_type, input).await;
    // The sandbox gives canonical JSON, the raw side what the guest wrote.
    let parsed = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let answers = (runtime.block_on(ours()), runtime.block_on(plain()));
    assert_eq!(
        parsed(answers.0),
        parsed(answers.1),
        "the same answer from both"
    );
    compare(
        runtime,
        table,
        &format!("{plugin}/{step_type}"),
        async || drop(black_box(ours().await)),
        async || drop(black_box(plain().await)),
    );
}

fn measure_policy(runtime: &Runtime, sandbox: &Sandbox, raw: &Raw, table: &mut Table) {
    let bytes = component("spending-limit");
    let raw_pre = raw.policy(&bytes);
    let ready = runtime
        .block_on(sandbox.policy(Digest::of(&bytes), move || Ok(bytes)))
        .expect("it runs here");
    let ours = async || assert_eq!(sandbox_policy(sandbox, &ready).await, Ok(Verdict::Allow));
    let plain = async || {
        let verdict = raw.judge(&raw_pre).await;
        assert!(
            matches!(verdict, Ok(raw_policy::Verdict::Allow)),
            "{verdict:?}"
        );
    };
    compare(runtime, table, "policy spending-limit", ours, plain);
}

fn compare(
    runtime: &Runtime,
    table: &mut Table,
    what: &str,
    mut ours: impl AsyncFnMut(),
    mut plain: impl AsyncFnMut(),
) {
    let one = runtime.block_on(per_awaited_turn(200, &mut plain));
    let one = one.max(Duration::from_micros(1));
    let turns = u32::try_from(ROUND.as_nanos() / one.as_nanos())
        .unwrap_or(u32::MAX)
        .max(20);
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = per_awaited_turn(turns, &mut ours);
        times.0.push(runtime.block_on(ours));
        let plain = per_awaited_turn(turns, &mut plain);
        times.1.push(runtime.block_on(plain));
    }
    let (ours, plain) = (median(times.0), median(times.1));
    let ratio = ours.as_secs_f64() / plain.as_secs_f64();
    table.target(
        format!("{what}, ratio"),
        format!("{ratio:.2}"),
        format!("≤ {RATIO_MAX}"),
        ratio <= RATIO_MAX,
    );
    table.figure(
        "  warm call in the sandbox, fresh instance",
        microseconds(ours),
    );
    table.figure("  raw InstancePre instantiate + call", microseconds(plain));
}

async fn sandbox_step(
    sandbox: &Sandbox,
    component: &StepComponent,
    step_type: &str,
    input: &str,
) -> String {
    let call = StepCall {
        invocation: Invocation {
            task_id: "task".to_owned(),
            step_id: "step".to_owned(),
            attempt: 1,
            step_type: step_type.to_owned(),
            input: input.to_owned(),
            idempotency_key: "task/step".to_owned(),
        },
        limits: Limits::STEP,
        seed: [7; 32],
        start: Timestamp::from_unix_ms(1_790_000_000_000).expect("in range"),
        access: Access::default(),
        tenant: None,
        cancel: Cancel::new(),
    };
    match sandbox.run(component, call).await.outcome {
        Outcome::Ok { output } => String::from_utf8(output).expect("canonical JSON"),
        other => panic!("{step_type}: {other:?}"),
    }
}

/// What the policy judges: a step that spends little.
const SETTINGS: &str = r#"{"limits":{"EUR":{"approval_above":"100","deny_above":"1000"}}}"#;
const JUDGED: &str = r#"{"grants":{"buckets":[]},"history":[],"input":{"amount":"12.50","currency":"EUR"},"plan":{"steps":[]},"plugin":{"digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","name":"ledger","version":"0.1.0"},"step":{"attempt":1,"effects":false,"id":"pay","index":0,"type":"transfer"},"subject":{},"task":{"id":"t","labels":{}},"time":"2026-11-21T08:00:00.000Z"}"#;

async fn sandbox_policy(sandbox: &Sandbox, component: &PolicyComponent) -> Result<Verdict, String> {
    let call = PolicyCall {
        stage: Stage::BeforeStep,
        settings: SETTINGS.to_owned(),
        input: JUDGED.to_owned(),
        limits: Limits::POLICY,
        seed: [7; 32],
        start: Timestamp::from_unix_ms(1_790_000_000_000).expect("in range"),
    };
    sandbox.evaluate(component, call).await.verdict
}

/// Plain wasmtime.
struct Raw {
    engine: Engine,
    linker: Linker<State>,
}

#[derive(Default)]
struct State {
    table: ResourceTable,
    wasi: Option<Box<WasiCtx>>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self
            .wasi
            .get_or_insert_with(|| Box::new(WasiCtx::builder().build()));
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl Raw {
    fn new() -> Self {
        let engine = Engine::new(&config()).expect("an engine");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI");
        let ticking = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = ticking.upgrade() {
                engine.increment_epoch();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { engine, linker }
    }

    /// What WASI does not have (logging, key-value) is there and never called.
    fn linked(&self, bytes: &[u8]) -> wasmtime::component::InstancePre<State> {
        let component = Component::new(&self.engine, bytes).expect("it compiles");
        let mut linker = self.linker.clone();
        linker
            .define_unknown_imports_as_traps(&component)
            .expect("imports");
        linker.instantiate_pre(&component).expect("it links")
    }

    fn step(&self, bytes: &[u8]) -> step::PluginStepPre<State> {
        step::PluginStepPre::new(self.linked(bytes)).expect("a plugin")
    }

    fn policy(&self, bytes: &[u8]) -> policy::PluginPolicyPre<State> {
        policy::PluginPolicyPre::new(self.linked(bytes)).expect("a policy")
    }

    fn store(&self, fuel: u64) -> Store<State> {
        let mut store = Store::new(&self.engine, State::default());
        store.set_fuel(fuel).expect("fuel is on");
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    async fn run(&self, pre: &step::PluginStepPre<State>, step_type: &str, input: &str) -> String {
        let invocation = raw_step::Invocation {
            task_id: "task".to_owned(),
            step_id: "step".to_owned(),
            attempt: 1,
            step_type: step_type.to_owned(),
            input: input.to_owned(),
            idempotency_key: "task/step".to_owned(),
        };
        let mut store = self.store(Limits::STEP.fuel);
        let instance = pre.instantiate_async(&mut store).await.expect("it starts");
        let answer = instance
            .stepseal_plugin_step()
            .call_run(&mut store, &invocation)
            .await;
        answer.expect("it answers").expect("it succeeds")
    }

    async fn judge(
        &self,
        pre: &policy::PluginPolicyPre<State>,
    ) -> Result<raw_policy::Verdict, String> {
        let mut store = self.store(Limits::POLICY.fuel);
        let instance = pre.instantiate_async(&mut store).await.expect("it starts");
        let (settings, input) = (SETTINGS.to_owned(), JUDGED.to_owned());
        let exports = instance.stepseal_plugin_policy();
        exports
            .call_evaluate(&mut store, raw_policy::Stage::BeforeStep, &settings, &input)
            .await
            .expect("it answers")
    }
}

/// The settings of the sandbox for steps (`src/config.rs`, `Settings::default`).
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(64)
        .total_stacks(64)
        .total_core_instances(64 * 64)
        .max_core_instances_per_component(64)
        .total_memories(64 * 8)
        .max_memories_per_component(8)
        .max_memories_per_module(8)
        .total_tables(64 * 16)
        .max_tables_per_component(16)
        .max_tables_per_module(16)
        .table_elements(100_000)
        .max_memory_size(512 << 20)
        .max_unused_warm_slots(32)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(256 << 10);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_gc(false)
        .gc_support(false)
        .shared_memory(false)
        .max_wasm_stack(512 << 10)
        .concurrency_support(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
