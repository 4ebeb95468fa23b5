//! What reaches out of a step: requests to the network, the secrets in them, values of the configuration, and the grants for all of
//! it. Servers of the tests listen on loopback, which is granted by address.

use serde_json::{Value, json};
use stepseal_receipts::record::{Kind, Status};

use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Database, Host, allow_everything, eventually, guests};
use crate::replay::Auditor;
use crate::server::Server;
use crate::support::{ended, stepseal, stepseal_in};

pub(crate) const SECRET: &str = "sk-live/51Hq8uJ2eZ";

/// A host on which `outbound` may reach the server under `/ok`, and every step runs that may.
pub(crate) fn host_for(server: &Server) -> Host {
    host_in(Database::Sqlite, server)
}

/// The same with this database.
fn host_in(database: Database, server: &Server) -> Host {
    let host = Host::with_guests_in(database);
    host.upload("outbound");
    allow_everything(&host, &json!({}));
    host.grant("outbound", &grant(server));
    host
}

fn grant(server: &Server) -> Value {
    json!({"buckets": ["outbound"], "http": [rule(server)]})
}

fn rule(server: &Server) -> Value {
    json!({"scheme": "http", "host": "127.0.0.1", "port": server.port(), "path": "/ok",
        "methods": ["GET", "POST"], "addresses": ["127.0.0.1"]})
}

/// A task that sends these requests side by side.
fn send(requests: &[Value]) -> Value {
    one_step("outbound/send", &json!({"requests": requests}))
}

fn request(server: &Server, path: &str) -> Value {
    json!({"authority": server.authority(), "path": path})
}

/// Runs the one step of a task again from its receipt, without the policy that was asked: everything of it must be the same.
#[track_caller]
fn replays_the_same(host: &Host, task: &str) -> Auditor {
    let auditor = Auditor::new(host, task, &["outbound"]);
    let report = auditor.replays(&auditor.path("receipt.json"), true);
    let report = report.expect(0).json();
    for compared in ["status", "output", "hostcalls", "fuel"] {
        assert_eq!(report["steps"][0][compared]["result"], "same", "{report:#}");
    }
    auditor
}

/// What a step gave.
#[track_caller]
fn output(task: &Value) -> &Value {
    assert_eq!(task["state"], "succeeded", "{task:#}");
    &task["steps"][0]["output"]
}

