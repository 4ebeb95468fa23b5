//! Clients with a token and tasks of their own.

use serde_json::{Value, json};

use crate::host::client::{Answer, Client};
use crate::host::tasks::{id, one_step};
use crate::host::{Host, openapi};
use crate::policies::says;
use crate::support::{ended, stepseal};
use crate::wat::{parse_str, policy};

/// Everything that a tenant may do; whatever else there is, it may not.
const OPEN: [&str; 13] = [
    "GET /v1/components",
    "GET /v1/components/{digest}",
    "POST /v1/plans/check",
    "GET /v1/tasks",
    "POST /v1/tasks",
    "GET /v1/tasks/{id}",
    "POST /v1/tasks/{id}/cancel",
    "GET /v1/tasks/{id}/events",
    "GET /v1/tasks/{id}/records",
    "GET /v1/tasks/{id}/receipt",
    "GET /v1/trust",
    "GET /openapi.json",
    "GET /readyz",
];

fn echo(document: &str) -> Value {
    json!({"plan": {"steps": [{"id": "s", "uses": "jq/filter", "with": {"filter": ".", "document": document}}]}})
}

/// Lets a tenant in, by the command line, and gives its token.
fn let_in(host: &Host, name: &str) -> String {
    let data = host.data();
    let added = stepseal(&["--data", data.to_str().unwrap(), "tenant", "add", name]).expect(0);
    added.stdout.trim_end().to_owned()
}

struct Tenant<'a> {
    client: &'a Client,
    authorization: String,
}

impl<'a> Tenant<'a> {
    fn new(host: &'a Host, name: &str) -> Self {
        let authorization = format!("Bearer {}", let_in(host, name));
        Self {
            client: host,
            authorization,
        }
    }

    fn call(&self, method: &'static str, path: &str) -> Answer {
        self.ask(method, path, &[], None)
    }

    fn ask(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let call = self
            .client
            .call(method, path)
            .authorization(Some(&self.authorization));
        let call = headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        match body {
            Some(body) => call.json(body),
            None => call,
        }
        .send()
    }

    fn submit(&self, document: &str, key: &str) -> Value {
        let headers = [("prefer", "wait=60"), ("idempotency-key", key)];
        self.ask("POST", "/v1/tasks", &headers, Some(&echo(document)))
            .expect(201)
            .json()
    }

    fn tasks(&self, query: &str) -> Vec<String> {
        let list = self
            .call("GET", &format!("/v1/tasks{query}"))
            .expect(200)
            .json();
        list["items"].as_array().unwrap().iter().map(id).collect()
    }
}

#[test]
fn a_tenant_sees_its_own_tasks_and_no_others() {
    let host = Host::with_guests();
    let (one, other) = (Tenant::new(&host, "one"), Tenant::new(&host, "other"));
    // A key is its tenant's: the same one of another is no key that was used.
    let task = one.submit("1", "key");
    let theirs = other.submit("2", "key");
    let own = host.submit_and_wait(&echo("3"));
    assert_eq!(
        [&task["state"], &theirs["state"], &own["state"]],
        ["succeeded"; 3]
    );
    assert_eq!(
        [&task["tenant"], &theirs["tenant"], &own["tenant"]],
        ["one", "other", "operator"]
    );

    assert_eq!(one.tasks(""), [id(&task)]);
    assert_eq!(one.tasks("?state=succeeded"), [id(&task)]);
    assert_eq!(one.tasks("?agent=nobody"), [""; 0]);
    assert_eq!(one.tasks("?agent=nobody&state=failed"), [""; 0]);
    let all = host.get("/v1/tasks");
    assert_eq!(all["items"].as_array().unwrap().len(), 3);

    for place in ["", "/events", "/records", "/receipt"] {
        let of = |task: &Value| format!("/v1/tasks/{}{place}", id(task));
        one.call("GET", &of(&task)).expect(200);
        host.call("GET", of(&task)).send().expect(200);
        for hidden in [&theirs, &own] {
            one.call("GET", &of(hidden)).problem(404, "not-found");
        }
    }
    let cancel = format!("/v1/tasks/{}/cancel", id(&theirs));
    one.call("POST", &cancel).problem(404, "not-found");
    host.receipt_verified(&id(&task));
}

