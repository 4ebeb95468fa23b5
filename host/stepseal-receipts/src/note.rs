//! Signed notes (C2SP signed-note): a text, and signatures of named keys over it.
//!
//! Only Ed25519 signatures (type 0x01) are made and verified here; [`crate::cosignature`] adds those of witnesses.
//! Signatures of unknown keys are kept and passed over; a bad signature of a known key rejects the whole note.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, hex, read_hex};
use crate::keys::{KeyError, PublicKey, SigningKey};

/// Most bytes of a note with its signatures.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Most signature lines of a note.
pub const NOTE_SIGNATURES_MAX: usize = 100;

/// Most bytes of a key name.
pub const NAME_BYTES_MAX: usize = 255;

/// Most bytes of a verifier key's text.
pub const VERIFIER_KEY_BYTES_MAX: usize = NAME_BYTES_MAX + 1 + 8 + 1 + VERIFIER_KEY_BASE64_BYTES;

/// Characters of the base64 of the signature type and the public key.
const VERIFIER_KEY_BASE64_BYTES: usize = 44;

/// The signature type of Ed25519 (C2SP signed-note, "Signature types").
const ED25519: u8 = 0x01;

/// What each signature line starts with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a note, a name or a verifier key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Too long to be looked at.
    #[error("a signed note has at most {NOTE_BYTES_MAX} bytes, this one has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A control character, which a note must not have.
    #[error("a signed note has no control character but the newline; byte {offset} is one")]
    ControlCharacter {
        /// Where, from 0.
        offset: usize,
    },
    /// Not text, blank line and signatures.
    #[error(
        "a signed note is a text that ends in a newline, a blank line, and signature lines that end in newlines"
    )]
    Shape,
    /// Too many signatures.
    #[error("a signed note has at most {NOTE_SIGNATURES_MAX} signatures")]
    TooManySignatures,
    /// A line that is no signature.
    #[error(
        "signature line {line} (from 1) is not an em dash, a key name, and the base64 of a key id and a signature"
    )]
    SignatureLine {
        /// Which, from 1.
        line: usize,
    },
    /// A name that cannot stand in a note.
    #[error(
        "a key name has 1 to {NAME_BYTES_MAX} bytes, and no white space, no control character and no `+`"
    )]
    Name,
    /// Not a verifier key.
    #[error(
        "a verifier key is `name+<8 lowercase hex of the key id>+<base64 of 0x01 and the Ed25519 public key>`"
    )]
    VerifierKey,
    /// A verifier key whose id is not that of its name and key.
    #[error("the key id in the verifier key is {found}, that of its name and key is {expected}")]
    KeyId {
        /// 8 hexadecimal digits.
        expected: String,
        /// 8 hexadecimal digits.
        found: String,
    },
    /// A public key that is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A signature of a known key that does not verify.
    #[error("the signature by the known key {name} does not verify; the note is forged or damaged")]
    BadSignature {
        /// The key's name.
        name: String,
    },
    /// No signature of a known key.
    #[error("the note has no signature by a known key")]
    NoKnownKey,
}

/// Whether `name` can stand in a note (C2SP signed-note, "Format").
pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let allowed = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.chars().any(|character| {
            character.is_whitespace() || character.is_control() || character == '+'
        });
    if allowed {
        Ok(())
    } else {
        Err(NoteError::Name)
    }
}

/// The first 4 bytes of SHA-256 of a name, a newline, a signature type and a public key: one key has another id for every
/// type, so that no signature passes for one of another type.
pub(crate) fn key_id(name: &str, signature_type: u8, key: &PublicKey) -> [u8; 4] {
    *key_hash(name, signature_type, key)
        .as_bytes()
        .first_chunk::<4>()
        .expect("a digest has 32 bytes")
}

fn key_hash(name: &str, signature_type: u8, key: &PublicKey) -> Digest {
    let parts: [&[u8]; 4] = [name.as_bytes(), b"\n", &[signature_type], &key.to_bytes()];
    Digest::of_parts(&parts)
}

/// Reads name, key and key id of the text of a verifier key of one signature type.
pub(crate) fn parse_key(
    text: &str,
    signature_type: u8,
) -> Result<(String, PublicKey, [u8; 4]), NoteError> {
    if text.len() > VERIFIER_KEY_BYTES_MAX {
        return Err(NoteError::VerifierKey);
    }
    // The base64 may contain `+` too.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(base64)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::VerifierKey);
    };
    if read_hex::<4>(id.as_bytes()).is_none() {
        return Err(NoteError::VerifierKey);
    }
    let bytes = STANDARD
        .decode(base64)
        .map_err(|_| NoteError::VerifierKey)?;
    let key: &[u8; 32] = match bytes.split_first() {
        Some((&found, key)) if found == signature_type => {
            key.try_into().map_err(|_| NoteError::VerifierKey)?
        }
        _ => return Err(NoteError::VerifierKey),
    };
    check_name(name)?;
    let key = PublicKey::from_bytes(key)?;
    let key_id = key_id(name, signature_type, &key);
    let expected = hex(&key_id);
    if expected != id {
        return Err(NoteError::KeyId {
            expected,
            found: id.to_owned(),
        });
    }
    Ok((name.to_owned(), key, key_id))
}

