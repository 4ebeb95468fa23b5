//! The published test vectors (`vectors/` beside `FORMAT.md`): made here from fixed seeds, judged, and compared with what
//! is committed. `UPDATE_VECTORS=1` writes them.
//!
//! Each must-reject vector has one fault, and each expected fault is written by hand beside it.

#![expect(
    clippy::too_many_lines,
    clippy::semicolon_if_nothing_returned,
    reason = "the functions are lists, and each vector's change is one expression"
)]

mod accept;
mod container;
mod keys;
mod links;
mod signed;
mod story;
mod trust;

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::world::*;
use crate::json;
use crate::receipt::Receipt;
use crate::record::{Fuel, Record, Status};
use crate::trust::{TrustError, TrustFile};
use crate::verify::{Options, verify_bytes};

/// Fewest must-reject vectors, so that none is lost unnoticed.
const REJECTED_MIN: usize = 200;

/// The question that a fault of the trust file is a "no" to: nothing is verified then.
const TRUST: &str = "trust";

/// Where a fault is: check, index in the log, member.
type Place = (&'static str, Option<u64>, String);

/// A receipt, what to verify it with, and the faults it must be refused for.
struct Vector {
    name: String,
    about: String,
    receipt: Vec<u8>,
    trust: Vec<u8>,
    options: Options,
    faults: Vec<Place>,
}

impl Vector {
    fn accepted(name: &str, about: &str, receipt: &Receipt) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            receipt: receipt.to_json(),
            trust: trust().to_json(),
            options: Options::default(),
            faults: Vec::new(),
        }
    }

    /// One that is refused for one fault; `number` is the entry's place in the story.
    fn refused(
        name: &str,
        about: &str,
        receipt: &Receipt,
        (check, number, member): (&'static str, Option<usize>, &str),
    ) -> Self {
        let fault = (check, number.map(index_of), member.to_owned());
        Self {
            faults: vec![fault],
            ..Self::accepted(name, about, receipt)
        }
    }

    fn with_receipt(self, receipt: Vec<u8>) -> Self {
        Self { receipt, ..self }
    }

    fn with_trust(self, trust: Vec<u8>) -> Self {
        Self { trust, ..self }
    }

    fn seen(mut self, note: String) -> Self {
        self.options.last_seen = Some(note);
        self
    }

    fn and_fault(mut self, check: &'static str, number: Option<usize>, member: &str) -> Self {
        self.faults
            .push((check, number.map(index_of), member.to_owned()));
        self
    }

    /// The vector as a line of its file, once this crate's verifier judged it as it must.
    fn line(&self) -> Vec<u8> {
        let (verdicts, faults, passed) = self.judged();
        assert_eq!(faults, self.faults, "{}: its faults", self.name);
        assert_eq!(
            passed,
            self.faults.is_empty(),
            "{}: accepted without a fault, and only then",
            self.name
        );
        let faults = faults.iter().map(|(check, index, member)| {
            let mut fault = json!({"check": check, "member": member});
            if let Some(index) = index {
                fault["index"] = index.to_string().into();
            }
            fault
        });
        let mut line = json!({
            "name": self.name,
            "about": self.about,
            "expected": {"accepted": passed, "faults": faults.collect::<Vec<_>>(), "verdicts": verdicts},
        });
        match std::str::from_utf8(&self.receipt) {
            Ok(text) => line["receipt"] = text.into(),
            Err(_) => line["receiptBase64"] = STANDARD.encode(&self.receipt).into(),
        }
        if self.trust != trust().to_json() {
            line["trust"] = std::str::from_utf8(&self.trust).unwrap().into();
        }
        if self.options.allow_open {
            line["allowOpen"] = true.into();
        }
        if let Some(note) = &self.options.last_seen {
            line["lastSeen"] = note.as_str().into();
        }
        let mut line = json::canonical(&line);
        line.push(b'\n');
        line
    }

    /// Verdicts and faults of this crate's verifier.
    fn judged(&self) -> (Map<String, Value>, Vec<Place>, bool) {
        let trust = match TrustFile::parse(&self.trust) {
            Ok(trust) => trust,
            Err(error) => return (Map::new(), vec![(TRUST, None, member(&error))], false),
        };
        let report = verify_bytes(&self.receipt, &trust, &self.options);
        let verdicts = report.verdicts.all();
        let verdicts = verdicts.iter().map(|(check, outcome)| {
            let outcome = Value::from(outcome.as_str());
            (check.as_str().to_owned(), outcome)
        });
        let place = |fault: &crate::verify::Fault| {
            (fault.check.as_str(), fault.index, fault.member.clone())
        };
        let faults = report.faults.iter().map(place).collect();
        (verdicts.collect(), faults, report.passed())
    }
}

