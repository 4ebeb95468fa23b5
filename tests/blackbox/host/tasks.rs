//! What tests do with a host, in words.

use serde_json::{Value, json};

use super::client::Client;
use super::{eventually, guests};
use crate::wat::{parse_str, policy};

/// What `Prefer` asks for where a test waits: as long as a host waits at most.
const WAIT: &str = "wait=60";

impl Client {
    /// Uploads a built component and gives its digest.
    #[track_caller]
    pub(crate) fn upload(&self, guest: &str) -> String {
        self.upload_bytes(guests::bytes(guest)).expect(201).json()["digest"]
            .as_str()
            .expect("a digest")
            .to_owned()
    }

    /// Sends these bytes as a component.
    pub(crate) fn upload_bytes(&self, bytes: Vec<u8>) -> super::client::Answer {
        self.call("POST", "/v1/components")
            .body("application/wasm", bytes)
            .send()
    }

    /// The digest of the uploaded component of this name.
    #[track_caller]
    pub(crate) fn digest(&self, name: &str) -> String {
        let components = self.get("/v1/components");
        let found = components["items"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|component| component["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))["digest"]
            .as_str()
            .expect("a digest")
            .to_owned()
    }

    /// Grants a plugin what the document says.
    #[track_caller]
    pub(crate) fn grant(&self, plugin: &str, document: &Value) -> Value {
        self.put(format!("/v1/plugins/{plugin}/grants"), document)
            .expect(200)
            .json()
    }

    /// Binds the policy of this name and gives the id of the binding. `scope` says where it applies.
    #[track_caller]
    pub(crate) fn bind(&self, policy: &str, settings: &Value, scope: &Value) -> String {
        let binding =
            json!({"component": self.digest(policy), "settings": settings, "scope": scope});
        self.post("/v1/policies", &binding).expect(201).json()["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Submits a task without waiting, and gives it as it was accepted.
    #[track_caller]
    pub(crate) fn submit(&self, submission: &Value) -> Value {
        self.post("/v1/tasks", submission).expect(201).json()
    }

    /// Submits a task and gives it when it is over or waits for a person.
    #[track_caller]
    pub(crate) fn submit_and_wait(&self, submission: &Value) -> Value {
        let answer = self
            .call("POST", "/v1/tasks")
            .header("prefer", WAIT)
            .json(submission)
            .send()
            .expect(201);
        assert_eq!(answer.header("preference-applied"), Some("wait"));
        let task = answer.json();
        assert!(rests(&task), "the host did not wait: {task:#}");
        task
    }

    /// The task as it is now.
    pub(crate) fn task(&self, id: &str) -> Value {
        self.get(format!("/v1/tasks/{id}"))
    }

    /// The task once it is in this state.
    #[track_caller]
    pub(crate) fn task_in(&self, id: &str, state: &str) -> Value {
        eventually(&format!("task {id} is {state}"), || {
            let task = self.task(id);
            assert!(
                !is_final(&task) || task["state"] == state,
                "task {id} will never be {state}: {task:#}"
            );
            (task["state"] == state).then_some(task)
        })
    }

    /// The open approval a task waits for, with everything an approver is shown.
    #[track_caller]
    pub(crate) fn approval_of(&self, task: &str) -> Value {
        let id = eventually(&format!("task {task} waits for a person"), || {
            let open = self.get(format!("/v1/approvals?state=open&task={task}"));
            open["items"][0]["id"].as_str().map(str::to_owned)
        });
        self.get(format!("/v1/approvals/{id}"))
    }

    /// Decides about an approval as it was shown.
    pub(crate) fn decide(
        &self,
        approval: &Value,
        decision: &str,
        approver: &str,
    ) -> super::client::Answer {
        let id = approval["id"].as_str().expect("an approval has an id");
        let decision =
            json!({"decision": decision, "subject": approval["subject"], "approver": approver});
        self.post(format!("/v1/approvals/{id}"), &decision)
    }
}

/// Binds a policy that allows every step within `scope`.
pub(crate) fn allow_everything(host: &Client, scope: &Value) {
    // The words of a result: ok, allow.
    let text = policy(
        "",
        "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 1)) (i32.const 16)",
    );
    let bytes = parse_str(text).expect("the text is a component");
    let component = host.upload_bytes(bytes).expect(201).json()["digest"].clone();
    host.post(
        "/v1/policies",
        &json!({"component": component, "scope": scope}),
    )
    .expect(201);
}

/// The id of a task, an approval or a policy binding.
#[track_caller]
pub(crate) fn id(of: &Value) -> String {
    of["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id: {of:#}"))
        .to_owned()
}

/// A submission of one step.
pub(crate) fn one_step(uses: &str, with: &Value) -> Value {
    json!({"plan": {"steps": [{"id": "only", "uses": uses, "with": with}]}})
}

/// Whether nothing more happens to a task by itself.
fn rests(task: &Value) -> bool {
    is_final(task) || task["state"] == "waiting"
}

fn is_final(task: &Value) -> bool {
    ["succeeded", "failed", "denied", "cancelled"]
        .iter()
        .any(|state| task["state"] == *state)
}
