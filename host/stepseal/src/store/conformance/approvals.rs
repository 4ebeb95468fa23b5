//! Questions put to people.

use super::{Fixture, accept, assert_refused, at, digest, due, task, transition};
use crate::store::{ApprovalQuery, ApprovalRow, ApprovalState, SignedApproval, Store, Transition};

fn approval(id: &str, task: &str, state: ApprovalState) -> ApprovalRow {
    ApprovalRow {
        id: id.into(),
        task: task.into(),
        step: "pay".into(),
        attempt: 2,
        subject: digest("subject"),
        body: r#"{"asks":[]}"#.into(),
        likeness: "ledger/transfer".into(),
        state,
        decisions: "[]".into(),
        opened: at(10),
        expires: at(20),
    }
}

fn with(task: &str, after: u64, approvals: Vec<ApprovalRow>) -> Transition {
    Transition {
        approvals,
        ..transition(task, after)
    }
}

pub(crate) async fn an_approval_is_closed_unless_somebody_decided_first(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let lapsing = approval("a", "t", ApprovalState::Open);
    let decided = approval("b", "t", ApprovalState::Open);
    let first = with("t", 0, vec![lapsing.clone(), decided.clone()]);
    store.accept(&task("t"), first).await.unwrap();
    assert_eq!(store.approval("a").await.unwrap(), Some(lapsing.clone()));
    assert_eq!(store.approval("c").await.unwrap(), None);
    let by_mia = ApprovalRow {
        decisions: r#"[{"approver":"mia"}]"#.into(),
        ..decided.clone()
    };
    assert!(
        store
            .decide_approval(&by_mia, &decided.decisions, None)
            .await
            .unwrap()
    );
    let expired = |row: ApprovalRow| ApprovalRow {
        state: ApprovalState::Expired,
        ..row
    };
    let closed = vec![expired(lapsing.clone()), expired(decided)];
    store.commit(with("t", 1, closed)).await.unwrap();
    assert_eq!(store.approval("a").await.unwrap(), Some(expired(lapsing)));
    assert_eq!(store.approval("b").await.unwrap(), Some(by_mia));
}

/// Ids of the approvals a query finds.
async fn found(store: &dyn Store, query: ApprovalQuery) -> Vec<String> {
    let approvals = store.approvals(&query).await.unwrap();
    approvals.into_iter().map(|row| row.id).collect()
}

pub(crate) async fn approvals_are_listed_newest_first_by_filter_and_page(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let of_t = vec![
        approval("1", "t", ApprovalState::Open),
        approval("4", "t", ApprovalState::Void),
        approval("3", "t", ApprovalState::Open),
    ];
    let of_u = vec![approval("2", "u", ApprovalState::Open)];
    store.accept(&task("t"), with("t", 0, of_t)).await.unwrap();
    store.accept(&task("u"), with("u", 0, of_u)).await.unwrap();
    let all = ApprovalQuery {
        limit: 9,
        ..ApprovalQuery::default()
    };
    assert_eq!(found(&*store, all.clone()).await, ["4", "3", "2", "1"]);
    let page = ApprovalQuery {
        before: Some("4".into()),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(found(&*store, page).await, ["3", "2"]);
    let open = ApprovalQuery {
        state: Some(ApprovalState::Open),
        ..all.clone()
    };
    assert_eq!(found(&*store, open.clone()).await, ["3", "2", "1"]);
    let of_t = ApprovalQuery {
        task: Some("t".into()),
        ..all
    };
    assert_eq!(found(&*store, of_t.clone()).await, ["4", "3", "1"]);
    let open_of_t = ApprovalQuery {
        task: of_t.task,
        before: Some("3".into()),
        ..open
    };
    assert_eq!(found(&*store, open_of_t).await, ["1"]);
}

pub(crate) async fn a_decision_is_taken_once_and_makes_its_task_due(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let open = approval("a", "t", ApprovalState::Open);
    let first = with("t", 0, vec![open.clone()]);
    store.accept(&task("t"), first).await.unwrap();
    let by = |approver: &str, state| ApprovalRow {
        state,
        decisions: format!(r#"[{{"approver":"{approver}"}}]"#),
        ..open.clone()
    };
    let mia = by("mia", ApprovalState::Open);
    let leo = by("leo", ApprovalState::Rejected);
    let signed = |by: &str| SignedApproval {
        digest: digest(by),
        envelope: by.into(),
    };
    let (of_mia, of_leo) = (signed("mia"), signed("leo"));
    let (one, two) = tokio::join!(
        store.decide_approval(&mia, "[]", Some(&of_mia)),
        store.decide_approval(&leo, "[]", Some(&of_leo))
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(
        one != two,
        "of two decisions on the same state of things one is taken"
    );
    let (taken, of_taken) = if one { (mia, of_mia) } else { (leo, of_leo) };
    // What the other one signed is not kept either.
    assert_eq!(
        store.signed_approvals("t").await.unwrap(),
        [of_taken.envelope]
    );
    assert_eq!(store.approval("a").await.unwrap(), Some(taken.clone()));
    assert_eq!(store.task("t").await.unwrap().unwrap().pokes, 1);
    assert_eq!(due(&*store, at(1), 9).await, ["t"]);

    let approved = by("both", ApprovalState::Approved);
    let second = store
        .decide_approval(&approved, &taken.decisions, None)
        .await
        .unwrap();
    assert_eq!(second, taken.state == ApprovalState::Open);
}

pub(crate) async fn a_decision_on_something_else_is_not_stored(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let void = approval("a", "t", ApprovalState::Void);
    let first = with("t", 0, vec![void.clone()]);
    store.accept(&task("t"), first).await.unwrap();
    let approved = ApprovalRow {
        state: ApprovalState::Approved,
        ..void.clone()
    };
    assert!(!store.decide_approval(&approved, "[]", None).await.unwrap());
    let unknown = ApprovalRow {
        id: "b".into(),
        ..approved
    };
    assert!(!store.decide_approval(&unknown, "[]", None).await.unwrap());
    assert_eq!(store.approval("a").await.unwrap(), Some(void));
    assert_eq!(store.approval("b").await.unwrap(), None);
    assert_eq!(store.task("t").await.unwrap().unwrap().pokes, 0);
}

pub(crate) async fn the_last_approved_of_its_likeness_is_found(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.last_approved("ledger/transfer").await.unwrap(), None);
    let newest = approval("3", "t", ApprovalState::Approved);
    let other = ApprovalRow {
        likeness: "jq/filter".into(),
        ..approval("4", "t", ApprovalState::Approved)
    };
    let approvals = vec![
        newest.clone(),
        approval("2", "t", ApprovalState::Approved),
        other,
        approval("5", "t", ApprovalState::Rejected),
    ];
    store
        .accept(&task("t"), with("t", 0, approvals))
        .await
        .unwrap();
    let last = store.last_approved("ledger/transfer").await.unwrap();
    assert_eq!(last, Some(newest));
}

pub(crate) async fn an_approval_of_another_task_is_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    accept(&*store, "t").await;
    let strange = with("t", 1, vec![approval("a", "u", ApprovalState::Open)]);
    assert_refused(&store.commit(strange).await);
    assert_eq!(store.approval("a").await.unwrap(), None);
    assert_eq!(store.task("t").await.unwrap().unwrap().events, 1);
}
