//! From a record to its statement, written as canonical JSON (RFC 8785) at once.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    Actor, Approval, Binding, ComponentRef, ErasedEntry, Erasure, KeyChange, Limits, Outcome,
    PREDICATE_TYPE, Record, Runtime, STATEMENT_TYPE, Shard, ShardHead, StepRef, TaskLink, Verdict,
};
use crate::digest::{Digest, write_hex};
use crate::json;
use crate::payload::Commitment;

/// Bytes that most statements fit in.
const STATEMENT_BYTES_USUAL: usize = 4096;

/// Members that most objects have room for; the predicate has more.
const MEMBERS_USUAL: usize = 8;
const PREDICATE_MEMBERS_USUAL: usize = 24;

/// A value of a statement. It borrows what the record has, since every record is signed on the way of a step: as
/// [`Value`]s with their own names, strings and maps, writing it took twice as long.
pub(super) enum Node<'a> {
    Text(Cow<'a, str>),
    /// A decimal string.
    Integer(u64),
    /// Lowercase hexadecimal.
    Hex(&'a [u8]),
    /// `{"sha256":"<hex>"}`.
    Digest(Digest),
    Object(Vec<(&'a str, Node<'a>)>),
    List(Vec<Node<'a>>),
    /// What a later version wrote.
    Unrecognised(&'a Value),
}

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Node<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Digest> for Node<'_> {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl Node<'_> {
    fn write(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::write_string(text, out),
            Self::Integer(integer) => {
                out.push(b'"');
                out.extend_from_slice(itoa::Buffer::new().format(*integer).as_bytes());
                out.push(b'"');
            }
            Self::Hex(bytes) => {
                out.push(b'"');
                write_hex(bytes, out);
                out.push(b'"');
            }
            Self::Digest(digest) => {
                out.extend_from_slice(b"{\"sha256\":\"");
                write_hex(digest.as_bytes(), out);
                out.extend_from_slice(b"\"}");
            }
            Self::Object(members) => {
                // In signed JSON every name is ASCII, where the order of bytes is that of RFC 8785. The functions below
                // add known members in this order, so that there is seldom anything to move.
                members.sort_unstable_by_key(|(name, _)| *name);
                out.push(b'{');
                for (number, (name, value)) in members.iter_mut().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    // Nothing to escape in a name of signed JSON.
                    out.push(b'"');
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b"\":");
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::List(items) => {
                out.push(b'[');
                for (number, item) in items.iter_mut().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Unrecognised(value) => json::write_value(value, out),
        }
    }
}

/// Collects the members of one object, in any order; an absent value adds nothing.
pub(super) struct Object<'a>(Vec<(&'a str, Node<'a>)>);

impl<'a> Object<'a> {
    pub(super) fn new() -> Self {
        Self::with_room_for(MEMBERS_USUAL)
    }

    fn with_room_for(members: usize) -> Self {
        Self(Vec::with_capacity(members))
    }

    pub(super) fn with(mut self, name: &'a str, value: impl Into<Node<'a>>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    pub(super) fn with_integer(self, name: &'a str, value: u64) -> Self {
        self.with(name, Node::Integer(value))
    }

    pub(super) fn with_some<T, N: Into<Node<'a>>>(
        self,
        name: &'a str,
        value: Option<T>,
        encode: impl FnOnce(T) -> N,
    ) -> Self {
        match value {
            Some(value) => self.with(name, encode(value)),
            None => self,
        }
    }

    fn with_list<T>(
        self,
        name: &'a str,
        items: &'a [T],
        encode: impl Fn(&'a T) -> Node<'a>,
    ) -> Self {
        if items.is_empty() {
            return self;
        }
        self.with(name, Node::List(items.iter().map(encode).collect()))
    }

    fn build(self) -> Node<'a> {
        Node::Object(self.0)
    }

    /// The object in canonical JSON.
    pub(super) fn into_canonical(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(STATEMENT_BYTES_USUAL);
        self.build().write(&mut out);
        out
    }
}

/// The in-toto Statement of a record.
pub(super) fn statement(record: &Record) -> Vec<u8> {
    let subject = record.subject().into_iter().map(|(name, digest)| {
        Object::new()
            .with("digest", digest)
            .with("name", name)
            .build()
    });
    Object::new()
        .with("_type", STATEMENT_TYPE)
        .with("predicate", predicate(record))
        .with("predicateType", PREDICATE_TYPE)
        .with("subject", Node::List(subject.collect()))
        .into_canonical()
}

fn predicate(record: &Record) -> Node<'_> {
    let mut predicate = Object::with_room_for(PREDICATE_MEMBERS_USUAL)
        .with_some("actor", record.actor.as_ref(), actor)
        .with_list("approvals", &record.approvals, approval)
        .with_some("binding", record.binding.as_ref(), binding)
        .with_some("component", record.component.as_ref(), component)
        .with_some("erasure", record.erasure.as_ref(), erasure)
        .with_some("fuel", record.fuel, |fuel| {
            pair(("limit", fuel.limit), ("used", fuel.used))
        })
        .with_some("grants", record.grants, Node::Digest)
        .with_some("head", record.head, Node::Digest)
        .with_some("hostcalls", record.hostcalls, |calls| {
            Object::new()
                .with_integer("count", calls.count)
                .with("digest", calls.digest)
                .build()
        })
        .with_some("input", record.input.as_ref(), commitment)
        .with_some("key", record.key.as_ref(), key)
        .with("kind", record.kind.as_str())
        .with_some("limits", record.limits.as_ref(), limits)
        .with("log", record.log.as_str())
        .with_some("memory", record.memory, |memory| {
            pair(("limit", memory.limit), ("peak", memory.peak))
        })
        .with("nonce", Node::Hex(&record.nonce))
        .with_some("outcome", record.outcome.as_ref(), outcome)
        .with_some("output", record.output.as_ref(), commitment)
        .with_some("plan", record.plan, Node::Digest)
        .with_some("plugin", record.plugin.as_deref(), Node::from)
        .with_some("policies", record.policies, Node::Digest)
        .with_some("records", record.records, Node::Integer)
        .with_some("runtime", record.runtime.as_ref(), runtime)
        .with_some("seed", record.seed.as_ref(), |seed| Node::Hex(seed))
        .with_some("shard", record.shard.as_ref(), shard)
        .with_some("step", record.step.as_ref(), step)
        .with_some("task", record.task.as_ref(), task)
        .with_some("time", record.time, |time| {
            Object::new()
                .with("end", time.end.to_string())
                .with("start", time.start.to_string())
                .build()
        })
        .with_some("trace", record.trace.as_ref(), |trace| {
            Object::new()
                .with("spanId", Node::Hex(&trace.span_id))
                .with("traceId", Node::Hex(&trace.trace_id))
                .build()
        })
        .with_list("verdicts", &record.verdicts, verdict)
        .build();
    merge(&mut predicate, &record.unrecognised);
    predicate
}

/// Puts the unrecognised members back where they were read.
fn merge<'a>(known: &mut Node<'a>, unrecognised: &'a Map<String, Value>) {
    for (name, value) in unrecognised {
        let inner = match known {
            Node::Object(members) => {
                let place = members.iter().position(|(known, _)| known == name);
                if place.is_none() {
                    members.push((name, Node::Unrecognised(value)));
                }
                place.map(|place| &mut members[place].1)
            }
            Node::List(items) => name.parse().ok().and_then(|n: usize| items.get_mut(n)),
            // What the record says itself is never replaced.
            _ => None,
        };
        if let (Some(inner), Value::Object(rest)) = (inner, value) {
            merge(inner, rest);
        }
    }
}

fn task(task: &TaskLink) -> Node<'_> {
    Object::new()
        .with("id", task.id.as_str())
        .with_some("prev", task.prev, Node::Digest)
        .with_integer("seq", task.seq)
        .build()
}

