//! Tasks, events, blobs, and who may write them.

use futures_util::future::join_all;
use stepseal_receipts::state::TaskState;

use super::{
    Fixture, accept, act, assert_refused, assert_stale, at, blob, digest, due, event, next_wake,
    record, task, transition,
};
use crate::store::{
    Accept, CommitError, DueTask, EventRow, Kept, NewErasure, NewTask, OPERATOR, RecordRow, Store,
    StoreError, TaskQuery, TaskRow, TenantRow, Transition,
};

pub(crate) async fn a_task_is_stored_with_everything_that_came_with_it(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let new = NewTask {
        agent: Some("treasury-bot".into()),
        labels: r#"{"env":"prod"}"#.into(),
        idempotency: Some(("key".into(), digest("request"))),
        ..task("t")
    };
    let first = Transition {
        events: vec![event("a"), event("b")],
        records: vec![record("t", 0), record("t", 1)],
        blobs: vec![blob(b"salt and plan"), blob(b"salt and input")],
        wake_at: Some(at(9_000)),
        ..transition("t", 0)
    };
    assert_eq!(store.accept(&new, first).await.unwrap(), Accept::New);
    let row = TaskRow {
        task: new,
        state: TaskState::Running,
        updated: at(2_000),
        wake_at: Some(at(9_000)),
        cancel: false,
        erased: None,
        pokes: 0,
        events: 2,
        records: 2,
        head: Some(record("t", 1).leaf_hash),
    };
    assert_eq!(store.task("t").await.unwrap(), Some(row.clone()));
    let bytes = store
        .blob("t", &blob(b"salt and plan").digest)
        .await
        .unwrap();
    assert_eq!(bytes.as_deref(), Some(&b"salt and plan"[..]));
    assert_eq!(store.blob("t", &digest("nothing")).await.unwrap(), None);
    let of_another = store.blob("u", &blob(b"salt and plan").digest).await;
    assert_eq!(of_another.unwrap(), None);
    assert_eq!(store.blobs("t").await.unwrap().len(), 2);
    assert_eq!(store.task("u").await.unwrap(), None);

    let second = Transition {
        records: vec![record("t", 2)],
        state: TaskState::Succeeded,
        ..transition("t", 2)
    };
    store.commit(second).await.unwrap();
    let row = TaskRow {
        state: TaskState::Succeeded,
        updated: at(2_002),
        wake_at: None,
        events: 3,
        records: 3,
        head: Some(record("t", 2).leaf_hash),
        ..row
    };
    assert_eq!(store.task("t").await.unwrap(), Some(row));
}

fn keyed(id: &str, request: &str) -> NewTask {
    NewTask {
        idempotency: Some(("key".into(), digest(request))),
        ..task(id)
    }
}

pub(crate) async fn an_idempotency_key_leads_to_the_first_task(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let submit = async |id: &str, request: &str| {
        store
            .accept(&keyed(id, request), transition(id, 0))
            .await
            .unwrap()
    };
    assert_eq!(submit("1", "request").await, Accept::New);
    assert_eq!(submit("2", "request").await, Accept::Known("1".into()));
    assert_eq!(submit("3", "other").await, Accept::KeyReused("1".into()));
    assert_eq!(store.task("2").await.unwrap(), None);
    assert_eq!(store.events("2", 0, 9).await.unwrap(), []);
    assert_eq!(store.task("1").await.unwrap().unwrap().events, 1);
}

