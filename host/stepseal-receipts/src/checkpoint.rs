//! The signed head of a log (C2SP tlog-checkpoint): a signed note of origin, size and root, without extension lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::Digest;
use crate::json::decimal;
use crate::keys::SigningKey;
use crate::note::{self, Note, NoteError, VerifierKey};
use crate::tree;

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or not one that a known key signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An origin that is not one.
    #[error(transparent)]
    Origin(#[from] origin::OriginError),
    /// Not three lines.
    #[error("a checkpoint is three lines, origin, size and root, without extension lines")]
    Lines,
    /// A size that is not one.
    #[error("the size of a checkpoint is a decimal number without leading zero, at most 2^62")]
    Size,
    /// A root that is not one.
    #[error("the root of a checkpoint is the padded standard base64 of 32 bytes")]
    Root,
    /// Size 0 with another root than the empty tree has.
    #[error("the checkpoint says the log is empty, but its root is not that of the empty tree")]
    EmptyRoot,
    /// Signed by a known key, but not by one that goes by the origin.
    #[error("the checkpoint is of the log {origin}, but no known key of that name signed it")]
    OtherLog {
        /// The origin in the checkpoint.
        origin: String,
    },
}

/// A statement of a log about itself: at this size, this is my root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: host and path, see [`origin`].
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    pub fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }

    /// Reads [`to_text`](Self::to_text)'s output.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text
            .strip_suffix('\n')
            .ok_or(CheckpointError::Lines)?
            .split('\n')
            .collect();
        let [origin, size, root] = lines[..] else {
            return Err(CheckpointError::Lines);
        };
        origin::check(origin)?;
        let size = decimal::parse(size)
            .filter(|&size| size <= tree::SIZE_MAX)
            .ok_or(CheckpointError::Size)?;
        let root = if root.len() == 44 {
            STANDARD.decode(root).ok()
        } else {
            None
        };
        let root: [u8; 32] = root
            .and_then(|root| root.try_into().ok())
            .ok_or(CheckpointError::Root)?;
        let root = Digest::from_bytes(root);
        if size == 0 && root != tree::empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }

    /// The note of this checkpoint, signed by the log's key under the origin. An error where this is no checkpoint that
    /// [`open`](Self::open) would read, such as one with a bad origin.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        let text = self.to_text();
        Self::from_text(&text)?;
        Ok(note::sign(&text, &self.origin, key)?.to_string())
    }

    /// The same, signed by the key before as well: during a rotation there are readers who know only one of the two.
    pub fn sign_with_both(
        &self,
        key: &SigningKey,
        before: &SigningKey,
    ) -> Result<String, CheckpointError> {
        let mut note = Note::parse(&self.sign(key)?)?;
        let other = note::sign(&note.text, &self.origin, before)?;
        note.signatures.extend(other.signatures);
        Ok(note.to_string())
    }

    /// Reads and verifies a note. `known` are the log's keys: at least one that goes by the checkpoint's origin must have
    /// signed, and no signature of a known key may be bad.
    pub fn open(note: &str, known: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let signers = note.verify(known)?;
        let checkpoint = Self::from_text(&note.text)?;
        if !signers
            .iter()
            .any(|signer| signer.name() == checkpoint.origin)
        {
            return Err(CheckpointError::OtherLog {
                origin: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }
}

/// The name of a log: host and path, without scheme.
pub mod origin {
    use crate::keys::PublicKey;

    /// Most bytes of an origin.
    pub const ORIGIN_BYTES_MAX: usize = 255;

    /// Why a text is not an origin.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[error(
        "an origin is a host and a path such as `log.example.org/2026`: 1 to {ORIGIN_BYTES_MAX} bytes of printable ASCII, \
         no scheme, no space, no `+`, no empty part between slashes"
    )]
    pub struct OriginError;

    /// Whether `text` can name a log. Narrower than what a signed note allows: ASCII, so that no two origins look alike.
    pub fn check(text: &str) -> Result<(), OriginError> {
        let allowed = text.len() <= ORIGIN_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'+')
            && text.split('/').all(|part| !part.is_empty());
        if allowed { Ok(()) } else { Err(OriginError) }
    }

    /// The origin of a log that was given none: `stepseal.local/` and the first 8 hexadecimal digits of the log key's id.
    pub fn default_origin(key: &PublicKey) -> String {
        format!("stepseal.local/{}", &key.id().to_hex()[..8])
    }
}

pub use origin::default_origin;

#[cfg(test)]
mod tests;
