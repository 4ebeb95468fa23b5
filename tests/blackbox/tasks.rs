//! Tasks: submitted, run, retried, cancelled, followed and listed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything, eventually};

/// Lets `hostile/loop` run for longer than any test waits.
const ENDLESS: &str = r#"{"limits": {"fuel": 1000000000000, "wall_ms": 600000}}"#;

fn endless() -> Value {
    serde_json::from_str(ENDLESS).unwrap()
}

fn states(task: &Value) -> Vec<(&str, &str)> {
    let steps = task["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| {
            (
                step["id"].as_str().unwrap(),
                step["state"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_pure_task_runs_and_gives_its_output() {
    let host = Host::with_guests();
    let submission = json!({
        "plan": {"steps": [{"id": "sum", "uses": "jq/filter", "with": {"filter": "add", "document": {"$ref": "#/input/numbers"}}}]},
        "input": {"numbers": [1, 2, 39]},
        "agent": "sum-bot",
        "labels": {"env": "test"}
    });
    let task = host.submit_and_wait(&submission);
    assert_eq!(task["state"], "succeeded");
    assert_eq!(
        (&task["agent"], &task["labels"]),
        (&json!("sum-bot"), &json!({"env": "test"}))
    );
    let step = &task["steps"][0];
    assert_eq!(
        (&step["output"]["result"], &step["status"], &step["attempt"]),
        (&json!(42), &json!("ok"), &json!(1))
    );
    assert_eq!(
        (&step["uses"], &step["component"]),
        (&json!("jq@0.1.0/filter"), &json!(host.digest("jq")))
    );
    assert!(step["fuel"].as_u64().unwrap() > 0);
    host.receipt_verified(&id(&task));
}

#[test]
fn an_accepted_task_is_where_the_answer_says() {
    let host = Host::with_guests();
    let answer = host
        .post("/v1/tasks", &one_step("hostile/echo", &json!(null)))
        .expect(201);
    assert_eq!(
        answer.header("preference-applied"),
        None,
        "nobody asked it to wait"
    );
    let place = answer.header("location").unwrap().to_owned();
    let accepted = answer.json();
    assert_eq!(place, format!("/v1/tasks/{}", id(&accepted)));
    assert_eq!(accepted["records"], 1, "an accepted task is in the log");
    let task = host.task_in(&id(&accepted), "succeeded");
    assert_eq!(
        task["steps"][0].get("output"),
        Some(&json!(null)),
        "null is an output"
    );
}

#[test]
fn the_output_of_one_step_is_the_input_of_the_next() {
    let host = Host::with_guests();
    let jq = |id: &str, filter: &str, document: Value| json!({"id": id, "uses": "jq/filter", "with": {"filter": filter, "document": document}});
    // In the plan's order the last comes first: data makes the order, not the list.
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        jq("both", ".[0] + .[1]", json!([{"$ref": "#/steps/left/output/result"}, {"$ref": "#/steps/right/output/result"}])),
        jq("left", ". * 2", json!({"$ref": "#/steps/first/output/result"})),
        jq("right", ". * 3", json!({"$ref": "#/steps/first/output/result"})),
        jq("first", ". + 1", json!({"$ref": "#/input"})),
    ]}, "input": 9}));
    assert_eq!(task["steps"][0]["output"]["result"], 50, "{task:#}");
    host.receipt_verified(&id(&task));
}

#[test]
fn a_step_waits_for_what_it_needs_without_taking_data_from_it() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "later", "uses": "hostile/echo", "needs": ["sooner"]},
        {"id": "sooner", "uses": "hostile/echo"},
    ]}}));
    assert_eq!(task["state"], "succeeded");
    let order: Vec<_> = host
        .stream(&id(&task), None)
        .filter(|event| event.kind == "step.succeeded")
        .map(|event| event.data["step"].clone())
        .collect();
    assert_eq!(order, ["sooner", "later"]);
}

