//! `kill -9` in the middle of things: what was acknowledged goes on after the restart, and nothing is missing or there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::Kind;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::Frontier;

use crate::concurrency::{audit, balance, ledger, transfer};
use crate::host::client::Client;
use crate::host::tasks::{id as id_of, one_step};
use crate::host::{DataDir, Database, Host, believes, eventually, on_each_database, verify};
use crate::log;
use crate::metrics::metric;
use crate::support::{allow, ended, happened};

/// Client threads of a storm.
const THREADS: usize = 16;
/// Tasks a storm sends where nobody stops it.
const STORM: usize = 64;

/// When the host is killed: at the `answers`th answer of a storm.
struct Moment {
    answers: usize,
    /// Clients let the host answer when the task has ended, instead of when it is accepted.
    when_ended: bool,
}

/// From "the first task is just accepted" to "many have ended and as many are under way".
const MOMENTS: [Moment; 4] = [
    Moment {
        answers: 1,
        when_ended: false,
    },
    Moment {
        answers: 50,
        when_ended: false,
    },
    Moment {
        answers: 1,
        when_ended: true,
    },
    Moment {
        answers: 30,
        when_ended: true,
    },
];

/// Everything the log shows.
struct Log {
    /// Leaf hashes in the log's order.
    leaves: Vec<Digest>,
}

impl Log {
    /// Reads the records of every task, and checks that together they are the log after what was set up first, and that each
    /// task is whole.
    fn read(host: &Host, tasks: &[Value]) -> Self {
        let mut leaves = BTreeMap::new();
        for task in tasks {
            let records = host.get(format!("/v1/tasks/{}/records", id_of(task)));
            for (seq, record) in records["items"].as_array().unwrap().iter().enumerate() {
                assert_eq!(
                    record["seq"],
                    seq,
                    "task {} misses a record, or has one twice",
                    id_of(task)
                );
                let leaf: Digest = record["leaf_hash"].as_str().unwrap().parse().unwrap();
                let other = leaves.insert(record["index"].as_u64().unwrap(), leaf);
                assert_eq!(other, None, "two records have one index: {record}");
            }
        }
        if let Some((&acts @ 1.., _)) = leaves.first_key_value() {
            leaves.extend((0..).zip(log::tile(host, &format!("0/000.p/{acts}"))));
        }
        assert!(
            leaves.keys().copied().eq(0..leaves.len() as u64),
            "the log has a gap: {:?}",
            leaves.keys()
        );
        Self {
            leaves: leaves.into_values().collect(),
        }
    }

    /// Checks that this log begins with the one a checkpoint was signed over.
    fn holds(&self, checkpoint: &Checkpoint) {
        let mut tree = Frontier::new();
        let size = usize::try_from(checkpoint.size).unwrap();
        assert!(
            size <= self.leaves.len(),
            "the log was {size} records long and is {}",
            self.leaves.len()
        );
        for leaf in &self.leaves[..size] {
            tree.append(*leaf);
        }
        assert_eq!(
            tree.root(),
            checkpoint.root,
            "the log is not the one of the checkpoint of size {size}"
        );
    }
}

/// A client that bears that its host is gone.
#[derive(Clone)]
struct Sender {
    agent: ureq::Agent,
    url: String,
    authorization: String,
}

impl Sender {
    fn to(client: &Client) -> Self {
        Self {
            agent: ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .new_agent(),
            url: format!("{}/v1/tasks", client.url()),
            authorization: format!("Bearer {}", client.token()),
        }
    }

    /// Submits a task and gives its id; nothing where no answer came.
    fn submit(&self, submission: &Value, wait: bool) -> Option<String> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("authorization", &self.authorization);
        if wait {
            request = request.header("prefer", "wait=60");
        }
        let mut response = request.send_json(submission).ok()?;
        let task: Value = response.body_mut().read_json().ok()?;
        assert_eq!(response.status(), 201, "{task}");
        Some(id_of(&task))
    }
}

/// What a storm left behind.
struct Wreck {
    dir: DataDir,
    /// Ids of the tasks that were acknowledged.
    acknowledged: BTreeSet<String>,
    /// A checkpoint that the host had given out just before.
    seen: Checkpoint,
}

