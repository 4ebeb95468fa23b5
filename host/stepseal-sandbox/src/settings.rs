//! How a sandbox is set up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use stepseal_receipts::digest::Digest;

/// How a [`Sandbox`](crate::Sandbox) is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where compiled components are kept between starts; `None` compiles again at every start.
    pub cache: Option<CacheSettings>,
    /// The pool that steps run in.
    pub steps: PoolSettings,
    /// The pool that policies run in: its own, so that steps cannot starve policies.
    pub policies: PoolSettings,
    /// Whether to reserve the pools' address space at start. `false`, or a machine that cannot, allocates on demand,
    /// which is slower per call.
    pub pooling: bool,
    /// Who compiles.
    pub compiler: Compiler,
    /// Bytes of a component that are accepted for compilation. Compiling is the cheapest attack on a host.
    pub compile_bytes_max: usize,
    /// Components kept ready in memory, the longest unused being dropped first.
    pub components_ready_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: None,
            steps: PoolSettings {
                concurrency: 64,
                component_concurrency: 48,
                tenant_concurrency: 36,
                memory_bytes_max: 512 << 20,
                ..PoolSettings::default()
            },
            policies: PoolSettings::default(),
            pooling: true,
            compiler: Compiler::InProcess,
            compile_bytes_max: 32 << 20,
            components_ready_max: 256,
        }
    }
}

/// Who compiles components.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process. What hostile bytes make the compiler take, the process takes, and keeps.
    InProcess,
    /// A process for each component.
    Process(CompilerProcess),
}

/// How to start a process that compiles one component.
#[derive(Clone, Debug)]
pub struct CompilerProcess {
    /// With these arguments and two more, this very program calls [`compile_stdin`](crate::compile_stdin) with those two.
    pub arguments: Vec<OsString>,
    /// When to give up.
    pub limits: CompileLimits,
}

/// What compiling one component may take.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Processor time of all its threads, in whole seconds.
    pub cpu: Duration,
    /// Time in all, once it is its turn.
    pub wall: Duration,
    /// How long to wait for that turn.
    pub turn: Duration,
}

impl Default for CompileLimits {
    /// Enough for an interpreter of 32 MiB; ordinary components take a second and 100 MiB.
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            cpu: Duration::from_mins(1),
            wall: Duration::from_secs(90),
            turn: Duration::from_secs(20),
        }
    }
}

/// The directory of compiled components.
#[derive(Clone)]
pub struct CacheSettings {
    /// Made if it is not there. Only this host may write to it, but the sandbox does not rely on that: see `key`.
    pub dir: PathBuf,
    /// Host-local secret. Machine code is loaded only if it carries a MAC made with this key (keyed BLAKE3), so
    /// that whoever can write files in `dir` cannot run code in the host.
    pub key: [u8; 32],
    /// Bytes of all its files together; the longest unused make room.
    pub bytes_max: u64,
}

// Written by hand so that the key cannot end up in a log.
impl std::fmt::Debug for CacheSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheSettings")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// One pool of instances.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// Calls that run at a time.
    pub concurrency: u32,
    /// Calls of one component that run at a time: fewer, so that a busy one leaves places to others.
    pub component_concurrency: u32,
    /// Calls for one tenant that run at a time: fewer still, so that a busy one leaves places of every component to others.
    pub tenant_concurrency: u32,
    /// How long a call waits for a place; then it ends as [`Outcome::Busy`](crate::Outcome::Busy).
    pub wait: Duration,
    /// Bytes one memory may ever have, whatever [`Limits::memory_bytes`](crate::Limits) says.
    pub memory_bytes_max: u64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            concurrency: 32,
            component_concurrency: 24,
            tenant_concurrency: 18,
            wait: Duration::from_secs(30),
            memory_bytes_max: 64 << 20,
        }
    }
}

/// What a record says of the runtime, and what `doctor` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// `wasmtime 48.0.8`: fuel and output bytes are promised per version.
    pub engine: String,
    /// Digest of the engine settings that a guest can observe. The same on every machine.
    pub config: Digest,
    /// `pooling`, or `on-demand: <why>`.
    pub allocator: String,
}
