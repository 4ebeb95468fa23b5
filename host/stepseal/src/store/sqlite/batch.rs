//! Storing transitions, many in one transaction: read what they are checked against, decide ([`crate::store::sql::world`]), write.
//!
//! `BEGIN IMMEDIATE` takes the write lock before the first read, so nothing that was read can change before the commit.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::script::Script;
use crate::store::StoreError;
use crate::store::sql::log::Edge;
use crate::store::sql::world::{EntryKey, Outcomes, Request, Rows, TaskView, World};
use crate::store::sql::{keyvalue, row};

/// Scripts of batches up to this many transitions stay compiled. Larger ones hardly ever have the same text again.
const KEPT_MAX: usize = 4;

/// Stores what can be stored. `Ok` means that it is on disk. After an error the connection may be inside a
/// transaction and must not be used again.
pub(in crate::store) async fn run(
    connection: &mut SqliteConnection,
    requests: Vec<Request>,
) -> Result<Outcomes, StoreError> {
    let keep = requests.len() <= KEPT_MAX;
    let rows = questions(&requests).run(connection, keep).await?;
    let mut world = read(&rows)?;
    let outcomes = requests
        .into_iter()
        .map(|request| world.apply(request))
        .collect();
    answer(world).run(connection, keep).await?;
    Ok(outcomes)
}

// The first column of each row that a batch reads says which question it answers.
const OF_HEAD: i64 = 0;
const OF_TASK: i64 = 1;
const OF_KEY: i64 = 2;
const OF_ENTRY: i64 = 3;
const OF_BUCKET: i64 = 4;

/// The statements that read everything the requests are checked against.
pub(super) fn questions(requests: &[Request]) -> Script {
    let mut tasks = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut entries = BTreeSet::new();
    let mut buckets = BTreeSet::new();
    for Request { task, transition } in requests {
        tasks.insert(transition.task.as_str());
        keys.extend(
            task.iter()
                .filter_map(|task| Some(task.idempotency.as_ref()?.0.as_str())),
        );
        let keyvalue = &transition.keyvalue;
        entries.extend(
            keyvalue
                .reads
                .iter()
                .map(|read| (read.bucket.as_str(), read.key.as_str())),
        );
        buckets.extend(keyvalue.listed.iter().map(|listed| listed.bucket.as_str()));
    }
    let one = |value: &&str, values: &mut super::script::Values| {
        values.push((*value).to_owned());
    };
    let mut script = Script::default();
    script.statement("BEGIN IMMEDIATE");
    script.statement("SELECT 0, size, frontier, write_version, rules FROM log_head WHERE id = 1");
    script.lookup(
        "WITH wanted (id) AS (",
        1,
        ") SELECT 1, tasks.id, tasks.events, tasks.records, tasks.head, tasks.pokes \
         FROM wanted CROSS JOIN tasks ON tasks.id = wanted.id",
        &Vec::from_iter(tasks),
        one,
    );
    script.lookup(
        "WITH wanted (id) AS (",
        1,
        ") SELECT 2, tasks.idempotency_key, tasks.idempotency_digest, tasks.id \
         FROM wanted CROSS JOIN tasks ON tasks.idempotency_key = wanted.id",
        &Vec::from_iter(keys),
        one,
    );
    script.lookup(
        "WITH wanted (bucket, entry_key) AS (",
        2,
        ") SELECT 3, entries.bucket, entries.entry_key, entries.version \
         FROM wanted CROSS JOIN bucket_entries AS entries \
         ON entries.bucket = wanted.bucket AND entries.entry_key = wanted.entry_key",
        &Vec::from_iter(entries),
        |(bucket, key), values| {
            values
                .push((*bucket).to_owned())
                .push(key.as_bytes().to_vec());
        },
    );
    script.lookup(
        "WITH wanted (name) AS (",
        1,
        ") SELECT 4, buckets.name, buckets.version \
         FROM wanted CROSS JOIN buckets ON buckets.name = wanted.name",
        &Vec::from_iter(buckets),
        one,
    );
    script
}

