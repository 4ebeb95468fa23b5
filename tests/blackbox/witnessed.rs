//! Witnesses: the host asks them, and they cosign nothing but a log that only grows.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::cosignature::{self, WitnessKey};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::evidence::{Evidence, Misbehaviour};
use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::note::{Note, VerifierKey};
use stepseal_receipts::tree::{Frontier, NodeId, ProofPlan};
use stepseal_receipts::trust::{RecordKey, TrustFile};
use stepseal_receipts::witness::{AddCheckpoint, read_cosignature};

use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, Process, believes, eventually};
use crate::support::{Ran, stepseal};

/// A witness of the built program.
struct Witness {
    process: Process,
    url: String,
    state: PathBuf,
    key: WitnessKey,
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Witness {
    /// One that keeps its state in a directory and knows these logs.
    fn start(state: &Path, logs: &[VerifierKey]) -> Self {
        let list = state.with_extension("logs");
        let lines = logs.iter().map(|log| format!("log {log}\n"));
        std::fs::write(&list, lines.collect::<String>()).unwrap();
        let (process, url) = Process::start(&Self::arguments(state, &list));
        let vkey = std::fs::read_to_string(state.join("witness.vkey")).unwrap();
        assert!(process.said().contains("listens on"));
        Self {
            process,
            url,
            state: state.to_owned(),
            key: WitnessKey::parse(vkey.trim()).unwrap(),
        }
    }

    fn arguments<'a>(state: &'a Path, logs: &'a Path) -> Vec<&'a str> {
        let (state, logs) = (state.to_str().unwrap(), logs.to_str().unwrap());
        let listen = "127.0.0.1:0";
        vec![
            "log", "witness", "--state", state, "--logs", logs, "--listen", listen,
        ]
    }

    fn asked(&self, request: &AddCheckpoint) -> Answer {
        self.posted(request.to_text().as_bytes()).unwrap()
    }

    fn posted(&self, body: &[u8]) -> Result<Answer, ureq::Error> {
        post(&self.url, body)
    }

    /// The head that it keeps.
    fn head(&self) -> Option<String> {
        Some(std::fs::read_to_string(self.file("heads")?).unwrap())
    }

    /// The one file of a directory in its state.
    fn file(&self, dir: &str) -> Option<PathBuf> {
        let files = std::fs::read_dir(self.state.join(dir)).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        // What is being written has another name until it is whole.
        files.find(|file| file.extension().is_some_and(|found| found != "new"))
    }

    fn evidence(&self) -> Option<Evidence> {
        let bytes = std::fs::read(self.file("evidence")?).unwrap();
        Some(Evidence::parse(&bytes).unwrap())
    }
}

impl Answer {
    #[track_caller]
    fn expect(&self, status: u16) -> &Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    #[track_caller]
    fn stale(&self, size: u64) {
        self.expect(409);
        assert_eq!(self.content_type, "text/x.tlog.size");
        assert_eq!(self.body, format!("{size}\n").as_bytes());
    }
}

/// A log of the test's own, whose leaves are numbers and from `forked` on something else.
struct Log {
    nodes: BTreeMap<NodeId, Digest>,
    tree: Frontier,
}

impl Log {
    fn new(size: u64, forked: u64, how: &str) -> Self {
        let (mut nodes, mut tree) = (BTreeMap::new(), Frontier::new());
        for leaf in 0..size {
            let how = if leaf < forked { "" } else { how };
            nodes.extend(tree.append(Digest::of(format!("{leaf}{how}").as_bytes())));
        }
        Self { nodes, tree }
    }

    fn honest(size: u64) -> Self {
        Self::new(size, size, "")
    }

    fn signing_key() -> SigningKey {
        SigningKey::from_seed([77; 32])
    }

    fn key() -> VerifierKey {
        VerifierKey::new("log.example/own", &Self::signing_key().public()).unwrap()
    }

