//! The committed state of key-value buckets, as steps read it. Writes come with the transition of the step that made
//! them, where what the step read is checked again ([`super::batch`]).

use crate::store::{KeyPage, Versioned};
use sqlx::SqlitePool;

use super::row;
use super::writer::Writer;
use crate::store::StoreError;

pub(super) const KEYS: &str = "SELECT entry_key FROM bucket_entries WHERE bucket = $1 AND entry_key > $2 \
     ORDER BY entry_key LIMIT $3";
pub(super) const KEYS_FROM_START: &str =
    "SELECT entry_key FROM bucket_entries WHERE bucket = $1 ORDER BY entry_key LIMIT $2";

pub(super) async fn get(
    readers: &SqlitePool,
    bucket: &str,
    key: &str,
) -> Result<Option<Versioned>, StoreError> {
    let found: Option<(Vec<u8>, i64)> = sqlx::query_as(
        "SELECT value, version FROM bucket_entries WHERE bucket = $1 AND entry_key = $2",
    )
    .bind(bucket.to_owned())
    .bind(key.to_owned())
    .fetch_optional(readers)
    .await?;
    found
        .map(|(value, version)| {
            Ok(Versioned {
                value,
                version: row::unsigned("the version of a key", version)?,
            })
        })
        .transpose()
}

/// Reads the version first. A write that comes between the two statements then makes the version too old, and the
/// check at the commit finds it; the other way round a changed list could pass.
pub(super) async fn keys(
    readers: &SqlitePool,
    bucket: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<KeyPage, StoreError> {
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM buckets WHERE name = $1")
        .bind(bucket.to_owned())
        .fetch_optional(readers)
        .await?;
    let query = match after {
        // Not `> ''`, since the empty key would never be seen.
        None => sqlx::query_scalar(KEYS_FROM_START).bind(bucket.to_owned()),
        Some(after) => sqlx::query_scalar(KEYS)
            .bind(bucket.to_owned())
            .bind(after.to_owned()),
    };
    let keys: Vec<String> = query.bind(i64::from(limit)).fetch_all(readers).await?;
    Ok(KeyPage {
        keys,
        bucket_version: row::unsigned("the version of a bucket", version.unwrap_or(0))?,
    })
}

pub(super) async fn buckets(readers: &SqlitePool) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT name FROM buckets ORDER BY name")
        .fetch_all(readers)
        .await?)
}

pub(super) async fn fill(
    writer: &Writer,
    bucket: String,
    entries: Vec<(String, Vec<u8>)>,
) -> Result<(), StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let version: i64 = sqlx::query_scalar(
                    "UPDATE log_head SET write_version = write_version + 1 WHERE id = 1 RETURNING write_version",
                )
                .fetch_one(&mut *connection)
                .await?;
                sqlx::query(
                    "INSERT INTO buckets (name, version) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                )
                .bind(bucket.clone())
                .bind(version)
                .execute(&mut *connection)
                .await?;
                for (key, value) in entries {
                    sqlx::query(
                        "INSERT INTO bucket_entries (bucket, entry_key, value, version) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (bucket, entry_key) DO UPDATE SET value = excluded.value, version = excluded.version",
                    )
                    .bind(bucket.clone())
                    .bind(key)
                    .bind(value)
                    .bind(version)
                    .execute(&mut *connection)
                    .await?;
                }
                Ok(())
            })
        })
        .await
}
