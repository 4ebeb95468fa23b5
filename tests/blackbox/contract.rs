//! The API and its description are one.

use serde_json::{Value, json};
use stepseal_receipts::keys::SigningKey;

use crate::host::tasks::{id, one_step};
use crate::host::{Host, OPENAPI, openapi};

#[test]
fn the_description_that_is_served_is_the_one_in_the_repository() {
    let host = Host::empty();
    let committed: Value = serde_json::from_str(OPENAPI).unwrap();
    assert_eq!(host.get("/openapi.json"), committed);
}

#[test]
fn every_operation_answers_as_it_is_documented() {
    let host = Host::empty();
    for place in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/v1/grants",
        "/v1/policies",
        "/v1/log/witnesses",
    ] {
        host.get(place);
    }
    let hostile = host.upload("hostile");
    host.upload_bytes(crate::host::guests::bytes("hostile"))
        .expect(200);
    host.upload("spending-limit");
    host.get(format!("/v1/components/{hostile}"));
    host.call("GET", format!("/v1/components/{hostile}/content"))
        .send()
        .expect(200);
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    host.get("/v1/plugins/hostile/grants");
    let policy = host.bind("spending-limit", &json!({"limits": {}}), &json!({}));
    host.call("DELETE", format!("/v1/policies/{policy}"))
        .send()
        .expect(204);
    let key = SigningKey::from_seed([7; 32]).public();
    let approver = json!({"name": "dana", "key": key.spki_base64()});
    host.post("/v1/approvers", &approver).expect(201);
    host.get("/v1/approvers");
    host.call("DELETE", format!("/v1/approvers/{}", key.id()))
        .send()
        .expect(204);
    let submission = one_step("hostile/kv-read", &json!({"key": "k"}));
    host.post("/v1/plans/check", &submission).expect(200);
    let submit = || {
        host.call("POST", "/v1/tasks")
            .header("idempotency-key", "tour")
            .json(&submission)
            .send()
    };
    let task = id(&submit().expect(201).json());
    submit().expect(200);
    host.get("/v1/plugins/hostile/grants/history");
    host.put("/v1/secrets/tour", &json!({"value": "s3cret-of-the-tour"}))
        .expect(200);
    host.get("/v1/secrets");
    host.get("/v1/compilations");
    for status in [201, 200] {
        host.call("PUT", "/v1/tenants/tour").send().expect(status);
    }
    schedules(&host, &submission);
    host.get("/v1/tenants");
    host.call("DELETE", "/v1/tenants/tour").send().expect(204);
    host.call("DELETE", "/v1/secrets/tour").send().expect(204);
    host.get("/v1/tasks");
    host.task(&task);
    let approval = host.approval_of(&task);
    host.decide(&approval, "approve", "ada").expect(200);
    host.task_in(&task, "succeeded");
    let events = |header: &str, value: &str| {
        host.call("GET", format!("/v1/tasks/{task}/events"))
            .header(header, value)
            .send()
    };
    let last = events("accept", "application/json").expect(200).json()["items"]
        .as_array()
        .unwrap()
        .len();
    events("accept", "text/event-stream").expect(200);
    events("last-event-id", &last.to_string()).expect(204);
    host.get(format!("/v1/tasks/{task}/records"));
    host.receipt_verified(&task);
    for place in ["/metrics", "/log/checkpoint", "/log/tile/0/000.p/1"] {
        host.call("GET", place).send().expect(200);
    }
    host.get("/v1/log/consistency?from=1&to=2");
    host.get("/v1/log/inclusion?index=0&size=1");
    host.call("GET", "/v1/log/entries?from=0&limit=2")
        .send()
        .expect(200);
    let other = id(&host.submit(&submission));
    host.call("POST", format!("/v1/tasks/{other}/cancel"))
        .send()
        .expect(200);

    host.task_in(&other, "cancelled");
    host.call("DELETE", format!("/v1/tasks/{other}/payloads?basis=tour"))
        .send()
        .expect(204);
    host.call("DELETE", format!("/v1/tasks/{other}/records?basis=tour"))
        .send()
        .expect(204);

    let missed: Vec<_> = openapi()
        .successes()
        .difference(&host.reached())
        .cloned()
        .collect();
    assert!(missed.is_empty(), "no test reaches these: {missed:?}");
}

fn schedules(host: &Host, submission: &Value) {
    let schedule = json!({"cron": "0 0 1 1 *", "submission": submission});
    for status in [201, 200] {
        host.put("/v1/schedules/tour", &schedule).expect(status);
    }
    host.get("/v1/schedules");
    host.get("/v1/schedules/tour");
    host.call("DELETE", "/v1/schedules/tour").send().expect(204);
}
