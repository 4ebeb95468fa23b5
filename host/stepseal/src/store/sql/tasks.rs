//! Tasks. They are written by transitions ([`super::world`]).

use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;

use super::ask::Readers;
use super::row;
use super::writer::Writer;
use crate::store::{DueTask, NewTask, News, StoreError, TaskQuery, TaskRow};

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

pub(in crate::store) const LIST: &str = select!("WHERE id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_STATE: &str =
    select!("WHERE state = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_AGENT: &str =
    select!("WHERE agent = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_AGENT_AND_STATE: &str =
    select!("WHERE agent = $3 AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_TENANT: &str =
    select!("WHERE tenant = $3 AND tenant <> 'operator' AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_TENANT_AND_STATE: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2"
);
pub(in crate::store) const LIST_OF_TENANT_AND_AGENT: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND agent = $4 AND id < $1 ORDER BY id DESC LIMIT $2"
);
pub(in crate::store) const LIST_OF_TENANT_AGENT_AND_STATE: &str = select!(
    "WHERE tenant = $3 AND tenant <> 'operator' AND agent = $4 AND state = $5 AND id < $1 ORDER BY id DESC LIMIT $2"
);
/// `$1` is a JSON array of names, here and below: one look at the index for each of them.
pub(in crate::store) const DUE: &str = "SELECT n.key, t.due_ms, t.id, t.tenant FROM json_each($1) AS n JOIN tasks AS t ON t.id IN \
     (SELECT id FROM tasks WHERE tenant = n.value AND due_ms <= $2 AND holder IS NULL ORDER BY due_ms, id LIMIT $3)";
pub(in crate::store) const DUE_IN_POSTGRES: &str = "SELECT n.key, t.due_ms, t.id, t.tenant \
     FROM json_array_elements_text($1::json) WITH ORDINALITY AS n (value, key) CROSS JOIN LATERAL \
     (SELECT due_ms, id, tenant FROM tasks WHERE tenant = n.value AND due_ms <= $2 AND holder IS NULL ORDER BY due_ms, id LIMIT $3) AS t";
/// What this host holds: it may have come to it without being told.
pub(in crate::store) const HELD: &str = "SELECT tenant, id FROM tasks WHERE holder = $1";
pub(in crate::store) const COUNT_DUE: &str = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE tenant = $1 AND due_ms <= $2 AND holder IS NULL LIMIT $3) AS counted";
pub(in crate::store) const NEXT_WAKE: &str = "SELECT min((SELECT due_ms FROM tasks WHERE tenant = n.value AND due_ms > $2 AND holder IS NULL ORDER BY due_ms LIMIT 1)) \
     FROM json_each($1) AS n";
pub(in crate::store) const NEXT_WAKE_IN_POSTGRES: &str = "SELECT min(t.due_ms) \
     FROM json_array_elements_text($1::json) AS n (value) CROSS JOIN LATERAL \
     (SELECT due_ms FROM tasks WHERE tenant = n.value AND due_ms > $2 AND holder IS NULL ORDER BY due_ms LIMIT 1) AS t";

/// What was due when it was stored is due; what waits is looked at, and waits again where it is too early.
pub(in crate::store) const HASTEN: &str = "UPDATE tasks SET due_ms = 0 WHERE holder IS NULL AND due_ms > 0 AND \
     ((state IN ('queued', 'running') AND due_ms <= updated_ms) OR (state = 'waiting' AND due_ms <= $1))";

pub(in crate::store) async fn by_id(
    readers: &Readers,
    id: &str,
) -> Result<Option<TaskRow>, StoreError> {
    let found: Option<Columns> = readers
        .ask(select!("WHERE id = $1"))
        .bind(id.to_owned())
        .optional()
        .await?;
    found.map(decode).transpose()
}

pub(in crate::store) async fn with_key(
    readers: &Readers,
    key: &str,
) -> Result<Option<(String, Digest)>, StoreError> {
    let found: Option<(String, Vec<u8>)> = readers
        .ask("SELECT id, idempotency_digest FROM tasks WHERE idempotency_key = $1")
        .bind(key.to_owned())
        .optional()
        .await?;
    found
        .map(|(id, digest)| Ok((id, row::digest("the digest of a request", &digest)?)))
        .transpose()
}

pub(in crate::store) async fn list(
    readers: &Readers,
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
    let mut statement = readers
        .ask(sql)
        .bind(before.to_owned())
        .bind(i64::from(query.limit));
    for name in [&query.tenant, &query.agent].into_iter().flatten() {
        statement = statement.bind(name.clone());
    }
    if let Some(state) = query.state {
        statement = statement.bind(state.as_str());
    }
    let rows = statement.all().await?;
    rows.into_iter().map(decode).collect()
}

pub(in crate::store) async fn request_cancel(
    writer: &Writer,
    id: String,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let noted = work
                    .ask(
                        "UPDATE tasks SET cancel = TRUE, pokes = pokes + 1, due_ms = 0 \
                         WHERE id = $1 AND state IN ('queued', 'running', 'waiting')",
                    )
                    .bind(id.clone())
                    .execute();
                if noted.await? == 0 {
                    return Ok(false);
                }
                work.tell(&News::Cancelled(id)).await?;
                Ok(true)
            })
        })
        .await
}

