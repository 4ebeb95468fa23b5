//! How fast records are signed and appended on one core, and verified, against the signature scheme alone.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "../../../benches/table.rs"]
mod table;

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZero;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ed25519_dalek::Signer as _;
use sha2::{Digest as _, Sha256};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse;
use stepseal_receipts::keys::{PublicKey, SigningKey};
use stepseal_receipts::log_export::{Header, Line, LineEntry};
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::payload::{Blob, CommitKind};
use stepseal_receipts::receipt::{Entry, Receipt};
use stepseal_receipts::record::{
    ComponentRef, Fuel, Kind, Limits, Memory, Mode, Outcome, PolicyInput, Record, Runtime, Span,
    Stage, Status, StepRef, TaskLink, Verdict, VerdictKind, sign,
};
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::{Frontier, NodeId, ProofPlan};
use stepseal_receipts::trust::{RecordKey, TrustFile};
use stepseal_receipts::verify::{LogVerifier, Options, open_line, verify_bytes};

use table::{Table, median, microseconds, per_second, per_turn};

const ORIGIN: &str = "log.example/bench";
const TASK: &str = "0199a1b2-0000-7000-8000-000000000001";
/// Rounds of each measurement, ours and the raw ones in turn; the middle one counts.
const ROUNDS: usize = 5;
/// Records signed in a round.
const SIGNED: u32 = 50_000;
/// Records of the receipt that is verified.
const RECEIPT_RECORDS: u64 = 1_000;
/// Records of the log whose export is verified, unless the environment says how many.
const LOG_RECORDS: u64 = 20_000;
const LOG_RECORDS_VARIABLE: &str = "STEPSEAL_BENCH_LOG_RECORDS";
/// Records of each task of that log.
const TASK_RECORDS: u64 = 5;
/// Lines that a thread takes at one time.
const LINES: usize = 128;

fn main() {
    let key = SigningKey::from_seed([2; 32]);
    let mut table = Table::new("make bench", "records");
    sign_and_append(&key, &mut table);
    verify(&key, &mut table);
    verify_log(&key, &mut table);
    println!("{table}");
}

/// What a task of three pure steps under one policy leaves in the log, again and again.
fn sign_and_append(key: &SigningKey, table: &mut Table) {
    let raw_key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
    let task = [opened(), completed(), completed(), completed(), closed(5)];
    let prev = |seq| (seq > 0).then_some(Digest::from_bytes([11; 32]));
    let messages: Vec<Vec<u8>> = task
        .iter()
        .zip(0..)
        .map(|(record, seq)| numbered(record, seq, prev(seq)).to_statement())
        .map(|statement| dsse::pae(dsse::IN_TOTO, &statement))
        .collect();
    let mut ours = Vec::new();
    let mut raw_sign = Vec::new();
    let mut raw_hash = Vec::new();
    for _ in 0..ROUNDS {
        let mut frontier = Frontier::new();
        let mut records = (0..).zip(&task).cycle();
        ours.push(per_turn(SIGNED, || {
            let (seq, record) = records.next().expect("it never ends");
            let signed = sign(&numbered(record, seq, prev(seq)), key).expect("it fits");
            black_box(signed.envelope.to_json());
            black_box(frontier.append(signed.leaf_hash));
        }));
        let mut raw = messages.iter().cycle();
        let mut next = || black_box(raw.next().expect("it never ends"));
        raw_sign.push(per_turn(SIGNED, || {
            black_box(raw_key.sign(next()));
        }));
        raw_hash.push(per_turn(SIGNED * 4, || {
            black_box(Sha256::digest(next()));
        }));
    }
    let (ours, raw_sign, raw_hash) = (median(ours), median(raw_sign), median(raw_hash));
    let bytes: usize = messages.iter().map(Vec::len).sum();
    let rate = per_second(ours);
    table.target(
        format!(
            "build, sign and append the records of a task of three steps ({} bytes each on average), one core",
            bytes / messages.len()
        ),
        format!("{rate:.0}/s"),
        "≥ 35000/s",
        rate >= 35_000.0,
    );
    table.figure(
        "  raw ed25519 signatures of the same bytes",
        format!("{:.0}/s", per_second(raw_sign)),
    );
    table.figure(
        "  raw SHA-256 of the same bytes",
        format!("{:.0}/s", per_second(raw_hash)),
    );
    table.figure(
        "  ratio to the raw signature",
        format!("{:.2}", ours.as_secs_f64() / raw_sign.as_secs_f64()),
    );
}

