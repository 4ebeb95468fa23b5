//! Running one call, and telling apart how it ended.

mod policy;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use stepseal_receipts::json;
use stepseal_receipts::time::Timestamp;
use tokio::time::Instant;
use wasmtime::{OutOfMemory, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::access::Access;
use crate::bindings::step;
use crate::call::{Outcome, StepCall, StepRun};
use crate::cancel::Cancel;
use crate::component::{PolicyComponent, StepComponent};
use crate::descriptor::{self, Descriptor};
use crate::error::LoadError;
use crate::guest::{Guest, Shared, Stop};
use crate::http::HttpUse;
use crate::keyvalue::KeyValueChanges;
use crate::limits::{FUNCTION_NAME_BYTES_MAX, Limits};
use crate::pool::{Pool, aside};
use crate::text::{cut, message};
use crate::transcript::Transcript;

pub(crate) use policy::policy;

/// Bytes of a guest's last log line that a trap's message repeats.
const LAST_LINE_BYTES_MAX: usize = 512;

/// Bytes of an answer that is read on the spot. To parse a mebibyte takes tens of milliseconds, for which others would wait.
const READ_ON_THE_SPOT_BYTES_MAX: usize = 64 << 10;

/// Bytes of a function's name as the compiler wrote it.
const MANGLED_BYTES_MAX: usize = 512;

/// How a call ended, when it gave no answer.
enum Ended {
    /// While its component was instantiated.
    Starting(wasmtime::Error),
    /// While it ran, or at the border to it.
    Running(wasmtime::Error),
    Timeout,
    Cancelled,
}

/// What a call cost.
struct Cost {
    fuel_used: u64,
    memory_peak_bytes: u64,
    /// It used more than it may, whatever it answered.
    out_of_fuel: bool,
}

/// Waits for a call, until time is up or it is cancelled. Dropping the future is safe: wasmtime unwinds the guest. A guest that runs
/// looks at its deadline itself; this is for one that waits, in a host call or for its turn.
#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a timer that most calls never need"
)]
async fn guard<T>(
    mut call: Pin<&mut impl Future<Output = Result<T, Ended>>>,
    wall: Duration,
    cancel: &Cancel,
    shared: &Shared,
) -> Result<T, Ended> {
    let begun = Instant::now();
    let mut step = |context: &mut Context<'_>| {
        let call = call.as_mut();
        let polled = if shared.takes_turns() {
            aside(|| call.poll(context))
        } else {
            call.poll(context)
        };
        if polled.is_pending() {
            // Whatever it waits for, it does not run.
            *shared.turn() = None;
        }
        polled
    };
    // Most calls are over before anybody has to wait for them.
    if let Poll::Ready(ended) = poll_fn(|context| Poll::Ready(step(context))).await {
        return ended;
    }
    // One that is as good as for ever is no deadline.
    let deadline = begun.checked_add(wall);
    let timer = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = poll_fn(step) => ended,
        () = timer => Err(Ended::Timeout),
        () = cancel.cancelled() => Err(Ended::Cancelled),
    }
}

fn cost(store: &Store<Guest>, limits: &Limits) -> Cost {
    let guest = store.data();
    let left = store.get_fuel().unwrap_or(0);
    let used = limits
        .fuel
        .saturating_sub(left)
        .saturating_add(guest.owed());
    Cost {
        fuel_used: used.min(limits.fuel),
        memory_peak_bytes: guest.meter.peak(),
        out_of_fuel: used > limits.fuel,
    }
}

