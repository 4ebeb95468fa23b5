//! The sandbox: its engines, their pools, and the components that are ready to run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stepseal_receipts::digest::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::artifact::{Artifact, Cache};
use crate::call::{PolicyCall, PolicyRun, StepCall, StepRun};
use crate::capability::{policy_linker, step_linker};
use crate::compiler;
use crate::component::{
    Kind, PolicyComponent, StepComponent, check_preamble, link_policy, link_step,
};
use crate::config::{self, Engines};
use crate::descriptor::Inspection;
use crate::error::{LoadError, SandboxError};
use crate::guest::Guest;
use crate::pool::Pool;
use crate::progress::{Compilation, Progress};
use crate::run;
use crate::settings::{Compiler, PoolSettings, RuntimeInfo, Settings};
use crate::ticker;

/// Compilations at a time. One: compiling is the cheapest attack on a host, and takes all of some cores and much memory.
const COMPILATIONS_MAX: usize = 1;

/// Bytes of machine code kept ready in memory, together: components are bounded by number, and a few of the largest would
/// take as much as hundreds of ordinary ones.
const CODE_BYTES_READY_MAX: usize = 1 << 30;

/// A component without a section: magic number, version and layer.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Runs components. Clones share everything. Needs a Tokio runtime with timer and I/O enabled.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    steps: Pools,
    policies: Pools,
    /// Refuses what a pool refuses, where there is none.
    bounds: Option<Engine>,
    /// The same for components of WASI 0.3, for which there never is one.
    concurrent_bounds: Engine,
    cache: Option<Cache>,
    compiler: Compiler,
    compile_bytes_max: usize,
    compilations: Arc<Semaphore>,
    progress: Progress,
    ready: Mutex<ReadyComponents>,
    runtime: RuntimeInfo,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("runtime", &self.0.runtime)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Sets up engines, pools and the thread that stops overlong calls.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let engine_error = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let Engines {
            steps,
            policies,
            bounds,
            concurrent,
            concurrent_bounds,
            allocator,
        } = config::engines(&settings)?;
        let ticks =
            ticker::start([&steps, &policies, &concurrent]).map_err(SandboxError::Ticker)?;
        let pools = |plain: Engine, of: &PoolSettings, link: Link| -> wasmtime::Result<Pools> {
            let pool = |engine: Engine, concurrent: bool| -> wasmtime::Result<Pool> {
                let linker = link(&engine, concurrent)?;
                Ok(Pool::new(engine, linker, concurrent, of, ticks.clone()))
            };
            Ok(Pools {
                plain: pool(plain, false)?,
                concurrent: pool(concurrent.clone(), true)?,
            })
        };
        let steps = pools(steps, &settings.steps, step_linker).map_err(engine_error)?;
        let policies = pools(policies, &settings.policies, policy_linker).map_err(engine_error)?;
        let progress = Progress::new(ticks);
        let cache = settings
            .cache
            .map(|cache| Cache::new(cache, &steps.plain.engine))
            .transpose()?;
        Ok(Self(Arc::new(Inner {
            steps,
            policies,
            bounds,
            concurrent_bounds,
            cache,
            compiler: settings.compiler,
            compile_bytes_max: settings.compile_bytes_max,
            compilations: Arc::new(Semaphore::new(COMPILATIONS_MAX)),
            progress,
            ready: Mutex::new(ReadyComponents::new(settings.components_ready_max)),
            runtime: RuntimeInfo {
                engine: config::ENGINE.to_owned(),
                config: config::digest(),
                allocator,
            },
        })))
    }

    /// What records say of the runtime.
    pub fn runtime(&self) -> &RuntimeInfo {
        &self.0.runtime
    }

    /// Places to run in that calls have now: of steps, and of policies.
    pub fn places_taken(&self) -> (usize, usize) {
        (self.0.steps.taken(), self.0.policies.taken())
    }

    /// Checks an upload and asks it what it is: that it is a component this host can run, what it imports, that its exports have
    /// the types of the contract, and its descriptor, read under the limits of a policy. Touches no network and no files (but
    /// the cache of compiled components).
    pub async fn inspect(&self, bytes: Arc<[u8]>) -> Result<Inspection, LoadError> {
        self.0.check_size(bytes.len())?;
        check_preamble(&bytes)?;
        // Not on the runtime's own threads: a large component takes as long as many requests.
        let hashed = Arc::clone(&bytes);
        let digest = blocking(move || Ok(Digest::of(&hashed))).await?;
        let ready = self.load(digest, move || Ok(bytes.to_vec())).await?;
        let (imports, descriptor) = match &ready {
            Ready::Step(step) => (
                step.imports(),
                run::describe_step(self.0.steps.of(step.engine()), step).await?,
            ),
            Ready::Policy(policy) => (
                policy.imports(),
                run::describe_policy(self.0.policies.of(policy.engine()), policy).await?,
            ),
        };
        Ok(Inspection {
            digest,
            imports: imports.to_vec(),
            descriptor,
        })
    }

    /// A plugin, ready to run: from memory, from the cache of compiled components, or compiled. `bytes` is called only when needed,
    /// on a thread that may block.
    pub async fn step(
        &self,
        digest: Digest,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<StepComponent, LoadError> {
        match self.load(digest, bytes).await? {
            Ready::Step(step) => Ok(step),
            Ready::Policy(_) => Err(LoadError::WrongKind {
                found: "policy",
                wanted: "plugin",
            }),
        }
    }

    /// A policy, ready to judge; see [`Sandbox::step`].
    pub async fn policy(
        &self,
        digest: Digest,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<PolicyComponent, LoadError> {
        match self.load(digest, bytes).await? {
            Ready::Policy(policy) => Ok(policy),
            Ready::Step(_) => Err(LoadError::WrongKind {
                found: "plugin",
                wanted: "policy",
            }),
        }
    }

    /// Runs one attempt of a step in a fresh instance. Every way it can end is an [`Outcome`](crate::Outcome).
    pub async fn run(&self, component: &StepComponent, call: StepCall) -> StepRun {
        run::step(self.0.steps.of(component.engine()), component, call).await
    }

    /// Asks a policy in a fresh instance.
    pub async fn evaluate(&self, component: &PolicyComponent, call: PolicyCall) -> PolicyRun {
        run::policy(self.0.policies.of(component.engine()), component, call).await
    }

    async fn load(
        &self,
        digest: Digest,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Ready, LoadError> {
        if let Some(ready) = self.0.ready().get(&digest) {
            return Ok(ready);
        }
        if self.0.cache.is_some() {
            let inner = Arc::clone(&self.0);
            if let Some(ready) = blocking(move || inner.read_compiled(&digest)).await? {
                return Ok(ready);
            }
        }
        let listed = self.0.progress.wait(digest);
        let compiling = self.0.turn_to_compile().await?;
        // Whoever waited here may have waited for the same component.
        if let Some(ready) = self.0.ready().get(&digest) {
            return Ok(ready);
        }
        let inner = Arc::clone(&self.0);
        // Threads that work for this hold the permit: a caller that goes away must not make room while they do.
        let (bytes, compiling) =
            blocking(move || Ok((inner.read(&digest, bytes)?, compiling))).await?;
        listed.compile(bytes.len());
        let (artifact, compiling) = self.compile(bytes, compiling).await?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let _compiling = compiling;
            let ready = inner.link(digest, &artifact)?;
            // Kept only when it was found good: refused uploads must not fill the disk.
            if let Some(cache) = &inner.cache {
                cache.put(&digest, &artifact);
            }
            Ok(ready)
        })
        .await
    }

    async fn compile(
        &self,
        bytes: Vec<u8>,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Artifact, OwnedSemaphorePermit), LoadError> {
        match &self.0.compiler {
            Compiler::InProcess => {
                let inner = Arc::clone(&self.0);
                let compile = move || Artifact::compile(inner.steps.engines(), &bytes);
                blocking(move || Ok((compile()?, turn))).await
            }
            // Where the caller goes away, the process is killed.
            Compiler::Process(process) => Ok((compiler::compile(process, &bytes).await?, turn)),
        }
    }

    /// What is compiled now, and what waits for it.
    pub fn compilations(&self) -> Vec<Compilation> {
        self.0.progress.list()
    }

    /// Whether components can be compiled at all: compiles one that has nothing in it.
    pub async fn check_compiler(&self) -> Result<(), LoadError> {
        let turn = self.0.turn_to_compile().await?;
        let (artifact, turn) = self.compile(EMPTY_COMPONENT.to_vec(), turn).await?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let _turn = turn;
            artifact.load(inner.steps.engines()).map(drop)
        })
        .await
    }
}

