//! Statements that are signed, linked and in the log, and are no records.

use serde_json::{Value, json};

use super::super::world::*;
use super::{Vector, pure};
use crate::json;
use crate::receipt::Receipt;
use crate::record::{Decision, HostCalls, Memory, Record, Runtime, Span, Trace, VerdictKind};

/// A time for records that say when.
const TIME: &str = "2026-01-02T03:04:05.678Z";

/// Every member of a statement and of a predicate, each with the entry of [`with`]'s task that it is in.
pub(super) fn every_member() -> impl Iterator<Item = (usize, &'static str)> {
    let of_step = [
        "_type",
        "predicateType",
        "subject",
        "kind",
        "log",
        "nonce",
        "task",
        "step",
        "policies",
        "component",
        "runtime",
        "grants",
        "limits",
        "input",
        "output",
        "verdicts",
        "approvals",
        "hostcalls",
        "fuel",
        "memory",
        "seed",
        "time",
        "outcome",
        "trace",
    ];
    let others = [(0, "plan"), (2, "records"), (2, "head")];
    of_step.into_iter().map(|member| (1, member)).chain(others)
}

/// The smallest task whose step's record has the member.
pub(super) fn with(member: &str) -> Vec<Record> {
    let mut records = pure();
    let record = &mut records[1];
    let full = completed("balance", 0);
    match member {
        "policies" => record.policies = Some(digest(40)),
        "grants" => record.grants = full.grants,
        "limits" => record.limits = full.limits,
        "verdicts" => record.verdicts = vec![verdict(VerdictKind::Allow)],
        "approvals" => {
            record.approvals = vec![approval(&full, "ada", Decision::Approve)];
            record.grants = full.grants;
            record.policies = Some(digest(40));
        }
        "runtime" => {
            record.runtime = Some(Runtime {
                host: "stepseal 0.1.0".to_owned(),
                engine: "wasmtime 48.0.0".to_owned(),
                config: digest(46),
            });
        }
        "hostcalls" => {
            record.hostcalls = Some(HostCalls {
                count: 0,
                digest: digest(45),
            })
        }
        "memory" => {
            record.memory = Some(Memory {
                limit: 1 << 20,
                peak: 1 << 16,
            })
        }
        "seed" => record.seed = Some([47; 32]),
        "time" => {
            let time = TIME.parse().unwrap();
            record.time = Some(Span {
                start: time,
                end: time,
            });
        }
        "trace" => {
            record.trace = Some(Trace {
                trace_id: [48; 16],
                span_id: [49; 8],
            })
        }
        _ => {}
    }
    records
}

