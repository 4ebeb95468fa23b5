//! `stepseal receipt export`: a receipt's records for tools that know nothing of Stepseal.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;
use stepseal_receipts::export::sigstore::{BundleError, Bundles};
use stepseal_receipts::export::{dsse_lines, tlog_proof};
use stepseal_receipts::receipt::Entry;

use super::super::replay::read_receipt;
use super::super::verify::read_trust;
use super::super::{Answer, Context, Usage, files};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// C2SP tlog-proof: index, audit path and checkpoint as text, the envelope as its `extra`. One file a record.
    TlogProof,
    /// Sigstore bundle v0.3; its keys are those of `keys trust --format sigstore-trusted-root` and `sigstore-keys`. One file a record.
    SigstoreBundle,
    /// The DSSE envelopes alone, one a line. One file, from which no receipt can be made again.
    DsseJsonl,
}

impl Form {
    /// What follows the index in the name of a record's file.
    fn extension(self) -> &'static str {
        match self {
            Self::TlogProof => "tlog-proof",
            Self::SigstoreBundle => "sigstore.json",
            Self::DsseJsonl => "jsonl",
        }
    }
}

/// What `receipt export` is given.
#[derive(Args, Debug)]
pub(in super::super) struct Export {
    /// The receipt.
    file: PathBuf,
    /// The form of the other tools.
    #[arg(long, value_name = "FORMAT")]
    format: Form,
    /// Only the record at this index of the log, as the receipt's `index` has it.
    #[arg(long, value_name = "INDEX")]
    record: Option<u64>,
    /// The trust file; a bundle holds the key that signed, and a receipt has no keys.
    #[arg(long, value_name = "FILE", required_if_eq("format", "sigstore-bundle"))]
    trust: Option<PathBuf>,
    /// Where to put it. One record and DSSE lines are one file; default: stdout. Otherwise a directory for <index>.tlog-proof or
    /// <index>.sigstore.json, which is made where it is missing.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let mut receipt = read_receipt(&self.file)?;
        let trust = self.trust.as_deref().map(read_trust).transpose()?;
        if let Some(index) = self.record {
            receipt.entries.retain(|entry| entry.index == index);
            anyhow::ensure!(
                !receipt.entries.is_empty(),
                "{} has no record at index {index} of the log",
                self.file.display()
            );
        }
        if self.record.is_none() && !receipt.erased.is_empty() {
            anyhow::bail!(
                "{} has {} erased entries, for which these forms have no place: name a record that is there with --record",
                self.file.display(),
                receipt.erased.len()
            );
        }
        let bundles = match (self.format, &trust) {
            (Form::SigstoreBundle, Some(trust)) => Some(Bundles::new(&receipt.checkpoint, trust)?),
            _ => None,
        };
        let proof = |entry: &Entry| match &bundles {
            Some(bundles) => bundles.bundle(entry),
            None => Ok(tlog_proof::write(&receipt.checkpoint, entry)),
        };
        let written = if self.format == Form::DsseJsonl {
            self.one(context, &dsse_lines::write(&receipt))?
        } else if self.record.is_some() {
            self.one(context, &proof(&receipt.entries[0])?)?
        } else {
            self.many(&receipt.entries, proof)?
        };
        if !written.is_empty() {
            let shown: Vec<String> = written
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let text = shown.join("\n");
            context.output.result(&json!({ "files": shown }), || text)?;
        }
        Ok(Answer::Yes)
    }

    /// One file, or stdout.
    fn one(&self, context: &Context, bytes: &[u8]) -> anyhow::Result<Vec<PathBuf>> {
        let Some(out) = self.out.as_deref().filter(|out| *out != Path::new("-")) else {
            context.output.bytes(bytes)?;
            return Ok(Vec::new());
        };
        files::write(out, bytes, self.force)?;
        Ok(vec![out.to_owned()])
    }

    /// A file for each record in a directory. None is written where one cannot be made.
    fn many(
        &self,
        entries: &[Entry],
        proof: impl Fn(&Entry) -> Result<Vec<u8>, BundleError>,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let Some(directory) = self.out.as_deref().filter(|out| *out != Path::new("-")) else {
            let usage = "this form is one file a record: name a directory with --out, or one record with --record";
            return Err(Usage(usage.to_owned()).into());
        };
        let proofs: Result<Vec<Vec<u8>>, BundleError> = entries.iter().map(proof).collect();
        let proofs = proofs?;
        fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let mut written = Vec::new();
        for (entry, proof) in entries.iter().zip(proofs) {
            let name = format!("{}.{}", entry.index, self.format.extension());
            let path = directory.join(name);
            files::write(&path, &proof, self.force)?;
            written.push(path);
        }
        Ok(written)
    }
}
