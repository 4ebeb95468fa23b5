//! `stepseal replay`: runs the steps of a receipt again and compares.
//!
//! Clocks are virtual and randomness is seeded from the record, so a step gives the same output on every machine, and the
//! same fuel under the same engine. What a step asked of the world is answered from its transcript.

mod components;
mod step;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::record::Record;
use stepseal_receipts::verify::{Options, verify};
use stepseal_sandbox::Sandbox;

use super::output::one_line;
use super::runtime::{self, block_on};
use super::{Answer, Context, files, verify as verification};
pub(super) use components::Components;
pub(super) use step::{Comparison, Replayed};

/// Run the steps of a receipt again, from its disclosed inputs, and compare.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  stepseal replay summary.stepseal.json --components target/guests --trust trust.json\n\n\
    Exit code 0 only where at least one step was run again and nothing differed."
)]
pub(super) struct Replay {
    /// The receipt.
    receipt: PathBuf,
    /// Directory with the components; they are found by the digest of their bytes, not by name.
    #[arg(long, value_name = "DIR")]
    components: PathBuf,
    /// Verify the receipt first, under this trust file.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let receipt = read_receipt(&self.receipt)?;
        let file = self.receipt.display().to_string();
        if !receipt.erased.is_empty() {
            bail!(
                "{file}: {} records of the task were erased, and what they said cannot be run again",
                receipt.erased.len()
            );
        }
        let records = match &self.trust {
            None => {
                context
                    .output
                    .note("note: the receipt itself was not verified; give --trust to know who signed these records");
                records(&receipt)?
            }
            Some(trust) => {
                let options = Options {
                    allow_open: true,
                    ..Options::default()
                };
                let report = verify(&receipt, &verification::read_trust(trust)?, &options);
                if !report.passed() {
                    context
                        .output
                        .result(&verification::to_json(&file, &report), || {
                            let report = verification::to_text(&file, &report);
                            format!("{report}\nnothing was run: the receipt does not verify")
                        })?;
                    return Ok(Answer::No);
                }
                report.records
            }
        };
        let components = Components::read(&self.components)?;
        let progress = context.output.progress("running the steps again");
        let replayed = block_on(async {
            let sandbox = runtime::sandbox(None)?;
            replay(&sandbox, &receipt, &records, &components).await
        });
        progress.finish_and_clear();
        let replayed = replayed?;
        let items: Vec<Value> = replayed.iter().map(Replayed::to_json).collect();
        let same = is_same(&replayed);
        let report = json!({ "file": file, "same": same, "steps": items });
        context.output.result(&report, || text(&file, &replayed))?;
        Ok(Answer::of(same))
    }
}

/// Reads a receipt of a file.
pub(super) fn read_receipt(path: &Path) -> anyhow::Result<Receipt> {
    let bytes = files::read(path, "the receipt", files::RECEIPT_BYTES_MAX)?;
    Receipt::parse(&bytes, &ReceiptLimits::default())
        .with_context(|| format!("{} is not a receipt", path.display()))
}

/// The records of a receipt, whoever signed them.
fn records(receipt: &Receipt) -> anyhow::Result<Vec<(u64, Record)>> {
    let read = receipt.entries.iter().map(|entry| {
        let record = Record::parse(&entry.envelope.payload)
            .with_context(|| format!("record {} of the log", entry.index))?;
        Ok((entry.index, record))
    });
    read.collect()
}

/// Runs again every step of `records` that ran, in their order.
pub(super) async fn replay(
    sandbox: &Sandbox,
    receipt: &Receipt,
    records: &[(u64, Record)],
    components: &Components,
) -> anyhow::Result<Vec<Replayed>> {
    let disclosed = step::Disclosed::new(receipt);
    let mut replayed = Vec::new();
    for (index, record) in records {
        if let Some(ran) = step::Ran::of(*index, record) {
            replayed.push(ran.again(sandbox, &disclosed, components).await?);
        }
    }
    if replayed.is_empty() {
        bail!("no step of this receipt ever ran, so there is nothing to run again");
    }
    Ok(replayed)
}

/// Whether nothing differed, and at least one step ended as its record says with the output its record says.
pub(super) fn is_same(replayed: &[Replayed]) -> bool {
    let proven =
        |step: &Replayed| step.status == Comparison::Same && step.output == Comparison::Same;
    replayed.iter().all(|step| !step.differs()) && replayed.iter().any(proven)
}

fn text(file: &str, replayed: &[Replayed]) -> String {
    let mut lines = vec![one_line(file).into_owned()];
    for step in replayed {
        lines.push(format!(
            "  {} attempt {}: {} {}",
            one_line(&step.id),
            step.attempt,
            one_line(&step.uses),
            one_line(&step.component)
        ));
        let compared = [
            ("status", &step.status),
            ("output", &step.output),
            ("fuel", &step.fuel),
        ];
        for (name, comparison) in compared {
            lines.push(format!(
                "    {name:<7} {}",
                one_line(&comparison.to_string())
            ));
        }
    }
    lines.push(if is_same(replayed) {
        "the same again: anyone with these components gets these bytes".to_owned()
    } else if replayed.iter().any(Replayed::differs) {
        "NOT the same: the record and the component do not belong together, or an engine is at fault".to_owned()
    } else {
        "nothing could be compared".to_owned()
    });
    lines.join("\n")
}
