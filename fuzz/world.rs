//! A small log with real keys: what the targets believe, and what the seeds are made of.

use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::cosignature::WitnessKey;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::record::{Kind, Outcome, Record, Status, TaskLink, sign};
use stepseal_receipts::tree::Frontier;
use stepseal_receipts::trust::{ApproverKey, RecordKey, TrustFile};

const ORIGIN: &str = "log.example/fuzz";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// The keys that are believed.
pub fn trust() -> TrustFile {
    TrustFile {
        origin: ORIGIN.to_owned(),
        log: vec![VerifierKey::new(ORIGIN, &key(1).public()).expect("a good origin")],
        records: vec![RecordKey {
            key: key(2).public(),
            from_index: 0,
            to_index: None,
        }],
        approvers: vec![ApproverKey {
            from_index: 0,
            to_index: None,
            name: "ada".to_owned(),
            key: key(3).public(),
        }],
        root: vec![key(4).public()],
    }
}

/// A witness policy that asks one of two.
pub fn policy() -> String {
    let witness = |name: &str, seed| {
        let witness = WitnessKey::new(name, &key(seed).public()).expect("a good name");
        format!("witness {name} {witness} https://{name}/\n")
    };
    let log = &trust().log[0];
    let (one, two) = (witness("one.example", 5), witness("two.example", 6));
    format!("log {log}\n{one}{two}group both any one.example two.example\nquorum both\n")
}

/// A closed task, alone in its log: the envelopes and the signed head.
pub fn log() -> (Vec<Envelope>, Frontier, String) {
    let mut tree = Frontier::new();
    let mut prev = None;
    let mut envelopes = Vec::new();
    for (seq, kind) in (0..).zip([Kind::TaskOpen, Kind::TaskClose]) {
        let mut record = Record::new(kind, ORIGIN, [7; 16]);
        record.task = Some(TaskLink {
            id: "task".to_owned(),
            seq,
            prev,
        });
        if kind == Kind::TaskOpen {
            record.plan = Some(Digest::of(b"plan"));
        } else {
            (record.records, record.head) = (Some(2), prev);
            record.outcome = Some(Outcome {
                status: Status::Cancelled,
                code: None,
                message: None,
            });
        }
        let signed = sign(&record, &key(2)).expect("it fits");
        tree.append(signed.leaf_hash);
        prev = Some(signed.leaf_hash);
        envelopes.push(signed.envelope);
    }
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    let head = checkpoint.sign(&key(1)).expect("a good origin");
    (envelopes, tree, head)
}
