//! What every [`Store`] must do, as tests written against the trait. Each implementation runs them all with [`suite`]
//! over a [`Fixture`] of its own.
//!
//! The runtime of a test has one thread, so futures that are joined have all handed over their transition before
//! the store takes up the first: "at once" below means in one batch, where the store has batches.

pub(crate) mod approvals;
pub(crate) mod keyvalue;
pub(crate) mod log;
pub(crate) mod operator;
pub(crate) mod tasks;

use std::sync::Arc;

use crate::store::{KeyValueChanges, Write};
use async_trait::async_trait;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;

use super::{
    Accept, CommitError, NewAct, NewBlob, NewEvent, NewRecord, NewTask, OPERATOR, Store,
    StoreError, Transition,
};

/// A database for one test, empty at first, gone when dropped.
#[async_trait]
pub(crate) trait Fixture: Sized {
    /// Makes it.
    async fn new() -> Self;
    /// Opens it; the same one each time.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each case, over the fixture that is named.
macro_rules! suite {
    ($fixture:ty) => {
        $crate::store::conformance::suite! { @cases $fixture,
            operator::a_database_is_claimed_once,
            operator::a_key_takes_the_place_of_another_where_the_log_says_so,
            operator::a_key_of_an_approver_counts_between_the_records_of_it,
            operator::a_healthy_database_passes_the_probe,
            operator::a_component_is_added_once,
            operator::a_name_and_version_belong_to_one_component,
            operator::components_are_found_by_name_and_listed_in_order,
            operator::a_grant_replaces_the_one_before,
            operator::policies_are_in_force_until_unbound,
            operator::settings_are_kept_when_their_binding_ended,
            operator::a_tenant_is_there_until_removed,
            operator::a_schedule_is_due_until_somebody_notes_that_it_was,
            log::an_act_is_in_the_log_exactly_where_it_was_done,
            tasks::a_task_is_stored_with_everything_that_came_with_it,
            tasks::an_idempotency_key_leads_to_the_first_task,
            tasks::the_same_key_twice_at_once_makes_one_task,
            tasks::a_task_id_is_used_once,
            tasks::a_task_must_come_with_its_own_first_transition,
            tasks::an_unknown_task_cannot_change,
            tasks::a_writer_that_missed_something_stores_nothing,
            tasks::what_was_judged_by_other_rules_is_not_stored,
            tasks::of_two_writers_at_once_one_wins,
            tasks::one_after_the_other_is_fine_even_at_once,
            tasks::a_refused_transition_does_not_hurt_its_neighbours,
            tasks::a_text_that_cannot_be_stored_is_refused_alone,
            tasks::events_come_in_pages,
            tasks::tasks_are_listed_newest_first_by_filter_and_page,
            tasks::unfinished_tasks_come_due_in_order,
            tasks::what_was_due_is_due_when_the_clock_was_put_back,
            tasks::each_tenant_has_its_own_tasks,
            tasks::a_poked_task_is_due_until_its_runner_has_seen_it,
            tasks::a_task_that_is_over_cannot_be_cancelled,
            tasks::a_blob_may_belong_to_two_tasks,
            tasks::what_is_erased_leaves_the_row_and_the_records,
            tasks::erased_records_leave_their_leaves,
            approvals::an_approval_is_closed_unless_somebody_decided_first,
            approvals::approvals_are_listed_newest_first_by_filter_and_page,
            approvals::a_decision_is_taken_once_and_makes_its_task_due,
            approvals::a_decision_on_something_else_is_not_stored,
            approvals::the_last_approved_of_its_likeness_is_found,
            approvals::an_approval_of_another_task_is_refused,
            log::a_hundred_transitions_at_once_get_leaves_without_gap_and_the_right_root,
            log::every_inclusion_proof_can_be_made,
            log::nodes_that_do_not_exist_are_left_out,
            log::a_record_must_be_the_next_of_its_task,
            log::a_checkpoint_is_never_contradicted,
            log::cosignatures_are_kept_with_their_checkpoints_until_forgotten,
            log::everything_is_there_after_a_restart,
            keyvalue::a_value_is_read_back_with_a_version,
            keyvalue::a_version_never_comes_back,
            keyvalue::what_was_read_must_still_hold,
            keyvalue::a_key_that_was_absent_must_still_be_absent,
            keyvalue::of_two_that_read_the_same_at_once_one_wins,
            keyvalue::increments_are_never_lost,
            keyvalue::two_hosts_write_one_log_and_lose_no_increment,
            keyvalue::a_key_may_have_any_character,
            keyvalue::a_list_that_was_read_must_still_hold,
            keyvalue::keys_come_in_pages_in_the_order_of_their_bytes,
            keyvalue::a_bucket_that_is_filled_reads_like_one_that_was_written,
        }
    };
    (@cases $fixture:ty, $($module:ident::$case:ident,)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let fixture = <$fixture as $crate::store::conformance::Fixture>::new().await;
                $crate::store::conformance::$module::$case(&fixture).await;
            }
        )+
    };
}
pub(crate) use suite;

