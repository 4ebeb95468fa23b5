//! A host whose database is in PostgreSQL: what it refuses, what it says, and that it goes on when its connections are cut. What it does for its
//! clients is tested with `on_each_database`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::concurrency::{audit, ledger, side_by_side, transfer};
use crate::host::client::Client;
use crate::host::postgres::Schema;
use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Database, Host, eventually};
use crate::support::{Ran, ended, stepseal};

/// Starts a host on a directory and a database, and expects it to refuse with all of `says`.
fn refused(dir: &DataDir, more: &[&str], says: &[&str]) -> Ran {
    let data = dir.path();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data"];
    let arguments = [&serve[..], &[data.to_str().unwrap()], more].concat();
    stepseal(&arguments).expect(1).says(says)
}

fn empty() -> Host {
    Host::on(DataDir::fresh().with_schema(Some(Schema::new())))
}

#[test]
fn a_directory_and_a_database_that_do_not_belong_together_are_refused() {
    let host = empty();
    host.upload("jq");
    host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": 7}),
    ));
    // A head is signed, and remembered in the directory.
    host.call("GET", "/log/checkpoint").send().expect(200);
    let dir = host.kill();
    let url = dir.schema().unwrap().url();
    let in_it = ["--database", url.as_str()];

    refused(
        &dir,
        &[],
        &["stepseal.db is missing", "name that with --database"],
    );
    let empty_one = Schema::new();
    let empty_url = empty_one.url();
    refused(
        &dir,
        &["--database", &empty_url],
        &["the database is empty", "name the database that it is in"],
    );
    refused(
        &dir,
        &[&in_it[..], &["--origin", "example.org/other"]].concat(),
        &["belongs to log stepseal.local/", "example.org/other"],
    );
    let without_keys = DataDir::fresh();
    refused(
        &without_keys,
        &in_it,
        &["record.pem is missing", "put it back from the backup"],
    );
    let another = Host::empty().kill();
    refused(
        &another,
        &in_it,
        &["a log stays in its database", "leave out --database"],
    );
    std::fs::remove_file(another.path().join("stepseal.db")).unwrap();
    refused(
        &another,
        &in_it,
        &[
            "is not the one this database was written with",
            "another database",
        ],
    );
    // What was refused is as it was.
    let host = Host::on(dir);
    assert_eq!(host.get("/v1/tasks")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn an_older_copy_of_the_database_is_refused_and_another_log_continues_it() {
    let host = empty();
    let schema = host.schema().unwrap();
    schema.run("CREATE TABLE backup AS SELECT size, frontier FROM log_head");
    host.upload("jq");
    host.call("GET", "/log/checkpoint").send().expect(200);
    let dir = host.stop();
    let schema = dir.schema().unwrap();
    let url = schema.url();
    schema.run(
        "UPDATE log_head SET (size, frontier) = (SELECT size, frontier FROM backup); DROP TABLE backup; \
         DELETE FROM records WHERE leaf_index > 0; DELETE FROM log_nodes; DELETE FROM components; DELETE FROM checkpoints",
    );
    let of_the_old = ["--database", url.as_str()];
    refused(&dir, &of_the_old, &["it is an older copy", "open-shard"]);
    let next = DataDir::fresh().with_schema(Some(Schema::new()));
    let (from, into) = (dir.path(), next.path());
    let into_url = next.schema().unwrap().url();
    let shard = [
        "log",
        "open-shard",
        "--data",
        from.to_str().unwrap(),
        "--into",
        into.to_str().unwrap(),
    ];
    let ran =
        stepseal(&[&shard[..], &of_the_old, &["--into-database", &into_url]].concat()).expect(0);
    assert!(ran.stdout.contains("from its 2 records on"), "{ran:?}");
    Host::on(next).get("/readyz");
}

#[test]
fn keys_are_rotated_in_the_database_of_a_directory_that_nobody_serves() {
    let dir = empty().stop();
    let (data, url) = (dir.path(), dir.schema().unwrap().url());
    let there = ["--data", data.to_str().unwrap(), "--database", &url];
    let rotate = ["keys", "rotate", "record", "--output", "json"];
    let ran = stepseal(&[&there[..], &rotate].concat()).expect(0).json();
    assert_eq!(ran["items"].as_array().unwrap().len(), 3, "{ran}");
    let trust = Host::on(dir).get("/v1/trust");
    assert_eq!(trust["records"].as_array().unwrap().len(), 2, "{trust}");
}

#[test]
fn a_password_is_neither_said_nor_taken_for_something_else() {
    let dir = DataDir::fresh();
    for url in [
        "postgres://mia:s3cret@127.0.0.1:1/steps",
        "postgres://mia:s3cret@127.0.0.1:port/steps",
        "mysql://mia:s3cret@127.0.0.1/steps",
    ] {
        let data = dir.path();
        let arguments = ["--data", data.to_str().unwrap(), "--database", url];
        for command in ["serve", "doctor"] {
            let ran = stepseal(&[&arguments[..], &[command]].concat());
            assert_ne!(ran.code, 0, "{ran:?}");
            assert!(!format!("{ran:?}").contains("s3cret"), "{ran:?}");
        }
    }
}

#[test]
fn doctor_looks_at_the_database() {
    let host = empty();
    let url = host.schema().unwrap().url();
    let data = host.data();
    let arguments = ["--data", data.to_str().unwrap(), "doctor", "--database"];
    let ran = stepseal(&[&arguments[..], &[&url]].concat()).expect(0);
    assert!(ran.stdout.contains("schema version "), "{ran:?}");
    assert!(
        host.said().contains("  in     postgres://"),
        "{}",
        host.said()
    );
    let nowhere = "postgres://127.0.0.1:1/steps";
    let ran = stepseal(&[&arguments[..], &[nowhere]].concat()).expect(1);
    assert!(ran.stdout.contains("does the server run"), "{ran:?}");
}

#[test]
fn a_host_whose_connections_are_cut_goes_on_and_loses_nothing() {
    const TASKS: usize = 48;
    let host = Host::with_guests_in(Database::Postgres);
    ledger(&host);
    let schema = host.schema().unwrap();
    let is_over = AtomicBool::new(false);
    let tasks = thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let mut cuts = 0;
            while !is_over.load(Ordering::Relaxed) {
                // The connection that writes holds the lock of the host.
                schema.run(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                     AND objid = hashtext(current_schema())::oid",
                );
                cuts += 1;
                thread::park_timeout(std::time::Duration::from_millis(50));
            }
            cuts
        });
        // What was cut in the middle may be refused; then it is sent again.
        let ids: Vec<String> = (0..TASKS).map(|n| submitted(&host, n)).collect();
        let tasks: Vec<_> = ids.iter().map(|id| ended(&host, id)).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(cutter.join().unwrap() > 0);
        tasks
    });
    for task in &tasks {
        let state = task["state"].as_str().unwrap();
        assert!(["succeeded", "failed"].contains(&state), "{task}");
        host.receipt_verified(task["id"].as_str().unwrap());
    }
    audit(&host, &tasks);
}

