//! `stepseal receipt import`: a receipt from what other tools keep.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use stepseal_receipts::export::{self, Proved};

use super::super::output::bytes;
use super::super::{Answer, Context, files};

/// What `receipt import` is given.
#[derive(Args, Debug)]
pub(in super::super) struct Import {
    /// tlog-proofs and Sigstore bundles of one task's records, under one checkpoint, in any order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where to put the receipt; default: stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
}

impl Import {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let proved: anyhow::Result<Vec<Proved>> =
            self.files.iter().map(|file| read(file)).collect();
        let receipt = export::gather(proved?)?;
        let records = receipt.entries.len();
        let receipt = receipt.to_json();
        let Some(out) = self.out.filter(|out| out != Path::new("-")) else {
            context.output.bytes(&receipt)?;
            return Ok(Answer::Yes);
        };
        files::write(&out, &receipt, self.force)?;
        context.output.result(
            &json!({ "file": out.display().to_string(), "bytes": receipt.len(), "records": records }),
            || {
                let size = bytes(receipt.len() as u64);
                format!("{} ({size}, {records} records, not verified)", out.display())
            },
        )?;
        Ok(Answer::Yes)
    }
}

fn read(file: &Path) -> anyhow::Result<Proved> {
    let bytes = files::read(file, "the proof", export::FILE_BYTES_MAX as u64)?;
    export::read(&bytes).with_context(|| format!("{} cannot be imported", file.display()))
}
