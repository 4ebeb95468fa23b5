//! `stepseal verify`: checks receipts and exports of whole logs offline. It asks no host and no network.

mod whole_log;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::log_export::{Header, LINE_BYTES_MAX};
use stepseal_receipts::record::Record;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{
    Check, Cosigned, Fault, LogReport, Options, Outcome3, Pins, Report, Verdicts, verify_bytes,
};
use stepseal_receipts::witness_policy::{POLICY_BYTES_MAX, WitnessPolicy};

use super::archive::{self, Archive};
use super::output::{one_line, shown};
use super::{Answer, Context, files, keys};

/// Verify receipts and whole logs offline, under a trust file.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  stepseal verify *.stepseal.json --trust trust.json\n\n\
    Exit code 0 only where every file passes. A log is what `stepseal log export` writes. The trust file must come to you by a way you trust."
)]
pub(super) struct Verify {
    /// Receipts, alone or with components in an archive, or exports of whole logs.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The public keys you believe: the host's trust file.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Believe it only where a root key that you believe signed it, in FILE.sig beside it: the key as `keys root init` printed it, or an
    /// older trust file that lists root keys.
    #[arg(long, value_name = "SPKI|FILE")]
    trust_root: Option<String>,
    /// Accept the receipt of a task that goes on: its later records are unproven.
    #[arg(long)]
    allow_open: bool,
    /// Accept a receipt whose records were erased, as far as it can say something: that they were there, and not what they said.
    #[arg(long)]
    allow_erased: bool,
    /// The checkpoint of the log that you saw last: the log must have only grown since.
    #[arg(long, value_name = "FILE")]
    last_seen: Option<PathBuf>,
    /// Who must have cosigned the log's head: a C2SP tlog-policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What may have run and who may have judged: `component=sha256:...` or `policy=sha256:...`, as often as needed. With
    /// pinned components every step that ran used one of them; with pinned policies one of them judged every step before it
    /// ran, and no other had a say.
    #[arg(long = "pin", value_name = "WHAT=DIGEST")]
    pins: Vec<Pin>,
}

/// One `--pin`.
#[derive(Clone, Copy, Debug)]
enum Pin {
    Component(Digest),
    Policy(Digest),
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, digest) = text.split_once('=').unwrap_or((text, ""));
        let pin = match what {
            "component" => Self::Component,
            "policy" => Self::Policy,
            _ => return Err("write component=sha256:... or policy=sha256:...".to_owned()),
        };
        digest.parse().map(pin).map_err(|error| format!("{error}"))
    }
}

/// What was found in one file.
enum Found {
    Receipt(Box<Report>),
    Log(Box<LogReport>),
}

impl Found {
    fn passed(&self) -> bool {
        match self {
            Self::Receipt(report) => report.passed(),
            Self::Log(report) => report.passed(),
        }
    }

    fn to_json(&self, file: &str) -> Value {
        match self {
            Self::Receipt(report) => to_json(file, report),
            Self::Log(report) => whole_log::to_json(file, report),
        }
    }

    fn to_text(&self, file: &str) -> String {
        match self {
            Self::Receipt(report) => to_text(file, report),
            Self::Log(report) => whole_log::to_text(file, report),
        }
    }
}

/// Bytes of a checkpoint file.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 20;

/// What a pass means and what it does not.
const MEANING: &str = "\
A pass means: the holders of the trusted keys signed exactly these records, in this order, and their log holds each at the place
shown. It does not mean that the host's clock was right, that inputs were true, or that the log shows everyone the same:
for that compare checkpoints (--last-seen) and ask for witnesses (--policy). To see that a pure step does give this output: stepseal replay.";

impl Verify {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let trust = match &self.trust_root {
            Some(root) => keys::root::read_vouched(&self.trust, root)?,
            None => read_trust(&self.trust)?,
        };
        let options = Options {
            allow_open: self.allow_open,
            allow_erased: self.allow_erased,
            last_seen: self.last_seen.as_deref().map(read_checkpoint).transpose()?,
            witnesses: self.policy.as_deref().map(read_policy).transpose()?,
            pins: self.pins(),
        };
        let files: anyhow::Result<Vec<(String, Found)>> = self
            .files
            .iter()
            .map(|file| {
                Ok((
                    file.display().to_string(),
                    check(file, &trust, &options, context)?,
                ))
            })
            .collect();
        let files = files?;
        let items = files.iter().map(|(file, found)| found.to_json(file));
        let value = json!({ "items": items.collect::<Vec<_>>() });
        context.output.result(&value, || {
            let texts = files.iter().map(|(file, found)| found.to_text(file));
            let texts: Vec<String> = texts.collect();
            format!("{}\n\n{MEANING}", texts.join("\n\n"))
        })?;
        Ok(Answer::of(files.iter().all(|(_, found)| found.passed())))
    }

    fn pins(&self) -> Pins {
        let mut pins = Pins::default();
        for pin in &self.pins {
            match pin {
                Pin::Component(digest) => pins.components.push(*digest),
                Pin::Policy(digest) => pins.policies.push(*digest),
            }
        }
        pins
    }
}

