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
