use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use self::proxy::Proxy;
use self::server::Schema;
use super::{DatabaseUrl, Sharing, batch, nodes, open};
use crate::store::conformance::{self, Fixture, accept, submit};
use crate::store::sql::ask::Readers;
use crate::store::sql::{SqlStore, approvals, erase, keyvalue, log, tasks, transitions};
use crate::store::{Accept, CommitError, Store, StoreError};

#[path = "../../../../../tests/postgres.rs"]
pub(crate) mod server;

#[path = "../../../../../tests/proxy.rs"]
mod proxy;

mod hosts;
mod parity;

/// A schema of its own.
struct Database {
    schema: Schema,
}

impl Database {
    fn url(&self) -> DatabaseUrl {
        self.schema.url().parse().unwrap()
    }

    async fn open(&self, sharing: Sharing) -> Result<SqlStore, StoreError> {
        super::open(&self.url(), sharing).await
    }

    async fn refusal(&self) -> StoreError {
        let opened = self.open(Sharing::Shared).await;
        opened.expect_err("it must not open")
    }

    /// Cuts every connection that a store has made.
    fn cut(&self) {
        self.schema.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = current_schema()",
        );
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.schema.url()).await.unwrap()
    }
}

#[async_trait]
impl Fixture for Database {
    async fn new() -> Self {
        Self {
            schema: Schema::new(),
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.open(Sharing::Shared).await.unwrap())
    }
}

conformance::suite!(Database);

#[tokio::test]
async fn transitions_that_wait_share_a_commit() {
    let database = Database::new().await;
    let store = Fixture::open(&database).await;
    database.schema.run(
        "CREATE TABLE commits (size BIGINT);
         CREATE FUNCTION count_commits() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO commits VALUES (new.size); RETURN NULL; END $$;
         CREATE TRIGGER count_commits AFTER UPDATE ON log_head FOR EACH ROW EXECUTE FUNCTION count_commits()",
    );
    let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for accepted in join_all(ids.iter().map(|id| submit(&*store, id))).await {
        assert_eq!(accepted.unwrap(), Accept::New);
    }
    let mut connection = database.connect().await;
    let sizes: Vec<i64> = sqlx::query_scalar("SELECT size FROM commits ORDER BY size")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(sizes, [100]);
}

#[tokio::test]
async fn a_second_host_is_refused_until_the_first_is_gone() {
    let database = Database::new().await;
    let first = database.open(Sharing::Alone).await.unwrap();
    let waits = database.open(Sharing::Alone);
    let goes = async {
        first.probe().await.unwrap();
        first.close().await;
    };
    let (second, ()) = tokio::join!(waits, goes);
    second.unwrap().probe().await.unwrap();
}

#[tokio::test]
async fn connections_that_were_cut_are_made_anew() {
    let database = Database::new().await;
    let store = Fixture::open(&database).await;
    accept(&*store, "1").await;
    database.cut();
    // No transition fails for it: nothing was asked of the connection yet.
    accept(&*store, "2").await;
    database.cut();
    assert!(store.request_cancel("2").await.unwrap());
}

/// What is held up here would be for ever. Whether the last of it was stored nobody knows, so it is asked again.
#[tokio::test]
async fn a_network_that_swallows_everything_holds_the_writer_up_for_so_long_and_no_longer() {
    let database = Database::new().await;
    let proxy = Proxy::to(&database.schema.url());
    let url = proxy.url().parse().unwrap();
    let wall = Duration::from_secs(2);
    let store = super::open_within(&url, Sharing::Shared, wall).await;
    let store = store.unwrap();
    accept(&store, "1").await;
    proxy.cut();
    let (transition, statement) = tokio::join!(submit(&store, "2"), store.request_cancel("1"));
    let said = transition.expect_err("nobody answers").to_string();
    assert!(said.contains("did not answer"), "{said}");
    // It was never sent: no connection came about.
    assert!(matches!(statement, Err(StoreError::Busy)), "{statement:?}");
    let said = submit(&store, "3").await.expect_err("nobody answers");
    assert!(said.to_string().contains("did not answer"), "{said}");
    proxy.mend();
    accept(&store, "4").await;
    store.close().await;
}