/// Name, what is wrong, member at fault, change of the second record's statement.
type Row = (&'static str, &'static str, &'static str, fn(&mut Value));

const HEX: &str = "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("type", "Another `_type`.", "statement._type", |s| s["_type"] = json!("https://in-toto.io/Statement/v0.1")),
    ("no-type", "No `_type`.", "statement._type", |s| drop_member(s, "_type")),
    ("predicate-type", "Another predicateType.", "statement.predicateType", |s| s["predicateType"] = json!("https://stepseal.dev/record/v2")),
    ("no-predicate", "No predicate.", "statement.predicate", |s| drop_member(s, "predicate")),
    ("predicate-list", "The predicate is a list.", "predicate", |s| s["predicate"] = json!([s["predicate"]])),
    ("unknown-member", "The statement has another member.", "statement.note", |s| s["note"] = json!("x")),
    ("subject-absent", "No subject.", "statement.subject", |s| drop_member(s, "subject")),
    ("subject-less", "A digest of the subject is missing.", "statement.subject", |s| drop(s["subject"].as_array_mut().unwrap().pop())),
    ("subject-more", "The subject has a digest that the predicate does not make.", "statement.subject", |s| {
        let more = json!({"name": "plan", "digest": {"sha256": "00".repeat(32)}});
        s["subject"].as_array_mut().unwrap().push(more);
    }),
    ("subject-order", "The digests of the subject stand in another order.", "statement.subject", |s| s["subject"].as_array_mut().unwrap().swap(0, 1)),
    ("subject-name", "A digest of the subject has another name.", "statement.subject", |s| s["subject"][0]["name"] = json!("result")),
    ("subject-digest", "A digest of the subject is not the predicate's.", "statement.subject", |s| s["subject"][0]["digest"]["sha256"] = json!("00".repeat(32))),
    ("subject-doubled", "A digest of the subject stands twice.", "statement.subject", |s| {
        let first = s["subject"][0].clone();
        s["subject"].as_array_mut().unwrap().insert(0, first);
    }),
    ("subject-unknown-member", "An item of the subject has another member.", "statement.subject[0].uri", |s| s["subject"][0]["uri"] = json!("https://example.com")),
    ("subject-second-algorithm", "A digest of the subject has a second algorithm.", "statement.subject[0].digest.sha512", |s| s["subject"][0]["digest"]["sha512"] = json!("00")),
    ("digest-second-algorithm", "A digest has a second algorithm.", "predicate.component.digest.sha512", |s| s["predicate"]["component"]["digest"]["sha512"] = json!("00")),
    ("digest-upper-case", "A digest is in upper-case hexadecimal.", "predicate.grants.sha256", |s| s["predicate"]["grants"]["sha256"] = json!(HEX)),
    ("digest-short", "A digest has 31 bytes.", "predicate.policies.sha256", |s| s["predicate"]["policies"]["sha256"] = json!("ab".repeat(31))),
    ("digest-text", "A digest is a string.", "predicate.grants", |s| s["predicate"]["grants"] = json!("ab".repeat(32))),
    ("digest-other-algorithm", "A digest of another algorithm.", "predicate.grants.sha256", |s| s["predicate"]["grants"] = json!({"sha512": "ab".repeat(64)})),
    ("kind-unknown", "An unknown kind.", "predicate.kind", |s| s["predicate"]["kind"] = json!("step.paused")),
    ("kind-upper-case", "A kind in upper case.", "predicate.kind", |s| s["predicate"]["kind"] = json!("STEP.COMPLETED")),
    ("kind-absent", "No kind.", "predicate.kind", |s| drop_member(&mut s["predicate"], "kind")),
    ("log-absent", "No log.", "predicate.log", |s| drop_member(&mut s["predicate"], "log")),
    ("log-list", "The log is a list.", "predicate.log", |s| s["predicate"]["log"] = json!([ORIGIN])),
    ("nonce-absent", "No nonce.", "predicate.nonce", |s| drop_member(&mut s["predicate"], "nonce")),
    ("nonce-short", "A nonce of 15 bytes.", "predicate.nonce", |s| s["predicate"]["nonce"] = json!("01".repeat(15))),
    ("nonce-upper-case", "A nonce in upper-case hexadecimal.", "predicate.nonce", |s| s["predicate"]["nonce"] = json!("AB".repeat(16))),
    ("task-id-absent", "A task without an id.", "predicate.task.id", |s| drop_member(&mut s["predicate"]["task"], "id")),
    ("task-seq-leading-zero", "A seq with a leading zero.", "predicate.task.seq", |s| s["predicate"]["task"]["seq"] = json!("01")),
    ("task-seq-too-large", "A seq of 2^64.", "predicate.task.seq", |s| s["predicate"]["task"]["seq"] = json!("18446744073709551616")),
    ("task-seq-empty", "An empty seq.", "predicate.task.seq", |s| s["predicate"]["task"]["seq"] = json!("")),
    ("task-seq-boolean", "A seq that is true.", "predicate.task.seq", |s| s["predicate"]["task"]["seq"] = json!(true)),
    ("task-prev-text", "A prev that is a string.", "predicate.task.prev", |s| s["predicate"]["task"]["prev"] = json!("00".repeat(32))),
    ("task-list", "The task is a list.", "predicate.task", |s| s["predicate"]["task"] = json!(["task-7", "1"])),
    ("step-id-absent", "A step without an id.", "predicate.step.id", |s| drop_member(&mut s["predicate"]["step"], "id")),
    ("step-type-absent", "A step without a type.", "predicate.step.type", |s| drop_member(&mut s["predicate"]["step"], "type")),
    ("step-index-sign", "A step's index has a sign.", "predicate.step.index", |s| s["predicate"]["step"]["index"] = json!("-0")),
    ("step-attempt-too-large", "An attempt of 2^32.", "predicate.step.attempt", |s| s["predicate"]["step"]["attempt"] = json!("4294967296")),
    ("component-version-absent", "A component without a version.", "predicate.component.version", |s| drop_member(&mut s["predicate"]["component"], "version")),
    ("runtime-config-absent", "A runtime without the digest of its configuration.", "predicate.runtime.config", |s| drop_member(&mut s["predicate"]["runtime"], "config")),
    ("limits-wall-absent", "Limits without wallMs.", "predicate.limits.wallMs", |s| drop_member(&mut s["predicate"]["limits"], "wallMs")),
    ("input-size-fraction", "A size with a fraction.", "predicate.input.size", |s| s["predicate"]["input"]["size"] = json!("1.0")),
    ("input-commit-unknown", "An unknown commitment.", "predicate.input.commit", |s| s["predicate"]["input"]["commit"] = json!("blind2")),
    ("output-media-type-absent", "An output without a media type.", "predicate.output.mediaType", |s| drop_member(&mut s["predicate"]["output"], "mediaType")),
    ("verdict-unknown", "An unknown verdict.", "predicate.verdicts[0].verdict", |s| s["predicate"]["verdicts"][0]["verdict"] = json!("maybe")),
    ("verdict-mode-unknown", "An unknown mode.", "predicate.verdicts[0].mode", |s| s["predicate"]["verdicts"][0]["mode"] = json!("audit")),
    ("verdict-stage-unknown", "An unknown stage.", "predicate.verdicts[0].stage", |s| s["predicate"]["verdicts"][0]["stage"] = json!("during-step")),
    ("verdict-input-absent", "A verdict without what it judged.", "predicate.verdicts[0].input", |s| drop_member(&mut s["predicate"]["verdicts"][0], "input")),
    ("verdict-fuel-absent", "A verdict without its fuel.", "predicate.verdicts[0].fuel", |s| drop_member(&mut s["predicate"]["verdicts"][0], "fuel")),
    ("verdicts-object", "The verdicts are an object.", "predicate.verdicts", |s| s["predicate"]["verdicts"] = json!({"first": s["predicate"]["verdicts"][0]})),
    ("verdict-list", "A verdict is a list.", "predicate.verdicts[0]", |s| s["predicate"]["verdicts"][0] = json!([])),
    ("approval-decision-unknown", "An unknown decision.", "predicate.approvals[0].decision", |s| s["predicate"]["approvals"][0]["decision"] = json!("yes")),
    ("approval-subject-absent", "An approval without a subject.", "predicate.approvals[0].subject", |s| drop_member(&mut s["predicate"]["approvals"][0], "subject")),
    ("hostcalls-count-absent", "A transcript without a count.", "predicate.hostcalls.count", |s| drop_member(&mut s["predicate"]["hostcalls"], "count")),
    ("fuel-used-absent", "Fuel without what was used.", "predicate.fuel.used", |s| drop_member(&mut s["predicate"]["fuel"], "used")),
    ("fuel-exponent", "Fuel with an exponent.", "predicate.fuel.used", |s| s["predicate"]["fuel"]["used"] = json!("1e3")),
    ("memory-peak-absent", "Memory without its peak.", "predicate.memory.peak", |s| drop_member(&mut s["predicate"]["memory"], "peak")),
    ("seed-short", "A seed of 31 bytes.", "predicate.seed", |s| s["predicate"]["seed"] = json!("47".repeat(31))),
    ("seed-upper-case", "A seed in upper-case hexadecimal.", "predicate.seed", |s| s["predicate"]["seed"] = json!(HEX)),
    ("time-without-milliseconds", "A time without milliseconds.", "predicate.time.start", |s| s["predicate"]["time"]["start"] = json!("2026-01-02T03:04:05Z")),
    ("time-offset", "A time with an offset.", "predicate.time.start", |s| s["predicate"]["time"]["start"] = json!("2026-01-02T03:04:05.678+01:00")),
    ("time-no-such-day", "The 30th of February.", "predicate.time.end", |s| s["predicate"]["time"]["end"] = json!("2026-02-30T03:04:05.678Z")),
    ("time-leap-second", "A leap second.", "predicate.time.end", |s| s["predicate"]["time"]["end"] = json!("2016-12-31T23:59:60.000Z")),
    ("time-before-1970", "A time before 1970.", "predicate.time.end", |s| s["predicate"]["time"]["end"] = json!("1969-12-31T23:59:59.999Z")),
    ("outcome-status-unknown", "An unknown status.", "predicate.outcome.status", |s| s["predicate"]["outcome"]["status"] = json!("fine")),
    ("outcome-code-list", "A code that is a list.", "predicate.outcome.code", |s| s["predicate"]["outcome"]["code"] = json!(["x"])),
    ("trace-id-short", "A trace id of 8 bytes.", "predicate.trace.traceId", |s| s["predicate"]["trace"]["traceId"] = json!("00".repeat(8))),
    ("plan-text", "A plan that is a string.", "predicate.plan", |s| s["predicate"]["plan"] = json!("00".repeat(32))),
    ("records-list", "A count that is a list.", "predicate.records", |s| s["predicate"]["records"] = json!(["2"])),
    ("head-text", "A head that is a string.", "predicate.head", |s| s["predicate"]["head"] = json!("00".repeat(32))),
    ("seq-number", "A JSON number for a string.", "payload", |s| s["predicate"]["task"]["seq"] = json!(1)),
    ("number-in-an-unknown-member", "A JSON number in a member that nobody knows.", "payload", |s| s["predicate"]["region"] = json!({"n": 1.5})),
    ("null", "A null.", "payload", |s| s["predicate"]["task"]["prev"] = Value::Null),
    ("null-in-an-unknown-member", "A null in a member that nobody knows.", "payload", |s| s["predicate"]["region"] = json!([null])),
    ("member-name", "A member name with a space.", "payload", |s| s["predicate"]["a b"] = json!("x")),
    ("member-name-empty", "An empty member name.", "payload", |s| s["predicate"][""] = json!("x")),
    ("member-name-digit", "A member name that begins with a digit.", "payload", |s| s["predicate"]["1a"] = json!("x")),
    ("member-name-not-ascii", "A member name that is not ASCII.", "payload", |s| s["predicate"]["\u{e4}"] = json!("x")),
    ("too-deep", "Nested 17 deep.", "payload", |s| {
        s["predicate"]["region"] = (0..15).fold(json!([]), |inner, _| json!([inner]));
    }),
    ("too-large", "A statement of more than 32 KiB, which no reader takes.", "payload", |s| {
        let length = json::RECORD_BYTES_MAX + 1 - json::canonical(s).len() - r#","region":"""#.len();
        s["predicate"]["region"] = json!("x".repeat(length));
    }),
    ("statement-list", "The statement is a list.", "statement", |s| *s = json!([])),
    ("statement-text", "The statement is a string.", "statement", |s| *s = json!("task.open")),
];