/// Runs one attempt of a step.
pub(crate) async fn step(pool: &Pool, component: &StepComponent, call: StepCall) -> StepRun {
    let StepCall {
        invocation,
        limits,
        seed,
        start,
        access,
        tenant,
        cancel,
    } = call;
    if invocation.input.len() as u64 > limits.input_bytes {
        let (bytes, bytes_max) = (invocation.input.len(), limits.input_bytes);
        return nothing(Outcome::InvalidInput(format!(
            "the input has {bytes} bytes, the limit is {bytes_max}"
        )));
    }
    let admitted = tokio::select! {
        biased;
        place = pool.admit(&component.0.share, tenant) => place,
        () = cancel.cancelled() => return nothing(Outcome::Cancelled),
    };
    let Some(_place) = admitted else {
        return nothing(Outcome::Busy(
            "no place to run became free in time".to_owned(),
        ));
    };
    if cancel.is_cancelled() {
        return nothing(Outcome::Cancelled);
    }
    let mut store = match pool.store(Guest::new(&limits, seed, start, access), &limits, &cancel) {
        Ok(store) => store,
        Err(error) => {
            return nothing(Outcome::Busy(message(format!(
                "the host has no memory to run it: {error}"
            ))));
        }
    };
    let invocation = step::Invocation {
        task_id: invocation.task_id,
        step_id: invocation.step_id,
        attempt: invocation.attempt,
        step_type: invocation.step_type,
        input: invocation.input,
        idempotency_key: invocation.idempotency_key,
    };
    let shared = Arc::clone(&store.data().shared);
    let ended = {
        let running = pin!(async {
            let instance = component
                .0
                .pre
                .instantiate_async(&mut store)
                .await
                .map_err(Ended::Starting)?;
            let exports = instance.stepseal_plugin_step();
            exports
                .call_run(&mut store, &invocation)
                .await
                .map_err(Ended::Running)
        });
        guard(
            pin!(shared.clock.pass_waits(running)),
            limits.wall,
            &cancel,
            &shared,
        )
        .await
    };
    let is_large = matches!(&ended, Ok(Ok(output)) if output.len() > READ_ON_THE_SPOT_BYTES_MAX);
    let conclude = || {
        let cost = cost(&store, &limits);
        let guest = store.data_mut();
        guest.shared.log().finish();
        let outcome = match ended {
            _ if cost.out_of_fuel => Outcome::OutOfFuel,
            Ok(answer) => step_answer(guest, answer, &limits),
            Err(ended) => failure(guest, ended),
        };
        step_run(guest, outcome, &cost, limits.fuel)
    };
    if is_large {
        aside(conclude)
    } else {
        conclude()
    }
}

/// Gathers what is left of a guest. What leaves it is looked through for secrets here; its requests and its buckets were before.
fn step_run(guest: &mut Guest, mut outcome: Outcome, cost: &Cost, fuel: u64) -> StepRun {
    if let Outcome::Ok { output } = &outcome
        && let Some(name) = guest.secret_in(output)
    {
        outcome = Outcome::SecretLeak(format!(
            "the output of the step has the secret {name} in it"
        ));
    }
    let changes = guest.keyvalue.take(matches!(outcome, Outcome::Ok { .. }));
    let (mut logs, logs_dropped) = guest.shared.log().take();
    if let Some(secrets) = &guest.secrets {
        if let Some(text) = outcome.text_mut() {
            secrets.redact(text);
        }
        for line in &mut logs {
            secrets.redact(&mut line.context);
            secrets.redact(&mut line.message);
        }
    }
    StepRun {
        // Where exactly the guest was stopped depends on when the host looked; the limit does not.
        fuel_used: if outcome == Outcome::OutOfFuel {
            fuel
        } else {
            cost.fuel_used
        },
        outcome,
        memory_peak_bytes: cost.memory_peak_bytes,
        virtual_elapsed: guest.shared.clock.elapsed(),
        logs,
        logs_dropped,
        transcript: guest.journal.take(),
        changes,
        http: guest.http.used(),
    }
}

/// A run in which no guest ran.
fn nothing(outcome: Outcome) -> StepRun {
    StepRun {
        outcome,
        fuel_used: 0,
        memory_peak_bytes: 0,
        virtual_elapsed: Duration::ZERO,
        logs: Vec::new(),
        logs_dropped: 0,
        transcript: Transcript::default(),
        changes: KeyValueChanges::default(),
        http: HttpUse::default(),
    }
}

/// What a step's own answer means.
fn step_answer(guest: &Guest, answer: Result<String, step::Failure>, limits: &Limits) -> Outcome {
    let left = guest.journal.calls_left();
    if left > 0 {
        return Outcome::Trap(format!(
            "replay: {left} host calls of the recorded run were not made"
        ));
    }
    match answer {
        Ok(output) => match output_json(output, limits) {
            Ok(output) => Outcome::Ok { output },
            Err(text) => Outcome::BadOutput(message(text)),
        },
        Err(step::Failure::InvalidInput(text)) => Outcome::InvalidInput(message(text)),
        Err(step::Failure::Failed(text)) => Outcome::Failed(message(text)),
        Err(step::Failure::Unavailable(text)) => Outcome::Unavailable(message(text)),
    }
}

