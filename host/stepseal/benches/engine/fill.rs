//! A database in which many tasks are over.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::log;

/// Records of each task.
const RECORDS: u64 = 5;

/// Tasks of an operator, whose ids are older than any that a host makes now.
const ADD_TASKS: &str = "\
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1) \
    INSERT INTO tasks (id, tenant, labels, plan, input, created_ms, state, updated_ms, events, records, head) \
    SELECT printf('00000000-0000-7000-8000-%012x', n), 'operator', '{}', randomblob(32), randomblob(32), n, 'succeeded', n, 2, 5, \
    randomblob(32) FROM numbers";
const ADD_TRANSITIONS: &str = "\
    INSERT INTO transitions (task, n, digests, events, blobs) \
    SELECT id, 2, randomblob(64), '1 task.accepted {}' || char(10) || '2 task.succeeded {}' || char(10), randomblob(256) \
    FROM tasks WHERE id < '00000000-0001'";

/// Adds so many finished tasks to the database of a host that does not run, as if they had been run. The log grows by as many entries
/// as they would have; of their records only the hashes are there, and of the rest as much as gives every table its rows.
pub(crate) fn fill(root: &Path, tasks: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let path = root.join("data/stepseal.db");
        let mut database: SqliteConnection = SqliteConnectOptions::new()
            .filename(path)
            .connect()
            .await
            .expect("the host made it");
        sqlx::query(ADD_TASKS)
            .bind(i64::from(tasks))
            .execute(&mut database)
            .await
            .expect("tasks");
        sqlx::query(ADD_TRANSITIONS)
            .execute(&mut database)
            .await
            .expect("transitions");
        let size: i64 = sqlx::query_scalar("SELECT size FROM log_head")
            .fetch_one(&mut database)
            .await
            .expect("the log has a head");
        database.close().await.expect("it closes");
        log::fill(root, size.cast_unsigned() + RECORDS * u64::from(tasks)).await;
    });
}
