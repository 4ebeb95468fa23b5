//! The log as strangers watch it: signed heads, tiles and proofs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::evidence::{Evidence, Misbehaviour};
use stepseal_receipts::leaf::{LEAF_BYTES, leaf_hash, node_hash};
use stepseal_receipts::tree::{Frontier, verify_consistency, verify_inclusion};

use crate::host::client::{Answer, Client};
use crate::host::tasks::{id, one_step};
use crate::host::{Host, believes};
use crate::support::{Ran, stepseal};

/// What needs no token.
fn open(host: &Client, place: &str) -> Answer {
    host.call("GET", format!("/log/{place}"))
        .authorization(None)
        .send()
}

/// The head of the log, opened with the keys the host's trust file names.
fn head(host: &Client) -> Checkpoint {
    let answer = open(host, "checkpoint").expect(200);
    Checkpoint::open(&answer.text(), &believes(host).log).unwrap()
}

pub(crate) fn tile(host: &Client, path: &str) -> Vec<Digest> {
    let answer = open(host, &format!("tile/{path}")).expect(200);
    assert_eq!(
        answer.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    let (hashes, rest) = answer.body.as_chunks::<32>();
    assert!(rest.is_empty());
    hashes.iter().copied().map(Digest::from_bytes).collect()
}

/// Runs tasks, at least a few, until the signed log has so many entries.
fn grow(host: &Host, size: u64) {
    loop {
        for _ in 0..8 {
            host.submit_and_wait(&one_step("hostile/echo", &json!(1)));
        }
        // A head is up to a second old; a receipt asks for a new one.
        let task = host.submit_and_wait(&one_step("hostile/echo", &json!(1)));
        host.receipt(&id(&task));
        if head(host).size >= size {
            return;
        }
    }
}

#[test]
fn the_tiles_of_the_log_make_its_signed_root() {
    let host = Host::with_guests();
    grow(&host, 300);
    let head = head(&host);
    let partial = head.size - 256;
    let mut leaves = tile(&host, "0/000");
    leaves.extend(tile(&host, &format!("0/001.p/{partial}")));
    let mut tree = Frontier::new();
    for leaf in &leaves {
        tree.append(*leaf);
    }
    assert_eq!((tree.size(), tree.root()), (head.size, head.root));

    // The tile above holds the root of the full one below.
    let mut level = leaves[..256].to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| node_hash(&pair[0], &pair[1]))
            .collect();
    }
    assert_eq!(tile(&host, "1/000.p/1"), level);

    // Entries are the leaves that were hashed.
    let entries = open(&host, &format!("tile/entries/001.p/{partial}"))
        .expect(200)
        .body;
    assert_eq!(entries.len() as u64, partial * (LEAF_BYTES as u64 + 2));
    for (entry, hash) in entries.chunks(LEAF_BYTES + 2).zip(&leaves[256..]) {
        assert_eq!(entry[..2], u16::try_from(LEAF_BYTES).unwrap().to_be_bytes());
        assert_eq!(leaf_hash(&entry[2..]), *hash);
    }
}

#[test]
fn a_tile_that_the_log_does_not_fill_or_that_is_none_is_not_found() {
    let host = Host::with_guests();
    grow(&host, 3);
    let size = head(&host).size;
    for path in [
        "0/000".to_owned(),
        format!("0/000.p/{}", size + 1),
        "1/000.p/1".to_owned(),
        "entries/000".to_owned(),
        "entries/001.p/1".to_owned(),
        "0/x999/x999/x999/x999/999".to_owned(),
        "0/0".to_owned(),
        "9/000".to_owned(),
        "0/../checkpoint".to_owned(),
        "0/000.p/256".to_owned(),
    ] {
        open(&host, &format!("tile/{path}")).problem(404, "not-found");
    }
    // What is public is only this.
    host.call("GET", "/v1/tasks")
        .authorization(None)
        .send()
        .problem(401, "unauthorized");
    host.call("GET", "/log")
        .authorization(None)
        .send()
        .problem(401, "unauthorized");
}