/// A server that nobody else has, which can be stopped and started again.
struct Server {
    url: String,
    /// It is removed when this is closed.
    told: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
    script: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.told.take());
        let _ = self.script.wait();
    }
}

impl Server {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
        let mut serve = Command::new(script);
        let serve = serve.arg("serve").stdin(Stdio::piped());
        let mut script = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self {
            url: String::new(),
            told: script.stdin.take(),
            says: BufReader::new(script.stdout.take().unwrap()),
            script,
        };
        server.url = server.said();
        server
    }

    fn said(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "there is no server for this test");
        line.trim().to_owned()
    }

    /// Stops it in this way and starts it again.
    fn restart(&mut self, how: &str) {
        writeln!(self.told.as_mut().unwrap(), "{how}").unwrap();
        assert_eq!(self.said(), how);
    }
}

#[test]
fn a_host_whose_server_is_restarted_under_load_goes_on_and_loses_nothing() {
    /// Transfers between two restarts.
    const BETWEEN: usize = 24;
    let mut server = Server::start();
    let in_it = ["--database", &server.url.clone()];
    let host = Host::with(DataDir::fresh(), &in_it);
    for guest in ["ledger", "spending-limit"] {
        host.upload(guest);
    }
    ledger(&host);
    // Politely, with every connection cut, and as the power does it.
    let restarts = ["fast", "immediate", "immediate"];
    let told = AtomicUsize::new(0);
    let client: &Client = &host;
    let count = BETWEEN * (restarts.len() + 1);
    let tasks = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            side_by_side(count, |n| {
                let id = submitted(client, n);
                told.fetch_add(1, Ordering::SeqCst);
                id
            })
        });
        for (how, n) in restarts.into_iter().zip(1..) {
            eventually("transfers are acknowledged", || {
                let told = told.load(Ordering::SeqCst);
                (told >= BETWEEN * n || clients.is_finished()).then_some(())
            });
            server.restart(how);
        }
        let ids = clients.join().unwrap();
        ids.iter()
            .map(|id| ended(&host, id))
            .collect::<Vec<Value>>()
    });
    for task in &tasks {
        let state = task["state"].as_str().unwrap();
        assert!(["succeeded", "failed"].contains(&state), "{task}");
        host.receipt_verified(task["id"].as_str().unwrap());
    }
    audit(&host, &tasks);
}

/// Submits a transfer until it is acknowledged, under the key that makes it one.
fn submitted(client: &Client, n: usize) -> String {
    loop {
        let sent = client.call("POST", "/v1/tasks");
        let sent = sent.header("idempotency-key", format!("n{n}"));
        let answer = sent.json(&transfer(n)).send();
        if answer.status < 300 {
            return id(&answer.json());
        }
        assert!(answer.status >= 500, "{answer:?}");
    }
}
