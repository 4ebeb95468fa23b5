//! The engine: what is in force.

use stepseal_sandbox::{Bounds, Compiler, Limits, POOLING_ADDRESS_BITS, PoolSettings, Sandbox};

use super::super::output::{bytes, thousands};
use super::super::runtime::{self, block_on};
use super::{Finding, State};

/// The engine as `serve` sets it up.
pub(super) fn findings() -> Vec<Finding> {
    let settings = runtime::settings(None);
    let sandbox = match Sandbox::new(settings.clone()) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = "free memory, or raise the limit of address space (ulimit -v)";
            return vec![Finding::bad(
                "engine",
                State::Problem,
                error.to_string(),
                remedy,
            )];
        }
    };
    let runtime = sandbox.runtime();
    let allocator = if runtime.allocator == "pooling" {
        Finding::ok(
            "allocator",
            format!(
                "pooling: {POOLING_ADDRESS_BITS} bits of address space are there, places are reused, calls are fast"
            ),
        )
    } else {
        let remedy =
            "calls work, but slower: raise the limit of address space (ulimit -v unlimited)";
        Finding::bad(
            "allocator",
            State::Warning,
            runtime.allocator.clone(),
            remedy,
        )
    };
    vec![
        Finding::ok(
            "engine",
            format!("{}, configuration {}", runtime.engine, runtime.config),
        ),
        allocator,
        pool("steps", &settings.steps, &Limits::STEP),
        pool("policies", &settings.policies, &Limits::POLICY),
        instances(),
        compiler(&sandbox, &settings.compiler),
    ]
}

/// How many calls run at a time, and what one may use unless a grant or a plan says otherwise.
fn pool(what: &'static str, pool: &PoolSettings, limits: &Limits) -> Finding {
    let found = format!(
        "{} at a time, {} of one component, {} for one tenant, {} s until one without a place is put off; each {} fuel, {} memory, {} ms, {} in, {} out; \
         {} for one memory at most",
        pool.concurrency,
        pool.component_concurrency,
        pool.tenant_concurrency,
        pool.wait.as_secs(),
        thousands(limits.fuel),
        bytes(limits.memory_bytes),
        thousands(u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX)),
        bytes(limits.input_bytes),
        bytes(limits.output_bytes),
        bytes(pool.memory_bytes_max),
    );
    Finding::ok(what, found)
}

/// What holds for every call.
fn instances() -> Finding {
    let bounds = Bounds::IN_FORCE;
    let found = format!(
        "{} core instances, {} memories, {} tables of {} entries, {} of contexts, {} of stack",
        bounds.core_instances,
        bounds.memories,
        bounds.tables,
        thousands(bounds.table_entries as u64),
        bytes(bounds.context_bytes as u64),
        bytes(bounds.stack_bytes as u64),
    );
    Finding::ok("call", found)
}

/// Whether the process that compiles uploads can do so here.
fn compiler(sandbox: &Sandbox, compiler: &Compiler) -> Finding {
    let found = match compiler {
        Compiler::InProcess => "compiles in this process".to_owned(),
        Compiler::Process(process) => format!(
            "compiles in a process of its own: one component at a time, {} of memory, {} s of processor time, {} s in all",
            bytes(process.limits.memory_bytes),
            process.limits.cpu.as_secs(),
            process.limits.wall.as_secs(),
        ),
    };
    let checked = block_on(async { Ok(sandbox.check_compiler().await?) });
    match checked {
        Ok(()) => Finding::ok("compiler", found),
        Err(error) => Finding::bad(
            "compiler",
            State::Problem,
            error.to_string(),
            "uploads would be refused: allow another process, 4 GiB of address space (ulimit -v) and processor time (ulimit -t)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_is_none_is_a_problem_with_a_remedy() {
        // This program is the tests, and as a worker it compiles nothing.
        let settings = runtime::settings(None);
        let sandbox = Sandbox::new(settings.clone()).unwrap();
        let found = compiler(&sandbox, &settings.compiler);
        assert_eq!(found.state, State::Problem, "{found:?}");
        assert!(found.remedy.is_some());
    }

    #[test]
    fn what_is_in_force_is_said_in_numbers() {
        let found = pool("steps", &PoolSettings::default(), &Limits::STEP).found;
        assert!(
            found.starts_with("32 at a time, 24 of one component"),
            "{found}"
        );
        assert!(
            found.contains("500,000,000 fuel, 64.0 MiB memory"),
            "{found}"
        );
        let found = instances().found;
        assert!(found.contains("16 tables of 100,000 entries"), "{found}");
    }
}
