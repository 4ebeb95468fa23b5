//! `stepseal compile-worker`: the process in which hosts and commands compile what they were given. Not for people.

use clap::Args;

use super::{Answer, Context};

/// Compile the component on stdin to machine code on stdout, for this very program.
#[derive(Args, Debug)]
pub(super) struct CompileWorker {
    /// Bytes of memory it may take.
    memory_bytes: u64,
    /// Seconds of processor time it may take.
    cpu_seconds: u64,
}

impl CompileWorker {
    #[expect(clippy::unnecessary_wraps, reason = "subcommands are run alike")]
    pub(super) fn run(self, _: &Context) -> anyhow::Result<Answer> {
        match stepseal_sandbox::compile_stdin(self.memory_bytes, self.cpu_seconds) {
            Ok(()) => Ok(Answer::Yes),
            Err(error) => {
                // For the other end, not for people.
                eprint!("{error}");
                Ok(Answer::No)
            }
        }
    }
}
