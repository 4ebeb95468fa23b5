//! `stepseal replay`: runs the steps of a receipt again, asks its policies again, and compares.
//!
//! Clocks are virtual and randomness is seeded from the record, so a step gives the same output on every machine, and the
//! same fuel under the same engine. What a step asked of the world is answered from its transcript. A policy's seed and clock
//! follow from what it was shown.

mod compare;
mod components;
mod disclosed;
mod policy;
mod step;

use std::collections::BTreeSet;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use stepseal_receipts::receipt::{Receipt, ReceiptLimits};
use stepseal_receipts::record::{Kind, Record};
use stepseal_receipts::verify::{Options, verify};
use stepseal_sandbox::Sandbox;

use super::archive::{Archive, is_archive};
use super::output::one_line;
use super::runtime::{self, block_on};
use super::{Answer, Context, archive, client, files, verify as verification};
pub(super) use compare::Comparison;
pub(super) use components::{Components, fetch, needed};
pub(super) use policy::Rejudged;
pub(super) use step::Replayed;

/// Wall time of a replay is no matter of the record: this machine may be slower. Fuel bounds the run all the same.
const WALL_MIN: Duration = Duration::from_mins(1);
/// Why something was not run.
const NO_COMPONENT: &str = "its component is not here: give the directory it is in with --components, or --fetch it from a host";
/// Why something could not be compared.
const OUT_OF_TIME_HERE: &str = "this machine did not get it done in time";

/// Run the steps of a receipt again, ask its policies again, from what it discloses, and compare.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  stepseal replay summary.stepseal.json --components target/guests --trust trust.json\n  \
    stepseal receipt get 0197f3c2-… --with-components --out summary.stepseal.tar\n  \
    stepseal replay summary.stepseal.tar --trust trust.json\n\n\
    Exit code 0 only where nothing differed and at least one step gave its output again, or, where no step ran, one policy its verdict."
)]
pub(super) struct Replay {
    /// The receipt, or the archive that `receipt get --with-components` wrote.
    receipt: PathBuf,
    /// Directory with components; they are found by the digest of their bytes, not by name.
    #[arg(long, value_name = "DIR")]
    components: Option<PathBuf>,
    /// Get components that are not there from the host of --url or --data, by their digests, and check them.
    #[arg(long)]
    fetch: bool,
    /// Verify the receipt first, under this trust file.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let (receipt, mut components) = read(&self.receipt)?;
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
        if let Some(dir) = &self.components {
            components.add_directory(dir)?;
        }
        if self.fetch {
            let missing = components.missing(needed(&records));
            if !missing.is_empty() {
                let progress = context.output.progress("fetching components");
                let fetched = fetch(&context.client()?, &missing)?;
                progress.finish_and_clear();
                components.extend(fetched);
            }
        }
        let progress = context.output.progress("running the steps again");
        let again = block_on(async {
            let sandbox = runtime::sandbox(None)?;
            replay(&sandbox, &receipt, &records, &components).await
        });
        progress.finish_and_clear();
        let again = again?;
        let steps: Vec<Value> = again.steps.iter().map(Replayed::to_json).collect();
        let verdicts: Vec<Value> = again.verdicts.iter().map(Rejudged::to_json).collect();
        let same = again.is_same();
        let report = json!({ "file": file, "same": same, "steps": steps, "verdicts": verdicts });
        context.output.result(&report, || text(&file, &again))?;
        Ok(Answer::of(same))
    }
}

/// Reads a receipt, alone or with the components beside it.
fn read(path: &Path) -> anyhow::Result<(Receipt, Components)> {
    let mut input = files::open(path, "the receipt")?;
    let mut begin = Vec::new();
    (&mut input)
        .take(archive::BEGIN_BYTES)
        .read_to_end(&mut begin)
        .with_context(|| format!("the receipt {} cannot be read", path.display()))?;
    let archived = is_archive(&begin);
    let input = Cursor::new(begin).chain(input);
    let mut components = Components::default();
    let bytes = if archived {
        let archive = Archive::read(input)
            .with_context(|| format!("{} cannot be read as an archive", path.display()))?;
        components.extend(archive.components);
        archive.receipt
    } else {
        files::read_from(input, path, "the receipt", files::RECEIPT_BYTES_MAX)?
    };
    Ok((parse(&bytes, path)?, components))
}

pub(super) fn parse(bytes: &[u8], path: &Path) -> anyhow::Result<Receipt> {
    Receipt::parse(bytes, &ReceiptLimits::default())
        .with_context(|| format!("{} is not a receipt", path.display()))
}

