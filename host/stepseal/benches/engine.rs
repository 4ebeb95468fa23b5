//! How many tasks a host takes through to their end, each acknowledged only when it is durable: from outside, over HTTP, with the release
//! host and clients that cost little on the same cores.
//!
//! CPU time is that of the host's process; what the clients take is said beside it. Where one load is compared with another, the two are
//! run in turn, round after round, since a machine that others use too is never the same for long.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

#[path = "../../../benches/table.rs"]
mod table;

#[path = "host/client.rs"]
mod client;
#[path = "engine/fill.rs"]
mod fill;
#[path = "engine/load.rs"]
mod load;
#[expect(dead_code, reason = "the bench `host` measures the log")]
#[path = "host/log.rs"]
mod log;
#[expect(dead_code, reason = "tests also run statements of their own")]
#[path = "../../../tests/postgres.rs"]
mod postgres;
#[path = "host/process.rs"]
mod process;
#[path = "host/tasks.rs"]
mod tasks;

use std::time::Duration;

use load::{Load, Way};
use postgres::Schema;
use process::Host;
use serde_json::json;
use table::{Table, median};

/// Clients at a time, but where there is only one.
const CLIENTS: usize = 16;
/// Tasks of a round, and rounds of which the middle one counts.
const TASKS: u32 = 2_000;
const ROUNDS: usize = 5;
/// Tasks before the first round, so that everything is warm.
const WARMING: u32 = 400;
/// Tasks of a round with one client.
const ALONE: u32 = 300;

/// Tasks that wait for a person, and tasks that are over, unless the environment says how many.
const WAITING: u32 = 100_000;
const WAITING_VARIABLE: &str = "STEPSEAL_BENCH_WAITING_TASKS";
const FINISHED: u32 = 1_000_000;
const FINISHED_VARIABLE: &str = "STEPSEAL_BENCH_FINISHED_TASKS";

/// What is wanted.
const PER_SECOND_MIN: f64 = 3_200.0;
const TASK_CPU_MAX: Duration = Duration::from_micros(600);
const PER_SECOND_MIN_ON_POSTGRES: f64 = 1_500.0;
const APPROVAL_COST_MAX: f64 = 0.30;
const ALONE_MAX: Duration = Duration::from_millis(3);
const WAITING_COST_MAX: f64 = 0.05;
const WAITING_BYTES_MAX: u64 = 100;
const FINISHED_COST_MAX: f64 = 0.10;

/// A part of this bench.
type Part = fn(&mut Table);

/// The parts, by the names they are asked for with: `cargo bench --bench engine -- sqlite waiting`.
const PARTS: [(&str, Part); 4] = [
    ("sqlite", sqlite),
    ("postgres", on_postgres),
    ("waiting", waiting),
    ("finished", finished),
];

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
        .collect();
    let mut table = Table::new("make bench-engine", "engine");
    for (name, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            measure(&mut table);
        }
    }
    println!("{table}");
}

/// Three pure steps.
fn pure() -> String {
    tasks::task("hostile/echo", Clone::clone).to_string()
}

/// The same, where a person is asked before the second.
fn approved() -> String {
    let mut task = tasks::task("hostile/echo", Clone::clone);
    task["plan"]["steps"][1]["approval"] = json!("required");
    task.to_string()
}

/// A host with what the tasks need, warm.
fn host(root: &std::path::Path, schema: Option<&Schema>, more: &[&str]) -> Host {
    let host = Host::start_on(root, schema.map(Schema::url), more);
    let client = host.client();
    client.upload(&tasks::component("hostile"));
    tasks::bind_policy(&client);
    load::run(&host, &pure(), Way::Finish, CLIENTS, WARMING);
    tasks::check(&client, &pure());
    host
}