    fn note(&self) -> String {
        let checkpoint = Checkpoint {
            origin: Self::key().name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        checkpoint.sign(&Self::signing_key()).unwrap()
    }

    fn text(&self) -> String {
        Note::parse(&self.note()).unwrap().text
    }

    fn asks(&self, old: u64) -> AddCheckpoint {
        let plan = ProofPlan::consistency(old, self.tree.size()).unwrap();
        AddCheckpoint {
            old,
            proof: plan
                .assemble(|node| self.nodes.get(&node).copied())
                .unwrap(),
            checkpoint: self.note(),
        }
    }
}

/// A host whose log is witnessed.
struct House {
    host: Option<Host>,
    temp: tempfile::TempDir,
    witnesses: Vec<Witness>,
}

impl House {
    /// With so many witnesses and this quorum; `w1` to `wN` may be named in it.
    fn new(witnesses: usize, quorum: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let host = Host::with_guests();
        let log = believes(&host).log;
        let witnesses = (1..=witnesses)
            .map(|n| Witness::start(&temp.path().join(format!("w{n}")), &log))
            .collect();
        let mut house = Self {
            host: None,
            temp,
            witnesses,
        };
        house.open(host.stop(), quorum);
        house
    }

    fn open(&mut self, dir: DataDir, quorum: &str) {
        let policy = self.policy("host", quorum);
        self.host = Some(Host::with(
            dir,
            &["--witness-policy", policy.to_str().unwrap()],
        ));
    }

    fn close(&mut self) -> DataDir {
        self.host.take().unwrap().stop()
    }

    fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    fn policy(&self, name: &str, quorum: &str) -> PathBuf {
        let path = self.temp.path().join(format!("{name}.policy"));
        let witnesses = self.witnesses.iter().zip(1..);
        let lines =
            witnesses.map(|(witness, n)| format!("witness w{n} {} {}\n", witness.key, witness.url));
        std::fs::write(&path, format!("{}{quorum}\n", lines.collect::<String>())).unwrap();
        path
    }

    fn runs(&self) -> String {
        id(&self
            .host()
            .submit_and_wait(&one_step("hostile/echo", &json!(1))))
    }

    /// Verifies the receipt of a task as a stranger does who wants this quorum.
    fn verified(&self, task: &str, quorum: &str) -> Ran {
        let file = |name: &str| self.temp.path().join(name).to_str().unwrap().to_owned();
        let (trust, receipt) = (file("trust.json"), file("task.stepseal.json"));
        std::fs::write(&trust, believes(self.host()).to_json()).unwrap();
        std::fs::write(&receipt, self.host().receipt(task)).unwrap();
        let policy = self.policy("stranger", quorum);
        let policy = policy.to_str().unwrap();
        stepseal(&[
            "--output", "json", "verify", &receipt, "--trust", &trust, "--policy", policy,
        ])
    }

    fn told(&self) -> Vec<Value> {
        let told = self.host().get("/v1/log/witnesses");
        told["items"].as_array().unwrap().clone()
    }

