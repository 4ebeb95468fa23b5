//! Tasks, their events and their blobs. They are written by transitions ([`super::batch`]).

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;

use super::row;
use super::writer::Writer;
use crate::store::{DueTask, EventRow, NewTask, StoreError, TaskQuery, TaskRow};

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
            "SELECT id, tenant, agent, labels, idempotency_key, idempotency_digest, plan, input, created_ms, state, ",
            "updated_ms, wake_at_ms, events, records, head, cancel, pokes, erased_ms FROM tasks ",
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
pub(super) const LIST_OF_TENANT: &str =
    select!("WHERE tenant = $3 AND tenant <> 'operator' AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_TENANT_AND_STATE: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2"
);
pub(super) const LIST_OF_TENANT_AND_AGENT: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND agent = $4 AND id < $1 ORDER BY id DESC LIMIT $2"
);
pub(super) const LIST_OF_TENANT_AGENT_AND_STATE: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND agent = $4 AND state = $5 AND id < $1 ORDER BY id DESC LIMIT $2"
);
/// `$1` is a JSON array of names, here and below: one look at the index for each of them.
pub(super) const DUE: &str = "SELECT n.key, t.due_ms, t.id, t.tenant FROM json_each($1) AS n JOIN tasks AS t ON t.id IN \
     (SELECT id FROM tasks WHERE tenant = n.value AND due_ms <= $2 ORDER BY due_ms, id LIMIT $3)";
pub(super) const COUNT_DUE: &str =
    "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE tenant = $1 AND due_ms <= $2 LIMIT $3)";
pub(super) const NEXT_WAKE: &str = "SELECT min((SELECT due_ms FROM tasks WHERE tenant = n.value AND due_ms > $2 ORDER BY due_ms LIMIT 1)) \
     FROM json_each($1) AS n";
pub(super) const EVENTS: &str =
    "SELECT n, at_ms, kind, body FROM events WHERE task = $1 AND n > $2 ORDER BY n LIMIT $3";
pub(super) const BLOBS: &str = "SELECT bytes FROM blobs WHERE task = $1 ORDER BY digest";

pub(super) async fn by_id(readers: &SqlitePool, id: &str) -> Result<Option<TaskRow>, StoreError> {
    sqlx::query(select!("WHERE id = $1"))
        .bind(id.to_owned())
        .fetch_optional(readers)
        .await?
        .map(|row| decode(&row))
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
    let sql = match (&query.tenant, &query.agent, query.state) {
        (None, None, None) => LIST,
        (None, None, Some(_)) => LIST_OF_STATE,
        (None, Some(_), None) => LIST_OF_AGENT,
        (None, Some(_), Some(_)) => LIST_OF_AGENT_AND_STATE,
        (Some(_), None, None) => LIST_OF_TENANT,
        (Some(_), None, Some(_)) => LIST_OF_TENANT_AND_STATE,
        (Some(_), Some(_), None) => LIST_OF_TENANT_AND_AGENT,
        (Some(_), Some(_), Some(_)) => LIST_OF_TENANT_AGENT_AND_STATE,
    };
    let before = query.before.as_deref().unwrap_or(row::AFTER_EVERY_ID);
    let mut statement = sqlx::query(sql)
        .bind(before.to_owned())
        .bind(i64::from(query.limit));
    for name in [&query.tenant, &query.agent].into_iter().flatten() {
        statement = statement.bind(name.clone());
    }
    if let Some(state) = query.state {
        statement = statement.bind(state.as_str());
    }
    let rows = statement.fetch_all(readers).await?;
    rows.iter().map(decode).collect()
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
    tenants: &[String],
    limit: u32,
) -> Result<Vec<DueTask>, StoreError> {
    let mut due: Vec<(i64, i64, String, String)> = sqlx::query_as(DUE)
        .bind(names(tenants))
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?;
    due.sort_unstable();
    let task = |(_, _, id, tenant)| DueTask { tenant, id };
    Ok(due.into_iter().map(task).collect())
}

pub(super) async fn count_due(
    readers: &SqlitePool,
    now: Timestamp,
    tenant: &str,
    limit: u32,
) -> Result<u32, StoreError> {
    Ok(sqlx::query_scalar(COUNT_DUE)
        .bind(tenant.to_owned())
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .fetch_one(readers)
        .await?)
}

pub(super) async fn next_wake(
    readers: &SqlitePool,
    now: Timestamp,
    tenants: &[String],
) -> Result<Option<Timestamp>, StoreError> {
    let wake: Option<i64> = sqlx::query_scalar(NEXT_WAKE)
        .bind(names(tenants))
        .bind(row::ms(now))
        .fetch_one(readers)
        .await?;
    wake.map(|ms| row::time("the time a task waits for", ms))
        .transpose()
}

fn names(names: &[String]) -> String {
    serde_json::to_string(names).expect("strings are JSON")
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

fn decode(columns: &SqliteRow) -> Result<TaskRow, StoreError> {
    let digest = |what, column| {
        let bytes: Vec<u8> = columns.try_get(column)?;
        row::digest(what, &bytes)
    };
    let digest_option = |what, column| {
        let bytes: Option<Vec<u8>> = columns.try_get(column)?;
        row::digest_option(what, bytes.as_deref())
    };
    let time_option = |what, column| {
        let ms: Option<i64> = columns.try_get(column)?;
        ms.map(|ms| row::time(what, ms)).transpose()
    };
    let key: Option<String> = columns.try_get("idempotency_key")?;
    let state: String = columns.try_get("state")?;
    Ok(TaskRow {
        task: NewTask {
            id: columns.try_get("id")?,
            tenant: columns.try_get("tenant")?,
            agent: columns.try_get("agent")?,
            labels: columns.try_get("labels")?,
            idempotency: key.zip(digest_option(
                "the digest of a request",
                "idempotency_digest",
            )?),
            plan: digest("the plan of a task", "plan")?,
            input: digest("the input of a task", "input")?,
            created: row::time("the time of a task", columns.try_get("created_ms")?)?,
        },
        state: row::name("the state of a task", &state, &STATES, TaskState::as_str)?,
        updated: row::time("the time of a task", columns.try_get("updated_ms")?)?,
        wake_at: time_option("the time a task waits for", "wake_at_ms")?,
        cancel: columns.try_get("cancel")?,
        pokes: row::unsigned("the pokes of a task", columns.try_get("pokes")?)?,
        events: row::unsigned("the events of a task", columns.try_get("events")?)?,
        records: row::unsigned("the records of a task", columns.try_get("records")?)?,
        head: digest_option("the newest record of a task", "head")?,
        erased: time_option("the time a task was erased", "erased_ms")?,
    })
}
