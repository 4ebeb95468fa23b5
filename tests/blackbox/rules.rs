//! What a plan says of time and of failure: kept over restarts, recorded, and refused where it cannot be kept.

use serde_json::{Value, json};
use stepseal::clock::{Clock as _, SystemClock};
use stepseal_receipts::record::{Kind, Outcome, Record, Status};
use stepseal_receipts::time::Timestamp;

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything, eventually};
use crate::outbound::{host_for, patient, results, send_and_count};
use crate::server::Server;

/// More than any test waits for.
const FUEL: u64 = 1_000_000_000_000;

/// Lets a step run for longer than any test waits.
fn endless() -> Value {
    json!({"limits": {"fuel": FUEL, "wall_ms": 600_000}})
}

fn states(task: &Value) -> Vec<(&str, &str)> {
    let steps = task["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            let text = |member: &str| step[member].as_str().unwrap();
            (text("id"), text("state"))
        })
        .collect()
}

/// The submission, with these members in its only step.
fn with(mut submission: Value, of_step: &Value) -> Value {
    let step = submission["plan"]["steps"][0].as_object_mut().unwrap();
    step.extend(of_step.as_object().unwrap().clone());
    submission
}

fn records(host: &Host, task: &str) -> Vec<Record> {
    let records = host.receipt_verified(task).records.into_iter();
    records.map(|(_, record)| record).collect()
}

/// How the attempts of a step ended that failed, first the first.
fn failures(host: &Host, task: &str, step: &str) -> Vec<Outcome> {
    let records = records(host, task).into_iter();
    let failed = records.filter(|record| record.kind == Kind::StepFailed);
    let of_step = failed.filter(|record| record.step.as_ref().unwrap().id == step);
    of_step.map(|record| record.outcome.unwrap()).collect()
}

/// Whether it ended because the task's time was over.
fn is_task_timeout(outcome: &Outcome) -> bool {
    (outcome.status, outcome.code.as_deref()) == (Status::Timeout, Some("task-timeout"))
}

#[test]
fn a_step_ends_at_its_timeout_and_its_record_says_that_it_was_its_own() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let loops = with(
        one_step("hostile/loop", &json!({})),
        &json!({"timeout_ms": 30}),
    );
    let checked = host.post("/v1/plans/check", &loops).expect(200).json();
    assert_eq!(checked["steps"][0]["timeout_ms"], 30, "{checked:#}");
    let task = id(&host.submit_and_wait(&loops));
    host.task_in(&task, "failed");
    let outcome = &failures(&host, &task, "only")[0];
    assert_eq!((outcome.status, &outcome.code), (Status::Timeout, &None));
    assert_eq!(records(&host, &task)[1].limits.unwrap().wall_ms, 30);
}

#[test]
fn what_a_plan_says_of_time_and_failure_is_refused_with_its_place() {
    let host = Host::with_guests();
    let faults = |of_step: &Value| {
        let submission = with(one_step("hostile/echo", &json!(1)), of_step);
        let faults = host.post("/v1/tasks", &submission).faults(422, "invalid");
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].strip_prefix("/plan/steps/0").unwrap().to_owned()
    };
    for (said, place) in [
        (json!({"timeout_ms": 0}), "/timeout_ms"),
        (json!({"timeout_ms": "1s"}), "/timeout_ms"),
        // More than the grant gives, which is 10 s unless it says so, and more than it could.
        (json!({"timeout_ms": 10_001}), "/timeout_ms"),
        (json!({"timeout_ms": 600_001}), "/timeout_ms"),
        (
            json!({"timeout_ms": 10, "limits": {"wall_ms": 10}}),
            "/timeout_ms",
        ),
        (
            json!({"retry": {"backoff_ms": 100, "backoff_max_ms": 99}}),
            "/retry/backoff_max_ms",
        ),
        (
            json!({"retry": {"backoff_factor": 11}}),
            "/retry/backoff_factor",
        ),
        (
            json!({"retry": {"on": ["unavailable", "denied"]}}),
            "/retry/on/1",
        ),
        (json!({"retry": {"on": []}}), "/retry/on"),
        (json!({"retry": {"jitter": true}}), "/retry/jitter"),
        (json!({"on_failure": "ignore"}), "/on_failure"),
        (json!({"on_failure": null}), "/on_failure"),
        (json!({"not_before": "tomorrow"}), "/not_before"),
        (json!({"not_before": 5}), "/not_before"),
        (
            json!({"not_before": "9999-12-31T23:59:59.999Z"}),
            "/not_before",
        ),
    ] {
        assert_eq!(faults(&said), place, "{said}");
    }
    let mut submission = one_step("hostile/echo", &json!(1));
    submission["plan"]["timeout_ms"] = json!(31 * 86_400_000_u64 + 1);
    submission["plan"]["not_before"] = json!("9999-12-31T23:59:59.999Z");
    let found = host.post("/v1/tasks", &submission).faults(422, "invalid");
    assert_eq!(found, ["/plan/timeout_ms", "/plan/not_before"]);
    assert_eq!(host.get("/v1/tasks")["items"], json!([]));
}

