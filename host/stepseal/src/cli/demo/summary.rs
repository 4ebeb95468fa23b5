//! A pure task: what this workspace is made of, by two chained jq steps over the output of `cargo metadata`.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::super::files;
use super::super::output::{bytes, one_line};
use super::story::Story;
use super::tasks::{Teller, succeeded};

/// Bytes of metadata a host takes in one submission, with room for the plan around it.
const METADATA_BYTES_MAX: usize = (8 << 20) - (64 << 10);

/// Every package with what matters of it.
const PACKAGES: &str = ".packages | map({name, version, license: (.license // \"none\"), needs: (.dependencies | length), ours: (.source == null)})";
/// The whole in a few numbers.
const SUMMARY: &str = "{packages: length, ours: (map(select(.ours)) | length), \
    licences: (group_by(.license) | map({license: .[0].license, packages: length}) | sort_by(-.packages) | .[:2]), \
    neediest: (max_by(.needs) | {name, version, needs})}";

/// What `cargo metadata` said.
pub(super) struct Metadata {
    value: Value,
    bytes: usize,
}

/// Reads the metadata of a file, or asks cargo.
pub(super) fn metadata(file: Option<&Path>, story: &Story) -> anyhow::Result<Metadata> {
    let text = if let Some(file) = file {
        files::read(file, "the metadata", files::DOCUMENT_BYTES_MAX)?
    } else {
        let _busy = story.busy("cargo metadata");
        ask_cargo()?
    };
    ensure!(
        text.len() <= METADATA_BYTES_MAX,
        "the metadata has {} bytes, more than a host takes: run the demo in a smaller workspace, or give it --metadata",
        text.len()
    );
    let value = serde_json::from_slice(&text).context("the metadata is not JSON")?;
    Ok(Metadata {
        value,
        bytes: text.len(),
    })
}

fn cargo(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let run = Command::new(cargo).args(arguments).output().context(
        "cargo cannot be run; give the demo the output of `cargo metadata` with --metadata",
    )?;
    if !run.status.success() {
        bail!(
            "cargo {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&run.stderr).trim()
        );
    }
    Ok(run.stdout)
}

fn ask_cargo() -> anyhow::Result<Vec<u8>> {
    // For this machine only: cargo would ask the network for what other platforms need.
    let version = String::from_utf8(cargo(&["-vV"])?)?;
    let platform = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("cargo -vV names no host")?;
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        platform,
    ];
    // Building fetched nearly all of it; what only tests need may still have to be fetched by cargo.
    cargo(&[&arguments[..], &["--offline"]].concat()).or_else(|_| cargo(&arguments))
}

pub(super) fn tell(
    teller: &Teller,
    metadata: &Metadata,
    story: &mut Story,
) -> anyhow::Result<String> {
    let submission = json!({
        "plan": { "steps": [
            { "id": "packages", "uses": "jq/filter", "with": { "filter": PACKAGES, "document": { "$ref": "#/input" } } },
            { "id": "summary", "uses": "jq/filter",
              "with": { "filter": SUMMARY, "document": { "$ref": "#/steps/packages/output/result" } } },
        ]},
        "input": metadata.value,
        "agent": "treasury-bot",
    });
    let task = {
        let _busy = story.busy("two jq steps over the metadata");
        let (_, task) = teller.run_submission(&submission, None)?;
        if task.state.is_final() {
            task
        } else {
            teller.finish(&task.id)?
        }
    };
    succeeded(&task)?;
    let summary = task
        .steps
        .last()
        .and_then(|step| step.output.as_ref())
        .context("the summary has no output")?;
    let summary = &summary["result"];
    let packages = metadata.value["packages"]
        .as_array()
        .context("the metadata has no packages")?;
    let ours = packages
        .iter()
        .filter(|package| package["source"].is_null())
        .count();
    ensure!(
        summary["packages"] == packages.len(),
        "jq counts {} packages of {}",
        summary["packages"],
        packages.len()
    );
    ensure!(
        summary["ours"] == ours,
        "jq counts {} packages of ours of {ours}",
        summary["ours"]
    );
    let text = |value: &Value| one_line(value.as_str().unwrap_or("?")).into_owned();
    let licence = &summary["licences"][0];
    let neediest = &summary["neediest"];
    story.line(&format!(
        "cargo metadata of this workspace ({}) goes through two chained jq steps; being pure, they need nobody's leave:",
        bytes(metadata.bytes as u64)
    ))?;
    story.line(&format!(
        "  {} packages, {ours} of them here; {} are under {}; {} {} asks for the most others ({})",
        packages.len(),
        licence["packages"],
        text(&licence["license"]),
        text(&neediest["name"]),
        text(&neediest["version"]),
        neediest["needs"]
    ))?;
    Ok(task.id)
}