/// Runs what blocks on a thread for it. A panic of the compiler is the component's fault, not the host's end.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(LoadError::Compile(
            "the compiler gave up on it (it panicked)".to_owned(),
        ))
    })
}

impl Inner {
    fn ready(&self) -> std::sync::MutexGuard<'_, ReadyComponents> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn_to_compile(&self) -> Result<OwnedSemaphorePermit, LoadError> {
        let turn = Arc::clone(&self.compilations).acquire_owned();
        let turn = match &self.compiler {
            Compiler::InProcess => turn.await,
            Compiler::Process(process) => timeout(process.limits.turn, turn)
                .await
                .map_err(|_| LoadError::Busy)?,
        };
        Ok(turn.expect("the semaphore is never closed"))
    }

    fn check_size(&self, bytes: usize) -> Result<(), LoadError> {
        let bytes_max = self.compile_bytes_max;
        if bytes > bytes_max {
            Err(LoadError::TooLarge { bytes, bytes_max })
        } else {
            Ok(())
        }
    }

    fn read_compiled(&self, digest: &Digest) -> Result<Option<Ready>, LoadError> {
        let Some(artifact) = self.cache.as_ref().and_then(|cache| cache.get(digest)) else {
            return Ok(None);
        };
        match self.link(*digest, &artifact) {
            Ok(ready) => Ok(Some(ready)),
            // Compiled for something else than this process, in spite of its name: compile again.
            Err(LoadError::Compile(error)) => {
                tracing::warn!(%digest, error, "a compiled component cannot be loaded and is compiled again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of a component, which are what they are said to be.
    fn read(
        &self,
        digest: &Digest,
        bytes: impl FnOnce() -> std::io::Result<Vec<u8>>,
    ) -> Result<Vec<u8>, LoadError> {
        let bytes = bytes()?;
        self.check_size(bytes.len())?;
        if Digest::of(&bytes) != *digest {
            return Err(LoadError::WrongDigest);
        }
        check_preamble(&bytes)?;
        Ok(bytes)
    }

    fn link(&self, digest: Digest, artifact: &Artifact) -> Result<Ready, LoadError> {
        let component = artifact.load(self.steps.engines())?;
        let bounds = if Engine::same(component.engine(), &self.steps.concurrent.engine) {
            Some(&self.concurrent_bounds)
        } else {
            self.bounds.as_ref()
        };
        if let Some(bounds) = bounds {
            artifact.load([bounds, bounds])?;
        }
        let ready = match Kind::of(&component)? {
            Kind::Plugin => {
                let pool = self.steps.of(component.engine());
                Ready::Step(link_step(pool, &component, digest)?)
            }
            Kind::Policy => {
                let component = artifact.load(self.policies.engines())?;
                let pool = self.policies.of(component.engine());
                Ready::Policy(link_policy(pool, &component, digest)?)
            }
        };
        self.ready().insert(digest, ready.clone(), artifact.bytes());
        Ok(ready)
    }
}

/// Makes a linker for an engine, concurrent or not.
type Link = fn(&Engine, bool) -> wasmtime::Result<Linker<Guest>>;

/// Where components of one kind run: those of WASI 0.2, and those of WASI 0.3.
struct Pools {
    plain: Pool,
    concurrent: Pool,
}

impl Pools {
    fn engines(&self) -> [&Engine; 2] {
        [&self.plain.engine, &self.concurrent.engine]
    }

    fn taken(&self) -> usize {
        self.plain.taken() + self.concurrent.taken()
    }

    /// The pool of an engine's components.
    fn of(&self, engine: &Engine) -> &Pool {
        if Engine::same(engine, &self.plain.engine) {
            &self.plain
        } else {
            &self.concurrent
        }
    }
}

/// A component of either kind.
#[derive(Clone)]
enum Ready {
    Step(StepComponent),
    Policy(PolicyComponent),
}

/// Components kept in memory; the longest unused makes room.
struct ReadyComponents {
    components: HashMap<Digest, Kept>,
    components_max: usize,
    code_bytes: usize,
    uses: u64,
}

struct Kept {
    ready: Ready,
    code_bytes: usize,
    used: u64,
}

impl ReadyComponents {
    fn new(components_max: usize) -> Self {
        Self {
            components: HashMap::new(),
            components_max,
            code_bytes: 0,
            uses: 0,
        }
    }

    fn get(&mut self, digest: &Digest) -> Option<Ready> {
        self.uses += 1;
        let kept = self.components.get_mut(digest)?;
        kept.used = self.uses;
        Some(kept.ready.clone())
    }

    fn insert(&mut self, digest: Digest, ready: Ready, code_bytes: usize) {
        self.uses += 1;
        let kept = Kept {
            ready,
            code_bytes,
            used: self.uses,
        };
        self.code_bytes += code_bytes;
        if let Some(before) = self.components.insert(digest, kept) {
            self.code_bytes -= before.code_bytes;
        }
        while self.components.len() > self.components_max || self.code_bytes > CODE_BYTES_READY_MAX
        {
            let oldest = self.components.iter().min_by_key(|(_, kept)| kept.used);
            let Some(digest) = oldest.map(|(digest, _)| *digest) else {
                return;
            };
            // Calls that run hold what they need; only the next call of it loads it again.
            if let Some(dropped) = self.components.remove(&digest) {
                self.code_bytes -= dropped.code_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_by_number_and_by_bytes() {
        let component = crate::tests::load(&crate::tests::wat::plugin("(unreachable)")).await;
        let mut kept = ReadyComponents::new(2);
        for number in 0..3 {
            kept.insert(digest(number), Ready::Step(component.clone()), 10);
            assert!(kept.get(&digest(0)).is_some(), "it is in use");
        }
        assert!(kept.get(&digest(1)).is_none(), "the longest unused");
        assert!(kept.get(&digest(2)).is_some());

        kept.insert(digest(3), Ready::Step(component), CODE_BYTES_READY_MAX - 10);
        assert!(kept.get(&digest(0)).is_none());
        assert!(kept.get(&digest(2)).is_some() && kept.get(&digest(3)).is_some());
        assert_eq!(kept.code_bytes, CODE_BYTES_READY_MAX);
    }
}
