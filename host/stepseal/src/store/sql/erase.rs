//! Erasing what a task left.
//!
//! `SQLite` leaves no byte of it in a file: `secure_delete` overwrites what is deleted; what was written to the write-ahead log before
//! goes when that is folded in and cut to nothing ([`Writer::cut_log`]). In PostgreSQL it is out of every table, and stays in the files
//! of the server until they are vacuumed and their write-ahead log is recycled, which is for the server's operator to see to.

use stepseal_receipts::time::Timestamp;

use super::ask::{Readers, Work};
use super::writer::Writer;
use super::{log, row};
use crate::store::{NewAct, NewErasure, StoreError};

/// What a task leaves beside its row and its records. An approval's text and decisions are about the task too.
const LEFT: [&str; 2] = [
    "DELETE FROM transitions WHERE task = $1",
    "DELETE FROM approvals WHERE task = $1",
];
/// The key of a request stays, so that it never makes another task; the digest of its content could be guessed, and goes.
const ROW: &str = "UPDATE tasks SET erased_ms = $2, agent = NULL, labels = '{}', \
     idempotency_digest = CASE WHEN idempotency_key IS NULL THEN NULL ELSE $3 END \
     WHERE id = $1 AND erased_ms IS NULL AND state IN ('succeeded', 'failed', 'denied', 'cancelled')";
/// The same of a row that may be erased already but for the records.
const ROW_AGAIN: &str = "UPDATE tasks SET erased_ms = coalesce(erased_ms, $2), agent = NULL, labels = '{}', \
     idempotency_digest = CASE WHEN idempotency_key IS NULL THEN NULL ELSE $3 END WHERE id = $1";
/// How many envelopes of a finished task there are.
pub(in crate::store) const WHOLE: &str = "SELECT count(*) FROM records JOIN tasks ON tasks.id = records.task \
     WHERE records.task = $1 AND envelope IS NOT NULL AND state IN ('succeeded', 'failed', 'denied', 'cancelled')";
pub(in crate::store) const RECORD: &str = "UPDATE records SET envelope = NULL, leaf = $3, erasure = $4 \
     WHERE leaf_index = $2 AND task = $1 AND envelope IS NOT NULL";
pub(in crate::store) const ERASABLE: &str = "SELECT id FROM tasks WHERE id > $1 AND created_ms < $2 AND erased_ms IS NULL \
     AND state IN ('succeeded', 'failed', 'denied', 'cancelled') ORDER BY id LIMIT $3";

/// What takes the place of the digest of a request.
fn nothing() -> Vec<u8> {
    vec![0; 32]
}

pub(in crate::store) async fn erase(
    writer: &Writer,
    task: String,
    at: Timestamp,
    act: NewAct,
) -> Result<bool, StoreError> {
    let erased = writer.transact(move |mut work| {
        Box::pin(async move {
            let erased = work
                .ask(ROW)
                .bind(task.clone())
                .bind(row::ms(at))
                .bind(nothing())
                .execute()
                .await?;
            if erased == 0 {
                return Ok(false);
            }
            delete_left(&mut work, &task).await?;
            log::append(&mut work, act).await?;
            Ok(true)
        })
    });
    let erased = erased.await?;
    // Also where another call did it, which may have been cut off before this.
    writer.cut_log().await?;
    Ok(erased)
}

pub(in crate::store) async fn erase_records(
    writer: &Writer,
    task: String,
    at: Timestamp,
    erasures: Vec<NewErasure>,
) -> Result<bool, StoreError> {
    let erased = writer.transact(move |mut work| {
        Box::pin(async move {
            let (whole,): (i64,) = work.ask(WHOLE).bind(task.clone()).one().await?;
            if whole == 0 {
                return Ok(false);
            }
            let (mut given, mut replaced) = (0, 0);
            for erasure in erasures {
                let own = log::append(&mut work, erasure.act).await?;
                let own = row::signed("the place of an erasure", own)?;
                for (index, leaf) in erasure.leaves {
                    let done = work
                        .ask(RECORD)
                        .bind(task.clone())
                        .bind(row::signed("the place of a record in the log", index)?)
                        .bind(leaf)
                        .bind(own)
                        .execute();
                    given += 1;
                    replaced += done.await?;
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
            delete_left(&mut work, &task).await?;
            // What approvers signed went with the records that spoke of it.
            work.ask("DELETE FROM signed_approvals WHERE task = $1")
                .bind(task.clone())
                .execute()
                .await?;
            work.ask(ROW_AGAIN)
                .bind(task)
                .bind(row::ms(at))
                .bind(nothing())
                .execute()
                .await?;
            Ok(true)
        })
    });
    let erased = erased.await?;
    writer.cut_log().await?;
    Ok(erased)
}

async fn delete_left(work: &mut Work<'_>, task: &str) -> Result<(), StoreError> {
    for statement in LEFT {
        work.ask(statement).bind(task.to_owned()).execute().await?;
    }
    Ok(())
}

pub(in crate::store) async fn erasable(
    readers: &Readers,
    after: &str,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    readers
        .ask(ERASABLE)
        .bind(after.to_owned())
        .bind(row::ms(before))
        .bind(i64::from(limit))
        .column()
        .await
}
