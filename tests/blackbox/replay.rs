//! Whoever has a receipt and the components runs the steps again and gets the same bytes for the same fuel; whoever was given
//! something else learns it. The same goes for what policies said.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;

use crate::concurrency::{dollars, ledger, transfer};
use crate::host::tasks::{id, one_step};
use crate::host::{Host, guests};
use crate::policies::says;
use crate::support::{Ran, stepseal, stepseal_in};
use crate::wat::{parse_str, policy};

/// What an auditor holds: a receipt, the keys they believe, and components.
pub(crate) struct Auditor {
    temp: tempfile::TempDir,
}

impl Auditor {
    pub(crate) fn new(host: &Host, task: &str, components: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("receipt.json"), host.receipt(task)).unwrap();
        let trust = host.call("GET", "/v1/trust").send().expect(200);
        fs::write(temp.path().join("trust.json"), trust.body).unwrap();
        fs::create_dir(temp.path().join("components")).unwrap();
        for name in components {
            // The name of the file means nothing.
            fs::write(
                temp.path()
                    .join("components")
                    .join(format!("{name}-of-unknown-origin")),
                guests::bytes(name),
            )
            .unwrap();
        }
        Self { temp }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn receipt(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("receipt.json")).unwrap()).unwrap()
    }

    /// Replays a receipt file, verified first or not.
    pub(crate) fn replays(&self, receipt: &Path, verified: bool) -> Ran {
        let (receipt, trust, components) = (
            receipt.to_str().unwrap(),
            self.path("trust.json"),
            self.path("components"),
        );
        let mut arguments = vec![
            "--output",
            "json",
            "replay",
            receipt,
            "--components",
            components.to_str().unwrap(),
        ];
        if verified {
            arguments.extend(["--trust", trust.to_str().unwrap()]);
        }
        stepseal(&arguments)
    }

    /// Replays the receipt with the statement of one of its records changed, which breaks its signature.
    fn replays_forged(&self, entry: usize, forge: impl FnOnce(&Value) -> Value) -> Ran {
        self.replays_changed(|receipt| restate(receipt, entry, forge))
    }

    /// Replays the receipt changed so that it does not verify.
    fn replays_changed(&self, change: impl FnOnce(&mut Value)) -> Ran {
        let mut receipt = self.receipt();
        change(&mut receipt);
        let forged = self.path("forged.json");
        fs::write(&forged, receipt.to_string()).unwrap();
        assert_eq!(
            self.replays(&forged, true).code,
            1,
            "a forged receipt was run"
        );
        self.replays(&forged, false)
    }

    /// Replays the receipt with other calls in the transcript of one of its records, which names the other transcript.
    pub(crate) fn replays_with_calls(
        &self,
        entry: usize,
        change: impl FnOnce(&mut Vec<Value>),
    ) -> Ran {
        // Prefix and salt of a blob.
        const BEFORE: usize = 20 + 32;
        self.replays_changed(|receipt| {
            let mut said = statement(receipt, entry);
            let hostcalls = &mut said["predicate"]["hostcalls"];
            let named = format!("sha256:{}", hostcalls["digest"]["sha256"].as_str().unwrap());
            let blobs = receipt["disclosures"].as_array_mut().unwrap();
            let (at, mut blob) = blobs
                .iter()
                .map(|item| STANDARD.decode(item["blob"].as_str().unwrap()).unwrap())
                .enumerate()
                .find(|(_, blob)| Digest::of(blob).to_string() == named)
                .expect("the transcript is disclosed");
            let mut transcript: Value = serde_json::from_slice(&blob.split_off(BEFORE)).unwrap();
            let calls = transcript["calls"].as_array_mut().unwrap();
            change(calls);
            hostcalls["count"] = json!(calls.len().to_string());
            blob.extend(transcript.to_string().bytes());
            blobs[at] = json!({"blob": STANDARD.encode(&blob)});
            let digest = Digest::of(&blob).to_string();
            hostcalls["digest"] = json!({"sha256": digest.strip_prefix("sha256:").unwrap()});
            restate(receipt, entry, |_| said);
        })
    }
}

/// The statement of one of a receipt's records.
fn statement(receipt: &Value, entry: usize) -> Value {
    let payload = &receipt["entries"][entry]["envelope"]["payload"];
    let statement = STANDARD.decode(payload.as_str().unwrap()).unwrap();
    serde_json::from_slice(&statement).unwrap()
}

