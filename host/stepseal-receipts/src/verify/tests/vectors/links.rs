//! Entries that are not where they say, records that are not linked, blobs of which nobody speaks, logs that forked.

use serde_json::Value;

use super::super::append_only::{earlier, other};
use super::super::world::*;
use super::{Vector, effectful, pure};
use crate::json;
use crate::payload::{Blob, CommitKind};
use crate::receipt::{Consistency, Receipt};
use crate::record::{Record, TaskLink};
use crate::tree::SIZE_MAX;

pub(super) fn vectors() -> Vec<Vector> {
    [proofs(), links(), closes(), disclosures(), seen()]
        .into_iter()
        .flatten()
        .collect()
}

fn proofs() -> Vec<Vector> {
    let (base, log) = linked(&pure(), |_, _| {});
    let size = log.head().size;
    let refused =
        |name: &str, about: &str, number: usize, member: &str, change: &dyn Fn(&mut Receipt)| {
            let mut receipt = base.clone();
            change(&mut receipt);
            let index = receipt.entries[number].index;
            let mut vector = Vector::refused(
                &format!("inclusion/{name}"),
                about,
                &receipt,
                ("inclusion", None, member),
            );
            vector.faults[0].1 = Some(index);
            vector
        };
    let mut stale = base.clone();
    let shorter = earlier(&base, index_of(2));
    stale.checkpoint = shorter.checkpoint();
    for entry in &mut stale.entries[..2] {
        entry.proof = shorter.inclusion(entry.index);
    }
    let mut other = base.clone();
    let (_, mut stranger) = linked(&effectful(), |_, _| {});
    stranger.append_others(1);
    other.checkpoint = stranger.checkpoint();
    let everywhere = (0..3).fold(
        Vector::accepted(
            "inclusion/checkpoint-of-another-time",
            "A checkpoint that the log signed, of a tree in which the records are not.",
            &other,
        ),
        |vector, number| vector.and_fault("inclusion", Some(number), "proof"),
    );
    vec![
        refused(
            "wrong-index",
            "An entry's index is one too large.",
            1,
            "proof",
            &|r| r.entries[1].index += 1,
        ),
        refused(
            "index-zero",
            "The first entry's index is 0.",
            0,
            "proof",
            &|r| r.entries[0].index = 0,
        ),
        refused(
            "index-past-the-end",
            "An entry's index is the size of the log.",
            2,
            "index",
            &|r| r.entries[2].index = size,
        ),
        refused(
            "index-far-past-the-end",
            "An entry's index is 2^64-1.",
            2,
            "index",
            &|r| r.entries[2].index = u64::MAX,
        ),
        refused(
            "index-of-the-largest-tree",
            "An entry's index is the size of the largest tree.",
            2,
            "index",
            &|r| r.entries[2].index = SIZE_MAX,
        ),
        refused(
            "hash-flipped",
            "One bit of a proof is changed.",
            1,
            "proof",
            &|r| r.entries[1].proof[1] = digest(0),
        ),
        refused(
            "truncated",
            "The last hash of a proof is missing.",
            1,
            "proof",
            &|r| {
                r.entries[1].proof.pop();
            },
        ),
        refused(
            "first-hash-missing",
            "The first hash of a proof is missing.",
            1,
            "proof",
            &|r| {
                r.entries[1].proof.remove(0);
            },
        ),
        refused("empty", "A proof without a hash.", 1, "proof", &|r| {
            r.entries[1].proof.clear()
        }),
        refused("extended", "A proof has one hash more.", 1, "proof", &|r| {
            r.entries[1].proof.push(digest(0))
        }),
        refused(
            "root-appended",
            "A proof has the root as one hash more.",
            1,
            "proof",
            &|r| r.entries[1].proof.push(log.head().root),
        ),
        refused(
            "doubled-hash",
            "A hash of a proof stands twice.",
            1,
            "proof",
            &|r| {
                let first = r.entries[1].proof[0];
                r.entries[1].proof.insert(0, first);
            },
        ),
        refused("turned", "A proof from the root down.", 1, "proof", &|r| {
            r.entries[1].proof.reverse()
        }),
        refused(
            "swapped",
            "Two entries' proofs are swapped.",
            1,
            "proof",
            &|r| {
                let first = std::mem::take(&mut r.entries[1].proof);
                r.entries[1].proof = std::mem::replace(&mut r.entries[2].proof, first);
            },
        )
        .and_fault("inclusion", Some(2), "proof"),
        refused(
            "shared-too-few",
            "An entry shares one hash less than its proof needs.",
            2,
            "proof",
            &|_| (),
        )
        .with_receipt(sharing(&base, -1)),
        Vector::refused(
            "inclusion/stale-checkpoint",
            "The checkpoint is older than the last record.",
            &stale,
            ("inclusion", Some(2), "index"),
        ),
        everywhere,
    ]
}

