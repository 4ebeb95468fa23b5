//! The one function that configures wasmtime, for both engines.

use stepseal_receipts::digest::Digest;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Memory, MemoryType,
    PoolingAllocationConfig, Store, WasmBacktraceDetails,
};

use crate::error::SandboxError;
use crate::limits::{
    BACKTRACE_FRAMES_MAX, CONTEXT_BYTES_MAX, CORE_INSTANCES_MAX, MEMORIES_MAX, STACK_BYTES_MAX,
    TABLE_ENTRIES_MAX, TABLES_MAX,
};
use crate::settings::{PoolSettings, Settings};

/// The engine as records name it. Fuel and output bytes are promised per version, so the version is part of every claim; the
/// workspace pins it exactly, and a test compares this with the lock file.
pub(crate) const ENGINE: &str = "wasmtime 48.0.8";

/// Bytes of an instance's memory, table and stack that are zeroed by hand rather than given back to the system: for small
/// guests, giving pages back takes longer than everything else together.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Places of the pool that stay mapped for the components that used them last.
const WARM_PLACES_MAX: u32 = 32;

/// Bits of address space that must be there for pooling: two pools of a few hundred memories, 4 GiB reserved for each.
pub const POOLING_ADDRESS_BITS: u32 = 42;

/// Makes one setting.
type Set = fn(&mut Config);

/// What a guest can observe of the engine, as it is hashed and as it is set. The digest of these names, with the version, is the
/// `config` of every record; pools and their sizes are not in it, since no guest can tell.
const OBSERVABLE: &[(&str, Set)] = &[
    ("component-model", |c| {
        c.wasm_component_model(true);
    }),
    // The meter of everything a guest does, and the only one that is the same everywhere.
    ("fuel", |c| {
        c.consume_fuel(true);
    }),
    // What stops a guest when time is up: the same code runs whether it does or not.
    ("epochs", |c| {
        c.epoch_interruption(true);
    }),
    // A NaN's bits depend on the processor otherwise.
    ("nan-canonicalization", |c| {
        c.cranelift_nan_canonicalization(true);
    }),
    // Relaxed instructions may differ between processors; in this mode they do not.
    ("relaxed-simd-deterministic", |c| {
        c.wasm_relaxed_simd(true);
        c.relaxed_simd_deterministic(true);
    }),
    // No guest needs 64-bit memories yet, and they escape the pool's elided bounds checks.
    ("no-memory64", |c| {
        c.wasm_memory64(false);
    }),
    // Collection and exceptions go together: with one on and the other off the compiler panics on some uploads. Shared memory
    // and threads are not compiled in at all (the workspace's features of wasmtime).
    ("no-gc", |c| {
        c.wasm_gc(false);
        c.gc_support(false);
    }),
    ("no-shared-memory", |c| {
        c.shared_memory(false);
    }),
    ("stack=524288", |c| {
        c.max_wasm_stack(STACK_BYTES_MAX);
    }),
];

/// What components of WASI 0.3 run with besides, and no others.
const CONCURRENT: &str = "component-model-async";

/// Digest of what a guest can observe of the engine: the same on every machine with this version.
pub(crate) fn digest() -> Digest {
    let mut text = format!("stepseal/engine-config/v1\n{ENGINE}\n");
    for name in OBSERVABLE.iter().map(|(name, _)| *name).chain([CONCURRENT]) {
        text.push_str(name);
        text.push('\n');
    }
    Digest::of(text.as_bytes())
}

/// The configuration of an engine.
fn config(pool: Option<&PoolSettings>, concurrent: bool) -> Config {
    let mut config = Config::new();
    for (_, set) in OBSERVABLE {
        set(&mut config);
    }
    // What only components of WASI 0.3 need: it makes every call dearer, of those of WASI 0.2 too. With it comes
    // `component-model-async`, and nothing of what the standard does not have yet.
    config.concurrency_support(concurrent);
    // Wasmtime asks the environment otherwise, and what is set there would make code that other processes cannot load.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX));
    // Traps name functions, for which neither is needed; both are a seventh of the machine code that is read at every start.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool_config(pool)));
    }
    config
}

