//! Opening the file: is it ours, is it whole, do we know its schema, can it be written?

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::store::StoreError;
use crate::store::sql::ask::Work;
use crate::store::sql::{log, schema};

/// Readers at the same time. Each is a thread; a query takes tens of microseconds, so few are enough.
const READERS_MAX: u32 = 4;

/// How long a statement waits for a lock that another process holds, such as a backup or `sqlite3` on the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Texts of SQL that the writer's connection keeps compiled. Batches of a few transitions come in few shapes.
const COMPILED_MAX: usize = 128;

/// Pages in the write-ahead log after which it is folded into the file: 16 MiB. Many commits change the same pages, and each is
/// then written once for all of them. What was committed is on disk in the log already.
const CHECKPOINT_PAGES: &str = "4000";

/// Pages the writer keeps in memory, in KiB with a minus sign as `SQLite` has it.
const CACHE_KIB: &str = "-8000";

/// Every migration this program knows.
const MIGRATIONS: &schema::Migrations = &[
    (
        1,
        "first",
        include_str!("../../../../../migrations/sqlite/0001_first.sql"),
    ),
    (
        2,
        "cosignatures",
        include_str!("../../../../../migrations/sqlite/0002_cosignatures.sql"),
    ),
];

/// An open database.
pub(super) struct Opened {
    /// Connections that cannot write.
    pub(super) readers: SqlitePool,
    /// The connection that writes.
    pub(super) writer: SqliteConnection,
    /// To make that connection anew.
    pub(super) options: SqliteConnectOptions,
}

pub(super) async fn open(path: &Path) -> Result<Opened, StoreError> {
    let unusable = |error: StoreError| explain(path, error);
    if path.exists() {
        inspect(path).await.map_err(unusable)?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode anything less may lose what was acknowledged when the power goes.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(LOCK_WAIT)
        .statement_cache_capacity(COMPILED_MAX)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", CACHE_KIB)
        // What is deleted is overwritten, so that what was erased cannot be read from the file.
        .pragma("secure_delete", "ON")
        .disable_statement_logging();
    let mut writer = options
        .connect()
        .await
        .map_err(|error| unusable(error.into()))?;
    migrate(&mut writer).await.map_err(unusable)?;
    check_writable(&mut writer).await.map_err(unusable)?;

    let read_only = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(LOCK_WAIT)
        .disable_statement_logging();
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // A file does not hang up: asking before each use would only double the cost of a query.
        .test_before_acquire(false)
        .connect_with(read_only)
        .await
        .map_err(|error| unusable(error.into()))?;
    Ok(Opened {
        readers,
        writer,
        options,
    })
}

/// Looks at a file that is there before anything is done to it: switching somebody else's database to WAL would be
/// rude, and a newer one must be left exactly as it is.
async fn inspect(path: &Path) -> Result<(), StoreError> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(LOCK_WAIT)
        .disable_statement_logging()
        .connect()
        .await?;
    let looked = inspect_schema(&mut connection, path).await;
    connection.close().await?;
    looked
}

async fn inspect_schema(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
        .fetch_one(&mut *connection)
        .await?;
    if tables == 0 {
        return Ok(());
    }
    let migrated: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if migrated == 0 {
        return Err(StoreError::Unusable {
            path: path.display().to_string(),
            why: "it is a SQLite database of another program: name another file".to_owned(),
        });
    }
    let versions: Vec<(i64, bool)> =
        sqlx::query_as("SELECT version, success FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await?;
    schema::check(&path.display().to_string(), MIGRATIONS, &versions)
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    schema::migrator(MIGRATIONS)
        .run_direct(None, connection, false)
        .await?;
    Ok(())
}

/// A disk can be read-only, or of a kind that WAL does not work on, and all of the above still succeeds.
async fn check_writable(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    if mode != "wal" {
        return Err(StoreError::Refused {
            what: "the database",
            why: format!("its journal stays in mode {mode:?}, a write-ahead log is needed"),
        });
    }
    log::touch(&mut Work::Sqlite(connection)).await
}

/// Says what to do about what `SQLite` says while the file is opened.
pub(super) fn explain(path: &Path, error: StoreError) -> StoreError {
    let said = match &error {
        StoreError::Database(error)
        | StoreError::Migrate(
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _),
        ) => Some(error),
        StoreError::Refused { why, .. } => {
            return StoreError::Unusable {
                path: path.display().to_string(),
                why: why.clone(),
            };
        }
        _ => None,
    };
    let Some(said) = said else { return error };
    let what_to_do = match result_code(said) {
        Some(code::READONLY | code::PERM) => {
            "it cannot be written to: is the disk, the directory or the file read-only?"
        }
        Some(code::CANTOPEN) => {
            "it can be neither opened nor made: is the directory there, and may this user write to it?"
        }
        Some(code::FULL) => "the disk is full",
        Some(code::CORRUPT) => "it is damaged: go back to a backup",
        Some(code::NOTADB) => {
            "it is not a SQLite database, or its beginning is damaged: name another file, or go back to a backup"
        }
        Some(code::BUSY | code::LOCKED) => "another program holds it locked",
        Some(code::IOERR) => "the disk failed",
        _ => return error,
    };
    StoreError::Unusable {
        path: path.display().to_string(),
        why: format!("{what_to_do} (SQLite says: {said})"),
    }
}

/// `SQLite`'s primary result codes (sqlite.org/rescode.html) that have an answer.
mod code {
    pub(super) const PERM: u32 = 3;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
}

/// The primary result code: the low byte of the extended one.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