#[test]
fn proofs_lead_from_head_to_head_and_from_leaf_to_head() {
    let host = Host::with_guests();
    grow(&host, 3);
    let old = head(&host);
    grow(&host, old.size + 20);
    let new = head(&host);
    let proof = |place: String| -> Vec<Digest> {
        let answer: Value = host.get(place);
        let hashes = answer["proof"].as_array().unwrap().iter();
        hashes
            .map(|hash| {
                STANDARD
                    .decode(hash.as_str().unwrap())
                    .unwrap()
                    .try_into()
                    .unwrap()
            })
            .map(Digest::from_bytes)
            .collect()
    };
    let consistency = proof(format!(
        "/v1/log/consistency?from={}&to={}",
        old.size, new.size
    ));
    verify_consistency(old.size, &old.root, new.size, &new.root, &consistency).unwrap();
    let leaf = tile(&host, &format!("0/000.p/{}", new.size))[2];
    let inclusion = proof(format!("/v1/log/inclusion?index=2&size={}", new.size));
    verify_inclusion(&leaf, 2, new.size, &inclusion, &new.root).unwrap();

    for (place, status, code) in [
        (
            format!("consistency?from=2&to={}", new.size + 1),
            422,
            "invalid",
        ),
        ("consistency?from=3&to=2".to_owned(), 422, "invalid"),
        (
            format!("inclusion?index={0}&size={0}", new.size),
            422,
            "invalid",
        ),
        (
            "inclusion?index=0&size=18446744073709551615".to_owned(),
            422,
            "invalid",
        ),
        ("inclusion?index=-1&size=1".to_owned(), 400, "bad-parameter"),
        ("consistency?from=1".to_owned(), 400, "bad-parameter"),
    ] {
        host.call("GET", format!("/v1/log/{place}"))
            .send()
            .problem(status, code);
    }
}

#[test]
fn a_monitor_follows_the_log_and_catches_a_host_whose_backup_was_restored() {
    let host = Host::with_guests();
    let temp = tempfile::tempdir().unwrap();
    let file = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let (trust, state, backup) = (file("trust.json"), file("watched.json"), file("backup.db"));
    std::fs::write(&trust, believes(&host).to_json()).unwrap();
    // No token: only the URL.
    let follow = |host: &Host| {
        stepseal(&[
            "--url",
            host.url(),
            "--output",
            "json",
            "log",
            "follow",
            "--once",
            "--trust",
            &trust,
            "--state",
            &state,
        ])
    };
    grow(&host, 4);
    let first = follow(&host).expect(0).json();
    assert_eq!(
        (&first["ok"], &first["size"]),
        (&json!(true), &first["new"])
    );
    assert_eq!(follow(&host).expect(0).json()["new"], 0);

    let dir = host.stop();
    let database = dir.path().join("stepseal.db");
    std::fs::copy(&database, &backup).unwrap();
    let host = Host::on(dir);
    grow(&host, first["size"].as_u64().unwrap() + 3);
    let second = follow(&host).expect(0).json();
    let (before, now) = (
        first["size"].as_u64().unwrap(),
        second["size"].as_u64().unwrap(),
    );
    assert_eq!(second["new"], now - before);

    let dir = host.stop();
    std::fs::copy(&backup, &database).unwrap();
    // The host would notice; whoever wants to rewrite a log takes that away as well.
    std::fs::remove_file(dir.path().join("head")).unwrap();
    let host = Host::on(dir);
    let rewound = follow(&host).expect(1).json();
    assert!(
        rewound["misbehaviour"]
            .as_str()
            .unwrap()
            .contains("rewound"),
        "{rewound}"
    );
    grow(&host, now + 1);
    let rewritten = follow(&host).expect(1).json();
    assert!(
        rewritten["misbehaviour"]
            .as_str()
            .unwrap()
            .contains("rewritten"),
        "{rewritten}"
    );

    // Both heads are signed by the log's key: whoever has the file can see it.
    let evidence = std::fs::read(rewritten["evidence"].as_str().unwrap()).unwrap();
    let proved = Evidence::parse(&evidence)
        .unwrap()
        .proves(&believes(&host).log)
        .unwrap();
    assert!(
        matches!(proved, Misbehaviour::Rewritten { before, .. } if before == now),
        "{proved:?}"
    );
    let evidence: Value = serde_json::from_slice(&evidence).unwrap();
    let known = believes(&host).log;
    let sizes = ["before", "now"].map(|head| {
        Checkpoint::open(evidence[head].as_str().unwrap(), &known)
            .unwrap()
            .size
    });
    assert!(sizes[0] == now && sizes[1] > now, "{sizes:?}");

    let other = Host::empty();
    let foreign = follow(&other).expect(1);
    assert!(
        foreign
            .stderr
            .contains("not signed by a key of the trust file"),
        "{foreign:?}"
    );
    let url = other.url().to_owned();
    drop(other);
    stepseal(&[
        "--url", &url, "log", "follow", "--once", "--trust", &trust, "--state", &state,
    ])
    .expect(3);
}

