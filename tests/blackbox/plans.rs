//! Plans: every fault in one answer, and what a dry run says.

use serde_json::{Value, json};

use crate::host::{Host, tasks};

fn faults(host: &Host, submission: &Value) -> Vec<String> {
    let mut found = host.post("/v1/tasks", submission).faults(422, "invalid");
    let checked = host
        .post("/v1/plans/check", submission)
        .faults(422, "invalid");
    assert_eq!(checked, found, "a dry run finds the same");
    found.sort();
    found
}

#[test]
fn every_fault_of_a_plan_is_listed_in_one_answer_with_its_place() {
    let host = Host::with_guests();
    let submission = json!({
        "plan": {"steps": [
            {"id": "a", "uses": "nowhere/step"},
            {"id": "b", "uses": "jq/nothing"},
            {"id": "c", "uses": "jq@9.9.9/filter", "with": {"filter": "."}},
            {"id": "d", "uses": "ledger/balance", "with": {"account": 7}},
            {"id": "e", "uses": "jq/filter", "with": {"filter": {"$ref": "#/input/missing"}, "document": {"$ref": "#/grants"}}},
            {"id": "f", "uses": "jq/filter", "needs": ["ghost"], "with": {"filter": ".", "document": 1}},
            {"id": "G", "uses": "jq", "retry": {"max_attempts": 0}, "limits": {"fuel": 0}, "approval": "perhaps"}
        ]},
        "agent": "",
        "labels": {"env": 1}
    });
    assert_eq!(
        faults(&host, &submission),
        [
            "/agent",
            "/labels/env",
            "/plan/steps/0/uses",
            "/plan/steps/1/uses",
            "/plan/steps/2/uses",
            "/plan/steps/3/with/account",
            "/plan/steps/4/with/document",
            "/plan/steps/4/with/filter",
            "/plan/steps/5",
            "/plan/steps/6/approval",
            "/plan/steps/6/id",
            "/plan/steps/6/limits/fuel",
            "/plan/steps/6/retry/max_attempts",
            "/plan/steps/6/uses",
        ]
    );
    assert_eq!(
        host.get("/v1/tasks")["items"],
        json!([]),
        "nothing of it became a task"
    );
}

#[test]
fn a_fault_says_what_is_there_instead() {
    let host = Host::with_guests();
    let message = |submission: &Value| {
        let problem = host.post("/v1/tasks", submission).problem(422, "invalid");
        problem["faults"][0]["message"].as_str().unwrap().to_owned()
    };
    assert!(message(&tasks::one_step("legder/balance", &json!({}))).contains("legder"));
    let offered = message(&tasks::one_step("ledger/balances", &json!({})));
    assert!(
        offered.contains("balance, open-account, transfer"),
        "{offered}"
    );
}

#[test]
fn steps_that_wait_for_each_other_are_named() {
    let host = Host::with_guests();
    let step = |id: &str, needs: &[&str]| json!({"id": id, "uses": "hostile/echo", "needs": needs});
    let cycle = json!({"plan": {"steps": [step("a", &["c"]), step("b", &["a"]), step("c", &["b"]), step("d", &[])]}});
    assert_eq!(
        faults(&host, &cycle),
        ["/plan/steps/0", "/plan/steps/1", "/plan/steps/2"]
    );
    let twice = json!({"plan": {"steps": [step("a", &[]), step("a", &[])]}});
    assert_eq!(faults(&host, &twice), ["/plan/steps/1/id"]);
}

#[test]
fn a_plan_that_is_none_is_refused() {
    let host = Host::empty();
    assert_eq!(faults(&host, &json!({})), ["/plan"]);
    assert_eq!(faults(&host, &json!({"plan": []})), ["/plan"]);
    assert_eq!(
        faults(&host, &json!({"plan": {"steps": []}})),
        ["/plan/steps"]
    );
    assert_eq!(
        faults(
            &host,
            &json!({"plan": {"steps": vec![json!({"id": "a", "uses": "b/c"}); 257]}})
        ),
        ["/plan/steps"]
    );
    assert_eq!(faults(&host, &json!([])), ["", "/plan"]);
}

#[test]
fn a_pointer_is_escaped_as_rfc_6901_says() {
    let host = Host::with_guests();
    let mut submission = tasks::one_step("hostile/echo", &json!({"a/b~c": {"$ref": 7}}));
    submission["labels"] = json!({"team/a": 1});
    submission["x/y"] = json!(1);
    assert_eq!(
        faults(&host, &submission),
        ["/labels/team~1a", "/plan/steps/0/with/a~1b~0c", "/x~1y"]
    );
}

#[test]
fn a_dry_run_tells_what_would_run_what_would_wait_and_what_would_be_denied() {
    let host = Host::with_guests();
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    let settings = json!({"limits": {"EUR": {"approval_above": "100", "deny_above": "1000"}}, "spends_nothing": ["ledger/balance"]});
    host.bind("spending-limit", &settings, &json!({"plugin": "ledger"}));
    let transfer = |id: &str, amount: Value| json!({"id": id, "uses": "ledger/transfer", "with": {"from": "a", "to": "b", "currency": "EUR", "amount": amount}});
    let check = |steps: Value| {
        host.post("/v1/plans/check", &json!({"plan": {"steps": steps}}))
            .expect(200)
            .json()
    };

    let checked = check(json!([
        {"id": "look", "uses": "ledger/balance", "with": {"account": "a"}},
        transfer("little", json!("99.50")),
        transfer("more", json!("100.01")),
        transfer("much", json!("1000.01")),
        transfer("all", json!({"$ref": "#/steps/look/output/available"})),
        {"id": "pure", "uses": "jq/filter", "with": {"filter": ".", "document": 1}}
    ]));
    let verdicts: Vec<_> = checked["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        [
            "allow",
            "allow",
            "needs-approval",
            "deny",
            "unknown",
            "allow"
        ]
    );
    assert_eq!(checked["verdict"], "deny");
    assert_eq!(checked["steps"][3]["verdicts"][0]["code"], "over-limit");
    assert_eq!(checked["steps"][4]["needs"], json!(["look"]));
    assert_eq!(
        (
            &checked["steps"][4]["input_known"],
            &checked["steps"][4]["verdicts"]
        ),
        (&json!(false), &json!([]))
    );
    assert_eq!(
        (
            &checked["steps"][0]["effectful"],
            &checked["steps"][5]["effectful"]
        ),
        (&json!(true), &json!(false))
    );

    assert_eq!(
        check(json!([transfer("little", json!("1"))]))["verdict"],
        "allow"
    );
    assert_eq!(
        check(json!([
            transfer("little", json!("1")),
            transfer("more", json!("200"))
        ]))["verdict"],
        "needs-approval"
    );
    let unknown = check(json!([
        {"id": "look", "uses": "ledger/balance", "with": {"account": "a"}},
        transfer("all", json!({"$ref": "#/steps/look/output/available"}))
    ]));
    assert_eq!(unknown["verdict"], "unknown");

    assert_eq!(
        host.get("/v1/tasks")["items"],
        json!([]),
        "nothing became a task"
    );
    assert_eq!(
        host.get("/v1/approvals")["items"],
        json!([]),
        "nobody was asked"
    );
}
