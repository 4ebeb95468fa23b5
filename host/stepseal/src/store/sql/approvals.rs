//! Questions put to people. They are written with the transition that opens or ends them ([`super::world`]), and by
//! those who decide.

use super::ask::Readers;
use super::row;
use super::writer::Writer;
use crate::store::{ApprovalQuery, ApprovalRow, ApprovalState, News, SignedApproval, StoreError};

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

pub(in crate::store) const LIST: &str = select!("WHERE id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_STATE: &str =
    select!("WHERE state = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_TASK: &str =
    select!("WHERE task = $3 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LIST_OF_TASK_AND_STATE: &str =
    select!("WHERE task = $3 AND state = $4 AND id < $1 ORDER BY id DESC LIMIT $2");
pub(in crate::store) const LAST_APPROVED: &str =
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

pub(in crate::store) async fn by_id(
    readers: &Readers,
    id: &str,
) -> Result<Option<ApprovalRow>, StoreError> {
    readers
        .ask(select!("WHERE id = $1"))
        .bind(id.to_owned())
        .optional()
        .await?
        .map(decode)
        .transpose()
}

pub(in crate::store) async fn list(
    readers: &Readers,
    query: &ApprovalQuery,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let sql = match (&query.task, query.state) {
        (None, None) => LIST,
        (None, Some(_)) => LIST_OF_STATE,
        (Some(_), None) => LIST_OF_TASK,
        (Some(_), Some(_)) => LIST_OF_TASK_AND_STATE,
    };
    let before = query.before.as_deref().unwrap_or(row::AFTER_EVERY_ID);
    let mut statement = readers
        .ask(sql)
        .bind(before.to_owned())
        .bind(i64::from(query.limit));
    if let Some(task) = &query.task {
        statement = statement.bind(task.clone());
    }
    if let Some(state) = query.state {
        statement = statement.bind(state.as_str());
    }
    let rows = statement.all().await?;
    rows.into_iter().map(decode).collect()
}

/// The comparison makes a decision that was taken on another state of things fail, not overwrite.
pub(in crate::store) async fn decide(
    writer: &Writer,
    new: ApprovalRow,
    before: String,
    signed: Option<SignedApproval>,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let decided = work
                    .ask(
                        "UPDATE approvals SET state = $3, decisions = $4 \
                         WHERE id = $1 AND state = 'open' AND decisions = $2",
                    )
                    .bind(new.id)
                    .bind(before)
                    .bind(new.state.as_str())
                    .bind(new.decisions)
                    .execute()
                    .await?;
                if decided == 0 {
                    return Ok(false);
                }
                if let Some(signed) = signed {
                    work.ask("INSERT INTO signed_approvals (task, digest, envelope) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                        .bind(new.task.clone())
                        .bind(row::bytes(&signed.digest))
                        .bind(signed.envelope)
                        .execute()
                        .await?;
                }
                work.ask(
                    "UPDATE tasks SET pokes = pokes + 1, due_ms = 0 \
                     WHERE id = $1 AND state IN ('queued', 'running', 'waiting')",
                )
                .bind(new.task.clone())
                .execute()
                .await?;
                work.tell(&News::Poked(new.task)).await?;
                Ok(true)
            })
        })
        .await
}

pub(in crate::store) async fn signed(
    readers: &Readers,
    task: &str,
) -> Result<Vec<String>, StoreError> {
    readers
        .ask("SELECT envelope FROM signed_approvals WHERE task = $1 ORDER BY digest")
        .bind(task.to_owned())
        .column()
        .await
}

pub(in crate::store) async fn last_approved(
    readers: &Readers,
    likeness: &str,
) -> Result<Option<ApprovalRow>, StoreError> {
    readers
        .ask(LAST_APPROVED)
        .bind(likeness.to_owned())
        .optional()
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