fn verify(key: &SigningKey, table: &mut Table) {
    let log_key = SigningKey::from_seed([1; 32]);
    let receipt = receipt(key, &log_key).to_json();
    let raw_key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
    let pae = dsse::pae(dsse::IN_TOTO, &completed().to_statement());
    let signature = raw_key.sign(&pae);
    let mut ours = Vec::new();
    let mut raw = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(per_turn(5, || {
            // A new one each time, whose key nobody has verified anything by.
            let key = PublicKey::from_bytes(&key.public().to_bytes()).expect("a key");
            let trust = trust(key, &log_key.public());
            let report = verify_bytes(black_box(&receipt), &trust, &Options::default());
            assert!(report.passed(), "{:?}", report.faults);
        }));
        raw.push(per_turn(5_000, || {
            let verified = raw_key
                .verifying_key()
                .verify_strict(black_box(&pae), &signature);
            verified.expect("it was signed with this key");
        }));
    }
    let (ours, raw) = (median(ours), median(raw));
    let records = u32::try_from(RECEIPT_RECORDS).expect("a small number");
    table.target(
        format!(
            "verify a receipt of {RECEIPT_RECORDS} records ({} KiB), one core",
            receipt.len() >> 10
        ),
        format!("{:.1} ms", ours.as_secs_f64() * 1e3),
        "< 60 ms",
        ours < Duration::from_millis(60),
    );
    table.figure("  for each record", microseconds(ours / records));
    table.figure("  raw verify_strict of one record", microseconds(raw));
    table.figure(
        "  ratio to the raw verification",
        format!("{:.2}", (ours / records).as_secs_f64() / raw.as_secs_f64()),
    );
}

fn trust(key: PublicKey, log_key: &PublicKey) -> TrustFile {
    TrustFile {
        origin: ORIGIN.to_owned(),
        log: vec![VerifierKey::new(ORIGIN, log_key).expect("a good origin")],
        records: vec![RecordKey {
            key,
            from_index: 0,
            to_index: None,
        }],
        approvers: Vec::new(),
        root: Vec::new(),
    }
}