pub(crate) async fn the_same_key_twice_at_once_makes_one_task(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let ids = ["1", "2", "3"];
    let tasks = ids.map(|id| keyed(id, "request"));
    let submissions = tasks
        .iter()
        .map(|task| store.accept(task, transition(&task.id, 0)));
    let mut accepted: Vec<_> = join_all(submissions)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let stored = store
        .tasks(&TaskQuery {
            limit: 9,
            ..TaskQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(stored.len(), 1);
    let known = Accept::Known(stored[0].task.id.clone());
    accepted.retain(|accept| *accept != known);
    assert_eq!(accepted, [Accept::New]);
}

pub(crate) async fn a_task_id_is_used_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let other = NewTask {
        labels: r#"{"other":"one"}"#.into(),
        ..task("t")
    };
    assert_stale(&store.accept(&other, transition("t", 0)).await, "t");
    assert_eq!(store.task("t").await.unwrap().unwrap().task, task("t"));
}

pub(crate) async fn a_task_must_come_with_its_own_first_transition(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_refused(&store.accept(&task("t"), transition("u", 0)).await);
    assert_refused(&store.accept(&task("t"), transition("t", 1)).await);
    assert_eq!(store.task("t").await.unwrap(), None);
}

pub(crate) async fn an_unknown_task_cannot_change(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_stale(&store.commit(transition("t", 0)).await, "t");
    assert_eq!(store.events("t", 0, 9).await.unwrap(), []);
}

pub(crate) async fn a_writer_that_missed_something_stores_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    store.commit(transition("t", 1)).await.unwrap();
    let before = store.task("t").await.unwrap();
    for after in [0, 1, 3] {
        let late = Transition {
            events: vec![event("late")],
            records: vec![record("t", 0)],
            blobs: vec![blob(b"late")],
            state: TaskState::Failed,
            keyvalue: crate::store::KeyValueChanges {
                writes: super::writes(&[("k", Some("late"))]),
                ..Default::default()
            },
            ..transition("t", after)
        };
        assert_stale(&store.commit(late).await, "t");
    }
    assert_eq!(store.task("t").await.unwrap(), before);
    assert_eq!(store.events("t", 0, 9).await.unwrap().len(), 2);
    assert_eq!(store.blob("t", &blob(b"late").digest).await.unwrap(), None);
    assert_eq!(store.bucket_get("b", "k").await.unwrap(), None);
    assert_eq!(store.log_head().await.unwrap().size, 0);
}

pub(crate) async fn of_two_writers_at_once_one_wins(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let with = |body: &str| Transition {
        events: vec![event(body)],
        ..transition("t", 1)
    };
    let (one, two) = tokio::join!(store.commit(with("one")), store.commit(with("two")));
    let (winner, loser) = if one.is_ok() {
        ("\"one\"", two)
    } else {
        ("\"two\"", one)
    };
    assert_stale(&loser, "t");
    let events = store.events("t", 1, 9).await.unwrap();
    let bodies: Vec<_> = events.iter().map(|event| event.body.as_str()).collect();
    assert_eq!(bodies, [winner]);
}

pub(crate) async fn one_after_the_other_is_fine_even_at_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let new = task("t");
    let with_record = |after: u64| Transition {
        records: vec![record("t", after)],
        ..transition("t", after)
    };
    let (first, second, third) = tokio::join!(
        store.accept(&new, with_record(0)),
        store.commit(with_record(1)),
        store.commit(with_record(2)),
    );
    assert_eq!(first.unwrap(), Accept::New);
    second.unwrap();
    third.unwrap();
    let row = store.task("t").await.unwrap().unwrap();
    assert_eq!((row.events, row.records), (3, 3));
    assert_eq!(row.updated, at(2_002));
    assert_eq!(store.records("t").await.unwrap().len(), 3);
}

pub(crate) async fn a_refused_transition_does_not_hurt_its_neighbours(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    accept(&*store, "u").await;
    let bad = Transition {
        records: vec![record("t", 5)],
        ..transition("t", 1)
    };
    let (unknown, refused, good) = tokio::join!(
        store.commit(transition("nobody", 0)),
        store.commit(bad),
        store.commit(transition("u", 1)),
    );
    assert_stale(&unknown, "nobody");
    assert_refused(&refused);
    good.unwrap();
    assert_eq!(store.task("t").await.unwrap().unwrap().events, 1);
    assert_eq!(store.task("u").await.unwrap().unwrap().events, 2);
}

/// A zero character fails a statement of PostgreSQL, which other transitions share.
pub(crate) async fn a_text_that_cannot_be_stored_is_refused_alone(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut bad = transition("bad", 0);
    bad.events[0].body = "\"\0\"".to_owned();
    let bad_id = transition("bad\0", 0);
    let tasks = ["bad", "bad\0"].map(task);
    let (one, two, ()) = tokio::join!(
        store.accept(&tasks[0], bad),
        store.accept(&tasks[1], bad_id),
        accept(&*store, "good")
    );
    assert_refused(&one);
    assert_refused(&two);
    assert!(store.task("good").await.unwrap().is_some());
    // Clients may ask for what nothing is called, and that is no fault of the database.
    assert_eq!(store.task("a\0b").await.unwrap(), None);
    assert_eq!(store.events("a\0b", 0, 9).await.unwrap(), []);
}

