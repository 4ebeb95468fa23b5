//! Schedules under a clock that stands, on hosts that run nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use stepseal_receipts::keys::SigningKey;
use stepseal_sandbox::{Sandbox, Settings, TlsRoots};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::engine::{EngineSettings, TaskLimits};
use crate::store::{ComponentKind, ComponentRow, NewAct, Store, TaskQuery, sqlite};

/// A second of the time at which these tests begin.
const BEGIN: u64 = 1_800_000_000;

/// A clock that stands.
struct Standing(AtomicU64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::SeqCst)).unwrap()
    }

    fn random(&self) -> [u8; 32] {
        SystemClock.random()
    }

    fn id(&self) -> String {
        SystemClock.id()
    }
}

/// Hosts on one database, none of which runs anything or looks at schedules by itself.
struct World {
    dir: TempDir,
    store: Arc<dyn Store>,
    clock: Arc<Standing>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(sqlite::open(&dir.path().join("db")).await.unwrap());
        Self {
            dir,
            store,
            clock: Arc::new(Standing(AtomicU64::new(BEGIN * 1000))),
        }
    }

    async fn host(&self) -> Engine {
        let path = |name: &str| self.dir.path().join(name);
        let engine = Engine::open(EngineSettings {
            store: Arc::clone(&self.store),
            sandbox: Sandbox::new(Settings::default()).unwrap(),
            clock: self.clock.clone(),
            components: path("components"),
            shared_components: None,
            record_key: SigningKey::from_seed([1; 32]),
            log_key: SigningKey::from_seed([2; 32]),
            log_key_before: None,
            head: path("head"),
            secrets: path("secrets"),
            http_roots: TlsRoots::default(),
            previous: None,
            origin: "stepseal.local/test".to_owned(),
            approval_ttl_ms: 1000,
            tasks: TaskLimits::default(),
            keep_payloads: None,
            witnesses: None,
        });
        let engine = engine.await.unwrap();
        // Tasks stay queued.
        engine.0.stopping.send_replace(true);
        engine
    }

    /// A plugin that can be named in plans.
    async fn plugin(&self, version: &str) {
        let any = json!({"type": "object"});
        let step = json!({"name": "a", "summary": "", "input_schema": any, "output_schema": any});
        let component = ComponentRow {
            digest: Digest::of(version.as_bytes()),
            kind: ComponentKind::Plugin,
            name: "p".to_owned(),
            version: version.to_owned(),
            descriptor: json!({"name": "p", "version": version, "steps": [step]}).to_string(),
            imports: Vec::new(),
            size: 1,
            added: self.clock.now(),
        };
        let act = NewAct {
            envelope: "{}".to_owned(),
            leaf_hash: Digest::of(version.as_bytes()),
        };
        self.store.add_component(&component, act).await.unwrap();
    }

    fn set(&self, seconds: u64) {
        self.clock
            .0
            .store((BEGIN + seconds) * 1000, Ordering::SeqCst);
    }

    async fn tasks(&self) -> usize {
        let query = TaskQuery {
            limit: 1000,
            ..TaskQuery::default()
        };
        self.store.tasks(&query).await.unwrap().len()
    }
}

fn every_minute(overlap: Overlap) -> Document {
    Document {
        cron: "* * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        overlap,
        submission: json!({"plan": {"steps": [{"id": "s", "uses": "p/a"}]}, "labels": {"env": "test"}}),
    }
}

async fn last(engine: &Engine) -> Firing {
    let schedule = engine.schedule_named("s").await.unwrap();
    schedule.last.expect("it was due")
}

