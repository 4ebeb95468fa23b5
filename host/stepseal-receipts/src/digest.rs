//! SHA-256 digests and the two ways they are written.
//!
//! In text (APIs, names of components, links) a digest is `sha256:<64 lowercase hex>`; inside signed JSON it is an in-toto
//! `DigestSet` with exactly one member, `{"sha256":"<64 lowercase hex>"}` (see [`digest_set`]).

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What stands before the hexadecimal digits in text.
const PREFIX: &str = "sha256:";

/// A SHA-256 digest (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the parts one after the other, without joining them in memory.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// A digest computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lowercase hexadecimal digits, without the `sha256:`.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads 64 lowercase hexadecimal digits, without the `sha256:`.
    pub fn from_hex(text: &str) -> Result<Self, DigestParseError> {
        read_hex(text.as_bytes()).map(Self).ok_or_else(|| {
            let mut digits = text.bytes();
            match digits.position(|digit| nibble(digit) == NO_DIGIT) {
                Some(position) if text.len() == 64 => {
                    DigestParseError::NotLowercaseHex { position }
                }
                _ => DigestParseError::Length { bytes: text.len() },
            }
        })
    }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(2 * bytes.len());
    write_hex(bytes, &mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

/// Writes lowercase hexadecimal.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (pair, byte) in out[start..].as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
}

/// Exactly `N` bytes in lowercase hexadecimal.
pub(crate) fn read_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    // Looked at once, after the last digit: a digest has 64 of them, and a record a dozen digests.
    let mut seen = 0;
    for (byte, &[high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        let (high, low) = (nibble(high), nibble(low));
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(bytes)
}

/// What [`nibble`] gives for anything else than a digit.
const NO_DIGIT: u8 = 0xff;

/// The value of one lowercase hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [NO_DIGIT; 256];
        let mut value = 0;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    VALUES[usize::from(digit)]
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text.strip_prefix(PREFIX).ok_or(DigestParseError::Prefix)?)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestParseError {
    /// The algorithm is missing or is another one.
    #[error("a digest starts with `sha256:`")]
    Prefix,
    /// Too few or too many digits.
    #[error("a SHA-256 digest has 64 hexadecimal digits, this one has {bytes}")]
    Length {
        /// How many bytes stand where the digits should be.
        bytes: usize,
    },
    /// A character that is not a digit; upper case is refused, so that a digest has one spelling.
    #[error(
        "a digest is written with 0-9 and a-f only; digit {position} (from 0) is something else"
    )]
    NotLowercaseHex {
        /// Where, from 0, counted from the first digit.
        position: usize,
    },
}

/// The form inside signed JSON: an in-toto `DigestSet` (in-toto attestation v1, `digest_set.md`) with the one member
/// `sha256`. For `#[serde(with = "digest_set")]`; [`digest_set::option`] is for members that may be absent.
pub mod digest_set {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::Digest;

    /// Writes `{"sha256":"<hex>"}`.
    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        to_value(digest).serialize(serializer)
    }

    /// Reads `{"sha256":"<hex>"}`; another or a further algorithm is refused.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        from_value(&Value::deserialize(deserializer)?).ok_or_else(|| {
            D::Error::custom("a digest is {\"sha256\":\"<64 lowercase hex digits>\"}")
        })
    }

    /// The `DigestSet` as a JSON value.
    pub fn to_value(digest: &Digest) -> Value {
        serde_json::json!({ "sha256": digest.to_hex() })
    }

    /// The digest in a JSON value that is a `DigestSet`; `None` for anything else.
    pub fn from_value(value: &Value) -> Option<Digest> {
        let members = value.as_object()?;
        if members.len() != 1 {
            return None;
        }
        Digest::from_hex(members.get("sha256")?.as_str()?).ok()
    }

    /// The same for a member that may be absent; use with `#[serde(default, skip_serializing_if = "Option::is_none")]`.
    pub mod option {
        use super::{Deserializer, Digest, Serializer};

        /// Writes `{"sha256":"<hex>"}`, or `null` where the caller does not skip `None`.
        pub fn serialize<S: Serializer>(
            digest: &Option<Digest>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match digest {
                Some(digest) => super::serialize(digest, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads `{"sha256":"<hex>"}`; `null` is refused, for an absent member is the only way to say nothing.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Digest>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "digest_set")]
        always: Digest,
        #[serde(
            with = "digest_set::option",
            default,
            skip_serializing_if = "Option::is_none"
        )]
        sometimes: Option<Digest>,
    }

    #[test]
    fn the_digest_of_abc_is_the_one_of_fips_180() {
        assert_eq!(Digest::of(b"abc").to_hex(), ABC);
        assert_eq!(Digest::of_parts(&[b"a", b"", b"bc"]), Digest::of(b"abc"));
    }

    #[test]
    fn text_other_than_sha256_and_lowercase_hex_is_refused_with_the_place() {
        assert_eq!(ABC.parse::<Digest>(), Err(DigestParseError::Prefix));
        assert_eq!(
            format!("SHA256:{ABC}").parse::<Digest>(),
            Err(DigestParseError::Prefix)
        );
        assert_eq!(
            "sha256:ab".parse::<Digest>(),
            Err(DigestParseError::Length { bytes: 2 })
        );
        assert_eq!(
            format!("sha256:{ABC} ").parse::<Digest>(),
            Err(DigestParseError::Length { bytes: 65 })
        );
        assert_eq!(
            format!("sha256:{}", ABC.to_uppercase()).parse::<Digest>(),
            Err(DigestParseError::NotLowercaseHex { position: 0 })
        );
        let multibyte = format!("sha256:{}é", &ABC[..62]);
        assert_eq!(
            multibyte.parse::<Digest>(),
            Err(DigestParseError::NotLowercaseHex { position: 62 })
        );
    }

    #[test]
    fn a_digest_set_has_exactly_the_member_sha256() {
        let digest = Digest::of(b"abc");
        let holder = Holder {
            always: digest,
            sometimes: None,
        };
        let text = format!(r#"{{"always":{{"sha256":"{ABC}"}}}}"#);
        assert_eq!(serde_json::to_string(&holder).unwrap(), text);
        assert_eq!(serde_json::from_str::<Holder>(&text).unwrap(), holder);
        let both = Holder {
            always: digest,
            sometimes: Some(digest),
        };
        assert_eq!(
            serde_json::from_str::<Holder>(&serde_json::to_string(&both).unwrap()).unwrap(),
            both
        );
        assert_eq!(
            digest_set::from_value(&digest_set::to_value(&digest)),
            Some(digest)
        );
        for wrong in [
            format!(r#"{{"always":"sha256:{ABC}"}}"#),
            format!(r#"{{"always":{{"sha256":"{ABC}","sha512":""}}}}"#),
            format!(r#"{{"always":{{"sha256":"{ABC}"}},"sometimes":null}}"#),
            format!(r#"{{"always":["{ABC}"]}}"#),
        ] {
            assert!(serde_json::from_str::<Holder>(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            digest_set::from_value(&serde_json::json!({"sha256": ABC, "sha1": ""})),
            None
        );
    }

    proptest! {
        #[test]
        fn every_digest_survives_its_text(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }
}
