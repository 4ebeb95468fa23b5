//! Questions put to people. They are written with the transition that opens or ends them ([`super::batch`]), and by
//! those who decide.

use sqlx::{Connection, SqlitePool};

use super::row;
use super::writer::Writer;
use crate::store::{ApprovalQuery, ApprovalRow, ApprovalState, SignedApproval, StoreError};

const STATES: [ApprovalState; 5] = [
    ApprovalState::Open,
    ApprovalState::Approved,
    ApprovalState::Rejected,
    ApprovalState::Expired,
    ApprovalState::Void,
];

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, task, step, attempt, subject, body, likeness, state, decisions, opened_ms, expires_ms ",
            "FROM approvals ",
            $rest
        )
    };
}

pub(super) const LIST: &str = select!("WHERE id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_STATE: &str =
    select!("WHERE state = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_TASK: &str =
    select!("WHERE task = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LIST_OF_TASK_AND_STATE: &str =
    select!("WHERE task = $3 AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(super) const LAST_APPROVED: &str =
    select!("WHERE likeness = $1 AND state = 'approved' ORDER BY id DESC LIMIT 1");

type Columns = (
    String,
    String,
    String,
    i64,
    Vec<u8>,
    String,
    String,
    String,
    String,
    i64,
    i64,
);

pub(super) async fn by_id(
    readers: &SqlitePool,
    id: &str,
) -> Result<Option<ApprovalRow>, StoreError> {
    sqlx::query_as::<_, Columns>(select!("WHERE id = $1"))
        .bind(id.to_owned())
        .fetch_optional(readers)
        .await?
        .map(decode)
        .transpose()
}

pub(super) async fn list(
    readers: &SqlitePool,
    query: &ApprovalQuery,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let sql = match (&query.task, query.state) {
        (None, None) => LIST,
        (None, Some(_)) => LIST_OF_STATE,
        (Some(_), None) => LIST_OF_TASK,
        (Some(_), Some(_)) => LIST_OF_TASK_AND_STATE,
    };
    let before = query.before.as_deref().unwrap_or(row::AFTER_EVERY_ID);
    let mut statement = sqlx::query_as::<_, Columns>(sql)
        .bind(before.to_owned())
        .bind(i64::from(query.limit));
    if let Some(task) = &query.task {
        statement = statement.bind(task.clone());
    }
    if let Some(state) = query.state {
        statement = statement.bind(state.as_str());
    }
    let rows = statement.fetch_all(readers).await?;
    rows.into_iter().map(decode).collect()
}

/// The comparison makes a decision that was taken on another state of things fail, not overwrite.
pub(super) async fn decide(
    writer: &Writer,
    new: ApprovalRow,
    before: String,
    signed: Option<SignedApproval>,
) -> Result<bool, StoreError> {
    writer
        .write(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let done = sqlx::query(
                    "UPDATE approvals SET state = $3, decisions = $4 \
                     WHERE id = $1 AND state = 'open' AND decisions = $2",
                )
                .bind(new.id)
                .bind(before)
                .bind(new.state.as_str())
                .bind(new.decisions)
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    transaction.rollback().await?;
                    return Ok(false);
                }
                if let Some(signed) = signed {
                    sqlx::query(
                        "INSERT INTO signed_approvals (task, digest, envelope) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    )
                    .bind(new.task.clone())
                    .bind(row::bytes(&signed.digest))
                    .bind(signed.envelope)
                    .execute(&mut *transaction)
                    .await?;
                }
                sqlx::query(
                    "UPDATE tasks SET pokes = pokes + 1, due_ms = 0 \
                     WHERE id = $1 AND state IN ('queued', 'running', 'waiting')",
                )
                .bind(new.task)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(true)
            })
        })
        .await
}

pub(super) async fn signed(readers: &SqlitePool, task: &str) -> Result<Vec<String>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT envelope FROM signed_approvals WHERE task = $1 ORDER BY digest")
            .bind(task.to_owned())
            .fetch_all(readers)
            .await?,
    )
}

pub(super) async fn last_approved(
    readers: &SqlitePool,
    likeness: &str,
) -> Result<Option<ApprovalRow>, StoreError> {
    sqlx::query_as::<_, Columns>(LAST_APPROVED)
        .bind(likeness.to_owned())
        .fetch_optional(readers)
        .await?
        .map(decode)
        .transpose()
}

fn decode(columns: Columns) -> Result<ApprovalRow, StoreError> {
    let (id, task, step, attempt, subject, body, likeness, state, decisions, opened, expires) =
        columns;
    Ok(ApprovalRow {
        id,
        task,
        step,
        attempt: u32::try_from(attempt).map_err(|_| StoreError::Corrupt {
            what: "the attempt of an approval",
            why: format!("{attempt} is not a number it can have"),
        })?,
        subject: row::digest("the subject of an approval", &subject)?,
        body,
        likeness,
        state: row::name(
            "the state of an approval",
            &state,
            &STATES,
            ApprovalState::as_str,
        )?,
        decisions,
        opened: row::time("the time of an approval", opened)?,
        expires: row::time("the expiry of an approval", expires)?,
    })
}
