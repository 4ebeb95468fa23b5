//! A log with real keys, and receipts of tasks in it.

use std::collections::HashMap;

use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::dsse::{Envelope, IN_TOTO};
use crate::keys::SigningKey;
use crate::leaf;
use crate::note::VerifierKey;
use crate::payload::{Blob, CommitKind};
use crate::receipt::{Consistency, Entry, Receipt};
use crate::record::{
    Approval, ComponentRef, Decision, Fuel, HostCalls, Kind, Limits, Mode, Outcome, PolicyInput,
    Record, Stage, Status, StepRef, TaskLink, Verdict, VerdictKind, approval_subject,
};
use crate::tree::{Frontier, NodeId, ProofPlan};
use crate::trust::{ApproverKey, RecordKey, TrustFile};
use crate::verify::{Check, Fault, Options, Report, verify, verify_bytes};

pub(super) const ORIGIN: &str = "log.example/one";
pub(super) const TASK: &str = "task-7";
/// Who has a key, and signs.
pub(super) const APPROVER: &str = "cleo";

pub(super) fn log_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

pub(super) fn record_key() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

pub(super) fn approver_key() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

pub(super) fn trust() -> TrustFile {
    TrustFile {
        origin: ORIGIN.to_owned(),
        log: vec![VerifierKey::new(ORIGIN, &log_key().public()).unwrap()],
        records: vec![RecordKey {
            key: record_key().public(),
            from_index: 0,
            to_index: None,
        }],
        approvers: vec![ApproverKey {
            name: APPROVER.to_owned(),
            key: approver_key().public(),
            from_index: 0,
            to_index: None,
        }],
        root: Vec::new(),
    }
}

/// A log that keeps every node.
#[derive(Clone, Default)]
pub(super) struct Log {
    frontier: Frontier,
    nodes: HashMap<NodeId, Digest>,
}

impl Log {
    pub(super) fn append(&mut self, leaf_hash: Digest) -> u64 {
        let index = self.frontier.size();
        self.nodes.extend(self.frontier.append(leaf_hash));
        index
    }

    /// Appends leaves of which nobody asks.
    pub(super) fn append_others(&mut self, count: u64) {
        for _ in 0..count {
            let size = self.frontier.size();
            self.append(Digest::of(&size.to_be_bytes()));
        }
    }

    pub(super) fn head(&self) -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size: self.frontier.size(),
            root: self.frontier.root(),
        }
    }

    pub(super) fn checkpoint(&self) -> String {
        self.head().sign(&log_key()).unwrap()
    }

    /// Gives every entry of a receipt its proof in the log as it is now, and the receipt the log's checkpoint.
    pub(super) fn prove(&self, receipt: &mut Receipt) {
        receipt.checkpoint = self.checkpoint();
        for entry in &mut receipt.entries {
            entry.proof = self.inclusion(entry.index);
        }
        for erased in &mut receipt.erased {
            erased.proof = self.inclusion(erased.index);
        }
    }

    fn assemble(&self, plan: &ProofPlan) -> Vec<Digest> {
        plan.assemble(|node| self.nodes.get(&node).copied())
            .unwrap()
    }

    pub(super) fn inclusion(&self, index: u64) -> Vec<Digest> {
        self.assemble(&ProofPlan::inclusion(index, self.frontier.size()).unwrap())
    }

    pub(super) fn consistency(&self, size: u64) -> Consistency {
        Consistency {
            size,
            proof: self.assemble(&ProofPlan::consistency(size, self.frontier.size()).unwrap()),
        }
    }
}

/// Index in the log of the entry with a number: three others come first, and one between each two.
pub(super) fn index_of(number: usize) -> u64 {
    3 + 2 * number as u64
}

/// The receipt of a task with these records, linked and signed; `change` sees each record just before it is signed.
pub(super) fn linked(records: &[Record], change: impl Fn(usize, &mut Record)) -> (Receipt, Log) {
    rewritten(records, change, |_, statement| statement)
}

