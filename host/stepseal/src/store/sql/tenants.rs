//! Clients with a token and tasks of their own.

use stepseal_receipts::time::Timestamp;

use super::ask::Readers;
use super::writer::Writer;
use super::{log, row};
use crate::store::{StoreError, TenantRow};

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<TenantRow>, StoreError> {
    let rows: Vec<(String, Vec<u8>, i64, Option<i64>)> = readers
        .ask("SELECT name, token, added_ms, removed_ms FROM tenants ORDER BY name")
        .all()
        .await?;
    let rows = rows.into_iter().map(|(name, token, added, removed)| {
        let time = |ms| row::time("the time of a tenant", ms);
        Ok(TenantRow {
            name,
            token: row::digest("the token of a tenant", &token)?,
            added: time(added)?,
            removed: removed.map(time).transpose()?,
        })
    });
    rows.collect()
}

pub(in crate::store) async fn put(writer: &Writer, row: TenantRow) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let known: Option<(Option<i64>,)> = work
                    .ask("SELECT removed_ms FROM tenants WHERE name = $1")
                    .bind(row.name.clone())
                    .optional()
                    .await?;
                work.ask(
                    "INSERT INTO tenants (name, token, added_ms) VALUES ($1, $2, $3) \
                     ON CONFLICT (name) DO UPDATE SET token = $2, added_ms = $3, removed_ms = NULL",
                )
                .bind(row.name)
                .bind(row::bytes(&row.token))
                .bind(row::ms(row.added))
                .execute()
                .await?;
                log::rules_changed(&mut work).await?;
                Ok(!matches!(known, Some((None,))))
            })
        })
        .await
}

pub(in crate::store) async fn remove(
    writer: &Writer,
    name: String,
    at: Timestamp,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let removed = work
                    .ask(
                        "UPDATE tenants SET removed_ms = $2 WHERE name = $1 AND removed_ms IS NULL",
                    )
                    .bind(name)
                    .bind(row::ms(at))
                    .execute();
                if removed.await? == 0 {
                    return Ok(false);
                }
                log::rules_changed(&mut work).await?;
                Ok(true)
            })
        })
        .await
}
