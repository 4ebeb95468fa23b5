//! Approvals: one person's yes to exactly what was shown, once.

use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;

use crate::host::tasks::{id, one_step};
use crate::host::{Host, allow_everything};

/// A host on which `hostile` may write its bucket, so that its steps are effectful and, without a policy, wait.
fn host() -> Host {
    let host = Host::with_guests();
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    host
}

fn write(value: u32) -> Value {
    let mut submission = one_step("hostile/kv-write", &json!({"key": "k", "value": value}));
    submission["agent"] = json!("bot");
    submission
}

/// A task that waits for a person, and what that person is shown.
fn waiting(host: &Host) -> (String, Value) {
    let task = host.submit_and_wait(&write(1));
    assert_eq!(task["state"], "waiting");
    let approval = host.approval_of(&id(&task));
    assert_eq!(task["steps"][0]["approval"], approval["id"]);
    (id(&task), approval)
}

#[test]
fn an_approver_is_shown_everything_the_approval_is_bound_to() {
    let host = host();
    let (task, approval) = waiting(&host);
    assert_eq!(
        approval["subject"],
        Digest::of(approval["preimage"].as_str().unwrap().as_bytes()).to_string()
    );
    let preimage: Value = serde_json::from_str(approval["preimage"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&preimage["task"], &preimage["step"], &preimage["attempt"]),
        (&json!(task), &json!("only"), &json!("1"))
    );
    assert_eq!(
        format!(
            "sha256:{}",
            preimage["component"]["sha256"].as_str().unwrap()
        ),
        host.digest("hostile")
    );
    assert_eq!(approval["input"], json!({"key": "k", "value": 1}));
    assert_eq!(approval["grants"], json!({"buckets": ["hostile"]}));
    assert_eq!(
        (
            &approval["plugin"],
            &approval["step_type"],
            &approval["summary"]
        ),
        (
            &json!("hostile"),
            &json!("kv-write"),
            &json!("Writes a key.")
        )
    );
    assert_eq!(
        (
            &approval["agent"],
            &approval["state"],
            &approval["decisions"]
        ),
        (&json!("bot"), &json!("open"), &json!([]))
    );
    assert_eq!(
        (
            &approval["asks"][0]["by"],
            &approval["asks"][0]["approvers"]
        ),
        (&json!("baseline"), &json!(1))
    );
}

#[test]
fn an_approved_step_runs_and_its_record_names_the_approver() {
    let host = host();
    let (task, approval) = waiting(&host);
    let decided = host.decide(&approval, "approve", "ada").expect(200).json();
    assert_eq!(
        (&decided["state"], &decided["decisions"][0]["approver"]),
        (&json!("approved"), &json!("ada"))
    );
    let done = host.task_in(&task, "succeeded");
    assert_eq!(done["steps"][0]["output"], json!({"value": 1}));
    let report = host.receipt_verified(&task);
    let approvals: Vec<_> = report
        .records
        .iter()
        .flat_map(|(_, record)| &record.approvals)
        .collect();
    assert_eq!(approvals.len(), 1);
    assert_eq!(
        (
            approvals[0].approver.as_str(),
            approvals[0].subject.to_string()
        ),
        ("ada", approval["subject"].as_str().unwrap().to_owned())
    );

    let (_, next) = waiting(&host);
    assert_eq!(
        (&next["last_like_it"]["id"], &next["last_like_it"]["input"]),
        (&approval["id"], &json!({"key": "k", "value": 1}))
    );
}

#[test]
fn an_approval_is_used_once() {
    let host = host();
    let (task, approval) = waiting(&host);
    host.decide(&approval, "approve", "ada").expect(200);
    host.decide(&approval, "approve", "ada")
        .problem(409, "already-decided");
    host.decide(&approval, "reject", "bob")
        .problem(409, "already-decided");
    host.task_in(&task, "succeeded");
    host.decide(&approval, "approve", "cyd")
        .problem(409, "already-decided");
    let report = host.receipt_verified(&task);
    assert_eq!(
        report
            .records
            .iter()
            .flat_map(|(_, record)| &record.approvals)
            .count(),
        1
    );
}

#[test]
fn a_decision_about_something_else_is_refused_and_changes_nothing() {
    let host = host();
    let (task, approval) = waiting(&host);
    let (_, other) = waiting(&host);
    let mut mistaken = approval.clone();
    mistaken["subject"] = other["subject"].clone();
    host.decide(&mistaken, "approve", "ada")
        .problem(409, "changed");
    assert_eq!(host.approval_of(&task), approval);
    host.decide(&approval, "approve", "ada").expect(200);
    host.task_in(&task, "succeeded");
}

#[test]
fn a_grant_that_changed_since_voids_what_was_shown_and_asks_again() {
    let host = host();
    let (task, approval) = waiting(&host);
    host.grant("hostile", &json!({"buckets": ["hostile", "more"]}));
    host.decide(&approval, "approve", "ada")
        .problem(409, "changed");
    assert_eq!(
        host.get(format!("/v1/approvals/{}", id(&approval)))["state"],
        "void"
    );
    let again = host.approval_of(&task);
    assert_ne!(again["subject"], approval["subject"]);
    assert_eq!(again["grants"], json!({"buckets": ["hostile", "more"]}));
    host.decide(&again, "approve", "ada").expect(200);
    host.task_in(&task, "succeeded");
    host.receipt_verified(&task);
}

#[test]
fn a_policy_bound_since_voids_what_was_shown() {
    let host = host();
    let (task, approval) = waiting(&host);
    allow_everything(&host, &json!({"plugin": "hostile"}));
    host.decide(&approval, "approve", "ada")
        .problem(409, "changed");
    host.task_in(&task, "succeeded");
    let report = host.receipt_verified(&task);
    assert_eq!(
        report
            .records
            .iter()
            .flat_map(|(_, record)| &record.approvals)
            .count(),
        0,
        "the policy allowed it, nobody else"
    );
}