/// The member of a trust file that is at fault.
fn member(error: &TrustError) -> String {
    match error {
        TrustError::Json(error) => error.pointer.clone(),
        TrustError::Member(error) => error.member().to_owned(),
        TrustError::NoKey { member } => (*member).to_owned(),
        TrustError::Duplicate { second, .. } => second.clone(),
        TrustError::OtherOrigin { number, .. } => format!("log[{number}]"),
    }
}

/// A task with one pure step, and no member that can be spared: most vectors need no more.
fn pure() -> Vec<Record> {
    let mut open = opened();
    open.policies = None;
    open.input = None;
    let mut step = completed("balance", 0);
    step.grants = None;
    step.limits = None;
    vec![open, step, closed(Status::Ok)]
}

/// A task that ended before it began: where the records do not matter.
fn bare() -> Vec<Record> {
    let mut records = pure();
    records[2] = closed(Status::Cancelled);
    records.remove(1);
    records
}

/// A task with one effectful step that a policy allowed.
fn effectful() -> Vec<Record> {
    let mut allowed = attempt(crate::record::Kind::StepAuthorized, "pay", 1);
    allowed.verdicts = vec![verdict(crate::record::VerdictKind::Allow)];
    vec![opened(), allowed, paid(), closed(Status::Ok)]
}

/// A task with one step that fails and then succeeds.
fn retried() -> Vec<Record> {
    let mut lost = failed("fetch", 2, Status::Unavailable);
    let mut again = completed("fetch", 2);
    for record in [&mut lost, &mut again] {
        record.grants = None;
        record.limits = None;
        record.fuel = Some(Fuel { limit: 9, used: 9 });
    }
    again.step.as_mut().unwrap().attempt = 2;
    vec![opened(), lost, again, closed(Status::Ok)]
}

fn lines(vectors: &[Vector]) -> Vec<u8> {
    vectors.iter().flat_map(Vector::line).collect()
}

fn rejected() -> Vec<Vector> {
    [
        container::vectors(),
        keys::vectors(),
        links::vectors(),
        signed::vectors(),
        story::vectors(),
        trust::vectors(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn the_committed_vectors_are_the_ones_that_are_made_and_each_is_judged_as_it_says() {
    let (accepted, rejected) = (accept::vectors(), rejected());
    let names: BTreeSet<&str> = accepted
        .iter()
        .chain(&rejected)
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(
        names.len(),
        accepted.len() + rejected.len(),
        "every vector has a name of its own"
    );
    assert!(accepted.iter().all(|vector| vector.faults.is_empty()));
    assert!(rejected.iter().all(|vector| !vector.faults.is_empty()));
    assert!(rejected.len() >= REJECTED_MIN, "{}", rejected.len());

    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let files = [
        ("trust.json", trust().to_json()),
        ("accept.jsonl", lines(&accepted)),
        ("reject.jsonl", lines(&rejected)),
    ];
    for (name, made) in files {
        let path = directory.join(name);
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap_or_default() == made,
            "vectors/{name} is not what the code makes: run this test with UPDATE_VECTORS=1 and commit the file"
        );
    }
}
