//! Submissions that the host makes by itself.

use stepseal_receipts::time::Timestamp;

use super::ask::Readers;
use super::row;
use super::writer::Writer;
use crate::store::{News, PutSchedule, ScheduleRow, StoreError};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT name, id, document, changed_ms, next_ms, last FROM schedules ",
            $rest
        )
    };
}

type Columns = (String, String, String, i64, Option<i64>, Option<String>);

fn schedule(columns: Columns) -> Result<ScheduleRow, StoreError> {
    let (name, id, document, changed, next, last) = columns;
    let time = |ms| row::time("a time of a schedule", ms);
    Ok(ScheduleRow {
        name,
        id,
        document,
        changed: time(changed)?,
        next: next.map(time).transpose()?,
        last,
    })
}

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<ScheduleRow>, StoreError> {
    let rows: Vec<Columns> = readers.ask(select!("ORDER BY name")).all().await?;
    rows.into_iter().map(schedule).collect()
}

pub(in crate::store) async fn by_name(
    readers: &Readers,
    name: &str,
) -> Result<Option<ScheduleRow>, StoreError> {
    let row: Option<Columns> = readers
        .ask(select!("WHERE name = $1"))
        .bind(name.to_owned())
        .optional()
        .await?;
    row.map(schedule).transpose()
}

pub(in crate::store) async fn due(
    readers: &Readers,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<ScheduleRow>, StoreError> {
    let rows: Vec<Columns> = readers
        .ask(select!(
            "WHERE next_ms <= $1 ORDER BY next_ms, name LIMIT $2"
        ))
        .bind(row::ms(now))
        .bind(i64::from(limit))
        .all()
        .await?;
    rows.into_iter().map(schedule).collect()
}

pub(in crate::store) async fn next(readers: &Readers) -> Result<Option<Timestamp>, StoreError> {
    let next: (Option<i64>,) = readers
        .ask("SELECT min(next_ms) FROM schedules")
        .one()
        .await?;
    let time = |ms| row::time("a time of a schedule", ms);
    next.0.map(time).transpose()
}

pub(in crate::store) async fn put(
    writer: &Writer,
    row: ScheduleRow,
    most: u32,
) -> Result<PutSchedule, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let count: (i64,) = work
                    .ask("SELECT count(*) FROM schedules WHERE name <> $1")
                    .bind(row.name.clone())
                    .one()
                    .await?;
                if count.0 >= i64::from(most) {
                    return Ok(PutSchedule::TooMany);
                }
                let before: Option<(Option<String>,)> = work
                    .ask("SELECT last FROM schedules WHERE name = $1")
                    .bind(row.name.clone())
                    .optional()
                    .await?;
                let is_new = before.is_none();
                work.ask("DELETE FROM schedules WHERE name = $1")
                    .bind(row.name.clone())
                    .execute()
                    .await?;
                work.ask(
                    "INSERT INTO schedules (name, id, document, changed_ms, next_ms, last) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(row.name)
                .bind(row.id)
                .bind(row.document)
                .bind(row::ms(row.changed))
                .bind(row.next.map(row::ms))
                // Its last task may not be over, however it is changed.
                .bind(before.map_or(row.last, |(last,)| last))
                .execute()
                .await?;
                // Other hosts look when the next is due.
                work.tell(&News::Due).await?;
                Ok(if is_new {
                    PutSchedule::New
                } else {
                    PutSchedule::Changed
                })
            })
        })
        .await
}

pub(in crate::store) async fn fired(
    writer: &Writer,
    id: String,
    due: Timestamp,
    next: Option<Timestamp>,
    last: String,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let changed = work
                    .ask("UPDATE schedules SET next_ms = $3, last = $4 WHERE id = $1 AND next_ms = $2")
                    .bind(id)
                    .bind(row::ms(due))
                    .bind(next.map(row::ms))
                    .bind(last)
                    .execute();
                Ok(changed.await? > 0)
            })
        })
        .await
}

pub(in crate::store) async fn remove(writer: &Writer, name: String) -> Result<bool, StoreError> {
    let removed = writer.transact(move |mut work| {
        Box::pin(async move {
            let removed = work.ask("DELETE FROM schedules WHERE name = $1").bind(name);
            Ok(removed.execute().await? > 0)
        })
    });
    let removed = removed.await?;
    // Its submission may say what is to be in no file any more.
    writer.cut_log().await?;
    Ok(removed)
}