fn read(rows: &[SqliteRow]) -> Result<World, StoreError> {
    let head = rows
        .first()
        .filter(|row| matches!(row.try_get(0), Ok(OF_HEAD)));
    let head = head.ok_or_else(|| StoreError::Corrupt {
        what: "the head of the log",
        why: "it is not there".to_owned(),
    })?;
    let frontier: Vec<u8> = head.try_get(2)?;
    let (size, version, rules) = (head.try_get(1)?, head.try_get(3)?, head.try_get(4)?);
    let mut world = World::new(Edge::decode(size, &frontier, version, rules)?, None);
    for row in &rows[1..] {
        match row.try_get(0)? {
            OF_TASK => {
                let head: Option<Vec<u8>> = row.try_get(4)?;
                let view = TaskView {
                    new: None,
                    events: row::unsigned("the events of a task", row.try_get(2)?)?,
                    records: row::unsigned("the records of a task", row.try_get(3)?)?,
                    head: row::digest_option("the newest record of a task", head.as_deref())?,
                    pokes: row::unsigned("the pokes of a task", row.try_get(5)?)?,
                    holder: None,
                    change: None,
                };
                world.tasks.insert(row.try_get(1)?, view);
            }
            OF_KEY => {
                let digest: Vec<u8> = row.try_get(2)?;
                let digest = row::digest("the digest of a request", &digest)?;
                world
                    .keys
                    .insert(row.try_get(1)?, (digest, row.try_get(3)?));
            }
            OF_ENTRY => {
                let version = row::unsigned("the version of a key", row.try_get(3)?)?;
                let key = keyvalue::key(row.try_get(2)?)?;
                world.entries.insert((row.try_get(1)?, key), version);
            }
            OF_BUCKET => {
                let version = row::unsigned("the version of a bucket", row.try_get(2)?)?;
                world.buckets.insert(row.try_get(1)?, version);
            }
            other => {
                return Err(StoreError::Corrupt {
                    what: "an answer",
                    why: format!("nothing was asked under number {other}"),
                });
            }
        }
    }
    Ok(world)
}

/// The statements that write what passed, and end the transaction. Rows that others refer to come first.
pub(super) fn answer(world: World) -> Script {
    let World {
        edge, tasks, rows, ..
    } = world;
    let mut script = Script::default();
    if !rows.any {
        script.statement("ROLLBACK");
        return script;
    }
    write_tasks(&mut script, tasks);
    write_rows(&mut script, rows);
    script
        .statement("UPDATE log_head SET size = ?, frontier = ?, write_version = ? WHERE id = 1")
        .count(edge.frontier.size())
        .push(edge.frontier.to_bytes())
        .count(edge.write_version);
    script.statement("COMMIT");
    script
}

fn write_tasks(script: &mut Script, tasks: std::collections::BTreeMap<String, TaskView>) {
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for (id, mut view) in tasks {
        let Some(change) = view.change.take() else {
            continue;
        };
        match view.new.take() {
            Some(new) => added.push((new, view, change)),
            None => changed.push((id, view, change)),
        }
    }
    script.rows(
        "INSERT INTO tasks (id, tenant, agent, labels, idempotency_key, idempotency_digest, plan, input, created_ms, \
         state, updated_ms, wake_at_ms, due_ms, events, records, head)",
        16,
        "",
        added,
        |(new, view, change), values| {
            let (key, digest) = new.idempotency.unzip();
            values
                .push(new.id)
                .push(new.tenant)
                .push(new.agent)
                .push(new.labels)
                .push(key)
                .push(digest.as_ref().map(row::bytes))
                .digest(&new.plan)
                .digest(&new.input)
                .time(new.created)
                .push(change.state.as_str())
                .time(change.updated)
                .push(change.wake_at.map(row::ms))
                .push(view.due_ms(&change))
                .count(view.events)
                .count(view.records)
                .push(view.head.as_ref().map(row::bytes));
        },
    );
    script.rows(
        "WITH changed (id, state, updated_ms, wake_at_ms, due_ms, events, records, head) AS (",
        8,
        ") UPDATE tasks SET state = changed.state, updated_ms = changed.updated_ms, wake_at_ms = changed.wake_at_ms, due_ms = changed.due_ms, \
         events = changed.events, records = changed.records, head = changed.head \
         FROM changed WHERE tasks.id = changed.id",
        changed,
        |(id, view, change), values| {
            values
                .push(id)
                .push(change.state.as_str())
                .time(change.updated)
                .push(change.wake_at.map(row::ms))
                .push(view.due_ms(&change))
                .count(view.events)
                .count(view.records)
                .push(view.head.as_ref().map(row::bytes));
        },
    );
}

