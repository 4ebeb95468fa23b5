//! The log: its records, its tree and the heads that were signed.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqlitePool};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::tree::{Frontier, NodeId};

use super::row;
use super::writer::Writer;
use crate::store::{
    CheckpointRow, CosignatureRow, Kept, LogHead, LogRow, NewAct, RecordRow, StoreError,
};

/// Nodes asked for in one statement. A proof needs at most 64.
const NODES_MAX: usize = 256;

pub(super) const RECORDS: &str = "SELECT seq, leaf_index, envelope, leaf, erasure, leaf_hash FROM records WHERE task = $1 ORDER BY seq";
pub(super) const RECORDS_FROM: &str = "SELECT leaf_index, envelope, leaf, erasure, leaf_hash FROM records \
     WHERE leaf_index >= $1 ORDER BY leaf_index LIMIT $2";
pub(super) const HEAD: &str = "SELECT size, frontier, write_version FROM log_head WHERE id = 1";

pub(super) async fn probe(readers: &SqlitePool, writer: &Writer) -> Result<(), StoreError> {
    sqlx::query_scalar::<_, i64>("SELECT size FROM log_head WHERE id = 1")
        .fetch_one(readers)
        .await?;
    writer.write(|connection| Box::pin(touch(connection))).await
}

/// Writes a row as it is. A lock alone would not do: in WAL mode it is had on a full disk too.
pub(super) async fn touch(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE log_head SET size = size WHERE id = 1")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn records(
    readers: &SqlitePool,
    task: &str,
) -> Result<Vec<RecordRow>, StoreError> {
    let rows: Vec<SqliteRow> = sqlx::query(RECORDS)
        .bind(task.to_owned())
        .fetch_all(readers)
        .await?;
    let rows = rows.iter().map(|columns| {
        let LogRow {
            index,
            kept,
            leaf_hash,
        } = log_row(columns)?;
        Ok(RecordRow {
            index,
            seq: row::unsigned("the place of a record in its task", columns.try_get("seq")?)?,
            kept,
            leaf_hash,
        })
    });
    rows.collect()
}

pub(super) async fn records_from(
    readers: &SqlitePool,
    first: u64,
    limit: u32,
) -> Result<Vec<LogRow>, StoreError> {
    let rows: Vec<SqliteRow> = sqlx::query(RECORDS_FROM)
        // Beyond the largest number there is nothing.
        .bind(i64::try_from(first).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await?;
    rows.iter().map(log_row).collect()
}

fn log_row(columns: &SqliteRow) -> Result<LogRow, StoreError> {
    let index = row::unsigned(
        "the place of a record in the log",
        columns.try_get("leaf_index")?,
    )?;
    let kept = match columns.try_get("envelope")? {
        Some(envelope) => Kept::Envelope(envelope),
        None => Kept::Leaf {
            leaf: columns.try_get("leaf")?,
            erasure: row::unsigned("the place of an erasure", columns.try_get("erasure")?)?,
        },
    };
    Ok(LogRow {
        index,
        kept,
        leaf_hash: row::digest("the hash of a record", columns.try_get("leaf_hash")?)?,
    })
}

/// Appends the record of an act and gives its index. The caller is in a transaction that took the write lock first.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    act: NewAct,
) -> Result<u64, StoreError> {
    let head: (i64, Vec<u8>, i64) = sqlx::query_as(HEAD).fetch_one(&mut *connection).await?;
    let mut frontier = Edge::decode(head.0, &head.1, head.2)?.frontier;
    let index = frontier.size();
    let place = row::signed("the place of a record in the log", index)?;
    sqlx::query("INSERT INTO records (leaf_index, envelope, leaf_hash) VALUES ($1, $2, $3)")
        .bind(place)
        .bind(act.envelope)
        .bind(row::bytes(&act.leaf_hash))
        .execute(&mut *connection)
        .await?;
    for (node, hash) in frontier.append(act.leaf_hash) {
        if node.level > 0 {
            sqlx::query("INSERT INTO log_nodes (level, node_index, hash) VALUES ($1, $2, $3)")
                .bind(i64::from(node.level))
                .bind(row::signed("the place of a node", node.index)?)
                .bind(row::bytes(&hash))
                .execute(&mut *connection)
                .await?;
        }
    }
    sqlx::query("UPDATE log_head SET size = $1, frontier = $2 WHERE id = 1")
        .bind(place + 1)
        .bind(frontier.to_bytes())
        .execute(&mut *connection)
        .await?;
    Ok(index)
}

pub(super) async fn head(readers: &SqlitePool) -> Result<LogHead, StoreError> {
    let columns: (i64, Vec<u8>, i64) = sqlx::query_as(HEAD).fetch_one(readers).await?;
    let edge = Edge::decode(columns.0, &columns.1, columns.2)?;
    Ok(LogHead {
        size: edge.frontier.size(),
        root: edge.frontier.root(),
    })
}

/// The row `log_head`: where the next record goes.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    /// The right edge of the tree.
    pub(super) frontier: Frontier,
    /// The last version given to a key-value write.
    pub(super) write_version: u64,
}

