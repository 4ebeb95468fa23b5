//! `stepseal receipt get`: the file that proves a task's records.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::output::bytes;
use super::{Answer, Context, files, task};

/// Receipts of tasks.
#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Download the receipt of a task.
    #[command(
        after_help = "Example:\n  stepseal receipt get 0197f3c2-… --out payment.stepseal.json\n  \
        stepseal verify payment.stepseal.json --trust trust.json"
    )]
    Get(Get),
}

/// What `receipt get` is given.
#[derive(Args, Debug)]
pub(super) struct Get {
    /// The task's id.
    task: String,
    /// Where to put it; `-` is stdout. Default: <task>.stepseal.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
    /// Leave the payloads out: the receipt proves what ran and when, and shows no inputs and outputs.
    #[arg(long)]
    no_payloads: bool,
}

impl Receipt {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let Self::Get(command) = self;
        command.run(context)
    }
}

impl Get {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let rest = if self.no_payloads {
            "/receipt?payloads=false"
        } else {
            "/receipt"
        };
        let receipt = client.bytes(&task::path(&self.task, rest))?;
        // The id names a task the host knows, so it is a harmless file name; anything else got no receipt.
        let out = self
            .out
            .unwrap_or_else(|| PathBuf::from(format!("{}.stepseal.json", self.task)));
        if out == Path::new("-") {
            context.output.bytes(&receipt)?;
            return Ok(Answer::Yes);
        }
        files::write(&out, &receipt, self.force)?;
        context.output.result(
            &serde_json::json!({ "file": out.display().to_string(), "bytes": receipt.len() }),
            || format!("{} ({})", out.display(), bytes(receipt.len() as u64)),
        )?;
        Ok(Answer::Yes)
    }
}