fn write_rows(script: &mut Script, rows: Rows) {
    script.rows(
        "INSERT INTO transitions (task, n, digests, events, blobs)",
        5,
        "",
        rows.transitions,
        |packed, values| {
            values
                .push(packed.task)
                .count(packed.n)
                .push(packed.digests)
                .push(packed.events)
                .push(packed.blobs);
        },
    );
    script.rows(
        "INSERT INTO records (leaf_index, task, seq, envelope, leaf_hash)",
        5,
        "",
        rows.records,
        |(index, task, record), values| {
            values
                .count(index)
                .push(task)
                .count(record.seq)
                .push(record.envelope)
                .digest(&record.leaf_hash);
        },
    );
    script.rows(
        "INSERT INTO log_nodes (level, node_index, hash)",
        3,
        "",
        rows.nodes,
        |(node, hash), values| {
            values
                .push(i64::from(node.level))
                .count(node.index)
                .digest(&hash);
        },
    );
    write_approvals(script, rows.approvals.into_values());
    write_keyvalue(script, rows.entries, rows.buckets);
}

fn write_approvals(
    script: &mut Script,
    approvals: impl Iterator<Item = crate::store::ApprovalRow>,
) {
    script.rows(
        "INSERT INTO approvals (id, task, step, attempt, subject, body, likeness, state, decisions, opened_ms, expires_ms)",
        11,
        "ON CONFLICT (id) DO UPDATE SET task = excluded.task, step = excluded.step, attempt = excluded.attempt, \
         subject = excluded.subject, body = excluded.body, likeness = excluded.likeness, state = excluded.state, \
         decisions = excluded.decisions, opened_ms = excluded.opened_ms, expires_ms = excluded.expires_ms \
         WHERE approvals.state = 'open' AND approvals.decisions = excluded.decisions",
        approvals,
        |row, values| {
            values
                .push(row.id)
                .push(row.task)
                .push(row.step)
                .push(i64::from(row.attempt))
                .digest(&row.subject)
                .push(row.body)
                .push(row.likeness)
                .push(row.state.as_str())
                .push(row.decisions)
                .time(row.opened)
                .time(row.expires);
        },
    );
}

fn write_keyvalue(
    script: &mut Script,
    entries: std::collections::BTreeMap<EntryKey, (u64, Option<Vec<u8>>)>,
    buckets: std::collections::BTreeMap<String, u64>,
) {
    let mut gone = Vec::new();
    let mut kept = Vec::new();
    for ((bucket, key), (version, value)) in entries {
        match value {
            Some(value) => kept.push((bucket, key, value, version)),
            None => gone.push((bucket, key)),
        }
    }
    script.rows(
        "INSERT INTO bucket_entries (bucket, entry_key, value, version)",
        4,
        "ON CONFLICT (bucket, entry_key) DO UPDATE SET value = excluded.value, version = excluded.version",
        kept,
        |(bucket, key, value, version), values| {
            values
                .push(bucket)
                .push(key.into_bytes())
                .push(value)
                .count(version);
        },
    );
    script.rows(
        "DELETE FROM bucket_entries WHERE (bucket, entry_key) IN (",
        2,
        ")",
        gone,
        |(bucket, key), values| {
            values.push(bucket).push(key.into_bytes());
        },
    );
    script.rows(
        "INSERT INTO buckets (name, version)",
        2,
        "ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        buckets,
        |(name, version), values| {
            values.push(name).count(version);
        },
    );
}
