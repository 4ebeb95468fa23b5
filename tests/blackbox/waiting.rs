//! Clients that wait for their task (`Prefer: wait`): when it is stored, and what they get.

use std::thread;

use serde_json::{Value, json};

use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::host::{Host, eventually};

/// Three pure steps, each with the result of the one before.
fn three_steps() -> Value {
    json!({"input": 1, "plan": {"steps": [
        {"id": "a", "uses": "hostile/echo", "with": {"$ref": "#/input"}},
        {"id": "b", "uses": "hostile/echo", "with": {"$ref": "#/steps/a/output"}},
        {"id": "c", "uses": "hostile/echo", "with": {"$ref": "#/steps/b/output"}},
    ]}})
}

/// Transactions in the write-ahead log of a host's database: frames that say how large the database is after them
/// (sqlite.org/fileformat2.html, "WAL Frame Header").
fn commits(host: &Host) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = std::fs::read(host.data().join("stepseal.db-wal")).unwrap();
    if log.is_empty() {
        return 0;
    }
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let page = usize::try_from(number(8)).unwrap();
    let frames = (log.len() - HEADER) / (FRAME_HEADER + page);
    (0..frames)
        .map(|frame| HEADER + frame * (FRAME_HEADER + page))
        .filter(|at| number(at + 4) != 0 && log[at + 8..at + 16] == log[16..24])
        .count()
}

#[test]
fn a_task_of_pure_steps_is_one_commit_for_a_client_that_waits() {
    let host = Host::with_guests();
    // What takes longer than a quarter of a second is shown with a commit of its own, and a machine may be that busy now and then.
    let task = eventually("a task took one commit", || {
        let before = commits(&host);
        let task = host.submit_and_wait(&three_steps());
        assert_eq!(task["state"], "succeeded");
        (commits(&host) == before + 1).then_some(task)
    });
    // Who does not wait was promised that the task is on disk before it ran.
    let before = commits(&host);
    let accepted = id(&host.submit(&three_steps()));
    host.task_in(&accepted, "succeeded");
    assert!(commits(&host) >= before + 2);
    for task in [id(&task), accepted] {
        host.receipt_verified(&task);
        let kinds = host.stream(&task, None).map(|event| event.kind);
        assert_eq!(kinds.filter(|kind| kind == "task.accepted").count(), 1);
    }
}

#[test]
fn a_task_that_takes_its_time_is_seen_by_others_while_its_client_waits() {
    let host = Host::with_guests();
    let endless = json!({"plan": {"steps": [
        {"id": "quick", "uses": "hostile/echo"},
        {"id": "slow", "uses": "hostile/loop", "needs": ["quick"],
         "limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 600_000}},
    ]}});
    host.grant(
        "hostile",
        &json!({"limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 600_000}}),
    );
    let client: &Client = &host;
    let waited = thread::scope(|scope| {
        let waits = scope.spawn(|| client.submit_and_wait(&endless));
        let task = eventually("the task is listed", || {
            let tasks = host.get("/v1/tasks");
            tasks["items"][0]["id"].as_str().map(str::to_owned)
        });
        host.call("POST", format!("/v1/tasks/{task}/cancel"))
            .send()
            .expect(200);
        waits.join().unwrap()
    });
    assert_eq!(
        (&waited["state"], &waited["steps"][0]["state"]),
        (&json!("cancelled"), &json!("succeeded"))
    );
    host.receipt_verified(&id(&waited));
}

#[test]
fn a_task_that_cannot_run_yet_is_kept_though_its_client_waits() {
    let host = Host::with_guests();
    let digest = host.digest("hostile");
    let dir = host.stop();
    // As after a restore that missed a file: the plugin's bytes are gone, and so is what was compiled of them.
    let components = dir.path().join("components");
    let hidden = dir.path().join("hidden");
    std::fs::rename(&components, &hidden).unwrap();
    std::fs::create_dir(&components).unwrap();
    std::fs::remove_dir_all(dir.path().join("cache")).unwrap();
    let host = Host::on(dir);
    let answer = host
        .call("POST", "/v1/tasks")
        .header("prefer", "wait=1")
        .json(&three_steps())
        .send()
        .expect(201);
    let task = id(&answer.json());
    assert_eq!(host.task(&task)["state"], "queued");
    std::fs::remove_dir(&components).unwrap();
    std::fs::rename(&hidden, &components).unwrap();
    let done = host.task_in(&task, "succeeded");
    assert_eq!(done["steps"][0]["component"], digest);
    let listed = host.get("/v1/tasks");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    host.receipt_verified(&task);
}

#[test]
fn the_same_key_at_once_is_one_task_for_all_who_wait() {
    let host = Host::with_guests();
    let client: &Client = &host;
    let submit = |submission: &Value| {
        client
            .call("POST", "/v1/tasks")
            .header("prefer", "wait=30")
            .header("idempotency-key", "once")
            .json(submission)
            .send()
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| submit(&three_steps())))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    let task = id(&answers[0].json());
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let told = answer.json();
        assert_eq!(
            (id(&told), &told["state"]),
            (task.clone(), &json!("succeeded"))
        );
    }
    let listed = host.get("/v1/tasks");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    submit(&one_step("hostile/echo", &json!(2))).problem(409, "key-reused");
    host.receipt_verified(&task);
}

#[test]
fn a_small_call_never_grows_its_memory() {
    let host = Host::with_guests();
    let peak = |input: &Value| {
        let task = id(&host.submit_and_wait(&one_step("hostile/echo", input)));
        let records = host.receipt_verified(&task).records;
        records
            .iter()
            .find_map(|(_, record)| record.memory)
            .unwrap()
            .peak
    };
    // The heap of the SDK begins in the initial memory; each growth would cost the host two system calls.
    assert_eq!(peak(&json!(null)), peak(&json!("x".repeat(60 << 10))));
    assert!(peak(&json!(null)) < peak(&json!("x".repeat(600 << 10))));
}
