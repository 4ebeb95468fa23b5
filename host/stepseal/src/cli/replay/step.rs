//! One attempt of a step, run again from its record.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::{self, BLIND1_PREFIX, Blob, CommitKind, Commitment, SALT_BYTES};
use stepseal_receipts::receipt::Receipt;
use stepseal_receipts::record::{
    ComponentRef, HostCalls, Kind, Limits, Record, Span, Status, StepRef, TaskLink,
};
use stepseal_sandbox::{
    Cancel, Invocation, KeyValueAccess, Limits as SandboxLimits, Outcome, Sandbox, StepCall,
    StepRun, Transcript,
};

use super::components::Components;
use crate::cli::output::told;

/// Wall time of a replay is no matter of the record: this machine may be slower. Fuel bounds the run all the same.
const WALL_MIN: Duration = Duration::from_mins(1);
/// How much slower than the host a replaying machine may be.
const WALL_FACTOR: u32 = 10;

/// What a receipt discloses, by digest.
pub(super) struct Disclosed<'a>(BTreeMap<Digest, &'a [u8]>);

impl<'a> Disclosed<'a> {
    pub(super) fn new(receipt: &'a Receipt) -> Self {
        let blobs = receipt.disclosures.iter();
        Self(
            blobs
                .map(|blob| (Digest::of(blob), blob.as_slice()))
                .collect(),
        )
    }

    fn blob(&self, digest: &Digest) -> Option<&'a [u8]> {
        self.0.get(digest).copied()
    }

    fn payload(&self, commitment: &Commitment) -> Option<&'a [u8]> {
        payload::open(commitment, self.blob(&commitment.digest)?).ok()
    }
}

/// What comparing one thing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Comparison {
    /// The same.
    Same,
    /// Something else; the text names the first difference.
    Differs(String),
    /// Not compared, and why.
    NotChecked(String),
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Differs(how) => write!(f, "DIFFERS: {how}"),
            Self::NotChecked(why) => write!(f, "not checked: {why}"),
        }
    }
}

impl Comparison {
    fn to_json(&self) -> Value {
        match self {
            Self::Same => json!({ "result": "same" }),
            Self::Differs(how) => json!({ "result": "differs", "detail": how }),
            Self::NotChecked(why) => json!({ "result": "not-checked", "detail": why }),
        }
    }
}

/// An attempt that was run again, or could not be.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Replayed {
    /// Place of its record in the log.
    pub(in crate::cli) index: u64,
    /// The step's id.
    pub(in crate::cli) id: String,
    /// Number of the attempt.
    pub(in crate::cli) attempt: u32,
    /// `plugin@version/step-type`.
    pub(in crate::cli) uses: String,
    /// Digest of the component.
    pub(in crate::cli) component: String,
    /// Fuel it took this time, where it was run.
    pub(in crate::cli) fuel_used: Option<u64>,
    /// How it ended.
    pub(in crate::cli) status: Comparison,
    /// What it gave.
    pub(in crate::cli) output: Comparison,
    /// What it took.
    pub(in crate::cli) fuel: Comparison,
}

impl Replayed {
    /// Whether anything differs.
    pub(in crate::cli) fn differs(&self) -> bool {
        [&self.status, &self.output, &self.fuel]
            .iter()
            .any(|comparison| matches!(comparison, Comparison::Differs(_)))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "index": self.index,
            "step": self.id,
            "attempt": self.attempt,
            "uses": self.uses,
            "component": self.component,
            "fuel_used": self.fuel_used,
            "status": self.status.to_json(),
            "output": self.output.to_json(),
            "fuel": self.fuel.to_json(),
        })
    }
}

/// A record of an attempt that ran, with what running it again needs.
pub(super) struct Ran<'a> {
    index: u64,
    record: &'a Record,
    task: &'a TaskLink,
    step: &'a StepRef,
    component: &'a ComponentRef,
    input: &'a Commitment,
    limits: &'a Limits,
    seed: [u8; 32],
    time: Span,
    fuel_used: u64,
    status: Status,
}

