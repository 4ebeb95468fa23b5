//! `stepseal receipt`: the file that proves a task's records, and its way to other tools and back.

mod export;
mod import;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::note::Note;

use super::output::bytes;
use super::{Answer, Context, files, task, verify};

/// Receipts of tasks.
#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Download the receipt of a task.
    #[command(
        after_help = "Example:\n  stepseal receipt get 0197f3c2-… --out payment.stepseal.json\n  \
        stepseal verify payment.stepseal.json --trust trust.json"
    )]
    Get(Get),
    /// Write a receipt's records for tools that know nothing of Stepseal: tlog-proofs, Sigstore bundles, DSSE lines.
    ///
    /// A tlog-proof and a bundle prove one record, so there is a file for each, or one with --record. Nothing is verified but
    /// what a bundle needs: whose checkpoint it is, and which key signed.
    #[command(
        after_help = "Example:\n  stepseal receipt export payment.stepseal.json --format sigstore-bundle --trust trust.json --out bundles\n  \
        stepseal receipt export payment.stepseal.json --format tlog-proof --record 20"
    )]
    Export(export::Export),
    /// Make a receipt of tlog-proofs or Sigstore bundles that `receipt export` wrote.
    ///
    /// It has the records, their proofs and the checkpoint as they were. Payloads, approvers' envelopes and consistency proofs
    /// have no place in these forms, and a receipt without a needed one does not verify. DSSE lines hold no proof and cannot
    /// be imported.
    #[command(
        after_help = "Example:\n  stepseal receipt import bundles/*.sigstore.json --out payment.stepseal.json\n  \
        stepseal verify payment.stepseal.json --trust trust.json"
    )]
    Import(import::Import),
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
    /// The checkpoint of the log that you saw last: the receipt then proves that the log only grew since.
    #[arg(long, value_name = "FILE")]
    last_seen: Option<PathBuf>,
}

impl Receipt {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Get(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Import(command) => command.run(context),
        }
    }
}

impl Get {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let payloads = !self.no_payloads;
        let mut rest = format!("/receipt?payloads={payloads}");
        if let Some(file) = &self.last_seen {
            let note = verify::read_checkpoint(file)?;
            let checkpoint = Note::parse(&note)
                .map_err(anyhow::Error::from)
                .and_then(|note| Ok(Checkpoint::from_text(&note.text)?))
                .with_context(|| format!("{} is not a checkpoint", file.display()))?;
            rest = format!("{rest}&seen={}", checkpoint.size);
        }
        let receipt = client.bytes(&task::path(&self.task, &rest))?;
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