/// Writes what [`parse_key`] reads.
pub(crate) fn write_key(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    key_id: [u8; 4],
    signature_type: u8,
    key: &PublicKey,
) -> fmt::Result {
    let key = [&[signature_type], key.to_bytes().as_slice()].concat();
    write!(f, "{name}+{}+{}", hex(&key_id), STANDARD.encode(key))
}

/// One signature line of a note, verified or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name the key goes by.
    pub name: String,
    /// The key's id under this name.
    pub key_id: [u8; 4],
    /// The signature; 64 bytes for Ed25519.
    pub signature: Vec<u8>,
}

/// A text and the signatures over it. Only what [`parse`](Self::parse) and [`sign`] return is sure to be well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The text with its final newline: what is signed.
    pub text: String,
    /// At least one.
    pub signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note of at most [`NOTE_BYTES_MAX`] bytes. Nothing is verified by that.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge { bytes: note.len() });
        }
        if let Some(offset) = note.bytes().position(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::ControlCharacter { offset });
        }
        // The last blank line: the text may have others.
        let text_end = note.rfind("\n\n").ok_or(NoteError::Shape)? + 1;
        let lines = note[text_end + 1..]
            .strip_suffix('\n')
            .ok_or(NoteError::Shape)?;
        let mut signatures = Vec::new();
        for (index, line) in lines.split('\n').enumerate() {
            if index == NOTE_SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(
                NoteSignature::parse(line).ok_or(NoteError::SignatureLine { line: index + 1 })?,
            );
        }
        Ok(Self {
            text: note[..text_end].to_owned(),
            signatures,
        })
    }

    /// The known keys that signed this note, each once, in the order of `known`. An error if a signature that names a
    /// known key does not verify, or if no known key signed.
    pub fn verify<'k>(&self, known: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signers = Vec::new();
        for key in known {
            let mut signed = false;
            for signature in self
                .signatures
                .iter()
                .filter(|signature| key.is_named_by(signature))
            {
                let verified = <&[u8; 64]>::try_from(signature.signature.as_slice())
                    .is_ok_and(|bytes| key.key.verify(self.text.as_bytes(), bytes).is_ok());
                if !verified {
                    return Err(NoteError::BadSignature {
                        name: key.name.clone(),
                    });
                }
                signed = true;
            }
            if signed && !signers.contains(&key) {
                signers.push(key);
            }
        }
        if signers.is_empty() {
            Err(NoteError::NoKnownKey)
        } else {
            Ok(signers)
        }
    }
}

impl NoteSignature {
    /// Reads a signature line without its newline.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
        check_name(name).ok()?;
        let bytes = STANDARD.decode(base64).ok()?;
        let (key_id, signature) = bytes.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            writeln!(f, "{signature}")?;
        }
        Ok(())
    }
}

/// The line without its newline.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id, self.signature.as_slice()].concat();
        let (name, bytes) = (&self.name, STANDARD.encode(bytes));
        write!(f, "{SIGNATURE_MARK}{name} {bytes}")
    }
}

/// Signs a text under a key name. The text ends in a newline, and has no other control character and at most
/// [`NOTE_BYTES_MAX`] bytes with the signature.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<Note, NoteError> {
    let verifier = VerifierKey::new(name, &key.public())?;
    if !text.ends_with('\n') {
        return Err(NoteError::Shape);
    }
    let signature = key.sign(text.as_bytes()).to_vec();
    let signature = NoteSignature {
        name: verifier.name,
        key_id: verifier.key_id,
        signature,
    };
    let note = Note {
        text: text.to_owned(),
        signatures: vec![signature],
    };
    // What cannot be read back is not a note.
    Note::parse(&note.to_string())
}

/// A public key under a name (C2SP signed-note, "Verifier keys"). As text, `name+<8 hex key id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: [u8; 4],
    key: PublicKey,
}

impl VerifierKey {
    /// The verifier key of a public key under `name`.
    pub fn new(name: &str, key: &PublicKey) -> Result<Self, NoteError> {
        check_name(name)?;
        Ok(Self {
            name: name.to_owned(),
            key_id: key_id(name, ED25519, key),
            key: key.clone(),
        })
    }

    /// Reads the text form; the key id in it must be right.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key, key_id) = parse_key(text, ED25519)?;
        Ok(Self { name, key_id, key })
    }

    /// The name the key signs under; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first 4 bytes of SHA-256 of the name, a newline, 0x01 and the public key.
    pub const fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// The whole hash that the key id is the beginning of.
    pub fn key_hash(&self) -> Digest {
        key_hash(&self.name, ED25519, &self.key)
    }

    /// The public key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether a signature line claims to be by this key.
    pub fn is_named_by(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.key_id == self.key_id
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, self.key_id, ED25519, &self.key)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for VerifierKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifierKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
