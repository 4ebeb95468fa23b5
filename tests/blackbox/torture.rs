//! A host that is killed at random moments, again and again, while clients send it tasks of every kind; and a check from outside in the end that
//! what they were told holds, that nothing happened twice, and that strangers were never shown another log.
//!
//! `STEPSEAL_TORTURE_ROUNDS` says how often it is killed (`make torture`: 3,000), `STEPSEAL_TORTURE_SEED` when: the seed that a run prints.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::tree::Frontier;
use stepseal_receipts::trust::TrustFile;

use crate::concurrency::{audit, ledger, side_by_side, transfer};
use crate::host::client::Client;
use crate::host::tasks::{id as id_of, one_step};
use crate::host::{Database, Host, believes, eventually, on_each_database, verify};
use crate::hosts::whole_log_verified;
use crate::log;
use crate::support::{allow, ended};

/// Kills of a host on `SQLite`, unless somebody asks for more.
const ROUNDS: usize = 300;
/// As often is one killed on `SQLite` for each time on PostgreSQL, where nothing of the database dies with it.
const FEWER_ON_POSTGRES: usize = 10;
/// Client threads.
const THREADS: usize = 4;
/// Tasks that may be begun in a round, so that there is time to look at each in the end.
const TASKS_A_ROUND: usize = 4;
/// The longest that a host lives after it listens, and the longest after its start where it is killed before.
const LIFE_MS_MAX: u64 = 60;
const START_MS_MAX: u64 = 200;
/// Of so many rounds, one kills a host that only starts.
const STARTS: u64 = 6;
/// Of so many rounds, one looks at the head of the log before the kill.
const LOOKS: u64 = 8;
/// How long a client waits for an answer that does not come.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two tries of a client.
const REST: Duration = Duration::from_millis(3);

fn number(variable: &str) -> Option<u64> {
    let said = std::env::var(variable).ok()?;
    Some(said.parse().expect("it is a number"))
}

/// Numbers that a seed makes (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A body, and header fields that go with it.
type Body<'a> = (&'a Value, &'a [(&'static str, String)]);

/// What a client was told: the task, and the states that it may come to.
struct Told {
    id: String,
    ends: &'static [&'static str],
}

/// Clients that go on whatever happens to their host.
struct Clients {
    agent: ureq::Agent,
    token: String,
    /// Where the host is, while there is one.
    url: Mutex<Option<String>>,
    next: AtomicUsize,
    /// Numbers of tasks below this may be begun.
    allowed: AtomicUsize,
    is_over: AtomicBool,
    told: Mutex<BTreeMap<usize, Told>>,
}

