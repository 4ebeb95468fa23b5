//! What the targets share: plugins that modules are put into, and a sandbox that every guest is run in.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::Status;
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{
    Access, Cancel, Invocation, Limits, PoolSettings, Sandbox, Settings, StepCall, StepRun,
};
use tokio::runtime::Runtime;

/// Memory and an allocator, for modules that have none or a bad one.
const LIBC: &str = r#"(core module $libc-module
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at)))"#;

/// What is around the main module, and after it.
const REST: &str = r#"
  (core instance $libc (instantiate $libc-module))
  (core instance $main (instantiate 1 (with "libc" (instance $libc))))
  (type $step-type (record
    (field "name" string) (field "summary" string) (field "input-schema" string) (field "output-schema" string)))
  (type $descriptor (record
    (field "name" string) (field "version" string) (field "summary" string) (field "steps" (list $step-type))))
  (type $invocation (record
    (field "task-id" string) (field "step-id" string) (field "attempt" u32) (field "step-type" string)
    (field "input" string) (field "idempotency-key" string)))
  (type $failure (variant (case "invalid-input" string) (case "failed" string) (case "unavailable" string)))
  (func $describe (result $descriptor) (canon lift (core func $main "describe") (memory (core memory $libc "memory"))))
  (func $run (param "call" $invocation) (result (result string (error $failure)))
    (canon lift (core func $main "run") (memory (core memory $libc "memory")) (realloc (core func REALLOC "realloc"))))
  (instance $exports
    (export "step-type" (type $step-type)) (export "descriptor" (type $descriptor))
    (export "invocation" (type $invocation)) (export "failure" (type $failure))
    (export "describe" (func $describe)) (export "run" (func $run)))
  (export "stepseal:plugin/step@0.1.0" (instance $exports))"#;

/// What the main module must export, and may import: the functions do not matter here, only their types do.
const MAIN_EXPORTS: &str = r#"(module
  (func (export "describe") (result i32) unreachable)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "run") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable))"#;
const MAIN_IMPORTS: &str = r#"(module
  (import "libc" "memory" (memory 2))
  (import "libc" "realloc" (func (param i32 i32 i32 i32) (result i32))))"#;

/// Whose `realloc` the host calls to put arguments somewhere.
#[derive(Clone, Copy)]
pub enum Realloc {
    /// One that gives new memory each time, without looking whether there is any.
    Libc,
    /// The main module's own.
    Main,
}

/// A component around modules: bytes before the main module, and after it.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    fn new(realloc: Realloc) -> Self {
        /// A section with a module in it that has none itself.
        const PLACE: &[u8] = b"\x01\x08\0asm\x01\0\0\0";
        let instance = match realloc {
            Realloc::Libc => "$libc",
            Realloc::Main => "$main",
        };
        let rest = REST.replace("REALLOC", instance);
        let text = format!("(component {LIBC} (core module) {rest})");
        let whole = wat::parse_str(text).expect("it is a component");
        let place = whole.windows(PLACE.len()).position(|found| found == PLACE);
        let (before, after) = whole.split_at(place.expect("it is there"));
        Self {
            before: before.to_vec(),
            after: after[PLACE.len()..].to_vec(),
        }
    }
}

/// A plugin with this main module.
pub fn plugin(module: &[u8], realloc: Realloc) -> Vec<u8> {
    static TEMPLATES: LazyLock<[Template; 2]> =
        LazyLock::new(|| [Template::new(Realloc::Libc), Template::new(Realloc::Main)]);
    let template = &TEMPLATES[realloc as usize];
    let mut bytes = template.before.clone();
    // A section with a module in it, and its length in LEB128.
    bytes.push(1);
    let mut length = module.len();
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(module);
    bytes.extend(&template.after);
    bytes
}

/// How modules and components are made up, with what the engine leaves out left out: everything else would only be refused.
pub fn config() -> wasm_smith::Config {
    wasm_smith::Config {
        gc_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        max_memories: 4,
        max_tables: 4,
        ..wasm_smith::Config::default()
    }
}

/// The same for main modules.
pub fn main_module_config() -> wasm_smith::Config {
    let bytes = |text: &str| wat::parse_str(text).expect("it is a module");
    wasm_smith::Config {
        exports: Some(bytes(MAIN_EXPORTS)),
        available_imports: Some(bytes(MAIN_IMPORTS)),
        ..config()
    }
}

