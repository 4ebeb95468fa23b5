//! The command line against a live host: what it does, what it prints for programs, its exit codes, and what it says where it cannot.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::tasks::{id, one_step};
use crate::host::{Host, OPENAPI, guests};
use crate::support::{Ran, allow, stepseal, stepseal_in};

/// A person at a host's machine, in a directory of their own.
struct Person {
    host: Host,
    temp: tempfile::TempDir,
}

impl Person {
    fn at(host: Host) -> Self {
        Self {
            host,
            temp: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs the program with the host's data directory.
    fn types(&self, arguments: &[&str]) -> Ran {
        self.pipes(arguments, "")
    }

    /// The same with this on stdin.
    fn pipes(&self, arguments: &[&str], stdin: &str) -> Ran {
        let data = self.host.data();
        let arguments = [&["--data", data.to_str().unwrap()], arguments].concat();
        stepseal_in(self.temp.path(), &arguments, stdin.as_bytes())
    }

    /// What a command that must succeed prints for programs.
    #[track_caller]
    fn asks(&self, arguments: &[&str]) -> Value {
        self.types(&[&["--output", "json"], arguments].concat())
            .expect(0)
            .json()
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Submits a task and gives its id.
    #[track_caller]
    fn submits(&self, submission: &Value) -> String {
        let arguments = ["--output", "json", "task", "submit", "-", "--wait", "60"];
        let ran = self.pipes(&arguments, &submission.to_string());
        id(&ran.json())
    }
}

fn guest(name: &str) -> String {
    guests::path(name).to_str().unwrap().to_owned()
}

fn jq(filter: &str, document: &Value) -> Value {
    one_step(
        "jq/filter",
        &json!({"filter": filter, "document": document}),
    )
}

/// A transfer that waits for a person.
fn transfer() -> Value {
    let with = json!({"from": "ada", "to": "bob", "amount": "1.00", "currency": "USD"});
    let mut submission = one_step("ledger/transfer", &with);
    submission["agent"] = json!("agent-7");
    submission["plan"]["steps"][0]["approval"] = json!("required");
    submission
}

#[test]
fn a_task_goes_from_upload_to_verified_receipt() {
    let person = Person::at(Host::empty());
    let pushed = person.asks(&["plugin", "push", &guest("jq")]);
    assert_eq!(
        (pushed["kind"].as_str(), pushed["name"].as_str()),
        (Some("plugin"), Some("jq"))
    );
    let again = person.types(&["plugin", "push", &guest("jq")]).expect(0);
    assert!(again.stdout.contains("it was there already"), "{again:?}");
    let listed = person.asks(&["plugin", "list"]);
    assert_eq!(listed["items"][0]["digest"], pushed["digest"]);
    let checked = stepseal(&["--output", "json", "plugin", "check", &guest("jq")])
        .expect(0)
        .json();
    assert_eq!(checked["digest"], pushed["digest"]);

    person.file("plan.json", &jq(".[1]", &json!([1, "two"])).to_string());
    let plan = person.asks(&["task", "submit", "plan.json", "--check"]);
    assert_eq!(plan["verdict"], "allow", "{plan}");
    let task = person.asks(&["task", "submit", "plan.json", "--wait", "60", "--key", "k1"]);
    assert_eq!(task["steps"][0]["output"]["result"], "two", "{task}");
    let again = person
        .types(&["task", "submit", "plan.json", "--key", "k1"])
        .expect(0)
        .says(&["used before"]);
    assert!(again.stdout.contains(&id(&task)), "{again:?}");
    let id = id(&task);
    assert_eq!(person.asks(&["task", "show", &id]), task);
    assert_eq!(
        person.asks(&["task", "list", "--state", "succeeded"])["items"][0]["id"],
        id
    );
    assert_eq!(
        person.asks(&["task", "list", "--state", "failed"])["items"],
        json!([])
    );
    let watched = person
        .types(&["--output", "json", "task", "watch", &id])
        .expect(0);
    let kinds: Vec<Value> = watched
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(
        (kinds.first(), kinds.last()),
        (
            Some(&json!("task.accepted")),
            Some(&json!("task.succeeded"))
        )
    );

    person
        .types(&["keys", "trust", "--out", "trust.json"])
        .expect(0);
    let receipt = format!("{id}.stepseal.json");
    person.types(&["receipt", "get", &id]).expect(0);
    person
        .types(&["receipt", "get", &id])
        .expect(1)
        .says(&[&receipt, "--force"]);
    person.types(&["receipt", "get", &id, "--force"]).expect(0);
    person
        .types(&["receipt", "get", &id, "--no-payloads", "--out", "bare.json"])
        .expect(0);
    let verified = person.asks(&["verify", &receipt, "bare.json", "--trust", "trust.json"]);
    assert!(
        verified["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["passed"] == true),
        "{verified}"
    );
    assert_eq!(verified["items"][0]["verdicts"]["disclosure"], "pass");
    assert_eq!(
        verified["items"][1]["verdicts"]["disclosure"],
        "not-checked"
    );

    let doctor = person.types(&["doctor"]).expect(0);
    assert!(doctor.stdout.contains("is ready for tasks"), "{doctor:?}");
}

/// A person with a task's receipt in `all.json`, the same without payloads in `bare.json`, and `trust.json`.
fn with_a_receipt() -> Person {
    let person = Person::at(Host::empty());
    person.types(&["plugin", "push", &guest("jq")]).expect(0);
    let task = person.submits(&jq(".", &json!(1)));
    let get = ["receipt", "get", &task, "--out"];
    person.types(&[&get[..], &["all.json"]].concat()).expect(0);
    person
        .types(&[&get[..], &["bare.json", "--no-payloads"]].concat())
        .expect(0);
    person
        .types(&["keys", "trust", "--out", "trust.json"])
        .expect(0);
    person
}

#[test]
fn a_receipt_goes_to_other_tools_and_comes_back() {
    let person = with_a_receipt();
    // From here on nobody needs a host.
    let run = |arguments: &[&str]| stepseal_in(person.temp.path(), arguments, b"");
    let file = |name: &str| fs::read_to_string(person.temp.path().join(name)).unwrap();
    let bare: Value = serde_json::from_str(&file("bare.json")).unwrap();
    let first = bare["entries"][0]["index"].as_str().unwrap();
    for (format, extension) in [
        ("tlog-proof", "tlog-proof"),
        ("sigstore-bundle", "sigstore.json"),
    ] {
        let export = |more: &[&str]| {
            let all = ["--output", "json", "receipt", "export", "all.json"];
            let rest = ["--trust", "trust.json", "--format", format];
            run(&[&all[..], &rest, more].concat())
        };
        let written = export(&["--out", format]).expect(0).json();
        let written: Vec<&str> = written["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(written.len(), 3);
        assert_eq!(written[0], format!("{format}/{first}.{extension}"));
        export(&["--out", format]).expect(1).says(&["--force"]);
        export(&[]).expect(2).says(&["--out", "--record"]);
        export(&["--record", "777"])
            .expect(1)
            .says(&["no record at index 777"]);
        assert_eq!(
            export(&["--record", first]).expect(0).stdout,
            file(written[0])
        );

        let import = [
            &["receipt", "import"],
            &written[..],
            &["--out", "back.json", "--force"],
        ];
        run(&import.concat()).expect(0);
        assert_eq!(file("back.json"), file("bare.json"));
        run(&["verify", "back.json", "--trust", "trust.json"]).expect(0);
    }
}

#[test]
fn what_cannot_go_to_other_tools_or_come_back_says_so() {
    let person = with_a_receipt();
    let run = |arguments: &[&str]| stepseal_in(person.temp.path(), arguments, b"");
    let export = |format, out| {
        run(&[
            "receipt", "export", "all.json", "--format", format, "--out", out,
        ])
    };
    export("sigstore-bundle", "x").expect(2).says(&["--trust"]);
    export("dsse-jsonl", "task.jsonl").expect(0);
    let proofs = export("tlog-proof", "proofs").expect(0);
    let first = proofs.stdout.lines().next().unwrap();
    let import = |files: &[&str]| run(&[&["receipt", "import"], files].concat()).expect(1);
    import(&["task.jsonl"]).says(&["task.jsonl", "ask the host"]);
    import(&[first, first]).says(&["two proofs for index"]);
    person.file("large", &"x".repeat(600 << 10));
    import(&["large"]).says(&["larger than"]);

    let keys = |format| {
        let keys = run(&["keys", "trust", "--from", "trust.json", "--format", format]);
        keys.expect(0).json()
    };
    assert_eq!(
        keys("sigstore-trusted-root")["tlogs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(keys("sigstore-keys").as_object().unwrap().len(), 1);
    let trust = fs::read_to_string(person.temp.path().join("trust.json")).unwrap();
    assert_eq!(
        keys("stepseal"),
        serde_json::from_str::<Value>(&trust).unwrap()
    );
}

/// A change of a receipt.
type Change = fn(&mut Value);

#[test]
fn a_receipt_that_was_changed_is_not_verified() {
    let person = Person::at(Host::with_guests());
    let id = person.submits(&jq(".", &json!("the text that is changed")));
    person
        .types(&["receipt", "get", &id, "--out", "r.json"])
        .expect(0);
    person
        .types(&["keys", "trust", "--out", "trust.json"])
        .expect(0);
    let receipt: Value =
        serde_json::from_str(&fs::read_to_string(person.temp.path().join("r.json")).unwrap())
            .unwrap();
    let forgeries: [(&str, Change); 4] = [
        ("signatures", |r| {
            change(&mut r["entries"][1]["envelope"]["payload"]);
        }),
        ("inclusion", |r| change(&mut r["entries"][1]["proof"][0])),
        ("completeness", |r| {
            r["entries"].as_array_mut().unwrap().pop();
        }),
        ("disclosure", |r| change(&mut r["disclosures"][0]["blob"])),
    ];
    for (check, change) in forgeries {
        let mut changed = receipt.clone();
        change(&mut changed);
        assert_ne!(changed, receipt, "{check}");
        person.file("changed.json", &changed.to_string());
        let ran = person
            .types(&[
                "--output",
                "json",
                "verify",
                "changed.json",
                "--trust",
                "trust.json",
            ])
            .expect(1);
        let item = &ran.json()["items"][0];
        assert_eq!(item["passed"], false);
        assert!(
            item["faults"]
                .as_array()
                .unwrap()
                .iter()
                .any(|fault| fault["check"] == check),
            "{check}: {item:#}"
        );
    }
    // Under the keys of another host nothing of it holds.
    let other = Person::at(Host::empty());
    other
        .types(&["keys", "trust", "--out", "trust.json"])
        .expect(0);
    let trust = other.temp.path().join("trust.json");
    let ran = person
        .types(&["verify", "r.json", "--trust", trust.to_str().unwrap()])
        .expect(1);
    assert!(ran.stdout.contains("NOT VERIFIED"), "{ran:?}");
}

/// Changes one character of a base64 text in the middle of it.
fn change(text: &mut Value) {
    let old = text.as_str().unwrap();
    let at = old.len() / 2;
    let new = if &old[at..=at] == "A" { "B" } else { "A" };
    *text = json!(format!("{}{new}{}", &old[..at], &old[at + 1..]));
}

#[test]
fn policies_and_grants_are_put_in_force_and_listed() {
    let person = Person::at(Host::empty());
    person
        .types(&["plugin", "push", &guest("ledger")])
        .expect(0);
    let pushed = person.asks(&["policy", "push", &guest("spending-limit")]);
    let wrong = person
        .types(&["plugin", "push", &guest("spending-limit")])
        .expect(0);
    wrong.says(&["stepseal policy push"]);
    let settings = json!({"limits": {"USD": {"approval_above": "5.00", "deny_above": "10.00"}}});
    person.file("settings.json", &settings.to_string());
    let bound = person.asks(&[
        "policy",
        "bind",
        "spending-limit",
        "--plugin",
        "ledger",
        "--settings",
        "@settings.json",
    ]);
    assert_eq!(
        (&bound["component"], &bound["settings"]),
        (&pushed["digest"], &settings),
        "{bound}"
    );
    assert_eq!(person.asks(&["policy", "list"])["items"], json!([bound]));
    let granted = person.asks(&[
        "plugin", "grant", "ledger", "--bucket", "ledger", "--fuel", "1000000",
    ]);
    assert_eq!(
        granted["document"],
        json!({"buckets": ["ledger"], "limits": {"fuel": 1_000_000}})
    );
    let listed = person.types(&["plugin", "list"]).expect(0);
    assert!(
        listed.stdout.contains("open-account") && listed.stdout.contains("ledger"),
        "{listed:?}"
    );
    person.types(&["policy", "unbind", &id(&bound)]).expect(0);
    assert_eq!(person.asks(&["policy", "list"])["items"], json!([]));
    person
        .types(&["policy", "unbind", &id(&bound)])
        .expect(1)
        .says(&["404"]);
}

#[test]
fn a_person_decides_about_exactly_what_they_saw() {
    let person = Person::at(Host::with_guests());
    person.host.grant("ledger", &json!({"buckets": ["ledger"]}));
    allow(&person.host, "ledger", &["open-account", "balance"]);
    for account in ["ada", "bob"] {
        let opening = json!({"account": account, "currency": "USD", "opening_balance": "5.00"});
        person.submits(&one_step("ledger/open-account", &opening));
    }
    let task = person.submits(&transfer());
    person.types(&["task", "show", &task]).expect(0);
    let open = person.asks(&["approval", "list"]);
    let approval = id(&open["items"][0]);
    let shown = person.types(&["approval", "show", &approval]).expect(0);
    for part in ["ledger@", "transfer", "agent-7", "1.00", "USD", &task] {
        assert!(
            shown.stdout.contains(part),
            "{part} is not shown: {}",
            shown.stdout
        );
    }
    let subject = open["items"][0]["subject"].as_str().unwrap();

    let decide = |verb: &str, who: &str, more: &[&str]| {
        person.types(&[&["approval", verb, &approval, "--as", who], more].concat())
    };
    // Nobody is at a terminal, and nobody said what they saw.
    decide("approve", "dana", &[])
        .expect(2)
        .says(&["--subject"]);
    let other = format!("sha256:{}", "0".repeat(64));
    decide("approve", "dana", &["--subject", &other])
        .expect(1)
        .says(&["409", "stepseal approval show"]);
    decide("approve", "dana", &["--subject", "sha256:12"]).expect(2);
    decide("approve", "agent-7", &["--subject", subject])
        .expect(1)
        .says(&["403", "agent-7"]);
    let approved = decide("approve", "dana", &["--subject", subject]).expect(0);
    assert!(approved.stdout.contains("is approved"), "{approved:?}");
    decide("reject", "eve", &["--subject", subject])
        .expect(1)
        .says(&["409", "already"]);
    person.types(&["task", "watch", &task]).expect(0);

    let task = person.submits(&transfer());
    let open = person.asks(&["approval", "list", "--task", &task]);
    let (approval, subject) = (
        id(&open["items"][0]),
        open["items"][0]["subject"].as_str().unwrap(),
    );
    let no = [
        "approval",
        "reject",
        &approval,
        "--as",
        "dana",
        "--comment",
        "no such supplier",
        "--subject",
        subject,
    ];
    person.types(&no).expect(0);
    // The answer to "did it succeed" is no.
    person.types(&["task", "watch", &task]).expect(1);
    let shown = person.types(&["task", "show", &task]).expect(1);
    assert!(
        shown.stdout.contains("denied") && shown.stdout.contains("no such supplier"),
        "{shown:?}"
    );
    assert_eq!(
        person.asks(&["approval", "list", "--state", "rejected"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        person.asks(&["approval", "list", "--state", "all"])["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_task_that_waits_is_cancelled_once() {
    let person = Person::at(Host::with_guests());
    let mut submission = jq(".", &json!(1));
    submission["plan"]["steps"][0]["approval"] = json!("required");
    let task = person.submits(&submission);
    assert_eq!(person.asks(&["task", "cancel", &task])["id"], task);
    // It is asked to stop, which takes a moment.
    person.types(&["task", "watch", &task]).expect(1);
    let shown = person.types(&["task", "show", &task]).expect(1);
    assert!(shown.stdout.contains("cancelled"), "{shown:?}");
    person
        .types(&["task", "cancel", &task])
        .expect(1)
        .says(&["409", "cancelled"]);
}

#[test]
fn a_task_that_fails_is_answered_with_no() {
    let person = Person::at(Host::with_guests());
    person.file(
        "fails.json",
        &jq("error(\"the filter says no\")", &json!(1)).to_string(),
    );
    let waited = person
        .types(&["task", "submit", "fails.json", "--wait", "60"])
        .expect(1);
    assert!(waited.stdout.contains("the filter says no"), "{waited:?}");
    person
        .types(&["task", "submit", "fails.json", "--watch"])
        .expect(1);
    // Without waiting, the submission itself is what was asked for.
    person.types(&["task", "submit", "fails.json"]).expect(0);
}

/// The id of no task and no approval.
const UNKNOWN: &str = "0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e";

/// Command lines that cannot be done, how each ends, and what it says.
const WRONG: &[(&[&str], i32, &[&str])] = &[
    (
        &["task", "submit", "nowhere.json"],
        1,
        &["nowhere.json", "No such file"],
    ),
    (
        &["task", "submit", "broken.json"],
        1,
        &["broken.json", "line 2"],
    ),
    (
        &["task", "submit", "twice.json"],
        1,
        &["twice.json", "plan"],
    ),
    (
        &["task", "submit", "faulty.json"],
        1,
        &[
            "422",
            "/colour",
            "/plan/steps/0/uses",
            "/plan/steps/1/uses",
            "/plan/steps/1/id",
        ],
    ),
    (
        &["task", "submit", "faulty.json", "--check"],
        1,
        &["/colour"],
    ),
    (
        &["task", "submit", "faulty.json", "--wait", "61"],
        2,
        &["--wait"],
    ),
    (&["task", "show", UNKNOWN], 1, &["404", UNKNOWN]),
    (&["task", "watch", UNKNOWN], 1, &["404", UNKNOWN]),
    (&["task", "cancel", UNKNOWN], 1, &["404", UNKNOWN]),
    (&["task", "list", "--state", "asleep"], 1, &["400", "state"]),
    (&["task", "list", "--limit", "0"], 1, &["400", "limit"]),
    (&["receipt", "get", UNKNOWN], 1, &["404", UNKNOWN]),
    (&["receipt", "get", "../../etc/passwd"], 1, &["404"]),
    (&["approval", "show", UNKNOWN], 1, &["404", UNKNOWN]),
    (&["plugin", "push", "text.wasm"], 1, &["422"]),
    (&["plugin", "push", "nowhere.wasm"], 1, &["nowhere.wasm"]),
    (&["plugin", "grant", "jq"], 2, &["--bucket", "--nothing"]),
    (
        &["plugin", "grant", "jq", "--fuel", "0"],
        1,
        &["422", "/limits/fuel"],
    ),
    (
        &["plugin", "grant", "jq", "--bucket", "Not A Name"],
        1,
        &["422", "/buckets/0"],
    ),
    (
        &["policy", "bind", "nobody"],
        1,
        &["nobody", "stepseal policy push"],
    ),
    (
        &["policy", "bind", "nobody", "--settings", "{"],
        2,
        &["--settings"],
    ),
    (
        &["policy", "bind", "nobody", "--label", "x"],
        2,
        &["NAME=VALUE"],
    ),
    (
        &["verify", "twice.json", "--trust", "trust.json"],
        1,
        &["trust.json", "not a trust file"],
    ),
    (&["verify", "twice.json"], 2, &["--trust"]),
    (
        &["replay", "broken.json", "--components", "."],
        1,
        &["broken.json", "not a receipt"],
    ),
    (&["dance"], 2, &["dance"]),
    (&["task"], 2, &["Usage"]),
];

#[test]
fn wrong_input_is_answered_with_the_place_and_what_to_do() {
    let person = Person::at(Host::empty());
    person.file("broken.json", "{\"plan\":\n  {\"steps\": [}");
    person.file("twice.json", "{\"plan\": {\"steps\": []}, \"plan\": {}}");
    person.file("faulty.json", r#"{"plan": {"steps": [{"id": "a", "uses": "nobody/nothing"}, {"id": "a", "uses": 7}]}, "colour": 1}"#);
    person.file("text.wasm", "not a component");
    person.file("trust.json", "{}");
    for (arguments, code, says) in WRONG {
        person.types(arguments).expect(*code).says(says);
    }
    let refused = person.types(&["plugin", "check", "text.wasm"]).expect(1);
    assert!(refused.stdout.contains("would refuse"), "{refused:?}");
    assert!(!person.temp.path().join("passwd.stepseal.json").exists());
    // For programs a problem is the host's own document.
    let ran = person
        .types(&["--output", "json", "task", "show", UNKNOWN])
        .expect(1);
    let problem: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(404), &json!("not-found"))
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_host_that_cannot_be_talked_to_is_told_apart_from_one_that_says_no() {
    let host = Host::empty();
    let temp = tempfile::tempdir().unwrap();
    let list = |arguments: &[&str]| {
        stepseal_in(temp.path(), &[arguments, &["task", "list"]].concat(), b"")
    };
    // Nobody was ever started here.
    list(&[]).expect(3).says(&["stepseal serve", "--url"]);
    // Nobody listens there: no program is given this port unless it asks for it.
    let nobody = "http://127.0.0.1:1";
    list(&["--url", nobody, "--token", "t"])
        .expect(3)
        .says(&[nobody, "could not be reached"]);
    list(&["--url", host.url()]).expect(2).says(&["--token"]);
    list(&["--url", "ftp://host", "--token", "t"])
        .expect(2)
        .says(&["http://127.0.0.1"]);
    list(&["--url", host.url(), "--token", "wrong"])
        .expect(1)
        .says(&["401", "--token"]);
    // An operator may have chosen it so.
    list(&["--url", host.url(), "--token", "-wrong"])
        .expect(1)
        .says(&["401", "--token"]);
    list(&["--url", host.url(), "--token", host.token()]).expect(0);
    assert!(host.token().starts_with("stepseal_"));
}

#[test]
fn what_needs_no_host_works_without_one() {
    let temp = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| stepseal_in(temp.path(), arguments, b"");
    let document: Value = run(&["openapi"]).expect(0).json();
    assert_eq!(document, serde_json::from_str::<Value>(OPENAPI).unwrap());
    assert!(run(&["--help"]).expect(0).stdout.contains("Exit codes"));
    assert!(
        run(&["--version"])
            .expect(0)
            .stdout
            .starts_with("stepseal ")
    );
    let doctor = run(&["--output", "json", "doctor"]).expect(0).json();
    assert!(
        doctor["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|item| item["what"] == "engine"),
        "{doctor}"
    );
    // Looking around makes nothing.
    assert!(!temp.path().join("stepseal-data").exists());
}

#[test]
fn doctor_tries_to_compile() {
    let doctor = stepseal(&["--data", "nowhere", "doctor", "--output", "json"]);
    let found = doctor.expect(0).json();
    let mut items = found["items"].as_array().unwrap().iter();
    let compiler = items.find(|item| item["what"] == "compiler").unwrap();
    assert_eq!(compiler["state"], "ok", "{compiler}");
}

#[test]
fn doctor_names_what_is_wrong_with_a_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Host::empty().stop();
    let data = dir.path();
    let doctor = || stepseal(&["--data", data.to_str().unwrap(), "doctor"]);
    doctor().expect(0);
    let key = data.join("keys/record.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = doctor().expect(1);
    assert!(
        ran.stdout.contains("PROBLEM") && ran.stdout.contains("chmod 600"),
        "{ran:?}"
    );
    fs::remove_file(&key).unwrap();
    let ran = doctor().expect(1);
    assert!(
        ran.stdout.contains("record.pem") && ran.stdout.contains("backup"),
        "{ran:?}"
    );
}