fn drop_member(object: &mut Value, name: &str) {
    object.as_object_mut().unwrap().remove(name).unwrap();
}

/// The member of the predicate that a path leads to.
fn predicate_member(path: &str) -> &str {
    let member = path.strip_prefix("predicate.").unwrap_or("");
    member.split(['.', '[']).next().unwrap_or("")
}

/// The task's receipt with the second record's statement rewritten before it is signed.
fn resigned(records: &[Record], rewrite: impl Fn(Vec<u8>) -> Vec<u8>) -> Receipt {
    let second = |number, statement: Vec<u8>| match number {
        1 => rewrite(statement),
        _ => statement,
    };
    rewritten(records, |_, _| {}, second).0
}

pub(super) fn vectors() -> Vec<Vector> {
    let rows = ROWS.iter().map(|(name, about, member, change)| {
        let receipt = resigned(&with(predicate_member(member)), |statement| {
            let mut value = serde_json::from_slice(&statement).unwrap();
            change(&mut value);
            let changed = json::canonical(&value);
            assert_ne!(changed, statement, "{name}");
            changed
        });
        Vector::refused(
            &format!("record/{name}"),
            about,
            &receipt,
            ("chain", Some(1), member),
        )
    });
    rows.chain(texts())
        .chain([without_empty_subject()])
        .collect()
}

