//! What a stranger does with the files: verifies, tries to cheat, and runs the steps again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{Check, Options, Outcome3, Report, verify_bytes};

use super::super::files;
use super::super::output::thousands;
use super::super::replay::{Comparison, Components, read_receipt, replay};
use super::super::runtime::{self, block_on};
use super::super::verify::{fault_text, read_trust, with_outcome};
use super::Kept;
use super::story::Story;

/// What a receipt of a closed task with its payloads must pass.
const PASSED: [&str; 5] = [
    "signatures",
    "chain",
    "inclusion",
    "completeness",
    "disclosure",
];
/// Characters of a fault that fit on a line.
const FAULT_CHARS_MAX: usize = 96;

/// Flips one byte of a receipt; `None` where there is none to flip.
type Flip = fn(&mut Value) -> Option<()>;

/// Where one byte is flipped, and the check that must notice.
const FLIPS: [(&str, Check, Flip); 5] = [
    ("record payload", Check::Signatures, |receipt| {
        flip_base64(receipt.pointer_mut("/entries/1/envelope/payload")?)
    }),
    ("signature", Check::Signatures, |receipt| {
        flip_base64(receipt.pointer_mut("/entries/1/envelope/signatures/0/sig")?)
    }),
    ("inclusion proof", Check::Inclusion, |receipt| {
        flip_base64(receipt.pointer_mut("/entries/1/proof/0")?)
    }),
    ("checkpoint", Check::Signatures, |receipt| {
        flip_root(receipt.pointer_mut("/checkpoint")?)
    }),
    ("disclosure", Check::Disclosure, |receipt| {
        flip_base64(receipt.pointer_mut("/disclosures/0/blob")?)
    }),
];

pub(super) fn tell(
    kept: &[Kept],
    trust: &Path,
    components: &Path,
    scratch: &Path,
    story: &mut Story,
) -> anyhow::Result<()> {
    let believed = read_trust(trust)?;
    for receipt in kept {
        let report = verify(&receipt.path, &believed)?;
        ensure!(
            report.passed(),
            "{} does not verify: {:?}",
            receipt.path.display(),
            report.faults
        );
        let passed = with_outcome(&report, Outcome3::Pass);
        ensure!(
            PASSED.iter().all(|check| passed.contains(check)),
            "{} passes {passed:?} only",
            receipt.path.display()
        );
        story.line(&format!(
            "  verify    {:<9} {} records: {} pass",
            receipt.name,
            report.records.len(),
            passed.join(", ")
        ))?;
    }
    let find = |name| {
        kept.iter()
            .find(|kept| kept.name == name)
            .with_context(|| format!("there is no receipt {name}"))
    };
    let approved = find("approved")?;
    story.line("One byte flipped in approved.stepseal.json, in five places:")?;
    cheat(&approved.path, &believed, scratch, story)?;
    story.line(
        "Run again from receipt and components, on clocks and randomness out of the record:",
    )?;
    run_again(&find("summary")?.path, &believed, components, story)?;
    run_again(&approved.path, &believed, components, story)
}

fn verify(path: &Path, trust: &TrustFile) -> anyhow::Result<Report> {
    let bytes = files::read(path, "the receipt", files::RECEIPT_BYTES_MAX)?;
    Ok(verify_bytes(&bytes, trust, &Options::default()))
}

fn cheat(path: &Path, trust: &TrustFile, scratch: &Path, story: &mut Story) -> anyhow::Result<()> {
    let honest: Value =
        serde_json::from_slice(&files::read(path, "the receipt", files::RECEIPT_BYTES_MAX)?)?;
    for (place, check, flip) in FLIPS {
        let mut forged = honest.clone();
        flip(&mut forged)
            .with_context(|| format!("the receipt has no {place} to flip a byte in"))?;
        ensure!(forged != honest, "nothing was flipped in the {place}");
        let file: PathBuf = scratch.join("forged.stepseal.json");
        files::write(&file, &serde_json::to_vec(&forged)?, true)?;
        let report = verify(&file, trust)?;
        ensure!(
            !report.passed(),
            "a receipt with a flipped byte in the {place} verifies"
        );
        let fault = report.faults.iter().find(|fault| fault.check == check);
        let fault = fault.with_context(|| {
            format!(
                "{check} did not notice the flipped byte in the {place}: {:?}",
                report.faults
            )
        })?;
        story.line(&format!(
            "  {place:<16} FAIL {}",
            clipped(&fault_text(fault))
        ))?;
    }
    Ok(())
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(FAULT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Flips the lowest bit of the byte in the middle of what a base64 text says.
fn flip_base64(text: &mut Value) -> Option<()> {
    let mut bytes = STANDARD.decode(text.as_str()?).ok()?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle)? ^= 1;
    *text = Value::String(STANDARD.encode(bytes));
    Some(())
}

/// Flips a bit of the root hash, the third line of a checkpoint.
fn flip_root(note: &mut Value) -> Option<()> {
    let mut lines: Vec<String> = note.as_str()?.split('\n').map(str::to_owned).collect();
    let mut root = Value::String(lines.get(2)?.clone());
    flip_base64(&mut root)?;
    root.as_str()?.clone_into(lines.get_mut(2)?);
    *note = Value::String(lines.join("\n"));
    Some(())
}

fn run_again(
    path: &Path,
    trust: &TrustFile,
    components: &Path,
    story: &mut Story,
) -> anyhow::Result<()> {
    let receipt = read_receipt(path)?;
    let report = verify(path, trust)?;
    let components = Components::read(components)?;
    let again = {
        let _busy = story.busy("running the steps again");
        block_on(async {
            let sandbox = runtime::sandbox(None)?;
            replay(&sandbox, &receipt, &report.records, &components).await
        })?
    };
    for verdict in &again.verdicts {
        check_same(&verdict.title(), &verdict.compared())?;
    }
    for step in &again.steps {
        check_same(&step.title(), &step.compared())?;
        let fuel = step.fuel_used.map(thousands).unwrap_or_default();
        story.line(&format!(
            "  replay    {:<9} {:<22} same status, same output digest, same fuel: {fuel}",
            step.id, step.uses
        ))?;
    }
    Ok(())
}

fn check_same(title: &str, compared: &[(&str, &Comparison)]) -> anyhow::Result<()> {
    for (what, comparison) in compared {
        ensure!(
            **comparison == Comparison::Same,
            "the {what} of {title}: {comparison}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flip_changes_one_bit_of_what_is_encoded() {
        let mut text = json!(STANDARD.encode([0, 0, 0]));
        flip_base64(&mut text).unwrap();
        assert_eq!(STANDARD.decode(text.as_str().unwrap()).unwrap(), [0, 1, 0]);
        assert!(flip_base64(&mut json!("")).is_none());
        assert!(flip_base64(&mut json!(1)).is_none());
    }

    #[test]
    fn the_root_of_a_checkpoint_is_flipped_and_nothing_else() {
        let root = STANDARD.encode([0; 32]);
        let mut note = json!(format!("origin\n1\n{root}\n\n- origin sig\n"));
        flip_root(&mut note).unwrap();
        let mut flipped = [0; 32];
        flipped[16] = 1;
        assert_eq!(
            note,
            json!(format!(
                "origin\n1\n{}\n\n- origin sig\n",
                STANDARD.encode(flipped)
            ))
        );
    }
}