impl<'a> Ran<'a> {
    /// `None` where the record is of no attempt, or of one of which nothing ran.
    pub(super) fn of(index: u64, record: &'a Record) -> Option<Self> {
        if !matches!(record.kind, Kind::StepCompleted | Kind::StepFailed) {
            return None;
        }
        Some(Self {
            index,
            record,
            task: record.task.as_ref()?,
            step: record.step.as_ref()?,
            component: record.component.as_ref()?,
            input: record.input.as_ref()?,
            limits: record.limits.as_ref()?,
            seed: record.seed?,
            time: record.time?,
            fuel_used: record.fuel?.used,
            status: record.outcome.as_ref()?.status,
        })
    }

    /// Runs it again and compares.
    pub(super) async fn again(
        &self,
        sandbox: &Sandbox,
        disclosed: &Disclosed<'_>,
        components: &Components,
    ) -> anyhow::Result<Replayed> {
        if let Some(why) = self.not_repeatable() {
            return Ok(self.not_run(why));
        }
        let call = match self.call(disclosed) {
            Ok(call) => call,
            Err(why) => return Ok(self.not_run(&told(&why))),
        };
        let digest = self.component.digest;
        let Some(bytes) = components.find(&digest) else {
            return Ok(self.not_run("no file of the directory of components has these bytes"));
        };
        let component = sandbox
            .step(digest, bytes)
            .await
            .with_context(|| format!("component {digest}"))?;
        let run = sandbox.run(&component, call).await;
        if matches!(run.outcome, Outcome::Busy(_) | Outcome::Timeout) {
            return Ok(self.not_run("this machine did not get it done in time"));
        }
        Ok(self.compare(sandbox, disclosed, &run))
    }

    /// Why running it again could say nothing, whatever came of it.
    fn not_repeatable(&self) -> Option<&'static str> {
        let code = self
            .record
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.code.as_deref());
        match (self.status, code) {
            (Status::Timeout, _) => {
                Some("it ran out of wall time, and that depends on the machine")
            }
            (Status::Cancelled, _) => Some("it was cancelled from outside"),
            (Status::Unavailable, Some(_)) => Some("the host, not the step, was unavailable"),
            // The one code that the sandbox itself gives; any other is the host's judgement on an output.
            (Status::Failed | Status::InvalidInput | Status::Denied, Some(code))
                if code != "bad-output" =>
            {
                Some("the host, not the step, ended it")
            }
            _ => None,
        }
    }

    /// What the sandbox is asked to do: the record, turned back into the call it speaks of.
    fn call(&self, disclosed: &Disclosed<'_>) -> anyhow::Result<StepCall> {
        let input = disclosed
            .payload(self.input)
            .context("its input is not disclosed")?;
        let input = std::str::from_utf8(input).context("its input is not text")?;
        let wall = Duration::from_millis(self.limits.wall_ms).saturating_mul(WALL_FACTOR);
        Ok(StepCall {
            invocation: Invocation {
                task_id: self.task.id.clone(),
                step_id: self.step.id.clone(),
                attempt: self.step.attempt,
                step_type: self.step.step_type.clone(),
                input: input.to_owned(),
                idempotency_key: format!("{}/{}", self.task.id, self.step.id),
            },
            limits: SandboxLimits {
                fuel: self.limits.fuel,
                memory_bytes: self.limits.memory,
                wall: wall.max(WALL_MIN),
                input_bytes: self.limits.input,
                output_bytes: self.limits.output,
            },
            seed: self.seed,
            start: self.time.start,
            keyvalue: keyvalue(self.record.hostcalls, disclosed)?,
            cancel: Cancel::new(),
        })
    }

    fn compare(&self, sandbox: &Sandbox, disclosed: &Disclosed<'_>, run: &StepRun) -> Replayed {
        let found = run.outcome.status();
        let status = if found == self.status {
            Comparison::Same
        } else {
            let message = run.outcome.message().map(|message| format!(" ({message})"));
            Comparison::Differs(format!(
                "the record says {}, this run ended {}{}",
                self.status.as_str(),
                found.as_str(),
                message.unwrap_or_default()
            ))
        };
        Replayed {
            status,
            output: self.compare_output(disclosed, &run.outcome),
            fuel: self.compare_fuel(sandbox, run.fuel_used),
            fuel_used: Some(run.fuel_used),
            ..self.not_run("")
        }
    }

    fn compare_output(&self, disclosed: &Disclosed<'_>, outcome: &Outcome) -> Comparison {
        let (output, commitment) = match (outcome, &self.record.output) {
            (Outcome::Ok { output }, Some(commitment)) => (output, commitment),
            (Outcome::Ok { .. }, None) => {
                return Comparison::Differs(
                    "the record has no output, this run gave one".to_owned(),
                );
            }
            (_, Some(_)) => {
                return Comparison::Differs(
                    "the record has an output, this run gave none".to_owned(),
                );
            }
            (_, None) => return Comparison::Same,
        };
        let blob = disclosed.blob(&commitment.digest);
        let Some(recommitted) = recommit(commitment, blob, output) else {
            return Comparison::NotChecked("the output and its salt are not disclosed".to_owned());
        };
        if recommitted == commitment.digest {
            return Comparison::Same;
        }
        let recorded = disclosed.payload(commitment).unwrap_or_default();
        Comparison::Differs(first_difference(recorded, output))
    }

    fn compare_fuel(&self, sandbox: &Sandbox, used: u64) -> Comparison {
        let here = sandbox.runtime();
        match &self.record.runtime {
            None => Comparison::NotChecked("the record does not name its engine".to_owned()),
            Some(there) if there.engine != here.engine || there.config != here.config => {
                Comparison::NotChecked(format!(
                    "it ran under {}, this is {}",
                    there.engine, here.engine
                ))
            }
            Some(_) if used == self.fuel_used => Comparison::Same,
            Some(_) => Comparison::Differs(format!(
                "the record says {}, this run used {used}",
                self.fuel_used
            )),
        }
    }

    fn not_run(&self, why: &str) -> Replayed {
        let not_checked = || Comparison::NotChecked(why.to_owned());
        Replayed {
            index: self.index,
            id: self.step.id.clone(),
            attempt: self.step.attempt,
            uses: format!(
                "{}@{}/{}",
                self.component.name, self.component.version, self.step.step_type
            ),
            component: self.component.digest.to_string(),
            fuel_used: None,
            status: not_checked(),
            output: not_checked(),
            fuel: not_checked(),
        }
    }
}

