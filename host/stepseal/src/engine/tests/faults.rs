//! Each write of the database fails once, stored or not, while tasks of every kind go through the engine: nothing that a client was told is lost,
//! and nothing is done twice.

use std::ops::RangeFrom;

use futures_util::future::join_all;
use serde_json::{Value, json};
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::{Timestamp, UNIX_MS_MAX};

use tokio::time::{sleep, timeout};

use super::{
    GLANCE, Host, PATIENCE, Place, after, is_unknown, one_step, transfer, transfer_if_approved,
};
use crate::engine::approvals::Decide;
use crate::engine::{EngineError, TaskLimits};
use crate::store::faulty::Fault;
use crate::store::{ApprovalQuery, ApprovalState, OPERATOR, Store as _};

/// Worlds at a time.
const WORLDS: u32 = 12;
/// Writes that the story below takes at least. Fewer would mean that it does not do what it says.
const WRITES_MIN: u32 = 20;
/// Writes that it may take at most, so that the test ends.
const WRITES_MAX: u32 = 100;

/// A client who asks again until an answer says what is.
impl Host {
    async fn told<T, F: Future<Output = Result<T, EngineError>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, EngineError> {
        for _ in 0..10 {
            match ask().await {
                Err(error) if is_unknown(&error) => {}
                told => return told,
            }
        }
        panic!("one write was to fail, and not each of ten");
    }

    /// Submits under a key, so that to ask again is not to submit again. Gives the id of the task that was acknowledged.
    async fn acknowledged(&self, key: String, submission: Value, waits: bool) -> String {
        let submitted = self.told(|| {
            let key = Some(key.clone());
            self.engine.submit(OPERATOR, submission.clone(), key, waits)
        });
        submitted.await.unwrap().task.row.task.id
    }

    async fn decided(&self, task: &str) {
        let asked = self.until(task, "asked about", |view| {
            view.steps[0].approval.is_some() || view.row.state.is_final()
        });
        asked.await;
        let query = ApprovalQuery {
            task: Some(task.to_owned()),
            limit: 1,
            ..ApprovalQuery::default()
        };
        let approval = self.engine.approvals(query).await.unwrap().remove(0).row;
        let decided = self.told(|| {
            let decide = Decide {
                subject: approval.subject,
                approve: true,
                approver: "dana".to_owned(),
                role: None,
                comment: None,
                envelope: None,
            };
            self.engine.decide(&approval.id, decide)
        });
        match decided.await {
            Ok(_) => {}
            // The answer to the first time was lost.
            Err(EngineError::Conflict { code, .. }) => assert_eq!(code, "already-decided"),
            Err(error) => panic!("{error}"),
        }
        let row = self.engine.approval(&approval.id).await.unwrap().row;
        assert_eq!(row.state, ApprovalState::Approved);
    }

