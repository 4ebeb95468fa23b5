//! Identity, components, grants and policies.

use stepseal_receipts::keys::{PublicKey, SigningKey};
use stepseal_receipts::record::KeyRole;

use super::{Fixture, act, at, digest};
use crate::store::{
    AddComponent, ApproverRow, ComponentKind, ComponentRow, GrantRow, Identity, KeyRow, PolicyRow,
    PutSchedule, ScheduleRow, StoreError, TenantRow,
};

fn key(n: u8) -> PublicKey {
    SigningKey::from_seed([n; 32]).public()
}

fn identity() -> Identity {
    Identity {
        origin: "stepseal.local/0".into(),
        log_key: key(1),
        record_key: key(2),
    }
}

pub(crate) async fn a_tenant_is_there_until_removed(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let row = |name: &str, token: &str, added| TenantRow {
        name: name.to_owned(),
        token: digest(token),
        added: at(added),
        removed: None,
    };
    assert!(store.put_tenant(&row("b", "1", 1)).await.unwrap());
    assert!(store.put_tenant(&row("a", "2", 2)).await.unwrap());
    assert!(!store.put_tenant(&row("b", "3", 3)).await.unwrap());
    assert!(store.remove_tenant("a", at(4)).await.unwrap());
    assert!(!store.remove_tenant("a", at(5)).await.unwrap());
    assert!(!store.remove_tenant("c", at(5)).await.unwrap());
    let gone = TenantRow {
        removed: Some(at(4)),
        ..row("a", "2", 2)
    };
    assert_eq!(store.tenants().await.unwrap(), [gone, row("b", "3", 3)]);
    assert!(store.put_tenant(&row("a", "4", 6)).await.unwrap());
    assert_eq!(
        store.tenants().await.unwrap(),
        [row("a", "4", 6), row("b", "3", 3)]
    );
}

pub(crate) async fn a_schedule_is_due_until_somebody_notes_that_it_was(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let row = |name: &str, id: &str, next| ScheduleRow {
        name: name.to_owned(),
        id: id.to_owned(),
        document: r#"{"cron":"0 3 * * *"}"#.to_owned(),
        changed: at(1),
        next,
        last: None,
    };
    let put = async |row: &ScheduleRow| store.put_schedule(row, 2).await.unwrap();
    assert_eq!(store.next_schedule().await.unwrap(), None);
    let (a, b) = (row("a", "1", Some(at(30))), row("b", "2", Some(at(20))));
    assert_eq!(put(&a).await, PutSchedule::New);
    assert_eq!(put(&b).await, PutSchedule::New);
    assert_eq!(put(&row("c", "3", None)).await, PutSchedule::TooMany);
    assert_eq!(store.schedules().await.unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.next_schedule().await.unwrap(), Some(at(20)));
    let due = async |now, limit| store.due_schedules(at(now), limit).await.unwrap();
    assert_eq!(due(19, 9).await, []);
    assert_eq!(due(20, 9).await, std::slice::from_ref(&b));
    assert_eq!(due(30, 9).await, [b.clone(), a.clone()]);
    assert_eq!(due(30, 1).await, [b]);

    // Of those who come at once one notes it, and whoever has an old copy of the schedule does not.
    let fired = async |id, due, next, last| store.fired(id, at(due), next, last).await.unwrap();
    let noted = tokio::join!(
        fired("2", 20, Some(at(40)), "one"),
        fired("2", 20, Some(at(40)), "two")
    );
    assert_eq!(noted, (true, false));
    assert_eq!(
        put(&row("a", "4", Some(at(30)))).await,
        PutSchedule::Changed
    );
    assert!(!fired("1", 30, Some(at(50)), "old").await);
    assert!(fired("4", 30, None, "new").await);
    let noted = ScheduleRow {
        last: Some("one".to_owned()),
        ..row("b", "2", Some(at(40)))
    };
    assert_eq!(store.schedule("b").await.unwrap(), Some(noted));
    // Put there again, it still has its last task.
    put(&row("b", "5", Some(at(40)))).await;
    let again = store.schedule("b").await.unwrap().unwrap();
    assert_eq!(
        (again.id, again.last),
        ("5".to_owned(), Some("one".to_owned()))
    );
    let noted = ScheduleRow {
        last: Some("new".to_owned()),
        ..row("a", "4", None)
    };
    assert_eq!(store.schedule("a").await.unwrap(), Some(noted));
    // What is never due again is not in the way.
    assert_eq!(store.next_schedule().await.unwrap(), Some(at(40)));
    assert!(store.remove_schedule("b").await.unwrap());
    assert!(!store.remove_schedule("b").await.unwrap());
    assert_eq!(store.schedule("b").await.unwrap(), None);
    assert_eq!(store.next_schedule().await.unwrap(), None);
}

