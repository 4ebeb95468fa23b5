//! Several hosts on one database: who holds a task, who hears what, and that what comes too late is not taken.

use std::time::Duration;

use stepseal_receipts::state::TaskState;
use tokio::time::{sleep, timeout};

use super::{Database, Proxy, Sharing};
use crate::store::conformance::{Fixture as _, act, at, submission, transition};
use crate::store::sql::SqlStore;
use crate::store::{
    CommitError, NewTask, News, OPERATOR, PolicyRow, Store as _, StoreError, Transition,
};

/// So that a test need not wait for long.
const LEASE: Duration = Duration::from_secs(1);
/// The longest that anything takes that is to come.
const PATIENCE: Duration = Duration::from_mins(1);

async fn join(database: &Database, name: &str) -> SqlStore {
    let store = database.open(Sharing::Together).await.unwrap();
    store.join(name, LEASE).await.unwrap();
    store
}

/// A new task that its host goes on with.
fn kept(id: &str) -> (NewTask, Transition) {
    let (task, first) = submission(id);
    let keeps = Transition {
        keeps: true,
        wake_at: Some(first.at),
        ..first
    };
    (task, keeps)
}

/// Waits until this is told.
async fn hears(store: &SqlStore, wanted: &News) {
    let heard = async { while store.news().await != *wanted {} };
    timeout(PATIENCE, heard).await.expect("it is told");
}

