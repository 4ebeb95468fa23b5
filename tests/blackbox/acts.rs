//! What is done to the host is in its log, with who asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stepseal_receipts::record::{Actor, BindingChange, ErasureScope, KeyRole, Kind, Mode, Record};

use crate::host::Host;
use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::support::stepseal;

/// Every record of the log.
fn log(host: &Client) -> Vec<Record> {
    let entries = host
        .call("GET", "/v1/log/entries?from=0")
        .send()
        .expect(200);
    let records = entries.text();
    let records = records.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let payload = entry["envelope"]["payload"].as_str().unwrap();
        Record::parse(&STANDARD.decode(payload).unwrap()).unwrap()
    });
    records.collect()
}

/// Whether a record says that dana asked.
fn is_danas(record: &Record) -> bool {
    let dana = Actor {
        name: "dana".to_owned(),
        role: None,
    };
    record.actor.as_ref() == Some(&dana)
}

#[test]
fn whoever_changes_what_the_host_goes_by_is_in_the_log() {
    let host = Host::empty();
    let data = host.data();
    let cli = |arguments: &[&str]| {
        let who = ["--actor", "dana", "--data", data.to_str().unwrap()];
        stepseal(&[arguments, &who].concat()).expect(0)
    };
    let hostile = host.upload("hostile");
    let policy = host.upload("spending-limit");
    cli(&["plugin", "grant", "hostile", "--bucket", "b"]);
    let settings = r#"{"limits":{}}"#;
    cli(&["policy", "bind", "spending-limit", "--settings", settings]);
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    let bound = host.get("/v1/policies")["items"][0]["id"].clone();
    host.call(
        "DELETE",
        format!("/v1/policies/{}", bound.as_str().unwrap()),
    )
    .header("stepseal-actor", "dana")
    .send()
    .expect(204);
    host.task(&task);

    let records = log(&host);
    let opened = records[0].shard.as_ref().unwrap();
    assert_eq!((records[0].kind, opened.number), (Kind::ShardOpen, 0));
    let of_kind = |kind| {
        let of_kind = records.iter().filter(move |record| record.kind == kind);
        of_kind.collect::<Vec<_>>()
    };
    let added = of_kind(Kind::ComponentAdded).into_iter();
    let added = added.map(|record| record.component.as_ref().unwrap().digest.to_string());
    assert_eq!(added.collect::<Vec<_>>(), [hostile, policy]);

    let [granted] = of_kind(Kind::GrantChanged)[..] else {
        panic!("{records:#?}");
    };
    assert_eq!(granted.plugin.as_deref(), Some("hostile"));
    assert!(is_danas(granted));
    let shown = host.get("/v1/plugins/hostile/grants");
    assert_eq!(granted.grants.unwrap().to_string(), shown["digest"]);

    let [bound, ended] = of_kind(Kind::PolicyChanged)[..] else {
        panic!("{records:#?}");
    };
    for (record, change) in [(bound, BindingChange::Bound), (ended, BindingChange::Ended)] {
        let binding = record.binding.as_ref().unwrap();
        assert_eq!((binding.change, binding.mode), (change, Mode::Enforce));
        assert!(is_danas(record));
    }
    // The set that a change puts in force is the one that tasks are accepted under.
    let accepted = of_kind(Kind::TaskOpen)[0];
    assert_eq!(accepted.policies, bound.policies);
    assert_eq!(accepted.actor, None);
    assert_ne!(ended.policies, bound.policies);
}

#[test]
fn an_erasure_and_a_rotation_say_what_and_why() {
    let host = Host::with_guests();
    let task = id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))));
    host.call(
        "DELETE",
        format!("/v1/tasks/{task}/payloads?basis=contract%207"),
    )
    .header("stepseal-actor", "dana")
    .send()
    .expect(204);
    let dir = host.stop();
    let data = dir.path();
    let rotate = ["keys", "rotate", "record", "--actor", "dana", "--data"];
    stepseal(&[&rotate[..], &[data.to_str().unwrap()]].concat()).expect(0);
    let host = Host::on(dir);
    let records = log(&host);
    let [.., erasure, rotation] = &records[..] else {
        panic!("{records:#?}");
    };
    let erased = erasure.erasure.as_ref().unwrap();
    assert_eq!(
        (erased.scope, erased.basis.as_str(), erased.task.as_deref()),
        (ErasureScope::Payloads, "contract 7", Some(task.as_str()))
    );
    let key = rotation.key.as_ref().unwrap();
    assert_eq!(
        (key.role, key.from_index),
        (KeyRole::Record, Some(records.len() as u64))
    );
    assert!(is_danas(erasure) && is_danas(rotation));
}

#[test]
fn an_actor_that_is_no_name_is_refused_before_anything_is_done() {
    let host = Host::with_guests();
    for actor in ["", "two words", &"x".repeat(256)] {
        host.call("PUT", "/v1/plugins/hostile/grants")
            .header("stepseal-actor", actor)
            .json(&json!({}))
            .send()
            .problem(400, "bad-parameter");
    }
    host.call("GET", "/v1/plugins/hostile/grants")
        .send()
        .problem(404, "not-found");
}
