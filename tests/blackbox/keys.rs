//! Keys that take the place of others, storage that is older than what was signed, and logs that continue one another.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{Check, Report};

use crate::concurrency::{balance, ledger};
use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, believes, verify};
use crate::support::{Ran, stepseal};

fn on(data: &Path, arguments: &[&str]) -> Ran {
    stepseal(&[arguments, &["--data", data.to_str().unwrap()]].concat())
}

/// The ids of the keys of a role that count, the one in use last.
fn counting(data: &Path, role: &str) -> Vec<String> {
    let shown = on(data, &["keys", "show", "--output", "json"]);
    let keys = shown.expect(0).json();
    let keys = keys["items"].as_array().unwrap().iter();
    keys.filter(|key| key["role"] == role && key["to_index"] == Value::Null)
        .map(id)
        .collect()
}

fn echo(host: &Host) -> String {
    id(&host.submit_and_wait(&one_step("hostile/echo", &json!(1))))
}

/// Whether signatures are all that is wrong.
#[track_caller]
fn assert_unsigned(report: &Report) {
    let wrong = report.faults.iter().map(|fault| fault.check);
    assert!(wrong.eq([Check::Signatures]), "{:#?}", report.faults);
}

#[test]
fn a_record_key_is_rotated_and_revoked_and_what_it_signed_stays_believed() {
    let host = Host::with_guests();
    let before = echo(&host);
    let old_trust = believes(&host);
    let dir = host.stop();
    let old = counting(&dir.path(), "record");
    on(
        &dir.path(),
        &["keys", "rotate", "record", "--actor", "dana"],
    )
    .expect(0);

    let host = Host::on(dir);
    let after = echo(&host);
    let (first, second) = (host.receipt(&before), host.receipt(&after));
    assert!(verify(&first, &old_trust).passed());
    assert!(
        !verify(&second, &old_trust).passed(),
        "the key is not known there"
    );
    for receipt in [&first, &second] {
        assert!(verify(receipt, &believes(&host)).passed());
    }

    let dir = host.stop();
    let keys = counting(&dir.path(), "record");
    assert_eq!((keys.len(), &keys[0]), (2, &old[0]));
    on(&dir.path(), &["keys", "revoke", &keys[1]])
        .expect(1)
        .says(&["keys rotate record"]);
    on(&dir.path(), &["keys", "revoke", &keys[0]]).expect(0);
    on(&dir.path(), &["keys", "revoke", &keys[0]]).expect(1);
    assert_eq!(counting(&dir.path(), "record"), keys[1..]);
    let host = Host::on(dir);
    echo(&host);
    for task in [&before, &after] {
        host.receipt_verified(task);
    }
    // Its range ends: what it would sign from here on is nobody's.
    let ended = believes(&host).records[0].to_index;
    let later = TrustFile {
        records: vec![believes(&host).records[0].clone()],
        ..believes(&host)
    };
    assert!(ended.is_some());
    assert!(verify(&first, &later).passed() && !verify(&second, &later).passed());
}

#[test]
fn heads_are_signed_by_both_log_keys_until_the_old_one_is_revoked() {
    let host = Host::with_guests();
    let task = echo(&host);
    let (old_trust, early) = (believes(&host), host.receipt(&task));
    let dir = host.stop();
    on(&dir.path(), &["keys", "rotate", "log"]).expect(0);
    on(&dir.path(), &["keys", "rotate", "log"])
        .expect(1)
        .says(&["revoke the key"]);
    let host = Host::on(dir);
    let overlap = host.receipt(&task);
    let new_trust = believes(&host);
    assert!(verify(&overlap, &old_trust).passed());
    assert!(verify(&overlap, &new_trust).passed());

    let dir = host.stop();
    assert!(dir.path().join("keys/log.before.pem").exists());
    let keys = counting(&dir.path(), "log");
    on(&dir.path(), &["keys", "revoke", &keys[0]]).expect(0);
    assert!(!dir.path().join("keys/log.before.pem").exists());
    let host = Host::on(dir);
    host.receipt_verified(&task);
    assert_unsigned(&verify(&host.receipt(&task), &old_trust));
    assert_unsigned(&verify(&early, &believes(&host)));
    assert!(verify(&overlap, &believes(&host)).passed());
}

#[test]
fn keys_can_be_made_before_the_first_start_and_are_the_hosts() {
    let dir = DataDir::fresh();
    let made = [
        "keys",
        "init",
        "--origin",
        "example.org/payments",
        "--output",
        "json",
    ];
    let made = on(&dir.path(), &made).expect(0).json();
    on(&dir.path(), &["keys", "init"])
        .expect(2)
        .says(&["already"]);
    let trust = on(&dir.path(), &["keys", "trust"]).expect(0).stdout;
    let host = Host::on(dir);
    let served = believes(&host);
    assert_eq!(served.origin, "example.org/payments");
    assert_eq!(TrustFile::parse(trust.as_bytes()).unwrap(), served);
    let ids = made["items"].as_array().unwrap().iter().map(id);
    let mut expected = vec![served.log[0].key().id().to_string()];
    expected.push(served.records[0].key.id().to_string());
    assert_eq!(ids.collect::<Vec<_>>(), expected);
}