pub(crate) async fn events_come_in_pages(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = Transition {
        events: ["a", "b", "c", "d"].map(event).to_vec(),
        ..transition("t", 0)
    };
    store.accept(&task("t"), first).await.unwrap();
    accept(&*store, "u").await;
    let events = async |after, limit| store.events("t", after, limit).await.unwrap();
    let numbers = |events: Vec<EventRow>| events.iter().map(|event| event.n).collect::<Vec<_>>();
    assert_eq!(numbers(events(0, 9).await), [1, 2, 3, 4]);
    assert_eq!(numbers(events(1, 2).await), [2, 3]);
    assert_eq!(events(4, 9).await, []);
    assert_eq!(events(u64::MAX, 9).await, []);
    let third = EventRow {
        n: 3,
        at: at(5),
        kind: "step.succeeded".into(),
        body: "\"c\"".into(),
    };
    assert_eq!(events(2, 1).await, [third]);
}

/// Ids of the tasks a query finds.
async fn found(store: &dyn Store, query: TaskQuery) -> Vec<String> {
    let tasks = store.tasks(&query).await.unwrap();
    tasks.into_iter().map(|row| row.task.id).collect()
}

pub(crate) async fn tasks_are_listed_newest_first_by_filter_and_page(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let tasks = [
        ("3", Some("x"), TaskState::Failed),
        ("1", Some("x"), TaskState::Running),
        ("4", None, TaskState::Running),
        ("2", Some("y"), TaskState::Running),
        ("5", Some("x"), TaskState::Running),
    ];
    for (id, agent, state) in tasks {
        let new = NewTask {
            agent: agent.map(Into::into),
            ..task(id)
        };
        let first = Transition {
            state,
            ..transition(id, 0)
        };
        store.accept(&new, first).await.unwrap();
    }
    let all = TaskQuery {
        limit: 9,
        ..TaskQuery::default()
    };
    assert_eq!(found(&*store, all.clone()).await, ["5", "4", "3", "2", "1"]);
    let page = TaskQuery {
        before: Some("4".into()),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(found(&*store, page).await, ["3", "2"]);
    let running = TaskQuery {
        state: Some(TaskState::Running),
        ..all.clone()
    };
    assert_eq!(found(&*store, running.clone()).await, ["5", "4", "2", "1"]);
    let of_x = TaskQuery {
        agent: Some("x".into()),
        ..all
    };
    assert_eq!(found(&*store, of_x.clone()).await, ["5", "3", "1"]);
    let running_of_x = TaskQuery {
        agent: of_x.agent,
        before: Some("5".into()),
        ..running
    };
    assert_eq!(found(&*store, running_of_x).await, ["1"]);
}

pub(crate) async fn unfinished_tasks_come_due_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let tasks = [
        ("a", TaskState::Waiting, Some(300)),
        ("b", TaskState::Running, Some(100)),
        ("c", TaskState::Queued, Some(200)),
        ("d", TaskState::Succeeded, Some(50)),
        ("e", TaskState::Waiting, None),
    ];
    for (id, state, wake_at) in tasks {
        let first = Transition {
            state,
            wake_at: wake_at.map(at),
            ..transition(id, 0)
        };
        store.accept(&task(id), first).await.unwrap();
    }
    let none: [String; 0] = [];
    assert_eq!(due(&*store, at(99), 9).await, none);
    assert_eq!(due(&*store, at(200), 9).await, ["b", "c"]);
    assert_eq!(due(&*store, at(999), 2).await, ["b", "c"]);
    assert_eq!(next_wake(&*store, at(0)).await, Some(at(100)));
    assert_eq!(next_wake(&*store, at(100)).await, Some(at(200)));
    assert_eq!(next_wake(&*store, at(300)).await, None);
    let done = Transition {
        state: TaskState::Cancelled,
        ..transition("b", 1)
    };
    store.commit(done).await.unwrap();
    assert_eq!(due(&*store, at(999), 9).await, ["c", "a"]);
}