#[test]
fn requests_go_where_the_operator_says_and_nowhere_else() {
    let (server, other) = (Server::start(), Server::start());
    let host = host_for(&server);
    let mut granted = grant(&server);
    // Granted by name, but not by the address that the name has.
    granted["http"]
        .as_array_mut()
        .unwrap()
        .push(json!({"scheme": "http", "host": "localhost", "port": server.port()}));
    host.grant("outbound", &granted);
    let at = |path: &str| request(&server, path);
    let with = |changes: Value| {
        let mut request = at("/ok/a");
        let changes = changes.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(changes);
        request
    };
    let requests = [
        at("/ok/../ok/a?q=1"),
        with(json!({"method": "POST", "body_bytes": 100_000})),
        at("/admin"),
        at("/ok/%2e%2e/admin"),
        at("/ok/..%2fadmin"),
        with(json!({"method": "DELETE"})),
        with(json!({"method": "TRACE"})),
        with(json!({"scheme": "https"})),
        with(json!({"authority": other.authority()})),
        with(json!({"authority": format!("user@{}", server.authority())})),
        with(json!({"authority": "169.254.169.254"})),
        with(json!({"authority": format!("localhost:{}", server.port())})),
        with(json!({"headers": [["host", "evil.example"]]})),
        with(json!({"headers": [["transfer-encoding", "chunked"]]})),
    ];
    let task = host.submit_and_wait(&send(&requests));
    let came: Vec<String> = output(&task)["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|response| match response["error"].as_str() {
            Some(error) => error.to_owned(),
            None => response["status"].to_string(),
        })
        .collect();
    let denied = "ErrorCode::HttpRequestDenied";
    assert_eq!(
        came,
        [
            "200",
            "200",
            denied,
            denied,
            denied,
            denied,
            denied,
            denied,
            denied,
            "ErrorCode::HttpRequestUriInvalid",
            denied,
            "ErrorCode::DestinationIpProhibited",
            "HeaderError::Forbidden",
            "HeaderError::Forbidden",
        ],
        "{task:#}"
    );
    assert_eq!(output(&task)["timer_was_first"], false);
    assert!(other.heard().is_empty(), "{:?}", other.heard());
    let mut heard = server.heard();
    heard.sort();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard[0].starts_with("GET /ok/a?q=1 HTTP/1.1\n"),
        "{heard:?}"
    );
    assert!(heard[1].starts_with("POST /ok/a HTTP/1.1\n"), "{heard:?}");
    assert!(heard[1].contains("content-length: 100000"), "{heard:?}");
    for head in &heard {
        assert!(
            head.contains(&format!("host: {}", server.authority())),
            "{head}"
        );
    }
    let metrics = host.call("GET", "/metrics").send().expect(200).text();
    for line in [
        "stepseal_http_requests_total{outcome=\"answered\"} 2",
        "stepseal_http_requests_total{outcome=\"refused\"} 9",
        "stepseal_http_requests_total{outcome=\"failed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn what_a_server_sends_is_bounded_and_a_redirect_is_not_followed() {
    let server = Server::start();
    let host = host_for(&server);
    let mut granted = grant(&server);
    granted["http"][0]["limits"] =
        json!({"response_bytes": 50_000, "request_bytes": 10, "first_byte_ms": 300, "calls": 3});
    host.grant("outbound", &granted);
    let mut large = request(&server, "/ok/a");
    large["body_bytes"] = json!(11);
    large["method"] = json!("POST");
    let task = host.submit_and_wait(&send(&[
        request(&server, "/ok/huge"),
        request(&server, "/ok/redirect"),
        request(&server, "/ok/hold"),
        request(&server, "/ok/one-too-many"),
        large,
    ]));
    let responses = &output(&task)["responses"];
    assert_eq!(
        responses[0]["error"],
        "ErrorCode::HttpResponseBodySize(None)"
    );
    assert_eq!(responses[1]["status"], 302);
    assert_eq!(responses[1]["headers"]["location"], "/ok/elsewhere");
    assert_eq!(responses[2]["error"], "ErrorCode::HttpResponseTimeout");
    assert_eq!(responses[3]["error"], "ErrorCode::ConnectionLimitReached");
    assert_eq!(
        responses[4]["error"],
        "ErrorCode::HttpRequestBodySize(None)"
    );
    assert!(
        server
            .heard()
            .iter()
            .all(|head| !head.contains("elsewhere"))
    );
}

/// An attempt for which there was no component has not been cut off: no record says that it may have run.
#[test]
fn a_step_whose_component_is_missing_waits_for_it_and_is_nobodys_attempt() {
    let server = Server::start();
    let host = host_for(&server);
    let digest = host.digest("outbound");
    let dir = host.stop();
    let hex = digest.trim_start_matches("sha256:");
    let data = dir.path();
    std::fs::remove_file(data.join(format!("components/{hex}.wasm"))).unwrap();
    std::fs::remove_dir_all(data.join("cache")).unwrap();
    std::fs::create_dir(data.join("cache")).unwrap();

    let host = Host::on(dir);
    let task = id(&host.submit(&send(&[request(&server, "/ok")])));
    eventually("the host says what it has not", || {
        host.said()
            .contains(&format!("component {digest}"))
            .then_some(())
    });
    assert!(server.heard().is_empty());
    host.upload_bytes(guests::bytes("outbound")).expect(200);
    let done = host.task_in(&task, "succeeded");
    assert_eq!(done["steps"][0]["attempt"], 1, "{done:#}");
    host.receipt_verified(&task);
}

#[test]
fn nothing_is_sent_where_nothing_is_granted() {
    let server = Server::start();
    let host = Host::with_guests();
    host.upload("outbound");
    let task = host.submit_and_wait(&send(&[request(&server, "/ok/a")]));
    let response = &output(&task)["responses"][0];
    assert_eq!(response["error"], "ErrorCode::HttpRequestDenied");
    assert!(server.heard().is_empty());
    // It was pure, since it could do nothing: anybody can run it again.
    let report = host.receipt_verified(&id(&task));
    assert!(
        report
            .records
            .iter()
            .all(|(_, record)| record.kind != Kind::StepAuthorized)
    );
    replays_the_same(&host, &id(&task));
}