#[tokio::test]
async fn a_time_is_one_task_however_many_hosts_look_and_whenever_they_stop() {
    let world = World::new().await;
    let (one, two) = (world.host().await, world.host().await);
    world.plugin("1.0.0").await;
    let (put, new) = one
        .put_schedule("s", every_minute(Overlap::Allow))
        .await
        .unwrap();
    assert!(new);
    let due = put.next.unwrap();
    assert_eq!(due.unix_ms(), (BEGIN + 60) * 1000);
    for (second, rest) in [(0, LOOK_EVERY), (45, Duration::from_secs(15))] {
        world.set(second);
        assert_eq!(
            one.fire_due().await.unwrap(),
            rest,
            "it sleeps until the time has come"
        );
    }
    assert_eq!(world.tasks().await, 0);

    world.set(60);
    let stale = world.store.schedule("s").await.unwrap().unwrap();
    let looked = tokio::join!(one.fire_due(), two.fire_due());
    looked.0.unwrap();
    looked.1.unwrap();
    assert_eq!(world.tasks().await, 1);
    let first = last(&one).await;
    assert_eq!((first.due, first.outcome), (due, FiringOutcome::Submitted));

    // A host that read the schedule before, and one that stopped after its submission and before it noted that, come to the same task.
    two.fire(stale.clone(), world.clock.now()).await.unwrap();
    let again = two.submit_due("s", every_minute(Overlap::Allow).submission, due, due);
    assert_eq!(again.await.unwrap(), first);
    assert_eq!((world.tasks().await, last(&two).await), (1, first.clone()));
    // Nor is another one made where the schedule is changed meanwhile, or removed and put there again.
    let mut changed = every_minute(Overlap::Allow);
    changed.submission["input"] = json!(1);
    let again = two
        .submit_due("s", changed.submission, due, due)
        .await
        .unwrap();
    assert_eq!(again.outcome, FiringOutcome::Refused, "{again:?}");
    assert_eq!(world.tasks().await, 1);

    let task = one.task(&first.task.unwrap()).await.unwrap();
    let labels = |name: &str| task.labels.get(name).map(String::as_str);
    assert_eq!((labels(LABEL), labels("env")), (Some("s"), Some("test")));
    one.remove_schedule("s").await.unwrap();
    world.set(600);
    one.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, 1);
}

#[tokio::test]
async fn a_time_is_one_task_however_late_it_is_noted() {
    let world = World::new().await;
    let host = world.host().await;
    world.plugin("1.0.0").await;
    let (put, _) = host
        .put_schedule("s", every_minute(Overlap::Skip))
        .await
        .unwrap();
    let due = put.next.unwrap();
    world.set(60);
    let submission = every_minute(Overlap::Skip).submission;
    let stopped = host.submit_due("s", submission, due, due).await.unwrap();
    // The host stopped before it noted that, and looks again two times later.
    world.set(190);
    host.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, 1);
    assert_eq!(last(&host).await.task, stopped.task);
    assert!(last(&host).await.task.is_some());
}

#[tokio::test]
async fn of_times_that_were_missed_the_last_is_made_up_for() {
    let world = World::new().await;
    let host = world.host().await;
    world.plugin("1.0.0").await;
    host.put_schedule("s", every_minute(Overlap::Allow))
        .await
        .unwrap();
    world.set(86_400 + 30);
    host.fire_due().await.unwrap();
    host.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, 1);
    let made_up = last(&host).await;
    assert!(
        made_up.due.unix_ms() > (BEGIN + 86_400 + 30 - 60) * 1000,
        "{made_up:?}"
    );
    // A clock that goes back makes nothing happen twice.
    world.set(60);
    host.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, 1);
}

#[tokio::test]
async fn a_time_is_skipped_while_the_last_task_is_not_over() {
    let world = World::new().await;
    let host = world.host().await;
    world.plugin("1.0.0").await;
    host.put_schedule("s", every_minute(Overlap::Skip))
        .await
        .unwrap();
    world.set(60);
    host.fire_due().await.unwrap();
    let first = last(&host).await;
    for minute in [2, 3] {
        world.set(minute * 60);
        host.fire_due().await.unwrap();
        let skipped = last(&host).await;
        assert_eq!(skipped.outcome, FiringOutcome::Skipped);
        assert_eq!(skipped.task, first.task);
    }
    assert_eq!(world.tasks().await, 1);
    // Nor is it forgotten where the schedule is put again.
    host.put_schedule("s", every_minute(Overlap::Skip))
        .await
        .unwrap();
    world.set(240);
    host.fire_due().await.unwrap();
    assert_eq!(last(&host).await.task, first.task);
    assert_eq!(world.tasks().await, 1);
    host.put_schedule("s", every_minute(Overlap::Allow))
        .await
        .unwrap();
    world.set(300);
    host.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, 2);
}