/// Rounds of several loads, in turn; of each the middle one by its rate.
fn rounds<const N: usize>(mut loads: [&mut dyn FnMut() -> Load; N]) -> [Load; N] {
    let mut ran: [Vec<Load>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (load, ran) in loads.iter_mut().zip(&mut ran) {
            ran.push(load());
        }
    }
    ran.map(|mut ran| {
        ran.sort_by(|a, b| a.per_second().total_cmp(&b.per_second()));
        ran.swap_remove(ROUNDS / 2)
    })
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Everything else that is to be said of a load.
fn describe(table: &mut Table, load: &Load) {
    table.figure(
        "  p50, p99 of a task, submitted to finished",
        format!("{}, {}", ms(load.percentile(50)), ms(load.percentile(99))),
    );
    table.figure("  CPU of the host for each task", ms(load.host_cpu));
    table.figure("  CPU of the clients for each task", ms(load.client_cpu));
    table.figure("  commits for each task", format!("{:.2}", load.commits));
}

fn sqlite(table: &mut Table) {
    let (data, careful) = (directory(), directory());
    let host = host(data.path(), None, &[]);
    let careful = self::host(careful.path(), None, &["--commit-per-step"]);
    let (pure, approved) = (pure(), approved());
    let [steps, approvals, each] = rounds([
        &mut || load::run(&host, &pure, Way::Finish, CLIENTS, TASKS),
        &mut || load::run(&host, &approved, Way::Approve, CLIENTS, TASKS / 2),
        &mut || load::run(&careful, &pure, Way::Finish, CLIENTS, TASKS / 2),
    ]);
    table.target(
        format!("three pure steps and a policy on SQLite, {CLIENTS} clients: tasks"),
        format!("{:.0}/s", steps.per_second()),
        format!("≥ {PER_SECOND_MIN}/s"),
        steps.per_second() >= PER_SECOND_MIN,
    );
    describe(table, &steps);
    table.target(
        "  the host's share of that, as wanted",
        ms(steps.host_cpu),
        format!("≤ {}", ms(TASK_CPU_MAX)),
        steps.host_cpu <= TASK_CPU_MAX,
    );
    table.figure(
        "the same with a commit for each step (`serve --commit-per-step`), to compare with",
        format!("{:.0}/s", each.per_second()),
    );
    describe(table, &each);
    let cost = 1.0 - approvals.per_second() / steps.per_second();
    table.target(
        "the same with a person who approves the second step: tasks",
        format!("{:.0}/s, {:.0} % fewer", approvals.per_second(), cost * 1e2),
        format!("< {:.0} % fewer", APPROVAL_COST_MAX * 1e2),
        cost < APPROVAL_COST_MAX,
    );
    describe(table, &approvals);
    alone(table, &host, &pure);
}

/// One client, and what the disk takes by itself.
fn alone(table: &mut Table, host: &Host, body: &str) {
    let directory = directory();
    let mut flushes = Vec::new();
    let mut file = std::fs::File::create(directory.path().join("flushed")).expect("a file");
    let [load] = rounds([&mut || {
        flushes.push(flush(&mut file));
        load::run(host, body, Way::Finish, 1, ALONE)
    }]);
    let middle = load.percentile(50);
    table.target(
        "one client: p50 of a task, submitted to finished",
        ms(middle),
        format!("≤ {}", ms(ALONE_MAX)),
        middle <= ALONE_MAX,
    );
    table.figure("  p99", ms(load.percentile(99)));
    table.figure("  CPU of the host for each task", ms(load.host_cpu));
    table.figure("  commits for each task", format!("{:.2}", load.commits));
    table.figure(
        "  to append 32 KiB to a file and flush it, to compare with: p50",
        ms(median(flushes)),
    );
}

/// The middle time of appending to a file and flushing it.
fn flush(file: &mut std::fs::File) -> Duration {
    use std::io::Write as _;
    let times = (0..ALONE).map(|_| {
        let begun = std::time::Instant::now();
        file.write_all(&vec![7; 32 << 10])
            .expect("the disk has room");
        file.sync_data().expect("the disk works");
        begun.elapsed()
    });
    median(times.collect())
}

fn on_postgres(table: &mut Table) {
    let (data, schema) = (directory(), Schema::new());
    let host = host(data.path(), Some(&schema), &[]);
    let body = pure();
    let [load] = rounds([&mut || load::run(&host, &body, Way::Finish, CLIENTS, TASKS / 2)]);
    table.target(
        format!("three pure steps and a policy on a local PostgreSQL, {CLIENTS} clients: tasks"),
        format!("{:.0}/s", load.per_second()),
        format!("≥ {PER_SECOND_MIN_ON_POSTGRES}/s"),
        load.per_second() >= PER_SECOND_MIN_ON_POSTGRES,
    );
    describe(table, &load);
}

/// Tasks that wait for a person, beside tasks that run.
fn waiting(table: &mut Table) {
    let count = number(WAITING_VARIABLE, WAITING);
    let (full, empty) = (directory(), directory());
    let full = host(full.path(), None, &[]);
    let empty = host(empty.path(), None, &[]);
    let body = pure();
    let load = |host: &Host| load::run(host, &body, Way::Finish, CLIENTS, TASKS);
    load(&full);
    let before = full.resident_kib();
    let left = load::run(&full, &approved(), Way::Leave, CLIENTS, count);
    load(&full);
    let after = full.resident_kib();
    let [beside, base] = rounds([&mut || load(&full), &mut || load(&empty)]);
    let bytes = (after.saturating_sub(before) << 10) / u64::from(count);
    table.target(
        format!("{count} tasks that wait for a person: memory of the host for each"),
        format!(
            "{bytes} B ({} MiB before, {} MiB after)",
            before >> 10,
            after >> 10
        ),
        format!("≤ {WAITING_BYTES_MAX} B"),
        bytes <= WAITING_BYTES_MAX,
    );
    table.figure("  they came at", format!("{:.0}/s", left.per_second()));
    slower(
        table,
        "  beside them, CPU of the host for a pure task",
        &beside,
        &base,
        WAITING_COST_MAX,
    );
}

/// Tasks that are over, and tasks that come after them.
fn finished(table: &mut Table) {
    let count = number(FINISHED_VARIABLE, FINISHED);
    let (full, empty) = (directory(), directory());
    drop(host(full.path(), None, &[]));
    fill::fill(full.path(), count);
    let full = Host::start(full.path());
    let empty = host(empty.path(), None, &[]);
    let body = pure();
    let load = |host: &Host| load::run(host, &body, Way::Finish, CLIENTS, TASKS);
    load(&full);
    let [after, base] = rounds([&mut || load(&full), &mut || load(&empty)]);
    let what = format!("after {count} finished tasks, CPU of the host for a new one");
    slower(table, &what, &after, &base, FINISHED_COST_MAX);
}

/// How much one load is dearer than another that is like it.
fn slower(table: &mut Table, what: &str, load: &Load, base: &Load, cost_max: f64) {
    let cost = load.host_cpu.as_secs_f64() / base.host_cpu.as_secs_f64() - 1.0;
    table.target(
        what,
        format!(
            "{} to {}: {:+.0} %",
            ms(load.host_cpu),
            ms(base.host_cpu),
            cost * 1e2
        ),
        format!("≤ {:.0} % more", cost_max * 1e2),
        cost <= cost_max,
    );
    table.figure(
        "  tasks, and on a host without them",
        format!("{:.0}/s, {:.0}/s", load.per_second(), base.per_second()),
    );
    let middle = |load: &Load| ms(load.percentile(50));
    table.figure(
        "  p50, and on a host without them",
        format!("{}, {}", middle(load), middle(base)),
    );
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn number(variable: &str, usual: u32) -> u32 {
    let number = std::env::var(variable).ok();
    number.map_or(usual, |number| number.parse().expect("a number"))
}
