//! Looking up nodes of the log's tree.

use sqlx::{AssertSqlSafe, SqlitePool};

/// Nodes asked for in one statement. A proof needs at most 64.
const NODES_MAX: usize = 256;

/// Level, place and hash of those that exist.
pub(in crate::store) async fn find(
    readers: &SqlitePool,
    wanted: &[(i64, i64)],
) -> Result<Vec<(i64, i64, Vec<u8>)>, sqlx::Error> {
    let mut found = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(NODES_MAX) {
        // Filled up with the last one: a few lengths are compiled once each, and what is found twice is the same.
        let count = wanted.len().next_power_of_two();
        let mut query = sqlx::query_as(AssertSqlSafe(nodes_sql(count)));
        let fill = wanted.last().copied().unwrap_or_default();
        for at in 0..count {
            let (level, index) = wanted.get(at).copied().unwrap_or(fill);
            query = query.bind(level).bind(index);
        }
        found.extend(query.fetch_all(readers).await?);
    }
    Ok(found)
}

/// Looks up `count` nodes. `CROSS JOIN` makes `SQLite` go from the list to the tables and not the other way round.
pub(super) fn nodes_sql(count: usize) -> String {
    let mut sql = String::from("WITH wanted (level, node_index) AS (VALUES ");
    for at in 0..count {
        sql.push_str(if at == 0 { "(?, ?)" } else { ", (?, ?)" });
    }
    sql.push_str(
        ") SELECT wanted.level, wanted.node_index, log_nodes.hash FROM wanted CROSS JOIN log_nodes \
         ON log_nodes.level = wanted.level AND log_nodes.node_index = wanted.node_index WHERE wanted.level > 0 \
         UNION ALL SELECT 0, records.leaf_index, records.leaf_hash FROM wanted CROSS JOIN records \
         ON records.leaf_index = wanted.node_index WHERE wanted.level = 0",
    );
    sql
}
