//! What commands run on: the threads of asynchronous work, and the sandbox.

use std::future::Future;

use anyhow::Context as _;
use stepseal_sandbox::{
    CacheSettings, CompileLimits, Compiler, CompilerProcess, Sandbox, SandboxError, Settings,
};

/// Turns of a thread between two looks at network and timers.
const EVENT_INTERVAL: u32 = 3;

/// Runs `work` to its end.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A guest that never waits gives its thread back every 10 ms. Looking at the network only every 61st time, tokio's
        // default, would keep clients waiting for as long as that takes.
        .event_interval(EVENT_INTERVAL)
        .build()
        .context("the threads of the program could not be started")?
        .block_on(work)
}

/// The sandbox, which compiles in processes of this same program.
pub(super) fn sandbox(cache: Option<CacheSettings>) -> Result<Sandbox, SandboxError> {
    Sandbox::new(settings(cache))
}

/// How every command sets its sandbox up.
pub(super) fn settings(cache: Option<CacheSettings>) -> Settings {
    Settings {
        cache,
        compiler: Compiler::Process(CompilerProcess {
            arguments: vec!["compile-worker".into()],
            limits: CompileLimits::default(),
        }),
        ..Settings::default()
    }
}
