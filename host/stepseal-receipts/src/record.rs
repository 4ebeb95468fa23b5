//! The record: one signed entry of the audit log (format §2).
//!
//! A record is the predicate of an in-toto Statement v1. [`Record::to_statement`] gives the bytes that are signed,
//! [`Record::parse`] reads them back, [`sign`] wraps them in a DSSE envelope and builds the leaf of the log.
//!
//! Deliberately absent: whether a record makes sense beside the others of its task. That is [`crate::verify`]'s.

mod act;
mod approval;
mod decode;
mod encode;
pub(crate) mod members;
mod names;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::dsse::{self, Envelope, Signature};
use crate::json::{self, JsonError};
use crate::keys::SigningKey;
use crate::leaf;
use crate::payload::{CommitKind, Commitment};
use crate::time::Timestamp;

pub use act::{Actor, Binding, ErasedEntry, Erasure, KeyChange, LABEL_BYTES_MAX, Shard, ShardHead};
pub use approval::{approval_subject, sign_approval};
pub use members::MemberError;
pub use names::{
    BindingChange, Decision, ErasureScope, KeyRole, Kind, Mode, Stage, Status, UnknownName,
    VerdictKind,
};

/// `_type` of every statement (in-toto Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of every record.
pub const PREDICATE_TYPE: &str = "https://stepseal.dev/record/v1";

/// Most items of any list that one record can have. The record's size keeps most of them far below.
pub const ITEMS_MAX: usize = 256;

/// What a record says. A member that is `None` or empty is absent from the statement and claims nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub kind: Kind,
    /// Origin of the log it was written for, so that it cannot be shown as an entry of another.
    pub log: String,
    /// Randomness, so that the leaf hides the record once the record is erased.
    pub nonce: [u8; 16],
    /// The task it belongs to and its place there.
    pub task: Option<TaskLink>,
    /// The attempt it speaks of.
    pub step: Option<StepRef>,
    /// Digest of the pinned plan.
    pub plan: Option<Digest>,
    /// Digest of the set of policies in force.
    pub policies: Option<Digest>,
    /// The exact bytes that ran, or were to run.
    pub component: Option<ComponentRef>,
    /// What ran them.
    pub runtime: Option<Runtime>,
    /// Digest of the grants in force.
    pub grants: Option<Digest>,
    /// The limits of the attempt.
    pub limits: Option<Limits>,
    /// What the step or the task was given.
    pub input: Option<Commitment>,
    /// What the step gave.
    pub output: Option<Commitment>,
    /// What each policy said, in the order they were asked.
    pub verdicts: Vec<Verdict>,
    /// What each person said.
    pub approvals: Vec<Approval>,
    /// The ordered transcript of effectful host calls.
    pub hostcalls: Option<HostCalls>,
    /// Fuel of the attempt; absent where nothing ran.
    pub fuel: Option<Fuel>,
    /// Memory of the attempt.
    pub memory: Option<Memory>,
    /// What randomness started from.
    pub seed: Option<[u8; 32]>,
    /// When it happened, by the host's clock: a claim, not proof.
    pub time: Option<Span>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// W3C Trace Context of the request that caused it.
    pub trace: Option<Trace>,
    /// `task.close` only: number of records of the task, this one included.
    pub records: Option<u64>,
    /// `task.close` only: leaf hash of the record before.
    pub head: Option<Digest>,
    /// Acts of the host only: who asked for it.
    pub actor: Option<Actor>,
    /// `grant.changed` only: name of the plugin.
    pub plugin: Option<String>,
    /// `policy.changed` only: what happened to the binding.
    pub binding: Option<Binding>,
    /// `key.rotate` and `key.revoke` only: the key.
    pub key: Option<KeyChange>,
    /// `erasure` only: what was erased.
    pub erasure: Option<Erasure>,
    /// `shard.open` only: which shard the log is.
    pub shard: Option<Shard>,
    /// Members this version does not know: signed, so kept and shown. Members of nested objects are nested here
    /// the same way, those of a list's items under the item's number.
    pub unrecognised: Map<String, Value>,
}

/// The task a record belongs to and its place in the task's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLink {
    /// The task's id.
    pub id: String,
    /// Number of the record in its task, from 0.
    pub seq: u64,
    /// Leaf hash of the task's previous record; absent only at 0.
    pub prev: Option<Digest>,
}

/// One attempt of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRef {
    /// The step's id in its plan.
    pub id: String,
    /// Its place in the plan, from 0.
    pub index: u64,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The plugin's step type.
    pub step_type: String,
}

/// A component by name and by its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRef {
    /// Name its description gives.
    pub name: String,
    /// Version its description gives.
    pub version: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// What ran a step. Fuel and output bytes are promised per engine version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// The host and its version.
    pub host: String,
    /// The engine and its version.
    pub engine: String,
    /// Digest of the engine's configuration.
    pub config: Digest,
}

/// Limits of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes of memory and tables together.
    pub memory: u64,
    /// Milliseconds of wall time.
    pub wall_ms: u64,
    /// Bytes of input.
    pub input: u64,
    /// Bytes of output.
    pub output: u64,
}

/// What one policy said at one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Digest of the policy's component.
    pub policy: Digest,
    /// Name of the policy.
    pub name: String,
    /// When it was asked.
    pub stage: Stage,
    /// What it said.
    pub verdict: VerdictKind,
    /// Whether its word counts.
    pub mode: Mode,
    /// The reason's code, for programs.
    pub code: Option<String>,
    /// The reason, for people.
    pub reason: Option<String>,
    /// `needs-approval` only: how many different people must approve; absent means one.
    pub approvers: Option<u32>,
    /// `needs-approval` only: the role those people must have.
    pub role: Option<String>,
    /// Digest of the settings it was bound with.
    pub settings: Digest,
    /// What it judged.
    pub input: PolicyInput,
    /// Units of fuel it used.
    pub fuel: u64,
}

