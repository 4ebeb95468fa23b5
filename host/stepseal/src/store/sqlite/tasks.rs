//! Tasks, their events and their blobs. They are written by transitions ([`super::batch`]).

use sqlx::SqlitePool;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;

use super::row;
use super::writer::Writer;
use crate::store::{EventRow, NewTask, StoreError, TaskQuery, TaskRow};

const STATES: [TaskState; 7] = [
    TaskState::Queued,
    TaskState::Running,
    TaskState::Waiting,
    TaskState::Succeeded,
    TaskState::Failed,
    TaskState::Denied,
    TaskState::Cancelled,
];

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, agent, labels, idempotency_key, idempotency_digest, plan, input, created_ms, state, ",
            "updated_ms, wake_at_ms, events, records, head, cancel, pokes FROM tasks ",
            $rest
        )
    };
}

pub(super) const LIST: &str = select!("WHERE id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_STATE: &str =
    select!("WHERE state = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_AGENT: &str =
    select!("WHERE agent = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_AGENT_AND_STATE: &str =
    select!("WHERE agent = $3 AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const DUE: &str = "SELECT id FROM tasks WHERE due_ms <= $1 ORDER BY due_ms, id LIMIT $2";
pub(super) const NEXT_WAKE: &str =
    "SELECT due_ms FROM tasks WHERE due_ms > $1 ORDER BY due_ms LIMIT 1";
pub(super) const EVENTS: &str =
    "SELECT n, at_ms, kind, body FROM events WHERE task = $1 AND n > $2 ORDER BY n LIMIT $3";
pub(super) const BLOBS: &str = "SELECT bytes FROM blobs WHERE task = $1 ORDER BY digest";

type Columns = (
    String,
    Option<String>,
    String,
    Option<String>,
    Option<Vec<u8>>,
    Vec<u8>,
    Vec<u8>,
    i64,
    String,
    i64,
    Option<i64>,
    i64,
    i64,
    Option<Vec<u8>>,
    bool,
    i64,
);

pub(super) async fn by_id(readers: &SqlitePool, id: &str) -> Result<Option<TaskRow>, StoreError> {
    sqlx::query_as::<_, Columns>(select!("WHERE id = $1"))
        .bind(id.to_owned())
        .fetch_optional(readers)
        .await?
        .map(decode)
        .transpose()
}

pub(super) async fn with_key(
    readers: &SqlitePool,
    key: &str,
) -> Result<Option<(String, Digest)>, StoreError> {
    let found: Option<(String, Vec<u8>)> =
        sqlx::query_as("SELECT id, idempotency_digest FROM tasks WHERE idempotency_key = $1")
            .bind(key.to_owned())
            .fetch_optional(readers)
            .await?;
    found
        .map(|(id, digest)| Ok((id, row::digest("the digest of a request", &digest)?)))
        .transpose()
}

pub(super) async fn list(
    readers: &SqlitePool,
    query: &TaskQuery,
) -> Result<Vec<TaskRow>, StoreError> {
    let sql = match (&query.agent, query.state) {
        (None, None) => LIST,
        (None, Some(_)) => LIST_OF_STATE,
        (Some(_), None) => LIST_OF_AGENT,
        (Some(_), Some(_)) => LIST_OF_AGENT_AND_STATE,
    };
    let before = query.before.as_deref().unwrap_or(row::AFTER_EVERY_ID);
    let mut statement = sqlx::query_as::<_, Columns>(sql)
        .bind(before.to_owned())
        .bind(i64::from(query.limit));
    if let Some(agent) = &query.agent {
        statement = statement.bind(agent.clone());
    }
    if let Some(state) = query.state {
        statement = statement.bind(state.as_str());
    }
    let rows = statement.fetch_all(readers).await?;
    rows.into_iter().map(decode).collect()
}

pub(super) async fn events(
    readers: &SqlitePool,
    task: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRow>, StoreError> {
    let rows: Vec<(i64, i64, String, String)> = sqlx::query_as(EVENTS)
        .bind(task.to_owned())
        // Clients choose `after`: beyond the largest number there is nothing.
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?;
    rows.into_iter()
        .map(|(n, at, kind, body)| {
            Ok(EventRow {
                n: row::unsigned("the number of an event", n)?,
                at: row::time("the time of an event", at)?,
                kind,
                body,
            })
        })
        .collect()
}

pub(super) async fn request_cancel(writer: &Writer, id: String) -> Result<bool, StoreError> {
    writer
        .write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE tasks SET cancel = 1, pokes = pokes + 1, due_ms = 0 \
                     WHERE id = $1 AND state IN ('queued', 'running', 'waiting')",
                )
                .bind(id)
                .execute(connection)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
}

pub(super) async fn due(
    readers: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(DUE)
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?)
}

pub(super) async fn next_wake(
    readers: &SqlitePool,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let wake: Option<i64> = sqlx::query_scalar(NEXT_WAKE)
        .bind(row::ms(now))
        .fetch_optional(readers)
        .await?;
    wake.map(|ms| row::time("the time a task waits for", ms))
        .transpose()
}

pub(super) async fn blob(
    readers: &SqlitePool,
    task: &str,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT bytes FROM blobs WHERE task = $1 AND digest = $2")
            .bind(task.to_owned())
            .bind(row::bytes(digest))
            .fetch_optional(readers)
            .await?,
    )
}

pub(super) async fn blobs(readers: &SqlitePool, task: &str) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar(BLOBS)
        .bind(task.to_owned())
        .fetch_all(readers)
        .await?)
}

fn decode(columns: Columns) -> Result<TaskRow, StoreError> {
    let (
        id,
        agent,
        labels,
        key,
        key_digest,
        plan,
        input,
        created,
        state,
        updated,
        wake_at,
        events,
        records,
        head,
        cancel,
        pokes,
    ) = columns;
    let key_digest = row::digest_option("the digest of a request", key_digest.as_deref())?;
    Ok(TaskRow {
        task: NewTask {
            id,
            agent,
            labels,
            idempotency: key.zip(key_digest),
            plan: row::digest("the plan of a task", &plan)?,
            input: row::digest("the input of a task", &input)?,
            created: row::time("the time of a task", created)?,
        },
        state: row::name("the state of a task", &state, &STATES, TaskState::as_str)?,
        updated: row::time("the time of a task", updated)?,
        wake_at: wake_at
            .map(|ms| row::time("the time a task waits for", ms))
            .transpose()?,
        cancel,
        pokes: row::unsigned("the pokes of a task", pokes)?,
        events: row::unsigned("the events of a task", events)?,
        records: row::unsigned("the records of a task", records)?,
        head: row::digest_option("the newest record of a task", head.as_deref())?,
    })
}