pub(crate) async fn a_database_is_claimed_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.identity().await.unwrap(), None);
    let first = identity();
    store.claim(&first, act("opened")).await.unwrap();
    let second = Identity {
        origin: "stepseal.local/1".into(),
        ..first.clone()
    };
    for again in [&second, &first] {
        let claimed = store.claim(again, act("again")).await;
        assert!(
            matches!(claimed, Err(StoreError::Refused { .. })),
            "{claimed:?}"
        );
    }
    assert_eq!(store.identity().await.unwrap(), Some(first));
    assert_eq!(store.log_head().await.unwrap().size, 1);
}

pub(crate) async fn a_key_takes_the_place_of_another_where_the_log_says_so(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&identity(), act("opened")).await.unwrap();
    let new = |from_index| KeyRow {
        role: KeyRole::Record,
        key: key(3),
        from_index,
        to_index: None,
    };
    let old = |to_index| KeyRow {
        key: key(2),
        to_index,
        ..new(0)
    };
    // The record of it would come to stand at 1, and not before.
    let early = store.add_key(&new(1), act("early")).await;
    assert!(
        matches!(early, Err(StoreError::Refused { .. })),
        "{early:?}"
    );
    store.add_key(&new(2), act("rotated")).await.unwrap();
    store.add_key(&new(9), act("twice")).await.unwrap_err();
    let early = store.end_key(&old(Some(1)), act("early")).await;
    assert!(
        matches!(early, Err(StoreError::Refused { .. })),
        "{early:?}"
    );
    store.end_key(&old(Some(2)), act("revoked")).await.unwrap();
    let twice = store.end_key(&old(Some(3)), act("twice")).await;
    assert!(
        matches!(twice, Err(StoreError::Refused { .. })),
        "{twice:?}"
    );
    assert_eq!(store.log_head().await.unwrap().size, 3);
    let rotated = Identity {
        record_key: key(3),
        ..identity()
    };
    assert_eq!(store.identity().await.unwrap(), Some(rotated));
    let log = KeyRow {
        role: KeyRole::Log,
        key: key(1),
        ..new(0)
    };
    let keys = store.keys().await.unwrap();
    assert_eq!(keys, [log, old(Some(2)), new(2)]);
}

pub(crate) async fn a_key_of_an_approver_counts_between_the_records_of_it(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.claim(&identity(), act("opened")).await.unwrap();
    let dana = store.add_approver("dana", &key(3), act("added")).await;
    let dana = dana.unwrap();
    assert_eq!((dana.from_index, dana.to_index), (1, None));
    let ada = store.add_approver("ada", &key(4), act("another")).await;
    assert!(store.end_approver(&key(3), act("ended")).await.unwrap());
    for gone in [key(3), key(5)] {
        assert!(!store.end_approver(&gone, act("again")).await.unwrap());
    }
    let again = store.add_approver("dana", &key(3), act("again")).await;
    assert!(
        matches!(again, Err(StoreError::Refused { .. })),
        "{again:?}"
    );
    let ended = ApproverRow {
        to_index: Some(3),
        ..dana
    };
    assert_eq!(store.approvers().await.unwrap(), [ended, ada.unwrap()]);
    // What was refused is not in the log.
    assert_eq!(store.log_head().await.unwrap().size, 4);
}

pub(crate) async fn a_healthy_database_passes_the_probe(fixture: &impl Fixture) {
    let store = fixture.open().await;
    store.probe().await.unwrap();
    assert_eq!(store.log_head().await.unwrap().size, 0);
}

pub(super) fn component(bytes: &str, name: &str, version: &str, added: u64) -> ComponentRow {
    ComponentRow {
        digest: digest(bytes),
        kind: ComponentKind::Plugin,
        name: name.into(),
        version: version.into(),
        descriptor: r#"{"name":"ledger"}"#.into(),
        imports: vec![
            "wasi:io/poll@0.2.0".into(),
            "wasi:keyvalue/store@0.2.0-draft".into(),
        ],
        size: 12_345,
        added: at(added),
    }
}

pub(crate) async fn a_component_is_added_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let ledger = component("ledger", "ledger", "0.1.0", 7);
    assert_eq!(store.component(&ledger.digest).await.unwrap(), None);
    assert_eq!(
        store.add_component(&ledger, act("ledger")).await.unwrap(),
        AddComponent::Added
    );
    let later = ComponentRow {
        added: at(8),
        ..ledger.clone()
    };
    let again = store.add_component(&later, act("later")).await.unwrap();
    assert_eq!(again, AddComponent::Known(ledger.clone()));
    let found = store.component(&ledger.digest).await.unwrap();
    assert_eq!(found, Some(ledger));
}

pub(crate) async fn a_name_and_version_belong_to_one_component(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = component("first", "ledger", "0.1.0", 7);
    store.add_component(&first, act("first")).await.unwrap();
    let other = component("other", "ledger", "0.1.0", 8);
    let taken = store.add_component(&other, act("other")).await.unwrap();
    assert_eq!(taken, AddComponent::NameTaken(first.digest));
    assert_eq!(store.component(&other.digest).await.unwrap(), None);
    let policy = ComponentRow {
        kind: ComponentKind::Policy,
        ..other
    };
    assert_eq!(
        store.add_component(&policy, act("policy")).await.unwrap(),
        AddComponent::Added
    );
}

