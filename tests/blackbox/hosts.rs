//! Several hosts on one PostgreSQL: any of them answers for all, and what one does not finish another does, once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::concurrency::{audit, ledger, transfer};
use crate::host::postgres::Schema;
use crate::host::proxy::Proxy;
use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, believes, eventually};
use crate::support::{allow, ended, happened, stepseal};

/// Client threads, each of which writes to the same few accounts.
const THREADS: usize = 32;
/// Seconds of a lease.
const LEASE: &str = "3";
const GONE: &str = "hosts are gone; what they ran goes on elsewhere";
const SILENT: &str = "this host was silent for longer than its lease";

/// Where hosts of one log keep what they share.
pub(crate) struct Together {
    components: TempDir,
    pub(crate) schema: Schema,
}

impl Together {
    pub(crate) fn new() -> Self {
        Self {
            components: tempfile::tempdir().expect("tests can make temporary directories"),
            schema: Schema::new(),
        }
    }

    /// A host on this directory that reaches the database at `url`.
    fn serve(&self, dir: DataDir, url: &str) -> Host {
        let components = self.components.path().to_str().expect("UTF-8");
        let database = ["--database", url, "--components", components];
        Host::with(dir, &[&database[..], &["--lease", LEASE]].concat())
    }

    /// The first host.
    pub(crate) fn first(&self, url: &str) -> Host {
        let host = self.serve(DataDir::fresh(), url);
        for guest in ["ledger", "jq", "spending-limit", "hostile"] {
            host.upload(guest);
        }
        host
    }

    /// One more of the same log.
    pub(crate) fn another(&self, first: &Host) -> Host {
        let dir = DataDir::fresh();
        let (from, into) = (first.data(), dir.path());
        let copy = ["keys", "copy", "--data", from.to_str().unwrap()];
        stepseal(&[&copy[..], &["--into", into.to_str().unwrap()]].concat()).expect(0);
        self.serve(dir, &self.schema.url())
    }
}