/// A whole log on all cores, beside as many threads that only verify signatures. The lines are made as they are needed, and
/// not on the clock: each task is of the same records, so that any size costs the same memory.
fn verify_log(key: &SigningKey, table: &mut Table) {
    let size = std::env::var(LOG_RECORDS_VARIABLE).ok();
    let size: u64 = size.map_or(LOG_RECORDS, |size| size.parse().expect("a number"));
    let tasks = size / TASK_RECORDS;
    let log_key = SigningKey::from_seed([1; 32]);
    let (lines, leaves) = task_lines(key);
    let mut tree = Frontier::new();
    for _ in 0..tasks {
        for leaf in &leaves {
            tree.append(*leaf);
        }
    }
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    let header = Header {
        checkpoint: checkpoint.sign(&log_key).expect("a good origin"),
    };
    let trust = trust(key.public(), &log_key.public());
    let mut verifier = LogVerifier::new(
        header.to_line().trim_ascii_end(),
        &trust,
        &Options::default(),
    )
    .expect("it is a header");
    let keys = verifier.keys();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (mut ours, mut raw) = (Duration::ZERO, Duration::ZERO);
    let raw_key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]).verifying_key();
    let messages: Vec<_> = lines
        .iter()
        .map(|envelope| {
            (
                envelope.pae(),
                ed25519_dalek::Signature::from_bytes(&envelope.signatures[0].sig),
            )
        })
        .collect();
    let before = resident_kib();
    let mut next = 0;
    while next < checkpoint.size {
        let round: Vec<(u64, Vec<u8>)> = (next..checkpoint.size)
            .take(LINES * threads * 8)
            .map(|index| {
                let place = usize::try_from(index % TASK_RECORDS).expect("a small number");
                let entry = LineEntry::Envelope(lines[place].clone());
                (index, Line { index, entry }.to_line())
            })
            .collect();
        next += round.len() as u64;
        ours += wall(|| {
            for opened in on_all(threads, &round, |(_, line)| {
                open_line(line.trim_ascii_end(), &keys).expect("it is a line")
            }) {
                assert!(verifier.add(opened));
            }
        });
        raw += wall(|| {
            on_all(threads, &round, |(index, _)| {
                let place = usize::try_from(index % TASK_RECORDS).expect("a small number");
                let (message, signature) = &messages[place];
                let good = raw_key.verify_strict(message, signature);
                good.expect("it was signed with this key");
            });
        });
    }
    let grown = resident_kib().saturating_sub(before);
    let report = verifier.finish();
    assert!(report.passed(), "{:?}", report.faults);
    let records = u32::try_from(checkpoint.size).expect("a bench of that size");
    let share = raw.as_secs_f64() / ours.as_secs_f64();
    table.target(
        format!("verify the export of a log of {} records, {threads} threads, against raw verify_strict", checkpoint.size),
        format!("{share:.2}"),
        "≥ 0.80",
        share >= 0.8,
    );
    table.figure("  ours", format!("{:.0}/s", per_second(ours / records)));
    table.figure(
        "  raw verify_strict on as many threads",
        format!("{:.0}/s", per_second(raw / records)),
    );
    table.figure("  memory grown", format!("{grown} KiB"));
}

/// How long `work` takes by the clock: the CPU time of this thread says nothing of what others do for it.
#[expect(clippy::disallowed_methods, reason = "a bench of several threads")]
fn wall(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// What `work` makes of the items, in their order, on so many threads.
fn on_all<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let chunks = Mutex::new(items.chunks(LINES).enumerate());
    let mut done: Vec<(usize, Vec<R>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let next = chunks.lock().expect("nobody panics").next();
                        let Some((number, chunk)) = next else {
                            return done;
                        };
                        done.push((number, chunk.iter().map(&work).collect()));
                    }
                })
            })
            .collect();
        let done = threads.into_iter();
        done.flat_map(|thread| thread.join().expect("nobody panics"))
            .collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// Memory of this process; 0 where the system does not say.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The envelopes of one task, with their leaf hashes.
fn task_lines(key: &SigningKey) -> (Vec<dsse::Envelope>, Vec<Digest>) {
    let mut prev = None;
    let signed = (0..TASK_RECORDS).map(|seq| {
        let record = match seq {
            0 => opened(),
            last if last == TASK_RECORDS - 1 => closed(TASK_RECORDS),
            _ => completed(),
        };
        let signed = sign(&numbered(&record, seq, prev), key).expect("it fits");
        prev = Some(signed.leaf_hash);
        (signed.envelope, signed.leaf_hash)
    });
    signed.unzip()
}

/// The record at its place in the task, with a nonce of its own.
fn numbered(record: &Record, seq: u64, prev: Option<Digest>) -> Record {
    let mut record = record.clone();
    record.nonce[..8].copy_from_slice(&seq.to_be_bytes());
    record.task = Some(TaskLink {
        id: TASK.to_owned(),
        seq,
        prev,
    });
    if record.kind == Kind::TaskClose {
        record.head = prev;
    }
    if let Some(step) = &mut record.step {
        step.id = format!("step-{seq}");
        step.index = seq - 1;
    }
    record
}