/// Verifies one file, which says by its first bytes what it is.
fn check(
    path: &Path,
    trust: &TrustFile,
    options: &Options,
    context: &Context,
) -> anyhow::Result<Found> {
    let failed = || format!("{} cannot be read", path.display());
    let (file, bytes): (Box<dyn io::Read + Send>, Option<u64>) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).with_context(failed)?;
        let bytes = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), bytes)
    };
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    let line_max = LINE_BYTES_MAX as u64 + 1;
    (&mut input)
        .take(line_max)
        .read_until(b'\n', &mut line)
        .with_context(failed)?;
    if line.ends_with(b"\n") && Header::parse(line.trim_ascii_end()).is_ok() {
        let progress = match bytes {
            Some(bytes) => context.output.progress_of("verifying", bytes),
            None => context.output.progress("verifying"),
        };
        let report = log_of(&line, input, trust, options, &progress);
        progress.finish_and_clear();
        return Ok(Found::Log(Box::new(report.with_context(failed)?)));
    }
    let progress = context.output.progress("verifying");
    let is_archive = archive::is_archive(&line);
    let rest = io::Cursor::new(line).chain(input);
    let bytes = if is_archive {
        Archive::read(rest).with_context(failed)?.receipt
    } else {
        files::read_from(rest, path, "the receipt", files::RECEIPT_BYTES_MAX)?
    };
    let report = verify_bytes(&bytes, trust, options);
    progress.finish_and_clear();
    Ok(Found::Receipt(Box::new(report)))
}

fn log_of(
    line: &[u8],
    input: impl BufRead + Send,
    trust: &TrustFile,
    options: &Options,
    progress: &ProgressBar,
) -> anyhow::Result<LogReport> {
    progress.inc(line.len() as u64);
    whole_log::verify(line.trim_ascii_end(), input, trust, options, progress)
}

/// Reads the keys a verifier believes.
pub(super) fn read_trust(path: &Path) -> anyhow::Result<TrustFile> {
    let bytes = files::read(path, "the trust file", files::TRUST_BYTES_MAX)?;
    TrustFile::parse(&bytes).with_context(|| format!("{} is not a trust file", path.display()))
}

/// Reads a checkpoint as it was signed; nothing is verified by that.
pub(super) fn read_checkpoint(path: &Path) -> anyhow::Result<String> {
    let bytes = files::read(path, "the checkpoint", CHECKPOINT_BYTES_MAX)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not a checkpoint", path.display()))
}

/// Reads who must have cosigned.
pub(super) fn read_policy(path: &Path) -> anyhow::Result<WitnessPolicy> {
    let bytes = files::read(path, "the witness policy", POLICY_BYTES_MAX as u64)?;
    WitnessPolicy::parse(&bytes)
        .with_context(|| format!("{} is not a witness policy", path.display()))
}

/// Names of the checks that came out so, in the format's order.
pub(super) fn with_outcome(report: &Report, outcome: Outcome3) -> Vec<&'static str> {
    let all = report.verdicts.all().into_iter();
    all.filter(|(_, found)| *found == outcome)
        .map(|(check, _)| check.as_str())
        .collect()
}

/// What a verdict says, in a sentence without a full stop.
fn explain(check: Check, outcome: Outcome3) -> &'static str {
    use Outcome3::{Fail, NotChecked, Pass};
    match (check, outcome) {
        (_, Fail) => "see the faults below",
        (Check::Receipt, Pass) => "it has the form of a receipt",
        (Check::Signatures, Pass) => {
            "checkpoint and records are signed by keys that are trusted for their place in the log"
        }
        (Check::Chain, Pass) => "one task, linked without a gap, and a story the rules allow",
        (Check::Inclusion, Pass) => {
            "the log's signed checkpoint holds each record at the place shown"
        }
        (Check::Completeness, Pass) => "the task is closed, and every record of it is here",
        (Check::AppendOnly, Pass) => "the log has only grown since the checkpoint you saw last",
        (Check::Witnessed, Pass) => "enough witnesses signed the checkpoint",
        (Check::Disclosure, Pass) => "each payload shown is one the records committed to",
        (Check::Replay, Pass) => "the steps were run again with the same result",
        (Check::Completeness, NotChecked) => {
            "the task goes on: what comes after these records is unproven"
        }
        (Check::AppendOnly, NotChecked) => "no earlier checkpoint was given (--last-seen)",
        (Check::Witnessed, NotChecked) => "nobody says who must have cosigned it (--policy)",
        (Check::Disclosure, NotChecked) => "no payload is shown",
        (Check::Replay, NotChecked) => "`stepseal replay` does that",
        (_, NotChecked) => "an earlier fault left nothing to check",
    }
}