/// Reads a receipt of a file.
pub(super) fn read_receipt(path: &Path) -> anyhow::Result<Receipt> {
    let bytes = files::read(path, "the receipt", files::RECEIPT_BYTES_MAX)?;
    parse(&bytes, path)
}

/// The records of a receipt, whoever signed them.
pub(super) fn records(receipt: &Receipt) -> anyhow::Result<Vec<(u64, Record)>> {
    let read = receipt.entries.iter().map(|entry| {
        let record = Record::parse(&entry.envelope.payload)
            .with_context(|| format!("record {} of the log", entry.index))?;
        Ok((entry.index, record))
    });
    read.collect()
}

/// What replaying a receipt came to.
pub(super) struct Again {
    /// Every attempt that ran, in the order of their records.
    pub(super) steps: Vec<Replayed>,
    /// Every verdict, in the order of their records.
    pub(super) verdicts: Vec<Rejudged>,
}

impl Again {
    /// Everything that was compared, or could not be.
    fn compared(&self) -> impl Iterator<Item = &Comparison> {
        let steps = self.steps.iter().flat_map(Replayed::compared);
        let verdicts = self.verdicts.iter().flat_map(Rejudged::compared);
        steps.chain(verdicts).map(|(_, comparison)| comparison)
    }

    fn differs(&self) -> bool {
        self.compared()
            .any(|comparison| matches!(comparison, Comparison::Differs(_)))
    }

    /// Whether nothing differed, and at least one step gave its output again; where no step ran, one policy its verdict.
    fn is_same(&self) -> bool {
        let proven = if self.steps.is_empty() {
            self.verdicts.iter().any(Rejudged::is_proven)
        } else {
            self.steps.iter().any(Replayed::is_proven)
        };
        proven && !self.differs()
    }
}

/// Runs again every step of `records` that ran and asks for every verdict again, in their order.
pub(super) async fn replay(
    sandbox: &Sandbox,
    receipt: &Receipt,
    records: &[(u64, Record)],
    components: &Components,
) -> anyhow::Result<Again> {
    let disclosed = disclosed::Disclosed::new(receipt);
    let authorized = records
        .iter()
        .filter(|(_, record)| record.kind == Kind::StepAuthorized)
        .filter_map(|(_, record)| record.step.as_ref())
        .map(|step| (step.id.as_str(), step.attempt));
    let authorized: BTreeSet<(&str, u32)> = authorized.collect();
    let mut again = Again {
        steps: Vec::new(),
        verdicts: Vec::new(),
    };
    for (index, record) in records {
        let index = *index;
        if let Some(ran) = step::Ran::of(index, record) {
            let ran = ran.authorized_by(&authorized);
            let step = ran.again(sandbox, &disclosed, components).await?;
            again.steps.push(step);
        }
        for verdict in &record.verdicts {
            let judged = policy::Judged {
                index,
                record,
                verdict,
            };
            let verdict = judged.again(sandbox, &disclosed, components).await?;
            again.verdicts.push(verdict);
        }
    }
    if again.steps.is_empty() && again.verdicts.is_empty() {
        bail!(
            "no step of this receipt ever ran and no policy was asked, so there is nothing to run again"
        );
    }
    Ok(again)
}

fn text(file: &str, again: &Again) -> String {
    let mut lines = vec![one_line(file).into_owned()];
    let mut tell = |title: &str, compared: &[(&str, &Comparison)]| {
        lines.push(format!("  {}", one_line(title)));
        for (name, comparison) in compared {
            let comparison = comparison.to_string();
            lines.push(format!("    {name:<9} {}", one_line(&comparison)));
        }
    };
    for step in &again.steps {
        tell(&step.title(), &step.compared());
    }
    for verdict in &again.verdicts {
        tell(&verdict.title(), &verdict.compared());
    }
    let unchecked = again
        .compared()
        .filter(|comparison| matches!(comparison, Comparison::NotChecked(_)))
        .count();
    lines.push(if again.differs() {
        "NOT the same: the record and the component do not belong together, or an engine is at fault".to_owned()
    } else if !again.is_same() {
        "nothing could be compared".to_owned()
    } else if unchecked == 0 {
        "the same again: anyone with these components gets these bytes".to_owned()
    } else {
        format!("the same again as far as it was compared; not checked: {unchecked}")
    });
    lines.join("\n")
}