/// The output as canonical JSON.
fn output_json(output: String, limits: &Limits) -> Result<Vec<u8>, String> {
    let too_large = |bytes: usize| {
        (bytes as u64 > limits.output_bytes).then(|| {
            format!(
                "the output has {bytes} bytes, the limit is {}",
                limits.output_bytes
            )
        })
    };
    if let Some(text) = too_large(output.len()) {
        return Err(text);
    }
    let json_limits = json::Limits {
        bytes_max: output.len(),
        depth_max: json::PAYLOAD_DEPTH_MAX,
    };
    let canonical = json::canonicalize(output.as_bytes(), &json_limits)
        .map_err(|error| format!("the output is not JSON that can be recorded: {error}"))?;
    // Canonical numbers may be longer than what the guest wrote.
    match canonical {
        Cow::Borrowed(_) => Ok(output.into_bytes()),
        Cow::Owned(canonical) => too_large(canonical.len()).map_or(Ok(canonical), Err),
    }
}

/// Tells apart how a guest ended without an answer.
fn failure(guest: &Guest, ended: Ended) -> Outcome {
    let (error, running) = match ended {
        Ended::Timeout => return Outcome::Timeout,
        Ended::Cancelled => return Outcome::Cancelled,
        Ended::Starting(error) => (error, false),
        Ended::Running(error) => (error, true),
    };
    match &guest.stop {
        Some(Stop::Timeout) => return Outcome::Timeout,
        Some(Stop::Cancelled) => return Outcome::Cancelled,
        Some(Stop::OutOfFuel) => return Outcome::OutOfFuel,
        Some(stop @ Stop::BucketsUnavailable) => return Outcome::Unavailable(stop.to_string()),
        Some(Stop::SecretLeak(text)) => return Outcome::SecretLeak(message(text.clone())),
        Some(Stop::Replay(text)) => return Outcome::Trap(message(text.clone())),
        None => {}
    }
    let trap = error.downcast_ref::<Trap>().copied();
    match trap {
        Some(Trap::OutOfFuel) => return Outcome::OutOfFuel,
        Some(Trap::Interrupt) => return Outcome::Timeout,
        _ => {}
    }
    // Before any of the guest's code ran, only the system can have refused.
    let outside = !running && error.downcast_ref::<WasmBacktrace>().is_none();
    let refused = error.is::<std::io::Error>() || error.is::<OutOfMemory>();
    if guest.meter.host_is_short() || outside && refused {
        return Outcome::Busy(message(format!("the host has no memory left: {error:#}")));
    }
    // A guest that cannot allocate mostly panics; or its allocator answers nonsense to the host, which is no trap; or its
    // memory did not even begin to fit. A guest that copes and later divides by zero did not fail for lack of memory.
    if let Some(refusal) = guest.meter.refusal()
        && matches!(trap, None | Some(Trap::UnreachableCodeReached))
    {
        return Outcome::OutOfMemory(message(refusal.to_owned()));
    }
    let text = match (trap, error.downcast_ref::<I32Exit>()) {
        (Some(trap), _) => trap.to_string(),
        (None, Some(exit)) => format!("the guest ended itself with exit code {}", exit.0),
        (None, None) => error.root_cause().to_string(),
    };
    // What has no backtrace happened outside of the guest's code: when the host took the answer, unless it was when it gave the
    // arguments, for which it calls the guest's `realloc`.
    let taking = running && trap.is_none() && error.downcast_ref::<WasmBacktrace>().is_none();
    if taking && !text.contains("realloc") {
        return Outcome::BadOutput(message(format!(
            "the output cannot be taken from the guest: {text}"
        )));
    }
    let said = guest.shared.log().last_line().map(|line| {
        let line = cut(line, LAST_LINE_BYTES_MAX);
        format!("; last log line: {line}")
    });
    let place = error.downcast_ref::<WasmBacktrace>().map(place);
    let (said, place) = (said.unwrap_or_default(), place.unwrap_or_default());
    Outcome::Trap(message(format!("{text}{said}{place}")))
}

/// Where it happened: names of the guest's own functions, innermost first. They come from the component, so that every run says
/// the same; one that was stripped of them has numbers.
fn place(backtrace: &WasmBacktrace) -> String {
    let mut text = String::new();
    for frame in backtrace.frames() {
        text.push_str(if text.is_empty() { "; in " } else { " < " });
        match frame.func_name() {
            // Without the hash that Rust adds.
            Some(name) => {
                let name = format!(
                    "{:#}",
                    rustc_demangle::demangle(cut(name, MANGLED_BYTES_MAX))
                );
                text.push_str(cut(&name, FUNCTION_NAME_BYTES_MAX));
            }
            None => {
                let _ = write!(text, "#{}", frame.func_index());
            }
        }
    }
    text
}

