//! Buckets: what a step read is checked when it is committed.

use crate::store::{KeyPage, KeyValueChanges, Listed, Read, Write};
use futures_util::future::join_all;
use stepseal_receipts::tree::Frontier;

use super::{Fixture, accept, assert_conflict, blob, record, task, transition, writes};
use crate::store::{CommitError, Store, Transition};

/// A transition of task `t` that changes keys.
fn step(after: u64, keyvalue: KeyValueChanges) -> Transition {
    Transition {
        keyvalue,
        ..transition("t", after)
    }
}

fn write(changes: &[(&str, Option<&str>)]) -> KeyValueChanges {
    KeyValueChanges {
        writes: writes(changes),
        ..KeyValueChanges::default()
    }
}

fn read(key: &str, version: u64) -> Read {
    Read {
        bucket: "b".into(),
        key: key.into(),
        version,
    }
}

async fn version(store: &dyn Store, key: &str) -> u64 {
    let found = store.bucket_get("b", key).await.unwrap();
    found.map_or(0, |found| found.version)
}

pub(crate) async fn a_value_is_read_back_with_a_version(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    assert_eq!(store.bucket_get("b", "k").await.unwrap(), None);
    store
        .commit(step(1, write(&[("k", Some("1")), ("empty", Some(""))])))
        .await
        .unwrap();
    let found = store.bucket_get("b", "k").await.unwrap().unwrap();
    assert_eq!(found.value, b"1");
    assert!(found.version > 0);
    assert_eq!(
        store.bucket_get("b", "empty").await.unwrap().unwrap().value,
        b""
    );
    assert_eq!(store.bucket_get("other", "k").await.unwrap(), None);
    store
        .commit(step(2, write(&[("k", None), ("never there", None)])))
        .await
        .unwrap();
    assert_eq!(store.bucket_get("b", "k").await.unwrap(), None);
    assert!(version(&*store, "empty").await > 0);
}

pub(crate) async fn a_version_never_comes_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let mut seen = 0;
    for (value, after) in [Some("1"), None, Some("1"), Some("1"), None, Some("2")]
        .into_iter()
        .zip(1..)
    {
        let before = store
            .bucket_keys("b", None, 1)
            .await
            .unwrap()
            .bucket_version;
        store
            .commit(step(after, write(&[("k", value)])))
            .await
            .unwrap();
        let now = store
            .bucket_keys("b", None, 1)
            .await
            .unwrap()
            .bucket_version;
        assert!(now > before, "{now} after {before}");
        if value.is_some() {
            let now = version(&*store, "k").await;
            assert!(now > seen, "{now} after {seen}");
            seen = now;
        }
    }
}

pub(crate) async fn what_was_read_must_still_hold(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    store
        .commit(step(1, write(&[("k", Some("1")), ("l", Some("1"))])))
        .await
        .unwrap();
    let old = version(&*store, "k").await;
    store
        .commit(step(2, write(&[("k", Some("1"))])))
        .await
        .unwrap();
    let current = version(&*store, "k").await;
    for wrong in [old, 0, current + 1] {
        let late = Transition {
            records: vec![record("t", 0)],
            blobs: vec![blob(b"late")],
            ..step(
                3,
                KeyValueChanges {
                    reads: vec![read("k", wrong)],
                    ..write(&[("m", Some("1"))])
                },
            )
        };
        assert_conflict(&store.commit(late).await, "k");
    }
    assert_eq!(store.bucket_get("b", "m").await.unwrap(), None);
    assert_eq!(store.log_head().await.unwrap().size, 0);
    assert_eq!(store.blob("t", &blob(b"late").digest).await.unwrap(), None);
    assert_eq!(store.task("t").await.unwrap().unwrap().events, 3);
    let good = KeyValueChanges {
        reads: vec![read("k", current), read("l", version(&*store, "l").await)],
        ..write(&[("m", Some("1"))])
    };
    store.commit(step(3, good)).await.unwrap();
    assert!(version(&*store, "m").await > current);
}

pub(crate) async fn a_key_that_was_absent_must_still_be_absent(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let create = KeyValueChanges {
        reads: vec![read("k", 0)],
        ..write(&[("k", Some("1"))])
    };
    store.commit(step(1, create.clone())).await.unwrap();
    assert_conflict(&store.commit(step(2, create.clone())).await, "k");
    store.commit(step(2, write(&[("k", None)]))).await.unwrap();
    store.commit(step(3, create)).await.unwrap();
}

