//! Storing transitions, many in one transaction: lock the head of the log, read what they are checked against, decide
//! ([`crate::store::sql::world`]), write, commit. Each is one message to the server and one back, however many transitions there are.
//!
//! The two statements have one text each, and columns of rows are bound as arrays, so that the server plans them a few times and not again.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use stepseal_receipts::digest::Digest;

use super::Connection;
use crate::store::sql::log::Edge;
use crate::store::sql::world::{EntryKey, Outcomes, Request, Rows, TaskView, World};
use crate::store::sql::{keyvalue, row};
use crate::store::{ApprovalRow, News, StoreError};

/// Everything that transitions are checked against. The first column says which question a row answers.
pub(super) const QUESTIONS: &str = "\
    SELECT 1::bigint, id, NULL::text, head, events, records, pokes, holder FROM tasks WHERE id = ANY ($1::text[]) \
    UNION ALL SELECT 2, idempotency_key, id, idempotency_digest, 0, 0, 0, NULL FROM tasks WHERE idempotency_key = ANY ($2::text[]) \
    UNION ALL SELECT 3, entries.bucket, NULL, entries.entry_key, entries.version, 0, 0, NULL \
    FROM UNNEST($3::text[], $4::bytea[]) AS wanted (bucket, entry_key) \
    JOIN bucket_entries AS entries ON entries.bucket = wanted.bucket AND entries.entry_key = wanted.entry_key \
    UNION ALL SELECT 4, name, NULL, NULL, version, 0, 0, NULL FROM buckets WHERE name = ANY ($5::text[])";

const OF_TASK: i64 = 1;
const OF_KEY: i64 = 2;
const OF_ENTRY: i64 = 3;
const OF_BUCKET: i64 = 4;

/// What is left for whoever comes first and due within so many milliseconds, the others are told of: as long as a host may rest between two
/// looks.
const SOON_MS: i64 = 30_000;

type Answer = (
    i64,
    String,
    Option<String>,
    Option<Vec<u8>>,
    i64,
    i64,
    i64,
    Option<i64>,
);

/// Writes every row of a batch. The parts of one statement do not see each other, and need not: constraints are checked at its end.
pub(super) const ANSWER: &str = "\
    WITH added AS ( \
      INSERT INTO tasks (id, tenant, agent, labels, idempotency_key, idempotency_digest, plan, input, created_ms, \
        state, updated_ms, wake_at_ms, due_ms, events, records, head, holder) \
      SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bigint[], \
        $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[], $60::bigint[]) \
    ), changed AS ( \
      UPDATE tasks SET state = changed.state, updated_ms = changed.updated_ms, wake_at_ms = changed.wake_at_ms, \
        due_ms = changed.due_ms, events = changed.events, records = changed.records, head = changed.head, \
        holder = changed.holder \
      FROM UNNEST($17::text[], $18::text[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bytea[], \
        $61::bigint[]) AS changed (id, state, updated_ms, wake_at_ms, due_ms, events, records, head, holder) \
      WHERE tasks.id = changed.id \
    ), transitions_added AS ( \
      INSERT INTO transitions (task, n, digests, events, blobs) \
      SELECT * FROM UNNEST($25::text[], $26::bigint[], $27::bytea[], $28::text[], $29::bytea[]) \
    ), records_added AS ( \
      INSERT INTO records (leaf_index, task, seq, envelope, leaf_hash) \
      SELECT * FROM UNNEST($30::bigint[], $31::text[], $32::bigint[], $33::text[], $34::bytea[]) \
    ), nodes_added AS ( \
      INSERT INTO log_nodes (level, node_index, hash) SELECT * FROM UNNEST($35::bigint[], $36::bigint[], $37::bytea[]) \
    ), approvals_put AS ( \
      INSERT INTO approvals (id, task, step, attempt, subject, body, likeness, state, decisions, opened_ms, expires_ms) \
      SELECT * FROM UNNEST($38::text[], $39::text[], $40::text[], $41::bigint[], $42::bytea[], $43::text[], $44::text[], $45::text[], \
        $46::text[], $47::bigint[], $48::bigint[]) \
      ON CONFLICT (id) DO UPDATE SET task = excluded.task, step = excluded.step, attempt = excluded.attempt, \
        subject = excluded.subject, body = excluded.body, likeness = excluded.likeness, state = excluded.state, \
        decisions = excluded.decisions, opened_ms = excluded.opened_ms, expires_ms = excluded.expires_ms \
      WHERE approvals.state = 'open' AND approvals.decisions = excluded.decisions \
    ), entries_put AS ( \
      INSERT INTO bucket_entries (bucket, entry_key, value, version) \
      SELECT * FROM UNNEST($49::text[], $50::bytea[], $51::bytea[], $52::bigint[]) \
      ON CONFLICT (bucket, entry_key) DO UPDATE SET value = excluded.value, version = excluded.version \
    ), entries_gone AS ( \
      DELETE FROM bucket_entries USING UNNEST($53::text[], $54::bytea[]) AS gone (bucket, entry_key) \
      WHERE bucket_entries.bucket = gone.bucket AND bucket_entries.entry_key = gone.entry_key \
    ), buckets_put AS ( \
      INSERT INTO buckets (name, version) SELECT * FROM UNNEST($55::text[], $56::bigint[]) \
      ON CONFLICT (name) DO UPDATE SET version = excluded.version \
    ) UPDATE log_head SET size = $57, frontier = $58, write_version = $59 WHERE id = 1";