#[test]
fn a_trust_file_that_a_root_key_signed_is_believed_wherever_it_comes_from() {
    let host = Host::with_guests();
    let task = echo(&host);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("a.stepseal.json"), host.receipt(&task)).unwrap();
    let root = |name: &str| {
        let made = stepseal(&["keys", "root", "init", "--out", &at(name)]);
        made.expect(0).stdout.trim().to_owned()
    };
    let (spki, other) = (root("root.pem"), root("other.pem"));
    let sign = |from: &[&str], key: &str, out: &str| {
        let signed = ["keys", "trust", "--sign", &at(key), "--out", &at(out)];
        on(&host.data(), &[&signed[..], from].concat()).expect(0);
    };
    sign(&[], "root.pem", "old.json");
    let old = TrustFile::parse(&fs::read(at("old.json")).unwrap()).unwrap();
    assert_eq!(old.root[0].spki_base64(), spki);
    sign(
        &["--from", &at("old.json"), "--root", &other],
        "root.pem",
        "new.json",
    );
    sign(&["--from", &at("old.json")], "other.pem", "others.json");
    let verified = |trust: &str, root: &str| {
        let (receipt, trust) = (at("a.stepseal.json"), at(trust));
        stepseal(&["verify", &receipt, "--trust", &trust, "--trust-root", root])
    };
    for root in [&spki, &at("old.json"), &at("new.json")] {
        verified("new.json", root).expect(0);
    }
    for root in [&spki, &at("old.json")] {
        verified("others.json", root)
            .expect(1)
            .says(&["is not believed", "root key"]);
    }
    // Who was named as the next one vouches too.
    verified("others.json", &at("new.json")).expect(0);

    let mut changed = fs::read(at("new.json")).unwrap();
    changed.push(b'\n');
    fs::write(at("new.json"), changed).unwrap();
    verified("new.json", &spki)
        .expect(1)
        .says(&["is not believed"]);
    fs::remove_file(at("new.json.sig")).unwrap();
    verified("new.json", &spki)
        .expect(1)
        .says(&["new.json.sig"]);
    fs::write(
        at("bare.json"),
        serde_json::to_vec(&host.get("/v1/trust")).unwrap(),
    )
    .unwrap();
    verified("others.json", &at("bare.json"))
        .expect(2)
        .says(&["lists no root key"]);
}

/// A data directory whose database was put back to what it was before the log signed its last head.
fn restored() -> DataDir {
    let host = Host::with_guests();
    ledger(&host);
    let yearly = json!({"cron": "0 0 1 1 *", "submission": one_step("jq/filter", &json!({"filter": ".", "document": 1}))});
    host.put("/v1/schedules/yearly", &yearly).expect(201);
    let dir = host.stop();
    let database = dir.path().join("stepseal.db");
    let backup = fs::read(&database).unwrap();
    let host = Host::on(dir);
    host.receipt_verified(&echo(&host));
    let dir = host.stop();
    fs::write(&database, backup).unwrap();
    dir
}

#[test]
fn a_database_that_is_older_than_what_was_signed_is_not_served() {
    let dir = restored();
    let data = dir.path();
    let before = fs::read(data.join("stepseal.db")).unwrap();
    on(&data, &["serve", "--listen", "127.0.0.1:0"])
        .expect(1)
        .says(&["older copy", "fork", "stepseal log open-shard"]);
    assert_eq!(fs::read(data.join("stepseal.db")).unwrap(), before);
    // A head nobody signed is no way around it.
    fs::write(data.join("head"), "stepseal.local/0\n0\n\n").unwrap();
    on(&data, &["serve", "--listen", "127.0.0.1:0"])
        .expect(1)
        .says(&["is no head that this log signed"]);
}

#[test]
fn a_new_log_continues_one_whose_newest_database_is_lost() {
    let old = restored();
    let new = DataDir::fresh();
    let into = new.path();
    let into = into.to_str().unwrap();
    let opened = on(
        &old.path(),
        &[
            "log",
            "open-shard",
            "--into",
            into,
            "--origin",
            "example.org/two",
            "--output",
            "json",
        ],
    );
    let opened = opened.expect(0).json();
    assert_eq!(opened["components"], 4);
    assert_eq!(opened["buckets"], 1);
    assert_eq!(opened["schedules"], 1);
    on(&old.path(), &["log", "open-shard", "--into", into])
        .expect(2)
        .says(&["is there already"]);

    let host = Host::on(new);
    assert_eq!(believes(&host).origin, "example.org/two");
    assert_eq!(balance(&host, "ada"), 50_00);
    let yearly = host.get("/v1/schedules/yearly");
    assert!(
        yearly["next"].is_string() && yearly["last"].is_null(),
        "{yearly}"
    );
    let listed = host.get("/v1/tasks");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    host.receipt_verified(&echo(&host));
}