#[test]
fn any_host_answers_for_all_of_them() {
    let together = Together::new();
    let one = together.first(&together.schema.url());
    let two = together.another(&one);
    ledger(&one);

    // What is submitted here is followed, waited for and decided there.
    let pay = json!({"from": "ada", "to": "bob", "amount": "20.00", "currency": "USD"});
    let task = id(&one.submit(&one_step("ledger/transfer", &pay)));
    assert_eq!(ended(&two, &task)["state"], "succeeded");
    two.receipt_verified(&task);
    let rules = two.get("/v1/policies")["items"][0].clone();
    two.call("DELETE", format!("/v1/policies/{}", id(&rules)))
        .send()
        .expect(204);
    let task = id(&one.submit(&one_step("ledger/transfer", &pay)));
    let asked = two.approval_of(&task);
    two.decide(&asked, "approve", "dana").expect(200);
    assert_eq!(ended(&one, &task)["state"], "succeeded");

    // A guest that runs here is stopped there.
    one.grant(
        "hostile",
        &json!({"limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 60_000}}),
    );
    let task = id(&one.submit(&one_step("hostile/loop", &json!({}))));
    happened(&two, &task, "task.started");
    two.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    two.task_in(&task, "cancelled");
    one.receipt_verified(&task);
}

/// As soon as one host has answered, whatever it changed holds for the next request to the other.
#[test]
fn what_one_host_changes_is_in_force_on_the_other_when_it_is_answered() {
    let together = Together::new();
    let one = together.first(&together.schema.url());
    let two = together.another(&one);
    ledger(&one);
    let kept = one.get("/v1/policies")["items"][0].clone();
    one.call("DELETE", format!("/v1/policies/{}", id(&kept)))
        .send()
        .expect(204);
    let balance = one_step("ledger/balance", &json!({"account": "ada"}));
    for round in 0..6 {
        let (changes, asks) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        allow(changes, "ledger", &["balance"]);
        let allowed = asks.submit_and_wait(&balance);
        assert_eq!(allowed["state"], "succeeded", "{allowed:#}");
        let bound = asks.get("/v1/policies")["items"][0].clone();
        changes
            .call("DELETE", format!("/v1/policies/{}", id(&bound)))
            .send()
            .expect(204);
        let waits = asks.submit_and_wait(&balance);
        assert_eq!(waits["state"], "waiting", "{waits:#}");

        let name = format!("t{round}");
        let added = changes.put(format!("/v1/tenants/{name}"), &json!({}));
        let token = added.json()["token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let tasks = || {
            let call = asks.call("GET", "/v1/tasks");
            call.authorization(Some(&bearer)).send()
        };
        tasks().expect(200);
        let removed = changes.call("DELETE", format!("/v1/tenants/{name}"));
        removed.send().expect(204);
        tasks().expect(401);
    }
}

#[test]
fn a_host_of_another_log_is_refused() {
    let together = Together::new();
    let one = together.first(&together.schema.url());
    let url = together.schema.url();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database", &url];
    let other = Host::empty().kill();
    std::fs::remove_file(other.path().join("stepseal.db")).unwrap();
    let data = other.path();
    stepseal(&[&serve[..], &["--data", data.to_str().unwrap()]].concat())
        .expect(1)
        .says(&["is not the one this database was written with"]);
    let from = one.data();
    let again = [
        "--data",
        from.to_str().unwrap(),
        "--origin",
        "example.org/other",
    ];
    let copy = DataDir::fresh();
    let into = copy.path();
    let into = into.to_str().unwrap();
    stepseal(&["keys", "copy", again[0], again[1], "--into", into]).expect(0);
    stepseal(&[&serve[..], &["--data", into], &again[2..]].concat())
        .expect(1)
        .says(&["belongs to log", "example.org/other"]);
    stepseal(&[&serve[..], &["--data", into, "--lease", "61"]].concat())
        .expect(2)
        .says(&["2 to 60 s"]);
    // Keys are changed while nobody serves.
    stepseal(&[
        "keys",
        "rotate",
        "record",
        again[0],
        again[1],
        "--database",
        &url,
    ])
    .expect(1);
    one.get("/readyz");
}

#[test]
fn a_host_that_is_stopped_hands_over_what_it_runs() {
    let together = Together::new();
    let one = together.first(&together.schema.url());
    let two = together.another(&one);
    one.grant(
        "hostile",
        &json!({"limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 60_000}}),
    );
    let task = id(&two.submit(&one_step("hostile/loop", &json!({}))));
    happened(&one, &task, "task.started");
    let dir = two.stop();
    // No lease is waited for: it is there in the database at once, and this host takes it up.
    assert!(!one.said().contains(GONE), "{}", one.said());
    eventually("it runs here", || {
        let running = one.call("GET", "/metrics").send().expect(200).text();
        running.contains("tasks_running 1").then_some(())
    });
    one.call("POST", format!("/v1/tasks/{task}/cancel"))
        .send()
        .expect(200);
    one.task_in(&task, "cancelled");
    one.receipt_verified(&task);
    drop(dir);
}

/// Clients that submit transfers to whichever host takes them, each under a key that makes it one. They begin as many as they are told to: each
/// is looked at in the end, and how long hosts take to be gone must not say how many there are.
struct Load {
    urls: Mutex<Vec<String>>,
    token: String,
    next: AtomicUsize,
    /// Numbers of transfers below this may be begun.
    allowed: AtomicUsize,
    is_over: AtomicBool,
    /// Ids of the tasks that were acknowledged, by their number.
    acknowledged: Mutex<BTreeMap<usize, String>>,
}

impl Load {
    fn new(hosts: &[&Host]) -> Self {
        Self {
            urls: Mutex::new(hosts.iter().map(|host| host.url().to_owned()).collect()),
            token: hosts[0].token().to_owned(),
            next: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            acknowledged: Mutex::default(),
        }
    }

    fn run(&self) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        let agent = config.new_agent();
        while !self.is_over.load(Ordering::SeqCst) {
            let mine = self
                .next
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                    (n < self.allowed.load(Ordering::SeqCst)).then_some(n + 1)
                });
            let Ok(n) = mine else {
                thread::park_timeout(Duration::from_millis(5));
                continue;
            };
            let mut tries = n;
            // Nobody may be left who answers, where a check failed: then there is no end but this.
            while !self.is_over.load(Ordering::SeqCst) {
                if let Some(id) = self.submit(&agent, n, tries) {
                    self.acknowledged.lock().unwrap().insert(n, id);
                    break;
                }
                tries += 1;
                thread::park_timeout(Duration::from_millis(20));
            }
        }
    }

    fn submit(&self, agent: &ureq::Agent, n: usize, at: usize) -> Option<String> {
        let url = {
            let urls = self.urls.lock().unwrap();
            urls[at % urls.len()].clone()
        };
        let request = agent
            .post(format!("{url}/v1/tasks"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("idempotency-key", format!("n{n}"));
        let request = if n.is_multiple_of(2) {
            request.header("prefer", "wait=5")
        } else {
            request
        };
        let mut response = request.send_json(transfer(n)).ok()?;
        let body: Value = response.body_mut().read_json().ok()?;
        let status = response.status().as_u16();
        // Who took the port of a host that is dead, another test's host, knows nobody's token.
        let is_strange = status == 401;
        assert!(
            is_strange || !(300..429).contains(&status),
            "{status} {body:#}"
        );
        (status < 300).then(|| id(&body))
    }

    /// Lets so many more be begun, and waits until as many were acknowledged.
    fn goes_on(&self, more: usize) {
        let before = self.acknowledged.lock().unwrap().len();
        self.begins(more);
        eventually("tasks are acknowledged", || {
            let now = self.acknowledged.lock().unwrap().len();
            (now >= before + more).then_some(())
        });
    }

    /// Lets so many more be begun.
    fn begins(&self, more: usize) {
        self.allowed.fetch_add(more, Ordering::SeqCst);
    }
}

fn signal(host: &Host, signal: rustix::process::Signal) {
    let pid = i32::try_from(host.pid()).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("a child can be signalled");
}

/// How often any of these hosts took others for gone.
fn reaped(hosts: &[&Host]) -> usize {
    hosts
        .iter()
        .map(|host| host.said().matches(GONE).count())
        .sum()
}

#[test]
fn killed_paused_or_cut_off_hosts_lose_nothing_and_do_nothing_twice() {
    let together = Together::new();
    let proxy = Proxy::to(&together.schema.url());
    let one = together.first(&proxy.url());
    ledger(&one);
    let (two, three) = (together.another(&one), together.another(&one));
    let load = Load::new(&[&one, &two, &three]);
    let (two, three) = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| load.run());
        }
        let _over = Over(&load);
        load.goes_on(20);

        // Killed, with nobody to start it again: the others have its tasks once its lease is over.
        let before = reaped(&[&one, &three]);
        load.begins(THREADS);
        load.goes_on(4);
        let dir = two.kill();
        eventually("the killed host is gone", || {
            (reaped(&[&one, &three]) > before).then_some(())
        });
        load.goes_on(10);
        let two = together.serve(dir, &together.schema.url());
        load.urls.lock().unwrap()[1] = two.url().to_owned();

        // Paused for longer than its lease, and woken in the middle of whatever it was doing.
        let before = reaped(&[&one, &two]);
        load.begins(THREADS);
        load.goes_on(4);
        signal(&three, rustix::process::Signal::STOP);
        eventually("the paused host is gone", || {
            (reaped(&[&one, &two]) > before).then_some(())
        });
        load.goes_on(4);
        signal(&three, rustix::process::Signal::CONT);
        eventually("it knows that it was gone", || {
            three.said().contains(SILENT).then_some(())
        });
        load.goes_on(10);

        // Cut off, and let through again with all that was on its way.
        let before = reaped(&[&two, &three]);
        load.begins(THREADS);
        load.goes_on(4);
        proxy.cut();
        eventually("the host that was cut off is gone", || {
            (reaped(&[&two, &three]) > before).then_some(())
        });
        load.goes_on(4);
        proxy.mend();
        eventually("it knows that it was gone", || {
            one.said().contains(SILENT).then_some(())
        });
        load.goes_on(10);
        (two, three)
    });

    let acknowledged = load.acknowledged.into_inner().unwrap();
    let ids: Vec<&String> = acknowledged.values().collect();
    let tasks: Vec<Value> = ids.iter().map(|id| ended(&two, id)).collect();
    for (task, id) in tasks.iter().zip(&ids) {
        let state = task["state"].as_str().unwrap();
        assert!(["succeeded", "failed"].contains(&state), "{task:#}");
        three.receipt_verified(id);
        let records = one.get(format!("/v1/tasks/{id}/records"));
        let seqs: Vec<&Value> = records["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| &record["seq"])
            .collect();
        assert_eq!(
            seqs,
            (0..seqs.len())
                .map(Value::from)
                .collect::<Vec<_>>()
                .iter()
                .collect::<Vec<_>>(),
            "{id}"
        );
    }
    audit(&one, &tasks);
    whole_log_verified(&one);
}

/// Ends the load when it is dropped, also by a check that fails: whoever makes it is waited for.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// Checks the whole log as a stranger does: that nothing is left out or there twice, in any task.
pub(crate) fn whole_log_verified(host: &Host) {
    let temp = tempfile::tempdir().unwrap();
    let file = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let (trust, log, data) = (file("trust.json"), file("log.jsonl"), host.data());
    std::fs::write(&trust, believes(host).to_json()).unwrap();
    let export = [
        "--data",
        data.to_str().unwrap(),
        "log",
        "export",
        "--out",
        &log,
    ];
    stepseal(&export).expect(0);
    stepseal(&["verify", &log, "--trust", &trust]).expect(0);
}