/// A failure as one sentence, for callers that have no use for an outcome.
fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::OutOfFuel => "it ran out of fuel".to_owned(),
        Outcome::Timeout => "it ran out of time".to_owned(),
        Outcome::Cancelled => "it was cancelled".to_owned(),
        Outcome::OutOfMemory(text) => format!("it ran out of memory: {text}"),
        Outcome::Trap(text) => format!("it trapped: {text}"),
        other => other.message().unwrap_or_default(),
    }
}

/// What `describe` may use: what a policy may, but for the wall limit. Fuel decides, since it is the same on every machine; a
/// busy host must not refuse an upload that an idle one takes.
const DESCRIBE: Limits = Limits {
    wall: Duration::from_secs(5),
    ..Limits::POLICY
};

/// What the randomness of `describe` starts from.
const DESCRIBE_SEED: [u8; 32] = [0; 32];

/// What `describe` gets to run in: nothing is granted, and the clock stands at the epoch.
fn describe_guest() -> Result<Guest, LoadError> {
    let start =
        Timestamp::from_unix_ms(0).map_err(|error| LoadError::Describe(error.to_string()))?;
    Ok(Guest::new(
        &DESCRIBE,
        DESCRIBE_SEED,
        start,
        Access::default(),
    ))
}

/// What a call of `describe` came to.
fn described<T>(store: &mut Store<Guest>, ended: Result<T, Ended>) -> Result<T, LoadError> {
    let cost = cost(store, &DESCRIBE);
    let guest = store.data_mut();
    guest.shared.log().finish();
    match ended {
        _ if cost.out_of_fuel => Err(LoadError::Describe(sentence(&Outcome::OutOfFuel))),
        Ok(said) => Ok(said),
        Err(ended) => Err(LoadError::Describe(sentence(&failure(guest, ended)))),
    }
}

const NO_PLACE: &str = "the host had no place to run it in time; try again";

/// Asks a plugin what it is.
pub(crate) async fn describe_step(
    pool: &Pool,
    component: &StepComponent,
) -> Result<Descriptor, LoadError> {
    let place = pool.admit(&component.0.share, None).await;
    let _place = place.ok_or_else(|| LoadError::Describe(NO_PLACE.to_owned()))?;
    let cancel = Cancel::new();
    let host = |error: wasmtime::Error| LoadError::Describe(format!("{error:#}"));
    let mut store = pool
        .store(describe_guest()?, &DESCRIBE, &cancel)
        .map_err(host)?;
    let shared = Arc::clone(&store.data().shared);
    let ended = {
        let running = pin!(async {
            let instance = component
                .0
                .pre
                .instantiate_async(&mut store)
                .await
                .map_err(Ended::Starting)?;
            instance
                .stepseal_plugin_step()
                .call_describe(&mut store)
                .await
                .map_err(Ended::Running)
        });
        guard(
            pin!(shared.clock.pass_waits(running)),
            DESCRIBE.wall,
            &cancel,
            &shared,
        )
        .await
    };
    let said = described(&mut store, ended)?;
    descriptor::plugin(said)
        .map(Descriptor::Plugin)
        .map_err(LoadError::BadDescriptor)
}

/// Asks a policy what it is.
pub(crate) async fn describe_policy(
    pool: &Pool,
    component: &PolicyComponent,
) -> Result<Descriptor, LoadError> {
    let place = pool.admit(&component.0.share, None).await;
    let _place = place.ok_or_else(|| LoadError::Describe(NO_PLACE.to_owned()))?;
    let cancel = Cancel::new();
    let host = |error: wasmtime::Error| LoadError::Describe(format!("{error:#}"));
    let mut store = pool
        .store(describe_guest()?, &DESCRIBE, &cancel)
        .map_err(host)?;
    let shared = Arc::clone(&store.data().shared);
    let ended = {
        let running = pin!(async {
            let instance = component
                .0
                .pre
                .instantiate_async(&mut store)
                .await
                .map_err(Ended::Starting)?;
            instance
                .stepseal_plugin_policy()
                .call_describe(&mut store)
                .await
                .map_err(Ended::Running)
        });
        guard(
            pin!(shared.clock.pass_waits(running)),
            DESCRIBE.wall,
            &cancel,
            &shared,
        )
        .await
    };
    let said = described(&mut store, ended)?;
    descriptor::policy(said)
        .map(Descriptor::Policy)
        .map_err(LoadError::BadDescriptor)
}
