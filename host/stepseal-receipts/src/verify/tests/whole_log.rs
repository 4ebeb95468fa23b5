//! A whole log from its export: what is believed, and that nothing can be left out, moved or put in.

use std::collections::HashMap;

use super::world::*;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::keys::SigningKey;
use crate::leaf;
use crate::log_export::{Header, Line, LineEntry};
use crate::record::{
    ErasedEntry, Erasure, ErasureScope, KeyChange, KeyRole, Kind, Record, Span, Status, TaskLink,
    sign,
};
use crate::time::Timestamp;
use crate::tree::Frontier;
use crate::verify::{Check, Keys, LogReport, LogVerifier, Options, Outcome3, Pins, open_line};

/// A log that is written record by record, as a host does.
struct Written {
    tree: Frontier,
    lines: Vec<Line>,
    tasks: HashMap<String, (u64, Digest)>,
    key: SigningKey,
    log_key: SigningKey,
}

impl Written {
    fn new() -> Self {
        Self {
            tree: Frontier::new(),
            lines: Vec::new(),
            tasks: HashMap::new(),
            key: record_key(),
            log_key: log_key(),
        }
    }

    fn append(&mut self, mut record: Record) -> u64 {
        let index = self.tree.size();
        record.nonce[..8].copy_from_slice(&index.to_be_bytes());
        let signed = sign(&record, &self.key).unwrap();
        self.tree.append(signed.leaf_hash);
        if let Some(task) = record.task {
            self.tasks.insert(task.id, (task.seq, signed.leaf_hash));
        }
        self.lines.push(Line {
            index,
            entry: LineEntry::Envelope(signed.envelope),
        });
        index
    }

    /// The next record of a task.
    fn of_task(&mut self, id: &str, mut record: Record) -> u64 {
        let before = self.tasks.get(id);
        let seq = before.map_or(0, |(seq, _)| seq + 1);
        let prev = before.map(|(_, prev)| *prev);
        if record.kind == Kind::TaskClose {
            (record.records, record.head) = (Some(seq + 1), prev);
        }
        record.task = Some(TaskLink {
            id: id.to_owned(),
            seq,
            prev,
        });
        self.append(record)
    }

    /// A task of one step.
    fn task(&mut self, id: &str) {
        self.of_task(id, opened());
        self.of_task(id, completed("balance", 0));
        self.of_task(id, closed(Status::Ok));
    }

    fn key_change(&mut self, kind: Kind, role: KeyRole, key: &SigningKey, at: u64) -> u64 {
        let rotates = kind == Kind::KeyRotate;
        self.append(Record {
            key: Some(KeyChange {
                role,
                name: None,
                key: key.public(),
                from_index: rotates.then_some(at),
                to_index: (!rotates).then_some(at),
            }),
            ..act(kind)
        })
    }

    /// Deletes an envelope.
    fn erase(&mut self, index: u64) {
        let line = &mut self.lines[usize::try_from(index).unwrap()];
        if let LineEntry::Envelope(envelope) = &line.entry {
            let signature = &envelope.signatures[0];
            let leaf = leaf::leaf(&envelope.pae_digest(), &signature.sig, &self.key.public());
            line.entry = LineEntry::Leaf(leaf);
        }
    }

    fn head(&self) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        checkpoint.sign(&self.log_key).unwrap()
    }

    fn report(&self) -> LogReport {
        read(&self.head(), &self.lines, &Options::default())
    }
}

fn act(kind: Kind) -> Record {
    let time = Timestamp::from_unix_ms(1_700_000_000_000).unwrap();
    let span = Span {
        start: time,
        end: time,
    };
    Record {
        time: Some(span),
        ..record(kind)
    }
}

/// Reads an export as a stranger does, every line opened with the keys of the beginning.
fn read(head: &str, lines: &[Line], options: &Options) -> LogReport {
    let lag = read_with(head, lines, options, |_, first| first.clone());
    // How far the lines were opened ahead makes no difference.
    let live = read_with(head, lines, options, |verifier, _| verifier.keys());
    assert_eq!(lag, live);
    live
}

