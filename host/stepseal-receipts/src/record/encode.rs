//! From a record to its statement, written as canonical JSON (RFC 8785) at once: every record is signed on the way of a step,
//! and as a tree of values first, writing it took twice as long.

use std::iter::Peekable;
use std::vec;

use serde_json::{Map, Value};

use super::{
    Actor, Approval, Binding, ComponentRef, ErasedEntry, Erasure, Fuel, HostCalls, KeyChange,
    Limits, Memory, Outcome, PREDICATE_TYPE, PolicyInput, Record, Runtime, STATEMENT_TYPE, Shard,
    ShardHead, Span, StepRef, TaskLink, Trace, Verdict,
};
use crate::digest::{Digest, write_hex};
use crate::json;
use crate::payload::Commitment;
use crate::time::Timestamp;

/// Bytes that most statements fit in.
const STATEMENT_BYTES_USUAL: usize = 4096;

/// A value that is written without looking at what else there is.
pub(super) trait Leaf {
    fn write(self, out: &mut Vec<u8>);
}

impl Leaf for &str {
    fn write(self, out: &mut Vec<u8>) {
        json::write_string(self, out);
    }
}

/// A decimal string.
impl Leaf for u64 {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(itoa::Buffer::new().format(self).as_bytes());
        out.push(b'"');
    }
}

/// Lowercase hexadecimal.
impl Leaf for &[u8] {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        write_hex(self, out);
        out.push(b'"');
    }
}

/// `{"sha256":"<hex>"}`.
impl Leaf for Digest {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"sha256\":\"");
        write_hex(self.as_bytes(), out);
        out.extend_from_slice(b"\"}");
    }
}

impl Leaf for Timestamp {
    fn write(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&self.text());
        out.push(b'"');
    }
}

/// Where a value is to be written, with what a later version said inside it.
struct Place<'a> {
    out: &'a mut Vec<u8>,
    unrecognised: Option<&'a Map<String, Value>>,
}

impl<'a> Place<'a> {
    fn object(self) -> Object<'a> {
        Object::new(self.out, self.unrecognised)
    }

    fn list<T>(self, items: impl IntoIterator<Item = T>, encode: impl Fn(T, Place<'_>)) {
        self.out.push(b'[');
        for (number, item) in items.into_iter().enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            let inside = |rest: &'a Map<String, Value>| rest.get(&number.to_string())?.as_object();
            let unrecognised = self.unrecognised.and_then(inside);
            encode(
                item,
                Place {
                    out: self.out,
                    unrecognised,
                },
            );
        }
        self.out.push(b']');
    }
}

/// Writes the members of one object, which come in the order of their names; an absent value adds nothing. In signed JSON
/// every name is ASCII, where the order of bytes is that of RFC 8785, and none has anything to escape.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// The unrecognised members that are still to be put between the known ones.
    unrecognised: Peekable<vec::IntoIter<(&'a str, &'a Value)>>,
    last: &'static str,
}

impl<'a> Object<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, unrecognised: Option<&'a Map<String, Value>>) -> Self {
        out.push(b'{');
        let rest = unrecognised.into_iter().flatten();
        let mut rest: Vec<_> = rest.map(|(name, value)| (name.as_str(), value)).collect();
        // The map may be one that keeps another order.
        rest.sort_unstable_by_key(|(name, _)| *name);
        Self {
            out,
            unrecognised: rest.into_iter().peekable(),
            last: "",
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Leaf) -> Self {
        self.known(name);
        value.write(self.out);
        self
    }