pub(crate) async fn components_are_found_by_name_and_listed_in_order(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let newest = component("2", "ledger", "0.1.9", 30);
    let older = component("1", "ledger", "0.2.0", 20);
    let other = component("3", "jq", "1.0.0", 40);
    for row in [&newest, &older, &other] {
        store.add_component(row, act(&row.version)).await.unwrap();
    }
    let named = async |kind, version| {
        store
            .component_named(kind, "ledger", version)
            .await
            .unwrap()
    };
    let plugin = ComponentKind::Plugin;
    assert_eq!(named(plugin, None).await, Some(newest.clone()));
    assert_eq!(named(plugin, Some("0.2.0")).await, Some(older.clone()));
    assert_eq!(named(plugin, Some("9.9.9")).await, None);
    assert_eq!(named(ComponentKind::Policy, None).await, None);
    assert_eq!(store.components().await.unwrap(), [other, older, newest]);
}

pub(crate) async fn a_grant_replaces_the_one_before(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let grant = |plugin: &str, document: &str| GrantRow {
        plugin: plugin.into(),
        document: document.into(),
        digest: digest(document),
        version: 0,
        changed: at(9),
    };
    assert_eq!(store.grant("ledger").await.unwrap(), None);
    assert_eq!(
        store
            .put_grant(&grant("ledger", "{}"), act("1"))
            .await
            .unwrap(),
        1
    );
    let second = grant("ledger", r#"{"buckets":["ledger"]}"#);
    assert_eq!(store.put_grant(&second, act("2")).await.unwrap(), 2);
    assert_eq!(
        store.put_grant(&grant("jq", "{}"), act("3")).await.unwrap(),
        1
    );
    let second = GrantRow {
        version: 2,
        ..second
    };
    assert_eq!(store.grant("ledger").await.unwrap(), Some(second.clone()));
    let jq = GrantRow {
        version: 1,
        ..grant("jq", "{}")
    };
    assert_eq!(store.grants().await.unwrap(), [jq, second.clone()]);
    let first = GrantRow {
        version: 1,
        ..grant("ledger", "{}")
    };
    let history = |limit| store.grant_history("ledger", limit);
    assert_eq!(history(9).await.unwrap(), [second.clone(), first.clone()]);
    assert_eq!(history(1).await.unwrap(), [second]);
    assert_eq!(
        store
            .grant_document(&first.digest)
            .await
            .unwrap()
            .as_deref(),
        Some("{}"),
        "what was in force once is still to be had by its digest"
    );
    assert_eq!(store.grant_document(&digest("none")).await.unwrap(), None);
}

pub(crate) async fn policies_are_in_force_until_unbound(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let policy = |id: &str, bound: u64| PolicyRow {
        id: id.into(),
        component: digest("limit"),
        settings: r#"{"deny_above":100}"#.into(),
        scope: r#"{"plugin":"ledger"}"#.into(),
        mode: "enforce".into(),
        bound: at(bound),
    };
    let (older, newer) = (policy("z", 1), policy("a", 2));
    store.bind_policy(&newer, act("newer")).await.unwrap();
    store.bind_policy(&older, act("older")).await.unwrap();
    assert!(
        store.bind_policy(&older, act("older")).await.is_err(),
        "an id is used once"
    );
    assert_eq!(store.policies().await.unwrap(), [older, newer.clone()]);
    assert!(store.unbind_policy("z", at(3), act("end")).await.unwrap());
    assert!(!store.unbind_policy("z", at(4), act("end")).await.unwrap());
    assert!(
        !store
            .unbind_policy("never", at(4), act("end"))
            .await
            .unwrap()
    );
    assert_eq!(store.policies().await.unwrap(), [newer]);
}

pub(crate) async fn settings_are_kept_when_their_binding_ended(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for (id, settings) in [("a", "{}"), ("b", r#"{"deny_above":100}"#), ("c", "{}")] {
        let row = PolicyRow {
            id: id.into(),
            component: digest("limit"),
            settings: settings.into(),
            scope: "{}".into(),
            mode: "enforce".into(),
            bound: at(1),
        };
        store.bind_policy(&row, act(id)).await.unwrap();
    }
    assert!(store.unbind_policy("b", at(2), act("end")).await.unwrap());
    let mut found = store
        .settings(
            &[
                digest("{}"),
                digest(r#"{"deny_above":100}"#),
                digest("never"),
            ]
            .into(),
        )
        .await
        .unwrap();
    found.sort_unstable();
    assert_eq!(found, [r#"{"deny_above":100}"#, "{}"]);
    assert!(store.settings(&[].into()).await.unwrap().is_empty());
}