fn step(step: &StepRef) -> Node<'_> {
    Object::new()
        .with_integer("attempt", u64::from(step.attempt))
        .with("id", step.id.as_str())
        .with_integer("index", step.index)
        .with("type", step.step_type.as_str())
        .build()
}

fn component(component: &ComponentRef) -> Node<'_> {
    Object::new()
        .with("digest", component.digest)
        .with("name", component.name.as_str())
        .with("version", component.version.as_str())
        .build()
}

fn runtime(runtime: &Runtime) -> Node<'_> {
    Object::new()
        .with("config", runtime.config)
        .with("engine", runtime.engine.as_str())
        .with("host", runtime.host.as_str())
        .build()
}

fn limits(limits: &Limits) -> Node<'_> {
    Object::new()
        .with_integer("fuel", limits.fuel)
        .with_integer("input", limits.input)
        .with_integer("memory", limits.memory)
        .with_integer("output", limits.output)
        .with_integer("wallMs", limits.wall_ms)
        .build()
}

fn commitment(commitment: &Commitment) -> Node<'_> {
    Object::new()
        .with("commit", commitment.commit.as_str())
        .with("digest", commitment.digest)
        .with("mediaType", commitment.media_type.as_str())
        .with_integer("size", commitment.size)
        .build()
}

