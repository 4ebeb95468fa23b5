//! What a transition leaves beside records and rows of its own: its events and its blobs, all of them in one row. A row for each of them
//! took the database longer than everything else of a task.
//!
//! Events are lines, `<ms> <kind> <body>`, and the row has the number of the last one. Blobs stand one after the other, each after its
//! length in four bytes; `digests` names them in the same order, so that a row is found by what is in it without being read.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use stepseal_receipts::digest::Digest;

use super::ask::Readers;
use super::row;
use crate::store::{CommitError, EventRow, NewBlob, NewEvent, StoreError};

pub(in crate::store) const EVENTS: &str =
    "SELECT n, events FROM transitions WHERE task = $1 AND n > $2 ORDER BY n";
pub(in crate::store) const BLOBS: &str =
    "SELECT digests, blobs FROM transitions WHERE task = $1 ORDER BY n";
pub(in crate::store) const BLOB: &str =
    "SELECT digests, blobs FROM transitions WHERE task = $1 AND instr(digests, $2) > 0 ORDER BY n";
pub(in crate::store) const BLOB_IN_POSTGRES: &str = "SELECT digests, blobs FROM transitions WHERE task = $1 AND position($2 IN digests) > 0 ORDER BY n";

/// Bytes of a digest in `digests`.
const DIGEST_BYTES: usize = 32;

/// A row to be written.
#[derive(Debug)]
pub(in crate::store) struct Packed {
    pub(in crate::store) task: String,
    /// The number of its last event.
    pub(in crate::store) n: u64,
    pub(in crate::store) digests: Vec<u8>,
    pub(in crate::store) events: String,
    pub(in crate::store) blobs: Vec<u8>,
}

/// Whether these can be one row.
pub(super) fn check(events: &[NewEvent], blobs: &[NewBlob]) -> Result<(), CommitError> {
    let refused = |why: &str| {
        Err(CommitError::Store(StoreError::Refused {
            what: "a transition",
            why: why.to_owned(),
        }))
    };
    if events.is_empty() && !blobs.is_empty() {
        return refused("it has blobs, and no event that speaks of them");
    }
    let breaks = |event: &NewEvent| event.body.contains('\n') || event.kind.contains([' ', '\n']);
    if events.iter().any(breaks) {
        return refused("an event of it is more than a line");
    }
    if blobs
        .iter()
        .any(|blob| u32::try_from(blob.bytes.len()).is_err())
    {
        return refused("a blob of it has more than 4 GiB");
    }
    Ok(())
}

/// Puts what passed [`check`] into one row.
pub(super) fn pack(task: String, n: u64, events: &[NewEvent], blobs: &[NewBlob]) -> Packed {
    use std::fmt::Write as _;
    let mut lines = String::with_capacity(events.iter().map(|event| event.body.len() + 48).sum());
    for event in events {
        // Writing to a text does not fail.
        let _ = writeln!(lines, "{} {} {}", row::ms(event.at), event.kind, event.body);
    }
    let mut digests = Vec::with_capacity(blobs.len() * DIGEST_BYTES);
    let mut bytes = Vec::with_capacity(blobs.iter().map(|blob| blob.bytes.len() + 4).sum());
    for blob in blobs {
        digests.extend_from_slice(blob.digest.as_bytes());
        let length = u32::try_from(blob.bytes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&blob.bytes);
    }
    Packed {
        task,
        n,
        digests,
        events: lines,
        blobs: bytes,
    }
}

/// The events of a row whose last one has number `last`.
fn unpack_events(last: u64, lines: &str) -> Result<Vec<EventRow>, StoreError> {
    let corrupt = || StoreError::Corrupt {
        what: "the events of a task",
        why: format!("those up to number {last} are not what was written"),
    };
    let count = lines.lines().count() as u64;
    let first = (last + 1).checked_sub(count).filter(|first| *first > 0);
    let first = first.ok_or_else(corrupt)?;
    let events = lines.lines().zip(first..).map(|(line, n)| {
        let mut parts = line.splitn(3, ' ');
        let mut next = || parts.next().ok_or_else(corrupt);
        let (at, kind, body) = (next()?, next()?, next()?);
        Ok(EventRow {
            n,
            at: row::time("the time of an event", at.parse().map_err(|_| corrupt())?)?,
            kind: kind.to_owned(),
            body: body.to_owned(),
        })
    });
    events.collect()
}

/// A digest, and the blob it is of.
type Named<'b> = (&'b [u8], &'b [u8]);

/// The blobs of a row.
fn unpack_blobs<'b>(digests: &'b [u8], mut bytes: &'b [u8]) -> Result<Vec<Named<'b>>, StoreError> {
    let mut blobs = Vec::with_capacity(digests.len() / DIGEST_BYTES);
    for digest in digests.chunks(DIGEST_BYTES) {
        let blob = bytes.split_first_chunk().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        let (blob, rest) = blob.ok_or_else(|| StoreError::Corrupt {
            what: "the blobs of a task",
            why: "they end before they are whole".to_owned(),
        })?;
        blobs.push((digest, blob));
        bytes = rest;
    }
    Ok(blobs)
}

