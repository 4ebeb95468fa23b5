//! A policy that misbehaves as its settings say, for the tests of the host: in the ways that need imports or a panic. Those that need
//! neither are written as text, where they are made.

use std::hint::black_box;

use serde::Deserialize;
use stepseal_plugin::policy::{Input, Stage, Verdict};
use stepseal_plugin::{JsonSchema, policy, schemars};

use bindings::wasi::cli::stdout;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::random::random;

mod bindings {
    #![expect(
        clippy::same_length_and_capacity,
        reason = "generated: a list crosses as pointer and length"
    )]
    wit_bindgen::generate!({ path: "wit", world: "wasi", generate_all });
}

const YEAR_NS: u64 = 365 * 86_400 * 1_000_000_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What it does before it allows.
    first: First,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum First {
    /// Panics.
    Panic,
    /// Writes to its stdout without end.
    Flood,
    /// Sleeps for a year.
    Sleep,
    /// Asks for 2^40 random bytes.
    Random,
    /// Makes timers without end and lets go of none.
    Hoard,
}

#[expect(clippy::unnecessary_wraps, reason = "the shape `policy!` takes")]
fn judge(_: Stage, settings: &Settings, _: &Input) -> Result<Verdict, String> {
    match settings.first {
        First::Panic => panic!("this policy panics on purpose"),
        First::Flood => flood(),
        First::Sleep => monotonic_clock::subscribe_duration(YEAR_NS).block(),
        First::Random => drop(black_box(random::get_random_bytes(1 << 40))),
        First::Hoard => drop(black_box(
            (0..1_000_000)
                .map(monotonic_clock::subscribe_duration)
                .collect::<Vec<_>>(),
        )),
    }
    Ok(Verdict::Allow)
}

fn flood() {
    let stdout = stdout::get_stdout();
    while stdout.blocking_write_and_flush(b"flood\n").is_ok() {}
}

policy! {
    /// Misbehaves as its settings say.
    name: "hostile-policy",
    stages: [BeforeStep],
    judge: judge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "on purpose")]
    fn panic_panics() {
        let _ = POLICY.judge(
            Stage::BeforeStep,
            r#"{"first":"panic"}"#,
            r#"{"subject":{},"task":{"id":"t","labels":{}},"plan":{"steps":[]},"history":[],"time":"2026-01-01T00:00:00Z"}"#,
        );
    }
}