/// A time, in milliseconds.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(ms).expect("tests stay before the year 9999")
}

/// Ids of the operator's tasks that are due.
async fn due(store: &dyn Store, now: Timestamp, limit: u32) -> Vec<String> {
    let due = store.due(now, &[OPERATOR.to_owned()], limit).await.unwrap();
    due.into_iter().map(|task| task.id).collect()
}

/// When the operator's next task is due.
async fn next_wake(store: &dyn Store, now: Timestamp) -> Option<Timestamp> {
    store.next_wake(now, &[OPERATOR.to_owned()]).await.unwrap()
}

/// A digest that depends on a text.
pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// An act of the host whose envelope is this text.
pub(crate) fn act(envelope: &str) -> NewAct {
    NewAct {
        envelope: envelope.to_owned(),
        leaf_hash: digest(envelope),
    }
}

/// A task without agent and key.
fn task(id: &str) -> NewTask {
    NewTask {
        id: id.to_owned(),
        tenant: OPERATOR.to_owned(),
        agent: None,
        labels: "{}".to_owned(),
        idempotency: None,
        plan: digest("plan"),
        input: digest("input"),
        created: at(1_000),
    }
}

/// A transition to `running` with one event and nothing else.
pub(crate) fn transition(task: &str, after: u64) -> Transition {
    Transition {
        task: task.to_owned(),
        after,
        events: vec![event(&format!("{}", after + 1))],
        records: Vec::new(),
        blobs: Vec::new(),
        state: TaskState::Running,
        wake_at: None,
        keeps: false,
        rules: None,
        pokes_seen: 0,
        approvals: Vec::new(),
        keyvalue: KeyValueChanges::default(),
        at: at(2_000 + after),
    }
}

/// An event whose body is a string.
fn event(body: &str) -> NewEvent {
    NewEvent {
        at: at(5),
        kind: "step.succeeded",
        body: format!("{body:?}"),
    }
}

/// The record of a task with this `seq`.
fn record(task: &str, seq: u64) -> NewRecord {
    NewRecord {
        seq,
        envelope: format!(r#"{{"payload":"{task} {seq}"}}"#),
        leaf_hash: digest(&format!("{task} {seq}")),
    }
}

/// A blob with these bytes.
fn blob(bytes: &[u8]) -> NewBlob {
    NewBlob {
        digest: Digest::of(bytes),
        bytes: bytes.to_vec(),
    }
}

/// Writes to keys of the bucket `b`.
fn writes(writes: &[(&str, Option<&str>)]) -> Vec<Write> {
    writes
        .iter()
        .map(|(key, value)| Write {
            bucket: "b".to_owned(),
            key: (*key).to_owned(),
            value: value.map(|value| value.as_bytes().to_vec()),
        })
        .collect()
}

/// A task with one record and one blob, and its first transition.
pub(crate) fn submission(id: &str) -> (NewTask, Transition) {
    let first = Transition {
        records: vec![NewRecord {
            seq: 0,
            envelope: "{}".to_owned(),
            leaf_hash: digest(id),
        }],
        blobs: vec![NewBlob {
            digest: digest(id),
            bytes: id.as_bytes().to_vec(),
        }],
        state: TaskState::Queued,
        ..transition(id, 0)
    };
    (task(id), first)
}

/// Submits it.
pub(crate) async fn submit(store: &dyn Store, id: &str) -> Result<Accept, CommitError> {
    let (task, transition) = submission(id);
    store.accept(&task, transition).await
}

/// Accepts a task with one event.
pub(crate) async fn accept(store: &dyn Store, id: &str) {
    let accepted = store.accept(&task(id), transition(id, 0)).await;
    assert_eq!(accepted.unwrap(), Accept::New);
}

#[track_caller]
fn assert_stale<T: std::fmt::Debug>(result: &Result<T, CommitError>, id: &str) {
    assert!(
        matches!(result, Err(CommitError::Stale(stale)) if stale == id),
        "{result:?}"
    );
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: &Result<T, CommitError>) {
    assert!(
        matches!(result, Err(CommitError::Store(StoreError::Refused { .. }))),
        "{result:?}"
    );
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: &Result<T, CommitError>, in_key: &str) {
    assert!(
        matches!(result, Err(CommitError::Conflict { bucket, key }) if bucket == "b" && key == in_key),
        "{result:?}"
    );
}