#[test]
fn a_tenant_changes_nothing_that_the_host_goes_by() {
    let host = Host::with_guests();
    let tenant = Tenant::new(&host, "one");
    let mut refused = 0;
    for operation in openapi().operations() {
        let (method, path) = operation.split_once(' ').unwrap();
        if OPEN.contains(&operation.as_str()) || path == "/healthz" || path.starts_with("/log/") {
            continue;
        }
        let method = ["GET", "POST", "PUT", "DELETE"]
            .into_iter()
            .find(|known| *known == method)
            .unwrap();
        let path = path.replace(['{', '}'], "");
        tenant.call(method, &path).problem(403, "forbidden");
        refused += 1;
    }
    assert!(refused >= 20, "{refused}");
}

#[test]
fn a_token_counts_until_there_is_another_or_its_tenant_is_shut_out() {
    let host = Host::with_guests();
    let first = Tenant::new(&host, "one");
    first.call("GET", "/v1/tasks").expect(200);
    let second = Tenant::new(&host, "one");
    first.call("GET", "/v1/tasks").problem(401, "unauthorized");
    second.call("GET", "/v1/tasks").expect(200);
    let list = host.get("/v1/tenants");
    assert_eq!(list["items"][0]["name"], "one");

    host.call("DELETE", "/v1/tenants/one").send().expect(204);
    second.call("GET", "/v1/tasks").problem(401, "unauthorized");
    host.call("DELETE", "/v1/tenants/one")
        .send()
        .problem(404, "not-found");
    assert_eq!(host.get("/v1/tenants")["items"], json!([]));
    for name in ["operator", "One", ""] {
        let answer = host.call("PUT", format!("/v1/tenants/{name}")).send();
        assert!([404, 422].contains(&answer.status), "{name:?}: {answer:?}");
    }

    // What is kept is no token.
    let token = second.authorization.strip_prefix("Bearer ").unwrap();
    let host = Host::on(host.stop());
    for file in std::fs::read_dir(host.data()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes
                    .windows(token.len())
                    .any(|part| part == token.as_bytes()),
                "{path:?}"
            );
        }
    }
}

#[test]
fn a_policy_can_be_bound_to_a_tenant() {
    let host = Host::with_guests();
    let tenant = Tenant::new(&host, "one");
    // result: ok; verdict: deny, with a code and a message.
    let denies = policy(
        "(data (i32.const 1024) \"never\")",
        &says(&[0, 3, 1024, 5, 1024, 5]),
    );
    host.upload_bytes(parse_str(&denies).unwrap()).expect(201);
    host.bind("probe", &json!({}), &json!({"tenant": "one"}));
    assert_eq!(tenant.submit("1", "key")["state"], "denied");
    assert_eq!(host.submit_and_wait(&echo("2"))["state"], "succeeded");
}

#[test]
fn a_tenant_that_floods_is_put_off_and_another_is_served() {
    let prepared = Host::with_guests();
    let limits = json!({"fuel": 1_000_000_000_000_u64, "wall_ms": 600_000});
    prepared.grant("hostile", &json!({"limits": limits}));
    // Of four that run a tenant may have three.
    let host = Host::with(prepared.stop(), &["--running", "4", "--queued", "3"]);
    let (flooding, honest) = (Tenant::new(&host, "flooding"), Tenant::new(&host, "honest"));
    let mut endless = one_step("hostile/loop", &json!({}));
    endless["plan"]["steps"][0]["limits"] = limits;
    let submit = || flooding.ask("POST", "/v1/tasks", &[], Some(&endless));
    let mut taken = Vec::new();
    let refused = loop {
        let answer = submit();
        if answer.status != 201 {
            break answer;
        }
        taken.push(id(&answer.json()));
        assert!(taken.len() <= 9, "{taken:?}");
    };
    refused.problem(429, "busy");
    assert!(refused.header("retry-after").is_some());
    assert!(taken.len() >= 6, "three run and three wait: {taken:?}");

    assert_eq!(honest.submit("1", "key")["state"], "succeeded");

    for task in &taken {
        let cancel = format!("/v1/tasks/{task}/cancel");
        flooding.call("POST", &cancel).expect(200);
        ended(&host, task);
    }
    assert_eq!(flooding.submit("1", "key")["state"], "succeeded");
}
