//! Whether an entry is in the log that the checkpoint is the head of (format §5.4).

use super::faults::Faults;
use super::{Check, Signed};
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::tree;

/// Whether the leaf of a signed entry is in the log at its index.
pub(super) fn check(
    signed: &Signed,
    proof: &[Digest],
    checkpoint: Option<&Checkpoint>,
    faults: &mut Faults,
) -> bool {
    let Some(checkpoint) = checkpoint else {
        return false;
    };
    let proven = tree::verify_inclusion(
        &signed.leaf_hash,
        signed.index,
        checkpoint.size,
        proof,
        &checkpoint.root,
    );
    if let Err(error) = &proven {
        let member = match error {
            tree::TreeError::IndexOutOfRange { .. } => "index",
            _ => "proof",
        };
        let message = format!(
            "the entry is not proven to be at index {} of the log: {error}",
            signed.index
        );
        faults.add(Check::Inclusion, Some(signed.index), member, &message);
    }
    proven.is_ok()
}
