//! The keys of people who sign their own decisions.

use sqlx::SqlitePool;
use stepseal_receipts::keys::PublicKey;

use super::writer::Writer;
use super::{log, row};
use crate::store::{ApproverRow, NewAct, StoreError};

pub(super) async fn add(
    writer: &Writer,
    name: String,
    key: PublicKey,
    act: NewAct,
) -> Result<ApproverRow, StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let from_index = log::append(connection, act).await?;
                let done = sqlx::query(
                    "INSERT INTO approver_keys (public_key, name, from_index) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .bind(key.to_bytes().to_vec())
                .bind(name.clone())
                .bind(row::signed("the first index of a key", from_index)?)
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(StoreError::Refused {
                        what: "a key of an approver",
                        why: "it is or was an approver's already".to_owned(),
                    });
                }
                Ok(ApproverRow {
                    name,
                    key,
                    from_index,
                    to_index: None,
                })
            })
        })
        .await
}

pub(super) async fn end(writer: &Writer, key: PublicKey, act: NewAct) -> Result<bool, StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let counts: Option<i64> = sqlx::query_scalar(
                    "SELECT from_index FROM approver_keys WHERE public_key = $1 AND to_index IS NULL",
                )
                .bind(key.to_bytes().to_vec())
                .fetch_optional(&mut *connection)
                .await?;
                if counts.is_none() {
                    return Ok(false);
                }
                let last = log::append(connection, act).await?;
                sqlx::query("UPDATE approver_keys SET to_index = $2 WHERE public_key = $1")
                    .bind(key.to_bytes().to_vec())
                    .bind(row::signed("the last index of a key", last)?)
                    .execute(connection)
                    .await?;
                Ok(true)
            })
        })
        .await
}

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<ApproverRow>, StoreError> {
    sqlx::query_as::<_, (String, Vec<u8>, i64, Option<i64>)>(
        "SELECT name, public_key, from_index, to_index FROM approver_keys ORDER BY from_index",
    )
    .fetch_all(readers)
    .await?
    .into_iter()
    .map(|(name, key, from, to)| {
        Ok(ApproverRow {
            name,
            key: row::key("a key of an approver", key)?,
            from_index: row::unsigned("the first index of a key", from)?,
            to_index: to
                .map(|to| row::unsigned("the last index of a key", to))
                .transpose()?,
        })
    })
    .collect()
}
