//! Proofs over the log, and its witnesses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::TimestampText;
use crate::engine::witnesses::WitnessView;

/// A proof over the tree of the log (RFC 6962 §2.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogProof {
    /// Its hashes in order, each as base64 of 32 bytes.
    pub proof: Vec<String>,
}

impl LogProof {
    /// As it goes over the wire.
    pub fn new(proof: &[Digest]) -> Self {
        let hashes = proof.iter().map(|hash| STANDARD.encode(hash.as_bytes()));
        Self {
            proof: hashes.collect(),
        }
    }
}

/// A witness that the host asks to cosign the heads of its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogWitness {
    /// Its name in the host's policy.
    #[schema(example = "w1")]
    pub name: String,
    /// Its key (a vkey).
    pub key: String,
    /// Where it is asked.
    #[schema(example = "https://witness.example/w1")]
    pub url: String,
    /// Entries of the last head it cosigned; absent where it cosigned none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub size: Option<u64>,
    /// When it says that it cosigned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TimestampText>, nullable = false)]
    pub cosigned_at: Option<Timestamp>,
    /// How often it was asked since the host started.
    pub asked: u64,
    /// How often it cosigned since then.
    pub cosigned: u64,
    /// Why it did not cosign when it was asked last; absent where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
}

impl From<WitnessView> for LogWitness {
    fn from(view: WitnessView) -> Self {
        Self {
            name: view.name,
            key: view.key,
            url: view.url,
            size: view.size,
            cosigned_at: view.cosigned_at,
            asked: view.asked,
            cosigned: view.cosigned,
            error: view.error,
        }
    }
}