pub(in crate::store) async fn events(
    readers: &Readers,
    task: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<EventRow>, StoreError> {
    let limit = limit as usize;
    let ask = readers.ask(EVENTS).bind(task.to_owned());
    // Clients choose `after`: beyond the largest number there is nothing.
    let ask = ask.bind(i64::try_from(after).unwrap_or(i64::MAX));
    let mut found = Vec::new();
    // Row by row: no more of them is read than is asked for.
    let mut rows = ask.each::<(i64, String)>();
    while found.len() < limit
        && let Some(row) = rows.next().await
    {
        let (last, lines) = row?;
        let last = row::unsigned("the number of an event", last)?;
        let events = unpack_events(last, &lines)?.into_iter();
        found.extend(events.filter(|event| event.n > after));
    }
    found.truncate(limit);
    Ok(found)
}

pub(in crate::store) async fn blob(
    readers: &Readers,
    task: &str,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = readers
        .ask(readers.text(BLOB, BLOB_IN_POSTGRES))
        .bind(task.to_owned())
        .bind(row::bytes(digest))
        .all()
        .await?;
    for (digests, bytes) in rows {
        for (of, blob) in unpack_blobs(&digests, &bytes)? {
            if of == digest.as_bytes() {
                return Ok(Some(blob.to_vec()));
            }
        }
    }
    Ok(None)
}

pub(in crate::store) async fn blobs_of(
    readers: &Readers,
    task: &str,
    digests: &BTreeSet<Digest>,
) -> Result<BTreeMap<Digest, Vec<u8>>, StoreError> {
    let mut found = BTreeMap::new();
    let ask = readers.ask(BLOBS).bind(task.to_owned());
    let mut rows = ask.each::<(Vec<u8>, Vec<u8>)>();
    while found.len() < digests.len()
        && let Some(row) = rows.next().await
    {
        let (named, bytes) = row?;
        for (digest, blob) in unpack_blobs(&named, &bytes)? {
            let digest = row::digest("the digest of a blob", digest)?;
            if digests.contains(&digest) {
                found.insert(digest, blob.to_vec());
            }
        }
    }
    Ok(found)
}

pub(in crate::store) async fn blobs(
    readers: &Readers,
    task: &str,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = readers.ask(BLOBS).bind(task.to_owned()).all().await?;
    let mut all = Vec::new();
    for (digests, bytes) in &rows {
        all.extend(unpack_blobs(digests, bytes)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all.into_iter().map(|(_, blob)| blob.to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepseal_receipts::time::Timestamp;

    fn event(kind: &'static str, body: &str) -> NewEvent {
        NewEvent {
            at: Timestamp::from_unix_ms(7).unwrap(),
            kind,
            body: body.to_owned(),
        }
    }

    fn blob(bytes: &[u8]) -> NewBlob {
        NewBlob {
            digest: Digest::of(bytes),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let events = [event("a", "{\"b\": 1}"), event("c.d", "")];
        let blobs = [blob(b""), blob(b"bytes\n"), blob(&[0; 300])];
        assert!(check(&events, &blobs).is_ok());
        let packed = pack("t".to_owned(), 9, &events, &blobs);
        let unpacked = unpack_events(9, &packed.events).unwrap();
        let what: Vec<_> = unpacked.iter().map(|e| (e.n, &*e.kind, &*e.body)).collect();
        assert_eq!(what, [(8, "a", "{\"b\": 1}"), (9, "c.d", "")]);
        let unpacked = unpack_blobs(&packed.digests, &packed.blobs).unwrap();
        for (blob, (digest, bytes)) in blobs.iter().zip(unpacked) {
            assert_eq!(
                (blob.digest.as_bytes().as_slice(), &blob.bytes[..]),
                (digest, bytes)
            );
        }
    }

    #[test]
    fn what_would_not_come_back_is_refused() {
        assert!(check(&[], &[blob(b"x")]).is_err());
        assert!(check(&[event("a", "{\n}")], &[]).is_err());
        assert!(check(&[event("a b", "{}")], &[]).is_err());
        assert!(check(&[], &[]).is_ok());
    }

    #[test]
    fn what_was_never_written_is_corrupt_and_not_guessed() {
        for (last, lines) in [(1, "7 a {}\n7 b {}\n"), (2, "7 a\n"), (1, "x a {}\n")] {
            let events = unpack_events(last, lines);
            assert!(
                matches!(events, Err(StoreError::Corrupt { .. })),
                "{events:?}"
            );
        }
        for bytes in [&b""[..], &[0, 0, 0], &[0, 0, 0, 2, 1]] {
            let blobs = unpack_blobs(&[7; 32], bytes);
            assert!(
                matches!(blobs, Err(StoreError::Corrupt { .. })),
                "{blobs:?}"
            );
        }
    }
}
