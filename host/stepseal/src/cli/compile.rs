//! `stepseal compile`: the process in which hosts and commands compile what they were given. Not for people.

use clap::Args;

use super::{Answer, Context};

/// Compile the component on stdin to machine code on stdout, for this very program.
#[derive(Args, Debug)]
pub(super) struct Compile {
    /// Bytes of memory it may take.
    memory_bytes: u64,
    /// Seconds of processor time it may take.
    cpu_seconds: u64,
}

impl Compile {
    #[expect(clippy::unnecessary_wraps, reason = "subcommands are run alike")]
    pub(super) fn run(self, _: &Context) -> anyhow::Result<Answer> {
        match stepseal_sandbox::compile_stdin(self.memory_bytes, self.cpu_seconds) {
            Ok(()) => Ok(Answer::Yes),
            Err(error) => {
                // As it is: the other end reads it, and it is a fault of the component.
                eprint!("{error}");
                Ok(Answer::No)
            }
        }
    }
}
