//! Proofs over the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use utoipa::ToSchema;

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