    fn head(&self) -> (Checkpoint, Note) {
        let answer = self
            .host()
            .call("GET", "/log/checkpoint")
            .authorization(None)
            .send();
        let note = answer.expect(200).text();
        let known = believes(self.host()).log;
        (
            Checkpoint::open(&note, &known).unwrap(),
            Note::parse(&note).unwrap(),
        )
    }
}

const BOTH: &str = "group both all w1 w2\nquorum both";
const ONE: &str = "group one any w1 w2\nquorum one";

#[test]
fn a_receipt_carries_what_the_witnesses_cosigned_and_meets_the_quorum() {
    let mut house = House::new(2, BOTH);
    let task = house.runs();
    let passed = eventually("both witnesses cosign", || {
        Some(house.verified(&task, BOTH)).filter(|ran| ran.code == 0)
    });
    assert_eq!(passed.json()["items"][0]["verdicts"]["witnessed"], "pass");
    eventually("the head is served with both cosignatures", || {
        let (head, note) = house.head();
        for witness in &house.witnesses {
            let line = note
                .signatures
                .iter()
                .find(|line| witness.key.is_named_by(line))?;
            witness.key.verify(&note.text, line).unwrap();
        }
        let sizes: Vec<_> = house
            .told()
            .iter()
            .map(|told| told["size"].as_u64())
            .collect();
        (sizes == [Some(head.size); 2]).then_some(())
    });
    for told in house.told() {
        assert!(
            told["cosigned"].as_u64() > Some(0) && told.get("error").is_none(),
            "{told}"
        );
    }

    // What was cosigned survives host and witnesses.
    let dir = house.close();
    for witness in &mut house.witnesses {
        witness.process.stop();
    }
    house.open(dir, BOTH);
    house.verified(&task, BOTH).expect(0);
}

#[test]
fn a_witness_that_is_down_costs_its_cosignature_and_nothing_else() {
    let mut house = House::new(2, BOTH);
    house.witnesses[1].process.stop();
    let task = house.runs();
    let error = eventually("the host notices", || {
        house.host().receipt(&task);
        house.told()[1]["error"].as_str().map(str::to_owned)
    });
    assert!(!error.is_empty());
    eventually("the other one cosigns", || {
        (house.verified(&task, ONE).code == 0).then_some(())
    });
    let failed = house.verified(&task, BOTH).expect(1).json();
    assert_eq!(failed["items"][0]["verdicts"]["witnessed"], "fail");
    for _ in 0..20 {
        let task = house.runs();
        house.host().receipt(&task);
    }
    house.host().get("/readyz");
    let said = house.host().said();
    let lines = said.lines().filter(|line| line.contains("did not cosign"));
    assert_eq!(lines.count(), 1, "{said}");
}

#[test]
fn nothing_a_witness_answers_is_believed_but_its_cosignature() {
    let temp = tempfile::tempdir().unwrap();
    let stranger = SigningKey::from_seed([5; 32]);
    let line = cosignature::sign("another head\n", 1, "w.example", &stranger).unwrap();
    let endless = "x".repeat(1 << 20);
    let answer = |status: &str, more: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n{body}")
    };
    let size = "content-type: text/x.tlog.size\r\n";
    let elsewhere = "location: http://127.0.0.1:1/\r\n";
    let cases = [
        (answer("307 Go", elsewhere, ""), "answered 307"),
        (answer("200 OK", "", &endless), "larger than"),
        (answer("200 OK", "", "yes\n"), "not signature lines"),
        (
            answer("200 OK", "", &format!("{line}\n")),
            "no cosignature by",
        ),
        (answer("409 No", size, "4000000000\n"), "older copy"),
        (answer("409 No", size, "0\n"), "answered 409"),
        (answer("409 No", size, "many\n"), "answered 409"),
        (
            answer("404 No", "", "who\x1b[2J are you?"),
            "answered 404: who [2J are you?",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "not signature lines"),
        ("nonsense".to_owned(), ""),
    ];
    let mut policy = Vec::new();
    for (n, (answer, _)) in (100..).zip(&cases) {
        let key = SigningKey::from_seed([n; 32]).public();
        let key = WitnessKey::new("w.example", &key).unwrap();
        policy.push(format!("witness w{n} {key} {}\n", says(answer.clone())));
    }
    // One that speaks no TLS where TLS is wanted.
    let witness = Witness::start(&temp.path().join("w"), &[Log::key()]);
    let url = witness.url.replace("http:", "https:");
    policy.push(format!("witness tls {} {url}\nquorum tls\n", witness.key));
    let path = temp.path().join("policy");
    std::fs::write(&path, policy.concat()).unwrap();