pub(crate) async fn what_was_due_is_due_when_the_clock_was_put_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (then, soon, later) = (at(2_000), at(3_000), at(9_000));
    let tasks = [
        ("queued", TaskState::Queued, then),
        ("runs", TaskState::Running, then),
        ("put-off", TaskState::Running, later),
        ("waits", TaskState::Waiting, soon),
        ("waits-long", TaskState::Waiting, later),
        ("over", TaskState::Succeeded, then),
    ];
    for (id, state, wake_at) in tasks {
        let first = Transition {
            state,
            wake_at: Some(wake_at),
            ..transition(id, 0)
        };
        store.accept(&task(id), first).await.unwrap();
    }
    let none: [String; 0] = [];
    assert_eq!(due(&*store, at(1), 9).await, none);
    store.hasten(at(1)).await.unwrap();
    assert_eq!(due(&*store, at(1), 9).await, ["queued", "runs"]);
    store.hasten(soon).await.unwrap();
    assert_eq!(due(&*store, at(1), 9).await, ["queued", "runs", "waits"]);
    assert_eq!(next_wake(&*store, at(1)).await, Some(later));
}

pub(crate) async fn each_tenant_has_its_own_tasks(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let tasks = [
        ("1", "a", Some("x"), TaskState::Queued),
        ("2", "b", None, TaskState::Running),
        ("3", "a", None, TaskState::Running),
        ("4", OPERATOR, None, TaskState::Queued),
        ("5", "a", Some("x"), TaskState::Running),
    ];
    for (id, tenant, agent, state) in tasks {
        let new = NewTask {
            tenant: tenant.to_owned(),
            agent: agent.map(Into::into),
            ..task(id)
        };
        let first = Transition {
            state,
            // The later ones are due before.
            wake_at: Some(at(100 - id.parse::<u64>().unwrap())),
            ..transition(id, 0)
        };
        store.accept(&new, first).await.unwrap();
    }
    let of_a = TaskQuery {
        tenant: Some("a".into()),
        limit: 9,
        ..TaskQuery::default()
    };
    assert_eq!(found(&*store, of_a.clone()).await, ["5", "3", "1"]);
    let running = TaskQuery {
        state: Some(TaskState::Running),
        ..of_a.clone()
    };
    assert_eq!(found(&*store, running.clone()).await, ["5", "3"]);
    let of_x = TaskQuery {
        agent: Some("x".into()),
        ..of_a
    };
    assert_eq!(found(&*store, of_x.clone()).await, ["5", "1"]);
    let running_of_x = TaskQuery {
        agent: of_x.agent,
        ..running
    };
    assert_eq!(found(&*store, running_of_x).await, ["5"]);

    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let shown = |due: Vec<DueTask>| {
        due.into_iter()
            .map(|due| (due.tenant, due.id))
            .collect::<Vec<_>>()
    };
    let pair = |tenant: &str, id: &str| (tenant.to_owned(), id.to_owned());
    let due = store.due(at(999), &names(&["b", "a"]), 2).await.unwrap();
    assert_eq!(shown(due), [pair("b", "2"), pair("a", "5"), pair("a", "3")]);
    assert_eq!(store.due(at(999), &names(&["c"]), 2).await.unwrap(), []);
    assert_eq!(store.count_due(at(999), "a", 9).await.unwrap(), 3);
    assert_eq!(store.count_due(at(999), "a", 2).await.unwrap(), 2);
    assert_eq!(store.count_due(at(96), "a", 9).await.unwrap(), 1);
    let wake = store.next_wake(at(95), &names(&["b", "a"])).await.unwrap();
    assert_eq!(wake, Some(at(97)));
}

