//! What the host counts of its own work, for who runs it (`OpenMetrics` 1.0). Nothing in it names a task, a plugin or an agent.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use stepseal_sandbox::StepRun;

use super::{Engine, EngineError, lock};
use crate::store::{Accept, CommitError, NewTask, Transition};

type Level = Gauge<u64, AtomicU64>;

/// What happened: the kind of an event, of which there are a few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Happened {
    kind: &'static str,
}

/// What came of something: of a run of a step, of a request, of a line of its log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What was done with keys of buckets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Access {
    access: &'static str,
}

/// A pool of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPool {
    pool: &'static str,
}

/// A witness, by its name in the host's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    witness: String,
}

/// The counters of an engine.
pub(crate) struct Metrics {
    registry: Registry,
    events: Family<Happened, Counter>,
    runs: RunCounters,
    commits: Counter,
    running: Level,
    places: Family<OfPool, Level>,
    compilations: Level,
    log: Level,
    signed: Level,
    witnesses: WitnessLevels,
}

/// What runs of steps used.
#[derive(Default)]
struct RunCounters {
    ended: Family<Outcome, Counter>,
    fuel: Counter,
    virtual_ms: Counter,
    log_lines: Family<Outcome, Counter>,
    keys: Family<Access, Counter>,
    requests: Family<Outcome, Counter>,
}

impl RunCounters {
    fn register(&self, registry: &mut Registry) {
        let by_outcome = [
            (
                "step_runs",
                "Runs of steps in the sandbox since the start, by how they ended",
                &self.ended,
            ),
            (
                "log_lines",
                "Lines that steps logged since the start: kept, or dropped since there were too many",
                &self.log_lines,
            ),
            (
                "http_requests",
                "Requests that steps made since the start: answered, failed on the way, or refused by the host",
                &self.requests,
            ),
        ];
        for (name, help, family) in by_outcome {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "fuel",
            "Fuel that steps used since the start, host calls included",
            self.fuel.clone(),
        );
        registry.register(
            "virtual_milliseconds",
            "How far the clocks of steps moved since the start",
            self.virtual_ms.clone(),
        );
        registry.register(
            "keyvalue",
            "Keys that steps read or would write, and buckets they listed, since the start; conflicts repeat them",
            self.keys.clone(),
        );
    }

    fn count(&self, run: &StepRun) {
        let by_outcome = |family: &Family<Outcome, Counter>, outcome: &'static str, count: u64| {
            // What never happened has no line.
            if count > 0 {
                family.get_or_create(&Outcome { outcome }).inc_by(count);
            }
        };
        by_outcome(&self.ended, run.outcome.status().as_str(), 1);
        self.fuel.inc_by(run.fuel_used);
        let virtual_ms = run.virtual_elapsed.as_millis();
        let virtual_ms = u64::try_from(virtual_ms).unwrap_or(u64::MAX);
        self.virtual_ms.inc_by(virtual_ms);
        by_outcome(&self.log_lines, "kept", run.logs.len() as u64);
        by_outcome(&self.log_lines, "dropped", run.logs_dropped);
        by_outcome(&self.requests, "answered", run.http.answered.into());
        by_outcome(&self.requests, "failed", run.http.failed.into());
        by_outcome(&self.requests, "refused", run.http.refused.into());
        let changes = &run.changes;
        for (access, count) in [
            ("read", changes.reads.len()),
            ("listed", changes.listed.len()),
            ("written", changes.writes.len()),
        ] {
            if count > 0 {
                let keys = self.keys.get_or_create(&Access { access });
                keys.inc_by(count as u64);
            }
        }
    }
}

/// What is said of each witness.
#[derive(Default)]
struct WitnessLevels {
    up: Family<Named, Level>,
    size: Family<Named, Level>,
    asked: Family<Named, Level>,
    cosigned: Family<Named, Level>,
}