fn verdict(verdict: &Verdict) -> Node<'_> {
    let input = Object::new()
        .with("commit", verdict.input.commit.as_str())
        .with("digest", verdict.input.digest)
        .with_integer("size", verdict.input.size)
        .build();
    Object::new()
        .with_some("approvers", verdict.approvers, |n| Node::Integer(n.into()))
        .with_some("code", verdict.code.as_deref(), Node::from)
        .with_integer("fuel", verdict.fuel)
        .with("input", input)
        .with("mode", verdict.mode.as_str())
        .with("name", verdict.name.as_str())
        .with("policy", verdict.policy)
        .with_some("reason", verdict.reason.as_deref(), Node::from)
        .with_some("role", verdict.role.as_deref(), Node::from)
        .with("settings", verdict.settings)
        .with("stage", verdict.stage.as_str())
        .with("verdict", verdict.verdict.as_str())
        .build()
}

fn approval(approval: &Approval) -> Node<'_> {
    Object::new()
        .with("approver", approval.approver.as_str())
        .with("decision", approval.decision.as_str())
        .with_some("envelope", approval.envelope, Node::Digest)
        .with_some("role", approval.role.as_deref(), Node::from)
        .with("subject", approval.subject)
        .build()
}

fn outcome(outcome: &Outcome) -> Node<'_> {
    Object::new()
        .with_some("code", outcome.code.as_deref(), Node::from)
        .with_some("message", outcome.message.as_deref(), Node::from)
        .with("status", outcome.status.as_str())
        .build()
}

fn actor(actor: &Actor) -> Node<'_> {
    Object::new()
        .with("name", actor.name.as_str())
        .with_some("role", actor.role.as_deref(), Node::from)
        .build()
}

fn binding(binding: &Binding) -> Node<'_> {
    Object::new()
        .with("change", binding.change.as_str())
        .with("mode", binding.mode.as_str())
        .with("settings", binding.settings)
        .build()
}

fn key(key: &KeyChange) -> Node<'_> {
    Object::new()
        .with_some("fromIndex", key.from_index, Node::Integer)
        .with_some("name", key.name.as_deref(), Node::from)
        .with("role", key.role.as_str())
        .with("spki", key.key.spki_base64())
        .with_some("toIndex", key.to_index, Node::Integer)
        .build()
}

fn erasure(erasure: &Erasure) -> Node<'_> {
    Object::new()
        .with("basis", erasure.basis.as_str())
        .with_list("blobs", &erasure.blobs, |blob| Node::Digest(*blob))
        .with_list("entries", &erasure.entries, erased_entry)
        .with("scope", erasure.scope.as_str())
        .with_some("task", erasure.task.as_deref(), Node::from)
        .build()
}

fn erased_entry(entry: &ErasedEntry) -> Node<'_> {
    Object::new()
        .with_integer("index", entry.index)
        .with_some("prev", entry.prev, Node::Digest)
        .with_integer("seq", entry.seq)
        .build()
}

fn shard(shard: &Shard) -> Node<'_> {
    Object::new()
        .with_integer("number", shard.number)
        .with_some("previous", shard.previous.as_ref(), shard_head)
        .build()
}

fn shard_head(head: &ShardHead) -> Node<'_> {
    Object::new()
        .with("origin", head.origin.as_str())
        .with("root", head.root)
        .with_integer("size", head.size)
        .build()
}

fn pair<'a>(first: (&'a str, u64), second: (&'a str, u64)) -> Node<'a> {
    Object::new()
        .with_integer(first.0, first.1)
        .with_integer(second.0, second.1)
        .build()
}