#[test]
fn a_step_that_waits_or_runs_holds_up_no_other() {
    let host = Host::with_guests();
    host.grant(
        "hostile",
        &json!({"buckets": ["hostile"], "limits": endless()["limits"]}),
    );
    allow_everything(&host, &json!({"plugin": "hostile"}));
    let task = id(&host.submit(&json!({"plan": {"steps": [
        {"id": "asks", "uses": "jq/filter", "with": {"filter": ".", "document": 1}, "approval": "required"},
        {"id": "runs", "uses": "hostile/loop"},
        {"id": "writes", "uses": "hostile/kv-write", "with": {"key": "k", "value": 1}},
    ]}})));
    let written = host
        .stream(&task, None)
        .find(|event| event.kind == "step.succeeded")
        .unwrap();
    assert_eq!(written.data["step"], "writes");
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    let cancelled = host.task_in(&task, "cancelled");
    assert_eq!(
        states(&cancelled),
        [
            ("asks", "cancelled"),
            ("runs", "cancelled"),
            ("writes", "succeeded")
        ]
    );
    assert_eq!(
        cancelled["steps"][1]["status"], "cancelled",
        "it was cut off"
    );
    host.receipt_verified(&task);
}

#[test]
fn a_reference_that_points_at_nothing_fails_the_step_with_its_name() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "first", "uses": "hostile/echo", "with": {"here": 1}},
        {"id": "second", "uses": "hostile/echo", "with": {"$ref": "#/steps/first/output/there"}},
    ]}}));
    assert_eq!(
        (&task["state"], &task["steps"][1]["status"]),
        (&json!("failed"), &json!("invalid-input"))
    );
    assert!(
        task["reason"]
            .as_str()
            .unwrap()
            .contains("#/steps/first/output/there"),
        "{task:#}"
    );
    host.receipt_verified(&id(&task));
}

#[test]
fn an_input_that_does_not_fit_is_found_when_it_is_known() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "first", "uses": "hostile/echo", "with": {"ms": "soon"}},
        {"id": "second", "uses": "hostile/sleep", "with": {"ms": {"$ref": "#/steps/first/output/ms"}}},
    ]}}));
    assert_eq!(
        (&task["state"], &task["steps"][1]["status"]),
        (&json!("failed"), &json!("invalid-input"))
    );
    assert!(task["reason"].as_str().unwrap().contains("/ms"), "{task:#}");
}

#[test]
fn after_a_failure_nothing_else_is_begun_and_the_receipt_says_so() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "fine", "uses": "hostile/echo"},
        {"id": "breaks", "uses": "hostile/fail", "with": {"kind": "failed", "message": "no luck"}, "needs": ["fine"], "retry": {"max_attempts": 5}},
        {"id": "never", "uses": "hostile/echo", "needs": ["breaks"]},
    ]}}));
    assert_eq!(task["state"], "failed");
    assert_eq!(
        states(&task),
        [
            ("fine", "succeeded"),
            ("breaks", "failed"),
            ("never", "skipped")
        ]
    );
    assert_eq!(
        task["steps"][1]["attempt"], 1,
        "a failure that is the step's own is never retried"
    );
    assert_eq!(task["reason"], "step breaks failed: no luck");
    host.receipt_verified(&id(&task));
}

#[test]
fn what_is_unavailable_is_tried_again_with_the_same_idempotency_key() {
    let host = Host::with_guests();
    let mut submission = one_step("hostile/unavailable-until", &json!({"attempt": 3}));
    submission["plan"]["steps"][0]["retry"] = json!({"max_attempts": 3, "backoff_ms": 1});
    let task = id(&host.submit(&submission));
    let done = host.task_in(&task, "succeeded");
    assert_eq!(
        (
            &done["steps"][0]["attempt"],
            &done["steps"][0]["output"]["attempt"]
        ),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        done["steps"][0]["output"]["idempotency_key"],
        format!("{task}/only")
    );
    let report = host.receipt_verified(&task);
    let attempts: Vec<_> = report
        .records
        .iter()
        .filter_map(|(_, record)| record.step.as_ref())
        .map(|step| step.attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3], "each attempt has its record");
}

#[test]
fn attempts_come_to_an_end() {
    let host = Host::with_guests();
    let mut submission = one_step("hostile/unavailable-until", &json!({"attempt": 9}));
    submission["plan"]["steps"][0]["retry"] = json!({"max_attempts": 2, "backoff_ms": 0});
    let task = host.task_in(&id(&host.submit(&submission)), "failed");
    assert_eq!(
        (&task["steps"][0]["attempt"], &task["steps"][0]["status"]),
        (&json!(2), &json!("unavailable"))
    );
    assert!(
        task["reason"].as_str().unwrap().contains("attempt 2 of 9"),
        "{task:#}"
    );
    host.receipt_verified(&id(&task));
}

