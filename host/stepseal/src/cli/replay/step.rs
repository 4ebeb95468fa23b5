//! One attempt of a step, run again from its record.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::{BLIND1_PREFIX, Blob, CommitKind, Commitment, SALT_BYTES};
use stepseal_receipts::record::{
    ComponentRef, HostCalls, Kind, Limits, Record, Span, Status, StepRef, TaskLink,
};
use stepseal_sandbox::{
    Access, Cancel, Invocation, Limits as SandboxLimits, Outcome, Sandbox, StepCall, StepRun,
    Transcript, World,
};

use super::compare::{self, Comparison, first_difference};
use super::components::Components;
use super::disclosed::{Disclosed, unblinded};
use super::{NO_COMPONENT, OUT_OF_TIME_HERE, WALL_MIN};
use crate::cli::output::told;
use crate::engine::grants::GrantDocument;

/// How the sandbox begins its word on a replay that it stopped at a call, and where the name of the call begins in it.
const REPLAY_STOP: (&str, usize) = ("replay: host call ", "replay: ".len());
/// How much slower than the host a replaying machine may be.
const WALL_FACTOR: u32 = 10;

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
    /// What it asked of the world.
    pub(in crate::cli) hostcalls: Comparison,
    /// What it took.
    pub(in crate::cli) fuel: Comparison,
}

impl Replayed {
    /// What was compared, by name.
    pub(in crate::cli) fn compared(&self) -> [(&'static str, &Comparison); 4] {
        [
            ("status", &self.status),
            ("output", &self.output),
            ("hostcalls", &self.hostcalls),
            ("fuel", &self.fuel),
        ]
    }

    /// Whether it ended as its record says, with the output its record says.
    pub(super) fn is_proven(&self) -> bool {
        self.status == Comparison::Same && self.output == Comparison::Same
    }

    /// Which attempt it is, and of what.
    pub(in crate::cli) fn title(&self) -> String {
        let Self {
            id,
            attempt,
            uses,
            component,
            ..
        } = self;
        format!("{id} attempt {attempt}: {uses} {component}")
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
            "hostcalls": self.hostcalls.to_json(),
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
    /// Whether the receipt has a record of its authorization, as every attempt has that could touch the world.
    is_authorized: bool,
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
            is_authorized: false,
        })
    }

    /// The same, knowing which attempts, by step and number, were authorized before they ran.
    pub(super) fn authorized_by(self, authorized: &BTreeSet<(&str, u32)>) -> Self {
        Self {
            is_authorized: authorized.contains(&(self.step.id.as_str(), self.step.attempt)),
            ..self
        }
    }

    /// What ran.
    pub(super) fn component(&self) -> Digest {
        self.component.digest
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
        let called = transcript(self.record.hostcalls, self.is_authorized, disclosed)
            .and_then(|recorded| Ok((self.call(disclosed, recorded.clone())?, recorded)));
        let (call, recorded) = match called {
            Ok(called) => called,
            Err(why) => return Ok(self.not_run(&told(&why))),
        };
        let digest = self.component.digest;
        let Some(bytes) = components.find(&digest) else {
            return Ok(self.not_run(NO_COMPONENT));
        };
        let component = sandbox
            .step(digest, bytes)
            .await
            .with_context(|| format!("component {digest}"))?;
        let run = sandbox.run(&component, call).await;
        if matches!(run.outcome, Outcome::Busy(_) | Outcome::Timeout) {
            return Ok(self.not_run(OUT_OF_TIME_HERE));
        }
        Ok(self.compare(sandbox, disclosed, recorded.as_ref(), &run))
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
    fn call(
        &self,
        disclosed: &Disclosed<'_>,
        recorded: Option<Transcript>,
    ) -> anyhow::Result<StepCall> {
        let input = disclosed
            .payload(self.input)
            .context("its input is not disclosed: ask for a receipt with payloads")?;
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
            access: Access {
                config: self.config(disclosed)?,
                world: recorded.map_or(World::None, World::Replay),
            },
            tenant: None,
            cancel: Cancel::new(),
        })
    }

    /// The values that were granted, where the grant is disclosed: one that is not had none.
    fn config(&self, disclosed: &Disclosed<'_>) -> anyhow::Result<BTreeMap<String, String>> {
        let document = self
            .record
            .grants
            .and_then(|digest| disclosed.blob(&digest));
        let Some(document) = document else {
            return Ok(BTreeMap::new());
        };
        let document: GrantDocument =
            serde_json::from_slice(document).context("the disclosed grant cannot be read")?;
        Ok(document.config)
    }

    fn compare(
        &self,
        sandbox: &Sandbox,
        disclosed: &Disclosed<'_>,
        recorded: Option<&Transcript>,
        run: &StepRun,
    ) -> Replayed {
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
            hostcalls: compare_calls(recorded, run),
            fuel: compare::fuel(
                self.fuel_used,
                self.record.runtime.as_ref(),
                run.fuel_used,
                sandbox.runtime(),
            ),
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
            hostcalls: not_checked(),
            fuel: not_checked(),
        }
    }
}

/// Compares what it asked of the world, and what it was told, with the transcript that answered it.
fn compare_calls(recorded: Option<&Transcript>, run: &StepRun) -> Comparison {
    // The sandbox stops a run at the first call that is not the recorded one, and says which.
    let (stop, name_at) = REPLAY_STOP;
    if let Outcome::Trap(text) = &run.outcome
        && text.starts_with(stop)
    {
        return Comparison::Differs(text[name_at..].to_owned());
    }
    let (found, count) = (
        run.transcript.count(),
        recorded.map_or(0, Transcript::count),
    );
    let is_same = recorded.is_none_or(|recorded| *recorded == run.transcript);
    match found.cmp(&count) {
        Ordering::Equal if is_same => Comparison::Same,
        Ordering::Equal => Comparison::Differs("its calls are not the recorded ones".to_owned()),
        Ordering::Less | Ordering::Greater => Comparison::Differs(format!(
            "host call {} differs: the record has {count} calls, this run made {found}",
            found.min(count) + 1
        )),
    }
}

/// What an attempt was told then; `None` where it could not touch the world.
fn transcript(
    hostcalls: Option<HostCalls>,
    is_authorized: bool,
    disclosed: &Disclosed<'_>,
) -> anyhow::Result<Option<Transcript>> {
    let Some(hostcalls) = hostcalls else {
        // Only what can touch the world is authorized first. It made no call, and must make none now.
        return Ok(is_authorized.then(Transcript::default));
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
    Ok(Some(transcript))
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

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

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
        let receipt_without = Disclosed::default();
        let calls = |count| HostCalls {
            count,
            digest: Digest::of(b"transcript"),
        };
        let refused = transcript(Some(calls(2)), true, &receipt_without)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("2 calls"), "{refused}");
        let none = |is_authorized| transcript(None, is_authorized, &receipt_without).unwrap();
        assert_eq!(none(false), None);
        assert_eq!(none(true), Some(Transcript::default()));
        let empty = transcript(Some(calls(0)), true, &receipt_without).unwrap();
        assert_eq!(empty, Some(Transcript::default()));
    }
}
