//! What a long log costs: proofs and receipts of a host whose log has millions of entries.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::tree::{Frontier, NodeId, verify_inclusion};

use super::client::Client;
use super::process::Host;
use super::table::Table;
use super::tasks::{bind_policy, component, task};

/// Entries of the log, unless the environment says how many.
const ENTRIES: u64 = 1_000_000;
const ENTRIES_VARIABLE: &str = "STEPSEAL_BENCH_LOG_ENTRIES";
/// Proofs that are asked for.
const PROOFS: u32 = 2_000;
/// Rows of one statement.
const ROWS: usize = 2_000;
/// Of a proof at ten million entries, and so of a shorter one too.
const PROOF_MICROSECONDS_MAX: u128 = 1_000;
/// Of a receipt, for each of its records.
const RECORD_BYTES_MAX: usize = 3 << 10;

pub(crate) fn measure(table: &mut Table) {
    let entries = std::env::var(ENTRIES_VARIABLE).ok();
    let entries = entries.map_or(ENTRIES, |entries| entries.parse().expect("a number"));
    let data = tempfile::tempdir().expect("a directory");
    // The host makes its database, and begins its log.
    drop(Host::start(data.path()));
    let begun = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(fill(data.path(), entries));

    let host = Host::start(data.path());
    let client = host.client();
    receipt(&client, entries, table);
    proofs(&host, &client, entries, begun, table);
}

/// A task of three steps under a policy, at the end of the log.
fn receipt(client: &Client, entries: u64, table: &mut Table) {
    client.upload(&component("hostile"));
    bind_policy(client);
    let ran = client.submit(&task("hostile/echo", Clone::clone).to_string());
    let id = ran["id"].as_str().expect("an id");
    // Payloads are as large as whoever sent them made them.
    let path = format!("/v1/tasks/{id}/receipt?payloads=false");
    let (status, receipt) = client
        .exchange("GET", &path, "application/json", b"")
        .expect("the host answers");
    assert_eq!(status, 200);
    let parsed: Value = serde_json::from_slice(&receipt).expect("a receipt");
    let records = parsed["entries"].as_array().expect("entries").len();
    assert_eq!(records, 5);
    let bytes = receipt.len() / records;
    table.target(
        format!("receipt of three steps and a policy at {entries} entries, without payloads: bytes for each record"),
        bytes.to_string(),
        format!("≤ {RECORD_BYTES_MAX}"),
        bytes <= RECORD_BYTES_MAX,
    );
}

/// Proofs of entries all over the log, each of them checked.
fn proofs(host: &Host, client: &Client, entries: u64, begun: u64, table: &mut Table) {
    let (_, head) = client
        .exchange("GET", "/log/checkpoint", "application/json", b"")
        .expect("the host answers");
    let head = String::from_utf8(head).expect("a note");
    let mut lines = head.lines().skip(1);
    let mut line = || lines.next().expect("a checkpoint has three lines");
    let size: u64 = line().parse().expect("a size");
    let root = hash(line());
    let cpu = host.cpu();
    let mut times = Vec::new();
    for number in 0..u64::from(PROOFS) {
        // Far apart, so that no page of the database serves two of them.
        let index = begun + number * 7_919_993 % (entries - begun);
        let asked = Instant::now();
        let answer = client.request(
            "GET",
            &format!("/v1/log/inclusion?index={index}&size={size}"),
            "application/json",
            b"",
        );
        times.push(asked.elapsed());
        let proof = answer["proof"].as_array().expect("a proof").iter();
        let proof: Vec<Digest> = proof
            .map(|text| hash(text.as_str().expect("text")))
            .collect();
        verify_inclusion(&leaf_hash(index), index, size, &proof, &root).expect("it is proven");
    }
    times.sort_unstable();
    let middle = times[times.len() / 2];
    table.target(
        format!("inclusion proof at {entries} entries over HTTP, p50"),
        format!("{:.2} ms", middle.as_secs_f64() * 1e3),
        "< 1 ms",
        middle.as_micros() < PROOF_MICROSECONDS_MAX,
    );
    table.figure(
        "  CPU of the host for each",
        format!(
            "{:.0} µs",
            (host.cpu().saturating_sub(cpu) / PROOFS).as_secs_f64() * 1e6
        ),
    );
    table.figure(
        "  resident memory of the host after them",
        format!("{} MiB", host.resident_kib() >> 10),
    );
}

fn hash(text: &str) -> Digest {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    let bytes: [u8; 32] = bytes.expect("base64").try_into().expect("32 bytes");
    Digest::from_bytes(bytes)
}

/// What the entry is that [`fill`] puts at `index`.
fn leaf_hash(index: u64) -> Digest {
    Digest::of(&index.to_be_bytes())
}

/// Lets the log grow to `entries` as if so many acts had been recorded, and gives the index it goes on from. The tree is a
/// real one; of the records only the hashes are there, which is all that a proof needs.
pub(crate) async fn fill(root: &Path, entries: u64) -> u64 {
    let mut database: SqliteConnection = SqliteConnectOptions::new()
        .filename(root.join("data/stepseal.db"))
        .connect()
        .await
        .expect("the host made it");
    let (size, frontier): (i64, Vec<u8>) = sqlx::query_as("SELECT size, frontier FROM log_head")
        .fetch_one(&mut database)
        .await
        .expect("the log has a head");
    let begun = u64::try_from(size).expect("a size");
    let mut frontier = Frontier::from_bytes(&frontier).expect("the host's own");
    let mut transaction = database.begin().await.expect("a transaction");
    let mut nodes: Vec<(NodeId, Digest)> = Vec::new();
    let indexes: Vec<u64> = (begun..entries).collect();
    for chunk in indexes.chunks(ROWS) {
        QueryBuilder::new("INSERT INTO records (leaf_index, envelope, leaf_hash) ")
            .push_values(chunk, |mut row, index| {
                row.push_bind(index.cast_signed())
                    .push_bind("{}")
                    .push_bind(leaf_hash(*index).as_bytes().to_vec());
            })
            .build()
            .persistent(true)
            .execute(&mut *transaction)
            .await
            .expect("records");
        for index in chunk {
            let made = frontier.append(leaf_hash(*index));
            nodes.extend(made.into_iter().filter(|(node, _)| node.level > 0));
        }
        for rows in nodes.chunks(ROWS) {
            QueryBuilder::new("INSERT INTO log_nodes (level, node_index, hash) ")
                .push_values(rows, |mut row, (node, hash)| {
                    row.push_bind(i64::from(node.level))
                        .push_bind(node.index.cast_signed())
                        .push_bind(hash.as_bytes().to_vec());
                })
                .build()
                .execute(&mut *transaction)
                .await
                .expect("nodes");
        }
        nodes.clear();
    }
    sqlx::query("UPDATE log_head SET size = $1, frontier = $2")
        .bind(entries.cast_signed())
        .bind(frontier.to_bytes())
        .execute(&mut *transaction)
        .await
        .expect("the head");
    transaction.commit().await.expect("a commit");
    database.close().await.expect("it closes");
    begun
}
