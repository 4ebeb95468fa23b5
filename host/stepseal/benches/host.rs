//! The host from outside: a real `stepseal serve` on an empty data directory, spoken to over HTTP.
//!
//! Measured: tasks of three pure steps under one policy, durable in `SQLite` and on a local PostgreSQL; how long a start takes; how much memory an idle
//! host has; what a long log costs. CPU time is the host's own, user and system, as the kernel counts it.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../../../benches/table.rs"]
mod table;

#[path = "host/client.rs"]
mod client;
#[path = "host/log.rs"]
mod log;
#[expect(dead_code, reason = "tests also run statements of their own")]
#[path = "../../../tests/postgres.rs"]
mod postgres;
#[path = "host/process.rs"]
mod process;
#[path = "host/tasks.rs"]
mod tasks;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use client::Client;
use postgres::Schema;
use process::Host;
use table::Table;
use tasks::{bind_policy, check, component, task};

/// Clients at a time.
const CONCURRENCY: usize = 16;
/// Tasks that are counted.
const TASKS: u32 = 4_000;
/// Tasks before that, so that everything is warm.
const WARMING: u32 = 400;
/// Starts of which the middle one counts.
const STARTS: usize = 7;
/// Components that are cached at these starts.
const CACHED: u8 = 10;
/// CPU time of the host for each task.
const TASK_CPU_MAX: Duration = Duration::from_micros(1_500);
/// From the start of the process to the first 200 of `/readyz`.
const START_MAX: Duration = Duration::from_millis(150);
/// KiB of an idle host.
const RESIDENT_KIB_MAX: u64 = 60 << 10;

fn main() {
    let mut table = Table::new("make bench", "host");
    load(&mut table, None);
    load(&mut table, Some(&Schema::new()));
    start(&mut table);
    log::measure(&mut table);
    println!("{table}");
}

fn load(table: &mut Table, schema: Option<&Schema>) {
    let data = tempfile::tempdir().expect("a directory");
    let host = Host::start_on(data.path(), schema.map(Schema::url), &[]);
    let on = schema.map_or("", |_| " on PostgreSQL");
    let client = host.client();
    for name in ["hostile", "jq"] {
        client.upload(&component(name));
    }
    bind_policy(&client);
    let echo = task("hostile/echo", Clone::clone);
    let filter = task(
        "jq/filter",
        |document| json!({"filter": ".", "document": document}),
    );
    measure(
        &host,
        &client,
        &format!("three pure echo steps{on}"),
        &echo,
        schema.is_none().then_some(TASK_CPU_MAX),
        table,
    );
    if schema.is_some() {
        return;
    }
    // For comparison: here nearly all of it is the guests' own work, which the bench `step` measures against raw wasmtime.
    measure(&host, &client, "three pure jq steps", &filter, None, table);
    let resident = host.resident_kib();
    table.target(
        "resident memory, idle after the load",
        format!("{} MiB", resident >> 10),
        format!("≤ {} MiB", RESIDENT_KIB_MAX >> 10),
        resident <= RESIDENT_KIB_MAX,
    );
}

fn measure(
    host: &Host,
    client: &Client,
    name: &str,
    task: &Value,
    cpu_max: Option<Duration>,
    table: &mut Table,
) {
    let body = task.to_string();
    run(host, &body, WARMING);
    check(client, &body);
    let cpu = host.cpu();
    let begun = Instant::now();
    let mut times = run(host, &body, TASKS);
    let wall = begun.elapsed();
    let cpu = host.cpu().saturating_sub(cpu) / TASKS;
    times.sort_unstable();
    let percentile = |percent: usize| {
        format!(
            "{:.1} ms",
            times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
        )
    };
    let what = format!("{name} + 1 policy: CPU of the host for each task");
    let measured = format!("{:.2} ms", cpu.as_secs_f64() * 1e3);
    match cpu_max {
        Some(max) => {
            let wanted = format!("≤ {:.1} ms", max.as_secs_f64() * 1e3);
            table.target(what, measured, wanted, cpu <= max);
        }
        None => table.figure(what, measured),
    }
    table.figure(
        format!("  tasks, concurrency {CONCURRENCY}"),
        format!("{:.0}/s", f64::from(TASKS) / wall.as_secs_f64()),
    );
    table.figure("  p50 of a task, submitted to finished", percentile(50));
    table.figure("  p99", percentile(99));
}

/// Runs tasks and gives how long each took.
fn run(host: &Host, body: &str, tasks: u32) -> Vec<Duration> {
    let left = AtomicU32::new(tasks);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONCURRENCY)
            .map(|_| {
                scope.spawn(|| {
                    let client = host.client();
                    let mut times = Vec::new();
                    while left
                        .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                            left.checked_sub(1)
                        })
                        .is_ok()
                    {
                        let begun = Instant::now();
                        let task = client.submit(body);
                        times.push(begun.elapsed());
                        assert_eq!(task["state"], "succeeded", "{task}");
                    }
                    times
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a client"))
            .collect()
    })
}

/// Starts with ten components whose machine code is cached.
fn start(table: &mut Table) {
    let data = tempfile::tempdir().expect("a directory");
    let host = Host::start(data.path());
    let client = host.client();
    let resident = host.resident_kib();
    for version in 0..CACHED {
        client.upload(&renumbered(component("jq"), version));
    }
    run_each(&client);
    drop(host);

    let mut ready = Vec::new();
    let mut first = Vec::new();
    let mut cached = 0;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let host = Host::start(data.path());
        ready.push(begun.elapsed());
        cached = host.resident_kib();
        run_each(&host.client());
        first.push(begun.elapsed());
    }
    ready.sort_unstable();
    first.sort_unstable();
    let ready = ready[STARTS / 2];
    table.target(
        format!("start with {CACHED} cached components, until /readyz says 200"),
        format!("{:.0} ms", ready.as_secs_f64() * 1e3),
        format!("< {} ms", START_MAX.as_millis()),
        ready < START_MAX,
    );
    table.figure(
        format!("  until each of the {CACHED} has run a step"),
        format!("{:.0} ms", first[STARTS / 2].as_secs_f64() * 1e3),
    );
    for (when, resident) in [
        ("an empty host", resident),
        ("a host with cached components", cached),
    ] {
        table.target(
            format!("resident memory of {when}, idle after its start"),
            format!("{} MiB", resident >> 10),
            format!("≤ {} MiB", RESIDENT_KIB_MAX >> 10),
            resident <= RESIDENT_KIB_MAX,
        );
    }
}

/// One step of each version of jq.
fn run_each(client: &Client) {
    for version in 0..CACHED {
        let step = json!({"id": "one", "uses": format!("jq@0.1.{version}/filter"), "with": {"filter": ".", "document": 1}});
        let task = client.submit(&json!({"plan": {"steps": [step]}}).to_string());
        assert_eq!(task["state"], "succeeded", "{task}");
    }
}

/// The component under another version, so that the host takes it for another one. Its descriptor is the only place where its
/// name stands before its version.
fn renumbered(mut bytes: Vec<u8>, version: u8) -> Vec<u8> {
    const DESCRIBED: &[u8] = b"jq0.1.0";
    let at = bytes
        .windows(DESCRIBED.len())
        .position(|window| window == DESCRIBED);
    let at = at.expect("the descriptor of jq 0.1.0 holds its name and version");
    bytes[at + DESCRIBED.len() - 1] = b'0' + version;
    bytes
}