pub(crate) async fn of_two_that_read_the_same_at_once_one_wins(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    accept(&*store, "u").await;
    let of_t = KeyValueChanges {
        reads: vec![read("k", 0)],
        ..write(&[("k", Some("t"))])
    };
    let of_u = Transition {
        keyvalue: KeyValueChanges {
            writes: writes(&[("k", Some("u"))]),
            ..of_t.clone()
        },
        ..transition("u", 1)
    };
    let (t, u) = tokio::join!(store.commit(step(1, of_t)), store.commit(of_u));
    let (winner, loser) = if t.is_ok() { (b"t", u) } else { (b"u", t) };
    assert_conflict(&loser, "k");
    assert_eq!(
        store.bucket_get("b", "k").await.unwrap().unwrap().value,
        winner
    );
}

/// Adds one to a counter as a step would, again and again until nobody was in between.
async fn increment(store: &dyn Store, task: &str, after: u64) {
    loop {
        let found = store.bucket_get("b", "counter").await.unwrap();
        let (count, version) = found.map_or((0, 0), |found| {
            let text = String::from_utf8(found.value).unwrap();
            (text.parse::<u64>().unwrap(), found.version)
        });
        let changes = KeyValueChanges {
            reads: vec![read("counter", version)],
            ..write(&[("counter", Some(&(count + 1).to_string()))])
        };
        let step = Transition {
            keyvalue: changes,
            records: vec![record(task, after - 1)],
            ..transition(task, after)
        };
        match store.commit(step).await {
            Ok(()) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) async fn increments_are_never_lost(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let ids: Vec<_> = (0..20).map(|n| format!("t{n}")).collect();
    for id in &ids {
        accept(&*store, id).await;
    }
    join_all(ids.iter().map(|id| increment(&*store, id, 1))).await;
    assert_eq!(
        store
            .bucket_get("b", "counter")
            .await
            .unwrap()
            .unwrap()
            .value,
        b"20"
    );
}

/// Each with a store of its own, which know nothing of each other.
pub(crate) async fn two_hosts_write_one_log_and_lose_no_increment(fixture: &impl Fixture) {
    const ROUNDS: u64 = 20;
    let (one, two) = (fixture.open().await, fixture.open().await);
    let stores = [&one, &two, &one, &two];
    let work = stores.iter().enumerate().map(|(n, store)| async move {
        let id = format!("t{n}");
        accept(&***store, &id).await;
        for after in 1..=ROUNDS {
            increment(&***store, &id, after).await;
        }
    });
    join_all(work).await;
    let counted = one.bucket_get("b", "counter").await.unwrap().unwrap();
    assert_eq!(counted.value, (4 * ROUNDS).to_string().into_bytes());
    let head = one.log_head().await.unwrap();
    assert_eq!(head.size, 4 * ROUNDS);
    assert_eq!(two.log_head().await.unwrap(), head);
    let mut tree = Frontier::new();
    for (index, record) in (0..).zip(two.log_records(0, 1_000).await.unwrap()) {
        assert_eq!(record.index, index);
        tree.append(record.leaf_hash);
    }
    assert_eq!(tree.root(), head.root);
}

pub(crate) async fn a_key_may_have_any_character(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let keys = ["\0", "a", "a\0", "a\u{1}", "b", "\u{e9}", "\u{10ffff}"];
    let values = keys.map(|key| (key, Some(key)));
    let first = Transition {
        keyvalue: write(&values),
        ..transition("t", 0)
    };
    store.accept(&task("t"), first).await.unwrap();
    let page = store.bucket_keys("b", None, 99).await.unwrap();
    assert_eq!(page.keys, keys);
    let page = store.bucket_keys("b", Some("a\0"), 2).await.unwrap();
    assert_eq!(page.keys, ["a\u{1}", "b"]);
    let found = store.bucket_get("b", "\0").await.unwrap().unwrap();
    assert_eq!(found.value, b"\0");
    let changes = KeyValueChanges {
        reads: vec![read("\0", found.version)],
        ..write(&[("\0", None)])
    };
    store.commit(step(1, changes.clone())).await.unwrap();
    assert_conflict(&store.commit(step(2, changes)).await, "\0");
    assert_eq!(store.bucket_get("b", "\0").await.unwrap(), None);
}

pub(crate) async fn a_list_that_was_read_must_still_hold(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let never_written = store.bucket_keys("b", None, 9).await.unwrap();
    assert_eq!(never_written, KeyPage::default());
    let listed = |version| KeyValueChanges {
        listed: vec![Listed {
            bucket: "b".into(),
            version,
        }],
        ..write(&[("sum", Some("1"))])
    };
    store
        .commit(step(1, write(&[("k", Some("1"))])))
        .await
        .unwrap();
    assert_conflict(&store.commit(step(2, listed(0))).await, "");
    let with_k = store
        .bucket_keys("b", None, 9)
        .await
        .unwrap()
        .bucket_version;
    store.commit(step(2, write(&[("k", None)]))).await.unwrap();
    assert_conflict(&store.commit(step(3, listed(with_k))).await, "");
    let now = store
        .bucket_keys("b", None, 9)
        .await
        .unwrap()
        .bucket_version;
    let elsewhere = KeyValueChanges {
        writes: vec![Write {
            bucket: "other".into(),
            key: "k".into(),
            value: Some(vec![1]),
        }],
        ..KeyValueChanges::default()
    };
    store.commit(step(3, elsewhere)).await.unwrap();
    store.commit(step(4, listed(now))).await.unwrap();
    assert_eq!(store.bucket_keys("b", None, 9).await.unwrap().keys, ["sum"]);

    // The same within one batch.
    accept(&*store, "u").await;
    let now = store
        .bucket_keys("b", None, 9)
        .await
        .unwrap()
        .bucket_version;
    let of_u = Transition {
        keyvalue: listed(now),
        ..transition("u", 1)
    };
    let (t, u) = tokio::join!(
        store.commit(step(5, write(&[("new", Some("1"))]))),
        store.commit(of_u)
    );
    t.unwrap();
    match u {
        Ok(()) => assert!(version(&*store, "sum").await < version(&*store, "new").await),
        Err(error) => assert_conflict::<()>(&Err(error), ""),
    }
}

pub(crate) async fn keys_come_in_pages_in_the_order_of_their_bytes(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    // In UTF-16 the last two would be the other way round.
    let ordered = ["", "A", "a", "a b", "ab", "\u{e9}", "\u{ffff}", "\u{10000}"];
    let mut shuffled: Vec<_> = ordered.iter().map(|key| (*key, Some("v"))).collect();
    shuffled.reverse();
    store.commit(step(1, write(&shuffled))).await.unwrap();
    let keys = async |after, limit| store.bucket_keys("b", after, limit).await.unwrap().keys;
    assert_eq!(keys(None, 99).await, ordered);
    assert_eq!(keys(None, 3).await, ordered[..3]);
    assert_eq!(keys(Some("a"), 2).await, ordered[3..5]);
    assert_eq!(keys(Some(""), 99).await, ordered[1..]);
    let none: [String; 0] = [];
    assert_eq!(keys(Some("\u{10000}"), 9).await, none);
    assert_eq!(
        store.bucket_keys("c", None, 9).await.unwrap(),
        KeyPage::default()
    );
}

pub(crate) async fn a_bucket_that_is_filled_reads_like_one_that_was_written(
    fixture: &impl Fixture,
) {
    let store = fixture.open().await;
    assert!(store.buckets().await.unwrap().is_empty());
    let entries = |range: std::ops::Range<u8>| {
        let entries = range.map(|n| (format!("k{n}"), vec![n]));
        entries.collect::<Vec<_>>()
    };
    store.fill_bucket("b", entries(0..3)).await.unwrap();
    store.fill_bucket("a", entries(0..1)).await.unwrap();
    store.fill_bucket("b", entries(3..5)).await.unwrap();
    assert_eq!(store.buckets().await.unwrap(), ["a", "b"]);
    let page = store.bucket_keys("b", None, 9).await.unwrap();
    assert_eq!(page.keys, ["k0", "k1", "k2", "k3", "k4"]);
    let last = store.bucket_get("b", "k4").await.unwrap().unwrap();
    assert_eq!((last.value, last.version), (vec![4], page.bucket_version));
}