#[test]
fn a_plan_can_take_less_than_was_granted_and_never_more() {
    let host = Host::with_guests();
    let mut submission = one_step("hostile/loop", &json!({}));
    submission["plan"]["steps"][0]["limits"] = json!({"fuel": 1_000_000});
    let task = host.submit_and_wait(&submission);
    assert_eq!(
        (&task["steps"][0]["status"], &task["steps"][0]["fuel"]),
        (&json!("out-of-fuel"), &json!(1_000_000))
    );
    host.grant("hostile", &json!({"limits": {"fuel": 2_000_000}}));
    submission["plan"]["steps"][0]["limits"] = json!({"fuel": 3_000_000});
    let task = host.submit_and_wait(&submission);
    assert_eq!(task["steps"][0]["fuel"], 2_000_000);
}

#[test]
fn the_same_idempotency_key_makes_one_task() {
    let host = Host::with_guests();
    let submit = |key: &str, submission: &Value| {
        host.call("POST", "/v1/tasks")
            .header("idempotency-key", key)
            .json(submission)
            .send()
    };
    let submission = one_step("hostile/echo", &json!({"n": 1, "m": 2}));
    let first = id(&submit("k-1", &submission).expect(201).json());
    assert_eq!(id(&submit("k-1", &submission).expect(200).json()), first);
    // Written otherwise it is the same request still.
    let otherwise =
        r#" {"plan" : {"steps":[{"with":{"m":2.0,"n":1},"uses":"hostile/echo","id":"only"}]}}"#;
    let again = host
        .call("POST", "/v1/tasks")
        .header("idempotency-key", "k-1")
        .body("application/json", otherwise)
        .send();
    assert_eq!(id(&again.expect(200).json()), first);

    let other = submit("k-1", &one_step("hostile/echo", &json!({"n": 2})));
    assert!(
        other.problem(409, "key-reused")["detail"]
            .as_str()
            .unwrap()
            .contains(&first)
    );
    let second = id(&submit("k-2", &submission).expect(201).json());
    assert_ne!(second, first);
    assert_eq!(host.get("/v1/tasks")["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_running_task_is_cancelled_at_once() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let task = id(&host.submit(&json!({"plan": {"steps": [
        {"id": "runs", "uses": "hostile/loop"},
        {"id": "never", "uses": "hostile/echo", "needs": ["runs"]},
    ]}})));
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    let cancelled = host.task_in(&task, "cancelled");
    let runs = &cancelled["steps"][0];
    // Cancelled before it was begun, or cut off while it ran.
    assert!(
        runs["state"] == "cancelled" || runs["status"] == "cancelled",
        "{cancelled:#}"
    );
    assert_eq!(cancelled["steps"][1]["state"], "cancelled");
    host.receipt_verified(&task);
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .problem(409, "finished");
}

#[test]
fn a_waiting_task_is_cancelled_and_its_approval_void() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    let waiting = host.submit_and_wait(&one_step(
        "hostile/kv-write",
        &json!({"key": "k", "value": 1}),
    ));
    assert_eq!(waiting["state"], "waiting");
    let task = id(&waiting);
    let approval = host.approval_of(&task);
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    host.task_in(&task, "cancelled");
    host.decide(&approval, "approve", "ada")
        .problem(409, "changed");
    assert_eq!(
        host.get(format!("/v1/approvals/{}", id(&approval)))["state"],
        "void"
    );
    assert_eq!(host.task(&task)["state"], "cancelled", "nothing wakes it");
    host.receipt_verified(&task);
}

#[test]
fn the_events_of_a_task_are_streamed_to_its_end_and_told_once() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    let task = id(&host.submit(&one_step("hostile/kv-read", &json!({"key": "k"}))));
    let mut stream = host.stream(&task, None);
    let mut seen: Vec<_> = stream
        .by_ref()
        .take_while(|event| event.kind != "task.waiting")
        .collect();
    assert_eq!(
        seen.iter().map(|event| event.id).collect::<Vec<_>>(),
        (1..=seen.len() as u64).collect::<Vec<_>>()
    );
    // Whoever comes back says what was seen last and misses nothing.
    let last = seen.last().unwrap().id;
    let mut resumed = host.stream(&task, Some(last));
    assert_eq!(resumed.next().unwrap().kind, "task.waiting");
    host.decide(&host.approval_of(&task), "approve", "ada")
        .expect(200);
    let rest: Vec<_> = resumed.collect();
    assert_eq!(rest.last().unwrap().kind, "task.succeeded");
    assert_eq!(
        stream.collect::<Vec<_>>(),
        rest,
        "two streams tell the same"
    );

    seen.extend(host.stream(&task, Some(last)));
    let kinds: Vec<_> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "task.accepted",
            "task.started",
            "step.judged",
            "step.waiting",
            "task.waiting",
            "task.resumed",
            "step.authorized",
            "step.started",
            "step.succeeded",
            "task.succeeded"
        ]
    );
    let page = host
        .call("GET", format!("/v1/tasks/{task}/events?after=4"))
        .header("accept", "application/json")
        .send()
        .expect(200)
        .json();
    let listed: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(listed, kinds[4..]);
    let after_the_last = host
        .call("GET", format!("/v1/tasks/{task}/events"))
        .header("last-event-id", kinds.len())
        .send();
    after_the_last.expect(204);
}