impl Edge {
    pub(super) fn decode(size: i64, frontier: &[u8], version: i64) -> Result<Self, StoreError> {
        let corrupt = |why: String| StoreError::Corrupt {
            what: "the head of the log",
            why,
        };
        let frontier = if frontier.is_empty() {
            Frontier::new()
        } else {
            Frontier::from_bytes(frontier).map_err(|error| corrupt(error.to_string()))?
        };
        if row::unsigned("the size of the log", size)? != frontier.size() {
            return Err(corrupt(format!(
                "the size is {size}, its tree has {} leaves",
                frontier.size()
            )));
        }
        Ok(Self {
            frontier,
            write_version: row::unsigned("the version of a write", version)?,
        })
    }
}

pub(super) async fn nodes(
    readers: &SqlitePool,
    nodes: &[NodeId],
) -> Result<BTreeMap<NodeId, Digest>, StoreError> {
    let mut wanted = Vec::with_capacity(nodes.len());
    for node in nodes {
        // No tree that fits the column has such a node.
        if let Ok(index) = i64::try_from(node.index) {
            wanted.push((i64::from(node.level), index));
        }
    }
    let mut found = BTreeMap::new();
    for wanted in wanted.chunks(NODES_MAX) {
        let mut query = sqlx::query_as::<_, (i64, i64, Vec<u8>)>(AssertSqlSafe(nodes_sql(
            wanted.len().next_power_of_two(),
        )));
        // Filled up with the last one: a few lengths are compiled once each, and the answer is the same.
        let fill = wanted.last().copied().unwrap_or_default();
        for at in 0..wanted.len().next_power_of_two() {
            let (level, index) = wanted.get(at).copied().unwrap_or(fill);
            query = query.bind(level).bind(index);
        }
        for (level, index, hash) in query.fetch_all(readers).await? {
            let node = NodeId {
                level: u8::try_from(level).map_err(|_| StoreError::Corrupt {
                    what: "a node of the log",
                    why: format!("it is on level {level}"),
                })?,
                index: row::unsigned("the place of a node", index)?,
            };
            found.insert(node, row::digest("a node of the log", &hash)?);
        }
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

pub(super) async fn checkpoint(readers: &SqlitePool) -> Result<Option<CheckpointRow>, StoreError> {
    let found: Option<CheckpointColumns> = sqlx::query_as(
        "SELECT size, root, note, signed_ms FROM checkpoints ORDER BY size DESC LIMIT 1",
    )
    .fetch_optional(readers)
    .await?;
    found.map(checkpoint_row).transpose()
}

type CheckpointColumns = (i64, Vec<u8>, String, i64);

fn checkpoint_row(
    (size, root, note, signed): CheckpointColumns,
) -> Result<CheckpointRow, StoreError> {
    Ok(CheckpointRow {
        head: LogHead {
            size: row::unsigned("the size of a checkpoint", size)?,
            root: row::digest("the root of a checkpoint", &root)?,
        },
        note,
        signed: row::time("the time of a checkpoint", signed)?,
    })
}

/// A head of more leaves than the log has is refused too: it would promise records that a crash could take back.
pub(super) async fn put_checkpoint(writer: &Writer, new: CheckpointRow) -> Result<(), StoreError> {
    let size = row::signed("the size of a checkpoint", new.head.size)?;
    let put = writer
        .write(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO checkpoints (size, root, note, signed_ms) \
                     SELECT $1, $2, $3, $4 FROM log_head WHERE log_head.size >= $1 \
                     ON CONFLICT (size) DO UPDATE SET note = excluded.note, signed_ms = excluded.signed_ms \
                     WHERE checkpoints.root = excluded.root",
                )
                .bind(size)
                .bind(row::bytes(&new.head.root))
                .bind(new.note)
                .bind(row::ms(new.signed))
                .execute(connection)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await?;
    if put {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: "a checkpoint",
        why: format!(
            "{size} leaves are more than the log has, or were signed with another root before"
        ),
    })
}

pub(super) async fn put_cosignature(
    writer: &Writer,
    new: CosignatureRow,
    forget: &[u64],
) -> Result<(), StoreError> {
    let size = row::signed("the size of a checkpoint", new.size)?;
    let forget = forget
        .iter()
        .map(|&size| row::signed("the size of a checkpoint", size));
    let forget: Vec<i64> = forget.collect::<Result<_, _>>()?;
    let put = writer
        .write(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let done = sqlx::query(
                    "INSERT INTO cosignatures (size, witness, line) SELECT size, $2, $3 FROM checkpoints WHERE size = $1 \
                     ON CONFLICT (size, witness) DO UPDATE SET line = excluded.line",
                )
                .bind(size)
                .bind(new.witness)
                .bind(new.line)
                .execute(&mut *transaction)
                .await?;
                for size in forget {
                    sqlx::query("DELETE FROM cosignatures WHERE size = $1")
                        .bind(size)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await?;
    if put {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: "a cosignature",
        why: format!("no checkpoint of {size} leaves was signed"),
    })
}

pub(super) async fn cosignatures(
    readers: &SqlitePool,
) -> Result<Vec<(CheckpointRow, CosignatureRow)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, String, i64, String, String)> = sqlx::query_as(
        "SELECT size, root, note, signed_ms, witness, line FROM cosignatures JOIN checkpoints USING (size) \
         ORDER BY size, witness",
    )
    .fetch_all(readers)
    .await?;
    let rows = rows.into_iter();
    rows.map(|(size, root, note, signed, witness, line)| {
        let checkpoint = checkpoint_row((size, root, note, signed))?;
        let size = checkpoint.head.size;
        Ok((
            checkpoint,
            CosignatureRow {
                size,
                witness,
                line,
            },
        ))
    })
    .collect()
}