/// Main modules to begin with: one that answers, and some that do more.
pub fn main_modules() -> Vec<Vec<u8>> {
    const ANSWER: &str = r#"(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 1024))
        (i32.store (i32.const 24) (i32.const 2)) (i32.const 16)"#;
    let module = |items: &str, run: &str| {
        let text = format!(
            r#"(module
              (import "libc" "memory" (memory 2))
              (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
              (data (i32.const 512) "probe1.0.0{{}}")
              (data (i32.const 1024) "42")
              (data (i32.const 600) "\00\02\00\00\05\00\00\00\05\02\00\00\05\00\00\00\0a\02\00\00\00\00\00\00\80\02\00\00\01\00\00\00")
              (data (i32.const 640) "\00\02\00\00\05\00\00\00\0a\02\00\00\00\00\00\00\0a\02\00\00\02\00\00\00\0a\02\00\00\02\00\00\00")
              {items}
              (func (export "describe") (result i32) (i32.const 600))
              (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
              (func (export "run") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                {run} {ANSWER}))"#
        );
        wat::parse_str(text).expect("it is a module")
    };
    vec![
        module("", ""),
        module("", "(drop (memory.grow (i32.const 100))) (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65536))"),
        module(
            "(memory $second 1) (data $passive \"some bytes\")",
            "(memory.init $second $passive (i32.const 0) (i32.const 0) (i32.const 10)) (drop (memory.grow $second (i32.const 10)))
             (memory.copy $second 0 (i32.const 0) (i32.const 0) (i32.const 100))",
        ),
        module(
            "(type $t (func (param i32) (result i32))) (table $t 10 20 funcref) (elem (i32.const 0) $twice $twice)
             (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))",
            "(drop (call_indirect (type $t) (i32.const 7) (i32.const 1))) (drop (table.grow $t (ref.null func) (i32.const 5)))
             (table.fill $t (i32.const 3) (ref.func $twice) (i32.const 4))",
        ),
        module(
            "(global $g (mut f64) (f64.const 1)) (func $down (param i32) (result i32)
               (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0)) (else (call $down (i32.sub (local.get 0) (i32.const 1))))))",
            "(drop (call $down (i32.const 1000))) (global.set $g (f64.sqrt (f64.sub (global.get $g) (f64.const 2))))
             (drop (f64x2.extract_lane 0 (f64x2.div (f64x2.splat (global.get $g)) (f64x2.splat (f64.const 0)))))",
        ),
        module(
            "(func $start (local $i i32) (loop $again
               (i32.store (i32.const 2048) (local.get $i))
               (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))) (start $start)",
            "(block $out (loop $again (br_table $out $again (i32.and (i32.load8_u (i32.const 2048)) (i32.const 1)))))",
        ),
    ]
}

/// Little, so that much is tried.
const LIMITS: Limits = Limits {
    fuel: 5_000_000,
    memory_bytes: 16 << 20,
    wall: Duration::from_secs(5),
    input_bytes: 1 << 10,
    output_bytes: 64 << 10,
};

struct World {
    runtime: Runtime,
    sandbox: Sandbox,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let pool = || PoolSettings {
        concurrency: 2,
        memory_bytes_max: 32 << 20,
        ..PoolSettings::default()
    };
    // The compiler is in this process: what is found in it is found too.
    let settings = Settings {
        steps: pool(),
        policies: pool(),
        compile_bytes_max: 64 << 10,
        components_ready_max: 4,
        ..Settings::default()
    };
    World {
        runtime: Runtime::new().expect("threads can be started"),
        sandbox: Sandbox::new(settings).expect("a sandbox can be made"),
    }
});

/// Uploads these bytes, and runs what they are twice: within its limits, and to the same end. False where they are refused.
pub fn upload_and_run(bytes: &[u8]) -> bool {
    let World { runtime, sandbox } = &*WORLD;
    runtime.block_on(async {
        // Whether it describes itself well or not, it is run.
        let _ = sandbox.inspect(Arc::from(bytes)).await;
        let owned = bytes.to_vec();
        let Ok(component) = sandbox.step(Digest::of(bytes), || Ok(owned)).await else {
            return false;
        };
        let first = sandbox.run(&component, call()).await;
        let second = sandbox.run(&component, call()).await;
        for run in [&first, &second] {
            assert!(run.fuel_used <= LIMITS.fuel, "{run:?}");
            assert!(run.memory_peak_bytes <= LIMITS.memory_bytes, "{run:?}");
        }
        // When time is up is no property of the guest.
        let timed = |run: &StepRun| run.outcome.status() == Status::Timeout;
        if !timed(&first) && !timed(&second) {
            assert_eq!(first.outcome, second.outcome);
            assert_eq!(first.fuel_used, second.fuel_used);
            assert_eq!(first.memory_peak_bytes, second.memory_peak_bytes);
        }
        true
    })
}

fn call() -> StepCall {
    StepCall {
        invocation: Invocation {
            task_id: "task".into(),
            step_id: "step".into(),
            attempt: 1,
            step_type: "probe".into(),
            input: "{\"n\":1}".into(),
            idempotency_key: "key".into(),
        },
        limits: LIMITS,
        seed: [7; 32],
        start: Timestamp::from_unix_ms(1_700_000_000_000).expect("it is a time"),
        access: Access::default(),
        cancel: Cancel::new(),
    }
}
