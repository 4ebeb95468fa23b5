//! Records, the tree over them, and signed heads.

use futures_util::future::join_all;
use stepseal_receipts::tree::{Frontier, NodeId, ProofPlan, empty_root, verify_inclusion};

use super::{Fixture, accept, act, assert_refused, at, digest, operator, record, task, transition};
use crate::store::{
    Accept, CheckpointRow, CosignatureRow, GrantRow, Kept, LogHead, LogRow, NewRecord, PolicyRow,
    RecordRow, Store, StoreError, Transition,
};

/// Accepts `tasks` tasks at once, each with `records` records. Returns the records of all, by leaf index.
async fn fill(store: &dyn Store, prefix: &str, tasks: usize, records: u64) -> Vec<RecordRow> {
    let news: Vec<_> = (0..tasks)
        .map(|n| task(&format!("{prefix}{n:03}")))
        .collect();
    let accepts = news.iter().map(|new| {
        let first = Transition {
            records: (0..records).map(|seq| record(&new.id, seq)).collect(),
            ..transition(&new.id, 0)
        };
        store.accept(new, first)
    });
    for accepted in join_all(accepts).await {
        assert_eq!(accepted.unwrap(), Accept::New);
    }
    let mut rows = Vec::new();
    for new in &news {
        let of_task = store.records(&new.id).await.unwrap();
        for (row, seq) in of_task.iter().zip(0..) {
            let NewRecord {
                envelope,
                leaf_hash,
                ..
            } = record(&new.id, seq);
            let found = (row.seq, &row.kept, row.leaf_hash);
            assert_eq!(found, (seq, &Kept::Envelope(envelope), leaf_hash));
        }
        assert!(of_task.is_sorted_by_key(|row| row.index));
        rows.extend(of_task);
    }
    rows.sort_by_key(|row| row.index);
    rows
}

fn in_log(row: &RecordRow) -> LogRow {
    LogRow {
        index: row.index,
        kept: row.kept.clone(),
        leaf_hash: row.leaf_hash,
    }
}

fn tree_of(rows: &[RecordRow]) -> Frontier {
    let mut tree = Frontier::new();
    for row in rows {
        tree.append(row.leaf_hash);
    }
    tree
}

pub(crate) async fn a_hundred_transitions_at_once_get_leaves_without_gap_and_the_right_root(
    fixture: &impl Fixture,
) {
    let store = fixture.open().await;
    let empty = LogHead {
        size: 0,
        root: empty_root(),
    };
    assert_eq!(store.log_head().await.unwrap(), empty);
    let rows = fill(&*store, "t", 100, 3).await;
    let indexes: Vec<_> = rows.iter().map(|row| row.index).collect();
    assert_eq!(indexes, (0..300).collect::<Vec<_>>());
    for (first, limit) in [(0, 2), (256, 256), (299, 1), (300, 1), (u64::MAX, 1)] {
        let found = store.log_records(first, limit).await.unwrap();
        let expected = rows.iter().filter(|row| row.index >= first);
        let expected: Vec<_> = expected.take(limit as usize).map(in_log).collect();
        assert_eq!(found, expected, "{limit} from {first}");
    }
    let head = LogHead {
        size: 300,
        root: tree_of(&rows).root(),
    };
    assert_eq!(store.log_head().await.unwrap(), head);
}

pub(crate) async fn every_inclusion_proof_can_be_made(fixture: &impl Fixture) {
    let store = fixture.open().await;
    fill(&*store, "a", 7, 3).await;
    let mut rows = fill(&*store, "b", 1, 1).await;
    rows.extend(fill(&*store, "c", 5, 3).await);
    let head = store.log_head().await.unwrap();
    assert_eq!(head.size, 37);
    for row in rows {
        let plan = ProofPlan::inclusion(row.index, head.size).unwrap();
        let nodes = store.log_nodes(&plan.nodes()).await.unwrap();
        let proof = plan.assemble(|node| nodes.get(&node).copied()).unwrap();
        verify_inclusion(&row.leaf_hash, row.index, head.size, &proof, &head.root).unwrap();
    }
}

