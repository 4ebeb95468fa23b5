//! From a statement to its record.

use super::members::{At, MemberError, Members, digest, hex};
use super::{
    Actor, Approval, Binding, BindingChange, ComponentRef, Decision, ErasedEntry, Erasure,
    ErasureScope, Fuel, HostCalls, ITEMS_MAX, KeyChange, KeyRole, Kind, LABEL_BYTES_MAX, Limits,
    Memory, Mode, Outcome, PREDICATE_TYPE, PolicyInput, Record, Runtime, STATEMENT_TYPE, Shard,
    ShardHead, Span, Stage, Status, StepRef, TaskLink, Trace, Verdict, VerdictKind,
};
use crate::digest::Digest;
use crate::json::Borrowed;
use crate::keys::{PublicKey, SPKI_EXPECTED};
use crate::payload::{CommitKind, Commitment};
use crate::time::Timestamp;

const TIME: &str = "a time of the form YYYY-MM-DDTHH:MM:SS.sssZ";
const LABEL: &str = "a text of 1 to 255 bytes without control characters";

/// Reads a statement that already follows the rules of signed JSON.
pub(super) fn statement(value: Borrowed<'_>) -> Result<Record, MemberError> {
    let mut members = Members::new(At::root("statement"), value)?;
    members.need_parsed("_type", STATEMENT_TYPE, |text| {
        (text == STATEMENT_TYPE).then_some(())
    })?;
    members.need_parsed("predicateType", PREDICATE_TYPE, |text| {
        (text == PREDICATE_TYPE).then_some(())
    })?;
    let value = members.take("predicate");
    let value = members.need("predicate", value)?;
    let mut predicate_members = Members::new(At::root("predicate"), value)?;
    let mut record = predicate(&mut predicate_members)?;
    record.unrecognised = predicate_members.finish();

    let subject = members.need_list("subject", ITEMS_MAX, |item| {
        let subject = (item.need_text("name")?, item.need_digest("digest")?);
        item.finish_known()?;
        Ok(subject)
    })?;
    let same = |(said, meant): (&(String, Digest), &(&str, Digest))| {
        said.0 == meant.0 && said.1 == meant.1
    };
    let meant = record.subject();
    if subject.len() != meant.len() || !subject.iter().zip(&meant).all(same) {
        return Err(members.wrong(
            "subject",
            "the digests of the predicate's output, input and component, or of its plan",
        ));
    }
    // in-toto lets a statement have no other member, and a reader might believe one.
    members.finish_known()?;
    Ok(record)
}

fn predicate(members: &mut Members<'_>) -> Result<Record, MemberError> {
    let kind = members.need_parsed("kind", Kind::EXPECTED, |text| text.parse().ok())?;
    let log = members.need_text("log")?;
    let nonce = members.need_parsed("nonce", "32 lower-case hexadecimal digits", hex)?;
    let mut record = Record::new(kind, log, nonce);
    record.task = members.object("task", task)?;
    record.step = members.object("step", step)?;
    record.plan = members.digest("plan")?;
    record.policies = members.digest("policies")?;
    record.component = members.object("component", component)?;
    record.runtime = members.object("runtime", runtime)?;
    record.grants = members.digest("grants")?;
    record.limits = members.object("limits", limits)?;
    record.input = members.object("input", commitment)?;
    record.output = members.object("output", commitment)?;
    record.verdicts = members.list("verdicts", ITEMS_MAX, verdict)?;
    record.approvals = members.list("approvals", ITEMS_MAX, approval)?;
    record.hostcalls = members.object("hostcalls", |calls| {
        Ok(HostCalls {
            count: calls.need_integer("count")?,
            digest: calls.need_digest("digest")?,
        })
    })?;
    record.fuel = members.object("fuel", |fuel| {
        Ok(Fuel {
            limit: fuel.need_integer("limit")?,
            used: fuel.need_integer("used")?,
        })
    })?;
    record.memory = members.object("memory", |memory| {
        Ok(Memory {
            limit: memory.need_integer("limit")?,
            peak: memory.need_integer("peak")?,
        })
    })?;
    record.seed = members.parsed("seed", "64 lower-case hexadecimal digits", hex)?;
    record.time = members.object("time", span)?;
    record.outcome = members.object("outcome", outcome)?;
    record.trace = members.object("trace", |trace| {
        Ok(Trace {
            trace_id: trace.need_parsed("traceId", "32 lower-case hexadecimal digits", hex)?,
            span_id: trace.need_parsed("spanId", "16 lower-case hexadecimal digits", hex)?,
        })
    })?;
    record.records = members.integer("records")?;
    record.head = members.digest("head")?;
    act(members, &mut record)?;
    Ok(record)
}

fn task(task: &mut Members<'_>) -> Result<TaskLink, MemberError> {
    Ok(TaskLink {
        id: task.need_text("id")?,
        seq: task.need_integer("seq")?,
        prev: task.digest("prev")?,
    })
}

fn step(step: &mut Members<'_>) -> Result<StepRef, MemberError> {
    let attempt = step.need_integer("attempt")?;
    Ok(StepRef {
        id: step.need_text("id")?,
        index: step.need_integer("index")?,
        attempt: narrow(step, "attempt", attempt)?,
        step_type: step.need_text("type")?,
    })
}

fn component(component: &mut Members<'_>) -> Result<ComponentRef, MemberError> {
    Ok(ComponentRef {
        name: component.need_text("name")?,
        version: component.need_text("version")?,
        digest: component.need_digest("digest")?,
    })
}

fn runtime(runtime: &mut Members<'_>) -> Result<Runtime, MemberError> {
    Ok(Runtime {
        host: runtime.need_text("host")?,
        engine: runtime.need_text("engine")?,
        config: runtime.need_digest("config")?,
    })
}