    let arguments = ["--witness-policy", path.to_str().unwrap()];
    let host = Host::with(DataDir::fresh(), &arguments);
    host.call("GET", "/log/checkpoint")
        .authorization(None)
        .send()
        .expect(200);
    let expected = cases.iter().map(|(_, why)| *why).chain([""]);
    for (place, why) in expected.enumerate() {
        eventually(why, || {
            let told = host.get("/v1/log/witnesses")["items"][place].clone();
            assert_eq!(told["cosigned"], 0, "{told}");
            let error = told["error"].as_str()?.to_owned();
            assert!(error.contains(why) && error.len() < 400, "{told}");
            Some(())
        });
    }
    host.get("/readyz");
}

/// Answers every request with these bytes.
fn says(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            // Who has seen enough hangs up.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_host_whose_backup_was_restored_is_refused_and_the_witness_can_prove_why() {
    let mut house = House::new(1, "quorum w1");
    let known = believes(house.host()).log;
    house.runs();
    let restored = house.head().0.size;
    let dir = house.close();
    let (database, backup) = (
        dir.path().join("stepseal.db"),
        house.temp.path().join("backup"),
    );
    std::fs::copy(&database, &backup).unwrap();
    house.open(dir, "quorum w1");
    // From a power of two the proof would leave out what shows the fork.
    let seen = eventually("a head is cosigned", || {
        house.runs();
        let (head, _) = house.head();
        let cosigned = house.told()[0]["size"].as_u64() == Some(head.size);
        let ahead = head.size > restored + 8;
        (cosigned && ahead && !head.size.is_power_of_two()).then_some(head.size)
    });

    let dir = house.close();
    std::fs::copy(&backup, &database).unwrap();
    // The host would notice by itself; whoever restores all of it takes that away.
    std::fs::remove_file(dir.path().join("head")).unwrap();
    house.open(dir, "quorum w1");
    let task = house.runs();
    eventually("the host is told that it forgot", || {
        house.host().receipt(&task);
        let told = house.told()[0]["error"].as_str().map(str::to_owned)?;
        told.contains("older copy").then_some(())
    });
    while house.head().0.size <= seen {
        house.runs();
    }
    let evidence = eventually("the witness proves it", || {
        house.head();
        house.witnesses[0].evidence()
    });
    // By the log's key alone.
    let proved = evidence.proves(&known).unwrap();
    assert!(
        matches!(proved, Misbehaviour::Rewritten { before, now } if before == seen && now > seen),
        "{proved:?}"
    );
    house.verified(&task, "quorum w1").expect(1);
}

#[test]
fn a_witness_answers_as_the_standard_says() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("w");
    let witness = Witness::start(&state, &[Log::key()]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&state.join("witness.pem")), 0o600);
    assert_eq!(mode(&state), 0o700);
    // It is a line after the one with the address.
    eventually("the witness shows its key", || {
        let said = witness.process.said();
        said.contains(&witness.key.to_string()).then_some(())
    });

    let log = Log::honest(5);
    for (malformed, status) in [
        (b"".as_slice(), 400),
        (b"old 0\n", 400),
        (b"old 0\n\nlog.example/own\n5\n", 400),
        (&vec![b'x'; 200_000], 413),
    ] {
        witness.posted(malformed).unwrap().expect(status);
    }
    let mut unknown = log.asks(0);
    unknown.checkpoint = unknown.checkpoint.replace("/own", "/other");
    witness.asked(&unknown).expect(404);
    let mut unsigned = log.asks(0);
    let checkpoint = Checkpoint::open(&unsigned.checkpoint, &[Log::key()]).unwrap();
    unsigned.checkpoint = checkpoint.sign(&SigningKey::from_seed([1; 32])).unwrap();
    witness.asked(&unsigned).expect(403);
    witness.asked(&log.asks(3)).stale(0);

    let answer = witness.asked(&log.asks(0));
    read_cosignature(&answer.expect(200).body, &log.text(), &witness.key).unwrap();
    witness.asked(&Log::honest(9).asks(0)).stale(5);
    let mut unproven = Log::honest(9).asks(5);
    unproven.proof[0] = Digest::of(b"other");
    witness.asked(&unproven).expect(422);
    let mut shrunk = Log::honest(4).asks(4);
    shrunk.old = 5;
    witness.asked(&shrunk).expect(400);
    // An older head that is shown again, a bad proof: anybody can send that, and it is no proof against the log.
    witness.asked(&Log::honest(4).asks(4)).stale(5);
    assert_eq!(witness.evidence(), None);
    witness.asked(&log.asks(5)).expect(200);
    let answer = witness.asked(&Log::honest(9).asks(5));
    read_cosignature(
        &answer.expect(200).body,
        &Log::honest(9).text(),
        &witness.key,
    )
    .unwrap();
}

