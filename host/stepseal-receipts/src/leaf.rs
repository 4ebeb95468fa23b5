//! The leaf of the log: the JSON of a Rekor v2 `hashedrekord` 0.0.2 entry, canonical (RFC 8785). It holds the digest of
//! what was signed, the signature and the key, and nothing of the record itself.

use crate::b64;
use crate::digest::Digest;
use crate::json;
use crate::keys::PublicKey;

/// Bytes of every leaf.
pub const LEAF_BYTES: usize = 406;

/// The leaf of a signed record: `pae_digest` is SHA-256 of the envelope's PAE.
pub fn leaf(pae_digest: &Digest, signature: &[u8; 64], key: &PublicKey) -> Vec<u8> {
    // Every value has a fixed length and needs no escapes, so the canonical form is a template.
    let mut leaf = Vec::with_capacity(LEAF_BYTES);
    leaf.extend_from_slice(
        concat!(
            r#"{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"#,
            r#""data":{"algorithm":"SHA2_256","digest":"#
        )
        .as_bytes(),
    );
    json::write_base64(pae_digest.as_bytes(), &mut leaf);
    leaf.extend_from_slice(br#"},"signature":{"content":"#);
    json::write_base64(signature, &mut leaf);
    leaf.extend_from_slice(br#","verifier":{"keyDetails":"PKIX_ED25519","publicKey":{"rawBytes":"#);
    json::write_base64(&key.spki(), &mut leaf);
    leaf.extend_from_slice(b"}}}}}}");
    leaf
}

/// The key in a leaf; `None` where there is none. That the rest is a leaf of it shows only by making that leaf again.
pub fn key_of(leaf: &[u8]) -> Option<PublicKey> {
    const END: &[u8] = br#""}}}}}}"#;
    let leaf = leaf.strip_suffix(END).filter(|_| leaf.len() == LEAF_BYTES);
    let key = leaf?.rsplit(|byte| *byte == b'"').next()?;
    PublicKey::from_spki_base64(str::from_utf8(key).ok()?).ok()
}

/// What the text of a [`from_base64`] must be, for errors.
pub(crate) const LEAF_TEXT: &str = "the base64 of 406 bytes";

/// The bytes that stand for a leaf, which may be no leaf: only their place in the log makes them one.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let fits = text.len() == LEAF_BYTES.div_ceil(3) * 4;
    let leaf = fits.then(|| b64::decode(text)).flatten();
    leaf.filter(|leaf| leaf.len() == LEAF_BYTES)
}

/// The hash of a leaf (RFC 6962 §2.1): SHA-256 of 0x00 and the leaf. It is also the `prev` of the task's next record.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], leaf])
}

/// The hash of an inner node (RFC 6962 §2.1): SHA-256 of 0x01, left and right.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn a_leaf_has_406_bytes_is_canonical_and_is_a_hashedrekord_entry() {
        let key = SigningKey::from_seed([3; 32]);
        let digest = Digest::of(b"pae");
        let signature = key.sign(b"pae");
        let leaf = leaf(&digest, &signature, &key.public());
        assert_eq!(leaf.len(), LEAF_BYTES);
        let value = json::parse(
            &leaf,
            &json::Limits {
                bytes_max: LEAF_BYTES,
                depth_max: 8,
            },
        )
        .unwrap();
        assert_eq!(json::canonical(&value), leaf);
        assert_eq!(key_of(&leaf), Some(key.public()));
        assert_eq!(key_of(&leaf[..LEAF_BYTES - 1]), None);
        assert_eq!(key_of(&[b'"'; LEAF_BYTES]), None);
        let expected = serde_json::json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest.as_bytes())},
            "signature": {"content": STANDARD.encode(signature), "verifier": {
                "keyDetails": "PKIX_ED25519", "publicKey": {"rawBytes": STANDARD.encode(key.public().spki())}}}}}});
        assert_eq!(value, expected);
    }

    #[test]
    fn leaves_and_nodes_are_hashed_under_different_prefixes() {
        // RFC 6962 test data: the hash of the empty leaf, and of the node over the first two leaves of the reference tree.
        let empty = leaf_hash(b"");
        assert_eq!(
            empty.to_hex(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let second = leaf_hash(&[0]);
        assert_eq!(
            second.to_hex(),
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        );
        assert_eq!(
            node_hash(&empty, &second).to_hex(),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }
}