fn limits(limits: &mut Members<'_>) -> Result<Limits, MemberError> {
    Ok(Limits {
        fuel: limits.need_integer("fuel")?,
        memory: limits.need_integer("memory")?,
        wall_ms: limits.need_integer("wallMs")?,
        input: limits.need_integer("input")?,
        output: limits.need_integer("output")?,
    })
}

fn commitment(commitment: &mut Members<'_>) -> Result<Commitment, MemberError> {
    Ok(Commitment {
        digest: commitment.need_digest("digest")?,
        size: commitment.need_integer("size")?,
        media_type: commitment.need_text("mediaType")?,
        commit: commit(commitment)?,
    })
}

fn commit(members: &mut Members<'_>) -> Result<CommitKind, MemberError> {
    members.need_parsed("commit", "blind1 or plain", |text| match text {
        "blind1" => Some(CommitKind::Blind1),
        "plain" => Some(CommitKind::Plain),
        _ => None,
    })
}

fn verdict(verdict: &mut Members<'_>) -> Result<Verdict, MemberError> {
    let approvers = verdict.integer("approvers")?;
    Ok(Verdict {
        policy: verdict.need_digest("policy")?,
        name: verdict.need_text("name")?,
        stage: verdict.need_parsed("stage", Stage::EXPECTED, |text| text.parse().ok())?,
        verdict: verdict.need_parsed("verdict", VerdictKind::EXPECTED, |text| text.parse().ok())?,
        mode: verdict.need_parsed("mode", Mode::EXPECTED, |text| text.parse().ok())?,
        code: verdict.text("code")?,
        reason: verdict.text("reason")?,
        approvers: match approvers {
            Some(approvers) => Some(narrow(verdict, "approvers", approvers)?),
            None => None,
        },
        role: verdict.text("role")?,
        settings: verdict.need_digest("settings")?,
        input: verdict.need_object("input", |input| {
            Ok(PolicyInput {
                digest: input.need_digest("digest")?,
                size: input.need_integer("size")?,
                commit: commit(input)?,
            })
        })?,
        fuel: verdict.need_integer("fuel")?,
    })
}

fn approval(approval: &mut Members<'_>) -> Result<Approval, MemberError> {
    Ok(Approval {
        approver: approval.need_text("approver")?,
        decision: approval.need_parsed("decision", Decision::EXPECTED, |text| text.parse().ok())?,
        role: approval.text("role")?,
        subject: approval.need_digest("subject")?,
        envelope: approval.digest("envelope")?,
    })
}

fn span(span: &mut Members<'_>) -> Result<Span, MemberError> {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    // `end` before `start` is let through: a host's clock may be set back, and the record says what it showed.
    Ok(Span {
        start: span.need_parsed("start", TIME, time)?,
        end: span.need_parsed("end", TIME, time)?,
    })
}

fn outcome(outcome: &mut Members<'_>) -> Result<Outcome, MemberError> {
    Ok(Outcome {
        status: outcome.need_parsed("status", Status::EXPECTED, |text| text.parse().ok())?,
        code: outcome.text("code")?,
        message: outcome.text("message")?,
    })
}

fn narrow(members: &Members<'_>, name: &str, value: u64) -> Result<u32, MemberError> {
    u32::try_from(value).map_err(|_| members.wrong(name, "at most 4294967295"))
}

/// The members of records of the host's own acts.
fn act(members: &mut Members<'_>, record: &mut Record) -> Result<(), MemberError> {
    record.actor = members.object("actor", |actor| {
        Ok(Actor {
            name: actor.need_parsed("name", LABEL, label)?,
            role: actor.parsed("role", LABEL, label)?,
        })
    })?;
    record.plugin = members.parsed("plugin", LABEL, label)?;
    record.binding = members.object("binding", |binding| {
        Ok(Binding {
            change: binding.need_parsed("change", BindingChange::EXPECTED, |t| t.parse().ok())?,
            mode: binding.need_parsed("mode", Mode::EXPECTED, |text| text.parse().ok())?,
            settings: binding.need_digest("settings")?,
        })
    })?;
    record.key = members.object("key", |key| {
        Ok(KeyChange {
            role: key.need_parsed("role", KeyRole::EXPECTED, |text| text.parse().ok())?,
            key: key.need_parsed("spki", SPKI_EXPECTED, |text| {
                PublicKey::from_spki_base64(text).ok()
            })?,
            name: key.parsed("name", LABEL, label)?,
            from_index: key.integer("fromIndex")?,
            to_index: key.integer("toIndex")?,
        })
    })?;
    record.erasure = members.object("erasure", erasure)?;
    record.shard = members.object("shard", |shard| {
        Ok(Shard {
            number: shard.need_integer("number")?,
            previous: shard.object("previous", |head| {
                Ok(ShardHead {
                    origin: head.need_text("origin")?,
                    size: head.need_integer("size")?,
                    root: head.need_digest("root")?,
                })
            })?,
        })
    })?;
    Ok(())
}

fn erasure(erasure: &mut Members<'_>) -> Result<Erasure, MemberError> {
    Ok(Erasure {
        scope: erasure.need_parsed("scope", ErasureScope::EXPECTED, |text| text.parse().ok())?,
        basis: erasure.need_parsed("basis", LABEL, label)?,
        task: erasure.parsed("task", LABEL, label)?,
        blobs: erasure.list("blobs", ITEMS_MAX, digest)?,
        entries: erasure.list("entries", ITEMS_MAX, |entry| {
            Ok(ErasedEntry {
                index: entry.need_integer("index")?,
                seq: entry.need_integer("seq")?,
                prev: entry.digest("prev")?,
            })
        })?,
    })
}

fn label(text: &str) -> Option<String> {
    let fits = (1..=LABEL_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}
