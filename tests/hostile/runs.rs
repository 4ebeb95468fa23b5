//! Attacks that plugins make while they run: how one is made, and held against its row.

mod answers;
mod attacks;
mod network;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stepseal_receipts::record::{Kind, Record, Status};

pub(super) use attacks::runs;
pub(super) use network::NAMES;
use network::Servers;

use super::{Attack, wide_limits};
use crate::host::Host;
use crate::host::client::Client;
use crate::host::tasks::{allow_everything, id, one_step};
use crate::outbound::SECRET;
use crate::support::ended;
use crate::wat::{Plugin, parse_str};

/// A step that attacks, how it must end, and what makes it end so.
pub(super) struct Run {
    /// What it does: a row of the documentation.
    pub(super) attack: &'static str,
    /// What holds it.
    pub(super) held_by: &'static str,
    by: By,
    /// In the place of [`tight_limits`].
    limits: Value,
    pub(super) status: Status,
    pub(super) code: Option<&'static str>,
    /// A part of the message in the record; none where it is empty.
    says: &'static str,
    /// What the guest is told in answer to its last request: an error, a status, or a part of the body.
    pub(super) told: Option<&'static str>,
    /// Whether it needs names that only a test gives.
    needs_names: bool,
}

/// Who attacks.
enum By {
    /// A step of the guest `hostile` with this input.
    Guest(&'static str, Value),
    /// This plugin, whose text is made into that of an attack.
    Text(Plugin, fn(String) -> String),
    /// The last of these steps.
    Plan(Value),
    /// A step of the guest `outbound` with the input that is made for these servers.
    Request(&'static str, InputFor),
}

/// Makes an input.
type InputFor = Box<dyn Fn(&Servers) -> Value + Send + Sync>;

/// What a run may use unless it says otherwise: little fuel, and more time than a busy machine needs.
fn tight_limits() -> Value {
    json!({"fuel": 50_000_000, "memory_bytes": 64 << 20, "wall_ms": 120_000, "output_bytes": 1 << 20})
}

/// Fuel that lasts for minutes, and little time.
fn little_time() -> Value {
    json!({"fuel": 1_000_000_000_000_u64, "wall_ms": 200})
}

fn run(
    attack: &'static str,
    by: By,
    status: Status,
    says: &'static str,
    held_by: &'static str,
) -> Run {
    Run {
        attack,
        held_by,
        by,
        limits: json!({}),
        status,
        code: None,
        says,
        told: None,
        needs_names: false,
    }
}

impl Run {
    fn under(mut self, limits: Value) -> Self {
        self.limits = limits;
        self
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn with_names(mut self) -> Self {
        self.needs_names = true;
        self
    }
}

/// An attack that is ready to be made, as often as one likes.
pub(super) struct Ready {
    run: Run,
    submission: Value,
    servers: Arc<Servers>,
}

/// Gives a host everybody who attacks, with every limit as wide as an operator may make it.
pub(super) fn ready(host: &Host) -> Vec<Ready> {
    allow_everything(host, &json!({}));
    host.grant(
        "hostile",
        &json!({"buckets": ["hostile"], "limits": wide_limits()}),
    );
    host.upload("outbound");
    let servers = Arc::new(Servers::start());
    servers.grant(host);
    let runs = runs().into_iter().enumerate();
    runs.filter(|(_, run)| host.has_names() || !run.needs_names)
        .map(|(number, run)| Ready {
            submission: submission(host, number, &run, &servers),
            run,
            servers: Arc::clone(&servers),
        })
        .collect()
}

fn submission(host: &Client, number: usize, run: &Run, servers: &Servers) -> Value {
    let mut limits = tight_limits();
    for (name, value) in run.limits.as_object().unwrap() {
        limits[name] = value.clone();
    }
    let mut submission = match &run.by {
        By::Guest(step, with) => one_step(&format!("hostile/{step}"), with),
        By::Plan(plan) => plan.clone(),
        By::Request(step, input) => one_step(&format!("outbound/{step}"), &input(servers)),
        By::Text(plugin, change) => {
            // As long as the name that every text has, which it takes the place of.
            let name = format!("x{number:04}");
            let text = change(plugin.text());
            let text = text.replace("\"probe1.0.0{}\"", &format!("\"{name}1.0.0{{}}\""));
            let bytes = parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            host.upload_bytes(bytes).expect(201);
            host.grant(&name, &json!({"limits": wide_limits()}));
            one_step(&format!("{name}/{name}"), &json!({"n": 1}))
        }
    };
    for step in submission["plan"]["steps"].as_array_mut().unwrap() {
        step["limits"] = limits.clone();
    }
    submission
}

/// The record of the last attempt of a step.
fn attempt(records: &[(u64, Record)]) -> &Record {
    let ends = |record: &Record| matches!(record.kind, Kind::StepCompleted | Kind::StepFailed);
    let mut attempts = records.iter().rev().map(|(_, record)| record);
    attempts.find(|record| ends(record)).unwrap()
}

/// Whether the secret is in it, as it is or within whatever is in base64 there.
fn gives_away(shown: &Value) -> bool {
    match shown {
        Value::Array(items) => items.iter().any(gives_away),
        Value::Object(members) => members.values().any(gives_away),
        Value::String(text) => {
            let inner = STANDARD.decode(text).unwrap_or_default();
            let inner = String::from_utf8_lossy(&inner);
            // A payload has its salt before it.
            let json = inner.find(['{', '[', '"']).map(|at| &inner[at..]);
            let json = json.and_then(|json| serde_json::from_str(json).ok());
            text.contains(SECRET)
                || inner.contains(SECRET)
                || json.is_some_and(|json: Value| gives_away(&json))
        }
        _ => false,
    }
}

impl Attack for Ready {
    fn begin(&self, host: &Client) -> String {
        id(&host.submit(&self.submission))
    }

    #[track_caller]
    fn ends_as_it_must(&self, host: &Client, task: &str) {
        let Run {
            attack,
            status,
            code,
            says,
            told,
            ..
        } = &self.run;
        let task = ended(host, task);
        let wanted = if *status == Status::Ok {
            "succeeded"
        } else {
            "failed"
        };
        assert_eq!(task["state"], wanted, "{attack}: {task}");
        let report = host.receipt_verified(&id(&task));
        let record = attempt(&report.records);
        let outcome = record.outcome.as_ref().unwrap();
        assert_eq!(
            (outcome.status, outcome.code.as_deref()),
            (*status, *code),
            "{attack}: {outcome:?}"
        );
        let message = outcome.message.as_deref().unwrap_or_default();
        assert!(message.contains(says), "{attack}: {outcome:?}");
        if let Some(told) = told {
            let responses = &task["steps"][0]["output"]["responses"];
            let response = responses.as_array().unwrap().last().unwrap();
            let was_told = response["error"] == **told
                || told
                    .parse()
                    .is_ok_and(|status: u64| response["status"] == status)
                || response["body"].as_str().unwrap().contains(told);
            assert!(was_told, "{attack}: {response:#}");
        }
        if let By::Request(..) = self.run.by {
            self.servers.were_left_alone();
            let events = host.stream(&id(&task), None).map(|event| event.data);
            let receipt: Value = serde_json::from_slice(&host.receipt(&id(&task))).unwrap();
            let shown = json!([events.collect::<Vec<_>>(), receipt, &task]);
            assert!(!gives_away(&shown), "{attack}: {task:#}");
        }
        // Nothing was used where nothing ran.
        let (Some(fuel), Some(memory)) = (record.fuel, record.memory) else {
            assert_eq!(*status, Status::InvalidInput, "{attack}");
            return;
        };
        assert!(
            fuel.used <= fuel.limit && memory.peak <= memory.limit,
            "{attack}: {fuel:?} {memory:?}"
        );
        assert_eq!(
            fuel.used == fuel.limit,
            *status == Status::OutOfFuel,
            "{attack}: {fuel:?}"
        );
    }
}

#[test]
fn a_secret_is_seen_wherever_it_is() {
    let body = json!({ "body": STANDARD.encode(format!("it is {SECRET}")) });
    let salted = [&[7, 255, 0][..], body.to_string().as_bytes()].concat();
    for shown in [
        json!([format!("a line with {SECRET}")]),
        json!({ "payload": STANDARD.encode(SECRET) }),
        json!({"disclosures": [{ "blob": STANDARD.encode(salted) }]}),
    ] {
        assert!(gives_away(&shown), "{shown}");
    }
    assert!(!gives_away(&json!([SECRET[1..], "", 1, null])));
}