/// The same of what cannot be checked where records were erased.
fn explain_erased(check: Check, report: &Report) -> &'static str {
    match check {
        Check::Chain if report.faults.is_empty() => {
            "one task, linked without a gap; what the erased records said, nobody can judge"
        }
        Check::Completeness if report.faults.is_empty() && !report.open => {
            "the last record is erased, and nobody can say whether it closed the task"
        }
        _ => explain(check, Outcome3::NotChecked),
    }
}

fn word(outcome: Outcome3) -> &'static str {
    match outcome {
        Outcome3::Pass => "pass",
        Outcome3::Fail => "FAIL",
        Outcome3::NotChecked => "not checked",
    }
}

/// The report for people. Everything in it that a stranger wrote is on a line of ours.
pub(super) fn to_text(file: &str, report: &Report) -> String {
    let verdict = if report.passed() {
        "verified"
    } else {
        "NOT VERIFIED"
    };
    let mut lines = vec![format!("{}: {verdict}", shown(file))];
    if report
        .faults
        .iter()
        .any(|fault| fault.check == Check::Receipt)
    {
        // What is no receipt has no verdicts.
        lines.extend(faults_text(&report.faults));
        return lines.join("\n");
    }
    lines.push(format!("  {}", contents(report)));
    for (check, outcome) in report.verdicts.all() {
        let unanswered = report.unanswered.iter().find(|asked| asked.check == check);
        let says = match unanswered {
            Some(asked) => one_line(&asked.message),
            None if outcome == Outcome3::NotChecked && !report.erased.is_empty() => {
                explain_erased(check, report).into()
            }
            None => explain(check, outcome).into(),
        };
        lines.push(format!(
            "  {:<13} {:<12} {says}",
            check.as_str(),
            word(outcome)
        ));
    }
    for cosigned in &report.cosigned {
        lines.push(format!(
            "  witness {} cosigned it, by its own clock at {}",
            one_line(&cosigned.witness),
            at(cosigned)
        ));
    }
    for erasing in &report.erased {
        lines.push(format!(
            "  entry {} erased {} records of the task: {}",
            erasing.index,
            erasing.entries,
            one_line(&erasing.basis)
        ));
    }
    lines.extend(faults_text(&report.faults));
    if !report.unrecognised.is_empty() {
        let names = report.unrecognised.join(", ");
        lines.push(format!(
            "  unknown to this version, and signed by nobody: {}",
            one_line(&names)
        ));
    }
    if report.open {
        lines.push("  open: the task goes on; accepted only with --allow-open".to_owned());
    }
    lines.join("\n")
}

/// When a witness says that it cosigned.
fn at(cosigned: &Cosigned) -> String {
    let ms = cosigned.unix_seconds.saturating_mul(1000);
    Timestamp::from_unix_ms(ms).map_or_else(
        |_| format!("{} s since 1970", cosigned.unix_seconds),
        |time| time.to_string(),
    )
}

/// A line for each fault.
fn faults_text(faults: &[Fault]) -> impl Iterator<Item = String> {
    let faults = faults.iter();
    faults.map(|fault| format!("  fault: {}", fault_text(fault)))
}

/// One fault: the check, where, and what is wrong.
pub(super) fn fault_text(fault: &Fault) -> String {
    one_line(&fault.to_string()).into_owned()
}

fn contents(report: &Report) -> String {
    let Some(checkpoint) = &report.checkpoint else {
        return format!(
            "{} records, under no checkpoint that can be believed",
            report.records.len()
        );
    };
    let task = task_id(report).unwrap_or("?");
    let erased = match report.erased.iter().map(|erasing| erasing.entries).sum() {
        0 => String::new(),
        count => format!(" and {count} erased ones"),
    };
    format!(
        "task {}, {} records{erased}, in the log {} of {} records",
        one_line(task),
        report.records.len()
            - report
                .records
                .iter()
                .filter(|(_, r)| r.kind.is_act())
                .count(),
        one_line(&checkpoint.origin),
        checkpoint.size
    )
}

