//! The bytes of components, by digest: in a directory of the host, and where several hosts share a log, in a place that all of them reach,
//! which is a directory or a bucket.
//!
//! The host's own directory is the first place to look and keeps what came from the other. Nothing in either is believed: whatever is read has
//! its digest, or is an error.

mod asker;
pub mod bucket;

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use stepseal_receipts::digest::Digest;
use tokio::runtime::Handle;

use super::EngineError;
use bucket::{BadBucketUrl, Bucket, BucketUrl};

/// Names a place that all hosts of a log reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of an object store.
    Bucket(BucketUrl),
}

impl FromStr for Place {
    type Err = BadBucketUrl;

    fn from_str(text: &str) -> std::result::Result<Self, BadBucketUrl> {
        Ok(match BucketUrl::parse(text)? {
            Some(url) => Self::Bucket(url),
            None => Self::Directory(text.into()),
        })
    }
}

/// A place that all hosts of a log reach.
#[derive(Clone, Debug)]
pub enum Shared {
    /// A directory, which exists.
    Directory(PathBuf),
    /// A bucket of an object store.
    Bucket(Bucket),
}

/// Where components' bytes are, one file per digest.
#[derive(Clone, Debug)]
pub struct Content {
    dir: PathBuf,
    /// Where other hosts look as well.
    shared: Option<Shared>,
}

impl Content {
    /// Components in this directory, which exists.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, shared: None }
    }

    /// The same where other hosts find them in another place too.
    pub fn with_shared(dir: PathBuf, shared: Option<Shared>) -> Self {
        Self { dir, shared }
    }

    /// Writes the bytes so that they survive a power cut once this returns, and every host finds them.
    pub(super) async fn put(
        &self,
        digest: Digest,
        bytes: Arc<[u8]>,
    ) -> std::result::Result<(), EngineError> {
        // What others find goes first.
        if let Some(Shared::Bucket(bucket)) = &self.shared {
            bucket.put(digest, &bytes).await?;
        }
        let content = self.clone();
        let put = move || {
            for dir in content.dirs() {
                keep(dir, digest, &bytes)?;
            }
            Ok(())
        };
        tokio::task::spawn_blocking(put)
            .await
            .map_err(|error| EngineError::Internal(error.to_string()))?
            .map_err(|error: Error| {
                EngineError::Internal(format!("keeping component {digest}: {error}"))
            })
    }

    pub(super) async fn remove(&self, digest: Digest) -> std::result::Result<(), EngineError> {
        // In a bucket it stays: another log may have it there, and bytes that no row names are only litter.
        for dir in self.dirs() {
            match tokio::fs::remove_file(path(dir, digest)).await {
                // Somebody who uploaded the same at the same time was told the same and removed it.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    let why = format!("removing component {digest}: {error}");
                    return Err(EngineError::Internal(why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes, checked against their digest: what somebody changed is an error, never run. To be called where a thread may block.
    pub(crate) fn get(&self, digest: Digest) -> Result<Vec<u8>> {
        let own = read(&self.dir, digest);
        match &self.shared {
            Some(shared) if own.is_err() => {
                let bytes = match shared {
                    Shared::Directory(dir) => read(dir, digest)?,
                    Shared::Bucket(bucket) => Handle::current().block_on(bucket.get(digest))?,
                };
                keep(&self.dir, digest, &bytes)?;
                Ok(bytes)
            }
            _ => own,
        }
    }

    /// What others find goes first.
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        let shared = match &self.shared {
            Some(Shared::Directory(dir)) => Some(dir.as_path()),
            Some(Shared::Bucket(_)) | None => None,
        };
        shared.into_iter().chain([self.dir.as_path()])
    }
}

fn keep(dir: &Path, digest: Digest, bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(path(dir, digest))?;
    std::fs::File::open(dir)?.sync_all()
}

fn read(dir: &Path, digest: Digest) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path(dir, digest))?;
    if Digest::of(&bytes) == digest {
        return Ok(bytes);
    }
    Err(Error::new(
        ErrorKind::InvalidData,
        format!("the file of component {digest} was changed on disk; upload it again"),
    ))
}

fn path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join(format!("{}.wasm", digest.to_hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_host_was_given_the_other_finds_and_keeps() {
        let [shared, one, two] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let content = |own: &tempfile::TempDir| {
            Content::with_shared(
                own.path().to_owned(),
                Some(Shared::Directory(shared.path().to_owned())),
            )
        };
        let digest = Digest::of(b"bytes");
        let first = content(&one);
        let put = || first.put(digest, b"bytes".as_slice().into());
        put().await.unwrap();
        assert_eq!(content(&two).get(digest).unwrap(), b"bytes");
        // It is its own now.
        std::fs::write(path(shared.path(), digest), b"forged").unwrap();
        assert_eq!(content(&two).get(digest).unwrap(), b"bytes");
        // What was changed there is not taken from there, and what was changed here is.
        std::fs::write(path(two.path(), digest), b"forged").unwrap();
        let refused = content(&two).get(digest).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        put().await.unwrap();
        assert_eq!(content(&two).get(digest).unwrap(), b"bytes");
        content(&one).remove(digest).await.unwrap();
        let gone = content(&one).get(digest).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}
