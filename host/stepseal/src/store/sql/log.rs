//! The log: its records, its tree and the heads that were signed.

use std::collections::BTreeMap;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::tree::{Frontier, NodeId};

use super::ask::{Readers, Work};
use super::row;
use super::writer::Writer;
use crate::store::{
    CheckpointRow, CosignatureRow, Kept, LogHead, LogRow, NewAct, News, RecordRow, StoreError,
};
use crate::store::{postgres, sqlite};

pub(in crate::store) const RECORDS: &str = "SELECT seq, leaf_index, envelope, leaf, erasure, leaf_hash FROM records WHERE task = $1 ORDER BY seq";
pub(in crate::store) const RECORDS_FROM: &str = "SELECT leaf_index, envelope, leaf, erasure, leaf_hash FROM records \
     WHERE leaf_index >= $1 ORDER BY leaf_index LIMIT $2";
pub(in crate::store) const HEAD: &str =
    "SELECT size, frontier, write_version, rules FROM log_head WHERE id = 1";

pub(in crate::store) async fn probe(readers: &Readers, writer: &Writer) -> Result<(), StoreError> {
    let size = readers.ask("SELECT size FROM log_head WHERE id = 1");
    size.one::<(i64,)>().await?;
    writer
        .write(|mut work| Box::pin(async move { touch(&mut work).await }))
        .await
}

/// Writes a row as it is. A lock alone would not do: in WAL mode it is had on a full disk too.
pub(in crate::store) async fn touch(work: &mut Work<'_>) -> Result<(), StoreError> {
    let touched = work.ask("UPDATE log_head SET size = size WHERE id = 1");
    touched.execute().await.map(drop)
}

type RecordColumns = (i64, Option<String>, Option<Vec<u8>>, Option<i64>, Vec<u8>);

pub(in crate::store) async fn records(
    readers: &Readers,
    task: &str,
) -> Result<Vec<RecordRow>, StoreError> {
    type Columns = (
        i64,
        i64,
        Option<String>,
        Option<Vec<u8>>,
        Option<i64>,
        Vec<u8>,
    );
    let rows: Vec<Columns> = readers.ask(RECORDS).bind(task.to_owned()).all().await?;
    let rows = rows
        .into_iter()
        .map(|(seq, index, envelope, leaf, erasure, hash)| {
            let LogRow {
                index,
                kept,
                leaf_hash,
            } = log_row((index, envelope, leaf, erasure, hash))?;
            Ok(RecordRow {
                index,
                seq: row::unsigned("the place of a record in its task", seq)?,
                kept,
                leaf_hash,
            })
        });
    rows.collect()
}

pub(in crate::store) async fn records_from(
    readers: &Readers,
    first: u64,
    limit: u32,
) -> Result<Vec<LogRow>, StoreError> {
    let rows = readers
        .ask(RECORDS_FROM)
        // Beyond the largest number there is nothing.
        .bind(i64::try_from(first).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .all();
    rows.await?.into_iter().map(log_row).collect()
}

fn log_row((index, envelope, leaf, erasure, hash): RecordColumns) -> Result<LogRow, StoreError> {
    let kept = match (envelope, leaf, erasure) {
        (Some(envelope), ..) => Kept::Envelope(envelope),
        (None, Some(leaf), Some(erasure)) => Kept::Leaf {
            leaf,
            erasure: row::unsigned("the place of an erasure", erasure)?,
        },
        (None, ..) => {
            return Err(StoreError::Corrupt {
                what: "a record",
                why: "it has neither an envelope nor what takes the place of one".to_owned(),
            });
        }
    };
    Ok(LogRow {
        index: row::unsigned("the place of a record in the log", index)?,
        kept,
        leaf_hash: row::digest("the hash of a record", &hash)?,
    })
}

/// Appends the record of an act and gives its index. The caller is in a transaction that holds the head of the log.
pub(in crate::store) async fn append(work: &mut Work<'_>, act: NewAct) -> Result<u64, StoreError> {
    let head: (i64, Vec<u8>, i64, i64) = work.ask(HEAD).one().await?;
    let mut frontier = Edge::decode(head.0, &head.1, head.2, head.3)?.frontier;
    let index = frontier.size();
    let place = row::signed("the place of a record in the log", index)?;
    work.ask("INSERT INTO records (leaf_index, envelope, leaf_hash) VALUES ($1, $2, $3)")
        .bind(place)
        .bind(act.envelope)
        .bind(row::bytes(&act.leaf_hash))
        .execute()
        .await?;
    for (node, hash) in frontier.append(act.leaf_hash) {
        if node.level > 0 {
            work.ask("INSERT INTO log_nodes (level, node_index, hash) VALUES ($1, $2, $3)")
                .bind(i64::from(node.level))
                .bind(row::signed("the place of a node", node.index)?)
                .bind(row::bytes(&hash))
                .execute()
                .await?;
        }
    }
    work.ask("UPDATE log_head SET size = $1, frontier = $2 WHERE id = 1")
        .bind(place + 1)
        .bind(frontier.to_bytes())
        .execute()
        .await?;
    Ok(index)
}

pub(in crate::store) async fn head(readers: &Readers) -> Result<LogHead, StoreError> {
    let (size, frontier, version, rules): (i64, Vec<u8>, i64, i64) =
        readers.ask(HEAD).one().await?;
    let edge = Edge::decode(size, &frontier, version, rules)?;
    Ok(LogHead {
        size: edge.frontier.size(),
        root: edge.frontier.root(),
    })
}

/// How often that changed what every host goes by.
pub(in crate::store) async fn rules_version(readers: &Readers) -> Result<u64, StoreError> {
    let version = readers.ask("SELECT rules FROM log_head WHERE id = 1");
    let (version,): (i64,) = version.one().await?;
    row::unsigned("the version of the rules", version)
}

/// Notes that what every host goes by has changed. The caller is in a transaction that holds the head of the log.
pub(in crate::store) async fn rules_changed(work: &mut Work<'_>) -> Result<(), StoreError> {
    let changed = work.ask("UPDATE log_head SET rules = rules + 1 WHERE id = 1");
    changed.execute().await?;
    work.tell(&News::Rules).await
}

/// The row `log_head`: where the next record goes.
#[derive(Clone, Debug)]
pub(in crate::store) struct Edge {
    /// The right edge of the tree.
    pub(in crate::store) frontier: Frontier,
    /// The last version given to a key-value write.
    pub(in crate::store) write_version: u64,
    /// How often that changed what every host goes by.
    pub(in crate::store) rules: u64,
}

impl Edge {
    pub(in crate::store) fn decode(
        size: i64,
        frontier: &[u8],
        version: i64,
        rules: i64,
    ) -> Result<Self, StoreError> {
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
            rules: row::unsigned("the version of the rules", rules)?,
        })
    }
}