/// Waits until this host can take the task up.
async fn takes_up(store: &SqlStore, id: &str) {
    let ids = [id.to_owned()];
    let taken = async {
        while store.take_up(&ids).await.unwrap() != ids {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("it is free");
}

#[tokio::test]
async fn a_task_is_held_by_one_host_until_it_lets_go() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    let (task, first) = kept("t");
    one.accept(&task, first).await.unwrap();
    let operator = [OPERATOR.to_owned()];
    let now = at(10_000);
    assert_eq!(two.due(now, &operator, 9).await.unwrap(), []);
    assert_eq!(two.take_up(&["t".to_owned()]).await.unwrap(), [""; 0]);
    let late = two.commit(transition("t", 1)).await;
    assert!(matches!(late, Err(CommitError::Stale(_))), "{late:?}");
    // What it holds and did not know of, it finds.
    let held = one.due(now, &operator, 9).await.unwrap();
    assert_eq!(held[0].id, "t");
    let lets_go = Transition {
        wake_at: Some(at(1)),
        ..transition("t", 1)
    };
    one.commit(lets_go).await.unwrap();
    let late = one.commit(transition("t", 2)).await;
    assert!(matches!(late, Err(CommitError::Stale(_))), "{late:?}");
    takes_up(&two, "t").await;
    let ends = Transition {
        state: TaskState::Succeeded,
        keeps: true,
        ..transition("t", 2)
    };
    two.commit(ends).await.unwrap();
    assert_eq!(one.take_up(&["t".to_owned()]).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn of_hosts_that_want_the_same_tasks_at_once_each_gets_others() {
    let database = Database::new().await;
    let hosts = [
        join(&database, "one").await,
        join(&database, "two").await,
        join(&database, "three").await,
    ];
    let ids: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
    for id in &ids {
        let (task, first) = kept(id);
        let first = Transition {
            keeps: false,
            ..first
        };
        hosts[0].accept(&task, first).await.unwrap();
    }
    let [one, two, three] = &hosts;
    let (a, b, c) = tokio::join!(one.take_up(&ids), two.take_up(&ids), three.take_up(&ids));
    let mut all = [a.unwrap(), b.unwrap(), c.unwrap()].concat();
    all.sort();
    assert_eq!(all, ids);
}

#[tokio::test]
async fn a_host_that_leaves_gives_back_what_it_held_at_once() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    let (task, first) = kept("t");
    one.accept(&task, first).await.unwrap();
    one.leave().await.unwrap();
    assert_eq!(two.take_up(&["t".to_owned()]).await.unwrap(), ["t"]);
    let late = one.commit(transition("t", 1)).await;
    assert!(
        matches!(late, Err(CommitError::Store(StoreError::Lost))),
        "{late:?}"
    );
}

/// Its directory is held by one process, so the one before is gone.
#[tokio::test]
async fn a_host_that_starts_again_has_at_once_what_it_held_before() {
    let database = Database::new().await;
    let before = join(&database, "one").await;
    let (task, first) = kept("t");
    before.accept(&task, first).await.unwrap();
    let again = join(&database, "one").await;
    assert_eq!(again.take_up(&["t".to_owned()]).await.unwrap(), ["t"]);
    let late = before.commit(transition("t", 1)).await;
    assert!(
        matches!(late, Err(CommitError::Store(StoreError::Lost))),
        "{late:?}"
    );
}

#[tokio::test]
async fn the_late_write_of_a_host_that_was_cut_off_is_refused() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database.schema.url());
    let url = proxy.url().parse().unwrap();
    let one = super::super::open(&url, Sharing::Together).await.unwrap();
    one.join("one", LEASE).await.unwrap();
    let two = join(&database, "two").await;
    let (task, first) = kept("t");
    one.accept(&task, first).await.unwrap();
    proxy.cut();
    // This waits in the network while another host takes over.
    let late = async {
        let late = one.commit(Transition {
            keeps: true,
            ..transition("t", 1)
        });
        late.await
    };
    let meanwhile = async {
        takes_up(&two, "t").await;
        proxy.mend();
    };
    let (late, ()) = tokio::join!(late, meanwhile);
    assert!(
        matches!(
            late,
            Err(CommitError::Store(StoreError::Lost) | CommitError::Stale(_))
        ),
        "{late:?}"
    );
    hears(&one, &News::Lost).await;
    two.commit(Transition {
        keeps: true,
        ..transition("t", 1)
    })
    .await
    .unwrap();
    // It comes back under another number, and what it had is still not its own.
    let (other, first) = kept("u");
    let back = async {
        while one.accept(&other, first.clone()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("it joins anew");
    let late = one.commit(transition("t", 2)).await;
    assert!(matches!(late, Err(CommitError::Stale(_))), "{late:?}");
}

#[tokio::test]
async fn a_host_hears_what_another_one_does() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    hears(&two, &News::Missed).await;
    hears(&one, &News::Missed).await;
    let (task, first) = kept("t");
    one.accept(&task, first).await.unwrap();
    let changed = |due| News::Changed {
        tasks: vec!["t".to_owned()],
        due,
    };
    hears(&two, &changed(false)).await;
    two.request_cancel("t").await.unwrap();
    hears(&one, &News::Cancelled("t".to_owned())).await;
    let policy = PolicyRow {
        id: "p".to_owned(),
        component: crate::store::conformance::digest("c"),
        settings: "{}".to_owned(),
        scope: "{}".to_owned(),
        mode: "enforce".to_owned(),
        bound: at(1),
    };
    two.bind_policy(&policy, act("bound")).await.unwrap();
    hears(&one, &News::Rules).await;
    two.leave().await.unwrap();
    hears(&one, &News::Due).await;
}

/// Another host has to look in time, or the task is late where this one is gone by then.
#[tokio::test]
async fn a_host_hears_what_another_one_lets_go_of_and_is_due_soon() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    hears(&two, &News::Missed).await;
    hears(&one, &News::Missed).await;
    for (id, wakes_in_ms, due) in [("soon", 5_000, true), ("late", 600_000, false)] {
        let (task, first) = kept(id);
        one.accept(&task, first).await.unwrap();
        let waits = transition(id, 1);
        let wake_at = at(waits.at.unix_ms() + wakes_in_ms);
        let waits = Transition {
            state: TaskState::Waiting,
            wake_at: Some(wake_at),
            ..waits
        };
        let changed = |due| News::Changed {
            tasks: vec![id.to_owned()],
            due,
        };
        hears(&two, &changed(false)).await;
        one.commit(waits).await.unwrap();
        assert_eq!(timeout(PATIENCE, two.news()).await.unwrap(), changed(due));
    }
}