#[test]
fn a_task_that_has_had_its_time_fails_whatever_it_does_and_its_receipt_says_why() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let submission = json!({"plan": {"timeout_ms": 5_000, "steps": [
        {"id": "first", "uses": "hostile/echo", "with": 1},
        {"id": "asks", "uses": "hostile/echo", "approval": "required"},
        {"id": "runs", "uses": "hostile/loop", "needs": ["first"], "retry": {"max_attempts": 9}},
        {"id": "again", "uses": "hostile/unavailable-until", "with": {"attempt": 9}, "retry": {"max_attempts": 9, "backoff_ms": 3_600_000}},
        {"id": "never", "uses": "hostile/echo", "needs": ["runs"]},
    ]}});
    let checked = host.post("/v1/plans/check", &submission).expect(200).json();
    assert_eq!(checked["timeout_ms"], 5_000, "{checked:#}");
    let task = host.task_in(&id(&host.submit(&submission)), "failed");
    assert_eq!(
        states(&task),
        [
            ("first", "succeeded"),
            ("asks", "failed"),
            ("runs", "failed"),
            ("again", "failed"),
            ("never", "skipped")
        ]
    );
    assert!(task["reason"].as_str().unwrap().contains("5000 ms"));
    let task = id(&task);
    for step in ["asks", "runs"] {
        let outcomes = failures(&host, &task, step);
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        assert!(is_task_timeout(&outcomes[0]), "{outcomes:?}");
    }
    let outcomes = failures(&host, &task, "again");
    assert_eq!(outcomes[0].status, Status::Unavailable);
    assert!(is_task_timeout(&outcomes[1]), "{outcomes:?}");
    // It was stopped, and is not said to have been idle.
    let mut records = records(&host, &task).into_iter();
    let ran = records.find(|record| record.step.as_ref().is_some_and(|step| step.id == "runs"));
    let fuel = ran.unwrap().fuel.unwrap();
    assert!(0 < fuel.used && fuel.used < FUEL, "{fuel:?}");
    let approvals = host.get(format!("/v1/approvals?task={task}"));
    assert_eq!(approvals["items"][0]["state"], "void");
}

#[test]
fn time_goes_by_for_a_task_that_waits_and_while_its_host_is_down() {
    let host = Host::with_guests();
    let mut asks = with(
        one_step("hostile/echo", &json!(1)),
        &json!({"approval": "required"}),
    );
    asks["plan"]["timeout_ms"] = json!(5_000);
    let task = id(&host.submit(&asks));
    host.approval_of(&task);
    let host = Host::on(host.kill());
    host.task_in(&task, "failed");
    let outcomes = failures(&host, &task, "only");
    assert!(
        outcomes.len() == 1 && is_task_timeout(&outcomes[0]),
        "{outcomes:?}"
    );
    // Nothing of it ever ran.
    assert!(
        records(&host, &task)
            .iter()
            .all(|record| record.fuel.is_none())
    );
}