#[test]
fn a_step_that_sent_requests_is_run_again_without_the_network() {
    // The records: opened, authorized, completed, closed.
    const COMPLETED: usize = 2;
    let server = Server::start();
    let host = host_for(&server);
    let mut post = request(&server, "/ok/b");
    post["method"] = json!("POST");
    post["body_bytes"] = json!(5_000);
    let denied = request(&server, "/admin");
    let task = host.submit_and_wait(&send(&[request(&server, "/ok/a"), post, denied]));
    assert_eq!(output(&task)["responses"][0]["body"], "hello", "{task:#}");
    assert_eq!(server.heard().len(), 2);
    let auditor = replays_the_same(&host, &id(&task));
    assert_eq!(server.heard().len(), 2, "a replay sends nothing");

    let ran = auditor.replays_with_calls(COMPLETED, |calls| calls.swap(0, 1));
    let detail = ran.expect(1).json()["steps"][0]["hostcalls"]["detail"].to_string();
    for part in ["host call 1 differs", "\\\"op\\\":\\\"http\\\"", "/ok/a"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    // {"error":"no-such-fault"}
    let ran = auditor.replays_with_calls(COMPLETED, |calls| {
        calls[1]["response"] = json!("eyJlcnJvciI6Im5vLXN1Y2gtZmF1bHQifQ==");
    });
    let detail = ran.expect(1).json()["steps"][0]["hostcalls"]["detail"].to_string();
    assert!(detail.contains("host call 2 differs"), "{detail}");
    assert!(detail.contains("no run can have had"), "{detail}");
}

/// Everything of a host that others are shown, and what it keeps besides secrets.
fn everything_shown(host: &Host, task: &str) -> String {
    let mut shown = String::from_utf8(host.receipt(task)).unwrap();
    for place in ["", "/records", "/events"] {
        let answer = host.call("GET", format!("/v1/tasks/{task}{place}"));
        shown += &answer.header("accept", "application/json").send().text();
    }
    shown += &host.said();
    for file in ["stepseal.db", "stepseal.db-wal"] {
        let bytes = std::fs::read(host.data().join(file)).unwrap_or_default();
        shown += &String::from_utf8_lossy(&bytes);
    }
    shown
}

#[test]
fn a_secret_is_injected_by_the_host_and_does_not_leave_through_the_guest() {
    let server = Server::start();
    let host = host_for(&server);
    let mut granted = grant(&server);
    granted["http"][0]["secrets"] = json!({"authorization": "Bearer {api-key}"});
    let fit = host.grant("outbound", &granted)["fit"].clone();
    assert_eq!(fit["secrets_missing"], json!(["api-key"]));
    let mut echo = request(&server, "/ok/echo");
    echo["headers"] = json!([["authorization", "Bearer placeholder"]]);
    let task = host.submit_and_wait(&send(std::slice::from_ref(&echo)));
    let error = &output(&task)["responses"][0]["error"];
    assert_eq!(error, "ErrorCode::ConfigurationError");
    assert!(server.heard().is_empty());

    let data = host.data();
    let data = data.to_str().unwrap();
    let arguments = ["--data", data, "secret", "set", "api-key"];
    let set = stepseal_in(".".as_ref(), &arguments, format!("{SECRET}\n").as_bytes());
    assert!(!set.expect(0).stdout.contains(SECRET));
    let names = stepseal(&["--data", data, "--output", "json", "secret", "list"]);
    assert_eq!(
        names.expect(0).json(),
        json!({"items": [{"name": "api-key"}]})
    );
    assert_eq!(
        host.get("/v1/plugins/outbound/grants")["fit"]["secrets_missing"],
        json!([])
    );

    let task = host.submit_and_wait(&send(&[echo]));
    let body = output(&task)["responses"][0]["body"].as_str().unwrap();
    assert!(
        body.contains("authorization: Bearer [secret api-key]"),
        "{body}"
    );
    assert!(!body.contains("placeholder"), "{body}");
    let heard = server.heard();
    assert!(
        heard[0].contains(&format!("authorization: Bearer {SECRET}")),
        "{heard:?}"
    );
    assert!(!everything_shown(&host, &id(&task)).contains(SECRET));
    replays_the_same(&host, &id(&task));

    // A server that hands it out in a way that nobody looks for: the guest knows it, and cannot give it away.
    for how in [
        "output", "failure", "log", "panic", "key", "value", "request", "keep",
    ] {
        let leak = json!({"request": request(&server, "/ok/reversed"), "how": how});
        let task = host.submit_and_wait(&one_step("outbound/leak", &leak));
        let step = &task["steps"][0];
        let leaked = ["output", "key", "value", "request"].contains(&how);
        let code = results(&host, &id(&task))[0].1.clone();
        assert_eq!(
            code.as_deref() == Some("secret-leak"),
            leaked,
            "{how}: {task:#}"
        );
        if how == "failure" || how == "panic" {
            assert!(
                step["message"].to_string().contains("[secret api-key]"),
                "{task:#}"
            );
        }
        let shown = everything_shown(&host, &id(&task));
        assert!(!shown.contains(SECRET), "{how}");
    }
    assert!(server.heard().iter().all(|head| !head.contains("/other")));
    let file = host.data().join("secrets");
    assert_eq!(stepseal_mode(&file), 0o600);
    stepseal(&["--data", data, "secret", "remove", "api-key"]).expect(0);
    assert!(!std::fs::read_to_string(file).unwrap().contains(SECRET));
}

fn stepseal_mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A task of one step that reads a number, sends a request and adds to the number.
pub(crate) fn send_and_count(server: &Server, path: &str, attempts: u32) -> Value {
    let mut task = one_step("outbound/send-and-count", &request(server, path));
    task["plan"]["steps"][0]["retry"] = json!({"max_attempts": attempts, "backoff_ms": 1});
    task["plan"]["steps"][0]["limits"] = json!({"wall_ms": 600_000});
    task
}

/// The patience of a grant whose server waits for the test.
pub(crate) fn patient(server: &Server) -> Value {
    let mut granted = grant(server);
    granted["http"][0]["limits"] = json!({"first_byte_ms": 600_000, "total_ms": 600_000});
    granted["limits"] = json!({"wall_ms": 600_000});
    granted
}

/// Status, code and attempt of every result of a step.
pub(crate) fn results(host: &Host, task: &str) -> Vec<(Status, Option<String>, u64)> {
    let report = host.receipt_verified(task);
    let records = report.records.iter().map(|(_, record)| record);
    let results =
        records.filter(|record| matches!(record.kind, Kind::StepCompleted | Kind::StepFailed));
    results
        .map(|record| {
            let outcome = record.outcome.clone().unwrap();
            let attempt = u64::from(record.step.as_ref().unwrap().attempt);
            (outcome.status, outcome.code, attempt)
        })
        .collect()
}

#[test]
fn an_attempt_that_reached_the_network_is_not_repeated_after_a_conflict_but_tried_again() {
    let server = Server::start();
    let host = host_for(&server);
    host.grant("outbound", &patient(&server));
    let [again, once] = [2, 1].map(|attempts| {
        let before = server.heard().len();
        let held = host.submit(&send_and_count(&server, "/ok/hold", attempts));
        server.wait_for_requests(before + 1);
        // It has read the number; now somebody else changes it.
        let other = host.submit_and_wait(&send_and_count(&server, "/ok/a", 1));
        assert_eq!(other["state"], "succeeded", "{other:#}");
        server.let_go();
        server.let_go();
        let held = ended(&host, &id(&held));
        // What was let go and not used must not let the next one go.
        server.let_nobody_go();
        held
    });
    let conflict = || Some("conflict".to_owned());
    assert_eq!(
        results(&host, &id(&again)),
        [(Status::Unavailable, conflict(), 1), (Status::Ok, None, 2)]
    );
    assert_eq!(once["state"], "failed", "{once:#}");
    assert_eq!(
        results(&host, &id(&once)),
        [(Status::Unavailable, conflict(), 1)]
    );
}

#[test]
fn an_attempt_whose_outcome_nobody_knows_is_not_run_again_unasked() {
    let server = Server::start();
    let host = host_for(&server);
    host.grant("outbound", &patient(&server));
    let mut unasked = send_and_count(&server, "/ok/hold", 2);
    // Should the second attempt fail, nobody is asked for a third.
    unasked["plan"]["steps"][0]["on_failure"] = json!("fail");
    let unasked = id(&host.submit(&unasked));
    server.wait_for_requests(1);
    let asked = id(&host.submit(&send_and_count(&server, "/ok/hold", 1)));
    server.wait_for_requests(2);
    let host = Host::on(host.kill());
    // The plan allows another attempt of the one; for the other a person is asked, whatever policies say.
    server.wait_for_requests(3);
    let approval = host.approval_of(&asked);
    assert!(
        approval["asks"].to_string().contains("outcome-unknown"),
        "{approval:#}"
    );
    assert_eq!(server.heard().len(), 3);
    host.decide(&approval, "approve", "ada").expect(200);
    server.wait_for_requests(4);
    // Both wait for answers, and then one of them is in the way of the other, or not.
    for _ in 0..8 {
        server.let_go();
    }
    for task in [unasked, asked] {
        ended(&host, &task);
        let results = results(&host, &task);
        let interrupted = (Status::Unavailable, Some("interrupted".to_owned()), 1);
        assert_eq!(results[0], interrupted, "{results:?}");
        assert_eq!(results[1].2, 2, "{results:?}");
    }
}

#[test]
fn an_attempt_that_may_have_reached_the_network_is_interrupted_even_where_it_may_not_any_more() {
    let server = Server::start();
    let host = host_for(&server);
    host.grant("outbound", &patient(&server));
    let task = id(&host.submit(&send_and_count(&server, "/ok/hold", 1)));
    server.wait_for_requests(1);
    host.grant("outbound", &json!({"buckets": ["outbound"]}));
    let host = Host::on(host.kill());
    let approval = host.approval_of(&task);
    assert!(
        approval["asks"].to_string().contains("outcome-unknown"),
        "{approval:#}"
    );
    host.decide(&approval, "reject", "ada").expect(200);
    assert_eq!(ended(&host, &task)["state"], "denied");
    let interrupted = (Status::Unavailable, Some("interrupted".to_owned()), 1);
    assert_eq!(results(&host, &task), [interrupted]);
}

#[test]
fn an_effect_under_way_is_not_cut_off_by_rules_that_it_does_not_rest_on() {
    let server = Server::start();
    let host = host_in(Database::Postgres, &server);
    host.grant("outbound", &patient(&server));
    let task = id(&host.submit(&send_and_count(&server, "/ok/hold", 1)));
    server.wait_for_requests(1);
    // As another host changes them: this one has not heard of it when it stores what came of the request.
    let schema = host.schema().unwrap();
    schema.run("UPDATE log_head SET rules = rules + 1");
    server.let_go();
    assert_eq!(ended(&host, &task)["state"], "succeeded");
    assert_eq!(results(&host, &task), [(Status::Ok, None, 1)]);
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn configuration_is_part_of_the_grant_and_leaves_a_step_pure() {
    let host = Host::with_guests();
    host.upload("outbound");
    host.grant(
        "outbound",
        &json!({"config": {"greeting": "hello", "a": "1"}}),
    );
    let task = host.submit_and_wait(&one_step("outbound/config", &json!({})));
    assert_eq!(
        *output(&task),
        json!({"all": [["a", "1"], ["greeting", "hello"]], "greeting": "hello"})
    );
    // Another grant is in force by the time anybody looks.
    host.grant("outbound", &json!({"config": {"greeting": "good-bye"}}));
    let report = host.receipt_verified(&id(&task));
    assert!(
        report
            .records
            .iter()
            .all(|(_, record)| record.kind != Kind::StepAuthorized)
    );
    replays_the_same(&host, &id(&task));
    let history = host.get("/v1/plugins/outbound/grants/history");
    assert_eq!(
        history["items"][0]["document"],
        json!({"config": {"greeting": "good-bye"}})
    );
    assert_eq!(history["items"][1]["version"], 1);
    let data = host.data();
    let listed = stepseal(&[
        "--data",
        data.to_str().unwrap(),
        "plugin",
        "grants",
        "outbound",
    ]);
    assert!(listed.expect(0).stdout.contains("good-bye"));
}

#[test]
fn many_keys_at_once_and_numbers_belong_to_the_step_like_everything_else() {
    let host = Host::with_guests();
    host.upload("outbound");
    allow_everything(&host, &json!({}));
    host.grant("outbound", &json!({"buckets": ["outbound"]}));
    let most = u64::MAX.to_string();
    let with = json!({"set": {"a": "1", "b": "x", "c": "3", "most": most}, "delete": ["c", "never"],
        "increment": [["a", 41], ["n", 7], ["n", 1], ["b", 1], ["most", 1]], "get": ["a", "b", "c", "n"]});
    let task = host.submit_and_wait(&one_step("outbound/many", &with));
    let out = output(&task);
    let numbers = out["numbers"].as_array().unwrap();
    let ok: Vec<&Value> = numbers.iter().map(|number| &number["Ok"]).collect();
    assert_eq!(
        ok,
        [&json!(42), &json!(7), &json!(8), &json!(null), &json!(null)],
        "{out:#}"
    );
    assert!(
        numbers[3]["Err"].to_string().contains("not a number"),
        "{out:#}"
    );
    assert!(numbers[4]["Err"].to_string().contains("64 bits"), "{out:#}");
    assert_eq!(
        out["found"]["Ok"],
        json!([["a", "42"], ["b", "x"], null, ["n", "8"]])
    );
    let none = json!({"set": {}, "delete": [], "increment": [["n", 1]], "get": ["a"]});
    let next = host.submit_and_wait(&one_step("outbound/many", &none));
    assert_eq!(output(&next)["numbers"][0]["Ok"], 9, "it was committed");
    replays_the_same(&host, &id(&task));
}

#[test]
fn a_grant_that_is_wrong_says_where_and_one_that_does_not_fit_says_how() {
    let host = Host::on(DataDir::fresh());
    let uploaded = host
        .upload_bytes(crate::host::guests::bytes("outbound"))
        .expect(201)
        .json();
    let not_granted = &uploaded["fit"]["not_granted"];
    assert!(
        not_granted
            .to_string()
            .contains("wasi:http/outgoing-handler@0.2.0"),
        "{uploaded}"
    );
    assert!(
        not_granted.to_string().contains("wasi:config/store"),
        "{uploaded}"
    );

    let put = |document: Value| host.put("/v1/plugins/outbound/grants", &document);
    let pointers = |document| put(document).faults(422, "invalid");
    assert_eq!(pointers(json!({"htp": []})), ["/htp"]);
    assert_eq!(
        pointers(json!({"http": [{"host": "h.example", "prot": 1}]})),
        ["/http/0/prot"]
    );
    assert_eq!(
        pointers(json!({"http": [{"host": "h.example"}, {"host": "u@h.example"}]})),
        ["/http/1/host"]
    );
    assert_eq!(
        pointers(json!({"http": [{"host": "h.example", "addresses": ["127.0.0.0/8"]}]})),
        ["/http/0/addresses/0"]
    );
    assert_eq!(pointers(json!({"format": 2})), ["/format"]);

    let fit = put(json!({"format": 1, "http": [{"host": "h.example"}]}))
        .expect(200)
        .json();
    assert_eq!(fit["document"], json!({"http": [{"host": "h.example"}]}));
    assert!(
        !fit["fit"]["not_granted"].to_string().contains("wasi:http"),
        "{fit}"
    );
    host.upload("jq");
    let jq = host.grant(
        "jq",
        &json!({"buckets": ["b"], "http": [{"host": "h.example"}]}),
    );
    assert_eq!(jq["fit"]["not_imported"], json!(["/buckets", "/http"]));
    assert_eq!(jq["fit"]["not_granted"], json!([]));

    let refused = |name: &str, value: &str| {
        host.put(format!("/v1/secrets/{name}"), &json!({"value": value}))
            .faults(422, "invalid")
    };
    assert_eq!(refused("short", "1234567"), ["/value"]);
    assert_eq!(refused("Not-a-name", SECRET), [""]);
    host.call("DELETE", "/v1/secrets/none")
        .send()
        .problem(404, "not-found");
}
