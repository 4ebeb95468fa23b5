//! Policies: bound by the operator, asked at every stage, composed by one rule.

use serde_json::{Value, json};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything};
use crate::wat::{parse_str, policy};

/// A body of `evaluate` that lays these words, from address 16 on, as its result.
pub(crate) fn says(words: &[u32]) -> String {
    let stores = words
        .iter()
        .zip((16..).step_by(4))
        .map(|(word, at)| format!("(i32.store (i32.const {at}) (i32.const {word}))"));
    stores.collect::<String>() + "(i32.const 16)"
}

/// Denies what it is asked after a step, and allows everything before.
fn denies_afterwards() -> String {
    // result: ok; verdict: deny, with a code and a message.
    let deny = says(&[0, 3, 1024, 4, 1028, 13]);
    let allow = says(&[0, 1]);
    policy(
        "(data (i32.const 1024) \"ugly\") (data (i32.const 1028) \"I saw what it\")",
        &format!(
            "(if (result i32) (i32.eq (local.get $stage) (i32.const 2)) (then {deny}) (else {allow}))"
        ),
    )
}

fn bind_text(host: &Host, text: &str) {
    host.upload_bytes(parse_str(text).unwrap()).expect(201);
    host.bind("probe", &json!({}), &json!({}));
}

/// A host with a ledger of two accounts under a spending limit: 100 needs a person, 1000 is too much.
fn bank() -> (Host, String) {
    let host = Host::with_guests();
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    let settings = json!({
        "limits": {"EUR": {"approval_above": "100", "deny_above": "1000"}},
        "spends_nothing": ["ledger/open-account", "ledger/balance"]
    });
    let binding = host.bind("spending-limit", &settings, &json!({"plugin": "ledger"}));
    let open = |account: &str| json!({"id": account, "uses": "ledger/open-account", "with": {"account": account, "currency": "EUR", "opening_balance": "5000"}});
    let opened = host.submit_and_wait(&json!({"plan": {"steps": [open("alice"), open("bob")]}}));
    assert_eq!(opened["state"], "succeeded", "{opened:#}");
    (host, binding)
}

fn transfer(amount: &str) -> Value {
    one_step(
        "ledger/transfer",
        &json!({"from": "alice", "to": "bob", "amount": amount, "currency": "EUR"}),
    )
}

fn balance(host: &Host, account: &str) -> String {
    let task = host.submit_and_wait(&one_step("ledger/balance", &json!({"account": account})));
    task["steps"][0]["output"]["available"]
        .as_str()
        .unwrap_or_else(|| panic!("{task:#}"))
        .to_owned()
}

#[test]
fn without_a_policy_a_pure_step_runs_and_an_effectful_one_waits() {
    let host = Host::with_guests();
    let write = one_step("hostile/kv-write", &json!({"key": "k", "value": 1}));
    assert_eq!(
        host.submit_and_wait(&one_step("hostile/echo", &json!(1)))["state"],
        "succeeded"
    );
    // Without a grant there is no bucket to write to, so that the step is pure; it runs and cannot do anything.
    let pure = host.submit_and_wait(&write);
    assert_eq!(
        (&pure["state"], &pure["steps"][0]["status"]),
        (&json!("failed"), &json!("failed")),
        "{pure:#}"
    );
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    assert_eq!(host.submit_and_wait(&write)["state"], "waiting");
    assert_eq!(
        host.submit_and_wait(&one_step(
            "jq/filter",
            &json!({"filter": ".", "document": 1})
        ))["state"],
        "succeeded"
    );
}

#[test]
fn a_spending_limit_lets_through_asks_and_denies() {
    let (host, _) = bank();
    let small = host.submit_and_wait(&transfer("100"));
    assert_eq!(small["state"], "succeeded", "{small:#}");
    assert_eq!(small["steps"][0]["verdicts"][0]["verdict"], "allow");

    let large = host.submit_and_wait(&transfer("1000"));
    assert_eq!(large["state"], "waiting");
    assert_eq!(
        balance(&host, "bob"),
        "5100.00",
        "nothing moves before somebody decides"
    );
    host.decide(&host.approval_of(&id(&large)), "approve", "ada")
        .expect(200);
    host.task_in(&id(&large), "succeeded");
    assert_eq!(
        (balance(&host, "alice"), balance(&host, "bob")),
        ("3900.00".to_owned(), "6100.00".to_owned())
    );

    let denied = host.submit_and_wait(&transfer("1000.01"));
    assert_eq!(denied["state"], "denied");
    assert!(
        denied["reason"]
            .as_str()
            .unwrap()
            .contains("1000.01 EUR is more than 1000 EUR"),
        "{denied:#}"
    );
    assert_eq!(balance(&host, "bob"), "6100.00");
    for task in [&small, &large, &denied] {
        host.receipt_verified(&id(task));
    }
}

#[test]
fn a_policy_that_is_unbound_is_not_asked_again() {
    let (host, binding) = bank();
    host.call("DELETE", format!("/v1/policies/{binding}"))
        .send()
        .expect(204);
    assert_eq!(host.get("/v1/policies")["items"], json!([]));
    host.call("DELETE", format!("/v1/policies/{binding}"))
        .send()
        .problem(404, "not-found");
    let task = host.submit_and_wait(&transfer("1"));
    assert_eq!(
        (&task["state"], &task["steps"][0]["verdicts"]),
        (&json!("waiting"), &json!([])),
        "the baseline is back"
    );
}