/// The buckets of a replay: what the step was told then.
fn keyvalue(
    hostcalls: Option<HostCalls>,
    disclosed: &Disclosed<'_>,
) -> anyhow::Result<KeyValueAccess> {
    let Some(hostcalls) = hostcalls else {
        return Ok(KeyValueAccess::None);
    };
    let transcript = match disclosed.blob(&hostcalls.digest) {
        Some(blob) => Transcript::from_bytes(unblinded(blob))?,
        // An empty transcript has one encoding, so there is nothing to disclose.
        None if hostcalls.count == 0 => Transcript::default(),
        None => {
            let why = anyhow!(
                "it made {} calls to the world, and their transcript is not disclosed",
                hostcalls.count
            );
            return Err(why);
        }
    };
    if transcript.count() != hostcalls.count {
        return Err(anyhow!(
            "the transcript has {} calls, the record says {}",
            transcript.count(),
            hostcalls.count
        ));
    }
    Ok(KeyValueAccess::Replay(transcript))
}

/// What a blob holds beside prefix and salt, where it has them.
fn unblinded(blob: &[u8]) -> &[u8] {
    blob.strip_prefix(BLIND1_PREFIX)
        .and_then(|rest| rest.get(SALT_BYTES..))
        .unwrap_or(blob)
}

/// The digest the record would have, had the step given `output`; `None` where the salt is not known.
fn recommit(commitment: &Commitment, blob: Option<&[u8]>, output: &[u8]) -> Option<Digest> {
    match commitment.commit {
        CommitKind::Plain => Some(Blob::plain(output).digest()),
        CommitKind::Blind1 => {
            let salted = blob?.strip_prefix(BLIND1_PREFIX)?;
            let salt = salted.first_chunk::<SALT_BYTES>()?;
            Some(Blob::blind(*salt, output).digest())
        }
    }
}