pub(crate) async fn nodes_that_do_not_exist_are_left_out(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let rows = fill(&*store, "t", 1, 5).await;
    assert!(store.log_nodes(&[]).await.unwrap().is_empty());
    let node = |level, index| NodeId { level, index };
    let wanted = [
        node(0, 4),
        node(0, 5),
        node(1, 1),
        node(1, 2),
        node(2, 0),
        node(3, 0),
        node(0, u64::MAX),
    ];
    let nodes = store.log_nodes(&wanted).await.unwrap();
    let there: Vec<_> = nodes.keys().copied().collect();
    assert_eq!(there, [node(0, 4), node(1, 1), node(2, 0)]);
    assert_eq!(nodes[&node(0, 4)], rows[4].leaf_hash);
    assert_eq!(nodes[&node(2, 0)], tree_of(&rows[..4]).root());
    // More than fit into one statement.
    let many: Vec<_> = (0..1_000).map(|index| node(0, index)).collect();
    assert_eq!(store.log_nodes(&many).await.unwrap().len(), 5);
}

pub(crate) async fn a_record_must_be_the_next_of_its_task(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let rows = fill(&*store, "t", 1, 2).await;
    for seqs in [[1, 2], [3, 4], [2, 4]] {
        let wrong = Transition {
            records: seqs.map(|seq| record("t000", seq)).to_vec(),
            ..transition("t000", 1)
        };
        assert_refused(&store.commit(wrong).await);
    }
    assert_eq!(store.records("t000").await.unwrap(), rows);
    assert_eq!(store.log_head().await.unwrap().size, 2);
}

pub(crate) async fn a_checkpoint_is_never_contradicted(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.checkpoint().await.unwrap(), None);
    fill(&*store, "t", 1, 5).await;
    let checkpoint = |size, root: &str, note: &str| CheckpointRow {
        head: LogHead {
            size,
            root: digest(root),
        },
        note: note.into(),
        signed: at(77),
    };
    let newest = checkpoint(5, "root of 5", "five");
    store.put_checkpoint(&newest).await.unwrap();
    store
        .put_checkpoint(&checkpoint(3, "root of 3", "three"))
        .await
        .unwrap();
    for wrong in [
        checkpoint(5, "other", "other"),
        checkpoint(3, "other", "other"),
        checkpoint(6, "root of 6", "a log that is not there"),
    ] {
        let put = store.put_checkpoint(&wrong).await;
        assert!(matches!(put, Err(StoreError::Refused { .. })), "{put:?}");
    }
    assert_eq!(store.checkpoint().await.unwrap(), Some(newest));
    let again = checkpoint(5, "root of 5", "five, signed again");
    store.put_checkpoint(&again).await.unwrap();
    assert_eq!(store.checkpoint().await.unwrap(), Some(again));
}

pub(crate) async fn cosignatures_are_kept_with_their_checkpoints_until_forgotten(
    fixture: &impl Fixture,
) {
    let store = fixture.open().await;
    assert_eq!(store.cosignatures().await.unwrap(), []);
    fill(&*store, "t", 1, 5).await;
    let checkpoint = |size: u64| CheckpointRow {
        head: LogHead {
            size,
            root: digest(&format!("root of {size}")),
        },
        note: format!("note of {size}"),
        signed: at(size),
    };
    let cosignature = |size: u64, witness: &str, line: &str| CosignatureRow {
        size,
        witness: witness.to_owned(),
        line: line.to_owned(),
    };
    for size in [2, 3, 5] {
        store.put_checkpoint(&checkpoint(size)).await.unwrap();
    }
    let (two, three) = (cosignature(2, "a", "a of 2"), cosignature(3, "a", "a of 3"));
    let (first, second) = (cosignature(5, "b", "early"), cosignature(5, "b", "late"));
    for row in [&three, &two, &first, &second] {
        store.put_cosignature(row, &[]).await.unwrap();
    }
    let all = [
        (checkpoint(2), two),
        (checkpoint(3), three),
        (checkpoint(5), second),
    ];
    assert_eq!(store.cosignatures().await.unwrap(), all);
    let nothing = cosignature(4, "a", "of a head that was never signed");
    let refused = store.put_cosignature(&nothing, &[]).await;
    assert!(
        matches!(refused, Err(StoreError::Refused { .. })),
        "{refused:?}"
    );

    let last = cosignature(5, "a", "a of 5");
    store.put_cosignature(&last, &[2, 3, 4]).await.unwrap();
    drop(store);
    let store = fixture.open().await;
    let left = [(checkpoint(5), last), all[2].clone()];
    assert_eq!(store.cosignatures().await.unwrap(), left);
}

