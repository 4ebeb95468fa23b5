//! The committed state of key-value buckets, as steps read it. Writes come with the transition of the step that made
//! them, where what the step read is checked again ([`super::world`]).

use super::ask::Readers;
use super::row;
use super::writer::Writer;
use crate::store::{KeyPage, StoreError, Versioned};

pub(in crate::store) const KEYS: &str = "SELECT entry_key FROM bucket_entries WHERE bucket = $1 AND entry_key > $2 \
     ORDER BY entry_key LIMIT $3";
pub(in crate::store) const KEYS_FROM_START: &str =
    "SELECT entry_key FROM bucket_entries WHERE bucket = $1 ORDER BY entry_key LIMIT $2";

pub(in crate::store) async fn get(
    readers: &Readers,
    bucket: &str,
    key: &str,
) -> Result<Option<Versioned>, StoreError> {
    let found: Option<(Vec<u8>, i64)> = readers
        .ask("SELECT value, version FROM bucket_entries WHERE bucket = $1 AND entry_key = $2")
        .bind(bucket.to_owned())
        .bind(key.as_bytes().to_vec())
        .optional()
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
pub(in crate::store) async fn keys(
    readers: &Readers,
    bucket: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<KeyPage, StoreError> {
    let version = readers
        .ask("SELECT version FROM buckets WHERE name = $1")
        .bind(bucket.to_owned())
        .optional::<(i64,)>();
    let version = version.await?.map_or(0, |(version,)| version);
    let query = match after {
        // Not `> ''`, since the empty key would never be seen.
        None => readers.ask(KEYS_FROM_START).bind(bucket.to_owned()),
        Some(after) => readers
            .ask(KEYS)
            .bind(bucket.to_owned())
            .bind(after.as_bytes().to_vec()),
    };
    let keys = query.bind(i64::from(limit)).column().await?;
    Ok(KeyPage {
        keys: keys.into_iter().map(key).collect::<Result<_, _>>()?,
        bucket_version: row::unsigned("the version of a bucket", version)?,
    })
}

/// A key is stored as its bytes: a guest may put a zero character into it, which a text of PostgreSQL cannot hold.
pub(in crate::store) fn key(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| StoreError::Corrupt {
        what: "a key of a bucket",
        why: error.to_string(),
    })
}

pub(in crate::store) async fn buckets(readers: &Readers) -> Result<Vec<String>, StoreError> {
    readers
        .ask("SELECT name FROM buckets ORDER BY name")
        .column()
        .await
}

pub(in crate::store) async fn fill(
    writer: &Writer,
    bucket: String,
    entries: Vec<(String, Vec<u8>)>,
) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let (version,): (i64,) = work
                    .ask("UPDATE log_head SET write_version = write_version + 1 WHERE id = 1 RETURNING write_version")
                    .one()
                    .await?;
                work.ask(
                    "INSERT INTO buckets (name, version) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                )
                .bind(bucket.clone())
                .bind(version)
                .execute()
                .await?;
                for (key, value) in entries {
                    work.ask(
                        "INSERT INTO bucket_entries (bucket, entry_key, value, version) VALUES ($1, $2, $3, $4) \
                         ON CONFLICT (bucket, entry_key) DO UPDATE SET value = excluded.value, version = excluded.version",
                    )
                    .bind(bucket.clone())
                    .bind(key.into_bytes())
                    .bind(value)
                    .bind(version)
                    .execute()
                    .await?;
                }
                Ok(())
            })
        })
        .await
}
