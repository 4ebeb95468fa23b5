//! Sigstore bundles v0.3, and the keys that verify them: `trusted_root.json` with the log as a Rekor v2 instance, and the record
//! keys (sigstore/protobuf-specs, `sigstore_bundle.proto`, `sigstore_trustroot.proto`, `sigstore_rekor.proto`).
//!
//! The log's leaves are `hashedrekord` 0.0.2 entries over the DSSE PAE, which is how Rekor v2 logs an envelope. Two things of
//! the trust file have no place there: Sigstore bounds keys by time and the format by index, so ranges are lost, and bundles
//! whose key is named by a hint carry no identity.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{ImportError, LIMITS, Proved};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::json;
use crate::keys::PublicKey;
use crate::leaf::{LEAF_BYTES, key_of, leaf};
use crate::note::{Note, VerifierKey};
use crate::receipt::{Entry, HASH, hash, hashes_value};
use crate::record::members::{At, MemberError, Members};
use crate::tree::PROOF_HASHES_MAX;
use crate::trust::TrustFile;

/// `mediaType` of a bundle.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// `mediaType` of a trusted root.
pub const TRUSTED_ROOT_MEDIA_TYPE: &str =
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

const KIND: &str = "hashedrekord";
const VERSION: &str = "0.0.2";
const KEY_DETAILS: &str = "PKIX_ED25519";
/// The trust file bounds no key by time.
const ALWAYS: &str = "1970-01-01T00:00:00Z";

const BODY: &str = "the base64 of an entry of a log of Stepseal, which has 406 bytes";

/// Why no bundle can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A bundle says which key of the log signed its head.
    #[error("the receipt's checkpoint is not one of the trust file's log: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A bundle holds the leaf, and so the key that signed.
    #[error(
        "the record at index {index} has no signature of a record key that the trust file has for this index"
    )]
    Signer {
        /// The record's index in the log.
        index: u64,
    },
    /// A bundle's envelope has one signature.
    #[error("the record at index {index} has {signatures} signatures, and a bundle holds one")]
    Signatures {
        /// The record's index in the log.
        index: u64,
        /// How many it has.
        signatures: usize,
    },
}

/// Makes the bundles of one receipt's entries.
#[derive(Debug)]
pub struct Bundles<'a> {
    note: &'a str,
    checkpoint: Checkpoint,
    log: &'a VerifierKey,
    trust: &'a TrustFile,
}

impl<'a> Bundles<'a> {
    /// For entries under this checkpoint, which one of the trust file's log keys must have signed.
    pub fn new(note: &'a str, trust: &'a TrustFile) -> Result<Self, BundleError> {
        let checkpoint = Checkpoint::open(note, &trust.log)?;
        let parsed = Note::parse(note).map_err(CheckpointError::from)?;
        let signers = parsed.verify(&trust.log).map_err(CheckpointError::from)?;
        Ok(Self {
            note,
            checkpoint,
            log: signers[0],
            trust,
        })
    }

    /// The bundle of one entry. Its signature is verified, to find the key; its proof is not.
    pub fn bundle(&self, entry: &Entry) -> Result<Vec<u8>, BundleError> {
        let index = entry.index;
        let [signature] = &entry.envelope.signatures[..] else {
            let signatures = entry.envelope.signatures.len();
            return Err(BundleError::Signatures { index, signatures });
        };
        let keys = self.trust.records.iter().filter(|key| key.covers(index));
        let key = keys
            .map(|key| &key.key)
            .find(|key| entry.envelope.verify(signature, key).is_ok())
            .ok_or(BundleError::Signer { index })?;
        let body = leaf(&entry.envelope.pae_digest(), &signature.sig, key);
        let index = index.to_string();
        let bundle = serde_json::json!({
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": { "hint": key.id().to_hex() },
                "tlogEntries": [{
                    "logIndex": index,
                    "logId": log_id(self.log),
                    "kindVersion": { "kind": KIND, "version": VERSION },
                    "inclusionProof": {
                        "logIndex": index,
                        "rootHash": STANDARD.encode(self.checkpoint.root.as_bytes()),
                        "treeSize": self.checkpoint.size.to_string(),
                        "hashes": hashes_value(&entry.proof),
                        "checkpoint": { "envelope": self.note },
                    },
                    "canonicalizedBody": STANDARD.encode(body),
                }],
            },
            "dsseEnvelope": entry.envelope,
        });
        Ok(json::canonical(&bundle))
    }
}

/// `trusted_root.json`: the log's keys, each as a log of its own, since checkpoints name the key.
pub fn trusted_root(trust: &TrustFile) -> Vec<u8> {
    let logs = trust.log.iter().map(|key| {
        serde_json::json!({
            "baseUrl": format!("https://{}", key.name()),
            "hashAlgorithm": "SHA2_256",
            "publicKey": public_key(key.key()),
            "logId": log_id(key),
        })
    });
    let root = serde_json::json!({ "mediaType": TRUSTED_ROOT_MEDIA_TYPE, "tlogs": logs.collect::<Vec<_>>() });
    json::canonical(&root)
}