#[test]
fn a_step_is_tried_again_after_the_outcomes_that_its_plan_names_and_after_no_others() {
    let host = Host::with_guests();
    let tried = |uses: &str, of_step: Value| {
        let submission = with(one_step(uses, &json!({})), &of_step);
        let task = id(&host.submit(&submission));
        host.task_in(&task, "failed");
        failures(&host, &task, "only").len()
    };
    let retry = |on: Value| json!({"max_attempts": 3, "backoff_ms": 1, "on": on});
    assert_eq!(
        tried("hostile/panic", json!({"retry": retry(json!(["trap"]))})),
        3
    );
    assert_eq!(
        tried("hostile/panic", json!({"retry": retry(json!(["timeout"]))})),
        1
    );
    assert_eq!(
        tried(
            "hostile/panic",
            json!({"retry": {"max_attempts": 3, "backoff_ms": 1}})
        ),
        1,
        "a trap is the step's own fault unless the plan says else"
    );
    host.grant("hostile", &endless());
    let timed = json!({"timeout_ms": 30, "retry": {"max_attempts": 2, "backoff_ms": 1}});
    assert_eq!(tried("hostile/loop", timed.clone()), 2);
    let mut not_timeouts = timed;
    not_timeouts["retry"]["on"] = json!(["unavailable"]);
    assert_eq!(tried("hostile/loop", not_timeouts), 1);
}

/// A step that is unavailable before this attempt, and may try twice.
fn twice(attempt: u32) -> Value {
    with(
        one_step("hostile/unavailable-until", &json!({"attempt": attempt})),
        &json!({"retry": {"max_attempts": 2, "backoff_ms": 1}}),
    )
}

/// A host where the hostile plugin has effects, and every policy allows them.
fn with_effects() -> Host {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    allow_everything(&host, &json!({"plugin": "hostile"}));
    host
}

#[test]
fn after_the_last_retry_of_an_effect_a_person_is_asked_and_asked_again() {
    let host = with_effects();
    let task = id(&host.submit(&twice(4)));
    for attempt in [3, 4] {
        let approval = host.approval_of(&task);
        assert_eq!(approval["attempt"], attempt);
        let ask = &approval["asks"][0];
        assert_eq!(
            (&ask["by"], &ask["code"]),
            (&json!("host"), &json!("step-failed"))
        );
        let last = format!("attempt {} of 4", attempt - 1);
        assert!(ask["reason"].as_str().unwrap().contains(&last), "{ask:#}");
        host.decide(&approval, "approve", "ada").expect(200);
    }
    let done = host.task_in(&task, "succeeded");
    assert_eq!(done["steps"][0]["attempt"], 4);
    assert_eq!(
        done["steps"][0]["output"]["idempotency_key"],
        format!("{task}/only")
    );
    host.receipt_verified(&task);
}

#[test]
fn a_person_who_was_asked_stays_asked_when_the_rules_change_and_the_host_is_killed() {
    let host = with_effects();
    let task = id(&host.submit(&twice(3)));
    let approval = host.approval_of(&task);
    host.grant("hostile", &json!({"buckets": ["hostile", "more"]}));
    host.decide(&approval, "approve", "ada")
        .problem(409, "changed");
    let again = eventually("it is asked again", || {
        let again = host.approval_of(&task);
        (again["id"] != approval["id"]).then_some(again)
    });
    assert_eq!(again["asks"][0]["code"], "step-failed", "{again:#}");
    let host = Host::on(host.kill());
    let again = host.approval_of(&task);
    assert_eq!(again["asks"][0]["code"], "step-failed", "{again:#}");
    host.decide(&again, "reject", "ada").expect(200);
    host.task_in(&task, "denied");
    host.receipt_verified(&task);
}

#[test]
fn a_plan_says_who_decides_about_a_failure() {
    let host = with_effects();
    let fails = with(twice(4), &json!({"on_failure": "fail"}));
    let checked = host.post("/v1/plans/check", &fails).expect(200).json();
    assert_eq!(checked["steps"][0]["on_failure"], "fail", "{checked:#}");
    let task = id(&host.submit(&fails));
    host.task_in(&task, "failed");
    assert_eq!(failures(&host, &task, "only").len(), 2);
    // A pure step, and a failure that is its own.
    let pause = with(
        one_step(
            "jq/filter",
            &json!({"filter": "error(\"no\")", "document": 1}),
        ),
        &json!({"on_failure": "pause"}),
    );
    let task = id(&host.submit(&pause));
    let approval = host.approval_of(&task);
    assert_eq!(approval["asks"][0]["code"], "step-failed", "{approval:#}");
    host.decide(&approval, "approve", "ada").expect(200);
    let approval = eventually("the second attempt failed as well", || {
        let approval = host.approval_of(&task);
        (approval["attempt"] == 3).then_some(approval)
    });
    host.decide(&approval, "reject", "ada").expect(200);
    host.task_in(&task, "denied");
    assert_eq!(failures(&host, &task, "only").len(), 2);
    // One try only, and nothing said: there is nothing to ask.
    let once = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
    host.task_in(&id(&host.submit(&once)), "failed");
}

