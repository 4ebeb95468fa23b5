//! Whether an entry is in the log that the checkpoint is the head of (format §5.4).

use super::Check;
use super::faults::Faults;
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::tree;

/// Whether a leaf is in the log at its index.
pub(super) fn check(
    index: u64,
    leaf_hash: &Digest,
    proof: &[Digest],
    checkpoint: Option<&Checkpoint>,
    faults: &mut Faults,
) -> bool {
    let Some(checkpoint) = checkpoint else {
        return false;
    };
    let proven = tree::verify_inclusion(leaf_hash, index, checkpoint.size, proof, &checkpoint.root);
    if let Err(error) = &proven {
        let member = match error {
            tree::TreeError::IndexOutOfRange { .. } => "index",
            _ => "proof",
        };
        let message = format!("the entry is not proven to be at index {index} of the log: {error}");
        faults.add(Check::Inclusion, Some(index), member, &message);
    }
    proven.is_ok()
}
