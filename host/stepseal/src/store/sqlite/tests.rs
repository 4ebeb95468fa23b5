use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Waker};

use async_trait::async_trait;
use futures_util::future::join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::tree::Frontier;
use tempfile::TempDir;

use super::batch::{answer, questions};
use super::{nodes, open};
use crate::store::conformance::{self, Fixture, submission, submit};
use crate::store::sql::ask::{Readers, Work};
use crate::store::sql::log::Edge;
use crate::store::sql::world::{Request, TaskView, World};
use crate::store::sql::{erase, log};
use crate::store::{Accept, CommitError, NewRecord, Store, StoreError};

/// A file in a directory of its own.
struct Database {
    directory: TempDir,
}

impl Database {
    fn path(&self) -> PathBuf {
        self.directory.path().join("stepseal.db")
    }

    /// Changes the file behind the store's back.
    async fn tamper(&self, sql: &str) {
        let mut connection = connect(&self.path()).await;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn refusal(&self) -> StoreError {
        super::open(&self.path())
            .await
            .expect_err("it must not open")
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    options.connect().await.unwrap()
}

#[async_trait]
impl Fixture for Database {
    async fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(super::open(&self.path()).await.unwrap())
    }
}

conformance::suite!(Database);

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

#[tokio::test]
async fn transitions_that_wait_share_a_commit() {
    let database = Database::new().await;
    let store = database.open().await;
    database
        .tamper(
            "CREATE TABLE commits (size INTEGER);
             CREATE TRIGGER count_commits AFTER UPDATE ON log_head BEGIN INSERT INTO commits VALUES (new.size); END",
        )
        .await;
    let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for accepted in join_all(ids.iter().map(|id| submit(&*store, id))).await {
        assert_eq!(accepted.unwrap(), Accept::New);
    }
    let mut connection = connect(&database.path()).await;
    let sizes: Vec<i64> = sqlx::query_scalar("SELECT size FROM commits ORDER BY size")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(sizes, [100]);
}

#[tokio::test]
async fn a_fault_fails_the_whole_batch_stores_nothing_and_is_survived() {
    let database = Database::new().await;
    let store = database.open().await;
    database
        .tamper(
            "CREATE TRIGGER fault BEFORE INSERT ON log_nodes BEGIN SELECT RAISE(FAIL, 'the disk is on fire'); END",
        )
        .await;
    let ids = ["1", "2", "3"];
    for accepted in join_all(ids.map(|id| submit(&*store, id))).await {
        let error = accepted.expect_err("the disk is on fire");
        assert!(
            matches!(error, CommitError::Store(StoreError::Database(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("the disk is on fire"), "{error}");
    }
    for id in ids {
        assert_eq!(store.task(id).await.unwrap(), None);
        assert_eq!(store.blob(id, &digest(id)).await.unwrap(), None);
        assert_eq!(store.records(id).await.unwrap(), []);
    }
    assert_eq!(store.log_head().await.unwrap().size, 0);

    database.tamper("DROP TRIGGER fault").await;
    for accepted in join_all(ids.map(|id| submit(&*store, id))).await {
        assert_eq!(accepted.unwrap(), Accept::New);
    }
    assert_eq!(store.log_head().await.unwrap().size, 3);
}

#[tokio::test]
async fn a_batch_larger_than_a_statement_is_stored() {
    let database = Database::new().await;
    let store = database.open().await;
    let (task, mut transition) = submission("t");
    let records = (0..700).map(|seq| NewRecord {
        seq,
        envelope: "{}".to_owned(),
        leaf_hash: digest(&seq.to_string()),
    });
    transition.records = records.collect();
    store.accept(&task, transition).await.unwrap();
    let records = store.records("t").await.unwrap();
    assert_eq!(records.len(), 700);
    assert_eq!(records[699].leaf_hash, digest("699"));
}

#[tokio::test]
async fn what_was_queued_is_stored_before_it_closes() {
    let database = Database::new().await;
    let store = super::open(&database.path()).await.unwrap();
    let (one, two, ()) = tokio::join!(submit(&store, "1"), submit(&store, "2"), store.close());
    assert_eq!(one.unwrap(), Accept::New);
    assert_eq!(two.unwrap(), Accept::New);
    let late = submit(&store, "3").await;
    assert!(
        matches!(late, Err(CommitError::Store(StoreError::Busy))),
        "{late:?}"
    );
    assert!(store.probe().await.is_err());
    store.close().await;
    assert!(!database.directory.path().join("stepseal.db-wal").exists());
    let store = database.open().await;
    assert_eq!(store.log_head().await.unwrap().size, 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_its_transition() {
    let database = Database::new().await;
    let store = database.open().await;
    {
        let mut submission = std::pin::pin!(submit(&*store, "1"));
        let mut context = Context::from_waker(Waker::noop());
        assert!(submission.as_mut().poll(&mut context).is_pending());
    }
    submit(&*store, "2").await.unwrap();
    assert!(store.task("1").await.unwrap().is_some());
}

#[tokio::test]
async fn readers_cannot_write() {
    let database = Database::new().await;
    let store = super::open(&database.path()).await.unwrap();
    let Readers::Sqlite(readers) = &store.readers else {
        panic!("it is a SQLite database");
    };
    let written = sqlx::query("DELETE FROM log_head").execute(readers).await;
    assert!(written.unwrap_err().to_string().contains("readonly"));
}

#[tokio::test]
async fn commits_are_flushed_to_disk() {
    let database = Database::new().await;
    let mut opened = open::open(&database.path()).await.unwrap();
    let pragma = async |connection: &mut SqliteConnection, sql: &'static str| {
        let row = sqlx::query(sql).fetch_one(connection).await.unwrap();
        row.try_get::<i64, _>(0).unwrap()
    };
    // 2 is FULL (sqlite.org/pragma.html#pragma_synchronous).
    assert_eq!(pragma(&mut opened.writer, "PRAGMA synchronous").await, 2);
    assert_eq!(pragma(&mut opened.writer, "PRAGMA foreign_keys").await, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let database = Database::new().await;
    super::open(&database.path()).await.unwrap().close().await;
    database
        .tamper(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (999, 'later', TRUE, x'00', 0)",
        )
        .await;
    let before = std::fs::read(database.path()).unwrap();
    let refusal = database.refusal().await;
    assert!(
        matches!(
            refusal,
            StoreError::Newer {
                found: 999,
                known: 1..999
            }
        ),
        "{refusal:?}"
    );
    assert!(refusal.to_string().contains("999"), "{refusal}");
    assert!(before == std::fs::read(database.path()).unwrap());
}

#[tokio::test]
async fn a_migration_that_was_not_finished_is_refused() {
    let database = Database::new().await;
    super::open(&database.path()).await.unwrap().close().await;
    database
        .tamper("UPDATE _sqlx_migrations SET success = FALSE")
        .await;
    let refusal = database.refusal().await;
    assert!(
        refusal
            .to_string()
            .contains("migration 1 was begun and not finished"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_migration_that_was_edited_is_refused() {
    let database = Database::new().await;
    super::open(&database.path()).await.unwrap().close().await;
    database
        .tamper("UPDATE _sqlx_migrations SET checksum = x'00'")
        .await;
    let refusal = database.refusal().await;
    assert!(
        refusal.to_string().contains("has been modified"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let database = Database::new().await;
    let text = "Dear diary, ".repeat(100);
    std::fs::write(database.path(), &text).unwrap();
    let refusal = database.refusal().await;
    assert!(
        refusal.to_string().contains("is not a SQLite database"),
        "{refusal}"
    );
    assert!(refusal.to_string().contains("stepseal.db"), "{refusal}");
    assert_eq!(std::fs::read_to_string(database.path()).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let database = Database::new().await;
    super::open(&database.path()).await.unwrap().close().await;
    let mut bytes = std::fs::read(database.path()).unwrap();
    // Behind the header of the first page is the root of the schema.
    bytes[100..400].fill(0xaa);
    std::fs::write(database.path(), &bytes).unwrap();
    let refusal = database.refusal().await;
    assert!(refusal.to_string().contains("damaged"), "{refusal}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let database = Database::new().await;
    database.tamper("CREATE TABLE bookmarks (url TEXT)").await;
    let before = std::fs::read(database.path()).unwrap();
    let refusal = database.refusal().await;
    assert!(
        refusal.to_string().contains("of another program"),
        "{refusal}"
    );
    assert!(before == std::fs::read(database.path()).unwrap());
}

#[tokio::test]
async fn a_directory_that_is_missing_is_named() {
    let database = Database::new().await;
    let path = database
        .directory
        .path()
        .join("missing")
        .join("stepseal.db");
    let refusal = super::open(&path).await.expect_err("there is no directory");
    assert!(
        refusal.to_string().contains("missing/stepseal.db"),
        "{refusal}"
    );
    assert!(
        refusal.to_string().contains("is the directory there"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_disk_that_is_read_only_is_called_so() {
    // Tests may run as root, whom no mode stops; a connection that may not write says the same as such a disk.
    let database = Database::new().await;
    super::open(&database.path()).await.unwrap().close().await;
    let options = SqliteConnectOptions::new()
        .filename(database.path())
        .read_only(true);
    let mut connection = options.connect().await.unwrap();
    let error = log::touch(&mut Work::Sqlite(&mut connection))
        .await
        .expect_err("it is read-only");
    let refusal = open::explain(&database.path(), error);
    assert!(refusal.to_string().contains("read-only?"), "{refusal}");
}

#[tokio::test]
async fn a_value_nobody_wrote_is_named_and_not_guessed() {
    let database = Database::new().await;
    let store = database.open().await;
    submit(&*store, "t").await.unwrap();
    database.tamper("UPDATE tasks SET state = 'dreaming'").await;
    let task = store.task("t").await;
    assert!(matches!(task, Err(StoreError::Corrupt { .. })), "{task:?}");
    database.tamper("UPDATE log_head SET size = 7").await;
    let head = store.log_head().await;
    assert!(matches!(head, Err(StoreError::Corrupt { .. })), "{head:?}");
    let submitted = submit(&*store, "u").await;
    assert!(
        matches!(
            submitted,
            Err(CommitError::Store(StoreError::Corrupt { .. }))
        ),
        "{submitted:?}"
    );
}

/// Everything that is listed or looked up while the host runs, with what its plan must use.
#[tokio::test]
async fn every_query_goes_along_an_index() {
    use crate::store::sql::{approvals, keyvalue, tasks, transitions};
    let database = Database::new().await;
    let mut connection = open::open(&database.path()).await.unwrap().writer;
    let nodes = nodes::nodes_sql(4);
    let queries = [
        tasks::LIST,
        tasks::LIST_OF_STATE,
        tasks::LIST_OF_AGENT,
        tasks::LIST_OF_AGENT_AND_STATE,
        tasks::LIST_OF_TENANT,
        tasks::LIST_OF_TENANT_AND_STATE,
        tasks::LIST_OF_TENANT_AND_AGENT,
        tasks::LIST_OF_TENANT_AGENT_AND_STATE,
        tasks::DUE,
        tasks::COUNT_DUE,
        tasks::NEXT_WAKE,
        transitions::EVENTS,
        transitions::BLOBS,
        transitions::BLOB,
        approvals::LIST,
        approvals::LIST_OF_STATE,
        approvals::LIST_OF_TASK,
        approvals::LIST_OF_TASK_AND_STATE,
        approvals::LAST_APPROVED,
        keyvalue::KEYS,
        keyvalue::KEYS_FROM_START,
        erase::WHOLE,
        erase::RECORD,
        log::RECORDS,
        log::RECORDS_FROM,
        log::HEAD,
        nodes.as_str(),
    ];
    let scripts = scripts_of_a_batch();
    let scripts = scripts.iter().flat_map(|sql| sql.split(";\n"));
    for sql in queries.into_iter().chain(scripts) {
        let plan = plan_of(&mut connection, sql).await;
        for step in plan.lines() {
            // Rows that the statement brings along are read one after the other, and nothing else is.
            let scanned = step.strip_prefix("SCAN ").unwrap_or("CONSTANT");
            let brought = [
                "wanted",
                "changed",
                "CONSTANT",
                "VALUES CLAUSE",
                "n VIRTUAL TABLE",
                "counted",
            ]
            .iter()
            .any(|rows| scanned.contains(rows));
            assert!(brought, "{sql}\nreads a whole table or index:\n{plan}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}\nsorts:\n{plan}");
            assert!(!step.contains("AUTOMATIC"), "{sql}\nhas no index:\n{plan}");
        }
    }
}

/// The text of both scripts of a batch in which everything happens.
fn scripts_of_a_batch() -> [String; 2] {
    use crate::store::{Listed, Read, Write};
    let (mut task, mut new) = submission("new");
    task.idempotency = Some(("key".to_owned(), digest("request")));
    let write = |key: &str, value| Write {
        bucket: "b".to_owned(),
        key: key.to_owned(),
        value,
    };
    new.keyvalue.writes = vec![write("gone", None), write("kept", Some(Vec::new()))];
    new.keyvalue.reads = vec![Read {
        bucket: "b".to_owned(),
        key: "kept".to_owned(),
        version: 0,
    }];
    new.keyvalue.listed = vec![Listed {
        bucket: "b".to_owned(),
        version: 0,
    }];
    let (_, old) = submission("old");
    let requests =
        [(Some(task), new), (None, old)].map(|(task, transition)| Request { task, transition });
    let questions = questions(&requests).sql().to_owned();
    let mut world = World::new(
        Edge {
            frontier: Frontier::new(),
            write_version: 0,
            rules: 0,
        },
        None,
    );
    let view = TaskView {
        new: None,
        events: 0,
        records: 0,
        head: None,
        pokes: 0,
        holder: None,
        change: None,
    };
    world.tasks.insert("old".to_owned(), view);
    for request in requests {
        assert_eq!(world.apply(request).unwrap(), Accept::New);
    }
    [questions, answer(world).sql().to_owned()]
}

async fn plan_of(connection: &mut SqliteConnection, sql: &str) -> String {
    let sql = sql.trim();
    if sql.is_empty() || sql == "BEGIN IMMEDIATE" || sql == "COMMIT" {
        return String::new();
    }
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(connection)
        .await
        .unwrap();
    let steps = rows.iter().map(|row| row.try_get::<String, _>(3).unwrap());
    steps.collect::<Vec<_>>().join("\n")
}