/// Stores what can be stored. `Ok` means that it is on the server's disk. After an error the connection may be inside a transaction and must
/// not be used again.
pub(in crate::store) async fn run(
    connection: &mut Connection,
    requests: Vec<Request>,
) -> Result<Outcomes, StoreError> {
    let edge = connection.begin().await?;
    let me = connection.me();
    let mut world = read(&mut connection.link, edge, me, &requests).await?;
    let outcomes = requests
        .into_iter()
        .map(|request| world.apply(request))
        .collect();
    if world.rows.any {
        let news = connection.has_others().then(|| changed(&world));
        let statement = sqlx::query(ANSWER);
        write(statement, world)?
            .execute(&mut connection.link)
            .await?;
        if let Some(news) = news {
            connection.tell(&news).await?;
        }
        connection.commit().await?;
    } else {
        connection.rollback().await?;
    }
    Ok(outcomes)
}

async fn read(
    connection: &mut PgConnection,
    edge: Edge,
    me: Option<i64>,
    requests: &[Request],
) -> Result<World, StoreError> {
    let mut tasks = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut entries = BTreeSet::new();
    let mut buckets = BTreeSet::new();
    for Request { task, transition } in requests {
        // A text that cannot be asked for is refused when it is its turn.
        let fits = |text: &str| !text.contains('\0');
        let key = task.as_ref().and_then(|task| task.idempotency.as_ref());
        let key = key.map(|(key, _)| key.as_str());
        let keyvalue = &transition.keyvalue;
        let reads = keyvalue.reads.iter().filter(|read| fits(&read.bucket));
        let listed = keyvalue.listed.iter().map(|listed| listed.bucket.as_str());
        tasks.extend(Some(transition.task.as_str()).filter(|id| fits(id)));
        keys.extend(key.filter(|key| fits(key)));
        entries.extend(reads.map(|read| (read.bucket.as_str(), read.key.as_bytes())));
        buckets.extend(listed.filter(|bucket| fits(bucket)));
    }
    let mut world = World::new(edge, me);
    let (entry_buckets, entry_keys): (Vec<&str>, Vec<&[u8]>) = entries.into_iter().unzip();
    let rows: Vec<Answer> = sqlx::query_as(QUESTIONS)
        .bind(Vec::from_iter(tasks))
        .bind(Vec::from_iter(keys))
        .bind(entry_buckets)
        .bind(entry_keys)
        .bind(Vec::from_iter(buckets))
        .fetch_all(connection)
        .await?;
    for row in rows {
        take(&mut world, row)?;
    }
    Ok(world)
}

