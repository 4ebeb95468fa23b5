//! `stepseal demo`: the whole of it once, against a real host, told as a story.
//!
//! It starts this same program as `serve` on an empty data directory and is from then on a client like any other.
//! Everything it tells is checked, and the first thing that is not so ends it with exit code 1.

mod crowd;
mod host;
mod payments;
mod proof;
mod setup;
mod story;
mod summary;
mod tasks;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{Answer, Context, files};
use host::Host;
use story::Story;
use tasks::Teller;

/// See it all once: a host, an agent that pays, a policy, a person, receipts, and their proof.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  stepseal demo --components target/guests --out target/demo\n\n\
    Run it in a Cargo workspace, or give it the output of `cargo metadata` with --metadata."
)]
pub(super) struct Demo {
    /// Directory with ledger.wasm, jq.wasm and spending-limit.wasm.
    #[arg(long, default_value = "target/guests", value_name = "DIR")]
    components: PathBuf,
    /// Where the receipts and the trust file are left.
    #[arg(long, default_value = "target/demo", value_name = "DIR")]
    out: PathBuf,
    /// Output of `cargo metadata --format-version 1`, instead of running it here.
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
}

/// The receipts that are left, by the name of their file.
#[derive(Clone, Debug)]
struct Kept {
    /// `allowed`, `approved`, `denied` or `summary`.
    name: &'static str,
    /// The receipt.
    path: PathBuf,
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let mut story = Story::new(context.output);
        fs::create_dir_all(&self.out)
            .with_context(|| format!("{} cannot be made", self.out.display()))?;
        let metadata = summary::metadata(self.metadata.as_deref(), &story)?;
        let mut host = Host::start(&story)?;
        let told = self.tell(&mut host, &metadata, &mut story);
        let (kept, trust) = told.map_err(|error| host.explain(error))?;
        proof::tell(&kept, &trust, &self.components, host.scratch(), &mut story)?;
        story.gap()?;
        let shown = self.out.display();
        story.line(&format!(
            "All of this happened just now. Yours: stepseal verify {shown}/approved.stepseal.json --trust {shown}/trust.json"
        ))?;
        let receipts: Vec<String> = kept
            .iter()
            .map(|kept| kept.path.display().to_string())
            .collect();
        story.end(&json!({ "receipts": receipts, "trust": trust.display().to_string() }))?;
        Ok(Answer::Yes)
    }

    /// What needs the host; it is stopped at the end.
    fn tell(
        &self,
        host: &mut Host,
        metadata: &summary::Metadata,
        story: &mut Story,
    ) -> anyhow::Result<(Vec<Kept>, PathBuf)> {
        let teller = Teller::new(host.client());
        story.line(
            "Stepseal: an agent pays, a policy watches, a person decides, a stranger checks.",
        )?;
        story.gap()?;
        setup::tell(&teller, &self.components, story)?;
        story.gap()?;
        let payments = payments::tell(&teller, story)?;
        crowd::tell(&teller, story)?;
        let summary = summary::tell(&teller, metadata, story)?;
        let told = [
            ("allowed", payments.allowed),
            ("approved", payments.approved),
            ("denied", payments.denied),
            ("summary", summary),
        ];
        let mut kept = Vec::new();
        for (name, task) in told {
            let receipt = teller.receipt(&task)?;
            kept.push(self.keep(name, &receipt)?);
        }
        let trust = self.out.join("trust.json");
        files::write(&trust, &teller.trust()?, true)?;
        host.stop(&teller)?;
        story.gap()?;
        story.line(&format!(
            "The host is stopped. Left are four receipts and a trust file in {}. Offline, from these files alone:",
            self.out.display()
        ))?;
        Ok((kept, trust))
    }

    fn keep(&self, name: &'static str, receipt: &[u8]) -> anyhow::Result<Kept> {
        let path: PathBuf = self
            .out
            .join(Path::new(name).with_extension("stepseal.json"));
        files::write(&path, receipt, true)?;
        Ok(Kept { name, path })
    }
}
