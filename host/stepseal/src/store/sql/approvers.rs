//! The keys of people who sign their own decisions.

use stepseal_receipts::keys::PublicKey;

use super::ask::Readers;
use super::writer::Writer;
use super::{log, row};
use crate::store::{ApproverRow, NewAct, StoreError};

pub(in crate::store) async fn add(
    writer: &Writer,
    name: String,
    key: PublicKey,
    act: NewAct,
) -> Result<ApproverRow, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let from_index = log::append(&mut work, act).await?;
                log::rules_changed(&mut work).await?;
                let added = work
                    .ask("INSERT INTO approver_keys (public_key, name, from_index) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                    .bind(key.to_bytes().to_vec())
                    .bind(name.clone())
                    .bind(row::signed("the first index of a key", from_index)?)
                    .execute()
                    .await?;
                if added == 0 {
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

pub(in crate::store) async fn end(
    writer: &Writer,
    key: PublicKey,
    act: NewAct,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let counts: Option<(i64,)> = work
                    .ask("SELECT from_index FROM approver_keys WHERE public_key = $1 AND to_index IS NULL")
                    .bind(key.to_bytes().to_vec())
                    .optional()
                    .await?;
                if counts.is_none() {
                    return Ok(false);
                }
                let last = log::append(&mut work, act).await?;
                log::rules_changed(&mut work).await?;
                work.ask("UPDATE approver_keys SET to_index = $2 WHERE public_key = $1")
                    .bind(key.to_bytes().to_vec())
                    .bind(row::signed("the last index of a key", last)?)
                    .execute()
                    .await?;
                Ok(true)
            })
        })
        .await
}

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<ApproverRow>, StoreError> {
    let rows: Vec<(String, Vec<u8>, i64, Option<i64>)> = readers
        .ask("SELECT name, public_key, from_index, to_index FROM approver_keys ORDER BY from_index")
        .all()
        .await?;
    let rows = rows.into_iter().map(|(name, key, from, to)| {
        Ok(ApproverRow {
            name,
            key: row::key("a key of an approver", key)?,
            from_index: row::unsigned("the first index of a key", from)?,
            to_index: to
                .map(|to| row::unsigned("the last index of a key", to))
                .transpose()?,
        })
    });
    rows.collect()
}