#[test]
fn a_rejected_step_is_denied_with_the_reason_given() {
    let host = host();
    let (task, approval) = waiting(&host);
    let decision = json!({"decision": "reject", "subject": approval["subject"], "approver": "ada", "comment": "not today"});
    let decided = host
        .post(format!("/v1/approvals/{}", id(&approval)), &decision)
        .expect(200)
        .json();
    assert_eq!(
        (&decided["state"], &decided["decisions"][0]["comment"]),
        (&json!("rejected"), &json!("not today"))
    );
    let denied = host.task_in(&task, "denied");
    assert!(
        denied["reason"]
            .as_str()
            .unwrap()
            .contains("rejected by ada: not today"),
        "{denied:#}"
    );
    assert_eq!(
        (&denied["steps"][0]["state"], &denied["steps"][0]["status"]),
        (&json!("denied"), &json!("denied"))
    );
    assert_eq!(denied["steps"][0].get("output"), None);
    host.receipt_verified(&task);
}

#[test]
fn who_submitted_a_task_cannot_approve_it() {
    let host = host();
    let (task, approval) = waiting(&host);
    let problem = host
        .decide(&approval, "approve", "bot")
        .problem(403, "forbidden");
    assert!(problem["detail"].as_str().unwrap().contains("bot"));
    assert_eq!(host.task(&task)["state"], "waiting");
    assert_eq!(host.approval_of(&task)["decisions"], json!([]));
}

#[test]
fn a_decision_that_is_not_right_is_refused_where_it_is_wrong() {
    let host = host();
    let (task, approval) = waiting(&host);
    let place = format!("/v1/approvals/{}", id(&approval));
    let decision = |member: &str, value: Value| {
        let mut decision =
            json!({"decision": "approve", "subject": approval["subject"], "approver": "ada"});
        decision[member] = value;
        decision
    };
    for (member, value) in [
        ("decision", json!("maybe")),
        ("subject", json!("sha256:00")),
        ("approver", json!("")),
        ("role", json!("a\nb")),
        ("signature", json!("x")),
    ] {
        let faults = host
            .post(&place, &decision(member, value))
            .faults(422, "invalid");
        assert_eq!(faults, [format!("/{member}")]);
    }
    host.post(&place, &json!({"decision": "approve"}))
        .problem(422, "invalid");
    assert_eq!(host.task(&task)["state"], "waiting");
}

#[test]
fn a_plan_may_ask_for_a_person_where_nobody_else_does() {
    let host = Host::with_guests();
    let submission = json!({"plan": {"steps": [{"id": "asks", "uses": "jq/filter", "with": {"filter": ".", "document": 1}, "approval": "required"}]}});
    let task = id(&host.submit_and_wait(&submission));
    let approval = host.approval_of(&task);
    assert_eq!(approval["asks"][0]["by"], "plan");
    host.decide(&approval, "approve", "ada").expect(200);
    host.task_in(&task, "succeeded");
    host.receipt_verified(&task);
}

#[test]
fn a_policy_may_ask_for_a_role() {
    let host = Host::with_guests();
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    let settings = json!({"limits": {"EUR": {"approval_above": "1", "deny_above": "1000"}}, "role": "treasurer"});
    host.bind("spending-limit", &settings, &json!({"plugin": "ledger"}));
    let transfer = json!({"from": "a", "to": "b", "amount": "2", "currency": "EUR"});
    let task = id(&host.submit_and_wait(&one_step("ledger/transfer", &transfer)));
    let approval = host.approval_of(&task);
    assert_eq!(
        (&approval["asks"][0]["by"], &approval["asks"][0]["role"]),
        (&json!("spending-limit"), &json!("treasurer"))
    );
    assert_eq!(approval["verdicts"][0]["verdict"], "needs-approval");
    let open = host
        .decide(&approval, "approve", "intern")
        .expect(200)
        .json();
    assert_eq!(
        open["state"], "open",
        "a yes without the role is not enough"
    );
    let decision = json!({"decision": "approve", "subject": approval["subject"], "approver": "ada", "role": "treasurer"});
    let approved = host
        .post(format!("/v1/approvals/{}", id(&approval)), &decision)
        .expect(200)
        .json();
    assert_eq!(approved["state"], "approved");
    // The accounts do not exist: what matters here is that it ran.
    let failed = host.task_in(&task, "failed");
    assert_eq!(failed["steps"][0]["status"], "failed", "{failed:#}");
    host.receipt_verified(&task);
}

#[test]
fn approvals_are_listed_in_pages_by_state_and_by_task() {
    let host = host();
    let made: Vec<_> = (0..5).map(|_| waiting(&host)).collect();
    host.decide(&made[0].1, "approve", "ada").expect(200);
    host.task_in(&made[0].0, "succeeded");
    let page = |query: &str| {
        let page = host.get(format!("/v1/approvals?{query}"));
        let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(id).collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let newest_first: Vec<_> = made
        .iter()
        .rev()
        .map(|(_, approval)| id(approval))
        .collect();
    let (mut listed, mut next) = page("limit=2");
    while let Some(cursor) = next {
        let (ids, after) = page(&format!("limit=2&cursor={cursor}"));
        listed.extend(ids);
        next = after;
    }
    assert_eq!(listed, newest_first);
    assert_eq!(page("state=open"), (newest_first[..4].to_vec(), None));
    assert_eq!(page("state=approved").0, [id(&made[0].1)]);
    assert_eq!(page(&format!("task={}", made[3].0)).0, [id(&made[3].1)]);
}