    /// A value that later versions may say more in.
    fn with_value<T>(
        mut self,
        name: &'static str,
        value: T,
        encode: impl FnOnce(T, Place<'_>),
    ) -> Self {
        let unrecognised = self.known(name);
        encode(
            value,
            Place {
                out: self.out,
                unrecognised,
            },
        );
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<impl Leaf>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn with_some_value<T>(
        self,
        name: &'static str,
        value: Option<T>,
        encode: impl FnOnce(T, Place<'_>),
    ) -> Self {
        match value {
            Some(value) => self.with_value(name, value, encode),
            None => self,
        }
    }

    fn with_list<'t, T: 't>(
        self,
        name: &'static str,
        items: &'t [T],
        encode: impl Fn(&'t T, Place<'_>),
    ) -> Self {
        if items.is_empty() {
            return self;
        }
        self.with_value(name, items, |items, place| place.list(items, encode))
    }

    pub(super) fn end(mut self) {
        while let Some((name, value)) = self.unrecognised.next() {
            self.name(name);
            json::write_value(value, self.out);
        }
        self.out.push(b'}');
    }

    /// Writes the name of the next known member, and the unrecognised ones before it. What the record says itself is never
    /// replaced; gives what is unrecognised inside.
    fn known(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        debug_assert!(self.last < name, "{name} comes after {}", self.last);
        self.last = name;
        while let Some((before, value)) = self.unrecognised.next_if(|(other, _)| *other < name) {
            self.name(before);
            json::write_value(value, self.out);
        }
        self.name(name);
        let same = self.unrecognised.next_if(|(other, _)| *other == name);
        same.and_then(|(_, value)| value.as_object())
    }

    fn name(&mut self, name: &str) {
        // No value ends with a brace that opens.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// The in-toto Statement of a record.
pub(super) fn statement(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(STATEMENT_BYTES_USUAL);
    let top = Place {
        out: &mut out,
        unrecognised: None,
    };
    top.object()
        .with("_type", STATEMENT_TYPE)
        .with_value("predicate", record, |record, place| {
            predicate(record, place.out);
        })
        .with("predicateType", PREDICATE_TYPE)
        .with_value("subject", record.subject(), |subject, place| {
            place.list(subject, |(name, digest), place| {
                place
                    .object()
                    .with("digest", digest)
                    .with("name", name)
                    .end();
            });
        })
        .end();
    out
}

fn predicate(record: &Record, out: &mut Vec<u8>) {
    Object::new(out, Some(&record.unrecognised))
        .with_some_value("actor", record.actor.as_ref(), actor)
        .with_list("approvals", &record.approvals, approval)
        .with_some_value("binding", record.binding.as_ref(), binding)
        .with_some_value("component", record.component.as_ref(), component)
        .with_some_value("erasure", record.erasure.as_ref(), erasure)
        .with_some_value("fuel", record.fuel, fuel)
        .with_some("grants", record.grants)
        .with_some("head", record.head)
        .with_some_value("hostcalls", record.hostcalls, hostcalls)
        .with_some_value("input", record.input.as_ref(), commitment)
        .with_some_value("key", record.key.as_ref(), key)
        .with("kind", record.kind.as_str())
        .with_some_value("limits", record.limits, limits)
        .with("log", record.log.as_str())
        .with_some_value("memory", record.memory, memory)
        .with("nonce", &record.nonce[..])
        .with_some_value("outcome", record.outcome.as_ref(), outcome)
        .with_some_value("output", record.output.as_ref(), commitment)
        .with_some("plan", record.plan)
        .with_some("plugin", record.plugin.as_deref())
        .with_some("policies", record.policies)
        .with_some("records", record.records)
        .with_some_value("runtime", record.runtime.as_ref(), runtime)
        .with_some("seed", record.seed.as_ref().map(<[u8; 32]>::as_slice))
        .with_some_value("shard", record.shard.as_ref(), shard)
        .with_some_value("step", record.step.as_ref(), step)
        .with_some_value("task", record.task.as_ref(), task)
        .with_some_value("time", record.time, span)
        .with_some_value("trace", record.trace, trace)
        .with_list("verdicts", &record.verdicts, verdict)
        .end();
}

fn task(task: &TaskLink, place: Place<'_>) {
    place
        .object()
        .with("id", task.id.as_str())
        .with_some("prev", task.prev)
        .with("seq", task.seq)
        .end();
}

fn step(step: &StepRef, place: Place<'_>) {
    place
        .object()
        .with("attempt", u64::from(step.attempt))
        .with("id", step.id.as_str())
        .with("index", step.index)
        .with("type", step.step_type.as_str())
        .end();
}

fn component(component: &ComponentRef, place: Place<'_>) {
    place
        .object()
        .with("digest", component.digest)
        .with("name", component.name.as_str())
        .with("version", component.version.as_str())
        .end();
}

fn runtime(runtime: &Runtime, place: Place<'_>) {
    place
        .object()
        .with("config", runtime.config)
        .with("engine", runtime.engine.as_str())
        .with("host", runtime.host.as_str())
        .end();
}

fn limits(limits: Limits, place: Place<'_>) {
    place
        .object()
        .with("fuel", limits.fuel)
        .with("input", limits.input)
        .with("memory", limits.memory)
        .with("output", limits.output)
        .with("wallMs", limits.wall_ms)
        .end();
}

fn commitment(commitment: &Commitment, place: Place<'_>) {
    place
        .object()
        .with("commit", commitment.commit.as_str())
        .with("digest", commitment.digest)
        .with("mediaType", commitment.media_type.as_str())
        .with("size", commitment.size)
        .end();
}

fn verdict(verdict: &Verdict, place: Place<'_>) {
    place
        .object()
        .with_some("approvers", verdict.approvers.map(u64::from))
        .with_some("code", verdict.code.as_deref())
        .with("fuel", verdict.fuel)
        .with_value("input", verdict.input, policy_input)
        .with("mode", verdict.mode.as_str())
        .with("name", verdict.name.as_str())
        .with("policy", verdict.policy)
        .with_some("reason", verdict.reason.as_deref())
        .with_some("role", verdict.role.as_deref())
        .with("settings", verdict.settings)
        .with("stage", verdict.stage.as_str())
        .with("verdict", verdict.verdict.as_str())
        .end();
}

fn policy_input(input: PolicyInput, place: Place<'_>) {
    place
        .object()
        .with("commit", input.commit.as_str())
        .with("digest", input.digest)
        .with("size", input.size)
        .end();
}

fn approval(approval: &Approval, place: Place<'_>) {
    place
        .object()
        .with("approver", approval.approver.as_str())
        .with("decision", approval.decision.as_str())
        .with_some("envelope", approval.envelope)
        .with_some("role", approval.role.as_deref())
        .with("subject", approval.subject)
        .end();
}

fn outcome(outcome: &Outcome, place: Place<'_>) {
    place
        .object()
        .with_some("code", outcome.code.as_deref())
        .with_some("message", outcome.message.as_deref())
        .with("status", outcome.status.as_str())
        .end();
}

fn actor(actor: &Actor, place: Place<'_>) {
    place
        .object()
        .with("name", actor.name.as_str())
        .with_some("role", actor.role.as_deref())
        .end();
}

fn binding(binding: &Binding, place: Place<'_>) {
    place
        .object()
        .with("change", binding.change.as_str())
        .with("mode", binding.mode.as_str())
        .with("settings", binding.settings)
        .end();
}

fn key(key: &KeyChange, place: Place<'_>) {
    place
        .object()
        .with_some("fromIndex", key.from_index)
        .with_some("name", key.name.as_deref())
        .with("role", key.role.as_str())
        .with("spki", key.key.spki_base64().as_str())
        .with_some("toIndex", key.to_index)
        .end();
}

fn erasure(erasure: &Erasure, place: Place<'_>) {
    place
        .object()
        .with("basis", erasure.basis.as_str())
        .with_list("blobs", &erasure.blobs, |blob, place| blob.write(place.out))
        .with_list("entries", &erasure.entries, erased_entry)
        .with("scope", erasure.scope.as_str())
        .with_some("task", erasure.task.as_deref())
        .end();
}

fn erased_entry(entry: &ErasedEntry, place: Place<'_>) {
    place
        .object()
        .with("index", entry.index)
        .with_some("prev", entry.prev)
        .with("seq", entry.seq)
        .end();
}

fn shard(shard: &Shard, place: Place<'_>) {
    place
        .object()
        .with("number", shard.number)
        .with_some_value("previous", shard.previous.as_ref(), shard_head)
        .end();
}

fn shard_head(head: &ShardHead, place: Place<'_>) {
    place
        .object()
        .with("origin", head.origin.as_str())
        .with("root", head.root)
        .with("size", head.size)
        .end();
}

fn fuel(fuel: Fuel, place: Place<'_>) {
    place
        .object()
        .with("limit", fuel.limit)
        .with("used", fuel.used)
        .end();
}

fn memory(memory: Memory, place: Place<'_>) {
    place
        .object()
        .with("limit", memory.limit)
        .with("peak", memory.peak)
        .end();
}

fn hostcalls(calls: HostCalls, place: Place<'_>) {
    place
        .object()
        .with("count", calls.count)
        .with("digest", calls.digest)
        .end();
}

fn span(time: Span, place: Place<'_>) {
    place
        .object()
        .with("end", time.end)
        .with("start", time.start)
        .end();
}

fn trace(trace: Trace, place: Place<'_>) {
    place
        .object()
        .with("spanId", &trace.span_id[..])
        .with("traceId", &trace.trace_id[..])
        .end();
}
