//! Tests with components as toolchains build them. What the sandbox does with every single instruction is tested beside its code, in text.

mod concurrent;
mod determinism;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Access, Cancel, Invocation, Limits, StepCall};
use stepseal_receipts::time::Timestamp;

fn path(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/guests")
        .join(format!("{guest}.wasm"))
}

/// The component of this name.
fn component(guest: &str) -> Vec<u8> {
    std::fs::read(path(guest)).unwrap_or_else(|error| {
        panic!("there is no {guest} ({error}): run `make guests test-guests language-guests`")
    })
}

fn start() -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000).unwrap()
}

/// A call under the usual limits, but for time: a machine that is busy must not end it.
fn call(step_type: &str, input: &str) -> StepCall {
    StepCall {
        invocation: Invocation {
            task_id: "task".to_owned(),
            step_id: "step".to_owned(),
            attempt: 1,
            step_type: step_type.to_owned(),
            input: input.to_owned(),
            idempotency_key: "task/step".to_owned(),
        },
        limits: Limits {
            wall: Duration::from_mins(10),
            ..Limits::STEP
        },
        seed: [7; 32],
        start: start(),
        access: Access::default(),
        tenant: None,
        cancel: Cancel::new(),
    }
}
