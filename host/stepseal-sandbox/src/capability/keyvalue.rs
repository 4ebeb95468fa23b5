//! `wasi:keyvalue/store`: buckets whose writes belong to the step.
//!
//! Reads come from the committed state or from an earlier run's transcript; each key is read at most once, so that a step
//! sees one value of it. Writes are held back, seen by the step itself, and handed to the host at the end. Every call goes into the
//! transcript, so that a re-run can check that it asked the same, in the same order, with the same bytes. `wasi:keyvalue/atomics` and
//! `wasi:keyvalue/batch`, in `many`, are made of these calls.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json as canonical_json;
use wasmtime::component::Resource;

use crate::access::World;
use crate::bindings::capabilities::store;
use crate::guest::{Guest, Stop};
use crate::keyvalue::{BucketSource, KeyPage, KeyValueChanges, Listed, Read, Versioned, Write};
use crate::limits::{
    BUCKET_NAME_BYTES_MAX, KEY_BYTES_MAX, KEY_PAGE_MAX, VALUE_BYTES_MAX, WORLD_BYTES_MAX,
    WORLD_CALLS_MAX,
};
use crate::transcript::Begun;

mod many;

/// A bucket the guest has opened.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket {
    name: String,
}

/// A key in a bucket.
type Place = (String, String);

/// What was found under a key.
struct Found(Option<Versioned>);

/// What a guest is told when it asks for too much; otherwise the host's reason to stop it.
type Answer<T> = wasmtime::Result<Result<T, store::Error>>;

/// Buckets as one step sees them.
pub(crate) struct KeyValue {
    granted: Granted,
    reads: BTreeMap<Place, Option<Versioned>>,
    listed: BTreeMap<String, u64>,
    writes: BTreeMap<Place, Option<Vec<u8>>>,
    /// Where the pages that were begun go on; a guest's cursor is an index into it plus one.
    cursors: Vec<Place>,
}

enum Granted {
    None,
    Live(Buckets),
    Replay,
}

/// Buckets granted, and where they are read.
#[derive(Clone)]
struct Buckets {
    names: Vec<String>,
    source: Arc<dyn BucketSource>,
}

/// Where the answer to a call comes from.
enum Source {
    Live(Buckets),
    /// The answer an earlier run had.
    Replay(Vec<u8>),
}

impl KeyValue {
    pub(crate) fn new(world: &World) -> Self {
        let granted = match world {
            World::None => Granted::None,
            World::Live(live) if live.is_empty() => Granted::None,
            World::Live(live) => Granted::Live(Buckets {
                names: live.buckets.clone(),
                source: Arc::clone(&live.source),
            }),
            World::Replay(_) => Granted::Replay,
        };
        Self {
            granted,
            reads: BTreeMap::new(),
            listed: BTreeMap::new(),
            writes: BTreeMap::new(),
            cursors: Vec::new(),
        }
    }

    /// What the step read and wants to write; the writes only if it may `keep` them.
    pub(crate) fn take(&mut self, keep: bool) -> KeyValueChanges {
        // Most steps use no bucket.
        if self.reads.is_empty() && self.listed.is_empty() && self.writes.is_empty() {
            return KeyValueChanges::default();
        }
        let reads = std::mem::take(&mut self.reads)
            .into_iter()
            .map(|((bucket, key), held)| {
                let version = held.map_or(0, |held| held.version);
                Read {
                    bucket,
                    key,
                    version,
                }
            });
        let listed = std::mem::take(&mut self.listed)
            .into_iter()
            .map(|(bucket, version)| Listed { bucket, version });
        let writes = std::mem::take(&mut self.writes)
            .into_iter()
            .filter(|_| keep);
        let writes = writes.map(|((bucket, key), value)| Write { bucket, key, value });
        KeyValueChanges {
            reads: reads.collect(),
            listed: listed.collect(),
            writes: writes.collect(),
        }
    }

    /// Whether the step needs not ask for a key: it wrote or read it before.
    fn knows(&self, place: &Place) -> bool {
        self.writes.contains_key(place) || self.reads.contains_key(place)
    }

    /// The value of a key it knows: what it wrote, or else what it read.
    fn value(&self, place: &Place) -> Option<&[u8]> {
        if let Some(written) = self.writes.get(place) {
            return written.as_deref();
        }
        Some(self.reads.get(place)?.as_ref()?.value.as_slice())
    }