/// Changes the statement of one of a receipt's records.
fn restate(receipt: &mut Value, entry: usize, forge: impl FnOnce(&Value) -> Value) {
    let said = statement(receipt, entry);
    let forged = forge(&said);
    assert_ne!(forged, said);
    receipt["entries"][entry]["envelope"]["payload"] = json!(STANDARD.encode(forged.to_string()));
}

/// Expects every one of so many steps to have been the same in everything.
fn expect_same(ran: Ran, steps: usize) -> Value {
    let report = ran.expect(0).json();
    assert_eq!(
        (&report["same"], report["steps"].as_array().unwrap().len()),
        (&json!(true), steps),
        "{report:#}"
    );
    for step in report["steps"].as_array().unwrap() {
        for compared in ["status", "output", "hostcalls", "fuel"] {
            assert_eq!(step[compared]["result"], "same", "{report:#}");
        }
    }
    for verdict in report["verdicts"].as_array().unwrap() {
        for compared in ["verdict", "fuel"] {
            assert_eq!(verdict[compared]["result"], "same", "{report:#}");
        }
    }
    report
}

fn two_filters() -> Value {
    json!({"input": {"numbers": [3, 1, 2], "text": "\u{e9}\u{1f600}"}, "plan": {"steps": [
        {"id": "sort", "uses": "jq/filter", "with": {"filter": ".numbers | sort | {sorted: ., mean: (add / length)}", "document": {"$ref": "#/input"}}},
        {"id": "last", "uses": "jq/filter", "with": {"filter": ".sorted[-1]", "document": {"$ref": "#/steps/sort/output/result"}}}
    ]}})
}

#[test]
fn pure_steps_give_the_same_again_and_on_every_host() {
    let (host, other) = (Host::with_guests(), Host::with_guests());
    let task = host.submit_and_wait(&two_filters());
    assert_eq!(task["steps"][1]["output"]["result"], 3, "{task}");
    let auditor = Auditor::new(&host, &id(&task), &["jq", "ledger"]);
    let report = expect_same(auditor.replays(&auditor.path("receipt.json"), true), 2);
    let elsewhere = other.submit_and_wait(&two_filters());
    for step in [0, 1] {
        let (here, there) = (&task["steps"][step], &elsewhere["steps"][step]);
        assert_eq!(
            (&here["output"], &here["fuel"]),
            (&there["output"], &there["fuel"])
        );
        assert_eq!(here["fuel"], report["steps"][step]["fuel_used"]);
    }
}

#[test]
fn a_transfer_is_replayed_from_its_transcript_though_the_world_has_moved_on() {
    let host = Host::with_guests();
    ledger(&host);
    let task = host.submit_and_wait(&transfer(1));
    assert_eq!(task["state"], "succeeded", "{task}");
    // The same again now would find other balances.
    host.submit_and_wait(&transfer(5));
    let auditor = Auditor::new(&host, &id(&task), &["ledger", "spending-limit"]);
    let report = expect_same(auditor.replays(&auditor.path("receipt.json"), true), 1);
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 1);
}

#[test]
fn the_first_call_that_is_not_the_recorded_one_is_named() {
    // The records of a transfer: opened, authorized, completed, closed.
    const COMPLETED: usize = 2;
    let host = Host::with_guests();
    ledger(&host);
    let task = host.submit_and_wait(&transfer(1));
    let auditor = Auditor::new(&host, &id(&task), &["ledger", "spending-limit"]);
    let calls = statement(&auditor.receipt(), COMPLETED)["predicate"]["hostcalls"]["count"]
        .as_str()
        .unwrap()
        .parse::<usize>()
        .unwrap();
    let differs = |change: &dyn Fn(&mut Vec<Value>), says: [&str; 2]| {
        let ran = auditor.replays_with_calls(COMPLETED, change).expect(1);
        let step = &ran.json()["steps"][0];
        let detail = step["hostcalls"]["detail"].as_str().unwrap_or_default();
        assert_eq!(step["hostcalls"]["result"], "differs", "{step:#}");
        for part in says {
            assert!(detail.contains(part), "{part:?}: {step:#}");
        }
    };
    let question = |calls: &mut Vec<Value>| {
        calls[1]["request"] = json!(Digest::of(b"another question").to_string());
    };
    differs(&question, ["host call 2 differs", "\"bucket\":\"ledger\""]);
    let last = format!("host call {calls} differs");
    differs(
        &|calls| drop(calls.pop()),
        [&last, "was not made in the recorded run"],
    );
    let next = format!("host call {} differs", calls + 1);
    differs(
        &|calls| calls.push(calls[0].clone()),
        [&next, &format!("this run made {calls}")],
    );
    // A transcript that the record does not name is none.
    let unnamed = auditor.replays_changed(|receipt| {
        restate(receipt, COMPLETED, |said| {
            let mut said = said.clone();
            said["predicate"]["hostcalls"]["digest"]["sha256"] = json!("0".repeat(64));
            said
        });
    });
    let unnamed = unnamed.expect(1).json();
    assert_eq!(unnamed["steps"][0]["hostcalls"]["result"], "not-checked");
}