#[test]
fn a_log_that_forks_is_refused_with_evidence_that_a_stranger_can_check() {
    let temp = tempfile::tempdir().unwrap();
    let record = SigningKey::from_seed([3; 32]).public();
    let trust = TrustFile {
        origin: Log::key().name().to_owned(),
        log: vec![Log::key()],
        records: vec![RecordKey {
            key: record,
            from_index: 0,
            to_index: None,
        }],
        approvers: Vec::new(),
        root: Vec::new(),
    };
    let trust_file = temp.path().join("trust.json");
    std::fs::write(&trust_file, trust.to_json()).unwrap();
    for (name, fork, status, misbehaviour) in [
        (
            "split",
            Log::new(5, 3, "other"),
            409,
            Misbehaviour::Split { size: 5 },
        ),
        (
            "rewritten",
            Log::new(9, 3, "other"),
            422,
            Misbehaviour::Rewritten { before: 5, now: 9 },
        ),
    ] {
        let witness = Witness::start(&temp.path().join(name), &[Log::key()]);
        witness.asked(&Log::honest(5).asks(0)).expect(200);
        let refused = witness.asked(&fork.asks(5));
        refused.expect(status);
        assert_ne!(refused.content_type, "text/x.tlog.size");
        let evidence = witness.evidence().unwrap();
        assert_eq!(evidence.proves(&[Log::key()]).unwrap(), misbehaviour);

        let file = witness.file("evidence").unwrap();
        let check = |file: &Path| {
            let (file, trust) = (file.to_str().unwrap(), trust_file.to_str().unwrap());
            stepseal(&[
                "--output", "json", "log", "evidence", file, "--trust", trust,
            ])
        };
        let proved = check(&file).expect(0).json();
        assert_eq!(proved["misbehaviour"], misbehaviour.to_string());
        let nothing = Evidence {
            now: Log::honest(5).note(),
            ..evidence
        };
        let forged = temp.path().join("forged.json");
        std::fs::write(&forged, nothing.to_json(&misbehaviour)).unwrap();
        assert_eq!(check(&forged).expect(1).json()["ok"], false);
        // It goes on with the log as it knows it.
        witness.asked(&Log::honest(9).asks(5)).expect(200);
    }
}

#[test]
fn of_many_heads_at_once_one_of_a_size_is_cosigned() {
    let temp = tempfile::tempdir().unwrap();
    let witness = Witness::start(&temp.path().join("w"), &[Log::key()]);
    let mut log = Log::honest(0);
    for round in 0..12 {
        let (old, size) = (log.tree.size(), log.tree.size() + 1 + round % 3);
        let mut forks: Vec<Log> = (0..16)
            .map(|n| forked(&log, size, &n.to_string()))
            .collect();
        let start = Barrier::new(forks.len());
        let answers: Vec<Answer> = thread::scope(|scope| {
            let (url, start) = (&witness.url, &start);
            let bodies = forks.iter().map(|fork| fork.asks(old).to_text());
            let asking: Vec<_> = bodies
                .map(|body| scope.spawn(move || post_together(url, &body, start)))
                .collect();
            let answers = asking.into_iter().map(|asked| asked.join().unwrap());
            answers.collect()
        });
        let cosigned: Vec<usize> = (0..16).filter(|&n| answers[n].status == 200).collect();
        assert_eq!(cosigned.len(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.stale(size);
        }
        log = forks.swap_remove(cosigned[0]);
        let again = witness.asked(&log.asks(size));
        read_cosignature(&again.expect(200).body, &log.text(), &witness.key).unwrap();
    }
}

#[test]
fn a_witness_that_is_killed_contradicts_nothing_it_said() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("w");
    let mut log = Log::honest(0);
    for round in 0..8 {
        let mut witness = Witness::start(&state, &[Log::key()]);
        let old = log.tree.size();
        let next = forked(&log, old + 3, &format!("of round {round}"));
        let stored = witness.head();
        let (url, body) = (witness.url.clone(), next.asks(old).to_text());
        let asking = thread::spawn(move || post(&url, body.as_bytes()));
        let is_stored = round % 2 == 0;
        if is_stored {
            // On disk, and nobody has read an answer yet.
            eventually("the head is stored", || {
                (witness.head() != stored).then_some(())
            });
        }
        witness.process.kill();
        let answered = asking
            .join()
            .unwrap()
            .is_ok_and(|answer| answer.status == 200);

        let witness = Witness::start(&state, &[Log::key()]);
        let other = forked(&log, old + 3, "of another mind");
        let answer = witness.asked(&other.asks(old));
        if is_stored || answered {
            answer.stale(old + 3);
        }
        log = if answer.status == 200 { other } else { next };
        let again = witness.asked(&log.asks(old + 3));
        read_cosignature(&again.expect(200).body, &log.text(), &witness.key).unwrap();
    }
}