impl Metrics {
    /// Nothing has happened yet.
    pub(crate) fn new(host: &str, engine: &str) -> Self {
        let mut all = Self {
            registry: Registry::with_prefix("stepseal"),
            events: Family::default(),
            runs: RunCounters::default(),
            commits: Counter::default(),
            running: Level::default(),
            places: Family::default(),
            compilations: Level::default(),
            log: Level::default(),
            signed: Level::default(),
            witnesses: WitnessLevels::default(),
        };
        let registry = &mut all.registry;
        let build = Info::new([("host", host.to_owned()), ("engine", engine.to_owned())]);
        registry.register("build", "What runs", build);
        registry.register(
            "events",
            "Events of tasks that were stored since the start, by kind",
            all.events.clone(),
        );
        all.runs.register(registry);
        registry.register(
            "places_taken",
            "Places to run in that calls have now; a pool with none left makes others wait",
            all.places.clone(),
        );
        registry.register(
            "commits",
            "Transactions of the database that wrote since the start; transitions that come together share one",
            all.commits.clone(),
        );
        let witnesses = &all.witnesses;
        let of_witnesses = [
            (
                "witness_up",
                "Whether it cosigned when it was asked last",
                &witnesses.up,
            ),
            (
                "witness_size",
                "Entries of the last head it cosigned",
                &witnesses.size,
            ),
            (
                "witness_asked",
                "How often it was asked since the start",
                &witnesses.asked,
            ),
            (
                "witness_cosigned",
                "How often it cosigned since the start",
                &witnesses.cosigned,
            ),
        ];
        for (name, help, family) in of_witnesses {
            registry.register(name, help, family.clone());
        }
        let levels = [
            ("tasks_running", "Tasks that run now", &all.running),
            (
                "compilations",
                "Components that are compiled now or wait for it",
                &all.compilations,
            ),
            ("log_entries", "Entries of the log", &all.log),
            (
                "log_signed_entries",
                "Entries of the newest signed head",
                &all.signed,
            ),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
        all
    }

    fn count(&self, kinds: &[&'static str]) {
        for kind in kinds {
            self.events.get_or_create(&Happened { kind }).inc();
        }
    }
}

impl Engine {
    /// Counts a run of a step, and what it used.
    pub(super) fn count_run(&self, run: &StepRun) {
        self.0.metrics.runs.count(run);
    }

    /// Stores a new task, and counts what happened to it.
    pub(super) async fn store_new(
        &self,
        task: &NewTask,
        first: Transition,
    ) -> Result<Accept, CommitError> {
        let kinds = kinds(&first);
        let accept = self.0.store.accept(task, first).await?;
        if accept == Accept::New {
            self.0.metrics.count(&kinds);
        }
        Ok(accept)
    }

    /// Stores what happened to a task, and counts it.
    pub(super) async fn store_more(&self, more: Transition) -> Result<(), CommitError> {
        let kinds = kinds(&more);
        self.0.store.commit(more).await?;
        self.0.metrics.count(&kinds);
        Ok(())
    }

    /// All metrics as `OpenMetrics` text.
    pub async fn metrics(&self) -> Result<String, EngineError> {
        let metrics = &self.0.metrics;
        metrics.running.set(lock(&self.0.active).len() as u64);
        let sandbox = &self.0.sandbox;
        let (steps, policies) = sandbox.places_taken();
        for (pool, taken) in [("steps", steps), ("policies", policies)] {
            let places = metrics.places.get_or_create(&OfPool { pool });
            places.set(taken as u64);
        }
        metrics
            .compilations
            .set(sandbox.compilations().len() as u64);
        let commits = self.0.store.commits();
        metrics.commits.inner().store(commits, Ordering::Relaxed);
        metrics.log.set(self.0.store.log_head().await?.size);
        let signed = self.0.store.checkpoint().await?;
        metrics
            .signed
            .set(signed.map_or(0, |signed| signed.head.size));
        let levels = &metrics.witnesses;
        for view in self.witnesses() {
            let name = Named { witness: view.name };
            let is_up = view.error.is_none() && view.cosigned > 0;
            levels.up.get_or_create(&name).set(is_up.into());
            levels.size.get_or_create(&name).set(view.size.unwrap_or(0));
            levels.asked.get_or_create(&name).set(view.asked);
            levels.cosigned.get_or_create(&name).set(view.cosigned);
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(text)
    }
}

fn kinds(transition: &Transition) -> Vec<&'static str> {
    transition.events.iter().map(|event| event.kind).collect()
}
