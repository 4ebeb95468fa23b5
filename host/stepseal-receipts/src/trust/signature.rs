//! A root key's word for a trust file (format §3, "A signed trust file"), beside the file: a DSSE envelope without its payload.

use super::{MEDIA_TYPE, TrustError};
use crate::dsse::{SIGNATURES_MAX, Signature, pae, read_signature, write_signatures};
use crate::json;
use crate::keys::{PublicKey, SigningKey};
use crate::record::members::{At, Members};

/// Largest signature file, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of a signature file.
const DEPTH_MAX: usize = 8;

/// Why nobody who is believed vouches for a trust file.
#[derive(Debug, thiserror::Error)]
pub enum UnvouchedError {
    /// The signature file cannot be read.
    #[error("the signature of the trust file cannot be read: {0}")]
    Form(TrustError),
    /// No root key signed these bytes.
    #[error("none of the {0} root keys that you believe signed these bytes of the trust file")]
    NoRoot(usize),
}

/// Signs the bytes of a trust file with a root key; gives the signature file.
pub fn vouch(file: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = Signature {
        keyid: Some(key.public().id().to_hex()),
        sig: key.sign(&pae(MEDIA_TYPE, file)),
    };
    let mut out = b"{\"payloadType\":".to_vec();
    json::write_string(MEDIA_TYPE, &mut out);
    out.extend_from_slice(b",\"signatures\":");
    write_signatures(&[signature], &mut out);
    out.push(b'}');
    out
}

/// Checks that one of `roots` signed the bytes of a trust file, and says which. That there is no newer one it does not say.
pub fn check_vouched<'a>(
    file: &[u8],
    signature: &[u8],
    roots: &'a [PublicKey],
) -> Result<&'a PublicKey, UnvouchedError> {
    let signatures = read(signature).map_err(UnvouchedError::Form)?;
    let signed = pae(MEDIA_TYPE, file);
    let signs = |root: &&PublicKey| {
        let by = |signature: &Signature| root.verify(&signed, &signature.sig).is_ok();
        signatures.iter().any(by)
    };
    let found = roots.iter().find(signs);
    found.ok_or(UnvouchedError::NoRoot(roots.len()))
}

fn read(bytes: &[u8]) -> Result<Vec<Signature>, TrustError> {
    let limits = json::Limits {
        bytes_max: SIGNATURE_BYTES_MAX,
        depth_max: DEPTH_MAX,
    };
    let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &limits)?)?;
    members.need_parsed("payloadType", MEDIA_TYPE, |text| {
        (text == MEDIA_TYPE).then_some(())
    })?;
    let signatures = members.list("signatures", SIGNATURES_MAX, read_signature)?;
    members.finish_known()?;
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    #[test]
    fn a_trust_file_is_believed_where_a_root_key_signed_exactly_it() {
        let signature = vouch(b"{}", &key(1));
        let roots = [key(2).public(), key(1).public()];
        let by = check_vouched(b"{}", &signature, &roots).unwrap();
        assert_eq!(*by, key(1).public());
        for (file, roots) in [
            (&b"{} "[..], &roots[..]),
            (b"{}", &roots[..1]),
            (b"{}", &[]),
        ] {
            let refused = check_vouched(file, &signature, roots);
            assert!(
                matches!(refused, Err(UnvouchedError::NoRoot(_))),
                "{refused:?}"
            );
        }
        // What the key signed as something else is no word for a trust file.
        let other = crate::dsse::Envelope::sign("application/json", b"{}".to_vec(), &key(1));
        let mut members: serde_json::Value = serde_json::from_slice(&other.to_json()).unwrap();
        members.as_object_mut().unwrap().remove("payload");
        members["payloadType"] = MEDIA_TYPE.into();
        let refused = check_vouched(b"{}", members.to_string().as_bytes(), &roots);
        assert!(
            matches!(refused, Err(UnvouchedError::NoRoot(2))),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_signature_file_is_refused() {
        let good: serde_json::Value = serde_json::from_slice(&vouch(b"{}", &key(1))).unwrap();
        let changed = |change: fn(&mut serde_json::Value)| {
            let mut value = good.clone();
            change(&mut value);
            value.to_string().into_bytes()
        };
        let roots = [key(1).public()];
        for bytes in [
            changed(|v| v["payloadType"] = "application/json".into()),
            changed(|v| v["payload"] = "e30=".into()),
            changed(|v| v["signatures"][0]["sig"] = "AA==".into()),
            changed(|v| v["signatures"] = vec![v["signatures"][0].clone(); 17].into()),
            b"{".to_vec(),
            vec![b' '; SIGNATURE_BYTES_MAX + 1],
        ] {
            let refused = check_vouched(b"{}", &bytes, &roots);
            assert!(
                matches!(refused, Err(UnvouchedError::Form(_))),
                "{refused:?}"
            );
        }
    }
}