/// The task the records are of.
pub(super) fn task_id(report: &Report) -> Option<&str> {
    let mut records = report.records.iter().map(|(_, record)| record);
    records.find_map(|record| match (&record.task, &record.erasure) {
        (Some(task), _) => Some(task.id.as_str()),
        (None, Some(erasure)) => erasure.task.as_deref(),
        (None, None) => None,
    })
}

/// The report for programs.
pub(super) fn to_json(file: &str, report: &Report) -> Value {
    let unanswered = report.unanswered.iter();
    let unanswered =
        unanswered.map(|asked| json!({ "check": asked.check.as_str(), "message": asked.message }));
    let erased = report.erased.iter().map(|erasing| {
        json!({ "index": erasing.index, "basis": erasing.basis, "entries": erasing.entries })
    });
    let records = report
        .records
        .iter()
        .map(|(index, record)| record_json(*index, record));
    json!({
        "file": file,
        "passed": report.passed(),
        "open": report.open,
        "erased": erased.collect::<Vec<_>>(),
        "verdicts": verdicts_json(report.verdicts),
        "faults": faults_json(&report.faults),
        "checkpoint": report.checkpoint.as_ref().map(checkpoint_json),
        "records": records.collect::<Vec<_>>(),
        "unanswered": unanswered.collect::<Vec<_>>(),
        "cosigned": cosigned_json(&report.cosigned),
        "unrecognised": report.unrecognised,
    })
}

fn verdicts_json(verdicts: Verdicts) -> Value {
    let verdicts = verdicts.all().into_iter();
    let verdicts =
        verdicts.map(|(check, outcome)| (check.as_str().to_owned(), outcome.as_str().into()));
    Value::Object(verdicts.collect())
}

fn faults_json(faults: &[Fault]) -> Value {
    let faults = faults.iter().map(|fault| {
        json!({
            "check": fault.check.as_str(),
            "index": fault.index,
            "member": fault.member,
            "message": fault.message,
        })
    });
    faults.collect()
}

fn cosigned_json(cosigned: &[Cosigned]) -> Value {
    let cosigned = cosigned.iter().map(|cosigned| {
        json!({ "witness": cosigned.witness, "keyName": cosigned.key_name, "unixSeconds": cosigned.unix_seconds })
    });
    cosigned.collect()
}

fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({ "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root })
}

/// A record as its statement says it, beside its place in the log.
fn record_json(index: u64, record: &Record) -> Value {
    let statement: Value = serde_json::from_slice(&record.to_statement()).unwrap_or_default();
    json!({ "index": index, "statement": statement })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepseal_receipts::verify::Unanswered;

    /// A report of a receipt whose disclosure was tampered with by somebody who writes to terminals.
    fn report() -> Report {
        Report {
            verdicts: Verdicts {
                signatures: Outcome3::Pass,
                chain: Outcome3::Pass,
                inclusion: Outcome3::Pass,
                completeness: Outcome3::Pass,
                disclosure: Outcome3::Fail,
                ..Verdicts::default()
            },
            faults: vec![Fault {
                check: Check::Disclosure,
                index: None,
                member: "disclosures[0]".to_owned(),
                message: "no record speaks of it\n  disclosure pass \u{1b}[32m".to_owned(),
            }],
            unanswered: vec![Unanswered {
                check: Check::AppendOnly,
                message: "the receipt has no proof from 7 entries on".to_owned(),
            }],
            cosigned: vec![Cosigned {
                witness: "sage".to_owned(),
                key_name: "witness.example/sage".to_owned(),
                unix_seconds: 1_700_000_000,
            }],
            checkpoint: None,
            records: Vec::new(),
            erased: Vec::new(),
            open: false,
            allow_open: false,
            allow_erased: false,
            unrecognised: vec!["note".to_owned()],
        }
    }

    #[test]
    fn the_report_has_eight_verdicts_and_every_fault_on_one_line() {
        insta::assert_snapshot!(to_text("task.stepseal.json", &report()));
    }

    #[test]
    fn the_report_for_programs_says_the_same() {
        let value = to_json("task.stepseal.json", &report());
        assert_eq!(value["passed"], false);
        assert_eq!(
            value["verdicts"].as_object().map(serde_json::Map::len),
            Some(8)
        );
        assert_eq!(value["verdicts"]["disclosure"], "fail");
        assert_eq!(value["verdicts"]["append-only"], "not-checked");
        assert_eq!(value["faults"][0]["member"], "disclosures[0]");
    }
}