fn read_with(
    head: &str,
    lines: &[Line],
    options: &Options,
    keys: impl Fn(&LogVerifier, &Keys) -> Keys,
) -> LogReport {
    let header = Header {
        checkpoint: head.to_owned(),
    };
    let header = header.to_line();
    let mut verifier = LogVerifier::new(header.trim_ascii_end(), &trust(), options).unwrap();
    let first = verifier.keys();
    for line in lines {
        let keys = keys(&verifier, &first);
        let goes_on = match open_line(line.to_line().trim_ascii_end(), &keys) {
            Ok(opened) => verifier.add(opened),
            Err(error) => {
                verifier.refuse(&error);
                false
            }
        };
        if !goes_on {
            break;
        }
    }
    verifier.finish()
}

#[track_caller]
fn assert_place(report: &LogReport, check: Check, index: Option<u64>, member: &str) {
    let mut faults = report.faults.iter();
    assert!(
        faults.any(|f| (f.check, f.index, f.member.as_str()) == (check, index, member)),
        "{:?}",
        report.faults
    );
    assert!(!report.passed());
}

/// Two tasks side by side, one that goes on, and an act between.
fn written() -> Written {
    let mut log = Written::new();
    log.of_task("a", opened());
    log.of_task("b", opened());
    log.of_task("a", completed("balance", 0));
    log.append(Record {
        plugin: Some("ledger".to_owned()),
        grants: Some(digest(42)),
        ..act(Kind::GrantChanged)
    });
    log.of_task("b", completed("balance", 0));
    log.of_task("c", opened());
    log.of_task("b", closed(Status::Ok));
    log.of_task("a", closed(Status::Ok));
    log
}

#[test]
fn a_whole_log_is_believed_with_its_open_tasks_and_acts() {
    let report = written().report();
    assert!(report.passed(), "{:?}", report.faults);
    let counts = report.counts;
    assert_eq!((counts.entries, counts.acts), (8, 1));
    assert_eq!((counts.closed_tasks, counts.open_tasks), (2, 1));
    assert_eq!(report.verdicts.completeness, Outcome3::Pass);
    assert_eq!(report.verdicts.append_only, Outcome3::NotChecked);
    assert_eq!(report.checkpoint.unwrap().size, 8);
}

#[test]
fn an_empty_log_is_believed() {
    let report = Written::new().report();
    assert!(report.passed(), "{:?}", report.faults);
}

#[test]
fn a_log_whose_end_is_cut_is_incomplete() {
    let log = written();
    let report = read(&log.head(), &log.lines[..7], &Options::default());
    assert_place(&report, Check::Completeness, None, "checkpoint");
    assert_eq!(report.verdicts.completeness, Outcome3::Fail);
}

#[test]
fn an_entry_that_is_left_out_or_moved_ends_the_reading() {
    let log = written();
    let mut lines = log.lines.clone();
    lines.remove(3);
    let report = read(&log.head(), &lines, &Options::default());
    assert_place(&report, Check::Inclusion, Some(4), "index");
    assert_eq!(report.verdicts.completeness, Outcome3::NotChecked);

    let mut lines = log.lines.clone();
    lines.swap(3, 4);
    let report = read(&log.head(), &lines, &Options::default());
    assert_place(&report, Check::Inclusion, Some(4), "index");
}

#[test]
fn an_entry_in_the_place_of_another_makes_another_root() {
    let log = written();
    let mut other = written();
    other.of_task("d", opened());
    let mut lines = log.lines.clone();
    lines[5] = Line {
        index: 5,
        ..other.lines[8].clone()
    };
    let report = read(&log.head(), &lines, &Options::default());
    assert_place(&report, Check::Inclusion, None, "checkpoint");
    assert_eq!(report.verdicts.completeness, Outcome3::NotChecked);
}