/// A policy that is asked about plans too, allows at the first two stages and has nothing to say at the last.
fn asked_always() -> Vec<u8> {
    let (allow, nothing) = (says(&[0, 1]), says(&[0, 0]));
    let text = policy(
        "",
        &format!(
            "(if (result i32) (i32.eq (local.get $stage) (i32.const 2)) (then {nothing}) (else {allow}))"
        ),
    );
    // The list of stages in its descriptor: how many, and which.
    let all = text.replace(r#"\02\00\00\00\01\02")"#, r#"\03\00\00\00\00\01\02")"#);
    assert_ne!(all, text);
    parse_str(all).unwrap()
}

#[test]
fn policies_are_asked_again_about_plan_and_step_and_one_of_other_bytes_is_caught() {
    let host = Host::with_guests();
    host.upload_bytes(asked_always()).expect(201);
    host.bind("probe", &json!({}), &json!({}));
    let task = host.submit_and_wait(&one_step("hostile/echo", &json!(1)));
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let auditor = Auditor::new(&host, &id(&task), &["hostile"]);
    let receipt = auditor.path("receipt.json");

    let without = auditor.replays(&receipt, true).expect(0).json();
    assert_eq!(without["verdicts"][0]["verdict"]["result"], "not-checked");
    fs::write(auditor.path("components").join("p"), asked_always()).unwrap();
    let report = expect_same(auditor.replays(&receipt, true), 1);
    let stages: Vec<&Value> = report["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| &verdict["stage"])
        .collect();
    assert_eq!(stages, ["plan", "before-step", "after-step"]);

    // The record names the bytes of a policy that denies.
    let deny = says(&[0, 3, 1024, 4, 1028, 13]);
    let texts = "(data (i32.const 1024) \"ugly\") (data (i32.const 1028) \"I saw what it\")";
    let denies = parse_str(policy(texts, &deny)).unwrap();
    let (honest, other) = (Digest::of(&asked_always()), Digest::of(&denies));
    fs::write(auditor.path("components").join("q"), denies).unwrap();
    let hex = |digest: Digest| digest.to_string().replace("sha256:", "");
    let ran = auditor.replays_forged(1, |said| {
        serde_json::from_str(&said.to_string().replace(&hex(honest), &hex(other))).unwrap()
    });
    let report = ran.expect(1).json();
    let before = &report["verdicts"][1];
    assert_eq!(
        before["verdict"]["detail"],
        r#"at verdict the record has "allow", asked again it says "deny""#,
        "{report:#}"
    );
    assert_eq!(before["fuel"]["result"], "differs", "{report:#}");
    assert_eq!(report["steps"][0]["output"]["result"], "same");
}

#[test]
fn a_policy_is_asked_again_with_the_settings_it_had() {
    let host = Host::with_guests();
    host.grant("ledger", &json!({"buckets": ["ledger"]}));
    let limits = json!({"USD": {"approval_above": "10.00", "deny_above": "20.00"}});
    let binding = host.bind(
        "spending-limit",
        &json!({"limits": limits, "spends_nothing": []}),
        &json!({"plugin": "ledger"}),
    );
    let with = json!({"from": "ada", "to": "bob", "amount": dollars(20_01), "currency": "USD"});
    let task = host.submit_and_wait(&one_step("ledger/transfer", &with));
    assert_eq!(task["state"], "denied", "{task:#}");
    // The settings are gone from what is in force.
    host.call("DELETE", format!("/v1/policies/{binding}"))
        .send()
        .expect(204);
    let auditor = Auditor::new(&host, &id(&task), &["spending-limit"]);
    host.receipt_verified(&id(&task));
    let report = expect_same(auditor.replays(&auditor.path("receipt.json"), true), 0);
    assert_eq!(
        report["verdicts"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );

    let hidden = auditor.replays_changed(|receipt| {
        let blobs = receipt["disclosures"].as_array_mut().unwrap();
        blobs.retain(|item| STANDARD.decode(item["blob"].as_str().unwrap()).unwrap()[0] != b'{');
        restate(receipt, 1, |said| {
            let mut said = said.clone();
            said["predicate"]["nonce"] = json!("0".repeat(32));
            said
        });
    });
    let hidden = hidden.expect(1).json();
    let detail = hidden["verdicts"][0]["verdict"]["detail"].as_str().unwrap();
    assert!(detail.contains("settings are not disclosed"), "{hidden:#}");
    let reworded = auditor.replays_forged(1, |said| {
        let mut said = said.clone();
        said["predicate"]["verdicts"][0]["reason"] = json!("I did not like it.");
        said
    });
    let reworded = reworded.expect(1).json();
    let detail = reworded["verdicts"][0]["verdict"]["detail"]
        .as_str()
        .unwrap();
    assert!(
        detail.starts_with("at reason the record has"),
        "{reworded:#}"
    );
}

#[test]
fn components_that_are_not_there_are_fetched_by_digest_and_checked() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&two_filters());
    let auditor = Auditor::new(&host, &id(&task), &[]);
    let receipt = auditor.path("receipt.json");
    let receipt = receipt.to_str().unwrap();
    let bare = ["--output", "json", "replay", receipt];
    let ran = stepseal(&bare).expect(1).json();
    let why = ran["steps"][0]["status"]["detail"].as_str().unwrap();
    assert!(why.contains("--fetch"), "{ran:#}");

    let fetches = |url: &str, token: &str| {
        stepseal(&[&bare[..], &["--fetch", "--url", url, "--token", token]].concat())
    };
    expect_same(fetches(host.url(), host.token()), 2);
    let other = Host::empty();
    let ran = fetches(other.url(), other.token()).expect(1).json();
    assert_eq!(ran["steps"][0]["status"]["result"], "not-checked");
    let liar = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", liar.local_addr().unwrap());
    let lies = std::thread::spawn(move || {
        let (mut client, _) = liar.accept().unwrap();
        let mut request = [0; 4096];
        let _ = client.read(&mut request).unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nother";
        client.write_all(answer.as_bytes()).unwrap();
    });
    fetches(&url, "t").expect(1).says(&["other bytes"]);
    lies.join().unwrap();
    fetches(&url, "t").expect(3);
}

#[test]
fn one_file_with_its_components_is_replayed_where_there_is_nothing_else() {
    let host = Host::with_guests();
    ledger(&host);
    let task = id(&host.submit_and_wait(&transfer(1)));
    let temp = tempfile::tempdir().unwrap();
    let data = host.data();
    let get = |more: &[&str]| {
        let get = ["--data", data.to_str().unwrap(), "receipt", "get", &task];
        stepseal_in(temp.path(), &[&get, more].concat(), b"")
    };
    get(&["--with-payloads", "--with-components"]).expect(0);
    get(&["--no-payloads", "--with-components"]).expect(2);
    fs::write(
        temp.path().join("trust.json"),
        host.call("GET", "/v1/trust").send().expect(200).body,
    )
    .unwrap();
    let receipt = host.receipt(&task);
    host.stop();

    let file = format!("{task}.stepseal.tar");
    let archive = fs::read(temp.path().join(&file)).unwrap();
    // The receipt is in it as it is.
    assert_eq!(archive[512..][..receipt.len()], receipt);
    let alone = |command: &str, file: &str| {
        let arguments = ["--output", "json", command, file, "--trust", "trust.json"];
        stepseal_in(temp.path(), &arguments, b"")
    };
    let report = expect_same(alone("replay", &file), 1);
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 1);
    alone("verify", &file).expect(0);

    fs::write(temp.path().join("cut.tar"), &archive[..archive.len() / 2]).unwrap();
    alone("replay", "cut.tar")
        .expect(1)
        .says(&["cut.tar", "missing"]);
    alone("verify", "cut.tar").expect(1).says(&["cut.tar"]);
    // A component of other bytes is another component.
    let mut changed = archive;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(temp.path().join("changed.tar"), &changed).unwrap();
    let report = alone("replay", "changed.tar").json();
    let results = [
        &report["steps"][0]["status"]["result"],
        &report["verdicts"][0]["verdict"]["result"],
    ];
    assert!(results.contains(&&json!("not-checked")), "{report:#}");
}