/// Sends transfers from many threads, and kills the host at a moment.
fn storm(host: Host, first: usize, moment: &Moment) -> Wreck {
    let acknowledged = Mutex::new(BTreeSet::new());
    let next = AtomicUsize::new(first);
    let sender = Sender::to(&host);
    let (answers, answered) = mpsc::channel();
    let (dir, seen) = thread::scope(|scope| {
        for _ in 0..THREADS {
            let (answers, sender) = (answers.clone(), sender.clone());
            let (acknowledged, next) = (&acknowledged, &next);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= first + STORM {
                        break;
                    }
                    let Some(id) = sender.submit(&transfer(n), moment.when_ended) else {
                        break;
                    };
                    acknowledged.lock().unwrap().insert(id.clone());
                    // Nobody counts any more once the moment has come.
                    let _ = answers.send(id);
                }
            });
        }
        drop(answers);
        let last = answered
            .iter()
            .nth(moment.answers - 1)
            .expect("the storm has as many answers");
        let report = verify(&host.receipt(&last), &believes(&host));
        (
            host.kill(),
            report
                .checkpoint
                .expect("a checkpoint is signed by the log's key"),
        )
    });
    Wreck {
        dir,
        acknowledged: acknowledged.into_inner().unwrap(),
        seen,
    }
}

/// Every task of a host, oldest first.
fn all_tasks(host: &Host) -> Vec<Value> {
    let mut ids = Vec::new();
    let mut page = host.get("/v1/tasks?limit=200");
    loop {
        ids.extend(page["items"].as_array().unwrap().iter().map(id_of));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        page = host.get(format!("/v1/tasks?limit=200&cursor={next}"));
    }
    ids.iter().rev().map(|id| ended(host, id)).collect()
}

on_each_database! {
fn killed_at_any_moment_a_host_goes_on_and_nothing_is_missing_or_there_twice(database: Database) {
    let mut host = Host::with_guests_in(database);
    ledger(&host);
    let mut checkpoints = Vec::new();
    let mut acknowledged = BTreeSet::new();
    for (round, moment) in MOMENTS.iter().enumerate() {
        let wreck = storm(host, round * STORM, moment);
        acknowledged.extend(wreck.acknowledged);
        checkpoints.push(wreck.seen);
        host = Host::on(wreck.dir);
        for id in &acknowledged {
            let task = ended(&host, id);
            assert!(
                ["succeeded", "failed"].contains(&task["state"].as_str().unwrap()),
                "{task}"
            );
        }
    }
    // Those that were accepted while nobody heard the answer are there as well, and must be as whole.
    let tasks = all_tasks(&host);
    let ids: BTreeSet<String> = tasks.iter().map(id_of).collect();
    assert!(acknowledged.is_subset(&ids), "an acknowledged task is gone");
    let log = Log::read(&host, &tasks);
    for checkpoint in &checkpoints {
        log.holds(checkpoint);
    }
    for id in &ids {
        host.receipt_verified(id);
    }
    let transfers = tasks.iter().filter(|task| {
        task["steps"][0]["uses"]
            .as_str()
            .unwrap()
            .ends_with("/transfer")
    });
    let transfers: Vec<&Value> = transfers.collect();
    assert!(
        transfers.iter().any(|task| task["state"] == "succeeded"),
        "no transfer succeeded"
    );
    audit(&host, transfers);
}
}

/// A host on which every step of `hostile` is effectful and may run.
fn effectful_hostile() -> Host {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"], "limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 600_000}}));
    allow(
        &host,
        "hostile",
        &["loop", "unavailable-until", "kv-add", "kv-read"],
    );
    host
}

