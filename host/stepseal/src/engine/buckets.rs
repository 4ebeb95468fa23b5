//! Key-value buckets as steps see them: what is committed in the database. Sandbox and store do not know each other; this is where
//! the words of one become those of the other.

use std::sync::Arc;

use stepseal_sandbox as sandbox;
use stepseal_sandbox::{BoxFuture, BucketError, BucketSource};

use crate::store::{self, Store};

/// The database's buckets.
pub(crate) struct StoredBuckets(pub(crate) Arc<dyn Store>);

impl BucketSource for StoredBuckets {
    fn get<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<sandbox::Versioned>, BucketError>> {
        Box::pin(async move {
            let found = self.0.bucket_get(bucket, key).await.map_err(unreadable)?;
            Ok(found.map(|found| sandbox::Versioned {
                value: found.value,
                version: found.version,
            }))
        })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<sandbox::KeyPage, BucketError>> {
        Box::pin(async move {
            let page = self.0.bucket_keys(bucket, after, limit).await;
            let page = page.map_err(unreadable)?;
            Ok(sandbox::KeyPage {
                keys: page.keys,
                bucket_version: page.bucket_version,
            })
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form map_err wants")]
fn unreadable(error: store::StoreError) -> BucketError {
    BucketError(error.to_string())
}

/// What a step read and wrote, to be committed with its record.
pub(crate) fn changes(of: sandbox::KeyValueChanges) -> store::KeyValueChanges {
    let reads = of.reads.into_iter().map(|read| store::Read {
        bucket: read.bucket,
        key: read.key,
        version: read.version,
    });
    let listed = of.listed.into_iter().map(|listed| store::Listed {
        bucket: listed.bucket,
        version: listed.version,
    });
    let writes = of.writes.into_iter().map(|write| store::Write {
        bucket: write.bucket,
        key: write.key,
        value: write.value,
    });
    store::KeyValueChanges {
        reads: reads.collect(),
        listed: listed.collect(),
        writes: writes.collect(),
    }
}