/// An empty list of a statement is not the same as none: it has exactly its four members.
fn without_empty_subject() -> Vector {
    let (receipt, _) = rewritten(
        &pure(),
        |_, _| {},
        |number, statement| {
            let text = String::from_utf8(statement).unwrap();
            let without = text.replace(r#","subject":[]}"#, "}");
            assert_eq!(without != text, number == 2);
            without.into_bytes()
        },
    );
    Vector::refused(
        "record/subject-absent-where-empty",
        "No subject in a record that speaks of no digest.",
        &receipt,
        ("chain", Some(2), "statement.subject"),
    )
}

/// A change of a statement's text.
type Rewrite<'a> = &'a dyn Fn(&str) -> Vec<u8>;

/// Faults that no JSON value has, only its text.
fn texts() -> Vec<Vector> {
    let log = format!(r#""log":"{ORIGIN}","#);
    let nonce = format!(r#""nonce":"{}","#, "01".repeat(16));
    let (log, nonce) = (log.as_str(), nonce.as_str());
    let in_region = |text: &str, value: &str| {
        text.replace(r#","step":"#, &format!(r#","region":{value},"step":"#))
    };
    #[rustfmt::skip]
    let cases: &[(&str, &str, Rewrite<'_>)] = &[
        ("space", "White space between two members.", &|t| t.replace(log, &format!("{log} ")).into_bytes()),
        ("final-newline", "A newline after the statement.", &|t| format!("{t}\n").into_bytes()),
        ("members-out-of-order", "Two members of the predicate in another order.", &|t| t.replace(&format!("{log}{nonce}"), &format!("{nonce}{log}")).into_bytes()),
        ("statement-out-of-order", "Two members of the statement in another order.", &|t| {
            let first = r#""_type":"https://in-toto.io/Statement/v1","#;
            t.replace(first, "").replace(r#""predicateType":"#, &format!("{first}\"predicateType\":")).into_bytes()
        }),
        ("needless-escape", "A character is escaped that need not be.", &|t| t.replace(ORIGIN, "log.example\\/one").into_bytes()),
        ("unicode-escape", "A character is written as \\u006f.", &|t| t.replace(ORIGIN, "log.example/\\u006fne").into_bytes()),
        ("duplicate-member", "A member of the predicate stands twice.", &|t| t.replace(log, &log.repeat(2)).into_bytes()),
        ("duplicate-seq", "task.seq stands twice, with different values.", &|t| t.replace(r#""seq":"1""#, r#""seq":"0","seq":"1""#).into_bytes()),
        ("duplicate-predicate", "The predicate stands twice.", &|t| t.replace(r#""predicateType":"#, r#""predicate":{},"predicateType":"#).into_bytes()),
        ("duplicate-escaped-member", "A member stands twice, once with an escape.", &|t| t.replace(log, &format!("{log}{}", log.replace("log\"", "lo\\u0067\""))).into_bytes()),
        ("byte-order-mark", "A byte order mark before the statement.", &|t| format!("\u{feff}{t}").into_bytes()),
        ("not-utf8", "A string that is not UTF-8.", &|t| in_region(t, "\"?\"").into_bytes().iter().map(|b| if *b == b'?' { 0xff } else { *b }).collect()),
        ("lone-surrogate", "Half of a surrogate pair.", &|t| in_region(t, r#""\ud800""#).into_bytes()),
        ("integer-beyond-doubles", "An integer that JCS libraries disagree on, 2^53+1.", &|t| in_region(t, "9007199254740993").into_bytes()),
        ("negative-zero", "A number, -0.", &|t| in_region(t, "-0").into_bytes()),
        ("not-json", "No JSON.", &|_| b"task.open".to_vec()),
        ("empty", "No byte.", &|_| Vec::new()),
        ("truncated", "The statement ends too early.", &|t| t.as_bytes()[..t.len() - 1].to_vec()),
        ("trailing", "Something follows the statement.", &|t| format!("{t}{{}}").into_bytes()),
    ];
    let cases = cases.iter().map(|(name, about, rewrite)| {
        let receipt = resigned(&pure(), |statement| {
            let changed = rewrite(std::str::from_utf8(&statement).unwrap());
            assert_ne!(changed, statement, "{name}");
            changed
        });
        Vector::refused(
            &format!("record/{name}"),
            about,
            &receipt,
            ("chain", Some(1), "payload"),
        )
    });
    cases.collect()
}