#[test]
fn an_effectful_step_that_was_running_runs_again_under_the_same_authorisation() {
    let host = effectful_hostile();
    let mut submission = one_step("hostile/loop", &json!({}));
    // A second or two: the kill comes long before, and if it did not the test would hold all the same.
    submission["plan"]["steps"][0]["limits"] = json!({"fuel": 2_000_000_000});
    let id = id_of(&host.submit(&submission));
    happened(&host, &id, "step.started");
    let host = Host::on(host.kill());
    let task = ended(&host, &id);
    assert_eq!(task["steps"][0]["status"], "out-of-fuel", "{task}");
    let report = host.receipt_verified(&id);
    let kinds: Vec<Kind> = report
        .records
        .iter()
        .map(|(_, record)| record.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            Kind::TaskOpen,
            Kind::StepAuthorized,
            Kind::StepFailed,
            Kind::TaskClose
        ]
    );
}

#[test]
fn with_a_commit_for_each_step_what_has_ended_is_stored_and_does_not_run_again() {
    const CAREFUL: [&str; 1] = ["--commit-per-step"];
    let host = Host::with(Host::with_guests().stop(), &CAREFUL);
    let commits = || metric(&host, "stepseal_commits_total").unwrap();
    let echo = json!({"id": "first", "uses": "hostile/echo", "with": 1});
    let echoes = ["second", "third"].map(
        |id| json!({"id": id, "uses": "hostile/echo", "with": {"$ref": "#/steps/first/output"}}),
    );
    let before = commits();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [echo, echoes[0], echoes[1]]}}));
    assert_eq!(task["state"], "succeeded", "{task}");
    // Each of its steps, and its end.
    assert_eq!(commits() - before, 4);

    let lasting = json!({"id": "second", "uses": "hostile/loop", "needs": ["first"]});
    let id = id_of(&host.submit(&json!({"plan": {"steps": [echo, lasting]}})));
    happened(&host, &id, "step.succeeded");
    // Salted, so that another run of the step would have another one.
    let output = host.task(&id)["steps"][0]["output_digest"].clone();
    assert!(output.is_string());
    let host = Host::with(host.kill(), &CAREFUL);
    let task = ended(&host, &id);
    assert_eq!(task["steps"][1]["status"], "out-of-fuel", "{task}");
    assert_eq!(task["steps"][0]["output_digest"], output, "{task}");
    host.receipt_verified(&id);
}

