//! How a record names a payload without holding it, and how the payload is disclosed later.
//!
//! With `blind1` the digest covers a salt as well: once salt and payload are deleted, nobody can guess the payload from
//! the digest, however few values it could have had. The bytes that are hashed are the bytes that are disclosed, so any
//! `sha256sum` checks a disclosure.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, digest_set};
use crate::json::decimal;

/// What stands before salt and payload in a `blind1` blob. The trailing newline ends it.
pub const BLIND1_PREFIX: &[u8] = b"stepseal/payload/v1\n";

/// Bytes of the salt of a `blind1` blob.
pub const SALT_BYTES: usize = 32;

/// How the digest of a payload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitKind {
    /// SHA-256 over [`BLIND1_PREFIX`], a salt of 32 bytes and the payload. The default.
    Blind1,
    /// SHA-256 over the payload alone: only where a digest from outside must match.
    Plain,
}

impl CommitKind {
    /// The word of the format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind1 => "blind1",
            Self::Plain => "plain",
        }
    }
}

/// What a record says of a payload: the format's `{digest, size, mediaType, commit}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commitment {
    /// SHA-256 of the blob.
    #[serde(with = "digest_set")]
    pub digest: Digest,
    /// Bytes of the payload, without prefix and salt.
    #[serde(with = "decimal")]
    pub size: u64,
    /// The payload's media type, such as `application/json`.
    pub media_type: String,
    /// How the digest is made.
    pub commit: CommitKind,
}

/// The bytes behind a digest: what is kept, erased or disclosed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    kind: CommitKind,
    bytes: Vec<u8>,
}

impl Blob {
    /// The `blind1` blob of `payload`. The salt must be fresh randomness for every blob.
    pub fn blind(salt: [u8; SALT_BYTES], payload: &[u8]) -> Self {
        Self {
            kind: CommitKind::Blind1,
            bytes: [BLIND1_PREFIX, &salt, payload].concat(),
        }
    }

    /// A `blind1` blob as it was kept; `None` where it does not begin like one.
    pub fn opened(bytes: Vec<u8>) -> Option<Self> {
        bytes.strip_prefix(BLIND1_PREFIX)?.get(SALT_BYTES..)?;
        let kind = CommitKind::Blind1;
        Some(Self { kind, bytes })
    }

    /// The payload itself as a blob.
    pub fn plain(payload: &[u8]) -> Self {
        Self {
            kind: CommitKind::Plain,
            bytes: payload.to_vec(),
        }
    }

    /// How the digest is made.
    pub fn kind(&self) -> CommitKind {
        self.kind
    }

    /// Prefix, salt and payload, or the payload alone: what is hashed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The payload alone.
    pub fn payload(&self) -> &[u8] {
        match self.kind {
            CommitKind::Blind1 => &self.bytes[BLIND1_PREFIX.len() + SALT_BYTES..],
            CommitKind::Plain => &self.bytes,
        }
    }

    /// SHA-256 of [`bytes`](Self::bytes).
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// What a record says of this payload.
    pub fn commitment(&self, media_type: &str) -> Commitment {
        Commitment {
            digest: self.digest(),
            size: self.payload().len() as u64,
            media_type: media_type.to_owned(),
            commit: self.kind,
        }
    }
}

/// Why a blob does not open a commitment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Other bytes than were committed to.
    #[error("the blob has the digest {found}, the record says {expected}")]
    Digest {
        /// The commitment's.
        expected: Digest,
        /// The blob's.
        found: Digest,
    },
    /// The bytes were committed to, but are no `blind1` blob.
    #[error(
        "the record says `blind1`, but the blob does not start with `stepseal/payload/v1`, a newline and a salt of 32 bytes"
    )]
    Prefix,
    /// The record lies about the size.
    #[error("the payload has {found} bytes, the record says {expected}")]
    Size {
        /// The commitment's.
        expected: u64,
        /// The payload's.
        found: u64,
    },
}

/// The payload in a disclosed blob, if it is what `commitment` committed to: digest, prefix and size all agree.
pub fn open<'a>(commitment: &Commitment, blob: &'a [u8]) -> Result<&'a [u8], PayloadError> {
    let found = Digest::of(blob);
    if found != commitment.digest {
        return Err(PayloadError::Digest {
            expected: commitment.digest,
            found,
        });
    }
    let payload = match commitment.commit {
        CommitKind::Blind1 => blob
            .strip_prefix(BLIND1_PREFIX)
            .and_then(|salted| salted.get(SALT_BYTES..))
            .ok_or(PayloadError::Prefix)?,
        CommitKind::Plain => blob,
    };
    let found = payload.len() as u64;
    if found != commitment.size {
        return Err(PayloadError::Size {
            expected: commitment.size,
            found,
        });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_blind_blob_is_prefix_salt_and_payload_and_its_sha256sum_is_the_digest() {
        let blob = Blob::blind([7; 32], b"{}");
        assert_eq!(
            blob.bytes(),
            [&b"stepseal/payload/v1\n"[..], &[7; 32], b"{}"].concat()
        );
        assert_eq!(blob.digest(), Digest::of(blob.bytes()));
        assert_eq!(blob.payload(), b"{}");
        let commitment = blob.commitment("application/json");
        assert_eq!(commitment.size, 2);
        assert_eq!(
            serde_json::to_value(&commitment).unwrap(),
            serde_json::json!({"digest": {"sha256": blob.digest().to_hex()}, "size": "2",
                "mediaType": "application/json", "commit": "blind1"})
        );
    }

    #[test]
    fn the_same_payload_under_another_salt_has_another_digest() {
        assert_ne!(
            Blob::blind([1; 32], b"yes").digest(),
            Blob::blind([2; 32], b"yes").digest()
        );
    }

    #[test]
    fn a_blob_that_is_not_what_was_committed_to_is_refused() {
        let commitment = Blob::blind([7; 32], b"{}").commitment("application/json");
        let other = Blob::blind([7; 32], b"[]");
        assert_eq!(
            open(&commitment, other.bytes()),
            Err(PayloadError::Digest {
                expected: commitment.digest,
                found: other.digest()
            })
        );
        let lying = Commitment {
            size: 3,
            ..commitment.clone()
        };
        assert_eq!(
            open(&lying, Blob::blind([7; 32], b"{}").bytes()),
            Err(PayloadError::Size {
                expected: 3,
                found: 2
            })
        );
    }

    #[test]
    fn a_plain_blob_claimed_to_be_blind_is_refused() {
        for bytes in [
            &b"{}"[..],
            BLIND1_PREFIX,
            &[BLIND1_PREFIX, &[0; 31]].concat(),
        ] {
            let claimed = Commitment {
                commit: CommitKind::Blind1,
                ..Blob::plain(bytes).commitment("text/plain")
            };
            assert_eq!(open(&claimed, bytes), Err(PayloadError::Prefix));
        }
    }

    proptest! {
        #[test]
        fn every_blob_opens_its_own_commitment(salt: [u8; 32], payload: Vec<u8>, blind: bool) {
            let blob = if blind { Blob::blind(salt, &payload) } else { Blob::plain(&payload) };
            let commitment = blob.commitment("application/octet-stream");
            prop_assert_eq!(open(&commitment, blob.bytes()), Ok(&payload[..]));
            let json = serde_json::to_string(&commitment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Commitment>(&json).unwrap(), commitment);
        }
    }
}
