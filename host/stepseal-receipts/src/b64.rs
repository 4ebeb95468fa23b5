//! Padded standard base64 (RFC 4648 §4), by the vector instructions of the machine where it has some.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::PAD;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static STANDARD: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::standard(PAD));
/// As on `wasm32`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static STANDARD: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// The text of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the text of `bytes`.
pub(crate) fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    assert_eq!(
        written,
        Ok(out.len() - start),
        "base64 has four characters for three bytes"
    );
}

/// The bytes of a text; `None` unless it is the one way to write them.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The `N` bytes of a text, without an allocation.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Decoders may ask for room for the padding too.
    let mut bytes = [0; DECODED_BYTES_MAX];
    if text.len() != N.div_ceil(3) * 4 || text.len() / 4 * 3 > DECODED_BYTES_MAX {
        return None;
    }
    let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes[..length].try_into().ok()
}

/// Most bytes that [`decode_array`] makes room for: a signature's, and padding.
const DECODED_BYTES_MAX: usize = 66;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as PLAIN;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_engine_without_vector_instructions_writes(bytes: Vec<u8>) {
            let text = PLAIN.encode(&bytes);
            let mut out = b"before".to_vec();
            encode_into(&bytes, &mut out);
            prop_assert_eq!(&out[6..], text.as_bytes());
            prop_assert_eq!(encode(&bytes), text.clone());
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn it_refuses_what_that_engine_refuses(text in "[A-Za-z0-9+/=]{0,140}|[A-Za-z0-9+/]{0,136}[AQgw]==") {
            prop_assert_eq!(decode(&text), PLAIN.decode(&text).ok());
        }

        #[test]
        fn one_changed_character_is_judged_alike(bytes: Vec<u8>, at: prop::sample::Index, to: char) {
            let mut text: Vec<char> = PLAIN.encode(&bytes).chars().collect();
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = to;
            }
            let text: String = text.into_iter().collect();
            prop_assert_eq!(decode(&text), PLAIN.decode(&text).ok());
        }

        #[test]
        fn an_array_is_of_its_length_only(bytes: [u8; 32], signature: [u8; 64]) {
            prop_assert_eq!(decode_array(&PLAIN.encode(bytes)), Some(bytes));
            prop_assert_eq!(decode_array(&PLAIN.encode(signature)), Some(signature));
            prop_assert_eq!(decode_array::<32>(&PLAIN.encode(signature)), None);
            prop_assert_eq!(decode_array::<64>(&PLAIN.encode(bytes)), None);
            prop_assert_eq!(decode_array::<32>(&PLAIN.encode(&signature[..33])), None);
        }
    }
}