pub(crate) async fn everything_is_there_after_a_restart(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let mut rows = fill(&*store, "a", 3, 3).await;
    accept(&*store, "other").await;
    let head = store.log_head().await.unwrap();
    drop(store);

    let store = fixture.open().await;
    assert_eq!(store.log_head().await.unwrap(), head);
    assert_eq!(store.records("a000").await.unwrap().len(), 3);
    assert_eq!(
        store.task("other").await.unwrap().unwrap().task,
        task("other")
    );
    rows.extend(fill(&*store, "b", 2, 2).await);
    let grown = LogHead {
        size: 13,
        root: tree_of(&rows).root(),
    };
    assert_eq!(store.log_head().await.unwrap(), grown);
}

/// What was done and is in the log, and what was not done and is not.
pub(crate) async fn an_act_is_in_the_log_exactly_where_it_was_done(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = operator::component("first", "ledger", "0.1.0", 7);
    let taken = operator::component("other", "ledger", "0.1.0", 8);
    let grant = GrantRow {
        plugin: "ledger".into(),
        document: "{}".into(),
        digest: digest("{}"),
        version: 0,
        changed: at(9),
    };
    let policy = PolicyRow {
        id: "p".into(),
        component: digest("limit"),
        settings: "{}".into(),
        scope: "{}".into(),
        mode: "enforce".into(),
        bound: at(10),
    };
    store.add_component(&first, act("added")).await.unwrap();
    store.add_component(&first, act("known")).await.unwrap();
    store.add_component(&taken, act("taken")).await.unwrap();
    store.put_grant(&grant, act("granted")).await.unwrap();
    store.bind_policy(&policy, act("bound")).await.unwrap();
    store.bind_policy(&policy, act("twice")).await.unwrap_err();
    store.unbind_policy("q", at(11), act("none")).await.unwrap();
    let of_task = fill(&*store, "t", 1, 1).await;
    store
        .unbind_policy("p", at(12), act("ended"))
        .await
        .unwrap();

    let entries = store.log_records(0, 10).await.unwrap();
    let envelopes: Vec<_> = entries.iter().map(|row| row.kept.envelope()).collect();
    let own = of_task[0].kept.envelope().unwrap();
    assert_eq!(
        envelopes,
        ["added", "granted", "bound", own, "ended"].map(Some)
    );
    let mut tree = Frontier::new();
    for (entry, index) in entries.iter().zip(0..) {
        assert_eq!(entry.index, index);
        tree.append(entry.leaf_hash);
    }
    let head = LogHead {
        size: 5,
        root: tree.root(),
    };
    assert_eq!(store.log_head().await.unwrap(), head);
    let plan = ProofPlan::inclusion(1, 5).unwrap();
    let nodes = store.log_nodes(&plan.nodes()).await.unwrap();
    let proof = plan.assemble(|node| nodes.get(&node).copied()).unwrap();
    verify_inclusion(&entries[1].leaf_hash, 1, 5, &proof, &head.root).unwrap();
}