pub(in crate::store) async fn nodes(
    readers: &Readers,
    nodes: &[NodeId],
) -> Result<BTreeMap<NodeId, Digest>, StoreError> {
    let mut wanted = Vec::with_capacity(nodes.len());
    for node in nodes {
        // No tree that fits the column has such a node.
        if let Ok(index) = i64::try_from(node.index) {
            wanted.push((i64::from(node.level), index));
        }
    }
    let found = match readers {
        Readers::Sqlite(pool) => sqlite::nodes::find(pool, &wanted).await?,
        Readers::Postgres(pool) => postgres::nodes::find(pool, &wanted).await?,
    };
    let found = found.into_iter().map(|(level, index, hash)| {
        let node = NodeId {
            level: u8::try_from(level).map_err(|_| StoreError::Corrupt {
                what: "a node of the log",
                why: format!("it is on level {level}"),
            })?,
            index: row::unsigned("the place of a node", index)?,
        };
        Ok((node, row::digest("a node of the log", &hash)?))
    });
    found.collect()
}

pub(in crate::store) async fn checkpoint(
    readers: &Readers,
) -> Result<Option<CheckpointRow>, StoreError> {
    let newest = readers
        .ask("SELECT size, root, note, signed_ms FROM checkpoints ORDER BY size DESC LIMIT 1")
        .optional();
    newest.await?.map(checkpoint_row).transpose()
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
pub(in crate::store) async fn put_checkpoint(
    writer: &Writer,
    new: CheckpointRow,
) -> Result<(), StoreError> {
    let size = row::signed("the size of a checkpoint", new.head.size)?;
    let put = writer
        .write(move |mut work| {
            Box::pin(async move {
                let put = work
                    .ask(
                        "INSERT INTO checkpoints (size, root, note, signed_ms) \
                         SELECT $1, $2, $3, $4 FROM log_head WHERE log_head.size >= $1 \
                         ON CONFLICT (size) DO UPDATE SET note = excluded.note, signed_ms = excluded.signed_ms \
                         WHERE checkpoints.root = excluded.root",
                    )
                    .bind(size)
                    .bind(row::bytes(&new.head.root))
                    .bind(new.note)
                    .bind(row::ms(new.signed))
                    .execute();
                Ok(put.await? == 1)
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

pub(in crate::store) async fn put_cosignature(
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
        .transact(move |mut work| {
            Box::pin(async move {
                let put = work
                    .ask(
                        "INSERT INTO cosignatures (size, witness, line) SELECT size, $2, $3 FROM checkpoints WHERE size = $1 \
                         ON CONFLICT (size, witness) DO UPDATE SET line = excluded.line",
                    )
                    .bind(size)
                    .bind(new.witness)
                    .bind(new.line)
                    .execute()
                    .await?;
                for size in forget {
                    work.ask("DELETE FROM cosignatures WHERE size = $1")
                        .bind(size)
                        .execute()
                        .await?;
                }
                Ok(put == 1)
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

pub(in crate::store) async fn cosignatures(
    readers: &Readers,
) -> Result<Vec<(CheckpointRow, CosignatureRow)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>, String, i64, String, String)> = readers
        .ask(
            "SELECT size, root, note, signed_ms, witness, line FROM cosignatures JOIN checkpoints USING (size) \
             ORDER BY size, witness",
        )
        .all()
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
