//! The attacks, one by one and two hundred at once.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::policies::{AT_A_TIME, bound, policies};
use super::runs::{NAMES, ready};
use super::uploads::uploads;
use super::vitals::{Vitals, every_place_is_free};
use super::{Attack, has_a_pulse, serves_the_honest};
use crate::concurrency::side_by_side;
use crate::host::Host;
use crate::host::client::Client;
use crate::host::tasks::one_step;

/// Attacks at once.
const CROWD: usize = 200;

#[test]
fn every_upload_ends_as_its_row_says() {
    let host = Host::with_guests();
    for upload in uploads() {
        upload.ends_as_it_must(&host);
        has_a_pulse(&host);
    }
    serves_the_honest(&host);
    host.get("/readyz");
}

#[test]
fn every_run_ends_as_its_row_says() {
    let host = Host::with_guests_and_names(NAMES);
    let attacks = ready(&host);
    let client: &Client = &host;
    let tasks = side_by_side(attacks.len(), |number| attacks[number].begin(client));
    has_a_pulse(client);
    serves_the_honest(client);
    side_by_side(attacks.len(), |number| {
        attacks[number].ends_as_it_must(client, &tasks[number]);
    });
    // What was written and not committed is not there.
    let read = one_step("hostile/kv-read", &serde_json::json!({"key": "k"}));
    let read = host.submit_and_wait(&read);
    assert!(read["steps"][0]["output"]["value"].is_null(), "{read}");
    host.get("/readyz");
}

#[test]
fn two_hundred_attacks_at_once_harm_nobody_else() {
    let host = Host::with_guests_and_names(NAMES);
    crowd(&host);
    every_place_is_free(&host);
}

#[test]
fn two_hundred_attacks_at_once_harm_nobody_else_on_one_processor() {
    crowd(&Host::with_guests_and_names_on_one_cpu(NAMES));
}

/// Makes many attacks at once beside a client who asks for the pulse and for an honest step again and again. It is done three times:
/// what the first two crowds made the host keep for the next one, such as places that are mapped, must do for the third. One is not
/// enough: which attacks meet in it differs, and with that what the allocator keeps.
fn crowd(host: &Host) {
    let client: &Client = host;
    let mut attacks: Vec<Box<dyn Attack>> = Vec::new();
    for run in ready(host) {
        attacks.push(Box::new(run));
    }
    for policy in bound(host, policies().into_iter().enumerate().take(AT_A_TIME)) {
        attacks.push(Box::new(policy));
    }
    for _ in 0..2 {
        burst(client, &attacks);
    }
    let quiet: Vec<Duration> = (0..30).map(|_| honestly(client)).collect();
    let before = Vitals::of(host);

    let over = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                has_a_pulse(client);
                took.push(honestly(client));
            }
            took
        });
        // Whatever becomes of them, the honest client stops.
        let made = catch_unwind(AssertUnwindSafe(|| burst(client, &attacks)));
        over.store(true, Ordering::Relaxed);
        if let Err(failure) = made {
            resume_unwind(failure);
        }
        honest.join().unwrap()
    });
    report("quiet", quiet);
    report("beside the attacks", beside);

    before.are_back(host);
    host.get("/readyz");
}

fn burst(client: &Client, attacks: &[Box<dyn Attack>]) {
    let attack = |number: usize| &attacks[number % attacks.len()];
    let tasks = side_by_side(CROWD, |number| attack(number).begin(client));
    side_by_side(CROWD, |number| {
        attack(number).ends_as_it_must(client, &tasks[number]);
    });
}

/// Makes an honest call, and says how long it took.
#[expect(clippy::disallowed_methods, reason = "it is told, not judged")]
fn honestly(client: &Client) -> Duration {
    let begin = Instant::now();
    serves_the_honest(client);
    begin.elapsed()
}

/// Tells how long honest calls took, for people (`--nocapture`).
fn report(when: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let Some(last) = took.len().checked_sub(1) else {
        return;
    };
    let (p50, p99) = (took[last / 2], took[last * 99 / 100]);
    eprintln!(
        "{} honest calls, {when}: p50 {p50:?}, p99 {p99:?}",
        took.len()
    );
}
