//! What every request passes: the token, media types, sizes, strict JSON, and the places there are.

use serde_json::{Value, json};

use crate::host::{Host, guests, tasks};

const MIB: usize = 1024 * 1024;

/// A submission that is right, to be made wrong in one way.
fn submission() -> Value {
    tasks::one_step("hostile/echo", &json!({"a": 1}))
}

#[test]
fn everything_but_the_pulse_needs_the_token() {
    let host = Host::empty();
    let good = format!("Bearer {}", host.token());
    let other = format!("Bearer {}", host.token().chars().rev().collect::<String>());
    let wrong = [
        None,
        Some(""),
        Some("Bearer"),
        Some(host.token()),
        Some("Basic YTpi"),
        Some(&good[..good.len() - 1]),
        Some(&other),
    ];
    for authorization in wrong {
        for (method, path) in [
            ("GET", "/readyz"),
            ("GET", "/openapi.json"),
            ("GET", "/v1/tasks"),
            ("POST", "/v1/tasks"),
            ("GET", "/v1/nothing"),
        ] {
            let answer = host.call(method, path).authorization(authorization).send();
            answer.problem(401, "unauthorized");
            let challenge = answer
                .header("www-authenticate")
                .expect("RFC 9110 section 15.5.2 asks for a challenge");
            assert!(challenge.starts_with("Bearer "), "{challenge}");
        }
        assert_eq!(
            host.call("GET", "/healthz")
                .authorization(authorization)
                .send()
                .expect(200)
                .json(),
            json!({"status": "ok"})
        );
    }
    host.call("GET", "/readyz")
        .authorization(Some(&good))
        .send()
        .expect(200);
}

#[test]
fn a_refusal_is_read_by_who_is_still_sending() {
    let host = Host::empty();
    let long = || vec![b' '; 2 * MIB];
    for _ in 0..10 {
        host.call("POST", "/v1/components")
            .authorization(None)
            .body("application/wasm", long())
            .send()
            .problem(401, "unauthorized");
        host.call("POST", "/v1/components")
            .body("text/plain", long())
            .send()
            .problem(415, "media-type");
        host.call("POST", "/v1/componentz")
            .body("application/wasm", long())
            .send()
            .problem(404, "not-found");
        host.call("PUT", "/v1/components")
            .body("application/wasm", long())
            .send()
            .problem(405, "method-not-allowed");
    }
}

#[test]
fn a_token_is_asked_for_before_a_body_is_read() {
    let host = Host::empty();
    let answer = host
        .call("POST", "/v1/tasks")
        .authorization(None)
        .body("application/json", "{")
        .send();
    answer.problem(401, "unauthorized");
}

#[test]
fn a_place_that_is_not_there_is_told_from_a_method_that_is_not() {
    let host = Host::empty();
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/tasks/",
        "/v2/tasks",
        "/v1/tasks/x/y",
    ] {
        host.call("GET", path).send().problem(404, "not-found");
    }
    for (method, path) in [
        ("DELETE", "/v1/tasks"),
        ("PUT", "/v1/components"),
        ("DELETE", "/v1/approvals/x"),
        ("GET", "/v1/plans/check"),
    ] {
        let answer = host.call(method, path).send();
        answer.problem(405, "method-not-allowed");
        assert!(
            answer.header("allow").is_some(),
            "RFC 9110 section 15.5.6 asks for the methods that are"
        );
    }
}

