//! Ed25519 keys (RFC 8032, pure Ed25519): signing, and verification that accepts only what every verifier accepts.
//!
//! Private keys are stored as PKCS#8 PEM (RFC 5958 version 1, RFC 8410), public keys travel as the 44-byte
//! `SubjectPublicKeyInfo` DER of RFC 8410. Both are what OpenSSL reads and writes.

mod signer;
mod verifier;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

use signer::Signer;
use verifier::Verifier;

/// Most bytes of a PEM text that [`SigningKey::from_pkcs8_pem`] looks at; a real one has under 200.
pub const PEM_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the DER of an Ed25519 public key.
pub const SPKI_BYTES: usize = 44;

/// What stands before the 32 bytes of the key in its DER (RFC 8410 §4): SEQUENCE { SEQUENCE { 1.3.101.112 }, BIT STRING }.
pub(crate) const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What the text of a public key must be, for errors.
pub(crate) const SPKI_EXPECTED: &str =
    "the base64 of a 44-byte Ed25519 SubjectPublicKeyInfo whose key is not weak";

/// The canonical encodings of the eight points of low order.
const LOW_ORDER: [[u8; 32]; 8] = [
    [
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00,
    ],
    [
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x80,
    ],
    [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x85,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0xfa,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
];

/// Characters of the base64 of [`SPKI_BYTES`].
const SPKI_BASE64_BYTES: usize = 60;

/// Why a key or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The PEM text is far too long to be a key.
    #[error("a private key file has at most {PEM_BYTES_MAX} bytes, this one has {bytes}")]
    PemTooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not the PEM of an Ed25519 private key.
    #[error(
        "this is not an Ed25519 private key in PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`): {reason}"
    )]
    Pem {
        /// What the PKCS#8 decoder said.
        reason: String,
    },
    /// Not the base64 of a public key.
    #[error("a public key is 60 characters of padded standard base64 (44 bytes of DER)")]
    Base64,
    /// Not the DER of an Ed25519 public key.
    #[error("this is not the 44-byte DER of an Ed25519 public key (RFC 8410)")]
    Spki,
    /// Not the canonical encoding of a point on the curve (RFC 8032 §5.1.3).
    #[error("these 32 bytes are not an Ed25519 public key")]
    NotAPoint,
    /// A point of low order: signatures under it say nothing.
    #[error("this public key is of low order; anyone can sign for it")]
    Weak,
    /// The signature does not verify.
    #[error("the signature is not by this key over these bytes")]
    BadSignature,
}

/// A private key. It is wiped from memory when dropped and never printed.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    signer: Signer,
    public: PublicKey,
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5). The seed must come from a cryptographic source of randomness.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::new(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    fn new(key: ed25519_dalek::SigningKey) -> Self {
        Self {
            signer: Signer::new(&key),
            public: PublicKey::new(key.verifying_key()),
            key,
        }
    }

    /// Reads a PKCS#8 PEM; where it also holds the public key, the two must match.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(KeyError::PemTooLong { bytes: pem.len() });
        }
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem)
            .map(Self::new)
            .map_err(|error| KeyError::Pem {
                reason: error.to_string(),
            })
    }

    /// The PKCS#8 PEM, wiped from memory when dropped. Version 1, without the public key: OpenSSL reads no other.
    pub fn to_pkcs8_pem(&self) -> impl std::ops::Deref<Target = String> + use<> {
        KeypairBytes {
            secret_key: self.key.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_pem(LineEnding::LF)
        .expect("48 bytes of DER always fit a PEM")
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `message`; the same bytes every time (RFC 8032 §5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {:?}", self.public())
    }
}

/// A public key: a canonical encoding of a point that is not of low order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    verifier: Arc<Verifier>,
    /// Kept, because every record that is signed or verified asks for it.
    id: Digest,
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Self {
        Self {
            id: Digest::of(&spki(&key)),
            verifier: Arc::new(Verifier::new(key)),
        }
    }

    /// Reads the 32 bytes of RFC 8032 §5.1.5. Refuses points of low order, and encodings that are not canonical, so that
    /// one key has one spelling and one [`id`](Self::id).
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if key.to_edwards().compress().to_bytes() != *bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self::new(key))
    }

    /// Reads exactly the 44 bytes of DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let key = der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::Spki)?;
        Self::from_bytes(key.try_into().map_err(|_| KeyError::Spki)?)
    }

    /// Reads the padded standard base64 of the DER.
    pub fn from_spki_base64(text: &str) -> Result<Self, KeyError> {
        if text.len() != SPKI_BASE64_BYTES {
            return Err(KeyError::Base64);
        }
        Self::from_spki(&STANDARD.decode(text).map_err(|_| KeyError::Base64)?)
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.verifier.key.to_bytes()
    }

    /// The 44 bytes of DER.
    pub fn spki(&self) -> [u8; SPKI_BYTES] {
        spki(&self.verifier.key)
    }

    /// The padded standard base64 of the DER.
    pub fn spki_base64(&self) -> String {
        STANDARD.encode(self.spki())
    }

    /// SHA-256 of the DER. Its lowercase hex is the `keyid` of an envelope.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Checks a signature strictly: canonical S, and neither R nor the key of low order. Other accept sets differ
    /// between implementations; this one is the part on which all agree.
    ///
    /// That is what `VerifyingKey::verify_strict` accepts, without decoding R as a point each time: R's bytes are compared
    /// with those of the point that it must be, so what it accepts is a canonical encoding, and only eight of these are
    /// of points of low order. No weak key gets into this type.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), KeyError> {
        let signature = Signature::from_bytes(signature);
        if LOW_ORDER.contains(signature.r_bytes()) {
            return Err(KeyError::BadSignature);
        }
        if self.verifier.accepts(message, &signature) {
            Ok(())
        } else {
            Err(KeyError::BadSignature)
        }
    }
}

fn spki(key: &VerifyingKey) -> [u8; SPKI_BYTES] {
    let mut der = [0; SPKI_BYTES];
    der[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
    der[SPKI_PREFIX.len()..].copy_from_slice(key.as_bytes());
    der
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.spki_base64())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spki_base64())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_spki_base64(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
