//! `stepseal log export`: the whole log as JSON lines (format §7).

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::log_export::Header;
use stepseal_receipts::note::Note;

use super::super::client::Client;
use super::super::output::{shown, thousands};
use super::super::{Answer, Context};
use super::checkpoint;

/// Entries asked for at one time: as many as a host gives.
const PAGE: u64 = 256;

/// Where the export goes.
#[derive(Args, Debug)]
pub(in crate::cli) struct Export {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let out = &self.out;
        if !self.force && out.exists() {
            bail!(
                "{} is there already: name another file with --out, or replace it with --force",
                out.display()
            );
        }
        let client = context.client()?;
        let note = checkpoint(&client)?;
        // Nothing of it is believed here: whoever reads the file verifies it.
        let size = Checkpoint::from_text(&Note::parse(&note)?.text)
            .context("the host's checkpoint cannot be read")?
            .size;
        // It has its name only once it is whole.
        let mut unfinished = out.clone().into_os_string();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let progress = context.output.progress_of("exporting", size);
        let written = write(&client, note, size, &unfinished, |entries| {
            progress.inc(entries);
        });
        progress.finish_and_clear();
        let renamed = written.and_then(|()| {
            fs::rename(&unfinished, out)
                .with_context(|| format!("{} cannot be written", out.display()))
        });
        if renamed.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        renamed?;
        let file = out.display().to_string();
        context
            .output
            .result(&json!({"file": file, "entries": size}), || {
                format!(
                    "{}: {} entries; check it: stepseal verify {} --trust FILE",
                    shown(&file),
                    thousands(size),
                    shown(&file)
                )
            })?;
        Ok(Answer::Yes)
    }
}

fn write(
    client: &Client,
    note: String,
    size: u64,
    path: &Path,
    advance: impl Fn(u64),
) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(failed)?);
    file.write_all(&Header { checkpoint: note }.to_line())
        .with_context(failed)?;
    let mut next = 0;
    while next < size {
        let limit = PAGE.min(size - next);
        let page = client.bytes(&format!("/v1/log/entries?from={next}&limit={limit}"))?;
        let entries = page.split_inclusive(|byte| *byte == b'\n').count() as u64;
        ensure!(
            entries == limit && page.ends_with(b"\n"),
            "the host gave {entries} entries of its log from index {next} on, and {limit} are expected"
        );
        file.write_all(&page).with_context(failed)?;
        next += entries;
        advance(entries);
    }
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).with_context(failed)
}