impl Clients {
    fn of(host: &Host) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .build();
        Self {
            agent: config.new_agent(),
            token: host.token().to_owned(),
            url: Mutex::new(None),
            next: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    fn is_at(&self, url: Option<&str>) {
        *self.url.lock().unwrap() = url.map(str::to_owned);
    }

    /// Begins tasks as far as they are allowed, until it is over.
    fn run(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            let mine = self
                .next
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                    (n < self.allowed.load(Ordering::SeqCst)).then_some(n + 1)
                });
            match mine {
                Ok(n) => {
                    let told = self.task(n);
                    self.told.lock().unwrap().extend(told.map(|told| (n, told)));
                }
                Err(_) => thread::park_timeout(REST),
            }
        }
    }

    /// One task of a kind that its number chooses, until the client knows what is promised about it; nothing where it is over before.
    fn task(&self, n: usize) -> Option<Told> {
        let waits = n.is_multiple_of(2);
        Some(match n % 8 {
            4 => Told {
                id: self.submitted(n, &one_step("hostile/echo", &json!(n)), waits)?,
                ends: &["succeeded"],
            },
            5 => {
                let mut again = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
                again["plan"]["steps"][0]["retry"] = json!({"max_attempts": 3, "backoff_ms": 1});
                Told {
                    id: self.submitted(n, &again, waits)?,
                    ends: &["succeeded"],
                }
            }
            kind @ (6 | 7) => {
                let mut asks = transfer(n);
                asks["plan"]["steps"][0]["approval"] = json!("required");
                let id = self.submitted(n, &asks, waits)?;
                if kind == 6 {
                    self.approve(&id)?;
                    // There may be too little on the account.
                    let ends = &["succeeded", "failed"];
                    return Some(Told { id, ends });
                }
                self.told_so("POST", &format!("/v1/tasks/{id}/cancel"), None, &[200, 409])?;
                Told {
                    id,
                    ends: &["cancelled"],
                }
            }
            _ => Told {
                id: self.submitted(n, &transfer(n), waits)?,
                ends: &["succeeded", "failed"],
            },
        })
    }

    fn submitted(&self, n: usize, submission: &Value, waits: bool) -> Option<String> {
        let headers = [
            ("idempotency-key", format!("n{n}")),
            (
                "prefer",
                if waits { "wait=10" } else { "wait=0" }.to_owned(),
            ),
        ];
        let body = Some((submission, &headers[..]));
        let task = self.insist("POST", "/v1/tasks", body, &[200, 201])?;
        Some(id_of(&task))
    }

    fn approve(&self, task: &str) -> Option<()> {
        let open = format!("/v1/approvals?state=open&task={task}");
        loop {
            let open = self.told_so("GET", &open, None, &[200])?;
            let Some(asked) = open["items"].get(0) else {
                thread::park_timeout(REST);
                continue;
            };
            let decision =
                json!({"decision": "approve", "subject": asked["subject"], "approver": "dana"});
            let path = format!("/v1/approvals/{}", id_of(asked));
            self.told_so("POST", &path, Some(&decision), &[200, 409])?;
            return Some(());
        }
    }

    fn told_so(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        statuses: &[u16],
    ) -> Option<Value> {
        self.insist(method, path, body.map(|body| (body, &[][..])), statuses)
    }

    /// Asks until the answer says what is; nothing where it is over before.
    fn insist(
        &self,
        method: &str,
        path: &str,
        body: Option<Body<'_>>,
        statuses: &[u16],
    ) -> Option<Value> {
        while !self.is_over.load(Ordering::SeqCst) {
            if let Some(answer) = self.ask(method, path, body, statuses) {
                return Some(answer);
            }
        }
        None
    }

    /// The answer to a request, where there is one with any of these statuses; else nobody knows what came of it.
    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Body<'_>>,
        statuses: &[u16],
    ) -> Option<Value> {
        let Some(url) = self.url.lock().unwrap().clone() else {
            thread::park_timeout(REST);
            return None;
        };
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("authorization", format!("Bearer {}", self.token));
        let answered = match body {
            Some((body, headers)) => {
                let mut request = request.header("content-type", "application/json");
                for (name, value) in headers {
                    request = request.header(*name, value);
                }
                self.agent.run(request.body(body.to_string()).unwrap())
            }
            None => self.agent.run(request.body(String::new()).unwrap()),
        };
        let mut response = answered.ok()?;
        let status = response.status().as_u16();
        let answer: Value = response.body_mut().read_json().ok()?;
        if statuses.contains(&status) {
            return Some(answer);
        }
        // Who took the port of a host that is dead knows nobody's token.
        assert!(matches!(status, 401 | 429 | 500..), "{status} {answer:#}");
        None
    }
}