/// Names the first place where two outputs differ.
fn first_difference(recorded: &[u8], found: &[u8]) -> String {
    let parsed = (
        serde_json::from_slice(recorded),
        serde_json::from_slice(found),
    );
    if let (Ok(recorded), Ok(found)) = parsed
        && let Some((pointer, recorded, found)) = difference(&recorded, &found, String::new())
    {
        let place = if pointer.is_empty() {
            "the whole output"
        } else {
            &pointer
        };
        return format!("at {place} the record has {recorded}, this run gave {found}");
    }
    let at = recorded
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    format!("from byte {at} on")
}

/// The JSON Pointer of the first difference, and what is there in each.
fn difference(
    recorded: &Value,
    found: &Value,
    pointer: String,
) -> Option<(String, String, String)> {
    let none = || "nothing".to_owned();
    match (recorded, found) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            names.into_iter().find_map(|name| {
                let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(a, b, pointer),
                    (a, b) => Some((
                        pointer,
                        a.map_or_else(none, brief),
                        b.map_or_else(none, brief),
                    )),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|at| {
            let pointer = format!("{pointer}/{at}");
            match (a.get(at), b.get(at)) {
                (Some(a), Some(b)) => difference(a, b, pointer),
                (a, b) => Some((
                    pointer,
                    a.map_or_else(none, brief),
                    b.map_or_else(none, brief),
                )),
            }
        }),
        (a, b) if a == b => None,
        (a, b) => Some((pointer, brief(a), brief(b))),
    }
}

/// A value short enough for a sentence.
fn brief(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

    #[test]
    fn the_first_difference_is_named_by_its_pointer() {
        let recorded = br#"{"a":[1,{"b/c":2}],"z":1}"#;
        let found = br#"{"a":[1,{"b/c":3}],"z":2}"#;
        assert_eq!(
            first_difference(recorded, found),
            "at /a/1/b~1c the record has 2, this run gave 3"
        );
        assert_eq!(
            first_difference(b"[1]", b"[1,2]"),
            "at /1 the record has nothing, this run gave 2"
        );
        assert_eq!(
            first_difference(b"1", b"2"),
            "at the whole output the record has 1, this run gave 2"
        );
        assert_eq!(first_difference(b"x1", b"x2"), "from byte 1 on");
    }

    #[test]
    fn the_same_output_under_the_disclosed_salt_has_the_recorded_digest() {
        let blob = Blob::blind(SALT, b"output");
        let commitment = blob.commitment("application/json");
        assert_eq!(
            recommit(&commitment, Some(blob.bytes()), b"output"),
            Some(commitment.digest)
        );
        assert_ne!(
            recommit(&commitment, Some(blob.bytes()), b"Output"),
            Some(commitment.digest)
        );
        assert_eq!(recommit(&commitment, None, b"output"), None);
        let plain = Blob::plain(b"output").commitment("application/json");
        assert_eq!(recommit(&plain, None, b"output"), Some(plain.digest));
    }

    #[test]
    fn an_effectful_step_without_its_transcript_is_not_run() {
        let receipt_without = Disclosed(BTreeMap::new());
        let calls = |count| HostCalls {
            count,
            digest: Digest::of(b"transcript"),
        };
        let refused = keyvalue(Some(calls(2)), &receipt_without)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("2 calls"), "{refused}");
        let none = keyvalue(None, &receipt_without).unwrap();
        assert!(matches!(none, KeyValueAccess::None));
        let empty = keyvalue(Some(calls(0)), &receipt_without).unwrap();
        assert!(matches!(empty, KeyValueAccess::Replay(transcript) if transcript.count() == 0));
    }

    #[test]
    fn a_transcript_is_read_with_and_without_a_salt() {
        let transcript = Transcript::default().to_bytes();
        let blind = Blob::blind(SALT, &transcript);
        assert_eq!(unblinded(blind.bytes()), transcript);
        assert_eq!(unblinded(&transcript), transcript);
    }
}
