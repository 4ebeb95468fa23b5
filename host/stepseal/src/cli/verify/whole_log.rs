//! The export of a whole log: read once from front to back, its signatures checked on every core.

use std::io::{self, BufRead, Read as _};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use stepseal_receipts::log_export::{ExportError, LINE_BYTES_MAX};
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{
    Check, Keys, LogReport, LogVerifier, Opened, Options, Outcome3, open_line,
};

use super::super::output::{one_line, shown, thousands};
use super::{checkpoint_json, cosigned_json, faults_json, faults_text, verdicts_json, word};

/// Bytes of lines that a thread takes at one time.
const BATCH_BYTES: usize = 256 << 10;

/// Batches that wait before and after each thread. With the number of threads it bounds what is in memory.
const BATCHES_WAITING: usize = 2;

/// Lines as they were read, and what became of them.
type Batch = io::Result<Vec<u8>>;
type Done = (usize, io::Result<Vec<Result<Opened, ExportError>>>);

/// Verifies an export from its second line on.
pub(super) fn verify(
    header: &[u8],
    input: impl BufRead + Send,
    trust: &TrustFile,
    options: &Options,
    progress: &ProgressBar,
) -> anyhow::Result<LogReport> {
    let verifier = LogVerifier::new(header, trust, options)?;
    let keys = Mutex::new(verifier.keys());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (mut to_threads, mut from_threads) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            let (to_thread, batches) = sync_channel::<Batch>(BATCHES_WAITING);
            let (done, from_thread) = sync_channel::<Done>(BATCHES_WAITING);
            let keys = &keys;
            scope.spawn(move || open_batches(batches, &done, keys));
            to_threads.push(to_thread);
            from_threads.push(from_thread);
        }
        // It owns the senders: the threads end when it does.
        scope.spawn(move || read_batches(input, &to_threads));
        add_batches(verifier, from_threads, &keys, progress)
    })
}

/// Reads batches of whole lines and deals them out in turn, until the end or until nobody wants more.
fn read_batches(mut input: impl BufRead, to_threads: &[SyncSender<Batch>]) {
    for to_thread in to_threads.iter().cycle() {
        let batch = read_batch(&mut input);
        let last = !batch.as_ref().is_ok_and(|lines| !lines.is_empty());
        if to_thread.send(batch).is_err() || last {
            return;
        }
    }
}

fn read_batch(input: &mut impl BufRead) -> Batch {
    let mut lines = Vec::with_capacity(BATCH_BYTES + LINE_BYTES_MAX);
    while lines.len() < BATCH_BYTES {
        let (before, line_max) = (lines.len(), LINE_BYTES_MAX as u64 + 1);
        // A line over the limit is cut, and too long still: it is refused as such.
        input
            .by_ref()
            .take(line_max)
            .read_until(b'\n', &mut lines)?;
        if lines.len() == before {
            break;
        }
        if !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
    }
    Ok(lines)
}

fn open_batches(batches: Receiver<Batch>, done: &SyncSender<Done>, keys: &Mutex<Keys>) {
    for batch in batches {
        let keys = keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bytes = batch.as_ref().map_or(0, Vec::len);
        let opened = batch.map(|lines| {
            let lines = lines.split_inclusive(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\n").unwrap_or(line));
            lines.map(|line| open_line(line, &keys)).collect()
        });
        if done.send((bytes, opened)).is_err() {
            return;
        }
    }
}

/// Adds what the threads opened, in the order of the file.
fn add_batches(
    mut verifier: LogVerifier,
    from_threads: Vec<Receiver<Done>>,
    keys: &Mutex<Keys>,
    progress: &ProgressBar,
) -> anyhow::Result<LogReport> {
    'file: for from_thread in from_threads.iter().cycle() {
        let Ok((bytes, opened)) = from_thread.recv() else {
            break;
        };
        for opened in opened.context("the log cannot be read to its end")? {
            let wanted = match opened {
                Ok(opened) => verifier.add(opened),
                Err(error) => {
                    verifier.refuse(&error);
                    false
                }
            };
            if !wanted {
                break 'file;
            }
        }
        *keys.lock().unwrap_or_else(PoisonError::into_inner) = verifier.keys();
        progress.inc(bytes as u64);
    }
    // The receivers go first, so that threads which still have something to say end.
    drop(from_threads);
    Ok(verifier.finish())
}

fn explain(check: Check, outcome: Outcome3) -> &'static str {
    use Outcome3::{Fail, NotChecked, Pass};
    match (check, outcome) {
        (_, Fail) => "see the faults below",
        (Check::Signatures, Pass) => {
            "checkpoint and records are signed by keys that are trusted for their place in the log"
        }
        (Check::Chain, Pass) => {
            "every task is linked without a gap, and a story the rules allow; so are the host's acts"
        }
        (Check::Inclusion, Pass) => "the entries make the root that the log signed",
        (Check::Completeness, Pass) => {
            "every entry of the log is here, and the end of each closed task"
        }
        (Check::AppendOnly, Pass) => "the log has only grown since the checkpoint you saw last",
        (Check::Witnessed, Pass) => "enough witnesses signed the checkpoint",
        (Check::AppendOnly, NotChecked) => "no earlier checkpoint was given (--last-seen)",
        (Check::Witnessed, NotChecked) => "nobody says who must have cosigned it (--policy)",
        (Check::Disclosure, NotChecked) => "the export of a log shows no payload",
        (Check::Replay, NotChecked) => "`stepseal replay` does that with the receipt of a task",
        _ => "an earlier fault left nothing to check",
    }
}

/// The report for people.
pub(super) fn to_text(file: &str, report: &LogReport) -> String {
    let verdict = if report.passed() {
        "verified"
    } else {
        "NOT VERIFIED"
    };
    let origin = report.checkpoint.as_ref().map(|head| &*head.origin);
    let counts = &report.counts;
    let mut lines = vec![
        format!("{}: {verdict}", shown(file)),
        format!(
            "  the log {}: {} entries, {} closed tasks, {} open ones, {} acts of the host, {} erased entries",
            one_line(origin.unwrap_or("?")),
            thousands(counts.entries),
            thousands(counts.closed_tasks),
            thousands(counts.open_tasks),
            thousands(counts.acts),
            thousands(counts.erased_entries)
        ),
    ];
    for (check, outcome) in report.verdicts.all() {
        let says = explain(check, outcome);
        lines.push(format!(
            "  {:<13} {:<12} {says}",
            check.as_str(),
            word(outcome)
        ));
    }
    if counts.erased_tasks > 0 {
        lines.push(format!(
            "  {} tasks were not judged, since records of them were erased",
            thousands(counts.erased_tasks)
        ));
    }
    lines.extend(faults_text(&report.faults));
    lines.join("\n")
}

/// The report for programs.
pub(super) fn to_json(file: &str, report: &LogReport) -> Value {
    let counts = &report.counts;
    json!({
        "file": file,
        "passed": report.passed(),
        "verdicts": verdicts_json(report.verdicts),
        "faults": faults_json(&report.faults),
        "checkpoint": report.checkpoint.as_ref().map(checkpoint_json),
        "cosigned": cosigned_json(&report.cosigned),
        "counts": {
            "entries": counts.entries,
            "closedTasks": counts.closed_tasks,
            "openTasks": counts.open_tasks,
            "erasedTasks": counts.erased_tasks,
            "erasedEntries": counts.erased_entries,
            "acts": counts.acts,
        },
    })
}
