//! From a statement to its record.

use serde_json::Value;

use super::members::{At, MemberError, Members, hex};
use super::{
    Approval, ComponentRef, Decision, Fuel, HostCalls, ITEMS_MAX, Kind, Limits, Memory, Mode,
    Outcome, PREDICATE_TYPE, PolicyInput, Record, Runtime, STATEMENT_TYPE, Span, Stage, Status,
    StepRef, TaskLink, Trace, Verdict, VerdictKind,
};
use crate::digest::Digest;
use crate::payload::{CommitKind, Commitment};
use crate::time::Timestamp;

const TIME: &str = "a time of the form YYYY-MM-DDTHH:MM:SS.sssZ";

/// Reads a statement that already follows the rules of signed JSON.
pub(super) fn statement(value: Value) -> Result<Record, MemberError> {
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

    let subject = members.list("subject", ITEMS_MAX, |item| {
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