#[test]
fn a_thing_that_is_not_there_is_named() {
    let host = Host::empty();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for path in [
        "tasks/ID",
        "tasks/ID/events",
        "tasks/ID/records",
        "tasks/ID/receipt",
        "approvals/ID",
        "plugins/ID/grants",
    ] {
        let problem = host
            .call("GET", format!("/v1/{}", path.replace("ID", id)))
            .send()
            .problem(404, "not-found");
        assert!(
            problem["detail"].as_str().unwrap().contains(id),
            "{problem}"
        );
    }
    host.call("POST", format!("/v1/tasks/{id}/cancel"))
        .send()
        .problem(404, "not-found");
    host.call("DELETE", format!("/v1/policies/{id}"))
        .send()
        .problem(404, "not-found");
    let decision = json!({"decision": "approve", "subject": format!("sha256:{}", "0".repeat(64)), "approver": "ada"});
    host.post(format!("/v1/approvals/{id}"), &decision)
        .problem(404, "not-found");
    for odd in ["x", "%2e%2e", "%00", "🦀"] {
        host.call("GET", format!("/v1/tasks/{odd}"))
            .send()
            .problem(404, "not-found");
    }
}

#[test]
fn a_body_of_another_media_type_is_refused() {
    let host = Host::empty();
    let json = submission().to_string();
    for media_type in [
        "text/plain",
        "application/wasm",
        "application/x-www-form-urlencoded",
        "",
    ] {
        for path in ["/v1/tasks", "/v1/plans/check", "/v1/policies"] {
            host.call("POST", path)
                .body(media_type, json.clone())
                .send()
                .problem(415, "media-type");
        }
        host.call("PUT", "/v1/plugins/ledger/grants")
            .body(media_type, "{}")
            .send()
            .problem(415, "media-type");
    }
    for media_type in [
        "application/json",
        "application/octet-stream",
        "application/wasm+gzip",
    ] {
        let problem = host
            .call("POST", "/v1/components")
            .body(media_type, guests::bytes("hostile"))
            .send()
            .problem(415, "media-type");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("application/wasm"),
            "{problem}"
        );
    }
    let charset = host
        .call("PUT", "/v1/plugins/ledger/grants")
        .body("application/json; charset=utf-8", "{}")
        .send();
    charset.expect(200);
}

#[test]
fn a_body_over_the_limit_is_refused_and_told_the_limit() {
    let host = Host::empty();
    for (method, path, media_type, bytes_max) in [
        ("POST", "/v1/tasks", "application/json", 8 * MIB),
        ("POST", "/v1/plans/check", "application/json", 8 * MIB),
        ("PUT", "/v1/plugins/ledger/grants", "application/json", MIB),
        ("POST", "/v1/policies", "application/json", MIB),
        ("POST", "/v1/components", "application/wasm", 32 * MIB),
    ] {
        let answer = host
            .call(method, path)
            .body(media_type, vec![b' '; bytes_max + 1])
            .send();
        let problem = answer.problem(413, "too-large");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains(&bytes_max.to_string()),
            "{path}: {problem}"
        );
    }
    host.get("/readyz");
}

#[test]
fn a_body_at_the_limit_is_read() {
    let host = Host::empty();
    let mut body = b"{}".to_vec();
    body.resize(MIB, b' ');
    host.call("PUT", "/v1/plugins/ledger/grants")
        .body("application/json", body)
        .send()
        .expect(200);
}