/// The receipt, of which the last entry says that it shares so many more hashes.
fn sharing(receipt: &Receipt, more: i64) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&receipt.to_json()).unwrap();
    let shared = value.pointer_mut("/entries/2/shared").unwrap();
    let number: i64 = shared.as_str().unwrap().parse().unwrap();
    *shared = (number + more).to_string().into();
    json::canonical(&value)
}

fn link(record: &mut Record) -> &mut TaskLink {
    record.task.as_mut().unwrap()
}

/// A change of a record before it is signed.
type Change = fn(&mut Record);

fn links() -> Vec<Vector> {
    let changed = |name: &str, about: &str, number: usize, member: &str, change: Change| {
        let (receipt, _) = linked(&pure(), |at, record| {
            if at == number {
                change(record);
            }
        });
        Vector::refused(
            &format!("chain/{name}"),
            about,
            &receipt,
            ("chain", Some(number), member),
        )
    };
    let arranged =
        |name: &str, about: &str, number: usize, member: &str, change: fn(&mut Receipt)| {
            let mut receipt = receipt_of(&effectful());
            change(&mut receipt);
            Vector::refused(
                &format!("chain/{name}"),
                about,
                &receipt,
                ("chain", Some(number), member),
            )
        };
    let (foreign, _) = linked(&effectful(), |_, record| {
        link(record).id = "task-8".to_owned()
    });
    let mut mixed = receipt_of(&effectful());
    mixed.entries[3] = foreign.entries[3].clone();
    // The other task's log is another tree: what fails besides the link is the proof.
    let mixed = Vector::refused(
        "chain/entry-of-another-log",
        "The last entry is another task's, of another tree.",
        &mixed,
        ("inclusion", Some(3), "proof"),
    )
    .and_fault("chain", Some(3), "task.id");
    let mut none = receipt_of(&pure());
    none.entries.clear();
    vec![
        Vector::refused(
            "chain/no-entry",
            "No entry.",
            &none,
            ("chain", None, "entries"),
        ),
        changed(
            "other-log",
            "A record was written for another log.",
            1,
            "log",
            |r| r.log = "log.example/two".to_owned(),
        ),
        changed(
            "foreign-task",
            "The last record is of another task.",
            2,
            "task.id",
            |r| link(r).id = "task-8".to_owned(),
        ),
        changed("no-task", "A record is of no task.", 2, "task", |r| {
            r.task = None
        }),
        changed(
            "seq-gap",
            "A record's seq leaves a gap.",
            2,
            "task.seq",
            |r| link(r).seq = 3,
        ),
        changed(
            "seq-again",
            "A record has the seq of the one before.",
            2,
            "task.seq",
            |r| link(r).seq = 1,
        ),
        changed(
            "seq-zero-again",
            "A later record has the seq 0.",
            1,
            "task.seq",
            |r| link(r).seq = 0,
        )
        .and_fault("chain", Some(1), "kind")
        .and_fault("chain", Some(2), "task.seq"),
        changed(
            "prev-absent",
            "A record without prev.",
            1,
            "task.prev",
            |r| link(r).prev = None,
        ),
        changed(
            "prev-wrong",
            "A record whose prev is another hash.",
            1,
            "task.prev",
            |r| link(r).prev = Some(digest(0)),
        ),
        changed(
            "prev-of-the-first",
            "The first record has a prev.",
            0,
            "task.prev",
            |r| link(r).prev = Some(digest(0)),
        ),
        changed(
            "prev-skips",
            "A record whose prev is that of the record before the one before.",
            2,
            "task.prev",
            |r| {
                link(r).prev = receipt_of(&pure()).entries.first().map(|entry| {
                    let envelope = &entry.envelope;
                    let leaf = crate::leaf::leaf(
                        &envelope.pae_digest(),
                        &envelope.signatures[0].sig,
                        &record_key().public(),
                    );
                    crate::leaf::leaf_hash(&leaf)
                });
            },
        ),
        arranged(
            "first-entry-missing",
            "The entry that opens the task is missing.",
            1,
            "task.seq",
            |r| drop(r.entries.remove(0)),
        ),
        arranged(
            "entry-missing",
            "An entry in the middle is missing.",
            3,
            "task.seq",
            |r| drop(r.entries.remove(2)),
        ),
        arranged("entry-doubled", "An entry stands twice.", 2, "index", |r| {
            r.entries.insert(2, r.entries[2].clone())
        }),
        arranged(
            "entries-swapped",
            "Two entries are swapped.",
            2,
            "task.seq",
            |r| r.entries.swap(1, 2),
        )
        .and_fault("chain", Some(1), "index")
        .and_fault("chain", Some(3), "task.seq"),
        mixed,
    ]
}

