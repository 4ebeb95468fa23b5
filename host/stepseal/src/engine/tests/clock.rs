//! A clock that jumps: what it says goes into records, and nothing may hang on it that a client was promised.

use serde_json::{Value, json};
use stepseal_receipts::state::TaskState;

use super::{Host, Place, one_step, transfer, transfer_if_approved};
use crate::engine::TaskLimits;
use crate::store::OPERATOR;

const DAY_MS: i64 = 86_400_000;

async fn submitted(host: &Host, submission: Value) -> String {
    let submitted = host.engine.submit(OPERATOR, submission, None, false).await;
    submitted.unwrap().task.row.task.id
}

/// A step whose first attempt fails, so that the task waits for the second.
fn again(backoff_ms: u32) -> Value {
    let mut again = one_step("hostile/unavailable-until", &json!({"attempt": 2}));
    again["plan"]["steps"][0]["retry"] = json!({"max_attempts": 3, "backoff_ms": backoff_ms});
    again
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_made_while_the_clock_jumps_are_verified_and_nothing_is_lost() {
    let place = Place::on_sqlite();
    let host = place.host("one", TaskLimits::default()).await;
    host.set_up().await;
    for (ahead, wait) in [
        (DAY_MS, 1),
        (-DAY_MS, 1),
        (0, 1),
        (-400 * DAY_MS, 1),
        (0, 1),
    ] {
        let before = submitted(&host, again(wait)).await;
        let asked = host.run(transfer_if_approved()).await;
        host.clock.put(ahead);
        let effect = submitted(&host, transfer()).await;
        for id in [before, effect] {
            assert_eq!(host.ended(&id).await.row.state, TaskState::Succeeded);
        }
        // A day ahead, nobody decided in time, and there is nothing to be cancelled any more; else there is.
        let asked = asked.row.task.id;
        let cancelled = host.engine.cancel(&asked).await.is_ok();
        let state = host.ended(&asked).await.row.state;
        let is_told = cancelled && state == TaskState::Cancelled;
        assert!(is_told || state == TaskState::Denied, "{state:?}");
    }
    let tasks = host.checked().await;
    assert_eq!(tasks.len(), 17);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_next_attempt_does_not_wait_for_a_clock_that_was_put_back() {
    let place = Place::on_sqlite();
    let host = place.host("one", TaskLimits::default()).await;
    host.set_up().await;
    let again = submitted(&host, again(3_600_000)).await;
    host.until(&again, "waiting", |view| {
        view.row.state == TaskState::Waiting
    })
    .await;
    host.clock.put(-DAY_MS);
    assert_eq!(host.ended(&again).await.row.state, TaskState::Succeeded);
    host.verified(&again).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_goes_on_whatever_the_clock_says_after_a_restart() {
    let place = Place::on_sqlite();
    let one_at_a_time = TaskLimits {
        running: 1,
        ..TaskLimits::default()
    };
    let host = place.host("one", one_at_a_time).await;
    host.set_up().await;
    host.clock.put(DAY_MS);
    let endless = submitted(&host, one_step("hostile/loop", &json!({}))).await;
    host.until(&endless, "running", |view| {
        view.row.state == TaskState::Running
    })
    .await;
    let queued = submitted(&host, transfer()).await;
    host.stop().await;

    // The clock is right again.
    let host = place.host("one", TaskLimits::default()).await;
    assert_eq!(host.ended(&queued).await.row.state, TaskState::Succeeded);
    host.engine.cancel(&endless).await.unwrap();
    assert_eq!(host.ended(&endless).await.row.state, TaskState::Cancelled);
    host.checked().await;
    host.stop().await;
}