    async fn cancelled(&self, task: &str) {
        match self.told(|| self.engine.cancel(task)).await {
            Ok(_) => {}
            Err(EngineError::Conflict { code, .. }) => assert_eq!(code, "finished"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Tasks of every kind, one after the other, so that the nth write is the same one each time. Gives their ids with the state that each
    /// comes to.
    async fn story(&self) -> Vec<(String, TaskState)> {
        let mut told = Vec::new();
        let echo = one_step("hostile/echo", &json!(7));
        for waits in [true, false] {
            let key = format!("pure-{waits}");
            let pure = self.acknowledged(key, echo.clone(), waits).await;
            self.ended(&pure).await;
            told.push((pure, TaskState::Succeeded));
            let key = format!("effect-{waits}");
            let effect = self.acknowledged(key, transfer(), waits).await;
            self.ended(&effect).await;
            told.push((effect, TaskState::Succeeded));
        }

        let mut again = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
        again["plan"]["steps"][0]["retry"] = json!({"max_attempts": 3, "backoff_ms": 1});
        let again = self.acknowledged("again".into(), again, false).await;
        self.ended(&again).await;
        told.push((again, TaskState::Succeeded));

        let asked = self.acknowledged("asked".into(), transfer_if_approved(), true);
        let asked = asked.await;
        self.decided(&asked).await;
        self.ended(&asked).await;
        told.push((asked, TaskState::Succeeded));

        // What it goes by changes: everything after this is judged anew.
        let granted = self.told(|| {
            let ledger = json!({"buckets": ["ledger"], "limits": {"fuel": 400_000_000}});
            self.engine.put_grant("ledger", ledger, None)
        });
        granted.await.unwrap();

        let waiting = self.acknowledged("waiting".into(), transfer_if_approved(), false);
        let waiting = waiting.await;
        self.cancelled(&waiting).await;
        self.ended(&waiting).await;
        told.push((waiting, TaskState::Cancelled));
        let endless = one_step("hostile/loop", &json!({}));
        let running = self.acknowledged("running".into(), endless, false).await;
        self.until(&running, "running", |view| {
            view.row.state == TaskState::Running
        })
        .await;
        self.cancelled(&running).await;
        self.ended(&running).await;
        told.push((running, TaskState::Cancelled));

        let receipt = || self.engine.receipt(&told[0].0, true, None);
        self.told(receipt).await.unwrap();
        told
    }
}

/// A world in which the `nth` write of the story fails. Gives what failed; nothing where the story has fewer writes.
async fn world(place: &Place, nth: u32, fault: Fault) -> Vec<&'static str> {
    let host = place.host("one", TaskLimits::default()).await;
    host.set_up().await;
    host.store.arm(nth, fault);
    let told = host.story().await;
    let struck = host.store.disarm();
    host.stop().await;

    // Looked at by whoever comes afterwards.
    let host = place.host("one", TaskLimits::default()).await;
    let tasks = host.checked().await;
    for (id, state) in &told {
        let task = tasks.iter().find(|task| task.row.task.id == *id);
        let task = task.unwrap_or_else(|| panic!("task {id} was acknowledged and is gone"));
        assert_eq!(task.row.state, *state, "{task:?}");
    }
    // Every submission had a key: what nobody was told of was told of when they asked again. Two accounts were opened before.
    assert_eq!(tasks.len(), told.len() + 2, "{tasks:?}");
    assert_eq!(host.balance("ada").await, after(-3));
    assert_eq!(host.balance("bob").await, after(3));
    host.stop().await;
    struck
}

async fn each_write_fails(place: fn() -> Place) {
    let mut nths: RangeFrom<u32> = 1..;
    loop {
        let wave: Vec<u32> = nths.by_ref().take(WORLDS as usize / 2).collect();
        let worlds = wave.iter().flat_map(|nth| {
            [Fault::NotStored, Fault::AnswerLost].map(|fault| async move {
                let struck = world(&place(), *nth, fault).await;
                eprintln!("write {nth}, {fault:?}: {struck:?}");
                !struck.is_empty()
            })
        });
        let struck = join_all(worlds).await;
        let last = wave[wave.len() - 1];
        assert!(last < WRITES_MAX, "there is no end of writes");
        if struck.iter().any(|struck| !struck) {
            assert!(last > WRITES_MIN, "only {last} writes");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_fails_once_in_each_way_and_nothing_is_lost_or_done_twice() {
    each_write_fails(Place::on_sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_there_may_be_other_hosts() {
    each_write_fails(Place::on_postgres).await;
}

/// A fault of this host's alone, such as a component that is missing here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_cannot_be_run_here_is_left_to_the_other_hosts() {
    let place = Place::on_postgres();
    let one = place.host("one", TaskLimits::default()).await;
    one.set_up().await;
    let two = place.host("two", TaskLimits::default()).await;
    // As often as a host tries.
    one.store.refuse("commit", 5);
    let echo = one_step("hostile/echo", &json!(7));
    let task = one.acknowledged("echo".into(), echo, false).await;
    let left = async {
        let operator = [OPERATOR.to_owned()];
        let far = Timestamp::from_unix_ms(UNIX_MS_MAX).unwrap();
        loop {
            let due = two.store.due(far, &operator, 9).await.unwrap();
            if due.iter().any(|due| due.id == task) {
                return;
            }
            sleep(GLANCE).await;
        }
    };
    timeout(PATIENCE, left).await.expect("it is let go of");
    assert_eq!(one.store.disarm().len(), 5);
    // It rests before anybody tries again, and this host would be the first whose rest is over.
    one.store.refuse("commit", u32::MAX);
    two.clock.put(60_000);
    two.engine.0.wake.notify_one();
    assert_eq!(two.ended(&task).await.row.state, TaskState::Succeeded);
    two.checked().await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_many_outputs_is_read_in_as_many_looks_as_one_of_few() {
    let place = Place::on_sqlite();
    let host = place.host("one", TaskLimits::default()).await;
    host.set_up().await;
    let mut looks = Vec::new();
    for count in [1, 40] {
        let steps =
            (0..count).map(|n| json!({"id": format!("s{n}"), "uses": "hostile/echo", "with": n}));
        let plan = json!({"plan": {"steps": steps.collect::<Vec<_>>()}});
        let id = host.run(plan).await.row.task.id;
        let before = host.store.reads();
        let view = host.engine.task(&id).await.unwrap();
        looks.push(host.store.reads() - before);
        for (step, n) in view.steps.iter().zip(0..) {
            assert_eq!(step.output, Some(json!(n)));
        }
    }
    assert_eq!(looks[0], looks[1]);
    host.stop().await;
}