#[test]
fn an_outcome_that_nobody_knows_stays_so_where_the_network_is_granted_no_more() {
    let server = Server::start();
    let host = host_for(&server);
    host.grant("outbound", &patient(&server));
    let [asked, given_up] = ["pause", "fail"].map(|on_failure| {
        let before = server.heard().len();
        // It may be tried again, but not after what an interruption is.
        let mut task = send_and_count(&server, "/ok/hold", 2);
        task["plan"]["steps"][0]["retry"]["on"] = json!(["timeout"]);
        task["plan"]["steps"][0]["on_failure"] = json!(on_failure);
        let task = id(&host.submit(&task));
        server.wait_for_requests(before + 1);
        task
    });
    // An effect under way goes on, but its host does not.
    host.grant("outbound", &json!({"buckets": ["outbound"]}));
    let host = Host::on(host.kill());
    let approval = host.approval_of(&asked);
    let asks = approval["asks"].to_string();
    assert!(asks.contains("outcome-unknown"), "{approval:#}");
    host.decide(&approval, "reject", "ada").expect(200);
    host.task_in(&asked, "denied");
    host.task_in(&given_up, "failed");
    for task in [asked, given_up] {
        let interrupted = (Status::Unavailable, Some("interrupted".to_owned()), 1);
        assert_eq!(results(&host, &task), [interrupted]);
    }
    assert_eq!(server.heard().len(), 2);
}

#[test]
fn an_input_that_cannot_be_made_is_no_question_for_a_person() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "look", "uses": "hostile/echo", "with": {}},
        {"id": "uses", "uses": "hostile/echo", "with": {"$ref": "#/steps/look/output/x"}, "on_failure": "pause"},
    ]}}));
    assert_eq!(
        task["state"], "failed",
        "it would be asked for ever: {task:#}"
    );
}

#[test]
fn an_effect_is_stopped_when_the_time_of_its_task_is_over_and_not_taken_up_after_that() {
    let server = Server::start();
    let host = host_for(&server);
    host.grant("outbound", &patient(&server));
    let mut sends = send_and_count(&server, "/ok/hold", 9);
    sends["plan"]["timeout_ms"] = json!(3_000);
    let stopped = id(&host.submit(&sends));
    server.wait_for_requests(1);
    host.task_in(&stopped, "failed");
    // This one is over while its host is down.
    sends["plan"]["timeout_ms"] = json!(6_000);
    let left_behind = host.submit(&sends);
    server.wait_for_requests(2);
    let dir = host.kill();
    let created: Timestamp = left_behind["created"].as_str().unwrap().parse().unwrap();
    eventually("its time is over", || {
        (SystemClock.now().unix_ms() > created.unix_ms() + 6_000).then_some(())
    });
    let host = Host::on(dir);
    let left_behind = id(&left_behind);
    host.task_in(&left_behind, "failed");
    for task in [stopped, left_behind] {
        let said = &failures(&host, &task, "only")[0].message;
        assert!(
            said.as_ref().unwrap().contains("may have happened"),
            "{said:?}"
        );
        let over = (Status::Timeout, Some("task-timeout".to_owned()), 1);
        assert_eq!(results(&host, &task), [over]);
        let kinds = records(&host, &task).into_iter().map(|record| record.kind);
        assert!(kinds.into_iter().any(|kind| kind == Kind::StepAuthorized));
    }
    assert_eq!(server.heard().len(), 2);
}

fn cancel(host: &Host, task: &str) -> Value {
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    host.task_in(task, "cancelled")
}

#[test]
fn cancelling_stops_an_endless_guest_long_before_its_limits() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let task = id(&host.submit(&one_step("hostile/loop", &json!({}))));
    eventually("its step runs", || {
        (host.task(&task)["steps"][0]["state"] == "running").then_some(())
    });
    let cancelled = cancel(&host, &task);
    assert_eq!(cancelled["steps"][0]["status"], "cancelled");
    let records = records(&host, &task);
    let cut = &records[1];
    // Neither limit had to stop it: with this fuel it would run for minutes.
    assert_eq!(cut.outcome.as_ref().unwrap().status, Status::Cancelled);
    let fuel = cut.fuel.unwrap();
    assert!(0 < fuel.used && fuel.used < fuel.limit / 4, "{fuel:?}");
    assert_eq!((fuel.limit, cut.limits.unwrap().wall_ms), (FUEL, 600_000));
}

