//! Attacks that plugins make while they run: how one is made, and held against its row.

mod attacks;

use serde_json::{Value, json};
use stepseal_receipts::record::{Kind, Record, Status};

pub(super) use attacks::runs;

use super::wide_limits;
use crate::host::client::Client;
use crate::host::tasks::{allow_everything, id, one_step};
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
}

/// Who attacks.
enum By {
    /// A step of the guest `hostile` with this input.
    Guest(&'static str, Value),
    /// This plugin, whose text is made into that of an attack.
    Text(Plugin, fn(String) -> String),
    /// The last of these steps.
    Plan(Value),
}

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
}

/// An attack that is ready to be made, as often as one likes.
pub(super) struct Ready {
    run: Run,
    submission: Value,
}

/// Gives a host everybody who attacks, with every limit as wide as an operator may make it.
pub(super) fn ready(host: &Client) -> Vec<Ready> {
    allow_everything(host, &json!({}));
    host.grant(
        "hostile",
        &json!({"buckets": ["hostile"], "limits": wide_limits()}),
    );
    let runs = runs().into_iter().enumerate();
    runs.map(|(number, run)| Ready {
        submission: submission(host, number, &run),
        run,
    })
    .collect()
}

fn submission(host: &Client, number: usize, run: &Run) -> Value {
    let mut limits = tight_limits();
    for (name, value) in run.limits.as_object().unwrap() {
        limits[name] = value.clone();
    }
    let mut submission = match &run.by {
        By::Guest(step, with) => one_step(&format!("hostile/{step}"), with),
        By::Plan(plan) => plan.clone(),
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

impl Ready {
    /// Begins it, and gives the id of its task.
    pub(super) fn begin(&self, host: &Client) -> String {
        id(&host.submit(&self.submission))
    }

    /// Waits for its end, which must be the one that is wanted, recorded and signed.
    #[track_caller]
    pub(super) fn ends_as_it_must(&self, host: &Client, task: &str) {
        let Run {
            attack,
            status,
            code,
            says,
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
