//! A plugin that misbehaves in every way a guest can, for the black-box tests of the host. Each step type is one
//! way; those that touch a clock, randomness or the key-value store let a test see what a guest sees of them.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a handler takes its input and gives a Result"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use serde::{Deserialize, Serialize};
use stepseal_plugin::kv::Bucket;
use stepseal_plugin::serde_json::Value;
use stepseal_plugin::{Call, Failure, JsonSchema, log, plugin, schemars};

use bindings::wasi::clocks::{monotonic_clock, wall_clock};
use bindings::wasi::random::random as wasi_random;

mod bindings {
    #![expect(
        clippy::same_length_and_capacity,
        reason = "generated: a list crosses as pointer and length"
    )]
    wit_bindgen::generate!({ path: "wit", world: "wasi", generate_all });
}

/// The bucket of the `kv-` step types.
const BUCKET: &str = "hostile";

plugin! {
    /// Misbehaves in every way a guest can.
    name: "hostile",
    steps: {
        /// Never ends.
        "loop" => run_forever,
        /// Calls itself until the stack is full.
        "recurse" => recurse,
        /// Takes memory until it gets no more.
        "eat-memory" => eat_memory,
        /// Panics.
        "panic" => panic_on_purpose,
        /// Writes many log lines.
        "log-flood" => log_flood,
        /// Gives a very long text.
        "big-output" => big_output,
        /// Fails with `unavailable` before a given attempt.
        "unavailable-until" => unavailable_until,
        /// Sleeps and tells how long it was.
        "sleep" => sleep,
        /// Gives random bytes.
        "random" => random,
        /// Tells the time.
        "now" => now,
        /// Gives its input.
        "echo" => echo,
        /// Fails as told.
        "fail" => fail,
        /// Writes a key, then traps.
        "kv-write-then-trap" => kv_write_then_trap,
        /// Writes a key, then fails.
        "kv-write-then-fail" => kv_write_then_fail,
        /// Reads a key.
        "kv-read" => kv_read,
        /// Writes a key.
        "kv-write" => kv_write,
        /// Adds to the number under a key.
        "kv-add" => kv_add,
        /// Writes a key of a bucket that is not its own.
        "kv-write-elsewhere" => kv_write_elsewhere,
        /// Makes timers and lets go of none.
        "hoard-handles" => hoard_handles,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Never {}

fn run_forever(_: &Call, _: Nothing) -> Result<Never, Failure> {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn recurse(_: &Call, _: Nothing) -> Result<Never, Failure> {
    black_box(deeper(0));
    Ok(Never {})
}

#[expect(unconditional_recursion, reason = "that is what the step is for")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    deeper(depth + 1) + frame[0]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EatMemory {
    /// Stops and succeeds after so much; never if absent.
    bytes: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Eaten {
    bytes: u64,
}

fn eat_memory(_: &Call, input: EatMemory) -> Result<Eaten, Failure> {
    const CHUNK_BYTES: usize = 1024 * 1024;
    let mut held = Vec::new();
    let mut bytes = 0;
    while input.bytes.is_none_or(|wanted| bytes < wanted) {
        held.push(black_box(vec![1_u8; CHUNK_BYTES]));
        bytes += CHUNK_BYTES as u64;
    }
    Ok(Eaten { bytes })
}

fn panic_on_purpose(_: &Call, _: Nothing) -> Result<Never, Failure> {
    panic!("this guest panics on purpose")
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LogFlood {
    lines: u64,
    /// Length of each line.
    line_bytes: usize,
}

#[derive(Serialize, JsonSchema)]
struct Logged {
    lines: u64,
}

fn log_flood(_: &Call, input: LogFlood) -> Result<Logged, Failure> {
    let line = "x".repeat(input.line_bytes);
    for _ in 0..input.lines {
        log::info(&line);
    }
    Ok(Logged { lines: input.lines })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BigOutput {
    /// Needs two to three times as much memory.
    bytes: usize,
}

#[derive(Serialize, JsonSchema)]
struct Big {
    text: String,
}

fn big_output(_: &Call, input: BigOutput) -> Result<Big, Failure> {
    Ok(Big {
        text: "x".repeat(input.bytes),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnavailableUntil {
    /// The first attempt that succeeds.
    attempt: u32,
}

#[derive(Serialize, JsonSchema)]
struct Attempted {
    attempt: u32,
    idempotency_key: String,
}

fn unavailable_until(call: &Call, input: UnavailableUntil) -> Result<Attempted, Failure> {
    if call.attempt < input.attempt {
        return Err(Failure::unavailable(format!(
            "attempt {} of {}",
            call.attempt, input.attempt
        )));
    }
    Ok(Attempted {
        attempt: call.attempt,
        idempotency_key: call.idempotency_key.clone(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sleep {
    ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Slept {
    /// As the guest's own clock saw it.
    ms: u64,
}

fn sleep(_: &Call, input: Sleep) -> Result<Slept, Failure> {
    const NS_PER_MS: u64 = 1_000_000;
    let duration = input
        .ms
        .checked_mul(NS_PER_MS)
        .ok_or_else(|| Failure::invalid_input("ms is too large"))?;
    let start = monotonic_clock::now();
    monotonic_clock::subscribe_duration(duration).block();
    Ok(Slept {
        ms: (monotonic_clock::now() - start) / NS_PER_MS,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Random {
    bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct Randomness {
    hex: String,
}

fn random(_: &Call, input: Random) -> Result<Randomness, Failure> {
    let mut hex = String::new();
    for byte in wasi_random::get_random_bytes(input.bytes) {
        write!(hex, "{byte:02x}").expect("a String takes every write");
    }
    Ok(Randomness { hex })
}

#[derive(Serialize, JsonSchema)]
struct Now {
    /// Since 1970.
    seconds: u64,
    nanoseconds: u32,
    /// Decimal: it may be more than a double holds.
    monotonic_ns: String,
}

fn now(_: &Call, _: Nothing) -> Result<Now, Failure> {
    let wall_clock::Datetime {
        seconds,
        nanoseconds,
    } = wall_clock::now();
    Ok(Now {
        seconds,
        nanoseconds,
        monotonic_ns: monotonic_clock::now().to_string(),
    })
}

fn echo(_: &Call, input: Value) -> Result<Value, Failure> {
    Ok(input)
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    InvalidInput,
    Failed,
    Unavailable,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    kind: Kind,
    message: String,
}

fn fail(_: &Call, input: Fail) -> Result<Never, Failure> {
    Err(match input.kind {
        Kind::InvalidInput => Failure::InvalidInput(input.message),
        Kind::Failed => Failure::Failed(input.message),
        Kind::Unavailable => Failure::Unavailable(input.message),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Write {
    key: String,
    value: Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Key {
    key: String,
}

#[derive(Serialize, JsonSchema)]
struct Stored {
    /// What is under the key now; null if nothing is.
    value: Value,
}

fn stored(key: &str) -> Result<Stored, Failure> {
    Ok(Stored {
        value: Bucket::open(BUCKET)?.get(key)?.unwrap_or_default(),
    })
}

fn kv_write(_: &Call, input: Write) -> Result<Stored, Failure> {
    Bucket::open(BUCKET)?.set(&input.key, &input.value)?;
    stored(&input.key)
}

fn kv_read(_: &Call, input: Key) -> Result<Stored, Failure> {
    stored(&input.key)
}

fn kv_write_then_trap(call: &Call, input: Write) -> Result<Stored, Failure> {
    kv_write(call, input)?;
    panic!("this guest panics after it wrote")
}

fn kv_write_then_fail(call: &Call, input: Write) -> Result<Stored, Failure> {
    kv_write(call, input)?;
    Err(Failure::failed("this guest fails after it wrote"))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    key: String,
    add: i64,
}

fn kv_add(_: &Call, input: Add) -> Result<Stored, Failure> {
    let bucket = Bucket::open(BUCKET)?;
    let before: i64 = bucket.get(&input.key)?.unwrap_or(0);
    let sum = before
        .checked_add(input.add)
        .ok_or_else(|| Failure::failed("the sum is too large"))?;
    bucket.set(&input.key, &sum)?;
    stored(&input.key)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteElsewhere {
    bucket: String,
    key: String,
    value: Value,
}

fn kv_write_elsewhere(_: &Call, input: WriteElsewhere) -> Result<Never, Failure> {
    Bucket::open(&input.bucket)?.set(&input.key, &input.value)?;
    Ok(Never {})
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hoard {
    handles: u64,
}

#[derive(Serialize, JsonSchema)]
struct Hoarded {
    handles: u64,
}

fn hoard_handles(_: &Call, input: Hoard) -> Result<Hoarded, Failure> {
    let held: Vec<_> = (0..input.handles)
        .map(monotonic_clock::subscribe_duration)
        .collect();
    Ok(Hoarded {
        handles: black_box(&held).len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use stepseal_plugin::serde_json::json;

    use super::*;

    fn run(step_type: &str, attempt: u32, input: &Value) -> Result<String, Failure> {
        let call = Call {
            step_type: step_type.into(),
            attempt,
            ..Call::default()
        };
        PLUGIN.run(&call, &input.to_string())
    }

    #[test]
    fn the_ways_that_need_no_host_do_what_they_say() {
        assert_eq!(
            run("echo", 1, &json!([1, {"a": null}])).unwrap(),
            r#"[1,{"a":null}]"#
        );
        assert_eq!(
            run("big-output", 1, &json!({"bytes": 1000})).unwrap().len(),
            1000 + r#"{"text":""}"#.len()
        );
        let told = run("fail", 1, &json!({"kind": "invalid-input", "message": "m"}));
        assert_eq!(told, Err(Failure::invalid_input("m")));
        assert!(matches!(
            run("unavailable-until", 2, &json!({"attempt": 3})),
            Err(Failure::Unavailable(_))
        ));
        assert!(run("unavailable-until", 3, &json!({"attempt": 3})).is_ok());
    }

    #[test]
    fn writes_are_made_before_the_failure() {
        let write = json!({"key": "k", "value": 5});
        assert!(matches!(
            run("kv-write-then-fail", 1, &write),
            Err(Failure::Failed(_))
        ));
        assert_eq!(
            run("kv-read", 1, &json!({"key": "k"})).unwrap(),
            r#"{"value":5}"#
        );
        assert_eq!(
            run("kv-add", 1, &json!({"key": "k", "add": -2})).unwrap(),
            r#"{"value":3}"#
        );
    }

    #[test]
    #[should_panic(expected = "on purpose")]
    fn panic_panics() {
        let _ = run("panic", 1, &json!({}));
    }
}
