//! Looking up nodes of the log's tree.

use sqlx::PgPool;

pub(super) const NODES: &str = "SELECT level, node_index, hash FROM log_nodes \
     WHERE (level, node_index) IN (SELECT * FROM UNNEST($1::bigint[], $2::bigint[])) \
     UNION ALL SELECT 0, leaf_index, leaf_hash FROM records WHERE leaf_index = ANY ($3)";

/// Level, place and hash of those that exist.
pub(in crate::store) async fn find(
    readers: &PgPool,
    wanted: &[(i64, i64)],
) -> Result<Vec<(i64, i64, Vec<u8>)>, sqlx::Error> {
    let (leaves, above): (Vec<_>, Vec<_>) = wanted.iter().partition(|(level, _)| *level == 0);
    let (levels, places): (Vec<i64>, Vec<i64>) = above.into_iter().unzip();
    let leaves: Vec<i64> = leaves.into_iter().map(|(_, index)| index).collect();
    sqlx::query_as(NODES)
        .bind(levels)
        .bind(places)
        .bind(leaves)
        .fetch_all(readers)
        .await
}
