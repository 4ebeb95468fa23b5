//! Cosignatures of witnesses (C2SP tlog-cosignature, cosignature/v1): others saw this head, at this time, and the log had
//! only grown since they last looked.
//!
//! A cosignature is one more signature line of a checkpoint's note. Its key is known by a key id of its own type, so that
//! neither it nor a log's signature can pass for the other. Only Ed25519 (type 0x04) is read; a checkpoint may carry
//! cosignatures of other types, which are passed over like those of unknown keys.

use std::fmt;
use std::str::FromStr;

use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::note::{self, NoteError, NoteSignature};

/// Latest time of a cosignature, in seconds since 1970 (C2SP tlog-cosignature, "Format").
pub const UNIX_SECONDS_MAX: u64 = i64::MAX as u64;

/// The signature type of timestamped Ed25519 cosignatures.
const COSIGNATURE: u8 = 0x04;

/// Bytes of the time and of the Ed25519 signature.
const TIME_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

/// Why a witness's key or cosignature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// Not a verifier key of a witness.
    #[error(
        "a witness's key is `name+<8 lowercase hex of the key id>+<base64 of 0x04 and the Ed25519 public key>`; keys of \
         other types cannot be used here"
    )]
    WitnessKey,
    /// The key's name, id or point is refused.
    #[error(transparent)]
    Key(NoteError),
    /// The line is by another key.
    #[error("the signature line is not by the witness key {name}")]
    OtherKey {
        /// Name of the key.
        name: String,
    },
    /// Not a time and a signature.
    #[error(
        "a cosignature has {expected} bytes, a time and an Ed25519 signature, and this one has {found}",
        expected = TIME_BYTES + SIGNATURE_BYTES
    )]
    Length {
        /// Its length.
        found: usize,
    },
    /// A time that no cosignature can have.
    #[error("the time of a cosignature is at most 2^63-1 seconds")]
    Time,
    /// It does not verify.
    #[error("the cosignature is not by this key over this checkpoint and time")]
    BadSignature,
}

impl From<NoteError> for CosignatureError {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::VerifierKey => Self::WitnessKey,
            other => Self::Key(other),
        }
    }
}

/// The public key of a witness under its name. As text, `name+<8 hex key id>+<base64>` with the type 0x04.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WitnessKey {
    name: String,
    key_id: [u8; 4],
    key: PublicKey,
}

impl WitnessKey {
    /// The key of a witness under `name`.
    pub fn new(name: &str, key: &PublicKey) -> Result<Self, CosignatureError> {
        note::check_name(name)?;
        Ok(Self {
            name: name.to_owned(),
            key_id: note::key_id(name, COSIGNATURE, key),
            key: key.clone(),
        })
    }

    /// Reads the text form; the key id in it must be right.
    pub fn parse(text: &str) -> Result<Self, CosignatureError> {
        let (name, key, key_id) = note::parse_key(text, COSIGNATURE)?;
        Ok(Self { name, key_id, key })
    }

    /// The name the witness signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether a signature line claims to be by this key.
    pub fn is_named_by(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.key_id == self.key_id
    }

    /// Checks a signature line over the text of a checkpoint's note. Returns when the witness says that it made it, in
    /// seconds since 1970: a claim of the witness's clock.
    pub fn verify(&self, text: &str, signature: &NoteSignature) -> Result<u64, CosignatureError> {
        if !self.is_named_by(signature) {
            return Err(CosignatureError::OtherKey {
                name: self.name.clone(),
            });
        }
        let length = CosignatureError::Length {
            found: signature.signature.len(),
        };
        let (time, bytes) = signature
            .signature
            .split_first_chunk::<TIME_BYTES>()
            .ok_or(length.clone())?;
        let bytes: &[u8; SIGNATURE_BYTES] = bytes.try_into().map_err(|_| length)?;
        let unix_seconds = u64::from_be_bytes(*time);
        let message = message(text, unix_seconds)?;
        match self.key.verify(&message, bytes) {
            Ok(()) => Ok(unix_seconds),
            Err(KeyError::BadSignature) => Err(CosignatureError::BadSignature),
            Err(error) => Err(CosignatureError::Key(error.into())),
        }
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        note::write_key(f, &self.name, self.key_id, COSIGNATURE, &self.key)
    }
}

impl FromStr for WitnessKey {
    type Err = CosignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Cosigns the text of a checkpoint's note under a witness's name. Whoever does that must have checked that the log only
/// grew since the last head it cosigned, and remembers this one.
pub fn sign(
    text: &str,
    unix_seconds: u64,
    name: &str,
    key: &SigningKey,
) -> Result<NoteSignature, CosignatureError> {
    let witness = WitnessKey::new(name, &key.public())?;
    let message = message(text, unix_seconds)?;
    let signature = [&unix_seconds.to_be_bytes()[..], &key.sign(&message)].concat();
    Ok(NoteSignature {
        name: witness.name,
        key_id: witness.key_id,
        signature,
    })
}

/// What is signed (C2SP tlog-cosignature, "Ed25519 signed message").
fn message(text: &str, unix_seconds: u64) -> Result<Vec<u8>, CosignatureError> {
    if unix_seconds > UNIX_SECONDS_MAX {
        return Err(CosignatureError::Time);
    }
    Ok(format!("cosignature/v1\ntime {unix_seconds}\n{text}").into_bytes())
}

#[cfg(test)]
mod tests;
