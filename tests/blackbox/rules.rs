//! What a plan says of time, failure and what is skipped: kept, signed, and judged again by whoever verifies.

use serde_json::{Value, json};
use stepseal_receipts::record::{Kind, Record, Status};
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::verify::{IN_PART, TIMEOUT};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything, eventually};

const FUEL: u64 = 1_000_000_000_000;

/// Lets a step run for longer than any test waits.
fn endless() -> Value {
    json!({"limits": {"fuel": FUEL, "wall_ms": 600_000}})
}

pub(crate) fn states(task: &Value) -> Vec<(&str, &str)> {
    let steps = task["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            (
                step["id"].as_str().unwrap(),
                step["state"].as_str().unwrap(),
            )
        })
        .collect()
}

pub(crate) fn with(mut submission: Value, of_step: &Value) -> Value {
    let step = submission["plan"]["steps"][0].as_object_mut().unwrap();
    step.extend(of_step.as_object().unwrap().clone());
    submission
}

pub(crate) fn records(host: &Host, task: &str) -> Vec<Record> {
    let report = host.receipt_verified(task);
    report
        .records
        .into_iter()
        .map(|(_, record)| record)
        .collect()
}

/// Status and code of the last record.
pub(crate) fn end(host: &Host, task: &str) -> (Status, Option<String>) {
    let last = records(host, task).pop().unwrap();
    assert_eq!(last.kind, Kind::TaskClose);
    let outcome = last.outcome.unwrap();
    (outcome.status, outcome.code)
}

fn cancel(host: &Host, task: &str) -> Value {
    host.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    host.task_in(task, "cancelled")
}

fn now(host: &Host) -> u64 {
    let task = host.submit(&one_step("hostile/echo", &json!(1)));
    time(&task["created"]).unix_ms()
}

fn time(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

fn at(ms: u64) -> Value {
    json!(Timestamp::from_unix_ms(ms).unwrap())
}

#[test]
fn a_step_ends_at_its_timeout_and_the_next_attempt_begins_if_the_plan_says_so() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let times_out = with(
        one_step("hostile/loop", &json!({})),
        &json!({"timeout_ms": 30, "retry": {"max_attempts": 2, "backoff_ms": 1, "on": ["timeout"]}}),
    );
    let task = host.task_in(&id(&host.submit(&times_out)), "failed");
    let step = &task["steps"][0];
    assert_eq!(
        (&step["status"], &step["attempt"]),
        (&json!("timeout"), &json!(2))
    );
    let limits = records(&host, &id(&task))[1].limits.unwrap();
    assert_eq!(limits.wall_ms, 30);
}

#[test]
fn what_a_plan_says_of_time_and_failure_is_refused_with_its_place() {
    let host = Host::with_guests();
    let faults = |of_step: Value| {
        let submission = with(one_step("hostile/echo", &json!(1)), &of_step);
        let faults = host.post("/v1/tasks", &submission).faults(422, "invalid");
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].strip_prefix("/plan/steps/0").unwrap().to_owned()
    };
    for (said, place) in [
        (json!({"timeout_ms": 0}), "/timeout_ms"),
        (json!({"timeout_ms": "1s"}), "/timeout_ms"),
        (json!({"timeout_ms": 60_000}), "/timeout_ms"),
        (
            json!({"timeout_ms": 10, "limits": {"wall_ms": 10}}),
            "/timeout_ms",
        ),
        (
            json!({"retry": {"backoff_ms": 100, "backoff_max_ms": 99}}),
            "/retry/backoff_max_ms",
        ),
        (
            json!({"retry": {"on": ["unavailable", "denied"]}}),
            "/retry/on/1",
        ),
        (json!({"retry": {"on": []}}), "/retry/on"),
        (json!({"retry": {"jitter": true}}), "/retry/jitter"),
        (json!({"on_failure": "ignore"}), "/on_failure"),
        (json!({"not_before": "tomorrow"}), "/not_before"),
        (json!({"not_before": 5}), "/not_before"),
        (
            json!({"not_before": "9999-12-31T23:59:59.999Z"}),
            "/not_before",
        ),
        (json!({"if": true}), "/if"),
        (json!({"if": {"$ref": "#/grants"}}), "/if"),
        (json!({"if": {"$ref": "#/input/x", "unless": 1}}), "/if"),
        (json!({"if": {"$ref": "#/input/x"}}), "/if"),
        (json!({"if": {"$ref": "#/input"}}), "/if"),
        (json!({"if": {"$ref": "#/steps/only/output"}}), ""),
        (json!({"if": {"$ref": "#/steps/ghost/output"}}), ""),
    ] {
        assert_eq!(faults(said.clone()), place, "{said}");
    }
    let mut submission = one_step("hostile/echo", &json!(1));
    submission["plan"]["timeout_ms"] = json!(0);
    submission["plan"]["not_before"] = json!("9999-12-31T23:59:59.999Z");
    let found = host.post("/v1/tasks", &submission).faults(422, "invalid");
    assert_eq!(found, ["/plan/timeout_ms", "/plan/not_before"]);
    assert_eq!(host.get("/v1/tasks")["items"], json!([]));
}