#[test]
fn a_client_may_wait_for_the_end_or_for_a_person() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let submission = one_step("hostile/loop", &json!({}));
    let answer = host
        .call("POST", "/v1/tasks")
        .header("prefer", "wait=1")
        .json(&submission)
        .send()
        .expect(201);
    assert_eq!(answer.header("preference-applied"), Some("wait"));
    let running = answer.json();
    assert!(
        ["queued", "running"]
            .iter()
            .any(|state| running["state"] == *state),
        "{running:#}"
    );
    host.call("POST", format!("/v1/tasks/{}/cancel", id(&running)))
        .send()
        .expect(200);
    let asks = json!({"plan": {"steps": [{"id": "asks", "uses": "hostile/echo", "approval": "required"}]}});
    assert_eq!(host.submit_and_wait(&asks)["state"], "waiting");
    assert_eq!(
        host.submit_and_wait(&one_step("hostile/echo", &json!(1)))["state"],
        "succeeded"
    );
}

#[test]
fn a_long_step_is_shown_as_running_though_nothing_is_stored_of_it() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let task = id(&host.submit(&one_step("hostile/loop", &json!({}))));
    let runs = |host: &Host| {
        let shown = eventually("its step runs", || {
            let shown = host.task(&task);
            (shown["steps"][0]["state"] == "running").then_some(shown)
        });
        assert_eq!(
            (&shown["state"], &shown["steps"][0]["attempt"]),
            (&json!("running"), &json!(1)),
            "{shown:#}"
        );
        // In lists it is what the database says, which is told soon.
        eventually("it is listed as running", || {
            let listed = host.get("/v1/tasks?state=running");
            (listed["items"][0]["id"] == task.as_str()).then_some(())
        });
        let done = |kind: &str| ["task.accepted", "task.started"].contains(&kind);
        let events = host.call("GET", format!("/v1/tasks/{task}/events"));
        let events = events.header("accept", "application/json").send().json();
        let mut events = events["items"].as_array().unwrap().iter();
        assert!(events.all(|event| done(event["kind"].as_str().unwrap())));
    };
    runs(&host);
    // What was not stored is not missed.
    let host = Host::on(host.kill());
    runs(&host);
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    host.task_in(&task, "cancelled");
    host.receipt_verified(&task);
}

#[test]
fn tasks_are_listed_newest_first_in_pages_without_gap_or_repeat() {
    let host = Host::with_guests();
    let submit = |n: usize| {
        let mut submission = one_step("hostile/echo", &json!(n));
        submission["agent"] = json!(if n.is_multiple_of(2) { "even" } else { "odd" });
        id(&host.submit_and_wait(&submission))
    };
    let mut made: Vec<_> = (0..7).map(submit).collect();
    made.reverse();
    let page = |query: &str| {
        let page = host.get(format!("/v1/tasks?{query}"));
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(id).collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let (mut listed, mut next) = page("limit=3");
    while let Some(cursor) = next {
        // What comes in meanwhile is newer than every page to come.
        submit(listed.len());
        let (ids, after) = page(&format!("limit=3&cursor={cursor}"));
        assert!(!ids.is_empty());
        listed.extend(ids);
        next = after;
    }
    assert_eq!(listed, made);
    let (odd, _) = page("agent=odd&limit=200");
    assert!(
        made.iter()
            .skip(1)
            .step_by(2)
            .all(|task| odd.contains(task))
    );
    assert_eq!(page("agent=nobody"), (Vec::new(), None));
    let (succeeded, _) = page("state=succeeded&limit=200");
    assert_eq!(succeeded.len(), BTreeSet::from_iter(&succeeded).len());
    assert_eq!(page("state=failed").0, Vec::<String>::new());
}
