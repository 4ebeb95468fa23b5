//! Whether each entry is in the log that the checkpoint is the head of (format §5.4).

use super::faults::Faults;
use super::{Check, Signed};
use crate::checkpoint::Checkpoint;
use crate::receipt::Receipt;
use crate::tree;

/// For each entry that is signed, whether its leaf is in the log at its index.
pub(super) fn check(
    receipt: &Receipt,
    entries: &[Option<Signed>],
    checkpoint: Option<&Checkpoint>,
    faults: &mut Faults,
) -> Vec<Option<bool>> {
    let mut prove = |proof: &[crate::digest::Digest], signed: &Signed| {
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
    };
    let pairs = receipt.entries.iter().zip(entries);
    pairs
        .map(|(entry, signed)| signed.as_ref().map(|signed| prove(&entry.proof, signed)))
        .collect()
}