#[test]
fn a_task_that_has_had_its_time_fails_whatever_it_does_and_its_receipt_says_why() {
    let host = Host::with_guests();
    host.grant("hostile", &endless());
    let submission = json!({"plan": {"timeout_ms": 400, "steps": [
        {"id": "first", "uses": "hostile/echo", "with": 1},
        {"id": "asks", "uses": "hostile/echo", "approval": "required"},
        {"id": "runs", "uses": "hostile/loop", "needs": ["first"]},
        {"id": "never", "uses": "hostile/echo", "needs": ["runs"]},
    ]}});
    let task = host.task_in(&id(&host.submit(&submission)), "failed");
    assert_eq!(
        states(&task),
        [
            ("first", "succeeded"),
            ("asks", "cancelled"),
            ("runs", "cancelled"),
            ("never", "cancelled")
        ]
    );
    assert!(
        task["reason"].as_str().unwrap().contains("400 ms"),
        "{task:#}"
    );
    let task = id(&task);
    assert_eq!(
        end(&host, &task),
        (Status::Failed, Some(TIMEOUT.to_owned()))
    );
    let cut = records(&host, &task)
        .into_iter()
        .find(|record| record.step.as_ref().is_some_and(|step| step.id == "runs"));
    assert_eq!(cut.unwrap().outcome.unwrap().status, Status::Cancelled);
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
    asks["plan"]["timeout_ms"] = json!(1_000);
    let task = id(&host.submit(&asks));
    host.approval_of(&task);
    let host = Host::on(host.kill());
    host.task_in(&task, "failed");
    assert_eq!(
        end(&host, &task),
        (Status::Failed, Some(TIMEOUT.to_owned()))
    );
    // Nothing of it ever ran.
    assert_eq!(records(&host, &task).len(), 2);
}

#[test]
fn a_step_that_may_fail_lets_the_others_go_on() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&json!({"plan": {"steps": [
        {"id": "breaks", "uses": "hostile/fail", "with": {"kind": "failed", "message": "no luck"}, "on_failure": "continue"},
        {"id": "after", "uses": "hostile/echo", "needs": ["breaks"], "with": "went on"},
        {"id": "uses", "uses": "hostile/echo", "with": {"$ref": "#/steps/breaks/output"}},
        {"id": "further", "uses": "hostile/echo", "with": {"$ref": "#/steps/uses/output"}},
        {"id": "instead", "uses": "hostile/echo", "with": {"$ref": "#/steps/breaks/output/x", "default": "nothing"}},
    ]}}));
    assert_eq!(
        states(&task),
        [
            ("breaks", "failed"),
            ("after", "succeeded"),
            ("uses", "skipped"),
            ("further", "skipped"),
            ("instead", "succeeded")
        ]
    );
    assert_eq!(task["state"], "succeeded");
    assert_eq!(task["reason"], "failed: breaks; skipped: uses, further");
    assert_eq!(task["steps"][4]["output"], "nothing");
    assert_eq!(
        task["steps"][2]["message"],
        "it needs the output of step breaks, which has none"
    );
    assert_eq!(
        end(&host, &id(&task)),
        (Status::Ok, Some(IN_PART.to_owned()))
    );
}

#[test]
fn a_denial_is_no_failure_that_can_be_let_pass() {
    let host = Host::with_guests();
    let asks = with(
        one_step("hostile/echo", &json!(1)),
        &json!({"approval": "required", "on_failure": "continue"}),
    );
    let task = id(&host.submit_and_wait(&asks));
    host.decide(&host.approval_of(&task), "reject", "ada")
        .expect(200);
    host.task_in(&task, "denied");
    host.receipt_verified(&task);
}

/// A step with effects that is unavailable before this attempt, and may try twice.
fn twice(attempt: u32) -> Value {
    with(
        one_step("hostile/unavailable-until", &json!({"attempt": attempt})),
        &json!({"retry": {"max_attempts": 2, "backoff_ms": 1}}),
    )
}

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
        assert!(
            ask["reason"].as_str().unwrap().contains(&last),
            "{approval:#}"
        );
        host.decide(&approval, "approve", "ada").expect(200);
    }
    let done = host.task_in(&task, "succeeded");
    assert_eq!(done["steps"][0]["attempt"], 4);
    host.receipt_verified(&task);
}

#[test]
fn a_person_who_was_asked_stays_asked_when_the_rules_change() {
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
    host.decide(&again, "reject", "ada").expect(200);
    host.task_in(&task, "denied");
    host.receipt_verified(&task);
}

