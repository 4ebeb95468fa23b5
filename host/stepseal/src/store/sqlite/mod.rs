//! `SQLite`, the embedded default: a database in one file.
//!
//! Opening it twice at the same time is harmless to the data (`SQLite`'s own lock holds) but not meant: the host locks its data directory.

pub(super) mod batch;
pub(super) mod nodes;
mod open;
mod script;
#[cfg(test)]
mod tests;
pub mod version;

use std::path::Path;

use sqlx::sqlite::SqliteConnection;

use super::StoreError;
use super::sql::SqlStore;
use super::sql::ask::Readers;
use super::sql::connection::{Connection, Options};

/// Opens the database at `path`, makes it where there is none (the directory must be there) and brings its schema up
/// to date. Must be called inside a tokio runtime, on which the writer then lives.
///
/// # Errors
/// [`StoreError::Newer`] where a newer program has migrated it; [`StoreError::Unusable`] where the file is not a
/// database of ours, is damaged, or cannot be written to.
pub async fn open(path: &Path) -> Result<SqlStore, StoreError> {
    let opened = open::open(path).await?;
    Ok(SqlStore::new(
        None,
        Readers::Sqlite(opened.readers),
        Connection::Sqlite(opened.writer),
        Options::Sqlite(opened.options),
    ))
}

/// Folds the write-ahead log into the file and empties it. Readers hold that up for as long as they read.
pub(super) async fn cut_log(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await?;
    if busy != 0 {
        return Err(StoreError::Busy);
    }
    Ok(())
}