/// The record keys by the hint that bundles have, for which a trusted root has no place: an object whose values are
/// `dev.sigstore.common.v1.PublicKey`.
pub fn record_keys(trust: &TrustFile) -> Vec<u8> {
    let keys = trust.records.iter().map(|record| &record.key);
    let keys: Map<String, Value> = keys
        .map(|key| (key.id().to_hex(), public_key(key)))
        .collect();
    json::canonical(&Value::Object(keys))
}

/// As Rekor v2 has it: the whole hash whose first four bytes are the key id in the checkpoint.
fn log_id(key: &VerifierKey) -> Value {
    serde_json::json!({ "keyId": STANDARD.encode(key.key_hash().as_bytes()) })
}

fn public_key(key: &PublicKey) -> Value {
    serde_json::json!({ "rawBytes": key.spki_base64(), "keyDetails": KEY_DETAILS, "validFor": { "start": ALWAYS } })
}

/// Reads a bundle of a record. What the receipt has no member for must follow from the rest.
pub(super) fn read(bytes: &[u8]) -> Result<Proved, ImportError> {
    let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &LIMITS)?)?;
    members.need_parsed("mediaType", BUNDLE_MEDIA_TYPE, |text| {
        (text == BUNDLE_MEDIA_TYPE).then_some(())
    })?;
    let envelope = members.need_object("dsseEnvelope", |members| {
        let envelope = Envelope::read(members)?;
        members.finish_known()?;
        Ok(envelope)
    })?;
    let logged = members.need_object("verificationMaterial", material)?;
    members.finish_known()?;
    let [signature] = &envelope.signatures[..] else {
        return Err(ImportError::OtherLeaf);
    };
    let rebuilt =
        key_of(&logged.body).map(|key| leaf(&envelope.pae_digest(), &signature.sig, &key));
    if rebuilt.as_ref() != Some(&logged.body) {
        return Err(ImportError::OtherLeaf);
    }
    logged.check()?;
    Ok(Proved {
        checkpoint: logged.proof.checkpoint,
        entry: Entry {
            index: logged.index,
            envelope,
            proof: logged.proof.hashes,
        },
    })
}

/// A `TransparencyLogEntry`.
struct Logged {
    index: u64,
    proof: InclusionProof,
    body: Vec<u8>,
}

/// An `InclusionProof`.
struct InclusionProof {
    index: u64,
    size: u64,
    root: Digest,
    hashes: Vec<Digest>,
    checkpoint: String,
}

impl Logged {
    /// What it says twice it must say alike.
    fn check(&self) -> Result<(), ImportError> {
        let other = |member| Err(ImportError::OtherTree { member });
        let proof = &self.proof;
        if proof.index != self.index {
            return other("inclusionProof.logIndex");
        }
        let head = Note::parse(&proof.checkpoint).map_err(CheckpointError::from);
        match head.and_then(|note| Checkpoint::from_text(&note.text)) {
            Ok(head) if head.size != proof.size => other("inclusionProof.treeSize"),
            Ok(head) if head.root == proof.root => Ok(()),
            _ => other("inclusionProof.rootHash"),
        }
    }
}

fn material(members: &mut Members<'_>) -> Result<Logged, MemberError> {
    // A hint, as the envelope's `keyid` is.
    members.need_object("publicKey", |key| {
        key.text("hint")?;
        key.finish_known()
    })?;
    let mut logged = members.list("tlogEntries", 1, logged)?;
    let logged = logged.pop();
    members.finish_known()?;
    members.need("tlogEntries", logged)
}

/// Numbers that are 0 may be left out, as protobuf's JSON does.
fn logged(members: &mut Members<'_>) -> Result<Logged, MemberError> {
    members.need_object("logId", |id| {
        id.need_text("keyId")?;
        id.finish_known()
    })?;
    members.need_object("kindVersion", |version| {
        version.need_parsed("kind", KIND, |text| (text == KIND).then_some(()))?;
        version.need_parsed("version", VERSION, |text| (text == VERSION).then_some(()))?;
        version.finish_known()
    })?;
    let logged = Logged {
        index: members.integer("logIndex")?.unwrap_or(0),
        proof: members.need_object("inclusionProof", |proof| {
            let found = InclusionProof {
                index: proof.integer("logIndex")?.unwrap_or(0),
                size: proof.integer("treeSize")?.unwrap_or(0),
                root: proof.need_parsed("rootHash", HASH, hash)?,
                hashes: proof.texts("hashes", PROOF_HASHES_MAX, HASH, hash)?,
                checkpoint: proof.need_object("checkpoint", |checkpoint| {
                    let envelope = checkpoint.need_text("envelope")?;
                    checkpoint.finish_known()?;
                    Ok(envelope)
                })?,
            };
            proof.finish_known()?;
            Ok(found)
        })?,
        body: members.need_parsed("canonicalizedBody", BODY, |text| {
            let fits = text.len() == LEAF_BYTES.div_ceil(3) * 4;
            fits.then(|| STANDARD.decode(text).ok()).flatten()
        })?,
    };
    members.finish_known()?;
    Ok(logged)
}