#[test]
fn a_record_that_is_changed_is_not_believed_and_no_task_is_judged_around_it() {
    let log = written();
    let mut lines = log.lines.clone();
    let LineEntry::Envelope(envelope) = &mut lines[2].entry else {
        panic!("it was not erased");
    };
    envelope.payload[20] ^= 1;
    let report = read(&log.head(), &lines, &Options::default());
    assert_place(&report, Check::Signatures, Some(2), "envelope.signatures");
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    assert_eq!(report.verdicts.chain, Outcome3::NotChecked);
    assert_eq!(report.verdicts.inclusion, Outcome3::NotChecked);
}

#[test]
fn a_task_without_its_records_is_a_fault_although_the_tree_is_whole() {
    let mut log = written();
    log.of_task("d", opened());
    let (seq, _) = log.tasks["d"];
    log.tasks.insert("d".to_owned(), (seq + 1, digest(9)));
    let index = log.of_task("d", completed("balance", 0));
    let report = log.report();
    assert_place(&report, Check::Chain, Some(index), "task.seq");
    assert_eq!(report.verdicts.inclusion, Outcome3::Pass);
}

#[test]
fn a_closed_task_that_tells_an_impossible_story_is_a_fault() {
    let mut log = written();
    log.of_task("d", opened());
    log.of_task("d", failed("balance", 0, Status::Trap));
    let index = log.of_task("d", closed(Status::Ok));
    assert_place(
        &log.report(),
        Check::Completeness,
        Some(index),
        "outcome.status",
    );
}

#[test]
fn a_record_after_the_end_of_its_task_is_a_fault() {
    let mut log = written();
    let index = log.of_task("a", completed("balance", 0));
    assert_place(&log.report(), Check::Chain, Some(index), "task.seq");
}

#[test]
fn an_act_and_a_record_of_another_log_are_judged_where_they_stand() {
    let mut log = written();
    let index = log.append(act(Kind::GrantChanged));
    assert_place(&log.report(), Check::Chain, Some(index), "plugin");

    let mut log = written();
    let mut record = act(Kind::GrantChanged);
    record.plugin = Some("ledger".to_owned());
    record.grants = Some(digest(42));
    record.log = "log.example/two".to_owned();
    let index = log.append(record);
    assert_place(&log.report(), Check::Chain, Some(index), "log");
}

#[test]
fn a_key_that_the_log_brings_in_counts_from_where_it_says() {
    let next = || SigningKey::from_seed([50; 32]);
    let mut log = written();
    let index = log.key_change(Kind::KeyRotate, KeyRole::Record, &next(), 9);
    assert_eq!(index, 8);
    log.key = next();
    log.task("d");
    assert!(log.report().passed(), "{:?}", log.report().faults);

    let mut log = written();
    log.key_change(Kind::KeyRotate, KeyRole::Record, &next(), 10);
    log.key = next();
    log.task("d");
    assert_place(
        &log.report(),
        Check::Signatures,
        Some(9),
        "envelope.signatures",
    );
}

#[test]
fn a_key_that_the_log_revokes_counts_no_more() {
    let mut log = written();
    log.key_change(Kind::KeyRevoke, KeyRole::Record, &record_key(), 8);
    assert!(log.report().passed(), "{:?}", log.report().faults);
    log.of_task("d", opened());
    assert_place(
        &log.report(),
        Check::Signatures,
        Some(9),
        "envelope.signatures",
    );
}

#[test]
fn a_log_key_that_the_log_brings_in_signs_from_where_it_says() {
    let next = || SigningKey::from_seed([51; 32]);
    let mut log = written();
    log.key_change(Kind::KeyRotate, KeyRole::Log, &next(), 10);
    log.log_key = next();
    log.of_task("d", opened());
    assert_place(&log.report(), Check::Signatures, None, "checkpoint");
    log.of_task("d", completed("balance", 0));
    assert!(log.report().passed(), "{:?}", log.report().faults);
    // And the old one signs no more once it is revoked.
    log.key_change(Kind::KeyRevoke, KeyRole::Log, &log_key(), 11);
    log.log_key = log_key();
    assert!(log.report().passed(), "{:?}", log.report().faults);
    log.task("e");
    assert_place(&log.report(), Check::Signatures, None, "checkpoint");
}