pub(crate) async fn a_poked_task_is_due_until_its_runner_has_seen_it(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let none: [String; 0] = [];
    assert_eq!(due(&*store, at(999), 9).await, none);
    assert!(store.request_cancel("t").await.unwrap());
    assert!(store.request_cancel("t").await.unwrap());
    assert_eq!(due(&*store, at(1), 9).await, ["t"]);
    assert_eq!(next_wake(&*store, at(1)).await, None);
    let with = |after, pokes_seen| Transition {
        pokes_seen,
        wake_at: Some(at(500)),
        ..transition("t", after)
    };
    store.commit(with(1, 1)).await.unwrap();
    assert_eq!(due(&*store, at(1), 9).await, ["t"], "one poke was not seen");
    let row = store.task("t").await.unwrap().unwrap();
    assert_eq!(
        (row.pokes, row.cancel, row.wake_at),
        (2, true, Some(at(500)))
    );
    store.commit(with(2, 2)).await.unwrap();
    assert_eq!(due(&*store, at(1), 9).await, none);
    assert_eq!(next_wake(&*store, at(1)).await, Some(at(500)));
    assert!(store.task("t").await.unwrap().unwrap().cancel);
}

pub(crate) async fn a_task_that_is_over_cannot_be_cancelled(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert!(!store.request_cancel("t").await.unwrap());
    accept(&*store, "t").await;
    let done = Transition {
        state: TaskState::Succeeded,
        ..transition("t", 1)
    };
    store.commit(done).await.unwrap();
    assert!(!store.request_cancel("t").await.unwrap());
    let row = store.task("t").await.unwrap().unwrap();
    assert_eq!((row.pokes, row.cancel), (0, false));
    let none: [String; 0] = [];
    assert_eq!(due(&*store, at(999), 9).await, none);
}

pub(crate) async fn a_blob_may_belong_to_two_tasks(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let with_blob = |id: &str| Transition {
        blobs: vec![blob(b"shared"), blob(id.as_bytes()), blob(b"shared")],
        ..transition(id, 0)
    };
    let (t, u) = (task("t"), task("u"));
    let (one, two) = tokio::join!(
        store.accept(&t, with_blob("t")),
        store.accept(&u, with_blob("u"))
    );
    one.unwrap();
    two.unwrap();
    for id in ["t", "u"] {
        let mut blobs = store.blobs(id).await.unwrap();
        blobs.sort();
        assert_eq!(blobs, [b"shared".to_vec(), id.as_bytes().to_vec()]);
    }
    let none: [Vec<u8>; 0] = [];
    assert_eq!(store.blobs("v").await.unwrap(), none);
    // Those that are asked for, and of this task.
    let asked = ["shared", "t", "u"].map(digest).into();
    let found = store.blobs_of("t", &asked).await.unwrap();
    let shared = (digest("shared"), b"shared".to_vec());
    assert_eq!(found, [shared, (digest("t"), b"t".to_vec())].into());
    let absent = store.blobs_of("t", &[digest("u")].into()).await.unwrap();
    assert!(absent.is_empty());
}

pub(crate) async fn what_is_erased_leaves_the_row_and_the_records(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let full = |id: &str, state| Transition {
        events: vec![event("a")],
        records: vec![record(id, 0)],
        blobs: vec![blob(b"salt and plan")],
        state,
        ..transition(id, 0)
    };
    for (id, state) in [
        ("over", TaskState::Failed),
        ("other", TaskState::Succeeded),
        ("runs", TaskState::Running),
    ] {
        let new = NewTask {
            agent: Some("bot".into()),
            labels: r#"{"env":"prod"}"#.into(),
            idempotency: Some((id.into(), digest("request"))),
            ..task(id)
        };
        store.accept(&new, full(id, state)).await.unwrap();
    }
    let erasable = async || store.erasable("", at(1_001), 9).await.unwrap();
    assert_eq!(erasable().await, ["other", "over"]);
    assert_eq!(
        store.erasable("other", at(1_001), 9).await.unwrap(),
        ["over"]
    );
    assert!(store.erasable("", at(1_000), 9).await.unwrap().is_empty());

    assert!(!store.erase("runs", at(7), act("runs")).await.unwrap());
    assert!(!store.erase("none", at(7), act("none")).await.unwrap());
    assert!(store.erase("over", at(7), act("erased")).await.unwrap());
    assert!(!store.erase("over", at(8), act("twice")).await.unwrap());
    assert_eq!(erasable().await, ["other"]);

    let row = store.task("over").await.unwrap().unwrap();
    assert_eq!((row.erased, row.state), (Some(at(7)), TaskState::Failed));
    assert_eq!((row.task.agent, row.task.labels.as_str()), (None, "{}"));
    let (task, request) = store.task_with_key("over").await.unwrap().unwrap();
    assert!(task == "over" && request != digest("request"));
    assert!(store.blobs("over").await.unwrap().is_empty());
    assert!(store.events("over", 0, 9).await.unwrap().is_empty());
    assert_eq!(store.records("over").await.unwrap().len(), 1);
    assert_eq!(store.blobs("other").await.unwrap().len(), 1);
    let log = store.log_records(0, 9).await.unwrap();
    assert_eq!((log.len(), log[3].kept.envelope()), (4, Some("erased")));
}