/// Like [`linked`]; `rewrite` sees each statement just before it is signed, and may make it one that no record has.
pub(super) fn rewritten(
    records: &[Record],
    change: impl Fn(usize, &mut Record),
    rewrite: impl Fn(usize, Vec<u8>) -> Vec<u8>,
) -> (Receipt, Log) {
    let mut log = Log::default();
    log.append_others(3);
    let mut entries = Vec::new();
    let mut prev = None;
    for (number, record) in records.iter().enumerate() {
        let mut record = record.clone();
        record.nonce = [u8::try_from(number).unwrap(); 16];
        record.task = Some(TaskLink {
            id: TASK.to_owned(),
            seq: number as u64,
            prev,
        });
        if record.kind == Kind::TaskClose {
            record.records = Some(number as u64 + 1);
            record.head = prev;
        }
        change(number, &mut record);
        let statement = rewrite(number, record.to_statement());
        let envelope = Envelope::sign(IN_TOTO, statement, &record_key());
        let signature = &envelope.signatures[0].sig;
        let leaf = leaf::leaf(&envelope.pae_digest(), signature, &record_key().public());
        let leaf_hash = leaf::leaf_hash(&leaf);
        let index = log.append(leaf_hash);
        assert_eq!(index, index_of(number));
        log.append_others(1);
        prev = Some(leaf_hash);
        entries.push((index, envelope));
    }
    log.append_others(2);
    let entry = |(index, envelope)| Entry {
        index,
        envelope,
        proof: log.inclusion(index),
    };
    let receipt = Receipt {
        checkpoint: log.checkpoint(),
        entries: entries.into_iter().map(entry).collect(),
        erased: Vec::new(),
        approvals: Vec::new(),
        disclosures: Vec::new(),
        consistency: Vec::new(),
        unrecognised: serde_json::Map::new(),
    };
    (receipt, log)
}

pub(super) fn receipt_of(records: &[Record]) -> Receipt {
    linked(records, |_, _| {}).0
}

