//! `stepseal keys trust`: the public keys a verifier must believe.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Answer, Context, files};

/// Keys of the host.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Write the trust file: the public keys a verifier of this host's receipts must believe.
    #[command(after_help = "Example:\n  stepseal keys trust --out trust.json\n\n\
        Give it to verifiers by a way they trust; a trust file that comes with the receipt proves nothing.")]
    Trust(Trust),
}

/// What `keys trust` is given.
#[derive(Args, Debug)]
pub(super) struct Trust {
    /// Where to put it. Default: stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

impl Keys {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let Self::Trust(command) = self;
        let trust = context.client()?.bytes("/v1/trust")?;
        match command.out {
            Some(out) => files::write(&out, &trust, command.force)?,
            None => context.output.bytes(&trust)?,
        }
        Ok(Answer::Yes)
    }
}