fn closes() -> Vec<Vector> {
    let changed = |name: &str, about: &str, member: &str, change: Change| {
        let (receipt, _) = linked(&pure(), |at, record| {
            if at == 2 {
                change(record);
            }
        });
        Vector::refused(
            &format!("completeness/{name}"),
            about,
            &receipt,
            ("completeness", Some(2), member),
        )
    };
    let cut = |name: &str, about: &str, entries: usize| {
        let mut receipt = receipt_of(&effectful());
        receipt.entries.truncate(entries);
        Vector::refused(
            &format!("completeness/{name}"),
            about,
            &receipt,
            ("completeness", None, "entries"),
        )
    };
    vec![
        changed(
            "records-more",
            "task.close counts one record too many.",
            "records",
            |r| r.records = Some(4),
        ),
        changed(
            "records-less",
            "task.close counts one record too few.",
            "records",
            |r| r.records = Some(2),
        ),
        changed(
            "records-absent",
            "task.close does not count the records.",
            "records",
            |r| r.records = None,
        ),
        changed(
            "head-wrong",
            "task.close names another head.",
            "head",
            |r| r.head = Some(digest(0)),
        ),
        changed("head-absent", "task.close names no head.", "head", |r| {
            r.head = None
        }),
        cut(
            "missing-close",
            "The entry that closes the task was cut off.",
            3,
        ),
        cut("cut-tail", "The last two entries were cut off.", 2),
        cut("only-the-first", "All but the first entry were cut off.", 1),
    ]
}

fn disclosures() -> Vec<Vector> {
    let of = |name: &str,
              about: &str,
              number: Option<usize>,
              member: &str,
              records: &[Record],
              blobs: Vec<Vec<u8>>| {
        let mut receipt = receipt_of(records);
        receipt.disclosures = blobs;
        Vector::refused(
            &format!("disclosure/{name}"),
            about,
            &receipt,
            ("disclosure", number, member),
        )
    };
    let output = || output_of("balance").into_bytes();
    let changed = |position: usize| {
        let mut blob = output();
        blob[position] ^= 1;
        vec![blob]
    };
    let lying = |change: Change| {
        let mut records = pure();
        change(&mut records[1]);
        records
    };
    let mut judged = pure();
    judged[1].verdicts = vec![verdict(crate::record::VerdictKind::Allow)];
    judged[1].verdicts[0].input.size += 1;
    let plain = Blob::plain(output_of("balance").payload());
    vec![
        of(
            "unspoken",
            "A blob of which no record speaks.",
            None,
            "disclosures[0]",
            &pure(),
            vec![b"{}".to_vec()],
        ),
        of(
            "payload-changed",
            "One bit of a disclosed payload is changed.",
            None,
            "disclosures[0]",
            &pure(),
            changed(60),
        ),
        of(
            "salt-changed",
            "One bit of a salt is changed.",
            None,
            "disclosures[0]",
            &pure(),
            changed(25),
        ),
        of(
            "without-salt",
            "The payload alone, where a record speaks of a salted blob.",
            None,
            "disclosures[0]",
            &pure(),
            vec![plain.clone().into_bytes()],
        ),
        of(
            "doubled",
            "A blob stands twice.",
            None,
            "disclosures[1]",
            &pure(),
            vec![output(); 2],
        ),
        of(
            "empty",
            "An empty blob.",
            None,
            "disclosures[0]",
            &pure(),
            vec![Vec::new()],
        ),
        of(
            "size-more",
            "The record says a larger size.",
            Some(1),
            "output.size",
            &lying(|r| r.output.as_mut().unwrap().size += 1),
            vec![output()],
        ),
        of(
            "size-of-the-blob",
            "The record counts prefix and salt.",
            Some(1),
            "output.size",
            &lying(|r| r.output.as_mut().unwrap().size += 52),
            vec![output()],
        ),
        of(
            "blind-said-plain",
            "The record calls a salted blob plain, and the size is of the payload.",
            Some(1),
            "output.size",
            &lying(|r| r.output.as_mut().unwrap().commit = CommitKind::Plain),
            vec![output()],
        ),
        of(
            "plain-said-blind",
            "The record calls a plain payload salted.",
            Some(1),
            "output.commit",
            &lying(|r| {
                let mut output =
                    Blob::plain(output_of("balance").payload()).commitment("application/json");
                output.commit = CommitKind::Blind1;
                r.output = Some(output);
            }),
            vec![plain.into_bytes()],
        ),
        of(
            "policy-input-size",
            "A verdict says another size of what it judged.",
            Some(1),
            "verdicts[0].input.size",
            &judged,
            vec![policy_input().into_bytes()],
        ),
    ]
}