/// A record as a pure step under one policy leaves it.
fn completed() -> Record {
    let digest = |n: u8| Digest::from_bytes([n; 32]);
    let time = Timestamp::from_unix_ms(1_790_000_000_000).expect("in range");
    let input = Blob::blind([8; 32], br#"{"document":{},"filter":"."}"#);
    let mut record = Record::new(Kind::StepCompleted, ORIGIN, [0; 16]);
    record.step = Some(StepRef {
        id: "step".to_owned(),
        index: 0,
        attempt: 1,
        step_type: "filter".to_owned(),
    });
    record.plan = Some(digest(2));
    record.policies = Some(digest(3));
    record.component = Some(ComponentRef {
        name: "jq".to_owned(),
        version: "0.1.0".to_owned(),
        digest: digest(4),
    });
    record.runtime = Some(Runtime {
        host: "stepseal 0.1.0".to_owned(),
        engine: "wasmtime 48.0.8".to_owned(),
        config: digest(5),
    });
    record.grants = Some(digest(6));
    record.limits = Some(Limits {
        fuel: 500_000_000,
        memory: 64 << 20,
        wall_ms: 10_000,
        input: 1 << 20,
        output: 1 << 20,
    });
    record.input = Some(input.commitment("application/json"));
    record.output = Some(
        Blob::blind([7; 32], br#"{"outputs":[],"result":null}"#).commitment("application/json"),
    );
    record.verdicts = vec![Verdict {
        policy: digest(7),
        name: "spending-limit".to_owned(),
        stage: Stage::BeforeStep,
        verdict: VerdictKind::NotApplicable,
        mode: Mode::Enforce,
        code: None,
        reason: None,
        approvers: None,
        role: None,
        settings: digest(8),
        input: PolicyInput {
            digest: digest(9),
            size: 900,
            commit: CommitKind::Blind1,
        },
        fuel: 40_000,
    }];
    record.fuel = Some(Fuel {
        limit: 500_000_000,
        used: 1_234_567,
    });
    record.memory = Some(Memory {
        limit: 64 << 20,
        peak: 1_179_648,
    });
    record.seed = Some([10; 32]);
    record.time = Some(Span {
        start: time,
        end: time,
    });
    record.outcome = Some(Outcome {
        status: Status::Ok,
        code: None,
        message: None,
    });
    record
}

/// The receipt of one task, alone in its log.
fn receipt(key: &SigningKey, log_key: &SigningKey) -> Receipt {
    let mut frontier = Frontier::new();
    let mut nodes: HashMap<NodeId, Digest> = HashMap::new();
    let mut envelopes = Vec::new();
    let mut prev = None;
    for seq in 0..RECEIPT_RECORDS {
        let record = match seq {
            0 => opened(),
            last if last == RECEIPT_RECORDS - 1 => closed(RECEIPT_RECORDS),
            _ => completed(),
        };
        let record = numbered(&record, seq, prev);
        let signed = sign(&record, key).expect("it fits");
        nodes.extend(frontier.append(signed.leaf_hash));
        prev = Some(signed.leaf_hash);
        envelopes.push(signed.envelope);
    }
    let size = frontier.size();
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size,
        root: frontier.root(),
    };
    let entries = envelopes.into_iter().zip(0..).map(|(envelope, index)| {
        let plan = ProofPlan::inclusion(index, size).expect("it is in the log");
        Entry {
            index,
            envelope,
            proof: plan
                .assemble(|node| nodes.get(&node).copied())
                .expect("every node is kept"),
        }
    });
    Receipt {
        checkpoint: checkpoint.sign(log_key).expect("a good origin"),
        entries: entries.collect(),
        erased: Vec::new(),
        approvals: Vec::new(),
        disclosures: Vec::new(),
        consistency: Vec::new(),
        unrecognised: serde_json::Map::new(),
    }
}

fn opened() -> Record {
    let record = completed();
    Record {
        plan: record.plan,
        policies: record.policies,
        runtime: record.runtime,
        input: record.input,
        time: record.time,
        ..Record::new(Kind::TaskOpen, ORIGIN, [1; 16])
    }
}

fn closed(records: u64) -> Record {
    let record = completed();
    Record {
        runtime: record.runtime,
        time: record.time,
        outcome: record.outcome,
        records: Some(records),
        ..Record::new(Kind::TaskClose, ORIGIN, [2; 16])
    }
}
