//! DSSE v1 envelopes: a payload, its type, and signatures over both (secure-systems-lab/dsse, `protocol.md` and
//! `envelope.md`).

use std::io::Write as _;

use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::b64;
use crate::digest::Digest;
use crate::json::{self, RECORD_BYTES_MAX};
use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::record::members::{At, MemberError, Members};

/// The payload type of in-toto statements: every envelope of Stepseal's records has it.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Most bytes of a payload in an envelope: that of the largest record.
pub const PAYLOAD_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Most bytes of a payload type.
pub const PAYLOAD_TYPE_BYTES_MAX: usize = 255;

/// Most signatures in an envelope. A record has exactly one, which the verifier checks.
pub const SIGNATURES_MAX: usize = 16;

/// Most bytes of a `keyid`; Stepseal's own have 64.
pub const KEYID_BYTES_MAX: usize = 256;

/// Bytes of an envelope's JSON beside its payload: one signature with a key id.
const ENVELOPE_BYTES_USUAL: usize = 300;

/// Bytes of a [`pae`] beside the payload and its type.
const PAE_BYTES_USUAL: usize = 32;

const PAYLOAD: &str = "padded standard base64 of at most 32768 bytes";
const PAYLOAD_TYPE: &str = "a string of at most 255 bytes";
const KEYID: &str = "a string of at most 256 bytes";

/// The pre-authentication encoding (`protocol.md`, "PAE"): the bytes that are signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload_type.len() + payload.len() + PAE_BYTES_USUAL);
    write!(
        out,
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .expect("a vector takes every byte");
    out.extend_from_slice(payload);
    out
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Says which key it may be; a hint, never trusted.
    pub keyid: Option<String>,
    /// The Ed25519 signature over the [`pae`].
    pub sig: [u8; 64],
}

/// A payload with its signatures. The payload bytes are kept exactly as they were signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: String,
    /// The payload, decoded.
    pub payload: Vec<u8>,
    /// At least one.
    pub signatures: Vec<Signature>,
}

impl Envelope {
    /// An envelope with one signature; its `keyid` is the lowercase hex of the key's id.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &SigningKey) -> Self {
        let sig = key.sign(&pae(payload_type, &payload));
        let keyid = Some(key.public().id().to_hex());
        Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: vec![Signature { keyid, sig }],
        }
    }

    /// The bytes that each signature is over.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// SHA-256 of the [`pae`](Self::pae): what the leaf of the log holds.
    pub fn pae_digest(&self) -> Digest {
        Digest::of(&self.pae())
    }

    /// Whether `signature` is by `key` over this envelope, strictly. Whether the key is believed is another question.
    pub fn verify(&self, signature: &Signature, key: &PublicKey) -> Result<(), KeyError> {
        key.verify(&self.pae(), &signature.sig)
    }

    /// Reads the members of `envelope.md`. The caller refuses the ones that are left: DSSE passes unknown ones over, but
    /// nothing in them is signed, and a receipt carries nothing that nobody vouches for.
    pub(crate) fn read(members: &mut Members<'_>) -> Result<Self, MemberError> {
        let payload_type = members.need_parsed("payloadType", PAYLOAD_TYPE, |text| {
            (text.len() <= PAYLOAD_TYPE_BYTES_MAX).then(|| text.to_owned())
        })?;
        let payload = members.need_parsed("payload", PAYLOAD, |text| {
            let fits = text.len() <= PAYLOAD_BYTES_MAX.div_ceil(3) * 4;
            fits.then(|| b64::decode(text)).flatten()
        })?;
        let signatures = members.list("signatures", SIGNATURES_MAX, read_signature)?;
        if signatures.is_empty() {
            return Err(members.wrong("signatures", "a list of at least one signature"));
        }
        Ok(Self {
            payload_type,
            payload,
            signatures,
        })
    }

    /// The JSON of `envelope.md`, in canonical form.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len().div_ceil(3) * 4 + ENVELOPE_BYTES_USUAL);
        out.extend_from_slice(b"{\"payload\":");
        json::write_base64(&self.payload, &mut out);
        out.extend_from_slice(b",\"payloadType\":");
        json::write_string(&self.payload_type, &mut out);
        out.extend_from_slice(b",\"signatures\":");
        write_signatures(&self.signatures, &mut out);
        out.push(b'}');
        out
    }
}

#[derive(Serialize)]
struct WireSignature<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<&'a str>,
    sig: String,
}

/// Writes a list of signatures, as in `envelope.md`.
pub(crate) fn write_signatures(signatures: &[Signature], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, signature) in signatures.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'{');
        if let Some(keyid) = &signature.keyid {
            out.extend_from_slice(b"\"keyid\":");
            json::write_string(keyid, out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"sig\":");
        json::write_base64(&signature.sig, out);
        out.push(b'}');
    }
    out.push(b']');
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let signatures = self.signatures.iter().map(|signature| WireSignature {
            keyid: signature.keyid.as_deref(),
            sig: b64::encode(&signature.sig),
        });
        let mut envelope = serializer.serialize_struct("Envelope", 3)?;
        envelope.serialize_field("payload", &b64::encode(&self.payload))?;
        envelope.serialize_field("payloadType", &self.payload_type)?;
        envelope.serialize_field("signatures", &signatures.collect::<Vec<_>>())?;
        envelope.end()
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let members = Members::new(At::root("envelope"), value.into());
        members
            .and_then(|mut members| {
                let envelope = Self::read(&mut members)?;
                members.finish_known()?;
                Ok(envelope)
            })
            .map_err(D::Error::custom)
    }
}

pub(crate) fn read_signature(members: &mut Members<'_>) -> Result<Signature, MemberError> {
    let keyid = members.parsed("keyid", KEYID, |text| {
        (text.len() <= KEYID_BYTES_MAX).then(|| text.to_owned())
    })?;
    let sig = members.need_parsed("sig", "the base64 of 64 bytes", b64::decode_array)?;
    members.finish_known()?;
    Ok(Signature { keyid, sig })
}

#[cfg(test)]
mod tests;