#[test]
fn a_plan_says_who_decides_about_a_failure() {
    let host = with_effects();
    for (on_failure, state) in [("fail", "failed"), ("continue", "succeeded")] {
        let submission = with(twice(4), &json!({"on_failure": on_failure}));
        let task = id(&host.submit(&submission));
        host.task_in(&task, state);
        host.receipt_verified(&task);
    }
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
    host.decide(&approval, "reject", "ada").expect(200);
    host.task_in(&task, "denied");
    host.receipt_verified(&task);
    // One try only, and nothing said: there is nothing to ask.
    let once = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
    host.task_in(&id(&host.submit(&once)), "failed");
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
        host.task_in(&task, state);
        let cancelled = cancel(&host, &task);
        assert_eq!(states(&cancelled), [("only", "cancelled")]);
        host.receipt_verified(&task);
    }
}

#[test]
fn nothing_begins_before_its_time_and_a_restart_forgets_none_of_it() {
    let host = Host::with_guests();
    let begin = now(&host) + 700;
    let mut put_off = json!({"plan": {"not_before": at(begin), "steps": [
        {"id": "first", "uses": "hostile/echo", "with": 1},
        {"id": "second", "uses": "hostile/echo", "with": 2, "not_before": at(begin + 250)},
        {"id": "third", "uses": "hostile/echo", "needs": ["second"], "not_before": at(begin - 600)},
    ]}});
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
        let done = host.task_in(&task, "succeeded");
        assert_eq!(done["reason"], Value::Null);
        let started: Vec<u64> = records(&host, &task)
            .iter()
            .filter(|record| record.kind == Kind::StepCompleted)
            .map(|record| record.time.unwrap().start.unix_ms())
            .collect();
        assert!(
            started[0] >= begin && started[1] >= begin + 250,
            "{started:?} {begin}"
        );
    }
}

#[test]
fn a_step_is_skipped_where_its_condition_is_not_met_and_the_receipt_shows_it() {
    let host = Host::with_guests();
    let plan = json!({"steps": [
        {"id": "look", "uses": "hostile/echo", "with": {"rich": false, "state": "open"}},
        {"id": "spend", "uses": "hostile/echo", "if": {"$ref": "#/steps/look/output/rich"}, "with": 1},
        {"id": "report", "uses": "hostile/echo", "with": {"spent": {"$ref": "#/steps/spend/output"}}},
        {"id": "save", "uses": "hostile/echo", "if": {"$ref": "#/steps/look/output/state", "equals": "open"}, "with": 2},
        {"id": "dry", "uses": "hostile/echo", "if": {"$ref": "#/input/dry", "default": false}, "with": 3},
        {"id": "tidy", "uses": "hostile/echo", "needs": ["spend", "dry"], "with": 4},
    ]});
    let task = host.submit_and_wait(&json!({"plan": plan}));
    assert_eq!(
        states(&task),
        [
            ("look", "succeeded"),
            ("spend", "skipped"),
            ("report", "skipped"),
            ("save", "succeeded"),
            ("dry", "skipped"),
            ("tidy", "succeeded")
        ]
    );
    assert_eq!(task["state"], "succeeded");
    assert_eq!(task["steps"][1]["message"], "its \"if\" is not met");
    let task_id = id(&task);
    assert_eq!(end(&host, &task_id), (Status::Ok, Some(IN_PART.to_owned())));
    // Without the payloads nobody can judge it, and what is signed still verifies.
    let bare = host.call("GET", format!("/v1/tasks/{task_id}/receipt?payloads=false"));
    let bare = bare.send().expect(200).body;
    assert!(crate::host::verify(&bare, &crate::host::believes(&host)).passed());

    let all = host.submit_and_wait(&json!({"plan": plan, "input": {"dry": true}}));
    assert_eq!(all["steps"][4]["state"], "succeeded");
    host.receipt_verified(&id(&all));
}

#[test]
fn a_task_of_which_every_step_is_skipped_is_over() {
    let host = Host::with_guests();
    let submission = with(
        one_step("hostile/echo", &json!(1)),
        &json!({"if": {"$ref": "#/input/go"}}),
    );
    let mut stays = submission.clone();
    stays["input"] = json!({"go": false});
    let task = host.submit_and_wait(&stays);
    assert_eq!(
        (&task["state"], states(&task)),
        (&json!("succeeded"), vec![("only", "skipped")])
    );
    assert_eq!(records(&host, &id(&task)).len(), 2);
    let mut goes = submission;
    goes["input"] = json!({"go": true});
    assert_eq!(
        host.submit_and_wait(&goes)["steps"][0]["state"],
        "succeeded"
    );
}

#[test]
fn a_condition_that_cannot_be_answered_fails_its_step() {
    let host = Host::with_guests();
    for wrong in ["n", "absent"] {
        let reference = format!("#/steps/look/output/{wrong}");
        let task = host.submit_and_wait(&json!({"plan": {"steps": [
            {"id": "look", "uses": "hostile/echo", "with": {"n": 1}},
            {"id": "go", "uses": "hostile/echo", "if": {"$ref": reference}},
        ]}}));
        assert_eq!(states(&task), [("look", "succeeded"), ("go", "failed")]);
        assert!(
            task["reason"].as_str().unwrap().contains(&reference),
            "{task:#}"
        );
        host.receipt_verified(&id(&task));
    }
}