/// An export of a host's log, and the trust file to verify it with.
struct Exported {
    temp: tempfile::TempDir,
}

impl Exported {
    fn of(host: &Host) -> Self {
        let exported = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        std::fs::write(exported.path("trust.json"), believes(host).to_json()).unwrap();
        let out = exported.path("log.jsonl");
        stepseal(&[
            "--url",
            host.url(),
            "--token",
            host.token(),
            "log",
            "export",
            "--out",
            &out,
        ])
        .expect(0);
        exported
    }

    fn path(&self, name: &str) -> String {
        self.temp.path().join(name).to_str().unwrap().to_owned()
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Verifies these lines, with no host in reach.
    fn verify(&self, lines: &[String], more: &[&str]) -> Ran {
        let text = lines.join("\n") + "\n";
        std::fs::write(self.path("shown.jsonl"), text).unwrap();
        let (file, trust) = (self.path("shown.jsonl"), self.path("trust.json"));
        let mut arguments = vec!["--output", "json", "verify", &file, "--trust", &trust];
        arguments.extend(more);
        stepseal(&arguments)
    }
}

#[test]
fn an_export_of_the_whole_log_is_verified_without_the_host() {
    let host = Host::with_guests();
    grow(&host, 300);
    let exported = Exported::of(&host);
    drop(host);
    let lines = exported.lines();
    let found = exported.verify(&lines, &[]).expect(0).json();
    let log = &found["items"][0];
    let size = lines.len() - 1;
    assert_eq!(log["checkpoint"]["size"], size);
    assert_eq!(log["counts"]["entries"], size);
    assert_eq!(log["counts"]["openTasks"], 0);
    for check in ["signatures", "chain", "inclusion", "completeness"] {
        assert_eq!(log["verdicts"][check], "pass", "{log}");
    }

    // The checkpoint of the export is one to compare with.
    let header: Value = serde_json::from_str(&lines[0]).unwrap();
    let seen = exported.path("seen.txt");
    std::fs::write(&seen, header["checkpoint"].as_str().unwrap()).unwrap();
    let again = exported.verify(&lines, &["--last-seen", &seen]).expect(0);
    assert_eq!(again.json()["items"][0]["verdicts"]["append-only"], "pass");

    let fault = |ran: Ran| ran.expect(1).json()["items"][0]["faults"][0].clone();
    let cut = fault(exported.verify(&lines[..size], &[]));
    assert_eq!(cut["check"], "completeness", "{cut}");
    let mut without = lines.clone();
    without.remove(150);
    let gap = fault(exported.verify(&without, &[]));
    assert_eq!(
        (&gap["check"], &gap["index"]),
        (&json!("inclusion"), &json!(150))
    );
    let mut changed = lines.clone();
    changed[280] = changed[280].replacen("\"payload\":\"e", "\"payload\":\"f", 1);
    let change = fault(exported.verify(&changed, &[]));
    assert_eq!(
        (&change["check"], &change["index"]),
        (&json!("signatures"), &json!(279))
    );
    let mut broken = lines.clone();
    broken[280].truncate(100);
    let half = fault(exported.verify(&broken, &[]));
    assert_eq!(
        (&half["check"], &half["index"]),
        (&json!("receipt"), &json!(279))
    );
    let mut endless = lines.clone();
    endless[280] = " ".repeat(300 << 10);
    let refused = fault(exported.verify(&endless, &[]));
    assert!(
        refused["message"].as_str().unwrap().contains("bytes"),
        "{refused}"
    );
}

#[test]
fn an_export_replaces_no_file_unless_it_is_told_to() {
    let host = Host::with_guests();
    grow(&host, 3);
    let exported = Exported::of(&host);
    let out = exported.path("log.jsonl");
    let before = std::fs::read(&out).unwrap();
    grow(&host, head(&host).size + 1);
    let export = |more: &[&str]| {
        let token = ["--url", host.url(), "--token", host.token()];
        let command = ["log", "export", "--out", &out];
        stepseal(&[&token[..], &command, more].concat())
    };
    export(&[]).expect(1).says(&["--force"]);
    assert_eq!(std::fs::read(&out).unwrap(), before);
    export(&["--force"]).expect(0);
    assert!(std::fs::read(&out).unwrap().len() > before.len());
    assert!(!std::path::Path::new(&format!("{out}.new")).exists());
}

#[test]
fn entries_of_the_log_are_for_those_who_have_the_token() {
    let host = Host::with_guests();
    grow(&host, 3);
    let entries = |query: &str| host.call("GET", format!("/v1/log/entries?{query}"));
    entries("from=0")
        .authorization(None)
        .send()
        .problem(401, "unauthorized");
    entries("from=0&limit=257")
        .send()
        .problem(400, "bad-parameter");
    entries("limit=1").send().problem(400, "bad-parameter");
    let first = entries("from=0&limit=1").send().expect(200);
    let line: Value = serde_json::from_str(&first.text()).unwrap();
    assert_eq!(line["index"], "0");
    assert!(line["envelope"]["payload"].is_string());
    assert!(entries("from=1000000").send().expect(200).body.is_empty());
}

#[test]
fn a_log_passes_only_with_what_is_pinned() {
    let host = Host::with_guests();
    grow(&host, 3);
    let component = format!("component={}", host.digest("hostile"));
    let exported = Exported::of(&host);
    let lines = exported.lines();
    exported.verify(&lines, &["--pin", &component]).expect(0);
    let other = format!("sha256:{}", "0".repeat(64));
    let foreign = exported
        .verify(&lines, &["--pin", &format!("component={other}")])
        .expect(1);
    let fault = &foreign.json()["items"][0]["faults"][0];
    assert_eq!(fault["member"], "component.digest", "{fault}");
    // Both, then: one of the pinned ones is enough.
    let both = ["--pin", &component, "--pin", &format!("component={other}")];
    exported.verify(&lines, &both).expect(0);
    let judged = exported
        .verify(&lines, &["--pin", &format!("policy={other}")])
        .expect(1);
    let fault = &judged.json()["items"][0]["faults"][0];
    assert!(
        fault["member"].as_str().unwrap().starts_with("verdicts"),
        "{fault}"
    );
    exported.verify(&lines, &["--pin", "plugin=x"]).expect(2);
}

#[test]
fn files_of_a_gigabyte_are_refused_after_their_first_bytes() {
    let host = Host::with_guests();
    grow(&host, 3);
    let exported = Exported::of(&host);
    let (huge, trust, log) = (
        exported.path("huge"),
        exported.path("trust.json"),
        exported.path("log.jsonl"),
    );
    // It takes no room on the disk: all of it is zeros that are nowhere.
    let file = std::fs::File::create(&huge).unwrap();
    file.set_len(1 << 30).unwrap();
    for arguments in [
        ["verify", &huge, "--trust", &trust, "--allow-open"].as_slice(),
        &["verify", &log, "--trust", &huge],
        &["verify", &log, "--trust", &trust, "--policy", &huge],
        &["verify", &log, "--trust", &trust, "--last-seen", &huge],
    ] {
        let ran = stepseal(arguments).expect(1);
        assert!(ran.stderr.contains("larger than"), "{arguments:?}: {ran:?}");
    }
}