#[test]
fn a_witness_keeps_its_state_to_itself() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("w");
    let mut witness = Witness::start(&state, &[Log::key()]);
    witness.asked(&Log::honest(5).asks(0)).expect(200);
    let logs = state.with_extension("logs");
    let start = |more: &[&str]| {
        let arguments = [&Witness::arguments(&state, &logs)[..], more].concat();
        stepseal(&arguments)
    };
    start(&[]).expect(1).says(&["another witness uses it"]);
    witness.process.stop();
    let mut remote = Witness::arguments(&state, &logs);
    *remote.last_mut().unwrap() = "0.0.0.0:0";
    stepseal(&remote)
        .expect(2)
        .says(&["can be reached from other machines"]);
    start(&["--name", "example.org/other"])
        .expect(1)
        .says(&["is called", "--name"]);
    let pem = state.join("witness.pem");
    let key = std::fs::read(&pem).unwrap();
    std::fs::remove_file(&pem).unwrap();
    start(&[]).expect(1).says(&["witness.pem", "is missing"]);
    std::fs::write(&pem, key).unwrap();
    std::fs::set_permissions(&pem, std::fs::Permissions::from_mode(0o644)).unwrap();
    start(&[]).expect(1).says(&["chmod 600"]);
    std::fs::set_permissions(&pem, std::fs::Permissions::from_mode(0o600)).unwrap();
    let head = witness.file("heads").unwrap();
    let note = std::fs::read_to_string(&head).unwrap();
    std::fs::write(&head, note.replace("\n5\n", "\n4\n")).unwrap();
    start(&[])
        .expect(1)
        .says(&["what is remembered of log.example/own"]);
    std::fs::write(&head, note).unwrap();
    std::fs::write(&logs, "quorum none\n").unwrap();
    start(&[]).expect(1).says(&["names no log"]);
    Witness::start(&state, &[Log::key()])
        .asked(&Log::honest(9).asks(5))
        .expect(200);
}

#[test]
fn a_host_refuses_a_policy_that_it_cannot_follow() {
    let temp = tempfile::tempdir().unwrap();
    let (policy, data) = (temp.path().join("policy"), temp.path().join("data"));
    let key = WitnessKey::new("w.example", &Log::signing_key().public()).unwrap();
    for (text, why) in [
        (format!("witness w {key}\nquorum w\n"), "has no address"),
        (
            format!("witness w {key} http://w.example\nquorum w\n"),
            "plain HTTP",
        ),
        ("quorum none\n".to_owned(), "names 0 witnesses"),
    ] {
        std::fs::write(&policy, text).unwrap();
        let (policy, data) = (policy.to_str().unwrap(), data.to_str().unwrap());
        let serve = ["--data", data, "serve", "--witness-policy", policy];
        stepseal(&serve).expect(2).says(&[why]);
    }
}

fn post(url: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = config.proxy(None).build().new_agent();
    let response = agent.post(format!("{url}/add-checkpoint")).send(body)?;
    let content_type = response.headers().get("content-type");
    let content_type = content_type.map(|found| found.to_str().unwrap().to_owned());
    Ok(Answer {
        status: response.status().as_u16(),
        content_type: content_type.unwrap_or_default(),
        body: response.into_body().read_to_vec()?,
    })
}

/// Sends all but the last byte, and that one when everybody is so far.
fn post_together(url: &str, body: &str, start: &Barrier) -> Answer {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    let length = body.len();
    let request = format!(
        "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let (last, first) = request.as_bytes().split_last().unwrap();
    stream.write_all(first).unwrap();
    start.wait();
    stream.write_all(&[*last]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

/// The same tree with other leaves after it.
fn forked(base: &Log, size: u64, how: &str) -> Log {
    let mut fork = Log {
        nodes: base.nodes.clone(),
        tree: base.tree.clone(),
    };
    for leaf in base.tree.size()..size {
        let leaf = Digest::of(format!("{leaf} {how}").as_bytes());
        fork.nodes.extend(fork.tree.append(leaf));
    }
    fork
}