pub(super) fn digest(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

pub(super) fn record(kind: Kind) -> Record {
    Record::new(kind, ORIGIN, [0; 16])
}

pub(super) fn ended(mut record: Record, status: Status) -> Record {
    record.outcome = Some(Outcome {
        status,
        code: None,
        message: None,
    });
    record
}

pub(super) fn plan() -> Blob {
    let plan = br#"{"steps":[{"id":"balance"},{"id":"pay"},{"id":"fetch"}]}"#;
    Blob::blind([9; 32], plan)
}

pub(super) fn input_of(step: &str) -> Blob {
    Blob::blind([8; 32], format!(r#"{{"of":"{step}"}}"#).as_bytes())
}

pub(super) fn output_of(step: &str) -> Blob {
    Blob::blind([7; 32], format!(r#"{{"from":"{step}"}}"#).as_bytes())
}

pub(super) fn policy_input() -> Blob {
    Blob::blind([6; 32], br#"{"stage":"before-step"}"#)
}

pub(super) fn opened() -> Record {
    let mut record = record(Kind::TaskOpen);
    record.plan = Some(plan().digest());
    record.policies = Some(digest(40));
    record.input = Some(input_of("task").commitment("application/json"));
    record
}

pub(super) fn closed(status: Status) -> Record {
    ended(record(Kind::TaskClose), status)
}

/// A record of a step's first attempt, with what every attempt has.
pub(super) fn attempt(kind: Kind, id: &str, index: u64) -> Record {
    let mut record = record(kind);
    record.step = Some(StepRef {
        id: id.to_owned(),
        index,
        attempt: 1,
        step_type: "do".to_owned(),
    });
    record.component = Some(ComponentRef {
        name: "ledger".to_owned(),
        version: "0.1.0".to_owned(),
        digest: digest(41),
    });
    record.grants = Some(digest(42));
    record.limits = Some(Limits {
        fuel: 1000,
        memory: 1 << 20,
        wall_ms: 1000,
        input: 1 << 10,
        output: 1 << 10,
    });
    record.input = Some(input_of(id).commitment("application/json"));
    record
}

/// The record of an attempt that ran and gave an output.
pub(super) fn completed(id: &str, index: u64) -> Record {
    let mut record = ended(attempt(Kind::StepCompleted, id, index), Status::Ok);
    record.output = Some(output_of(id).commitment("application/json"));
    record.fuel = Some(Fuel {
        limit: 1000,
        used: 1000,
    });
    record
}

/// The record of an attempt that ran and failed.
pub(super) fn failed(id: &str, index: u64, status: Status) -> Record {
    let mut record = ended(attempt(Kind::StepFailed, id, index), status);
    record.fuel = Some(Fuel {
        limit: 1000,
        used: 10,
    });
    record
}

pub(super) fn verdict(kind: VerdictKind) -> Verdict {
    Verdict {
        policy: digest(43),
        name: "spending-limit".to_owned(),
        stage: Stage::BeforeStep,
        verdict: kind,
        mode: Mode::Enforce,
        code: None,
        reason: None,
        approvers: None,
        role: None,
        settings: digest(44),
        input: PolicyInput {
            digest: policy_input().digest(),
            size: policy_input().payload().len() as u64,
            commit: CommitKind::Blind1,
        },
        fuel: 5,
    }
}

/// What a person says of the attempt in `record`, under the policies the task was opened with.
pub(super) fn approval(record: &Record, approver: &str, decision: Decision) -> Approval {
    let step = record.step.as_ref().unwrap();
    let (_, subject) = approval_subject(
        TASK,
        &step.id,
        step.attempt,
        &record.component.as_ref().unwrap().digest,
        &record.input.as_ref().unwrap().digest,
        record.grants.as_ref().unwrap(),
        &digest(40),
    );
    Approval {
        approver: approver.to_owned(),
        decision,
        role: Some("treasurer".to_owned()),
        subject,
        envelope: None,
    }
}

/// Puts what the approver with a key signed in the place of what the host says that the first one decided.
pub(super) fn signed_by_approver(record: &mut Record, envelope: &Envelope) {
    let approval = &mut record.approvals[0];
    approval.approver = APPROVER.to_owned();
    approval.envelope = Some(envelope.pae_digest());
}

/// The authorization of the effectful step: a policy asked two treasurers, and both approved.
pub(super) fn authorized() -> Record {
    let mut record = attempt(Kind::StepAuthorized, "pay", 1);
    let mut verdict = verdict(VerdictKind::NeedsApproval);
    verdict.approvers = Some(2);
    verdict.role = Some("treasurer".to_owned());
    record.verdicts = vec![verdict];
    record.approvals = ["ada", "bob"]
        .map(|approver| approval(&record, approver, Decision::Approve))
        .to_vec();
    record
}

pub(super) fn paid() -> Record {
    let mut record = completed("pay", 1);
    record.hostcalls = Some(HostCalls {
        count: 2,
        digest: digest(45),
    });
    record
}

/// A task with a pure step, an effectful one that two people approved, and one that succeeds when tried again.
pub(super) fn story() -> Vec<Record> {
    let mut again = completed("fetch", 2);
    again.step.as_mut().unwrap().attempt = 2;
    vec![
        opened(),
        completed("balance", 0),
        authorized(),
        paid(),
        failed("fetch", 2, Status::Unavailable),
        again,
        closed(Status::Ok),
    ]
}

/// The story's receipt with some of what it speaks of disclosed.
pub(super) fn story_receipt() -> Receipt {
    let mut receipt = receipt_of(&story());
    let blobs = [
        plan(),
        input_of("balance"),
        output_of("pay"),
        policy_input(),
    ];
    receipt.disclosures = blobs.map(Blob::into_bytes).to_vec();
    receipt
}

/// What a stranger finds, who has only the receipt's bytes and the trust file.
pub(super) fn report(receipt: &Receipt) -> Report {
    let options = Options::default();
    let report = verify_bytes(&receipt.to_json(), &trust(), &options);
    assert_eq!(
        report,
        verify(receipt, &trust(), &options),
        "through bytes and without"
    );
    report
}

/// Asserts that a report has exactly one fault, and where.
#[track_caller]
pub(super) fn assert_fault(report: &Report, check: Check, index: Option<u64>, member: &str) {
    let places: Vec<_> = report.faults.iter().map(place).collect();
    assert_eq!(places, [(check, index, member)], "{:#?}", report.faults);
    assert!(!report.passed());
}

fn place(fault: &Fault) -> (Check, Option<u64>, &str) {
    (fault.check, fault.index, &fault.member)
}
