//! Compiling in a process of its own. Hostile bytes can make a compiler take any amount of memory and time, or crash it; and what
//! it took, this process would keep.
//!
//! The component goes to the child's stdin, machine code comes from its stdout, and what is wrong with the component from its
//! stderr. Both ends are here, and both must be the same program: the parent runs what the child sends.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

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

/// Compiles in a child process, which is killed when the future is dropped.
pub(crate) async fn compile(
    settings: &CompilerProcess,
    component: &[u8],
) -> Result<Artifact, LoadError> {
    let limits = &settings.limits;
    let mut child = Command::new(&settings.program)
        .args(&settings.arguments)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.cpu.as_secs().to_string())
        // Nothing of the host's, such as a token, is the compiler's business.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    match timeout(limits.wall, talk(&mut child, component)).await {
        Ok(Ok((status, code, complaint))) => judge(status, code, &complaint, limits),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(refused(&format!(
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
        receive(stdout, ARTIFACT_BYTES_MAX),
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
    if status.success() && code.len() as u64 >= ARTIFACT_BYTES_MAX {
        return Err(refused(&format!(
            "its machine code has more than {} MiB",
            ARTIFACT_BYTES_MAX >> 20
        )));
    }
    if status.success() {
        return Ok(Artifact::of_child(code));
    }
    let signal = status.signal().and_then(Signal::from_named_raw);
    // Wasmtime's words for an allocation that failed, and Rust's before it aborts.
    let starved = ["out of memory", "memory allocation of"];
    Err(match signal {
        None | Some(Signal::ABORT) if starved.iter().any(|words| complaint.starts_with(words)) => {
            refused(&format!(
                "it takes more than {} MiB of memory",
                limits.memory_bytes >> 20
            ))
        }
        None if status.code() == Some(1) => LoadError::Compile(message(complaint.into_owned())),
        Some(Signal::XCPU | Signal::KILL) => refused(&format!(
            "it takes more than {} of processor time",
            seconds(limits.cpu)
        )),
        _ => {
            tracing::warn!(%status, %complaint, "the compiler crashed on an upload");
            refused(&format!("the compiler gave up on it ({status})"))
        }
    })
}

fn refused(why: &str) -> LoadError {
    LoadError::Compile(why.to_owned())
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// The child's end: compiles the component on stdin under limits of memory (bytes) and processor time (seconds), and writes its
/// machine code to stdout. An error is to be told on stderr, with exit code 1.
pub fn compile_stdin(memory_bytes: u64, cpu_seconds: u64) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    confine(memory_bytes, cpu_seconds).map_err(|error| told(&error))?;
    let mut component = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut component)
        .map_err(|error| told(&error))?;
    let engine = config::compiler().map_err(|error| told(&error))?;
    let artifact = match Artifact::compile(&engine, &component) {
        Ok(artifact) => artifact,
        Err(LoadError::Compile(reason)) => return Err(reason),
        Err(other) => return Err(told(&other)),
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(artifact.code())
        .and_then(|()| stdout.flush())
        .map_err(|error| told(&error))
}

/// Gives up what the compiler does not need, before the first byte is read.
fn confine(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let limit = |current, maximum| Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    rustix::process::setrlimit(Resource::As, limit(memory_bytes, memory_bytes))?;
    rustix::process::setrlimit(Resource::Cpu, limit(cpu_seconds, cpu_seconds + 1))?;
    rustix::process::setrlimit(Resource::Core, limit(0, 0))?;
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A child that runs a line of shell instead of a compiler.
    async fn child(line: &str) -> Result<usize, String> {
        let settings = CompilerProcess {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".into(), line.into()],
            limits: CompileLimits {
                memory_bytes: 3 << 20,
                cpu: Duration::from_secs(7),
                wall: Duration::from_mins(1),
            },
        };
        compile(&settings, &vec![0; 1 << 20])
            .await
            .map(|artifact| artifact.bytes())
            .map_err(|error| error.to_string())
    }

    async fn refusal(line: &str) -> String {
        child(line).await.expect_err("it is refused")
    }

    #[tokio::test]
    async fn what_the_child_writes_is_the_machine_code() {
        assert_eq!(child("cat").await, Ok(1 << 20));
        // Memory and time are its last arguments.
        assert_eq!(child("printf %s%s $0 $1").await, Ok("31457287".len()));
    }

    #[tokio::test]
    async fn every_way_a_child_can_end_is_told() {
        for (line, says) in [
            ("echo 'bad magic' >&2; exit 1", "bad magic"),
            (
                "echo out of memory >&2; exit 1",
                "more than 3 MiB of memory",
            ),
            (
                "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
                "more than 3 MiB of memory",
            ),
            ("kill -XCPU $$", "more than 7 s of processor time"),
            ("kill -KILL $$", "more than 7 s of processor time"),
            ("kill -SEGV $$", "gave up"),
            ("exit 101", "gave up"),
        ] {
            let told = refusal(line).await;
            assert!(told.contains(says), "{line}: {told}");
        }
    }

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_given_up() {
        let settings = CompilerProcess {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".into(), "exec sleep 600".into()],
            limits: CompileLimits {
                wall: Duration::from_millis(100),
                ..CompileLimits::default()
            },
        };
        let error = compile(&settings, b"").await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    #[tokio::test]
    async fn a_compiler_that_is_not_there_is_an_error() {
        let settings = CompilerProcess {
            program: PathBuf::from("/nonexistent/compiler"),
            arguments: Vec::new(),
            limits: CompileLimits::default(),
        };
        let error = compile(&settings, b"").await.map(|_| ()).unwrap_err();
        assert!(matches!(error, LoadError::Io(_)), "{error}");
    }
}