fn take(
    world: &mut World,
    (what, name, other, bytes, first, second, third, holder): Answer,
) -> Result<(), StoreError> {
    let lacks = |what| StoreError::Corrupt {
        what,
        why: "it is not there".to_owned(),
    };
    match what {
        OF_TASK => {
            let view = TaskView {
                new: None,
                events: row::unsigned("the events of a task", first)?,
                records: row::unsigned("the records of a task", second)?,
                head: row::digest_option("the newest record of a task", bytes.as_deref())?,
                pokes: row::unsigned("the pokes of a task", third)?,
                holder,
                change: None,
            };
            world.tasks.insert(name, view);
        }
        OF_KEY => {
            let digest = bytes.ok_or_else(|| lacks("the digest of a request"))?;
            let digest = row::digest("the digest of a request", &digest)?;
            let task = other.ok_or_else(|| lacks("the task of a key"))?;
            world.keys.insert(name, (digest, task));
        }
        OF_ENTRY => {
            let key = keyvalue::key(bytes.ok_or_else(|| lacks("a key of a bucket"))?)?;
            let version = row::unsigned("the version of a key", first)?;
            world.entries.insert((name, key), version);
        }
        OF_BUCKET => {
            let version = row::unsigned("the version of a bucket", first)?;
            world.buckets.insert(name, version);
        }
        other => {
            return Err(StoreError::Corrupt {
                what: "an answer",
                why: format!("nothing was asked under number {other}"),
            });
        }
    }
    Ok(())
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds what passed, in the order of [`ANSWER`].
fn write(statement: Statement<'_>, world: World) -> Result<Statement<'_>, StoreError> {
    let World {
        edge, tasks, rows, ..
    } = world;
    let Rows {
        any: _,
        transitions,
        records,
        nodes,
        approvals,
        entries,
        buckets,
    } = rows;
    let (statement, added, changed) = bind_tasks(statement, tasks)?;

    let mut columns = (vec![], vec![], vec![], vec![], vec![]);
    for packed in transitions {
        columns.0.push(packed.task);
        columns.1.push(count(packed.n)?);
        columns.2.push(packed.digests);
        columns.3.push(packed.events);
        columns.4.push(packed.blobs);
    }
    let statement = statement.bind(columns.0).bind(columns.1).bind(columns.2);
    let statement = statement.bind(columns.3).bind(columns.4);

    let mut columns = (vec![], vec![], vec![], vec![], vec![]);
    for (index, task, record) in records {
        columns.0.push(count(index)?);
        columns.1.push(task);
        columns.2.push(count(record.seq)?);
        columns.3.push(record.envelope);
        columns.4.push(row::bytes(&record.leaf_hash));
    }
    let statement = statement.bind(columns.0).bind(columns.1).bind(columns.2);
    let statement = statement.bind(columns.3).bind(columns.4);

    let mut columns = (vec![], vec![], vec![]);
    for (node, hash) in nodes {
        columns.0.push(i64::from(node.level));
        columns.1.push(count(node.index)?);
        columns.2.push(row::bytes(&hash));
    }
    let statement = statement.bind(columns.0).bind(columns.1).bind(columns.2);
    let statement = bind_approvals(statement, approvals.into_values());
    let statement = bind_keyvalue(statement, entries, buckets)?;
    Ok(statement
        .bind(count(edge.frontier.size())?)
        .bind(edge.frontier.to_bytes())
        .bind(count(edge.write_version)?)
        .bind(added)
        .bind(changed))
}

/// What other hosts are to know of a batch.
fn changed(world: &World) -> News {
    let changed = world.tasks.iter().filter(|(_, view)| view.change.is_some());
    // What is due later than that is found by looking.
    let soon = |view: &TaskView| {
        let change = view.change.as_ref()?;
        Some(view.due_ms(change)? <= row::ms(change.updated).saturating_add(SOON_MS))
    };
    let is_left = |view: &TaskView| view.holder.is_none() && soon(view) == Some(true);
    News::Changed {
        due: world.tasks.values().any(is_left),
        tasks: changed.map(|(id, _)| id.clone()).collect(),
    }
}

/// Where tasks are, a column each.
#[derive(Default)]
struct Places {
    ids: Vec<String>,
    states: Vec<&'static str>,
    updated: Vec<i64>,
    wake_at: Vec<Option<i64>>,
    due: Vec<Option<i64>>,
    events: Vec<i64>,
    records: Vec<i64>,
    heads: Vec<Option<Vec<u8>>>,
    holders: Holders,
}

/// The host that has each task.
type Holders = Vec<Option<i64>>;

fn bind_tasks(
    statement: Statement<'_>,
    tasks: BTreeMap<String, TaskView>,
) -> Result<(Statement<'_>, Holders, Holders), StoreError> {
    let mut new = Vec::new();
    let mut added = Places::default();
    let mut changed = Places::default();
    for (id, mut view) in tasks {
        let Some(change) = view.change.take() else {
            continue;
        };
        let places = match view.new.take() {
            Some(task) => {
                new.push(task);
                &mut added
            }
            None => &mut changed,
        };
        places.ids.push(id);
        places.states.push(change.state.as_str());
        places.updated.push(row::ms(change.updated));
        places.wake_at.push(change.wake_at.map(row::ms));
        places.due.push(view.due_ms(&change));
        places.events.push(count(view.events)?);
        places.records.push(count(view.records)?);
        places.heads.push(view.head.as_ref().map(row::bytes));
        places.holders.push(view.holder);
    }
    let digests = |digest: fn(&crate::store::NewTask) -> &Digest| -> Vec<Vec<u8>> {
        new.iter().map(|task| row::bytes(digest(task))).collect()
    };
    let (plans, inputs) = (digests(|task| &task.plan), digests(|task| &task.input));
    let created: Vec<_> = new.iter().map(|task| row::ms(task.created)).collect();
    let (mut tenants, mut agents, mut labels) = (vec![], vec![], vec![]);
    let (mut keys, mut requests) = (vec![], vec![]);
    for task in new {
        let (key, request) = task.idempotency.unzip();
        tenants.push(task.tenant);
        agents.push(task.agent);
        labels.push(task.labels);
        keys.push(key);
        requests.push(request.as_ref().map(row::bytes));
    }
    let statement = statement
        .bind(added.ids)
        .bind(tenants)
        .bind(agents)
        .bind(labels)
        .bind(keys)
        .bind(requests)
        .bind(plans)
        .bind(inputs)
        .bind(created)
        .bind(added.states)
        .bind(added.updated)
        .bind(added.wake_at)
        .bind(added.due)
        .bind(added.events)
        .bind(added.records)
        .bind(added.heads);
    let statement = statement
        .bind(changed.ids)
        .bind(changed.states)
        .bind(changed.updated)
        .bind(changed.wake_at)
        .bind(changed.due)
        .bind(changed.events)
        .bind(changed.records)
        .bind(changed.heads);
    Ok((statement, added.holders, changed.holders))
}

fn bind_approvals(
    statement: Statement<'_>,
    approvals: impl Iterator<Item = ApprovalRow>,
) -> Statement<'_> {
    let approvals: Vec<_> = approvals.collect();
    let texts = |text: fn(&ApprovalRow) -> &str| -> Vec<String> {
        approvals.iter().map(|row| text(row).to_owned()).collect()
    };
    let numbers =
        |number: fn(&ApprovalRow) -> i64| -> Vec<i64> { approvals.iter().map(number).collect() };
    let subjects: Vec<_> = approvals
        .iter()
        .map(|row| row::bytes(&row.subject))
        .collect();
    statement
        .bind(texts(|row| &row.id))
        .bind(texts(|row| &row.task))
        .bind(texts(|row| &row.step))
        .bind(numbers(|row| row.attempt.into()))
        .bind(subjects)
        .bind(texts(|row| &row.body))
        .bind(texts(|row| &row.likeness))
        .bind(texts(|row| row.state.as_str()))
        .bind(texts(|row| &row.decisions))
        .bind(numbers(|row| row::ms(row.opened)))
        .bind(numbers(|row| row::ms(row.expires)))
}

fn bind_keyvalue(
    statement: Statement<'_>,
    entries: BTreeMap<EntryKey, (u64, Option<Vec<u8>>)>,
    buckets: BTreeMap<String, u64>,
) -> Result<Statement<'_>, StoreError> {
    let mut kept = (vec![], vec![], vec![], vec![]);
    let mut gone = (vec![], vec![]);
    for ((bucket, key), (version, value)) in entries {
        if let Some(value) = value {
            kept.0.push(bucket);
            kept.1.push(key.into_bytes());
            kept.2.push(value);
            kept.3.push(count(version)?);
        } else {
            gone.0.push(bucket);
            gone.1.push(key.into_bytes());
        }
    }
    let mut versions = Vec::with_capacity(buckets.len());
    let mut names = Vec::with_capacity(buckets.len());
    for (name, version) in buckets {
        names.push(name);
        versions.push(count(version)?);
    }
    Ok(statement
        .bind(kept.0)
        .bind(kept.1)
        .bind(kept.2)
        .bind(kept.3)
        .bind(gone.0)
        .bind(gone.1)
        .bind(names)
        .bind(versions))
}

fn count(value: u64) -> Result<i64, StoreError> {
    row::signed("a count", value)
}