/// Commitment to the document a policy judged; always `application/json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyInput {
    /// SHA-256 of the blob.
    pub digest: Digest,
    /// Bytes of the document, without prefix and salt.
    pub size: u64,
    /// How the digest was made.
    pub commit: CommitKind,
}

/// What one person said about one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub approver: String,
    /// Yes or no.
    pub decision: Decision,
    /// The role the approver acted in.
    pub role: Option<String>,
    /// Digest of what was shown: see [`approval_subject`].
    pub subject: Digest,
    /// SHA-256 of the PAE of the approver's own envelope, where there is one.
    pub envelope: Option<Digest>,
}

/// The effectful host calls of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCalls {
    /// How many.
    pub count: u64,
    /// SHA-256 of the transcript.
    pub digest: Digest,
}

/// Fuel of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fuel {
    /// What it was given.
    pub limit: u64,
    /// What it used.
    pub used: u64,
}

/// Memory of one attempt, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What it was allowed.
    pub limit: u64,
    /// The most it had at once.
    pub peak: u64,
}

/// A span of the host's clock. A step's virtual clock starts at `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// How an attempt or a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended, by name.
    pub status: Status,
    /// The reason's code, for programs.
    pub code: Option<String>,
    /// The reason, for people.
    pub message: Option<String>,
}

/// W3C Trace Context identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `trace-id`.
    pub trace_id: [u8; 16],
    /// `parent-id`.
    pub span_id: [u8; 8],
}

/// A record that is signed and ready to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The envelope: store and ship its payload as it is.
    pub envelope: Envelope,
    /// The entry of the log, which holds nothing of the record.
    pub leaf: Vec<u8>,
    /// Hash of `leaf`, and the `prev` of the task's next record.
    pub leaf_hash: Digest,
}

/// Why bytes are no record, or a record cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The bytes break the rules of signed JSON.
    #[error("the record is not signed JSON: {0}")]
    Json(#[from] JsonError),
    /// The statement is longer than a record may be.
    #[error(
        "the record has {bytes} bytes, and at most {max} are allowed: shorten messages and reasons",
        max = json::RECORD_BYTES_MAX
    )]
    TooLarge {
        /// Bytes of the statement.
        bytes: usize,
    },
    /// A member is absent, malformed or not the record's.
    #[error("the record's {0}")]
    Member(#[from] MemberError),
}

impl RecordError {
    /// Path of the member at fault, like `predicate.task.seq`; `payload` where it is the whole text.
    pub fn member(&self) -> &str {
        match self {
            Self::Json(_) | Self::TooLarge { .. } => "payload",
            Self::Member(error) => error.member(),
        }
    }
}

impl Record {
    /// A record that claims nothing yet but its kind, the log it is for and its nonce.
    pub fn new(kind: Kind, log: impl Into<String>, nonce: [u8; 16]) -> Self {
        Self {
            kind,
            log: log.into(),
            nonce,
            task: None,
            step: None,
            plan: None,
            policies: None,
            component: None,
            runtime: None,
            grants: None,
            limits: None,
            input: None,
            output: None,
            verdicts: Vec::new(),
            approvals: Vec::new(),
            hostcalls: None,
            fuel: None,
            memory: None,
            seed: None,
            time: None,
            outcome: None,
            trace: None,
            records: None,
            head: None,
            actor: None,
            plugin: None,
            binding: None,
            key: None,
            erasure: None,
            shard: None,
            unrecognised: Map::new(),
        }
    }

    /// The digests the statement is about, by name and in the format's order.
    pub fn subject(&self) -> Vec<(&'static str, Digest)> {
        if self.kind == Kind::TaskOpen {
            return self.plan.iter().map(|plan| ("plan", *plan)).collect();
        }
        let output = self.output.as_ref().map(|output| ("output", output.digest));
        let input = self.input.as_ref().map(|input| ("input", input.digest));
        let component = self
            .component
            .as_ref()
            .map(|component| ("component", component.digest));
        [output, input, component].into_iter().flatten().collect()
    }

    /// The bytes that are signed: the in-toto Statement in canonical JSON (RFC 8785).
    pub fn to_statement(&self) -> Vec<u8> {
        encode::statement(self)
    }

    /// Reads the bytes of a statement. They must be canonical already and follow the rules of signed JSON.
    pub fn parse(statement: &[u8]) -> Result<Self, RecordError> {
        let value = json::parse_signed_borrowed(statement, &json::RECORD_LIMITS)?;
        Ok(decode::statement(value)?)
    }
}

/// Signs a record and builds its leaf. Fails only where the statement is longer than a record may be, or has unrecognised members
/// that no record may have, so that nothing enters the log which a verifier would refuse to read.
pub fn sign(record: &Record, key: &SigningKey) -> Result<SignedRecord, RecordError> {
    let payload = record.to_statement();
    if payload.len() > json::RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge {
            bytes: payload.len(),
        });
    }
    if !record.unrecognised.is_empty() {
        // Others named these members: what nobody could read again is not signed.
        Record::parse(&payload)?;
    }
    let pae = dsse::pae(dsse::IN_TOTO, &payload);
    let sig = key.sign(&pae);
    let public = key.public();
    let leaf = leaf::leaf(&Digest::of(&pae), &sig, &public);
    let leaf_hash = leaf::leaf_hash(&leaf);
    Ok(SignedRecord {
        envelope: Envelope {
            payload_type: dsse::IN_TOTO.to_owned(),
            payload,
            signatures: vec![Signature {
                keyid: Some(public.id().to_hex()),
                sig,
            }],
        },
        leaf,
        leaf_hash,
    })
}
