//! Erasing what a task left, so that no byte of it stays in a file.
//!
//! `secure_delete` overwrites what is deleted; what was written to the write-ahead log before goes when that is folded in and cut
//! to nothing.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;
use stepseal_receipts::time::Timestamp;

use super::writer::Writer;
use super::{log, row};
use crate::store::{NewAct, NewErasure, StoreError};

/// What a task leaves beside its row and its records. An approval's text and decisions are about the task too.
const LEFT: [&str; 3] = [
    "DELETE FROM blobs WHERE task = $1",
    "DELETE FROM events WHERE task = $1",
    "DELETE FROM approvals WHERE task = $1",
];
/// The key of a request stays, so that it never makes another task; the digest of its content could be guessed, and goes.
const ROW: &str = "UPDATE tasks SET erased_ms = $2, agent = NULL, labels = '{}', \
     idempotency_digest = CASE WHEN idempotency_key IS NULL THEN NULL ELSE zeroblob(32) END \
     WHERE id = $1 AND erased_ms IS NULL AND state IN ('succeeded', 'failed', 'denied', 'cancelled')";
/// The same of a row that may be erased already but for the records.
const ROW_AGAIN: &str = "UPDATE tasks SET erased_ms = coalesce(erased_ms, $2), agent = NULL, labels = '{}', \
     idempotency_digest = CASE WHEN idempotency_key IS NULL THEN NULL ELSE zeroblob(32) END WHERE id = $1";
/// How many envelopes of a finished task there are.
pub(super) const WHOLE: &str = "SELECT count(*) FROM records JOIN tasks ON tasks.id = records.task \
     WHERE records.task = $1 AND envelope IS NOT NULL AND state IN ('succeeded', 'failed', 'denied', 'cancelled')";
pub(super) const RECORD: &str = "UPDATE records SET envelope = NULL, leaf = $3, erasure = $4 \
     WHERE leaf_index = $2 AND task = $1 AND envelope IS NOT NULL";
pub(super) const ERASABLE: &str = "SELECT id FROM tasks WHERE id > $1 AND created_ms < $2 AND erased_ms IS NULL \
     AND state IN ('succeeded', 'failed', 'denied', 'cancelled') ORDER BY id LIMIT $3";

pub(super) async fn erase(
    writer: &Writer,
    task: String,
    at: Timestamp,
    act: NewAct,
) -> Result<bool, StoreError> {
    let erased = writer.transact(move |connection| {
        Box::pin(async move {
            let done = sqlx::query(ROW)
                .bind(task.clone())
                .bind(row::ms(at))
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            delete_left(connection, &task).await?;
            log::append(connection, act).await?;
            Ok(true)
        })
    });
    let erased = erased.await?;
    // Also where another call did it, which may have been cut off before this.
    cut_log(writer).await?;
    Ok(erased)
}

pub(super) async fn erase_records(
    writer: &Writer,
    task: String,
    at: Timestamp,
    erasures: Vec<NewErasure>,
) -> Result<bool, StoreError> {
    let erased = writer.transact(move |connection| {
        Box::pin(async move {
            let whole: i64 = sqlx::query_scalar(WHOLE)
                .bind(task.clone())
                .fetch_one(&mut *connection)
                .await?;
            if whole == 0 {
                return Ok(false);
            }
            let (mut given, mut replaced) = (0, 0);
            for erasure in erasures {
                let own = log::append(connection, erasure.act).await?;
                let own = row::signed("the place of an erasure", own)?;
                for (index, leaf) in erasure.leaves {
                    let done = sqlx::query(RECORD)
                        .bind(task.clone())
                        .bind(row::signed("the place of a record in the log", index)?)
                        .bind(leaf)
                        .bind(own)
                        .execute(&mut *connection)
                        .await?;
                    given += 1;
                    replaced += done.rows_affected();
                }
            }
            if given != whole || i64::try_from(replaced) != Ok(whole) {
                return Err(StoreError::Refused {
                    what: "an erasure of records",
                    why: format!(
                        "it is of {given} records, and of {replaced} of the {whole} of task {task}"
                    ),
                });
            }
            delete_left(connection, &task).await?;
            // What approvers signed went with the records that spoke of it.
            sqlx::query("DELETE FROM signed_approvals WHERE task = $1")
                .bind(task.clone())
                .execute(&mut *connection)
                .await?;
            sqlx::query(ROW_AGAIN)
                .bind(task)
                .bind(row::ms(at))
                .execute(connection)
                .await?;
            Ok(true)
        })
    });
    let erased = erased.await?;
    cut_log(writer).await?;
    Ok(erased)
}

async fn delete_left(connection: &mut SqliteConnection, task: &str) -> Result<(), StoreError> {
    for statement in LEFT {
        sqlx::query(statement)
            .bind(task.to_owned())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Folds the write-ahead log into the file and empties it. Readers hold that up for as long as they read.
async fn cut_log(writer: &Writer) -> Result<(), StoreError> {
    let busy = writer.write(|connection| {
        Box::pin(async move {
            let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(connection)
                .await?;
            Ok(busy != 0)
        })
    });
    if busy.await? {
        return Err(StoreError::Busy);
    }
    Ok(())
}

pub(super) async fn erasable(
    readers: &SqlitePool,
    after: &str,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(ERASABLE)
        .bind(after.to_owned())
        .bind(row::ms(before))
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?)
}
