//! Compiling in a process of its own. Hostile bytes can make a compiler take any amount of memory and time, or crash it; and what
//! it took, this process would keep. It is a limit of resources: the machine code that comes back is run.
//!
//! The component goes to the child's stdin, machine code comes from its stdout, and what went wrong from its stderr, with
//! [`COMPONENT`] or [`HOST`] before it. Both ends are here and in the same program. Whatever is not surely the component's fault
//! is the host's trouble: others draw conclusions from a component that is at fault, and sign them.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::artifact::{ARTIFACT_BYTES_MAX, Artifact};
use crate::config;
use crate::error::LoadError;
use crate::settings::{CompileLimits, CompilerProcess};
use crate::text::message;

/// Bytes of a child's stderr that are read.
const COMPLAINT_BYTES_MAX: u64 = 64 << 10;

/// How much a child yields to everything else on the machine (`nice`): clients of other components wait too.
const NICENESS: i32 = 10;

/// Threads that compile functions of one component side by side. Its limits are for all of them together.
const THREADS_MAX: usize = 4;

/// Bytes of stack of each of them: what a program's first thread has.
const STACK_BYTES: usize = 8 << 20;

/// Before what is wrong with the component.
const COMPONENT: &str = "component: ";

/// Before what kept the compiler from its work.
const HOST: &str = "host: ";

/// This program, whatever is at its path by now.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Compiles in a child process, which is killed when the future is dropped.
pub(crate) async fn compile(
    settings: &CompilerProcess,
    component: &[u8],
) -> Result<Artifact, LoadError> {
    compile_with(THIS_PROGRAM, settings, component).await
}

async fn compile_with(
    program: &str,
    settings: &CompilerProcess,
    component: &[u8],
) -> Result<Artifact, LoadError> {
    let limits = &settings.limits;
    let trouble = |error: io::Error| unavailable(&error);
    let mut child = Command::new(program)
        .args(&settings.arguments)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.cpu.as_secs().to_string())
        // Nothing of the host's, such as a token, is the compiler's business.
        .env_clear()
        .current_dir("/")
        // A Ctrl-C in the host's terminal is for the host, which ends its children itself.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(trouble)?;
    match timeout(limits.wall, talk(&mut child, component)).await {
        Ok(ended) => {
            let (status, code, complaint) = ended.map_err(trouble)?;
            judge(status, code, &complaint, limits)
        }
        Err(_) => Err(unavailable(&format_args!(
            "it takes longer than {}",
            seconds(limits.wall)
        ))),
    }
}

/// Sends the component and takes what comes back.
async fn talk(child: &mut Child, component: &[u8]) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let send = async {
        if let Some(mut stdin) = stdin {
            // A child that refuses the first bytes does not read the rest; how it ended says more than a broken pipe.
            let _ = stdin.write_all(component).await;
        }
    };
    let ((), code, complaint) = tokio::join!(
        send,
        receive(stdout, ARTIFACT_BYTES_MAX + 1),
        receive(stderr, COMPLAINT_BYTES_MAX)
    );
    let (code, complaint) = (code?, complaint?);
    Ok((child.wait().await?, code, complaint))
}