pub(in crate::store) async fn due(
    readers: &Readers,
    now: Timestamp,
    tenants: &[String],
    limit: u32,
    holder: Option<i64>,
) -> Result<Vec<DueTask>, StoreError> {
    let mut held: Vec<DueTask> = Vec::new();
    if let Some(holder) = holder {
        let rows = readers.ask(HELD).bind(holder);
        let rows: Vec<(String, String)> = rows.all().await?;
        held.extend(rows.into_iter().map(|(tenant, id)| DueTask { tenant, id }));
        held.sort_unstable_by(|a, b| a.tenant.cmp(&b.tenant));
    }
    let mut due: Vec<(i64, i64, String, String)> = readers
        .ask(readers.text(DUE, DUE_IN_POSTGRES))
        .bind(names(tenants))
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .all()
        .await?;
    due.sort_unstable();
    let task = |(_, _, id, tenant)| DueTask { tenant, id };
    held.extend(due.into_iter().map(task));
    Ok(held)
}

pub(in crate::store) async fn count_due(
    readers: &Readers,
    now: Timestamp,
    tenant: &str,
    limit: u32,
) -> Result<u32, StoreError> {
    let (count,): (i64,) = readers
        .ask(COUNT_DUE)
        .bind(tenant.to_owned())
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .one()
        .await?;
    // There is a limit of the same kind.
    Ok(u32::try_from(count).unwrap_or(limit))
}

pub(in crate::store) async fn hasten(writer: &Writer, until: Timestamp) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let hastened = work.ask(HASTEN).bind(row::ms(until)).execute();
                if hastened.await? > 0 {
                    work.tell(&News::Due).await?;
                }
                Ok(())
            })
        })
        .await
}

pub(in crate::store) async fn next_wake(
    readers: &Readers,
    now: Timestamp,
    tenants: &[String],
) -> Result<Option<Timestamp>, StoreError> {
    let (wake,): (Option<i64>,) = readers
        .ask(readers.text(NEXT_WAKE, NEXT_WAKE_IN_POSTGRES))
        .bind(names(tenants))
        .bind(row::ms(now))
        .one()
        .await?;
    wake.map(|ms| row::time("the time a task waits for", ms))
        .transpose()
}

fn names(names: &[String]) -> String {
    serde_json::to_string(names).expect("strings are JSON")
}

/// The columns of a task. They are too many for a tuple.
struct Columns {
    id: String,
    tenant: String,
    agent: Option<String>,
    labels: String,
    idempotency_key: Option<String>,
    idempotency_digest: Option<Vec<u8>>,
    plan: Vec<u8>,
    input: Vec<u8>,
    created_ms: i64,
    state: String,
    updated_ms: i64,
    wake_at_ms: Option<i64>,
    events: i64,
    records: i64,
    head: Option<Vec<u8>>,
    cancel: bool,
    pokes: i64,
    erased_ms: Option<i64>,
}

impl<'r, R: Row> FromRow<'r, R> for Columns
where
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get(0)?,
            tenant: row.try_get(1)?,
            agent: row.try_get(2)?,
            labels: row.try_get(3)?,
            idempotency_key: row.try_get(4)?,
            idempotency_digest: row.try_get(5)?,
            plan: row.try_get(6)?,
            input: row.try_get(7)?,
            created_ms: row.try_get(8)?,
            state: row.try_get(9)?,
            updated_ms: row.try_get(10)?,
            wake_at_ms: row.try_get(11)?,
            events: row.try_get(12)?,
            records: row.try_get(13)?,
            head: row.try_get(14)?,
            cancel: row.try_get(15)?,
            pokes: row.try_get(16)?,
            erased_ms: row.try_get(17)?,
        })
    }
}

fn decode(columns: Columns) -> Result<TaskRow, StoreError> {
    let time = |what, ms: Option<i64>| ms.map(|ms| row::time(what, ms)).transpose();
    let request = row::digest_option(
        "the digest of a request",
        columns.idempotency_digest.as_deref(),
    )?;
    Ok(TaskRow {
        task: NewTask {
            id: columns.id,
            tenant: columns.tenant,
            agent: columns.agent,
            labels: columns.labels,
            idempotency: columns.idempotency_key.zip(request),
            plan: row::digest("the plan of a task", &columns.plan)?,
            input: row::digest("the input of a task", &columns.input)?,
            created: row::time("the time of a task", columns.created_ms)?,
        },
        state: row::name(
            "the state of a task",
            &columns.state,
            &STATES,
            TaskState::as_str,
        )?,
        updated: row::time("the time of a task", columns.updated_ms)?,
        wake_at: time("the time a task waits for", columns.wake_at_ms)?,
        cancel: columns.cancel,
        pokes: row::unsigned("the pokes of a task", columns.pokes)?,
        events: row::unsigned("the events of a task", columns.events)?,
        records: row::unsigned("the records of a task", columns.records)?,
        head: row::digest_option("the newest record of a task", columns.head.as_deref())?,
        erased: time("the time a task was erased", columns.erased_ms)?,
    })
}