/// The longest that a host can hold up the others, and that the server does not acknowledge what it has not flushed.
#[tokio::test]
async fn a_host_that_stands_still_in_a_transaction_is_cut_off() {
    let database = Database::new().await;
    let store = Fixture::open(&database).await;
    let options = open::settings(&database.url());
    let mut stalled = PgConnection::connect_with(&options).await.unwrap();
    for (setting, value) in [
        ("idle_in_transaction_session_timeout", "10s"),
        ("synchronous_commit", "on"),
    ] {
        let (found,): (String,) = sqlx::query_as("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut stalled)
            .await
            .unwrap();
        assert_eq!(found, value, "{setting}");
    }
    // So that the test need not wait for as long.
    sqlx::raw_sql(
        "SET idle_in_transaction_session_timeout = '200ms'; BEGIN; UPDATE log_head SET size = 7",
    )
    .execute(&mut stalled)
    .await
    .unwrap();
    accept(&*store, "t").await;
    assert_eq!(store.log_head().await.unwrap().size, 0);
    let late = sqlx::raw_sql("COMMIT").execute(&mut stalled).await;
    assert!(late.is_err(), "its late write was taken");
}

#[tokio::test]
async fn a_fault_of_the_server_fails_the_batch_stores_nothing_and_is_survived() {
    let database = Database::new().await;
    let store = Fixture::open(&database).await;
    database.schema.run(
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE 'the disk is on fire'; END $$;
         CREATE TRIGGER fault BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION fault()",
    );
    let ids = ["1", "2", "3"];
    let submitted = ids.map(|id| submit(&*store, id));
    for accepted in join_all(submitted).await {
        let error = accepted.expect_err("the disk is on fire");
        assert!(
            matches!(error, CommitError::Store(StoreError::Database(_))),
            "{error:?}"
        );
        assert!(error.to_string().contains("the disk is on fire"), "{error}");
    }
    for id in ids {
        assert_eq!(store.task(id).await.unwrap(), None);
    }
    assert_eq!(store.log_head().await.unwrap().size, 0);
    database.schema.run("DROP TRIGGER fault ON records");
    for id in ids {
        accept(&*store, id).await;
    }
}

#[tokio::test]
async fn readers_cannot_write() {
    let database = Database::new().await;
    let store = database.open(Sharing::Shared).await.unwrap();
    let Readers::Postgres(readers) = &store.readers else {
        panic!("it is a PostgreSQL database");
    };
    let written = sqlx::query("DELETE FROM log_head").execute(readers).await;
    assert!(written.unwrap_err().to_string().contains("read-only"));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_left_alone() {
    let database = Database::new().await;
    Fixture::open(&database).await.close().await;
    database.schema.run(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'later', TRUE, '', 0)",
    );
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
}

#[tokio::test]
async fn a_migration_that_was_not_finished_or_was_edited_is_refused() {
    let database = Database::new().await;
    Fixture::open(&database).await.close().await;
    for (tampering, says) in [
        (
            "UPDATE _sqlx_migrations SET success = FALSE",
            "migration 1 was begun and not finished",
        ),
        (
            "UPDATE _sqlx_migrations SET success = TRUE, checksum = ''",
            "has been modified",
        ),
    ] {
        database.schema.run(tampering);
        let refusal = database.refusal().await.to_string();
        assert!(refusal.contains(says), "{refusal}");
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let database = Database::new().await;
    database.schema.run("CREATE TABLE bookmarks (url TEXT)");
    let refusal = database.refusal().await.to_string();
    assert!(refusal.contains("of another program"), "{refusal}");
    let mut connection = database.connect().await;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_what_to_do() {
    let database = Database::new().await;
    let url = database.schema.url();
    let nobody = url.replace("user=stepseal", "user=nobody");
    for (url, says) in [
        (
            "postgres://stepseal:s3cret@127.0.0.1:1/none",
            "does the server run",
        ),
        ("postgres:///none?host=/nowhere", "does the server run"),
        (&nobody, "does not let this user in"),
        (&url.replace("/postgres?", "/none?"), "createdb"),
        (
            &url.replace("search_path]=", "search_path]=no_"),
            "CREATE SCHEMA",
        ),
    ] {
        // Another server may be reached otherwise.
        if url == database.schema.url() {
            continue;
        }
        let opened = super::open(&url.parse().unwrap(), Sharing::Shared).await;
        let refusal = opened.expect_err("it cannot be used").to_string();
        assert!(refusal.contains(says), "{url}: {refusal}");
        assert!(!refusal.contains("s3cret"), "{refusal}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_written_to_is_refused() {
    let database = Database::new().await;
    Fixture::open(&database).await.close().await;
    let url = format!(
        "{}&options[default_transaction_read_only]=on",
        database.schema.url()
    );
    let opened = super::open(&url.parse().unwrap(), Sharing::Shared).await;
    let refusal = opened.expect_err("it is read-only").to_string();
    assert!(refusal.contains("is this a standby"), "{refusal}");
}

#[tokio::test]
async fn what_is_there_is_told_without_changing_it() {
    let database = Database::new().await;
    let seen = super::version::look(&database.url()).await.unwrap();
    assert_eq!(seen.schema, None);
    Fixture::open(&database).await.close().await;
    let seen = super::version::look(&database.url()).await.unwrap();
    assert_eq!(
        seen.schema,
        Some(open::MIGRATIONS.len().try_into().unwrap())
    );
    assert!(seen.bytes > 0 && !seen.server.is_empty(), "{seen:?}");
}

/// Everything that is listed or looked up while the host runs. Reading a whole table costs the planner more than anything, so where it does so
/// there is no index.
#[tokio::test]
async fn every_query_goes_along_an_index() {
    let database = Database::new().await;
    Fixture::open(&database).await.close().await;
    let options = open::settings(&database.url());
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    for (sql, types) in [
        (tasks::LIST, "text, bigint"),
        (tasks::LIST_OF_STATE, "text, bigint, text"),
        (tasks::LIST_OF_AGENT, "text, bigint, text"),
        (tasks::LIST_OF_AGENT_AND_STATE, "text, bigint, text, text"),
        (tasks::LIST_OF_TENANT, "text, bigint, text"),
        (tasks::LIST_OF_TENANT_AND_STATE, "text, bigint, text, text"),
        (tasks::LIST_OF_TENANT_AND_AGENT, "text, bigint, text, text"),
        (
            tasks::LIST_OF_TENANT_AGENT_AND_STATE,
            "text, bigint, text, text, text",
        ),
        (tasks::DUE_IN_POSTGRES, "text, bigint, bigint"),
        (tasks::COUNT_DUE, "text, bigint, bigint"),
        (tasks::NEXT_WAKE_IN_POSTGRES, "text, bigint"),
        (transitions::EVENTS, "text, bigint"),
        (transitions::BLOBS, "text"),
        (transitions::BLOB_IN_POSTGRES, "text, bytea"),
        (approvals::LIST, "text, bigint"),
        (approvals::LIST_OF_STATE, "text, bigint, text"),
        (approvals::LIST_OF_TASK, "text, bigint, text"),
        (
            approvals::LIST_OF_TASK_AND_STATE,
            "text, bigint, text, text",
        ),
        (approvals::LAST_APPROVED, "text"),
        (keyvalue::KEYS, "text, bytea, bigint"),
        (keyvalue::KEYS_FROM_START, "text, bigint"),
        (erase::WHOLE, "text"),
        (erase::RECORD, "text, bigint, bytea, bigint"),
        (log::RECORDS, "text"),
        (log::RECORDS_FROM, "bigint, bigint"),
        (log::HEAD, ""),
        (nodes::NODES, ""),
        (tasks::HELD, "bigint"),
        (super::hosts::TAKE_UP, "bigint, text[]"),
        (super::hosts::RELEASE, "bigint"),
        (batch::QUESTIONS, ""),
        (batch::ANSWER, ""),
    ] {
        let plan = plan_of(&mut connection, sql, types).await;
        assert!(
            !plan.contains("Seq Scan"),
            "{sql}\nreads a whole table:\n{plan}"
        );
    }
}

async fn plan_of(connection: &mut PgConnection, sql: &str, types: &str) -> String {
    let types = match types {
        "" => String::new(),
        types => format!("({types})"),
    };
    let values = sql.matches('$').count();
    // Numbers may be named twice.
    let count = (1..=values)
        .rev()
        .find(|n| sql.contains(&format!("${n}")))
        .unwrap_or_default();
    let nulls = vec!["NULL"; count].join(", ");
    let nulls = if nulls.is_empty() {
        nulls
    } else {
        format!("({nulls})")
    };
    let script = format!(
        "DEALLOCATE ALL; SET plan_cache_mode = force_generic_plan; PREPARE it {types} AS {sql}; EXPLAIN EXECUTE it {nulls}"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(script))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let lines = rows.iter().map(|row| row.try_get::<String, _>(0).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}