#[test]
fn json_that_two_readers_may_read_differently_is_refused_with_the_place() {
    let host = Host::empty();
    let deep = |depth: usize| format!(r#"{{"input":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let cases: [(Vec<u8>, &str); 9] = [
        (br#"{"plan":{"steps":[]},"plan":{}}"#.to_vec(), "/plan"),
        (
            br#"{"plan":{"steps":[{"id":"a","id":"b"}]}}"#.to_vec(),
            "/plan/steps/0/id",
        ),
        (
            br#"{"input":{"a/b":{"~":1,"\u007e":2}}}"#.to_vec(),
            "/input/a~1b/~0",
        ),
        (br#"{"input":[1,"\ud800"]}"#.to_vec(), "/input/1"),
        (br#"{"input":9007199254740993}"#.to_vec(), "/input"),
        (br#"{"input":1e999}"#.to_vec(), "/input"),
        (b"{\"input\":\"\xff\"}".to_vec(), "/input"),
        (br#"{"input":1} {}"#.to_vec(), ""),
        (Vec::new(), ""),
    ];
    for (body, pointer) in cases {
        let text = String::from_utf8_lossy(&body).into_owned();
        for path in ["/v1/tasks", "/v1/plans/check"] {
            let answer = host
                .call("POST", path)
                .body("application/json", body.clone())
                .send();
            assert_eq!(answer.faults(400, "malformed-json"), [pointer], "{text}");
        }
    }
    for depth in [200, 3_000_000] {
        let answer = host
            .call("POST", "/v1/tasks")
            .body("application/json", deep(depth))
            .send();
        let faults = answer.faults(400, "malformed-json");
        assert!(
            faults[0].starts_with("/input/0/0/"),
            "{}",
            &faults[0][..faults[0].len().min(80)]
        );
    }
    host.call("PUT", "/v1/plugins/ledger/grants")
        .body("application/json", r#"{"buckets":[],"buckets":["ledger"]}"#)
        .send()
        .problem(400, "malformed-json");
    host.call("GET", "/v1/plugins/ledger/grants")
        .send()
        .problem(404, "not-found");
}

#[test]
fn a_member_that_nobody_knows_is_refused_where_it_is() {
    let host = Host::with_guests();
    let mut wrong = submission();
    wrong["goal"] = json!({});
    wrong["plan"]["steps"][0]["retries"] = json!(3);
    assert_eq!(
        host.post("/v1/tasks", &wrong).faults(422, "invalid"),
        ["/goal", "/plan/steps/0/retries"]
    );
    let policy =
        json!({"component": host.digest("spending-limit"), "scope": {"plugins": "ledger"}});
    assert_eq!(
        host.post("/v1/policies", &policy).faults(422, "invalid"),
        ["/scope/plugins"]
    );
    let grant = host.put(
        "/v1/plugins/ledger/grants",
        &json!({"hosts": ["example.com"]}),
    );
    grant.problem(422, "invalid");
}

#[test]
fn a_grant_that_cannot_be_is_refused_with_every_fault() {
    let host = Host::empty();
    let grant = json!({"buckets": ["ok", "Not OK", "ok"], "limits": {"fuel": 0, "wall_ms": 1e12}});
    let faults = host
        .put("/v1/plugins/ledger/grants", &grant)
        .faults(422, "invalid");
    assert_eq!(
        faults,
        [
            "/limits/fuel",
            "/limits/wall_ms",
            "/buckets/1",
            "/buckets/2"
        ]
    );
    host.put("/v1/plugins/Ledger/grants", &json!({}))
        .problem(422, "invalid");
}

#[test]
fn a_parameter_that_is_not_right_is_named() {
    let host = Host::with_guests();
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=7",
        "state=done",
        "colour=red",
    ] {
        host.call("GET", format!("/v1/tasks?{query}"))
            .send()
            .problem(400, "bad-parameter");
    }
    for query in ["limit=51", "cursor=x", "state=waiting"] {
        host.call("GET", format!("/v1/approvals?{query}"))
            .send()
            .problem(400, "bad-parameter");
    }
    for key in ["", "two words", &"k".repeat(256)] {
        let answer = host
            .call("POST", "/v1/tasks")
            .header("idempotency-key", key)
            .json(&submission())
            .send();
        let problem = answer.problem(400, "bad-parameter");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .starts_with("Idempotency-Key: "),
            "{problem}"
        );
    }
    let task = tasks::id(&host.submit_and_wait(&submission()));
    for last in ["x", "-1", "99999999999999999999999"] {
        host.call("GET", format!("/v1/tasks/{task}/events"))
            .header("last-event-id", last)
            .send()
            .problem(400, "bad-parameter");
    }
    assert_eq!(host.get("/v1/tasks")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn no_answer_is_kept_or_guessed_at_by_those_between() {
    let host = Host::empty();
    for path in ["/v1/tasks", "/healthz", "/v1/nothing"] {
        let answer = host.call("GET", path).send();
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}
