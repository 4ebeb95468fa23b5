//! Components in a bucket of an object store with Amazon's S3 interface, for hosts that share no directory.
//!
//! How to get in is what the usual `AWS_*` variables of the environment say, so that keys are neither on a command line nor in a file of the
//! host. An object is named by its digest and is what it is named, or an error.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStoreExt as _, PutPayload, RetryConfig};
use stepseal_receipts::digest::Digest;
use stepseal_sandbox::Settings;

use super::asker::Connector;
use crate::engine::EngineError;

/// What a server that does not answer, or fails, is asked at most: three times, for this long before the last.
const RETRIES_MAX: usize = 2;
const RETRY_WALL_MAX: Duration = Duration::from_secs(10);
/// Characters of a server's own words that are repeated.
const WORDS_MAX: usize = 200;
/// The object that a host writes and reads when it starts, and what it says to people who find it.
const SIGN: &str = "stepseal.txt";
const SIGN_TEXT: &str = "Components of stepseal hosts, each named by the SHA-256 of its bytes.\n";

/// `s3://bucket/prefix`: where components are, and not how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: String,
    /// Without slashes around it; may be empty.
    prefix: String,
}

/// Why a text that begins like the URL of a bucket is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not the URL of a bucket: write it like s3://bucket/prefix, with letters, digits and . _ - only. Keys, region and endpoint \
     are taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL"
)]
pub struct BadBucketUrl;

impl BucketUrl {
    /// `None` where it is no URL at all, as a path is not.
    pub fn parse(text: &str) -> Result<Option<Self>, BadBucketUrl> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return if text.contains("://") {
                Err(BadBucketUrl)
            } else {
                Ok(None)
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let harmless = |part: &str| {
            let harmless = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !["", ".", ".."].contains(&part) && part.chars().all(harmless)
        };
        let prefix_fits = prefix.is_empty() || prefix.split('/').all(harmless);
        if !harmless(bucket) || !prefix_fits || text.len() > 512 {
            return Err(BadBucketUrl);
        }
        Ok(Some(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }))
    }

    fn key(&self, name: &str) -> Path {
        let parts = self.prefix.split('/').chain([name]);
        parts.filter(|part| !part.is_empty()).collect()
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if self.prefix.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.prefix)
    }
}

/// Why a bucket cannot be used at the start of a host.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}. Keys are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else from the role of this machine; the region is taken from \
     AWS_REGION, and a server that is not Amazon's from AWS_ENDPOINT_URL. They must be allowed to get and put objects there"
)]
pub struct BucketError(String);

/// A bucket that could be written and read when the host started.
#[derive(Clone, Debug)]
pub struct Bucket {
    url: BucketUrl,
    store: Arc<AmazonS3>,
}

impl Bucket {
    /// Takes keys and the like from the environment, and writes and reads an object to see that they are right.
    pub async fn open(url: BucketUrl) -> Result<Self, BucketError> {
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(&url.bucket)
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_WALL_MAX,
            })
            .with_http_connector(Connector::new(Settings::default().compile_bytes_max))
            .build()
            .map_err(|error| BucketError(format!("{url}: {}", words(&error))))?;
        let bucket = Self {
            url,
            store: Arc::new(store),
        };
        let failed = |error: Error| BucketError(error.to_string());
        bucket.write(SIGN, SIGN_TEXT.into()).await.map_err(failed)?;
        let found = bucket.read(SIGN).await.map_err(failed)?;
        if found != SIGN_TEXT.as_bytes() {
            let object = bucket.name(SIGN);
            return Err(BucketError(format!(
                "{object} does not hold what was just written there"
            )));
        }
        Ok(bucket)
    }

    pub(super) async fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), EngineError> {
        let put = self.write(&object(digest), bytes.to_vec().into()).await;
        put.map_err(|error| EngineError::from_content(&error))
    }

    pub(super) async fn get(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let name = object(digest);
        let bytes = self.read(&name).await?;
        if Digest::of(&bytes) == digest {
            return Ok(bytes);
        }
        let name = self.name(&name);
        let why =
            format!("{name} does not hold the component it is named after; upload that again");
        Err(Error::new(ErrorKind::InvalidData, why))
    }

    async fn write(&self, name: &str, bytes: PutPayload) -> Result<(), Error> {
        let put = self.store.put(&self.url.key(name), bytes).await;
        put.map(drop)
            .map_err(|error| self.failure("writing", name, &error))
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let failed = |error| self.failure("reading", name, &error);
        let found = self.store.get(&self.url.key(name)).await.map_err(failed)?;
        let bytes = found.bytes().await.map_err(failed)?;
        Ok(bytes.into())
    }

    /// An object as people find it.
    fn name(&self, name: &str) -> String {
        format!("s3://{}/{}", self.url.bucket, self.url.key(name))
    }

    /// What went wrong, of the kind `NotConnected` where it may go right later.
    fn failure(&self, doing: &str, name: &str, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let (kind, what) = match error {
            E::NotFound { .. } => (ErrorKind::NotFound, "there is no such object or bucket"),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => (
                ErrorKind::PermissionDenied,
                "the keys of this host do not allow it",
            ),
            _ => (ErrorKind::NotConnected, "the server does not do it"),
        };
        let name = self.name(name);
        Error::new(kind, format!("{doing} {name}: {what} ({})", words(error)))
    }
}

fn object(digest: Digest) -> String {
    format!("{}.wasm", digest.to_hex())
}

/// What a server or the connection to it said, without what a server repeats of the request: its code stands for that.
fn words(error: &object_store::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let text = root.to_string();
    let (said, document) = text.split_once('<').unwrap_or((&text, ""));
    let code = document
        .split_once("Code>")
        .and_then(|(_, rest)| rest.split_once('<'));
    let code = code.map_or("", |(code, _)| code);
    let harmless = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = format!("{said}{code}")
        .chars()
        .map(harmless)
        .take(WORDS_MAX)
        .collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_a_url_without_keys() {
        let parse = |text: &str| BucketUrl::parse(text);
        for (text, key) in [
            ("s3://bucket", "x.wasm"),
            ("s3://bucket/", "x.wasm"),
            ("s3://bucket.example/one/two_3-4/", "one/two_3-4/x.wasm"),
        ] {
            let url = parse(text).unwrap().unwrap();
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
            assert_eq!(url.key("x.wasm").as_ref(), key);
        }
        for path in ["", "components", "/mnt/components", "./s3:/x"] {
            assert_eq!(parse(path), Ok(None), "{path}");
        }
        for bad in [
            "s3://",
            "s3:///prefix",
            "s3://key:secret@bucket",
            "s3://bucket/a/../b",
            "s3://bucket/a//b",
            "s3://bucket?endpoint=x",
            "s3://bucket/a b",
            "gs://bucket",
            "https://s3.amazonaws.com/bucket",
            &format!("s3://bucket/{}", "a".repeat(512)),
        ] {
            assert_eq!(parse(bad), Err(BadBucketUrl), "{bad}");
        }
    }
}