#[tokio::test]
async fn names_are_resolved_each_time_and_what_is_not_right_then_says_so() {
    let world = World::new().await;
    let host = world.host().await;
    world.plugin("1.0.0").await;
    let mut missing = every_minute(Overlap::Allow);
    missing.submission["plan"]["steps"][0]["uses"] = json!("p@3.0.0/a");
    missing.cron = "0 0 30 2 *".to_owned();
    missing.time_zone = "Atlantis".to_owned();
    let Err(EngineError::Invalid(faults)) = host.put_schedule("S!", missing).await else {
        panic!("it was taken");
    };
    let pointers: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(
        pointers,
        ["", "/time_zone", "/submission/plan/steps/0/uses"]
    );
    let mut never = every_minute(Overlap::Allow);
    never.cron = "0 0 30 2 *".to_owned();
    never.submission["labels"][LABEL] = json!("another");
    let Err(EngineError::Invalid(faults)) = host.put_schedule("s", never).await else {
        panic!("it was taken");
    };
    let pointers: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(pointers, ["/cron", "/submission/labels/stepseal.schedule"]);

    host.put_schedule("s", every_minute(Overlap::Allow))
        .await
        .unwrap();
    world.set(1);
    world.plugin("2.0.0").await;
    host.rules_changed();
    host.0.registry.forget_names();
    world.set(60);
    host.fire_due().await.unwrap();
    let task = last(&host).await.task.unwrap();
    assert_eq!(host.task(&task).await.unwrap().steps[0].uses, "p@2.0.0/a");

    // A schedule whose submission is not right any more says why, and goes on to its next time.
    let row = world.store.schedule("s").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_str(&row.document).unwrap();
    document["submission"]["plan"]["steps"][0]["uses"] = json!("gone/a");
    let row = ScheduleRow {
        document: document.to_string(),
        ..row
    };
    world.store.put_schedule(&row, 9).await.unwrap();
    world.set(120);
    host.fire_due().await.unwrap();
    let refused = last(&host).await;
    assert_eq!(
        (refused.outcome, &refused.task),
        (FiringOutcome::Refused, &None)
    );
    assert!(refused.message.unwrap().contains("no plugin gone"));
    let next = host.schedule_named("s").await.unwrap().next.unwrap();
    assert!(next > world.clock.now());
    assert_eq!(world.tasks().await, 1);
}

#[tokio::test]
async fn there_are_a_hundred_schedules_at_most_and_no_client_says_it_is_one() {
    let world = World::new().await;
    let host = world.host().await;
    world.plugin("1.0.0").await;
    for number in 0..SCHEDULES_MAX {
        let name = format!("s{number}");
        host.put_schedule(&name, every_minute(Overlap::Skip))
            .await
            .unwrap();
    }
    let more = host.put_schedule("s", every_minute(Overlap::Skip)).await;
    assert!(
        matches!(
            more,
            Err(EngineError::Conflict {
                code: "too-many-schedules",
                ..
            })
        ),
        "{more:?}"
    );
    assert!(
        !host
            .put_schedule("s7", every_minute(Overlap::Allow))
            .await
            .unwrap()
            .1
    );
    // All of them are due at once, and no more than some are taken up in one look.
    world.set(60);
    let rest = host.fire_due().await.unwrap();
    assert_eq!(world.tasks().await, AT_A_TIME as usize);
    assert_eq!(rest, Duration::ZERO, "the others are taken up at once");

    let mut forged = every_minute(Overlap::Skip).submission;
    forged["labels"][LABEL] = json!("s7");
    let refused = host.submit(OPERATOR, forged, None, false).await;
    assert!(
        matches!(refused, Err(EngineError::Invalid(_))),
        "{refused:?}"
    );
    let key = "schedule s7 2027-01-15T08:01:00.000Z".to_owned();
    let submission = every_minute(Overlap::Skip).submission;
    let refused = host.submit(OPERATOR, submission, Some(key), false).await;
    assert!(
        matches!(refused, Err(EngineError::Invalid(_))),
        "{refused:?}"
    );
}