fn seen() -> Vec<Vector> {
    let (base, log) = linked(&pure(), |_, _| {});
    let size = log.head().size;
    let four = earlier(&base, 4).checkpoint();
    let of = |name: &str, about: &str, member: &str, receipt: &Receipt, note: &str| {
        let place = ("append-only", None, member);
        Vector::refused(&format!("append-only/{name}"), about, receipt, place).seen(note.to_owned())
    };
    // Neither yes nor no: a log that forked would leave the proof out.
    let open = |name: &str, about: &str, receipt: &Receipt| Vector {
        unanswered: vec!["append-only"],
        ..Vector::accepted(&format!("append-only/{name}"), about, receipt).seen(four.clone())
    };
    let with = |proofs: Vec<Consistency>| {
        let mut receipt = base.clone();
        receipt.consistency = proofs;
        receipt
    };
    let mut later = log.clone();
    later.append_others(5);
    let continued = Consistency {
        size: later.head().size,
        ..later.consistency(size)
    };
    let honest = log.consistency(4);
    let mut truncated = honest.clone();
    truncated.proof.pop();
    let mut longer = honest.clone();
    longer.proof.push(digest(0));
    let mut flipped = honest.clone();
    flipped.proof[0] = digest(0);
    let mut of_five = log.consistency(5);
    of_five.size = 4;
    let from_nothing = Consistency {
        size: 0,
        proof: vec![log.head().root],
    };
    let nothing = Log::default().checkpoint();
    let forged = log.head().sign(&record_key()).unwrap();
    let mut elsewhere = log.head();
    elsewhere.origin = "log.example/two".to_owned();
    let elsewhere = elsewhere.sign(&log_key()).unwrap();
    let fork = |size| other(size).checkpoint();
    let last = u8::try_from(size).unwrap();
    let proof = "consistency[0].proof";
    #[rustfmt::skip]
    let refused = [
        of("rewound", "The receipt's log is smaller than the one last seen.", "checkpoint", &base, &later.checkpoint()),
        of("rewound-and-proven", "The receipt's log is smaller than the one last seen, which is proven to continue it.", "checkpoint", &with(vec![continued]), &later.checkpoint()),
        of("rewound-and-forked", "The receipt's log is smaller than the one last seen, and none that it continued.", "checkpoint", &base, &fork(last + 1)),
        of("truncated", "The last hash of the proof is missing.", proof, &with(vec![truncated]), &four),
        of("extended", "The proof has one hash more.", proof, &with(vec![longer]), &four),
        of("flipped", "A hash of the proof is changed.", proof, &with(vec![flipped]), &four),
        of("proof-of-another-size", "The proof is from another size than it says.", proof, &with(vec![of_five]), &four),
        of("hash-from-nothing", "A proof from the empty log has a hash.", proof, &with(vec![from_nothing]), &nothing),
        of("forked-since", "The log does not continue the checkpoint last seen.", proof, &with(vec![honest]), &fork(4)),
        of("forked-among-many", "The log does not continue the checkpoint last seen; the proofs from the other sizes are genuine.", "consistency[3].proof", &with((1..size).map(|size| log.consistency(size)).collect()), &fork(4)),
        of("forked", "The log signed two heads of one size.", "checkpoint", &base, &fork(last)),
        of("last-seen-forged", "The checkpoint last seen is not signed by the log.", "last-seen", &base, &forged),
        of("last-seen-of-another-log", "The checkpoint last seen is of another log, whose key is the same.", "last-seen", &base, &elsewhere),
        of("last-seen-empty", "The checkpoint last seen is an empty file.", "last-seen", &base, ""),
    ];
    let unanswered = [
        open(
            "no-proof",
            "The receipt has no consistency proof.",
            &with(Vec::new()),
        ),
        open(
            "proofs-of-other-sizes",
            "The receipt has no consistency proof from the size last seen.",
            &with(vec![log.consistency(3), log.consistency(5)]),
        ),
    ];
    refused.into_iter().chain(unanswered).collect()
}