#[test]
fn steps_that_fail_and_steps_that_ask_for_time_and_chance_are_replayed_too() {
    let host = Host::with_guests();
    for (step, with) in [
        ("random", json!({"bytes": 64})),
        ("now", json!({})),
        ("sleep", json!({"ms": 1234})),
        ("panic", json!({})),
        ("eat-memory", json!({})),
        ("fail", json!({"kind": "failed", "message": "as told"})),
    ] {
        let task = host.submit_and_wait(&one_step(&format!("hostile/{step}"), &with));
        let auditor = Auditor::new(&host, &id(&task), &["hostile"]);
        let report = auditor
            .replays(&auditor.path("receipt.json"), true)
            .expect(0)
            .json();
        for compared in ["status", "output", "fuel"] {
            assert_eq!(
                report["steps"][0][compared]["result"], "same",
                "{step}: {report:#}"
            );
        }
    }
}

#[test]
fn a_forged_record_is_caught_by_running_the_step_again() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": {"a": 1}}),
    ));
    let auditor = Auditor::new(&host, &id(&task), &["jq"]);
    let fuel = |by: i64| {
        move |statement: &Value| {
            let mut statement = statement.clone();
            let used = &mut statement["predicate"]["fuel"]["used"];
            // Records write 64-bit numbers as texts.
            *used = json!((used.as_str().unwrap().parse::<i64>().unwrap() + by).to_string());
            statement
        }
    };
    for by in [-1, 1] {
        let ran = auditor.replays_forged(1, fuel(by)).expect(1).json();
        assert_eq!(ran["steps"][0]["fuel"]["result"], "differs", "{ran:#}");
        assert_eq!(ran["steps"][0]["output"]["result"], "same", "{ran:#}");
    }
    // The digest stands in the predicate and in the subject.
    let other_output = |statement: &Value| {
        let digest = statement["predicate"]["output"]["digest"].to_string();
        let digest = digest
            .rsplit_once('"')
            .unwrap()
            .0
            .rsplit_once('"')
            .unwrap()
            .1;
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
        serde_json::from_str(&statement.to_string().replace(digest, &"0".repeat(64))).unwrap()
    };
    let ran = auditor.replays_forged(1, other_output).expect(1).json();
    assert_eq!(ran["same"], false, "{ran:#}");
    assert_eq!(
        ran["steps"][0]["output"]["result"], "not-checked",
        "{ran:#}"
    );
}