    /// The page of keys with the step's own writes worked in. `page` begins behind `after` and is the last one if `last`.
    fn with_own_writes(
        &self,
        bucket: &str,
        after: &str,
        page: Vec<String>,
        last: bool,
    ) -> Vec<String> {
        let end = page.last().cloned();
        let mut keys: BTreeSet<String> = page.into_iter().collect();
        let own = self.writes.range((
            Bound::Excluded((bucket.to_owned(), after.to_owned())),
            Bound::Unbounded,
        ));
        for ((_, key), value) in own.take_while(|((name, _), _)| name == bucket) {
            if !last && end.as_ref().is_some_and(|end| key > end) {
                break;
            }
            match value {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        keys.into_iter().collect()
    }
}

impl Guest {
    /// Begins a call: what it asks, and where its answer comes from. `None` where nothing is granted.
    fn keyvalue_call(&mut self, request: &Value) -> Answer<Option<(Begun, Source)>> {
        if !self.journal.has_room() {
            return Ok(Err(refusal(format!(
                "a step may make at most {WORLD_CALLS_MAX} calls to the world"
            ))));
        }
        if matches!(self.keyvalue.granted, Granted::None) {
            return Ok(Ok(None));
        }
        let mut begun = self
            .journal
            .begin(request)
            .map_err(|stop| self.stop(stop))?;
        let source = match (begun.recorded.take(), &self.keyvalue.granted) {
            (Some(recorded), _) => Source::Replay(recorded),
            (None, Granted::Live(live)) => Source::Live(live.clone()),
            (None, Granted::None | Granted::Replay) => return Ok(Ok(None)),
        };
        Ok(Ok(Some((begun, source))))
    }

    /// Ends a call whose answer needs nothing from outside: the recorded run must have known it too.
    fn keyvalue_own(&mut self, begun: Begun, source: Source) -> wasmtime::Result<()> {
        let response = canonical_json::canonical(&json!({}));
        if let Source::Replay(recorded) = source
            && recorded != response
        {
            return Err(self.stop(begun.differs("had another answer in the recorded run")));
        }
        self.journal.end(begun, response);
        Ok(())
    }

    /// Ends a call whose answer came from outside: counts it, and puts it into the transcript. An answer that is too large is
    /// refused, which is then the answer.
    fn keyvalue_answered(
        &mut self,
        begun: Begun,
        replayed: bool,
        key_bytes: usize,
        response: Vec<u8>,
    ) -> Answer<()> {
        if self.journal.hold(key_bytes + response.len()) {
            self.journal.end(begun, response);
            return Ok(Ok(()));
        }
        if replayed {
            return Err(self.stop(begun.differs("has a larger answer than any run can have had")));
        }
        self.journal.end(begun, too_much());
        Ok(Err(too_many_bytes()))
    }

    /// The recorded answer, read. It was written by whoever wrote the transcript, so it must be what a run would have written:
    /// one answer has one encoding.
    fn replayed<T>(
        &mut self,
        begun: &Begun,
        recorded: &[u8],
        read: impl FnOnce(&Value) -> Option<T>,
        encode: impl FnOnce(&T) -> Value,
    ) -> wasmtime::Result<T> {
        let limits = canonical_json::Limits {
            bytes_max: WORLD_BYTES_MAX,
            depth_max: 4,
        };
        let response = canonical_json::parse(recorded, &limits).ok();
        let answer = response.and_then(|response| read(&response));
        answer
            .filter(|answer| canonical_json::canonical(&encode(answer)) == recorded)
            .ok_or_else(|| {
                self.stop(begun.differs("has a recorded answer that no run can have had"))
            })
    }

    /// Looks up a key for `get` and `exists`; afterwards it is known.
    async fn keyvalue_read(
        &mut self,
        operation: &str,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Answer<Place> {
        self.charge(key.len());
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        self.refuse_secrets(key.as_bytes(), "a key")?;
        let place = (self.table.get(&bucket)?.name.clone(), key);
        let request = json!({ "op": operation, "bucket": place.0, "key": place.1 });
        let (begun, source) = match self.keyvalue_call(&request)? {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(Err(store::Error::AccessDenied)),
            Err(error) => return Ok(Err(error)),
        };
        if self.keyvalue.knows(&place) {
            self.keyvalue_own(begun, source)?;
            return Ok(Ok(place));
        }
        let replayed = matches!(source, Source::Replay(_));
        let (response, held) = match source {
            Source::Live(live) => match (self.shared.clock)
                .outside(live.source.get(&place.0, &place.1))
                .await
            {
                Ok(held) => (
                    canonical_json::canonical(&encode_value(held.as_ref())),
                    held,
                ),
                Err(error) => return Err(self.buckets_unavailable(&place.0, &error.0)),
            },
            Source::Replay(recorded) if recorded == too_much() => {
                self.journal.end(begun, recorded);
                return Ok(Err(too_many_bytes()));
            }
            Source::Replay(recorded) => {
                let Found(held) = self.replayed(&begun, &recorded, decode_value, |found| {
                    encode_value(found.0.as_ref())
                })?;
                (recorded, held)
            }
        };
        let value = held.as_ref().map_or(&[][..], |held| &held.value);
        self.charge(value.len());
        // Somebody else may have written it; the transcript would keep it.
        self.refuse_secrets(value, "a value")?;
        let key_bytes = place.1.len();
        if let Err(error) = self.keyvalue_answered(begun, replayed, key_bytes, response)? {
            return Ok(Err(error));
        }
        self.keyvalue.reads.insert(place.clone(), held);
        Ok(Ok(place))
    }

    /// Holds back a write.
    fn keyvalue_write(
        &mut self,
        bucket: &Resource<Bucket>,
        key: String,
        value: Option<Vec<u8>>,
    ) -> Answer<()> {
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.charge(bytes);
        if let Err(error) = check_key(&key) {
            return Ok(Err(error));
        }
        if value
            .as_ref()
            .is_some_and(|value| value.len() > VALUE_BYTES_MAX)
        {
            return Ok(Err(refusal(format!(
                "a value may have at most {VALUE_BYTES_MAX} bytes"
            ))));
        }
        self.refuse_secrets(key.as_bytes(), "a key")?;
        self.refuse_secrets(value.as_deref().unwrap_or_default(), "a value")?;
        let place = (self.table.get(bucket)?.name.clone(), key);
        let request = match &value {
            Some(value) => {
                let digest = Digest::of(value).to_string();
                json!({ "op": "set", "bucket": place.0, "key": place.1, "value": digest })
            }
            None => json!({ "op": "delete", "bucket": place.0, "key": place.1 }),
        };
        if !self.journal.hold(bytes) {
            return Ok(Err(too_many_bytes()));
        }
        let (begun, source) = match self.keyvalue_call(&request)? {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(Err(store::Error::AccessDenied)),
            Err(error) => return Ok(Err(error)),
        };
        self.keyvalue_own(begun, source)?;
        self.keyvalue.writes.insert(place, value);
        Ok(Ok(()))
    }

    fn buckets_unavailable(&mut self, bucket: &str, error: &str) -> wasmtime::Error {
        // The guest and the record are told less than the host's own log.
        tracing::error!(
            bucket,
            error,
            "a bucket could not be read; the step ends as unavailable"
        );
        self.stop(Stop::BucketsUnavailable)
    }
}

impl store::Host for Guest {
    fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        self.charge(identifier.len());
        if identifier.len() > BUCKET_NAME_BYTES_MAX {
            return Ok(Err(store::Error::NoSuchStore));
        }
        let (begun, source) =
            match self.keyvalue_call(&json!({ "op": "open", "bucket": identifier }))? {
                Ok(Some(call)) => call,
                Ok(None) => return Ok(Err(store::Error::AccessDenied)),
                Err(error) => return Ok(Err(error)),
            };
        let granted = match source {
            Source::Live(live) => live.names.contains(&identifier),
            Source::Replay(recorded) => self.replayed(
                &begun,
                &recorded,
                |response| response.get("granted")?.as_bool(),
                |granted| encode_granted(*granted),
            )?,
        };
        let response = canonical_json::canonical(&encode_granted(granted));
        self.journal.end(begun, response);
        if !granted {
            return Ok(Err(store::Error::AccessDenied));
        }
        Ok(Ok(self.table.push(Bucket { name: identifier })?))
    }
}

impl store::HostBucket for Guest {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let place = match self.keyvalue_read("get", bucket, key).await? {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let value = self.keyvalue.value(&place).map(<[u8]>::to_vec);
        self.charge(value.as_ref().map_or(0, Vec::len));
        Ok(Ok(value))
    }

    fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        self.keyvalue_write(&bucket, key, Some(value))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        self.keyvalue_write(&bucket, key, None)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let place = match self.keyvalue_read("exists", bucket, key).await? {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(self.keyvalue.value(&place).is_some()))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> Answer<store::KeyResponse> {
        self.charge(0);
        let bucket = self.table.get(&bucket)?.name.clone();
        let after = match cursor {
            None => None,
            Some(cursor) => match self.keyvalue.after(&bucket, cursor) {
                Some(after) => Some(after),
                None => {
                    return Ok(Err(refusal(
                        "this cursor is not one of this bucket's".to_owned(),
                    )));
                }
            },
        };
        let request = json!({ "op": "list-keys", "bucket": bucket, "after": after });
        let (begun, source) = match self.keyvalue_call(&request)? {
            Ok(Some(call)) => call,
            Ok(None) => return Ok(Err(store::Error::AccessDenied)),
            Err(error) => return Ok(Err(error)),
        };
        let replayed = matches!(source, Source::Replay(_));
        let (response, page) = match source {
            Source::Live(live) => {
                let keys = live.source.keys(&bucket, after.as_deref(), KEY_PAGE_MAX);
                match self.shared.clock.outside(keys).await {
                    Ok(page) => (canonical_json::canonical(&encode_page(&page)), page),
                    Err(error) => return Err(self.buckets_unavailable(&bucket, &error.0)),
                }
            }
            Source::Replay(recorded) if recorded == too_much() => {
                self.journal.end(begun, recorded);
                return Ok(Err(too_many_bytes()));
            }
            Source::Replay(recorded) => {
                let page = self.replayed(&begun, &recorded, decode_page, encode_page)?;
                (recorded, page)
            }
        };
        self.refuse_secrets(&response, "a key")?;
        if let Err(error) = self.keyvalue_answered(begun, replayed, 0, response)? {
            return Ok(Err(error));
        }
        let answer = self.keyvalue.answer_page(bucket, after.as_deref(), page);
        // Of the answer, not only of what was read: the step's own keys are in it too.
        self.charge(answer.keys.iter().map(String::len).sum());
        Ok(Ok(answer))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl KeyValue {
    /// Where the page begins that a cursor stands for.
    fn after(&self, bucket: &str, cursor: u64) -> Option<String> {
        let index = usize::try_from(cursor).ok()?.checked_sub(1)?;
        let (name, after) = self.cursors.get(index)?;
        (name == bucket).then(|| after.clone())
    }

    fn answer_page(
        &mut self,
        bucket: String,
        after: Option<&str>,
        page: KeyPage,
    ) -> store::KeyResponse {
        // The first version seen: if the bucket changed between two pages, the commit will find out.
        self.listed
            .entry(bucket.clone())
            .or_insert(page.bucket_version);
        let last = page.keys.len() < KEY_PAGE_MAX as usize;
        let next = page.keys.last().cloned().filter(|_| !last);
        let keys = self.with_own_writes(&bucket, after.unwrap_or_default(), page.keys, last);
        let cursor = next.map(|next| {
            self.cursors.push((bucket, next));
            self.cursors.len() as u64
        });
        store::KeyResponse { keys, cursor }
    }
}

fn refusal(text: String) -> store::Error {
    store::Error::Other(text)
}

fn too_many_bytes() -> store::Error {
    refusal(format!(
        "a step may read and write at most {WORLD_BYTES_MAX} bytes of keys and values"
    ))
}

/// The recorded answer to a read that was refused with [`too_many_bytes`].
fn too_much() -> Vec<u8> {
    canonical_json::canonical(&json!({ "error": "too-much" }))
}

fn check_key(key: &str) -> Result<(), store::Error> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(refusal(format!(
            "a key must have 1 to {KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn encode_granted(granted: bool) -> Value {
    json!({ "granted": granted })
}

fn encode_value(held: Option<&Versioned>) -> Value {
    match held {
        Some(held) => {
            json!({ "value": BASE64.encode(&held.value), "version": held.version.to_string() })
        }
        None => json!({ "version": "0" }),
    }
}

fn decode_value(response: &Value) -> Option<Found> {
    let version = response.get("version")?.as_str()?.parse().ok()?;
    match response.get("value") {
        Some(value) => {
            let value = BASE64.decode(value.as_str()?).ok()?;
            Some(Found(Some(Versioned { value, version })))
        }
        None => (version == 0).then_some(Found(None)),
    }
}

fn encode_page(page: &KeyPage) -> Value {
    json!({ "keys": page.keys, "version": page.bucket_version.to_string() })
}

fn decode_page(response: &Value) -> Option<KeyPage> {
    let keys = response.get("keys")?.as_array()?;
    let keys = keys
        .iter()
        .map(|key| key.as_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    Some(KeyPage {
        keys,
        bucket_version: response.get("version")?.as_str()?.parse().ok()?,
    })
}
