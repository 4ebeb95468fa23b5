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
mod acts;
mod container;
mod erased;
mod keys;
mod links;
mod signed;
mod story;
mod trust;
mod witnesses;

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
use crate::witness_policy::{WitnessPolicy, WitnessPolicyError};

/// Fewest must-reject vectors, so that none is lost unnoticed.
const REJECTED_MIN: usize = 200;

/// The question that a fault of the trust file is a "no" to: nothing is verified then.
const TRUST: &str = "trust";

/// The same for the witness policy.
const WITNESS_POLICY: &str = "witness-policy";

/// Where a fault is: check, index in the log, member.
type Place = (&'static str, Option<u64>, String);

/// A receipt, what to verify it with, and what it must be refused for.
struct Vector {
    name: String,
    about: String,
    receipt: Vec<u8>,
    trust: Vec<u8>,
    options: Options,
    /// The text of the witness policy.
    witnesses: Option<String>,
    faults: Vec<Place>,
    /// The questions that are asked and that the receipt does not answer.
    unanswered: Vec<&'static str>,
}

/// What this crate's verifier says of a vector.
struct Judged {
    passed: bool,
    faults: Vec<Place>,
    unanswered: Vec<&'static str>,
    verdicts: Map<String, Value>,
}

impl Vector {
    fn accepted(name: &str, about: &str, receipt: &Receipt) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            receipt: receipt.to_json(),
            trust: trust().to_json(),
            options: Options::default(),
            witnesses: None,
            faults: Vec::new(),
            unanswered: Vec::new(),
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

    fn allowing_erased(mut self) -> Self {
        self.options.allow_erased = true;
        self
    }

    fn seen(mut self, note: String) -> Self {
        self.options.last_seen = Some(note);
        self
    }

    fn witnessed(mut self, policy: &str) -> Self {
        self.witnesses = Some(policy.to_owned());
        self
    }

    fn and_fault(mut self, check: &'static str, number: Option<usize>, member: &str) -> Self {
        self.faults
            .push((check, number.map(index_of), member.to_owned()));
        self
    }

    /// What this crate's verifier judges otherwise than it must.
    fn difference(&self) -> Option<String> {
        let judged = self.judged();
        let expected = (self.is_accepted(), &self.faults, &self.unanswered);
        let found = (judged.passed, &judged.faults, &judged.unanswered);
        let name = &self.name;
        (found != expected).then(|| format!("{name}: {found:?}, expected {expected:?}"))
    }

    /// The vector as a line of its file.
    fn line(&self) -> Vec<u8> {
        let judged = self.judged();
        let faults = judged.faults.iter().map(|(check, index, member)| {
            let mut fault = json!({"check": check, "member": member});
            if let Some(index) = index {
                fault["index"] = index.to_string().into();
            }
            fault
        });
        let mut line = json!({
            "name": self.name,
            "about": self.about,
            "expected": {
                "accepted": judged.passed,
                "faults": faults.collect::<Vec<_>>(),
                "verdicts": judged.verdicts,
            },
        });
        if !judged.unanswered.is_empty() {
            line["expected"]["unanswered"] = judged.unanswered.into();
        }
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
        if self.options.allow_erased {
            line["allowErased"] = true.into();
        }
        if let Some(note) = &self.options.last_seen {
            line["lastSeen"] = note.as_str().into();
        }
        if let Some(policy) = &self.witnesses {
            line["witnesses"] = policy.as_str().into();
        }
        let mut line = json::canonical(&line);
        line.push(b'\n');
        line
    }

    fn is_accepted(&self) -> bool {
        self.faults.is_empty() && self.unanswered.is_empty()
    }

    fn judged(&self) -> Judged {
        let refused = |check, member| Judged {
            passed: false,
            faults: vec![(check, None, member)],
            unanswered: Vec::new(),
            verdicts: Map::new(),
        };
        let trust = match TrustFile::parse(&self.trust) {
            Ok(trust) => trust,
            Err(error) => return refused(TRUST, member(&error)),
        };
        let mut options = self.options.clone();
        if let Some(policy) = &self.witnesses {
            options.witnesses = match WitnessPolicy::parse(policy.as_bytes()) {
                Ok(policy) => Some(policy),
                Err(error) => return refused(WITNESS_POLICY, line_of(&error)),
            };
        }
        let report = verify_bytes(&self.receipt, &trust, &options);
        let verdicts = report.verdicts.all();
        let verdicts = verdicts.iter().map(|(check, outcome)| {
            let outcome = Value::from(outcome.as_str());
            (check.as_str().to_owned(), outcome)
        });
        let place = |fault: &crate::verify::Fault| {
            (fault.check.as_str(), fault.index, fault.member.clone())
        };
        Judged {
            passed: report.passed(),
            faults: report.faults.iter().map(place).collect(),
            unanswered: report.unanswered.iter().map(|u| u.check.as_str()).collect(),
            verdicts: verdicts.collect(),
        }
    }
}

/// The line of a witness policy that is at fault.
fn line_of(error: &WitnessPolicyError) -> String {
    match error {
        WitnessPolicyError::Line { line, .. } => format!("line {line}"),
        WitnessPolicyError::TooLarge { .. } | WitnessPolicyError::NoQuorum => String::new(),
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
        acts::vectors(),
        container::vectors(),
        erased::rejected(),
        keys::vectors(),
        links::vectors(),
        signed::vectors(),
        story::vectors(),
        trust::vectors(),
        witnesses::rejected(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn the_committed_vectors_are_the_ones_that_are_made_and_each_is_judged_as_it_says() {
    let mut accepted = accept::vectors();
    accepted.extend(erased::accepted());
    accepted.extend(witnesses::accepted());
    let rejected = rejected();
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
    assert!(accepted.iter().all(Vector::is_accepted));
    assert!(!rejected.iter().any(Vector::is_accepted));
    let all = accepted.iter().chain(&rejected);
    let differences: Vec<String> = all.filter_map(Vector::difference).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
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
