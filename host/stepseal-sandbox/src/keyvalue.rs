//! Buckets of keys and values as a step sees them: what the committed state was, what the step read of it, and what it
//! wants to write. The guest's side of it is `capability/keyvalue.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// A future on the heap, as trait objects return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Committed state of buckets, read by a step. Implemented over the host's store, and in memory by [`MemoryBuckets`].
///
/// Versions: every commit that changes a key gives it a version it never had before, above 0. A key that is not there has
/// version 0, so an implementation whose keys come back after a deletion must not start again at 1: taking the
/// bucket's version as the key's does that. Each commit that adds or removes keys raises the bucket's version.
///
/// A read need not be consistent with the one before: what a step read is checked again when it is committed.
pub trait BucketSource: Send + Sync {
    /// The value of a key and its version; `None` where there is no such key (or bucket).
    fn get<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>>;

    /// Up to `limit` keys in ascending order of their bytes, beginning behind `after`. Fewer than `limit` keys means
    /// that there are no more.
    fn keys<'a>(
        &'a self,
        bucket: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>>;
}

/// A value and the version it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Vec<u8>,
    /// Above 0.
    pub version: u64,
}

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Ascending.
    pub keys: Vec<String>,
    /// The bucket's version; 0 for a bucket never written.
    pub bucket_version: u64,
}

/// A bucket could not be read. The step ends as `unavailable`; the text is for the host's log, not for the guest.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the bucket could not be read: {0}")]
pub struct BucketError(pub String);

/// What a step read and wants to write. The host commits it with the step's record, if everything in `reads` and
/// `listed` still has the version it had, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValueChanges {
    /// Each key read from the source, once, sorted. There whatever the outcome: an answer based on reads that do not
    /// hold any more (such as "insufficient funds") can be told from one that does.
    pub reads: Vec<Read>,
    /// Each bucket whose keys were listed, once, sorted. There whatever the outcome.
    pub listed: Vec<Listed>,
    /// The last write of each key, sorted. Empty unless the outcome is [`Outcome::Ok`](crate::Outcome::Ok).
    pub writes: Vec<Write>,
}

/// A key a step read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version it had; 0 if it was not there.
    pub version: u64,
}

/// A bucket whose keys a step listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The bucket.
    pub bucket: String,
    /// The version it had.
    pub version: u64,
}

/// A key a step wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Buckets in memory: for trying a plugin on the command line, and for tests. Clones share the same buckets.
#[derive(Clone, Debug, Default)]
pub struct MemoryBuckets(Arc<Mutex<BTreeMap<String, Bucket>>>);

#[derive(Debug, Default)]
struct Bucket {
    version: u64,
    keys: BTreeMap<String, Versioned>,
}

impl MemoryBuckets {
    /// Buckets without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits what a step wants to write, if everything it read still has the version it had: then `true`, else nothing
    /// is changed.
    pub fn commit(&self, changes: &KeyValueChanges) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version_of = |bucket: &str, key: &str| {
            buckets
                .get(bucket)
                .and_then(|bucket| bucket.keys.get(key))
                .map_or(0, |held| held.version)
        };
        let reads_hold = changes
            .reads
            .iter()
            .all(|read| version_of(&read.bucket, &read.key) == read.version);
        let lists_hold = changes.listed.iter().all(|listed| {
            buckets
                .get(&listed.bucket)
                .map_or(0, |bucket| bucket.version)
                == listed.version
        });
        if !(reads_hold && lists_hold) {
            return false;
        }
        for write in &changes.writes {
            let bucket = buckets.entry(write.bucket.clone()).or_default();
            bucket.version += 1;
            match &write.value {
                Some(value) => {
                    let held = Versioned {
                        value: value.clone(),
                        version: bucket.version,
                    };
                    bucket.keys.insert(write.key.clone(), held);
                }
                None => {
                    bucket.keys.remove(&write.key);
                }
            }
        }
        true
    }
}

impl BucketSource for MemoryBuckets {
    fn get<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = buckets
            .get(bucket)
            .and_then(|bucket| bucket.keys.get(key))
            .cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let page = buckets.get(bucket).map_or_else(KeyPage::default, |bucket| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let keys = bucket
                .keys
                .range::<str, _>((from, Bound::Unbounded))
                .map(|(key, _)| key.clone());
            KeyPage {
                keys: keys.take(limit as usize).collect(),
                bucket_version: bucket.version,
            }
        });
        Box::pin(std::future::ready(Ok(page)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, value: Option<&str>) -> Write {
        Write {
            bucket: "b".into(),
            key: key.into(),
            value: value.map(Into::into),
        }
    }

    #[tokio::test]
    async fn a_commit_whose_reads_are_stale_changes_nothing() {
        let buckets = MemoryBuckets::new();
        let read = Read {
            bucket: "b".into(),
            key: "k".into(),
            version: 0,
        };
        let first = KeyValueChanges {
            reads: vec![read],
            writes: vec![write("k", Some("1"))],
            ..Default::default()
        };
        assert!(buckets.commit(&first));
        assert!(!buckets.commit(&first));
        assert_eq!(
            buckets.get("b", "k").await.unwrap(),
            Some(Versioned {
                value: b"1".to_vec(),
                version: 1
            })
        );
    }

    #[tokio::test]
    async fn a_key_that_comes_back_has_a_new_version() {
        let buckets = MemoryBuckets::new();
        for value in [Some("1"), None, Some("1")] {
            assert!(buckets.commit(&KeyValueChanges {
                writes: vec![write("k", value)],
                ..Default::default()
            }));
        }
        assert_eq!(buckets.get("b", "k").await.unwrap().unwrap().version, 3);
    }

    #[tokio::test]
    async fn keys_come_in_pages() {
        let buckets = MemoryBuckets::new();
        let writes = ["c", "a", "b"].map(|key| write(key, Some("x"))).to_vec();
        assert!(buckets.commit(&KeyValueChanges {
            writes,
            ..Default::default()
        }));
        assert_eq!(buckets.keys("b", None, 2).await.unwrap().keys, ["a", "b"]);
        assert_eq!(buckets.keys("b", Some("b"), 2).await.unwrap().keys, ["c"]);
        assert_eq!(
            buckets.keys("none", None, 2).await.unwrap(),
            KeyPage::default()
        );
    }
}
