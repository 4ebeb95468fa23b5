//! The host from outside, where it waits and where it begins: steps that wait for a person, the first call of a component after its
//! upload, and the first after a restart.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(
    dead_code,
    reason = "the bench `host` needs more of what the two share"
)]

#[path = "../../../benches/table.rs"]
mod table;

#[path = "host/client.rs"]
mod client;
#[path = "host/process.rs"]
mod process;
#[path = "host/tasks.rs"]
mod tasks;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use client::Client;
use process::Host;
use table::Table;
use tasks::component;

/// Tasks whose step waits for a person.
const WAITING: u32 = 1_000;
/// KiB of a host in which they wait.
const WAITING_KIB_MAX: u64 = 200_000;
/// From the first byte of the upload to the result of the first call.
const FIRST_CALL_MAX: Duration = Duration::from_secs(2);
/// The first call after a restart, with the machine code on disk.
const CACHED_CALL_MAX: Duration = Duration::from_millis(5);
/// Bytes of the component that is uploaded, at least.
const COMPONENT_BYTES: usize = 1 << 20;
/// Uploads and restarts of which the middle one counts.
const TURNS: usize = 5;

fn main() {
    let mut table = Table::new("make bench-sandbox", "patience");
    waiting(&mut table);
    first_calls(&mut table);
    println!("{table}");
}

/// Effectful steps that nobody has approved yet.
fn waiting(table: &mut Table) {
    let data = tempfile::tempdir().expect("a directory");
    let host = Host::start(data.path());
    let client = host.client();
    client.upload(&component("ledger"));
    let grant = json!({"buckets": ["ledger"]}).to_string();
    let (status, _) = client
        .exchange(
            "PUT",
            "/v1/plugins/ledger/grants",
            "application/json",
            grant.as_bytes(),
        )
        .expect("the host answers");
    assert_eq!(status, 200);
    let before = host.resident_kib();
    for number in 0..WAITING {
        let with = json!({"account": format!("a{number}"), "currency": "USD"});
        let step = json!({"id": "open", "uses": "ledger/open-account", "with": with});
        let task = client.submit(&json!({"plan": {"steps": [step]}}).to_string());
        assert_eq!(task["state"], "waiting", "{task}");
    }
    let resident = host.resident_kib();
    table.target(
        format!("resident memory of a host in which {WAITING} effectful steps wait for a person"),
        format!("{} MiB", resident >> 10),
        format!("≤ {} MB", WAITING_KIB_MAX / 1_000),
        resident <= WAITING_KIB_MAX,
    );
    table.figure("  before they came", format!("{} MiB", before >> 10));
}

/// The test guest with other guests in it that it does not use, up to a mebibyte, all of which is compiled; each `number` as a
/// version of its own and so with other bytes. Its descriptor is the only place where its name stands before its version.
fn large(number: usize) -> Vec<u8> {
    const DESCRIBED: &[u8] = b"hostile0.1.0";
    let mut bytes = component("hostile");
    let mut windows = bytes.windows(DESCRIBED.len());
    let at = windows.position(|window| window == DESCRIBED);
    let at = at.expect("the descriptor of hostile 0.1.0 holds its name and version");
    bytes[at + DESCRIBED.len() - 1] = b'0' + u8::try_from(number).expect("a digit");
    let others = ["ledger", "spending-limit", "hostile"].map(component);
    for other in others.iter().cycle() {
        if bytes.len() >= COMPONENT_BYTES {
            break;
        }
        // A section of kind 4, which is a component; its length in LEB128, five bytes of it.
        let length = u32::try_from(other.len()).expect("a small component");
        bytes.push(4);
        for place in 0..5 {
            let more = if place < 4 { 0x80 } else { 0 };
            let seven = u8::try_from((length >> (7 * place)) & 0x7f).expect("seven bits");
            bytes.push(seven | more);
        }
        bytes.extend_from_slice(other);
    }
    bytes
}

fn call(client: &Client, version: usize) -> Duration {
    let step = json!({"id": "one", "uses": format!("hostile@0.1.{version}/echo"), "with": {}});
    let body = json!({"plan": {"steps": [step]}}).to_string();
    let begun = Instant::now();
    let task: Value = client.submit(&body);
    let took = begun.elapsed();
    assert_eq!(task["state"], "succeeded", "{task}");
    took
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn first_calls(table: &mut Table) {
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let data = tempfile::tempdir().expect("a directory");
    let host = Host::start(data.path());
    let client = host.client();
    let mut uploaded = Vec::new();
    let mut bytes = 0;
    for number in 0..TURNS {
        let component = large(number);
        bytes = component.len();
        let begun = Instant::now();
        client.upload(&component);
        call(&client, number);
        uploaded.push(begun.elapsed());
    }
    let uploaded = middle(uploaded);
    table.target(
        format!(
            "upload of a component of {} KiB and its first call, over HTTP",
            bytes >> 10
        ),
        ms(uploaded),
        format!("< {} s", FIRST_CALL_MAX.as_secs()),
        uploaded < FIRST_CALL_MAX,
    );
    drop(client);
    drop(host);

    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let host = Host::start(data.path());
        let client = host.client();
        first.push(call(&client, 0));
        second.push(call(&client, 0));
    }
    let (first, second) = (middle(first), middle(second));
    let more = first.saturating_sub(second);
    table.target(
        "its first call after a restart, from the cache, above what the second takes",
        ms(more),
        format!("< {} ms", CACHED_CALL_MAX.as_millis()),
        more < CACHED_CALL_MAX,
    );
    table.figure("  the first task, over HTTP and durable", ms(first));
    table.figure("  the second", ms(second));
}
