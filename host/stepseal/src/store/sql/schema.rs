//! Which schema a database has, and whether this program knows it.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::store::StoreError;

/// Migrations of one kind of database, oldest first: version, name and text. The database keeps a checksum of each.
pub(in crate::store) type Migrations = [(i64, &'static str, &'static str)];

/// Refuses what was migrated by a newer program or not to its end: `applied` are the versions in the database with whether each
/// succeeded, oldest first.
pub(in crate::store) fn check(
    database: &str,
    migrations: &Migrations,
    applied: &[(i64, bool)],
) -> Result<(), StoreError> {
    let known = migrations.last().map_or(0, |(version, ..)| *version);
    if let Some((found, _)) = applied.last()
        && *found > known
    {
        return Err(StoreError::Newer {
            found: *found,
            known,
        });
    }
    if let Some((version, _)) = applied.iter().find(|(_, success)| !success) {
        return Err(StoreError::Unusable {
            path: database.to_owned(),
            why: format!(
                "its migration {version} was begun and not finished: go back to the backup made before it"
            ),
        });
    }
    Ok(())
}

/// What brings a database up to date.
pub(in crate::store) fn migrator(migrations: &Migrations) -> Migrator {
    let migrations = migrations.iter().map(|&(version, name, sql)| {
        let sql = sql.into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}