#[test]
fn a_key_cannot_be_brought_in_for_another_role_than_the_trust_file_gives_it() {
    let mut log = written();
    let index = log.key_change(Kind::KeyRotate, KeyRole::Record, &approver_key(), 20);
    assert_place(&log.report(), Check::Chain, Some(index), "key.spki");
}

#[test]
fn an_approvers_key_signs_no_record() {
    let next = || SigningKey::from_seed([52; 32]);
    let approver = |kind, key: &SigningKey| Record {
        key: Some(KeyChange {
            role: KeyRole::Approver,
            name: Some("dana".to_owned()),
            key: key.public(),
            from_index: None,
            to_index: None,
        }),
        ..act(kind)
    };
    let mut log = written();
    log.append(approver(Kind::KeyRotate, &next()));
    // Nor does taking a key from a person take it from the host.
    log.append(approver(Kind::KeyRevoke, &record_key()));
    log.task("d");
    assert!(log.report().passed(), "{:?}", log.report().faults);
    log.key = next();
    let index = log.of_task("e", opened());
    assert_place(
        &log.report(),
        Check::Signatures,
        Some(index),
        "envelope.signatures",
    );

    let mut log = written();
    let index = log.append(approver(Kind::KeyRotate, &record_key()));
    assert_place(&log.report(), Check::Chain, Some(index), "key.spki");
}

fn erasure(task: &str, entries: Vec<ErasedEntry>) -> Record {
    Record {
        erasure: Some(Erasure {
            scope: ErasureScope::Records,
            basis: "on request".to_owned(),
            task: Some(task.to_owned()),
            blobs: Vec::new(),
            entries,
        }),
        ..act(Kind::Erasure)
    }
}

#[test]
fn an_erased_record_is_a_leaf_that_an_erasure_speaks_of() {
    let mut log = written();
    log.erase(2);
    assert_place(&log.report(), Check::Chain, Some(2), "leaf");
    let entry = ErasedEntry {
        index: 2,
        seq: 1,
        prev: Some(digest(1)),
    };
    log.append(erasure("a", vec![entry]));
    let report = log.report();
    assert!(report.passed(), "{:?}", report.faults);
    let counts = report.counts;
    assert_eq!((counts.erased_tasks, counts.erased_entries), (1, 1));
    assert_eq!(counts.closed_tasks, 1);
}

#[test]
fn an_erasure_excuses_no_other_task() {
    let mut log = written();
    log.erase(2);
    let entry = ErasedEntry {
        index: 2,
        seq: 1,
        prev: Some(digest(1)),
    };
    log.append(erasure("b", vec![entry]));
    assert_place(&log.report(), Check::Chain, Some(7), "task.seq");
}

#[test]
fn the_log_is_compared_with_what_was_seen_of_it() {
    let mut log = written();
    let options = |note| Options {
        last_seen: Some(note),
        ..Options::default()
    };
    let seen = options(log.head());
    log.task("d");
    let report = read(&log.head(), &log.lines, &seen);
    assert!(report.passed(), "{:?}", report.faults);
    assert_eq!(report.verdicts.append_only, Outcome3::Pass);

    let mut other = Written::new();
    other.task("z");
    let report = read(&log.head(), &log.lines, &options(other.head()));
    assert_place(&report, Check::AppendOnly, None, "checkpoint");

    let report = read(&other.head(), &other.lines, &seen);
    assert_place(&report, Check::AppendOnly, None, "checkpoint");
}

#[test]
fn pins_hold_for_every_task() {
    let options = Options {
        pins: Pins {
            components: vec![digest(1)],
            policies: Vec::new(),
        },
        ..Options::default()
    };
    let log = written();
    let report = read(&log.head(), &log.lines, &options);
    assert_place(&report, Check::Chain, Some(2), "component.digest");
}

#[test]
fn an_export_under_keys_of_others_is_not_believed() {
    let mut log = written();
    log.log_key = SigningKey::from_seed([60; 32]);
    let report = log.report();
    assert_place(&report, Check::Signatures, None, "checkpoint");
    assert_eq!(report.verdicts.inclusion, Outcome3::NotChecked);
}
