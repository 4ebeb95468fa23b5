//! A plugin of WASI 0.3 for tests: each step type is one thing that such a component can do and one of WASI 0.2 cannot.

mod bindings {
    #![expect(
        clippy::same_length_and_capacity,
        unsafe_code,
        reason = "generated: a list crosses the boundary as pointer and length"
    )]
    wit_bindgen::generate!({ path: "wit", world: "concurrent", generate_all });

    struct Concurrent;
    export!(Concurrent);

    impl exports::stepseal::plugin::step::Guest for Concurrent {
        fn describe() -> exports::stepseal::plugin::step::Descriptor {
            super::describe()
        }

        async fn run(
            call: exports::stepseal::plugin::step::Invocation,
        ) -> Result<String, exports::stepseal::plugin::step::Failure> {
            super::run(&call.step_type, &call.input).await
        }
    }
}

use std::collections::HashSet;
use std::future::pending;

use bindings::exports::stepseal::plugin::step::{Descriptor, Failure, StepType};
use bindings::wasi::cli::stdout::write_via_stream;
use bindings::wasi::clocks::{monotonic_clock, system_clock};
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use bindings::wasi::random::random::get_random_u64;
use bindings::{wit_future, wit_stream};
use futures_util::future::{FutureExt as _, join, join_all};

/// What each does is at its place in [`run`].
const STEPS: [&str; 10] = [
    "look", "race", "ask", "print", "spawned", "never", "spawn", "flood", "pipe", "futures",
];

const MILLISECOND: u64 = 1_000_000;

fn describe() -> Descriptor {
    let step = |name: &str| StepType {
        name: name.to_owned(),
        summary: String::new(),
        input_schema: "{}".to_owned(),
        output_schema: "{}".to_owned(),
    };
    Descriptor {
        name: "concurrent".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        summary: "Does what only components of WASI 0.3 can.".to_owned(),
        steps: STEPS.map(step).to_vec(),
    }
}

async fn run(step_type: &str, input: &str) -> Result<String, Failure> {
    match step_type {
        // Clocks and randomness, and a set that is hashed under a random key.
        "look" => {
            let names: HashSet<u64> = (0..100).map(|_| get_random_u64()).collect();
            let (now, mark) = (system_clock::now(), monotonic_clock::now());
            monotonic_clock::wait_for(3_600_000 * MILLISECOND).await;
            let waited = monotonic_clock::now() - mark;
            Ok(format!(
                r#"{{"names":{},"random":"{:x}","seconds":{},"waited_ms":{}}}"#,
                names.len(),
                get_random_u64(),
                now.seconds,
                waited / MILLISECOND
            ))
        }
        // Waits that begin in one order and end in another.
        "race" => {
            let order = std::cell::RefCell::new(Vec::new());
            join_all([30, 10, 20, 10].iter().enumerate().map(async |(at, ms)| {
                monotonic_clock::wait_for(ms * MILLISECOND).await;
                order.borrow_mut().push(at);
            }))
            .await;
            Ok(format!("{:?}", order.into_inner()))
        }
        // Waits an hour and, meanwhile, asks whom the input names; tells how much time the answer took.
        "ask" => {
            let mark = monotonic_clock::now();
            let wait = monotonic_clock::wait_for(3_600_000 * MILLISECOND);
            let ((), answered) = join(wait, async { ask(input.trim_matches('"')) }).await;
            let waited = (monotonic_clock::now() - mark) / MILLISECOND;
            let answered = (answered? - mark) / MILLISECOND;
            Ok(format!(
                r#"{{"answered_ms":{answered},"waited_ms":{waited}}}"#
            ))
        }
        "print" => {
            let (mut write, read) = wit_stream::new();
            let printed = write_via_stream(read);
            write.write_all(b"one line\nand another".to_vec()).await;
            drop(write);
            printed
                .await
                .map_err(|error| Failure::Failed(format!("{error:?}")))?;
            Ok("null".to_owned())
        }
        // Answers, and leaves something behind that would go on.
        "spawned" => {
            wit_bindgen::spawn_local(async {
                loop {
                    monotonic_clock::wait_for(MILLISECOND).await;
                }
            });
            Ok("null".to_owned())
        }
        // Never answers, and waits for nothing.
        "never" => pending().await,
        // One more wait, always.
        "spawn" => {
            let mut waits = Vec::new();
            loop {
                let mut wait = Box::pin(monotonic_clock::wait_for(u64::MAX));
                assert!(wait.as_mut().now_or_never().is_none());
                waits.push(wait);
            }
        }
        // Prints for ever.
        "flood" => {
            let (mut write, read) = wit_stream::new();
            let _printed = write_via_stream(read);
            loop {
                write.write_all(vec![b'x'; 1 << 16]).await;
            }
        }
        // Sends to itself for ever.
        "pipe" => {
            let (mut write, mut read) = wit_stream::new::<u8>();
            let send = async {
                loop {
                    write.write_all(vec![0; 1 << 20]).await;
                }
            };
            let receive = async {
                loop {
                    read.read(Vec::with_capacity(1 << 20)).await;
                }
            };
            join(send, receive).await;
            Ok("null".to_owned())
        }
        // One more future, always.
        "futures" => {
            let mut futures = Vec::new();
            loop {
                futures.push(wit_future::new(|| Ok(())));
            }
        }
        other => Err(Failure::InvalidInput(format!(
            "there is no step type {other}"
        ))),
    }
}

/// Asks this authority for its root, as a component of WASI 0.2 would, and tells when it answered.
fn ask(authority: &str) -> Result<u64, Failure> {
    let refused = |()| Failure::InvalidInput(authority.to_owned());
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
    request.set_authority(Some(authority)).map_err(refused)?;
    let failed = |error| Failure::Failed(format!("{error:?}"));
    let answer = outgoing_handler::handle(request, None).map_err(failed)?;
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(_))) => Ok(monotonic_clock::now()),
        other => Err(Failure::Failed(format!("{other:?}"))),
    }
}
