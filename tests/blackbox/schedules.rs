//! Submissions that the host makes by itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::host::{Database, Host, eventually, on_each_database};
use crate::hosts::Together;
use crate::support::{stepseal, stepseal_in};

/// A pure step.
fn jq() -> Value {
    one_step("jq/filter", &json!({"filter": ".", "document": 1}))
}

fn every_second(overlap: &str) -> Value {
    json!({"cron": "* * * * * *", "overlap": overlap, "submission": jq()})
}

fn put(host: &Client, name: &str, schedule: &Value, status: u16) -> Value {
    host.put(format!("/v1/schedules/{name}"), schedule)
        .expect(status)
        .json()
}

/// The ids of all tasks.
fn tasks(host: &Client) -> Vec<String> {
    let list = host.get("/v1/tasks");
    list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(id)
        .collect()
}

on_each_database! {

fn a_schedule_submits_when_it_is_due_and_says_what_came_of_it(database: Database) {
    let host = Host::with_guests_in(database);
    let data = host.data();
    let data = ["--data", data.to_str().unwrap()];
    let schedule = |arguments: &[&str]| stepseal_in(data[1].as_ref(), &[&["--data", ".", "schedule"], arguments].concat(), jq().to_string().as_bytes());
    let said = schedule(&["put", "often", "-", "--cron", "* * * * * *", "--overlap", "allow"]).expect(0);
    assert!(said.stdout.contains("often is due at 20"), "{said:?}");
    let enough = eventually("three tasks are over", || {
        let list = host.get("/v1/tasks?state=succeeded");
        let done = list["items"].as_array().expect("a list");
        (done.len() >= 3).then(|| done.clone())
    });
    for task in &enough {
        assert_eq!(task["labels"], json!({"stepseal.schedule": "often"}));
        host.receipt_verified(&id(task));
    }
    let shown = host.get("/v1/schedules/often");
    assert_eq!(shown["submission"], jq());
    assert_eq!(shown["last"]["outcome"], "submitted", "{shown:#}");
    assert_eq!(schedule(&["show", "often"]).expect(0).json()["name"], "often");
    let listed = schedule(&["list"]).expect(0).stdout;
    assert!(listed.contains("often") && listed.contains("submitted: 0"), "{listed}");
    schedule(&["remove", "often"]).expect(0);
    schedule(&["remove", "often"]).expect(1).says(&["no schedule often"]);
    assert_eq!(host.get("/v1/schedules")["items"], json!([]));
    let refused = schedule(&["put", "often", "-", "--cron", "0 99 * * *", "--time-zone", "Mars"]);
    refused.expect(1).says(&["/cron", "/time_zone"]);

    // A person is asked, and until somebody answers the next times are left out.
    let mut asks = every_second("skip");
    asks["submission"]["plan"]["steps"][0]["approval"] = "required".into();
    put(&host, "asks", &asks, 201);
    let skipped = eventually("a time is left out", || {
        let last = host.get("/v1/schedules/asks")["last"].clone();
        (last["outcome"] == "skipped").then_some(last)
    });
    let task = id(&json!({"id": skipped["task"]}));
    let asked = host.approval_of(&task);
    host.decide(&asked, "approve", "dana").expect(200);
    host.task_in(&task, "succeeded");
    eventually("the next one is submitted", || {
        let last = host.get("/v1/schedules/asks")["last"].clone();
        (last["task"].is_string() && last["task"] != skipped["task"]).then_some(())
    });
    put(&host, "asks", &every_second("skip"), 200);
}

fn a_schedule_goes_on_after_its_host_was_killed(database: Database) {
    let host = Host::with_guests_in(database);
    put(&host, "often", &every_second("allow"), 201);
    eventually("it was due", || (!tasks(&host).is_empty()).then_some(()));
    let host = Host::on(host.kill());
    let before: BTreeSet<String> = tasks(&host).into_iter().collect();
    let last = host.get("/v1/schedules/often")["last"]["due"].clone();
    eventually("it goes on", || {
        let now = &host.get("/v1/schedules/often")["last"]["due"];
        (*now != last).then_some(())
    });
    host.call("DELETE", "/v1/schedules/often").send().expect(204);
    for task in before.iter().chain(&tasks(&host)) {
        host.task_in(task, "succeeded");
    }
}

}

#[test]
fn a_schedule_goes_on_where_the_host_that_was_told_of_it_is_gone() {
    let together = Together::new();
    let one = together.first(&together.schema.url());
    let two = together.another(&one);
    put(&one, "often", &every_second("allow"), 201);
    eventually("it was due", || (!tasks(&two).is_empty()).then_some(()));
    let shown = two.get("/v1/schedules/often")["last"]["due"].clone();
    one.kill();
    eventually("it is due elsewhere", || {
        (two.get("/v1/schedules/often")["last"]["due"] != shown).then_some(())
    });
    two.call("DELETE", "/v1/schedules/often").send().expect(204);
    for task in tasks(&two) {
        two.task_in(&task, "succeeded");
    }
}

#[test]
fn a_schedule_is_the_operators_and_so_is_its_label() {
    let host = Host::with_guests();
    let data = host.data();
    let added = stepseal(&["--data", data.to_str().unwrap(), "tenant", "add", "t"]).expect(0);
    let bearer = format!("Bearer {}", added.stdout.trim_end());
    for (method, place) in [
        ("GET", "/v1/schedules"),
        ("GET", "/v1/schedules/often"),
        ("PUT", "/v1/schedules/often"),
        ("DELETE", "/v1/schedules/often"),
    ] {
        let call = host.call(method, place).authorization(Some(&bearer));
        let call = match method {
            "PUT" => call.json(&every_second("skip")),
            _ => call,
        };
        call.send().expect(403);
    }
    let mut forged = jq();
    forged["labels"] = json!({"stepseal.schedule": "often"});
    let call = host.call("POST", "/v1/tasks").authorization(Some(&bearer));
    let refused = call.json(&forged).send().expect(422);
    assert_eq!(
        refused.json()["faults"][0]["pointer"],
        "/labels/stepseal.schedule"
    );
    for (wrong, pointer) in [
        (json!({"cron": "* * * * *"}), ""),
        (json!({"cron": 1, "submission": jq()}), "/cron"),
        (
            json!({"cron": "* * * * *", "overlap": "wait", "submission": jq()}),
            "/overlap",
        ),
        (
            json!({"cron": "* * * * *", "submission": forged}),
            "/submission/labels/stepseal.schedule",
        ),
        (
            json!({"cron": "* * * * *", "submission": {"plan": {}}}),
            "/submission/plan/steps",
        ),
    ] {
        let refused = host.put("/v1/schedules/often", &wrong).expect(422);
        assert_eq!(refused.json()["faults"][0]["pointer"], pointer, "{wrong}");
    }
}