on_each_database! {
fn killed_hundreds_of_times_a_host_keeps_its_word(database: Database) {
    let rounds = number("STEPSEAL_TORTURE_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let rounds = match database {
        Database::Sqlite => rounds,
        Database::Postgres => rounds.div_ceil(FEWER_ON_POSTGRES),
    };
    let seed = number("STEPSEAL_TORTURE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("STEPSEAL_TORTURE_SEED={seed}, {rounds} rounds on {database:?}");
    torture(database, rounds, Chance(seed));
}
}

fn torture(database: Database, rounds: usize, mut chance: Chance) {
    let host = Host::with_guests_in(database);
    ledger(&host);
    allow(&host, "hostile", &["echo", "unavailable-until"]);
    let trust = believes(&host);
    let clients = Clients::of(&host);
    let mut heads = Vec::new();
    let mut dir = host.stop();
    let host = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| clients.run());
        }
        let over = Over(&clients);
        for _ in 0..rounds {
            if chance.below(STARTS) == 0 {
                let life = Duration::from_millis(chance.below(START_MS_MAX));
                dir = Host::killed_while_it_starts(dir, life);
                continue;
            }
            let host = Host::on(dir);
            clients.allowed.fetch_add(TASKS_A_ROUND, Ordering::SeqCst);
            clients.is_at(Some(host.url()));
            thread::park_timeout(Duration::from_millis(chance.below(LIFE_MS_MAX)));
            if chance.below(LOOKS) == 0 {
                heads.push(head(&host, &trust));
            }
            clients.is_at(None);
            dir = host.kill();
        }
        let host = Host::on(dir);
        clients.is_at(Some(host.url()));
        let begun = clients.allowed.load(Ordering::SeqCst);
        let told = || clients.told.lock().unwrap().len();
        // However many are left to do, they become fewer.
        while told() < begun {
            let before = told();
            eventually("clients are told of one more task", || {
                (told() > before).then_some(())
            });
        }
        drop(over);
        host
    });
    checked(&host, &trust, clients.told.into_inner().unwrap(), heads);
}

/// Ends the load when it is dropped, also by a check that fails: whoever makes it is waited for.
struct Over<'a>(&'a Clients);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// What a stranger is shown who asks for the head of the log.
fn head(host: &Host, trust: &TrustFile) -> Checkpoint {
    let call = host.call("GET", "/log/checkpoint").authorization(None);
    Checkpoint::open(&call.send().expect(200).text(), &trust.log).unwrap()
}

/// Checks everything from outside.
fn checked(
    host: &Host,
    trust: &TrustFile,
    told: BTreeMap<usize, Told>,
    mut heads: Vec<Checkpoint>,
) {
    let told: Vec<Told> = told.into_values().collect();
    let client: &Client = host;
    let tasks = side_by_side(told.len(), |n| {
        let Told { id, ends } = &told[n];
        let task = ended(client, id);
        let state = task["state"].as_str().unwrap();
        assert!(ends.contains(&state), "{task:#}");
        let report = verify(&client.receipt(id), trust);
        assert!(report.passed() && !report.open, "{id}: {report:#?}");
        task
    });
    // Each submission had a key, so there is no task that no client was told of but those that opened the accounts.
    let all = all_states(host);
    assert_eq!(all.len(), tasks.len() + 4, "{all:?}");
    let transfers = |task: &&Value| {
        task["steps"][0]["uses"]
            .as_str()
            .unwrap()
            .ends_with("/transfer")
    };
    audit(host, tasks.iter().filter(transfers));
    // Nothing is left out of the log or there twice, in any task.
    whole_log_verified(host);
    heads.push(head(host, trust));
    continues(host, heads);
}

/// The state of every task, by its id.
fn all_states(host: &Host) -> BTreeMap<String, String> {
    let mut states = BTreeMap::new();
    let mut at = "/v1/tasks?limit=200".to_owned();
    loop {
        let page = host.get(at);
        let items = page["items"].as_array().unwrap().iter();
        states.extend(items.map(|task| (id_of(task), task["state"].to_string())));
        let Some(next) = page["next"].as_str() else {
            return states;
        };
        at = format!("/v1/tasks?limit=200&cursor={next}");
    }
}

/// Checks that the log begins with each of these heads: it only grew.
fn continues(host: &Host, mut heads: Vec<Checkpoint>) {
    heads.sort_by_key(|head| head.size);
    let size = heads[heads.len() - 1].size;
    let mut tree = Frontier::new();
    let mut heads = heads.iter().peekable();
    for n in 0..size.div_ceil(256) {
        let width = (size - n * 256).min(256);
        let place = format!(
            "{}{:03}",
            if n < 1_000 {
                String::new()
            } else {
                format!("x{:03}/", n / 1_000)
            },
            n % 1_000
        );
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
        for leaf in log::tile(host, &format!("0/{place}{partial}")) {
            tree.append(leaf);
            while let Some(head) = heads.next_if(|head| head.size == tree.size()) {
                assert_eq!(
                    tree.root(),
                    head.root,
                    "the log forked before {}",
                    head.size
                );
            }
        }
    }
    assert_eq!(heads.next(), None);
}
