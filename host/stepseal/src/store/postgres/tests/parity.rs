//! Both databases have the same tables: columns, what may be absent, keys and indexes. What differs is listed here with its reason.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::Database;
use crate::store::conformance::Fixture as _;
use crate::store::sqlite;

/// Types that are one. `STRICT` tables of `SQLite` know no others.
const TYPES: [(&str, &str); 3] = [("INTEGER", "bigint"), ("TEXT", "text"), ("BLOB", "bytea")];
/// Columns whose types are not: `SQLite` has no truth values.
const OTHER_TYPES: [(&str, &str, &str); 1] = [("tasks.cancel", "INTEGER", "boolean")];
/// What `sqlx` keeps for itself.
const MIGRATIONS: &str = "_sqlx_migrations";

/// What is compared of a table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Type, and whether it may be absent.
    columns: BTreeMap<String, (String, bool)>,
    primary: Vec<String>,
    /// Columns of what is unique beside that.
    unique: BTreeSet<Vec<String>>,
    /// Columns of indexes by name, with their condition.
    indexes: BTreeMap<String, (Vec<String>, Option<String>)>,
    /// Column, and the table it refers to.
    foreign: BTreeSet<(String, String)>,
}

/// Name, whether it is the primary key, whether it is unique, condition, columns.
type Index = (String, bool, bool, Option<String>, Vec<String>);

type Tables = BTreeMap<String, Table>;

#[tokio::test]
async fn both_schemas_have_the_same_tables_columns_and_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stepseal.db");
    sqlite::open(&path).await.unwrap();
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let sqlite = of_sqlite(&mut connection).await;
    let database = Database::new().await;
    database.open(super::Sharing::Shared).await.unwrap();
    let postgres = of_postgres(&mut database.connect().await).await;
    assert!(sqlite.len() > 10, "{sqlite:#?}");
    assert_eq!(
        sqlite.keys().collect::<Vec<_>>(),
        postgres.keys().collect::<Vec<_>>()
    );
    for (name, table) in sqlite {
        assert_eq!(table, postgres[&name], "the table {name}");
    }
}

async fn of_sqlite(connection: &mut SqliteConnection) -> Tables {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> $1",
    )
    .bind(MIGRATIONS)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut tables = Tables::new();
    for name in names {
        let mut table = Table::default();
        let columns: Vec<(String, String, bool, i64)> = sqlx::query_as(
            "SELECT name, type, \"notnull\", pk FROM pragma_table_info($1) ORDER BY pk, cid",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for (column, kind, not_null, primary) in columns {
            let place = format!("{name}.{column}");
            let other = OTHER_TYPES
                .iter()
                .find(|(known, of_sqlite, _)| *known == place && *of_sqlite == kind);
            let same = TYPES.iter().find(|(of_sqlite, _)| *of_sqlite == kind);
            let kind = other.map_or_else(|| same.unwrap().1, |(.., kind)| kind);
            let may_be_absent = !not_null && primary == 0;
            table
                .columns
                .insert(column.clone(), (kind.to_owned(), may_be_absent));
            if primary > 0 {
                table.primary.push(column);
            }
        }
        let indexes: Vec<(String, bool, String, Option<String>)> = sqlx::query_as(
            "SELECT list.name, list.\"unique\", list.origin, sql FROM pragma_index_list($1) AS list \
             LEFT JOIN sqlite_master ON sqlite_master.name = list.name",
        )
        .bind(&name)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for (index, unique, origin, sql) in indexes {
            let columns: Vec<String> =
                sqlx::query_scalar("SELECT name FROM pragma_index_info($1) ORDER BY seqno")
                    .bind(&index)
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap();
            match (origin.as_str(), unique) {
                ("pk", _) => {}
                (_, true) => drop(table.unique.insert(columns)),
                (_, false) => {
                    let condition = sql.as_deref().and_then(|sql| sql.split_once(" WHERE "));
                    let condition = condition.map(|(_, condition)| condition.to_owned());
                    table.indexes.insert(index, (columns, condition));
                }
            }
        }
        table.foreign =
            sqlx::query_as("SELECT \"from\", \"table\" FROM pragma_foreign_key_list($1)")
                .bind(&name)
                .fetch_all(&mut *connection)
                .await
                .unwrap()
                .into_iter()
                .collect();
        tables.insert(name, table);
    }
    tables
}

async fn of_postgres(connection: &mut PgConnection) -> Tables {
    let mut tables = Tables::new();
    let columns: Vec<(String, String, String, bool)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name <> $1",
    )
    .bind(MIGRATIONS)
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for (name, column, kind, may_be_absent) in columns {
        let table = tables.entry(name).or_default();
        table.columns.insert(column, (kind, may_be_absent));
    }
    for (name, table) in &mut tables {
        let indexes: Vec<Index> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT class.relname::text, indisprimary, indisunique, pg_get_expr(indpred, indrelid), \
             ARRAY(SELECT attname::text FROM UNNEST(indkey) WITH ORDINALITY AS keys (attnum, n) \
               JOIN pg_attribute ON attrelid = indrelid AND pg_attribute.attnum = keys.attnum ORDER BY n) \
             FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid WHERE indrelid = '{name}'::regclass"
        )))
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for (index, primary, unique, condition, columns) in indexes {
            // PostgreSQL says `(state = 'approved'::text)` for what was written without the brackets and the type.
            let condition =
                condition.map(|text| text.replace(['(', ')'], "").replace("::text", ""));
            match (primary, unique) {
                (true, _) => table.primary = columns,
                (_, true) => drop(table.unique.insert(columns)),
                (_, false) => drop(table.indexes.insert(index, (columns, condition))),
            }
        }
        table.foreign = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT attname::text, target.relname::text FROM pg_constraint \
             JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1] \
             JOIN pg_class AS target ON target.oid = confrelid WHERE contype = 'f' AND conrelid = '{name}'::regclass"
        )))
        .fetch_all(&mut *connection)
        .await
        .unwrap()
        .into_iter()
        .collect();
    }
    tables
}
