//! A step that runs for each item of an array: in order, bounded, signed one by one, and as before after a kill.

use serde_json::{Value, json};
use stepseal_receipts::record::Status;
use stepseal_receipts::verify::IN_PART;

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything, eventually};
use crate::rules::{end, records, states, with};

/// A plan that adds one to each of some numbers, and then puts them together.
fn each(of_step: &Value) -> Value {
    let submission = json!({"input": {"numbers": [1, 2, 3]}, "plan": {"steps": [
        {"id": "add", "uses": "jq/filter", "for_each": {"in": {"$ref": "#/input/numbers"}},
         "with": {"filter": ". + 1", "document": {"$ref": "#/item"}}},
        {"id": "sum", "uses": "jq/filter",
         "with": {"filter": "map(.result) | add", "document": {"$ref": "#/steps/add/output"}}},
    ]}});
    with(submission, of_step)
}

fn output<'a>(task: &'a Value, id: &str) -> &'a Value {
    let mut steps = task["steps"].as_array().unwrap().iter();
    &steps.find(|step| step["id"] == id).unwrap()["output"]
}

#[test]
fn a_step_runs_for_each_item_and_its_output_is_theirs_in_order() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&each(&json!({})));
    assert_eq!(
        states(&task),
        [
            ("add", "succeeded"),
            ("sum", "succeeded"),
            ("add[0]", "succeeded"),
            ("add[1]", "succeeded"),
            ("add[2]", "succeeded")
        ]
    );
    assert_eq!(
        (&task["state"], &output(&task, "sum")["result"]),
        (&json!("succeeded"), &json!(9))
    );
    assert_eq!(output(&task, "add[1]")["result"], 3);
    let task = id(&task);
    assert_eq!(end(&host, &task), (Status::Ok, None));
    let steps: Vec<_> = records(&host, &task)
        .into_iter()
        .filter_map(|record| record.step)
        .map(|step| (step.id, step.index))
        .collect();
    assert_eq!(steps.len(), 4);
    assert!(
        steps
            .iter()
            .all(|(id, index)| (*index == 0) == id.starts_with("add[")),
        "{steps:?}"
    );

    let none = host.submit_and_wait(&each(&json!({"for_each": {"in": []}})));
    assert_eq!(states(&none), [("add", "succeeded"), ("sum", "succeeded")]);
    assert_eq!(end(&host, &id(&none)), (Status::Ok, None));
}

#[test]
fn an_item_that_fails_fails_the_task_or_leaves_a_gap() {
    let host = Host::with_guests();
    let numbers = json!([1, "one", 3]);
    let mut fails = each(&json!({}));
    fails["input"]["numbers"] = numbers.clone();
    let task = host.submit_and_wait(&fails);
    assert_eq!(task["state"], "failed");
    assert!(
        task["reason"]
            .as_str()
            .unwrap()
            .starts_with("step add[1] failed"),
        "{task:#}"
    );
    host.receipt_verified(&id(&task));

    let mut goes_on = each(&json!({"on_failure": "continue"}));
    goes_on["input"]["numbers"] = numbers;
    goes_on["plan"]["steps"][1]["with"]["filter"] = json!("map(.result?) | tojson");
    let task = host.submit_and_wait(&goes_on);
    assert_eq!(task["reason"], "failed: add", "{task:#}");
    assert_eq!(output(&task, "sum")["result"], "[2,null,4]");
    assert_eq!(
        end(&host, &id(&task)),
        (Status::Ok, Some(IN_PART.to_owned()))
    );
}

#[test]
fn items_are_bounded_and_begun_as_many_at_a_time_as_the_plan_says() {
    let host = Host::with_guests();
    let faults = |of_step: Value| {
        host.post("/v1/tasks", &each(&of_step))
            .faults(422, "invalid")
    };
    let at = |place: &str| format!("/plan/steps/0/for_each{place}");
    for (said, place) in [
        (
            json!({"in": {"$ref": "#/input/numbers"}, "max_items": 2}),
            "/in",
        ),
        (json!({"in": vec![0; 257]}), "/in"),
        (json!({"in": [1], "max_items": 257}), "/max_items"),
        (json!({"in": [1], "side_by_side": 9}), "/side_by_side"),
        (json!({"in": [{"$ref": "#/input"}]}), "/in/0"),
        (json!({"in": {"$ref": "#/item"}}), "/in"),
        (json!({"in": {"$ref": "#/input"}}), "/in"),
        (json!({"in": 3}), "/in"),
        (json!({}), "/in"),
        (json!({"in": [], "every": 1}), "/every"),
    ] {
        assert_eq!(faults(json!({"for_each": said})), [at(place)], "{said}");
    }
    let alone = with(
        one_step("hostile/echo", &json!({"$ref": "#/item"})),
        &json!({}),
    );
    assert_eq!(
        host.post("/v1/tasks", &alone).faults(422, "invalid"),
        ["/plan/steps/0/with"]
    );

    // One that waits for a person keeps the next one waiting.
    let one = json!({"for_each": {"in": [1, 2], "side_by_side": 1}, "approval": "required"});
    let task = id(&host.submit(&each(&one)));
    for step in ["add[0]", "add[1]"] {
        let approval = host.approval_of(&task);
        assert_eq!(approval["step"], step, "{approval:#}");
        let open = host.get(format!("/v1/approvals?state=open&task={task}"));
        assert_eq!(open["items"].as_array().unwrap().len(), 1);
        host.decide(&approval, "approve", "ada").expect(200);
    }
    host.task_in(&task, "succeeded");
    host.receipt_verified(&task);
    // What it lists is too much, and nobody knew before.
    let later = json!({"plan": {"steps": [
        {"id": "list", "uses": "hostile/echo", "with": vec![0; 300]},
        {"id": "each", "uses": "hostile/echo", "for_each": {"in": {"$ref": "#/steps/list/output"}}},
    ]}});
    let task = host.submit_and_wait(&later);
    assert_eq!(states(&task), [("list", "succeeded"), ("each", "failed")]);
    assert!(
        task["reason"].as_str().unwrap().contains("300 items"),
        "{task:#}"
    );
    host.receipt_verified(&id(&task));
}

#[test]
fn items_go_on_after_a_kill_and_none_runs_twice() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    allow_everything(&host, &json!({"plugin": "hostile"}));
    let task = id(&host.submit(&json!({"plan": {"steps": [
        {"id": "count", "uses": "hostile/kv-add", "with": {"key": "n", "add": {"$ref": "#/item"}},
         "for_each": {"in": vec![1; 20], "side_by_side": 2}},
        {"id": "read", "uses": "hostile/kv-read", "needs": ["count"], "with": {"key": "n"}},
    ]}})));
    eventually("some of it is done", || {
        let steps = host.task(&task)["steps"].as_array().unwrap().clone();
        let done = |step: &&Value| step["state"] == "succeeded";
        (steps.iter().filter(done).count() > 2).then_some(())
    });
    let host = Host::on(host.kill());
    let done = host.task_in(&task, "succeeded");
    assert_eq!(output(&done, "read")["value"], 20, "{done:#}");
    host.receipt_verified(&task);
}