/// Whoever holds the head of the log is cut off after longer than many a lease.
#[tokio::test]
async fn hosts_that_wait_to_take_another_one_away_are_not_taken_for_gone_themselves() {
    let database = Database::new().await;
    let hosts = [join(&database, "one").await, join(&database, "two").await];
    let mut connection = database.connect().await;
    let all = "SELECT array_agg(epoch ORDER BY epoch) FROM hosts";
    let living: Vec<i64> = sqlx::query_scalar(all)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let stop = "BEGIN; SELECT size FROM log_head FOR UPDATE; INSERT INTO hosts VALUES (1000, 'gone', 0, 1000); COMMIT; \
        BEGIN; SELECT size FROM log_head FOR UPDATE; SELECT pg_sleep(3); COMMIT";
    sqlx::raw_sql(stop).execute(&mut connection).await.unwrap();
    let gone = async {
        loop {
            let left: Vec<i64> = sqlx::query_scalar(all)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            if !left.contains(&1000) {
                return left;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, gone).await.unwrap(), living);
    for host in hosts {
        host.close().await;
    }
}

/// Whoever takes tasks up waits for nobody: it would hold them meanwhile, and whoever takes a host for gone waits for its tasks.
#[tokio::test]
async fn a_host_that_is_being_taken_for_gone_takes_nothing_up_and_waits_for_nobody() {
    let database = Database::new().await;
    let one = join(&database, "one").await;
    let (task, first) = kept("t");
    let first = Transition {
        keeps: false,
        ..first
    };
    one.accept(&task, first).await.unwrap();
    let mut reaper = database.connect().await;
    for sql in ["BEGIN", "DELETE FROM hosts"] {
        sqlx::raw_sql(sql).execute(&mut reaper).await.unwrap();
    }
    assert_eq!(one.take_up(&["t".to_owned()]).await.unwrap(), [""; 0]);
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut reaper)
        .await
        .unwrap();
    takes_up(&one, "t").await;
}

#[tokio::test]
async fn that_it_was_taken_for_gone_a_host_hears_before_whatever_else_there_is() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    // More than there is room for, with nobody listening.
    let (task, first) = kept("t");
    two.accept(&task, first).await.unwrap();
    for _ in 0..300 {
        two.request_cancel("t").await.unwrap();
    }
    let gone = "DELETE FROM hosts WHERE name = 'one'; UPDATE log_head SET epoch = epoch + 1";
    database.schema.run(gone);
    let back = async {
        let (task, first) = kept("u");
        // It joins anew before anything of it is taken again.
        while one.accept(&task, first.clone()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("it joins anew");
    let heard = timeout(PATIENCE, one.news()).await.unwrap();
    assert_eq!(heard, News::Lost);
}

/// Its clock counts for nothing: what it ran is due.
#[tokio::test]
async fn what_a_host_ran_whose_clock_was_ahead_is_due_when_it_is_gone() {
    let database = Database::new().await;
    let (one, two) = (join(&database, "one").await, join(&database, "two").await);
    let (task, first) = kept("t");
    let ahead = Transition {
        wake_at: Some(at(first.at.unix_ms() + 3_600_000)),
        ..first
    };
    one.accept(&task, ahead).await.unwrap();
    one.leave().await.unwrap();
    let due = two.due(at(1), &[OPERATOR.to_owned()], 9).await;
    assert_eq!(due.unwrap()[0].id, "t");
}

#[tokio::test]
async fn a_database_is_changed_alone_or_served_together() {
    let database = Database::new().await;
    let one = join(&database, "one").await;
    let said = database
        .open(Sharing::Alone)
        .await
        .expect_err("it is served");
    assert!(said.to_string().contains("stop that one"), "{said}");
    one.close().await;
    let alone = database.open(Sharing::Alone).await.unwrap();
    let said = database
        .open(Sharing::Together)
        .await
        .expect_err("it is alone");
    assert!(said.to_string().contains("has it to itself"), "{said}");
    alone.close().await;
}

#[tokio::test]
async fn hosts_that_start_at_once_make_the_tables_once() {
    // Often enough that they meet in every way.
    for _ in 0..10 {
        let database = Database::new().await;
        let open = || database.open(Sharing::Together);
        let (one, two, three) = tokio::join!(open(), open(), open());
        for store in [one.unwrap(), two.unwrap(), three.unwrap()] {
            store.probe().await.unwrap();
            store.close().await;
        }
    }
}