#[test]
fn other_components_and_other_inputs_prove_nothing() {
    let host = Host::with_guests();
    let task = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": {"a": 1}}),
    ));
    // The right name, other bytes.
    let auditor = Auditor::new(&host, &id(&task), &["ledger"]);
    fs::write(
        auditor.path("components").join("jq.wasm"),
        guests::bytes_with_another_section("jq"),
    )
    .unwrap();
    let ran = auditor
        .replays(&auditor.path("receipt.json"), true)
        .expect(1)
        .json();
    assert_eq!(
        (&ran["same"], &ran["steps"][0]["status"]["result"]),
        (&json!(false), &json!("not-checked")),
        "{ran:#}"
    );
    fs::remove_dir_all(auditor.path("components")).unwrap();
    auditor
        .replays(&auditor.path("receipt.json"), true)
        .expect(1)
        .says(&["components"]);

    let auditor = Auditor::new(&host, &id(&task), &["jq"]);
    let bare = host
        .call(
            "GET",
            format!("/v1/tasks/{}/receipt?payloads=false", id(&task)),
        )
        .send()
        .expect(200);
    fs::write(auditor.path("bare.json"), bare.body).unwrap();
    let ran = auditor
        .replays(&auditor.path("bare.json"), true)
        .expect(1)
        .json();
    assert_eq!(
        ran["steps"][0]["status"]["result"], "not-checked",
        "{ran:#}"
    );
}