#[test]
fn a_policy_that_monitors_is_recorded_and_changes_nothing() {
    let host = Host::with_guests();
    let binding = json!({
        "component": host.digest("spending-limit"), "mode": "monitor",
        "settings": {"limits": {"EUR": {"approval_above": "1", "deny_above": "1"}}}
    });
    assert_eq!(
        host.post("/v1/policies", &binding).expect(201).json()["mode"],
        "monitor"
    );
    let task = host.submit_and_wait(&one_step(
        "hostile/echo",
        &json!({"amount": "2", "currency": "EUR"}),
    ));
    assert_eq!(task["state"], "succeeded");
    let verdict = &task["steps"][0]["verdicts"][0];
    assert_eq!(
        (&verdict["verdict"], &verdict["mode"], &verdict["code"]),
        (&json!("deny"), &json!("monitor"), &json!("over-limit"))
    );
    let report = host.receipt_verified(&id(&task));
    assert_eq!(
        report
            .records
            .iter()
            .map(|(_, record)| record.verdicts.len())
            .sum::<usize>(),
        1
    );
}

#[test]
fn a_deny_wins_over_an_allow() {
    let (host, _) = bank();
    allow_everything(&host, &json!({}));
    let task = host.submit_and_wait(&transfer("1000.01"));
    assert_eq!(
        (
            &task["state"],
            task["steps"][0]["verdicts"].as_array().unwrap().len()
        ),
        (&json!("denied"), 2)
    );
    assert_eq!(
        host.submit_and_wait(&transfer("500"))["state"],
        "waiting",
        "an allow takes no question back"
    );
}

#[test]
fn a_scope_says_who_is_asked_about() {
    let host = Host::with_guests();
    let deny = json!({"limits": {}});
    host.bind(
        "spending-limit",
        &deny,
        &json!({"agent": "bot", "step_type": "echo", "labels": {"env": "prod"}}),
    );
    let state = |uses: &str, agent: &str, env: &str| {
        let mut submission = one_step(
            uses,
            &json!({"amount": "1", "currency": "EUR", "filter": ".", "document": 1}),
        );
        if uses == "jq/filter" {
            submission["plan"]["steps"][0]["with"] =
                json!({"filter": ".", "document": {"amount": "1"}});
        }
        submission["agent"] = json!(agent);
        submission["labels"] = json!({"env": env});
        host.submit_and_wait(&submission)["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(state("hostile/echo", "bot", "prod"), "denied");
    assert_eq!(state("hostile/echo", "bot", "test"), "succeeded");
    assert_eq!(state("hostile/echo", "other", "prod"), "succeeded");
    assert_eq!(state("jq/filter", "bot", "prod"), "succeeded");
}

#[test]
fn a_policy_may_deny_what_a_step_gave_and_then_nothing_of_it_is_kept() {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    bind_text(&host, &denies_afterwards());
    let task = host.submit_and_wait(&one_step(
        "hostile/kv-write",
        &json!({"key": "k", "value": "ugly"}),
    ));
    assert_eq!(task["state"], "denied", "{task:#}");
    assert!(
        task["reason"].as_str().unwrap().contains("I saw what it"),
        "{task:#}"
    );
    assert_eq!(task["steps"][0].get("output"), None);
    host.receipt_verified(&id(&task));

    let binding = id(&host.get("/v1/policies")["items"][0]);
    host.call("DELETE", format!("/v1/policies/{binding}"))
        .send()
        .expect(204);
    let read = host.submit_and_wait(&one_step("hostile/kv-read", &json!({"key": "k"})));
    host.decide(&host.approval_of(&id(&read)), "approve", "ada")
        .expect(200);
    assert_eq!(
        host.task_in(&id(&read), "succeeded")["steps"][0]["output"],
        json!({"value": null})
    );
}

#[test]
fn a_policy_that_cannot_judge_denies() {
    // On a busy machine the endless one comes to the end of its time before that of its fuel.
    for (body, why) in [
        ("(unreachable)", ["trap"].as_slice()),
        ("(loop $again (br $again)) (unreachable)", &["fuel", "time"]),
        ("(i32.const -4)", &["cannot be taken", "trap"]),
    ] {
        let host = Host::with_guests();
        bind_text(&host, &policy("", body));
        let task = host.submit_and_wait(&one_step("hostile/echo", &json!(1)));
        assert_eq!(task["state"], "denied", "{task:#}");
        let reason = task["reason"].as_str().unwrap();
        assert!(why.iter().any(|why| reason.contains(why)), "{reason}");
        host.receipt_verified(&id(&task));
    }
}

#[test]
fn a_binding_that_cannot_be_is_refused_where_it_is_wrong() {
    let host = Host::with_guests();
    let digest = host.digest("spending-limit");
    let faults = |binding: Value| host.post("/v1/policies", &binding).faults(422, "invalid");
    assert_eq!(
        faults(json!({"component": format!("sha256:{}", "0".repeat(64))})),
        ["/component"]
    );
    assert_eq!(
        faults(json!({"component": host.digest("ledger")})),
        ["/component"]
    );
    assert_eq!(
        faults(json!({"component": "spending-limit"})),
        ["/component"]
    );
    assert_eq!(
        faults(
            json!({"component": digest, "settings": {"limits": {"EUR": {"approval_above": 5, "deny_above": "1"}}}})
        ),
        ["/settings/limits/EUR/approval_above"]
    );
    assert_eq!(
        faults(json!({"component": digest})),
        ["/settings"],
        "its settings are not optional"
    );
    assert_eq!(
        faults(
            json!({"component": digest, "settings": {"limits": {}}, "scope": {"plugin": "No Name"}})
        ),
        ["/scope/plugin"]
    );
    assert_eq!(
        faults(json!({"component": digest, "settings": {"limits": {}}, "mode": "maybe"})),
        ["/mode"]
    );
    assert_eq!(host.get("/v1/policies")["items"], json!([]));
}