#[test]
fn a_retry_that_was_waited_for_comes_after_the_restart_and_not_early() {
    let host = effectful_hostile();
    let mut submission = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
    submission["plan"]["steps"][0]["retry"] = json!({"max_attempts": 3, "backoff_ms": 3_000});
    let id = id_of(&host.submit(&submission));
    happened(&host, &id, "step.retrying");
    let host = Host::on(host.kill());
    let task = ended(&host, &id);
    assert_eq!(
        (task["state"].as_str(), &task["steps"][0]["attempt"]),
        (Some("succeeded"), &json!(2)),
        "{task}"
    );
    let retrying = host
        .stream(&id, None)
        .find(|event| event.kind == "step.retrying");
    let retrying = retrying.expect("what was said before the restart is still said");
    let not_before: Timestamp = retrying.data["not_before"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let report = host.receipt_verified(&id);
    let mut records = report.records.iter().map(|(_, record)| record);
    let second = records.find(|record| record.kind == Kind::StepCompleted);
    let second = second.unwrap().time.unwrap();
    assert!(second.start >= not_before, "{second:?} {not_before}");
}

on_each_database! {
fn a_task_that_waits_for_a_person_still_waits_after_a_kill_and_goes_on_when_approved(database: Database) {
    let host = Host::with_guests_in(database);
    ledger(&host);
    let with = json!({"from": "ada", "to": "bob", "amount": "20.00", "currency": "USD"});
    let mut submission = one_step("ledger/transfer", &with);
    submission["plan"]["steps"][0]["approval"] = json!("required");
    let id = id_of(&host.submit_and_wait(&submission));
    let shown = host.approval_of(&id);
    let host = Host::on(host.kill());
    assert_eq!(host.task(&id)["state"], "waiting");
    let approval = host.approval_of(&id);
    assert_eq!(approval, shown);
    assert_eq!(approval["input"], with);

    // Killed again as soon as the decision is acknowledged: it holds.
    host.decide(&approval, "approve", "dana").expect(200);
    let host = Host::on(host.kill());
    let task = ended(&host, &id);
    assert_eq!(task["state"], "succeeded", "{task}");
    host.receipt_verified(&id);
    assert_eq!(
        (balance(&host, "ada"), balance(&host, "bob")),
        (30_00, 70_00)
    );
}
}

#[test]
fn a_cancellation_that_was_acknowledged_holds_after_a_kill() {
    let host = effectful_hostile();
    let id = id_of(&host.submit(&one_step("hostile/loop", &json!({}))));
    happened(&host, &id, "step.started");
    host.call("POST", format!("/v1/tasks/{id}/cancel"))
        .send()
        .expect(200);
    let host = Host::on(host.kill());
    let task = ended(&host, &id);
    assert_eq!(task["state"], "cancelled", "{task}");
    host.receipt_verified(&id);
}

#[test]
fn an_attempt_whose_grants_changed_before_a_kill_is_not_run_under_others() {
    let host = effectful_hostile();
    let id = id_of(&host.submit(&one_step("hostile/loop", &json!({}))));
    happened(&host, &id, "step.started");
    host.grant("hostile", &json!({"buckets": ["hostile", "other"]}));
    let host = Host::on(host.kill());
    let task = ended(&host, &id);
    assert_eq!(task["state"], "failed", "{task}");
    assert!(
        task["reason"]
            .as_str()
            .unwrap()
            .contains("grants, policies or an approver's keys changed"),
        "{task}"
    );
    let report = host.receipt_verified(&id);
    let outcome = report.records[2].1.outcome.as_ref().unwrap();
    assert_eq!(
        outcome.code.as_deref(),
        Some("rules-changed"),
        "{outcome:?}"
    );
}

#[test]
fn a_pure_step_that_was_running_is_run_again() {
    let host = Host::with_guests();
    let mut submission = one_step("hostile/loop", &json!({}));
    submission["plan"]["steps"][0]["limits"] = json!({"fuel": 450_000_000});
    let ids: Vec<String> = (0..8).map(|_| id_of(&host.submit(&submission))).collect();
    host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": 1}),
    ));
    let host = Host::on(host.kill());
    for id in &ids {
        assert_eq!(ended(&host, id)["steps"][0]["status"], "out-of-fuel");
        let kinds: Vec<Kind> = host
            .receipt_verified(id)
            .records
            .iter()
            .map(|(_, record)| record.kind)
            .collect();
        assert_eq!(kinds, [Kind::TaskOpen, Kind::StepFailed, Kind::TaskClose]);
    }
}

#[test]
fn a_host_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let Some(host) = Host::with_guests_on_a_disk(96) else {
        return;
    };
    ledger(&host);
    let submit = |n: usize| {
        let sent = host.call("POST", "/v1/tasks");
        let sent = sent.header("idempotency-key", format!("n{n}"));
        sent.json(&transfer(n)).send()
    };
    let mut ids = vec![id_of(&submit(0).expect(201).json())];
    let ballast = host.disk().join("ballast");
    // There may be room left in pages that the database has already.
    let mut file = File::create(&ballast).unwrap();
    let refused = eventually("the disk is full", || {
        while file.write_all(&[7; 4096]).is_ok() {}
        let answer = submit(ids.len());
        if answer.status < 300 {
            ids.push(id_of(&answer.json()));
            return None;
        }
        Some(answer)
    });
    let said = refused.problem(503, "disk-full");
    assert!(said["detail"].as_str().unwrap().contains("disk"), "{said}");
    // What can be had without storing anything still can.
    host.get(format!("/v1/tasks/{}", ids[0]));

    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    let again = eventually("it stores again", || {
        let answer = submit(ids.len());
        (answer.status < 300).then(|| id_of(&answer.json()))
    });
    ids.push(again);
    let tasks: Vec<Value> = ids.iter().map(|id| ended(&host, id)).collect();
    for (task, id) in tasks.iter().zip(&ids) {
        let state = task["state"].as_str().unwrap();
        assert!(["succeeded", "failed"].contains(&state), "{task}");
        host.receipt_verified(id);
    }
    audit(&host, &tasks);
}