/// The host's time, in milliseconds.
fn now(host: &Host) -> u64 {
    let task = host.submit(&one_step("hostile/echo", &json!(1)));
    let created: Timestamp = task["created"].as_str().unwrap().parse().unwrap();
    created.unix_ms()
}

fn at(ms: u64) -> Value {
    json!(Timestamp::from_unix_ms(ms).unwrap())
}

#[test]
fn cancelling_ends_every_kind_of_waiting() {
    let host = Host::with_guests();
    let later = at(now(&host) + 3_600_000);
    let mut put_off = one_step("hostile/echo", &json!(1));
    put_off["plan"]["not_before"] = later.clone();
    let waits = [
        put_off,
        with(
            one_step("hostile/echo", &json!(1)),
            &json!({"not_before": later}),
        ),
        with(
            one_step("hostile/echo", &json!(1)),
            &json!({"approval": "required"}),
        ),
        with(
            one_step("hostile/unavailable-until", &json!({"attempt": 9})),
            &json!({"retry": {"max_attempts": 9, "backoff_ms": 3_600_000}}),
        ),
    ];
    for (number, submission) in waits.iter().enumerate() {
        let task = id(&host.submit(submission));
        // What has not begun is queued still.
        let state = if number < 2 { "queued" } else { "waiting" };
        let waiting = host.task_in(&task, state);
        assert_eq!(waiting["steps"][0]["not_before"].is_string(), number != 2);
        let cancelled = cancel(&host, &task);
        assert_eq!(states(&cancelled), [("only", "cancelled")]);
        host.receipt_verified(&task);
    }
}

#[test]
fn nothing_begins_before_its_time_and_a_restart_forgets_none_of_it() {
    let host = Host::with_guests();
    let begin = now(&host) + 2_000;
    let mut put_off = json!({"plan": {"not_before": at(begin), "timeout_ms": 60_000, "steps": [
        {"id": "first", "uses": "hostile/echo", "with": 1},
        {"id": "second", "uses": "hostile/echo", "with": 2, "not_before": at(begin + 250)},
        {"id": "third", "uses": "hostile/echo", "needs": ["second"], "not_before": at(begin - 600)},
    ]}});
    let checked = host.post("/v1/plans/check", &put_off).expect(200).json();
    let told = |step: usize| checked["steps"][step]["not_before"].clone();
    assert_eq!([told(0), told(1)], [at(begin), at(begin + 250)]);
    let first = host.submit(&put_off);
    assert_eq!(first["state"], "queued");
    put_off["plan"]
        .as_object_mut()
        .unwrap()
        .remove("not_before");
    put_off["plan"]["steps"][0]["not_before"] = at(begin);
    let second = id(&host.submit(&put_off));
    let host = Host::on(host.kill());
    for task in [id(&first), second] {
        host.task_in(&task, "succeeded");
        let records = records(&host, &task).into_iter();
        let ran = records.filter(|record| record.kind == Kind::StepCompleted);
        let started: Vec<u64> = ran
            .map(|record| record.time.unwrap().start.unix_ms())
            .collect();
        assert!(
            started[0] >= begin && started[1] >= begin + 250 && started.len() == 3,
            "{started:?} {begin}"
        );
    }
}

#[test]
fn the_time_of_a_task_that_is_put_off_begins_when_it_may_begin() {
    let host = Host::with_guests();
    let begin = now(&host) + 500;
    let submission = json!({"plan": {"not_before": at(begin), "timeout_ms": 3_000, "steps": [
        {"id": "first", "uses": "hostile/echo", "with": 1},
        {"id": "late", "uses": "hostile/echo", "with": 1, "not_before": at(begin + 3_600_000)},
    ]}});
    let task = host.task_in(&id(&host.submit(&submission)), "failed");
    assert_eq!(states(&task), [("first", "succeeded"), ("late", "failed")]);
    assert!(is_task_timeout(&failures(&host, &id(&task), "late")[0]));
    let close = records(&host, &id(&task)).pop().unwrap();
    assert!(close.time.unwrap().start.unix_ms() >= begin + 3_000);
}