fn pool_config(pool: &PoolSettings) -> PoolingAllocationConfig {
    let calls = pool.concurrency;
    let memory_bytes_max = usize::try_from(pool.memory_bytes_max).unwrap_or(usize::MAX);
    let mut config = PoolingAllocationConfig::default();
    // Every call that has a permit must find a place, however many memories its component has.
    config
        .total_component_instances(calls)
        .total_stacks(calls)
        .total_core_instances(calls.saturating_mul(CORE_INSTANCES_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_memories(calls.saturating_mul(MEMORIES_MAX))
        .max_memories_per_component(MEMORIES_MAX)
        // The defaults allow one memory and one table for each module, and refuse others when they are compiled.
        .max_memories_per_module(MEMORIES_MAX)
        .total_tables(calls.saturating_mul(TABLES_MAX))
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ENTRIES_MAX)
        .max_memory_size(memory_bytes_max)
        .max_core_instance_size(CONTEXT_BYTES_MAX)
        .max_component_instance_size(CONTEXT_BYTES_MAX)
        .max_unused_warm_slots(WARM_PLACES_MAX)
        // The kernel tells which pages a call wrote (Linux 6.7), so only those are restored. Without it every page is given back
        // and faulted in again at the next call, and each time the other cores are interrupted.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES);
    config
}

/// An engine whose instances are allocated on demand, so that it reserves nothing.
fn on_demand(concurrent: bool) -> Result<Engine, SandboxError> {
    Engine::new(&config(None, concurrent))
        .map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

/// Engines that only compile: for components of WASI 0.2, and for those of WASI 0.3. How instances are allocated is not compiled in.
pub(crate) fn compilers() -> Result<[Engine; 2], SandboxError> {
    Ok([on_demand(false)?, on_demand(true)?])
}

/// The engines, and how they allocate.
pub(crate) struct Engines {
    pub(crate) steps: Engine,
    pub(crate) policies: Engine,
    /// Refuses what a pool refuses. Only where there is no pool that does.
    pub(crate) bounds: Option<Engine>,
    /// For components of WASI 0.3 of either kind. On demand: another pool would reserve terabytes for the few that need it.
    pub(crate) concurrent: Engine,
    /// Refuses for it what a pool refuses.
    pub(crate) concurrent_bounds: Engine,
    pub(crate) allocator: String,
}

/// Makes both engines, pooling if the machine can. Both allocate in the same way, so that code compiled by one runs in the other.
pub(crate) fn engines(settings: &Settings) -> Result<Engines, SandboxError> {
    let why = if settings.pooling {
        match pooling_engines(settings) {
            Ok((steps, policies)) => {
                return Ok(Engines {
                    steps,
                    policies,
                    bounds: None,
                    concurrent: on_demand(true)?,
                    concurrent_bounds: bounds(&settings.steps, true)?,
                    allocator: "pooling".to_owned(),
                });
            }
            Err(why) => {
                tracing::warn!(
                    %why,
                    "instances are allocated on demand, which makes every call slower: the address space for pooling could \
                     not be reserved (is there a limit on virtual memory, `ulimit -v`?)"
                );
                why
            }
        }
    } else {
        "pooling is switched off".to_owned()
    };
    Ok(Engines {
        steps: on_demand(false)?,
        policies: on_demand(false)?,
        bounds: Some(bounds(&settings.steps, false)?),
        concurrent: on_demand(true)?,
        concurrent_bounds: bounds(&settings.steps, true)?,
        allocator: format!("on-demand: {why}"),
    })
}

/// An engine with a pool that has room for nobody, so that it takes next to no address space: loading a component there holds it
/// against the pool's bounds, which the allocator on demand does not know.
fn bounds(pool: &PoolSettings, concurrent: bool) -> Result<Engine, SandboxError> {
    let mut config = config(None, concurrent);
    let mut empty = pool_config(pool);
    empty
        .total_component_instances(0)
        .total_core_instances(0)
        .total_memories(0)
        .total_stacks(0)
        .total_tables(TABLES_MAX);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(empty));
    Engine::new(&config).map_err(|error| SandboxError::Engine(format!("{error:#}")))
}

fn pooling_engines(settings: &Settings) -> Result<(Engine, Engine), String> {
    probe_address_space()?;
    let engine =
        |pool| Engine::new(&config(Some(pool), false)).map_err(|error| format!("{error:#}"));
    Ok((engine(&settings.steps)?, engine(&settings.policies)?))
}

/// Whether the kernel tells which pages a call wrote (`PAGEMAP_SCAN`, Linux 6.7), which makes calls in a pool faster.
pub fn has_page_scan() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

/// Whether so much address space can be reserved, tried rather than guessed: containers and `ulimit` limit it in many ways.
fn probe_address_space() -> Result<(), String> {
    let mut config = Config::new();
    config.wasm_memory64(true);
    config.memory_reservation(1 << POOLING_ADDRESS_BITS);
    let probe = || {
        let engine = Engine::new(&config)?;
        let mut store = Store::new(&engine, ());
        let pages_max = 1 << (POOLING_ADDRESS_BITS - 16);
        Memory::new(&mut store, MemoryType::new64(0, Some(pages_max)))
    };
    match probe() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "{POOLING_ADDRESS_BITS} bits of address space are not available: {error:#}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_named_in_records_is_the_one_compiled_in() {
        let lock = include_str!("../../../Cargo.lock");
        let at = lock.find("name = \"wasmtime\"\n").unwrap();
        let version = lock[at..].lines().nth(1).unwrap();
        assert_eq!(
            format!(
                "version = \"{}\"",
                ENGINE.strip_prefix("wasmtime ").unwrap()
            ),
            version
        );
    }

    #[test]
    fn the_digest_of_the_configuration_changes_only_on_purpose() {
        // If this fails, what guests can observe has changed: receipts of before will not re-run under this host.
        assert_eq!(
            digest().to_string(),
            "sha256:842479dd87af79ca41d626ae1cfbff0a371d746f6b3341ca5c87a9ae7c326ebd"
        );
    }

    #[test]
    fn what_the_compiler_makes_runs_in_either_pool() {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let engines = engines(&Settings::default()).unwrap();
        assert_eq!(engines.allocator, "pooling");
        let [compiler, concurrent] = compilers().unwrap().each_ref().map(hash);
        assert_ne!(compiler, concurrent);
        for (engine, compiler) in [(false, compiler), (true, concurrent)] {
            let bounds = bounds(&PoolSettings::default(), engine).unwrap();
            assert_eq!(hash(&bounds), compiler);
        }
        assert_eq!(hash(&engines.concurrent), concurrent);
        assert_eq!(
            [hash(&engines.steps), hash(&engines.policies)],
            [compiler; 2]
        );
    }

    #[test]
    fn both_ways_of_allocating_make_engines() {
        let mut settings = Settings::default();
        assert_eq!(engines(&settings).unwrap().allocator, "pooling");
        settings.pooling = false;
        assert!(
            engines(&settings)
                .unwrap()
                .allocator
                .starts_with("on-demand: ")
        );
    }
}