pub(crate) async fn erased_records_leave_their_leaves(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (id, state) in [
        ("over", TaskState::Failed),
        ("other", TaskState::Succeeded),
        ("runs", TaskState::Running),
    ] {
        let full = Transition {
            records: (0..3).map(|seq| record(id, seq)).collect(),
            blobs: vec![blob(b"salt and plan")],
            state,
            ..transition(id, 0)
        };
        store.accept(&task(id), full).await.unwrap();
    }
    let erasure = |name: &str, indexes: &[u64]| NewErasure {
        act: act(name),
        leaves: indexes.iter().map(|index| (*index, vec![7])).collect(),
    };
    let both = [erasure("first", &[0, 2]), erasure("second", &[1])];
    assert!(!store.erase_records("runs", at(7), &both).await.unwrap());
    assert!(!store.erase_records("none", at(7), &both).await.unwrap());
    // Part of a task, and records of another one.
    for indexes in [&[0, 1][..], &[0, 1, 2, 3], &[3, 4, 5]] {
        let refused = store
            .erase_records("over", at(7), &[erasure("x", indexes)])
            .await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })));
    }
    assert_eq!(store.log_head().await.unwrap().size, 9);
    assert_eq!(store.blobs("over").await.unwrap().len(), 1);

    let before = store.records("over").await.unwrap();
    assert!(store.erase("over", at(6), act("payloads")).await.unwrap());
    assert!(store.erase_records("over", at(7), &both).await.unwrap());
    assert!(!store.erase_records("over", at(8), &both).await.unwrap());
    assert!(!store.erase("over", at(8), act("again")).await.unwrap());
    let after = store.records("over").await.unwrap();
    let leaf = |erasure| Kept::Leaf {
        leaf: vec![7],
        erasure,
    };
    let kept = [leaf(10), leaf(11), leaf(10)];
    let expected = before.into_iter().zip(kept);
    let expected: Vec<_> = expected
        .map(|(row, kept)| RecordRow { kept, ..row })
        .collect();
    assert_eq!(after, expected);
    let log = store.log_records(9, 9).await.unwrap();
    let acts: Vec<_> = log.iter().map(|row| row.kept.envelope()).collect();
    assert_eq!(acts, ["payloads", "first", "second"].map(Some));
    let row = store.task("over").await.unwrap().unwrap();
    assert_eq!((row.erased, row.records), (Some(at(6)), 3));

    // Without the payloads erased before.
    let erasure = [erasure("third", &[3, 4, 5])];
    assert!(store.erase_records("other", at(9), &erasure).await.unwrap());
    assert!(store.blobs("other").await.unwrap().is_empty());
    assert_eq!(
        store.task("other").await.unwrap().unwrap().erased,
        Some(at(9))
    );
}

pub(crate) async fn what_was_judged_by_other_rules_is_not_stored(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let before = store.rules_version().await.unwrap();
    let tenant = TenantRow {
        name: "mia".to_owned(),
        token: digest("token"),
        added: at(1),
        removed: None,
    };
    assert!(store.put_tenant(&tenant).await.unwrap());
    let judged = |rules| Transition {
        rules: Some(rules),
        ..transition("t", 1)
    };
    let stale = store.commit(judged(before)).await;
    assert!(matches!(stale, Err(CommitError::RulesChanged)), "{stale:?}");
    assert_eq!(store.events("t", 0, 9).await.unwrap().len(), 1);
    let now = store.rules_version().await.unwrap();
    assert!(now > before);
    store.commit(judged(now)).await.unwrap();
    // What rests on no judgement is stored whatever changes.
    assert!(store.remove_tenant("mia", at(2)).await.unwrap());
    assert!(store.rules_version().await.unwrap() > now);
    store.commit(transition("t", 2)).await.unwrap();
}