async fn receive(
    from: Option<impl tokio::io::AsyncRead + Unpin>,
    bytes_max: u64,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // Dropped at its end: a child that has more to say gets a broken pipe.
        from.take(bytes_max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn judge(
    status: ExitStatus,
    code: Vec<u8>,
    complaint: &[u8],
    limits: &CompileLimits,
) -> Result<Artifact, LoadError> {
    let complaint = String::from_utf8_lossy(complaint);
    if code.len() as u64 > ARTIFACT_BYTES_MAX {
        return Err(refused(&format!(
            "its machine code has more than {} MiB",
            ARTIFACT_BYTES_MAX >> 20
        )));
    }
    if status.success() {
        return Ok(Artifact::of_child(code));
    }
    if let Some(trouble) = complaint.strip_prefix(HOST) {
        return Err(unavailable(&trouble));
    }
    // Wasmtime's words for an allocation that failed, and Rust's before it aborts.
    let fault = complaint.strip_prefix(COMPONENT);
    let starved = fault.is_some_and(|fault| fault.starts_with("out of memory"))
        || complaint.starts_with("memory allocation of");
    if starved {
        return Err(refused(&format!(
            "it takes more than {} MiB of memory",
            limits.memory_bytes >> 20
        )));
    }
    if let Some(fault) = fault {
        return Err(refused(fault));
    }
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        Some(Signal::XCPU) => Err(refused(&format!(
            "it takes more than {} of processor time",
            seconds(limits.cpu)
        ))),
        // Its own doing: a panic, an abort, a stack that overflowed.
        None | Some(Signal::ABORT | Signal::SEGV | Signal::BUS | Signal::ILL) => {
            tracing::warn!(%status, %complaint, "the compiler crashed on a component");
            Err(refused(&format!("the compiler gave up on it ({status})")))
        }
        // Somebody else's: the host is stopped, or the machine is out of memory.
        Some(_) => Err(unavailable(&format_args!(
            "the compiler was ended ({status})"
        ))),
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> LoadError {
    LoadError::Unavailable(why.to_string())
}

fn refused(why: &str) -> LoadError {
    LoadError::Compile(message(why.to_owned()))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// The child's end: compiles the component on stdin under limits of memory (bytes) and processor time (seconds), and writes its
/// machine code to stdout. An error goes to stderr as it is, with exit code 1.
pub fn compile_stdin(memory_bytes: u64, cpu_seconds: u64) -> Result<(), String> {
    let trouble = |error: &dyn std::fmt::Display| format!("{HOST}{error}");
    confine(memory_bytes, cpu_seconds).map_err(|error| trouble(&error))?;
    let mut component = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut component)
        .map_err(|error| trouble(&error))?;
    let engines = config::compilers().map_err(|error| trouble(&error))?;
    let threads = threads().map_err(|error| trouble(&error))?;
    let compiled = threads.install(|| Artifact::compile(engines.each_ref(), &component));
    let artifact = match compiled {
        Ok(artifact) => artifact,
        Err(LoadError::Compile(reason)) => return Err(format!("{COMPONENT}{reason}")),
        Err(other) => return Err(trouble(&other)),
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(artifact.compiled().unwrap_or_default())
        .and_then(|()| stdout.flush())
        .map_err(|error| trouble(&error))
}

/// The threads that wasmtime compiles functions on; this one alone where the system gives no others.
fn threads() -> Result<ThreadPool, ThreadPoolBuildError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = ThreadPoolBuilder::new().stack_size(STACK_BYTES);
    let alone = || {
        let pool = ThreadPoolBuilder::new().num_threads(1);
        pool.use_current_thread().build()
    };
    pool.num_threads(processors.min(THREADS_MAX))
        .build()
        .or_else(|_| alone())
}

/// Gives up what the compiler does not need, before the first byte is read.
fn confine(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    lower(Resource::As, memory_bytes, memory_bytes)?;
    lower(Resource::Cpu, cpu_seconds, cpu_seconds + 1)?;
    lower(Resource::Core, 0, 0)?;
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Where the machine runs out of memory, this is what it should end. A container may forbid saying so.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    rustix::process::nice(NICENESS)?;
    Ok(())
}

/// Lowers a limit; one that is lower already stays, and cannot be raised anyway.
fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let before = rustix::process::getrlimit(resource);
    let least = |before: Option<u64>, wanted| Some(before.map_or(wanted, |b: u64| b.min(wanted)));
    let limit = Rlimit {
        current: least(before.current, current),
        maximum: least(before.maximum, maximum),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str, wall: Duration) -> CompilerProcess {
        CompilerProcess {
            arguments: vec!["-c".into(), line.into()],
            limits: CompileLimits {
                memory_bytes: 3 << 20,
                cpu: Duration::from_secs(7),
                wall,
                ..CompileLimits::default()
            },
        }
    }

    /// A child that runs a line of shell instead of a compiler.
    async fn child(line: &str) -> Result<usize, LoadError> {
        let settings = shell(line, Duration::from_mins(1));
        let artifact = compile_with("/bin/sh", &settings, &vec![0; 1 << 20]).await?;
        Ok(artifact.bytes())
    }

    #[tokio::test]
    async fn what_the_child_writes_is_the_machine_code() {
        assert_eq!(child("cat").await.unwrap(), 1 << 20);
        // Memory and time are its last arguments.
        assert_eq!(child("printf %s%s $0 $1").await.unwrap(), "31457287".len());
        assert_eq!(
            child("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= || true")
                .await
                .unwrap(),
            0
        );
    }

    #[tokio::test]
    async fn what_the_component_does_is_its_fault() {
        for (line, says) in [
            ("echo 'component: bad magic' >&2; exit 1", "bad magic"),
            (
                "echo 'component: out of memory' >&2; exit 1",
                "more than 3 MiB of memory",
            ),
            (
                "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
                "more than 3 MiB of memory",
            ),
            ("kill -XCPU $$", "more than 7 s of processor time"),
            ("kill -SEGV $$", "gave up"),
            ("exit 101", "gave up"),
            ("head -c 600000000 /dev/zero", "more than 512 MiB"),
        ] {
            let error = child(line).await.unwrap_err();
            assert!(matches!(error, LoadError::Compile(_)), "{line}: {error:?}");
            assert!(error.to_string().contains(says), "{line}: {error}");
        }
    }

    #[tokio::test]
    async fn what_happens_to_the_child_is_the_hosts_trouble() {
        for line in [
            "echo 'host: no engine' >&2; exit 1",
            "kill -TERM $$",
            "kill -KILL $$",
        ] {
            let error = child(line).await.unwrap_err();
            assert!(
                matches!(error, LoadError::Unavailable(_)),
                "{line}: {error:?}"
            );
        }
        let slow = shell("exec sleep 600", Duration::from_millis(100));
        let late = compile_with("/bin/sh", &slow, b"").await.map(|_| ());
        assert!(matches!(late, Err(LoadError::Unavailable(_))), "{late:?}");
        let missing = compile_with("/nonexistent/compiler", &slow, b"")
            .await
            .map(|_| ());
        assert!(
            matches!(missing, Err(LoadError::Unavailable(_))),
            "{missing:?}"
        );
    }

    #[tokio::test]
    async fn a_child_whose_caller_goes_away_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let line = format!("echo $$ > {}; exec sleep 600", file.display());
        let caller = tokio::spawn(async move { child(&line).await });
        let pid = loop {
            let pid = std::fs::read_to_string(&file).unwrap_or_default();
            if pid.ends_with('\n') {
                break pid.trim().to_owned();
            }
            tokio::task::yield_now().await;
        };
        caller.abort();
        // Reaped too: nothing is left of it.
        while std::path::Path::new("/proc").join(&pid).exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
