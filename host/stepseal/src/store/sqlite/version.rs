//! Which schema a database has, without changing anything in it.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::store::StoreError;

/// The schema version of the database at `path`, opened read-only; `None` where no migration was ever run in it.
pub async fn schema_version(path: &Path) -> Result<Option<i64>, StoreError> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await?;
    let migrated: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut connection)
    .await?;
    let version = if migrated == 0 {
        None
    } else {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await?
    };
    connection.close().await?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store as _, sqlite};

    #[tokio::test]
    async fn an_opened_database_has_a_version_and_an_empty_file_has_none() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("stepseal.db");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(schema_version(&path).await.unwrap(), None);
        sqlite::open(&path).await.unwrap().close().await;
        assert!(
            schema_version(&path)
                .await
                .unwrap()
                .is_some_and(|version| version >= 1)
        );
        assert!(schema_version(&temp.path().join("none.db")).await.is_err());
    }
}
