//! Clients with a token and tasks of their own.

use sqlx::SqlitePool;
use stepseal_receipts::time::Timestamp;

use super::row;
use super::writer::Writer;
use crate::store::{StoreError, TenantRow};

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<TenantRow>, StoreError> {
    sqlx::query_as::<_, (String, Vec<u8>, i64, Option<i64>)>(
        "SELECT name, token, added_ms, removed_ms FROM tenants ORDER BY name",
    )
    .fetch_all(readers)
    .await?
    .into_iter()
    .map(|(name, token, added, removed)| {
        let time = |ms| row::time("the time of a tenant", ms);
        Ok(TenantRow {
            name,
            token: row::digest("the token of a tenant", &token)?,
            added: time(added)?,
            removed: removed.map(time).transpose()?,
        })
    })
    .collect()
}

pub(super) async fn put(writer: &Writer, row: TenantRow) -> Result<bool, StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let known: Option<Option<i64>> =
                    sqlx::query_scalar("SELECT removed_ms FROM tenants WHERE name = $1")
                        .bind(row.name.clone())
                        .fetch_optional(&mut *connection)
                        .await?;
                sqlx::query(
                    "INSERT INTO tenants (name, token, added_ms) VALUES ($1, $2, $3) \
                     ON CONFLICT (name) DO UPDATE SET token = $2, added_ms = $3, removed_ms = NULL",
                )
                .bind(row.name)
                .bind(row::bytes(&row.token))
                .bind(row::ms(row.added))
                .execute(connection)
                .await?;
                Ok(!matches!(known, Some(None)))
            })
        })
        .await
}

pub(super) async fn remove(
    writer: &Writer,
    name: String,
    at: Timestamp,
) -> Result<bool, StoreError> {
    writer
        .write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE tenants SET removed_ms = $2 WHERE name = $1 AND removed_ms IS NULL",
                )
                .bind(name)
                .bind(row::ms(at))
                .execute(connection)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
}
