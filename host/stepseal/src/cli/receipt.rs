//! `stepseal receipt`: the file that proves a task's records, and its way to other tools and back.

mod export;
mod import;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::note::Note;

use super::archive::Archive;
use super::client::Client;
use super::output::bytes;
use super::{Answer, Context, files, replay, task, verify};

/// Receipts of tasks.
#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Download the receipt of a task.
    #[command(
        after_help = "Example:\n  stepseal receipt get 0197f3c2-… --out payment.stepseal.json\n  \
        stepseal verify payment.stepseal.json --trust trust.json\n  \
        stepseal receipt get 0197f3c2-… --with-components --out payment.stepseal.tar\n  \
        stepseal replay payment.stepseal.tar --trust trust.json"
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
    #[command(flatten)]
    parts: Parts,
    /// The checkpoint of the log that you saw last: the receipt then proves that the log only grew since.
    #[arg(long, value_name = "FILE")]
    last_seen: Option<PathBuf>,
}

/// What is in the file besides records and proofs.
#[derive(Args, Debug)]
struct Parts {
    /// Leave the payloads out: the receipt proves what ran and when, and shows no inputs and outputs.
    #[arg(long)]
    no_payloads: bool,
    /// Keep the payloads in, as is the default.
    #[arg(long, conflicts_with = "no_payloads")]
    with_payloads: bool,
    /// Put the components that ran and judged beside the receipt: one tar archive that `replay` and `verify` read. Its
    /// default name ends in .stepseal.tar
    #[arg(long, conflicts_with = "no_payloads")]
    with_components: bool,
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
        let payloads = self.parts.with_payloads || !self.parts.no_payloads;
        let mut rest = format!("/receipt?payloads={payloads}");
        if let Some(path) = &self.last_seen {
            let note = verify::read_checkpoint(path)?;
            let checkpoint = Note::parse(&note)
                .map_err(anyhow::Error::from)
                .and_then(|note| Ok(Checkpoint::from_text(&note.text)?))
                .with_context(|| format!("{} is not a checkpoint", path.display()))?;
            rest = format!("{rest}&seen={}", checkpoint.size);
        }
        let mut file = client.bytes(&task::path(&self.task, &rest))?;
        if self.parts.with_components {
            file = archived(file, &client)?;
        }
        let extension = if self.parts.with_components {
            "tar"
        } else {
            "json"
        };
        // The id names a task the host knows, so it is a harmless file name; anything else got no receipt.
        let out = self
            .out
            .unwrap_or_else(|| PathBuf::from(format!("{}.stepseal.{extension}", self.task)));
        if out == Path::new("-") {
            context.output.bytes(&file)?;
            return Ok(Answer::Yes);
        }
        files::write(&out, &file, self.force)?;
        context.output.result(
            &serde_json::json!({ "file": out.display().to_string(), "bytes": file.len() }),
            || format!("{} ({})", out.display(), bytes(file.len() as u64)),
        )?;
        Ok(Answer::Yes)
    }
}

/// An archive of a receipt and of the components that a replay of it needs.
fn archived(receipt: Vec<u8>, client: &Client) -> anyhow::Result<Vec<u8>> {
    let parsed = replay::parse(&receipt, Path::new("what the host gave"))?;
    let needed = replay::needed(&replay::records(&parsed)?);
    let components = replay::fetch(client, &needed)?;
    if components.len() < needed.len() {
        bail!(
            "the host has only {} of the {} components that ran",
            components.len(),
            needed.len()
        );
    }
    Archive {
        receipt,
        components,
    }
    .to_bytes()
}
