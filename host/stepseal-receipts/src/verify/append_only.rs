//! Whether the log only grew since the verifier last saw it (format §5.8).

use super::faults::Faults;
use super::{Check, Options, signatures};
use crate::checkpoint::Checkpoint;
use crate::receipt::Receipt;
use crate::tree;
use crate::trust::TrustFile;

/// Compares the receipt's checkpoint with the last one seen, where one is given. Asking for it and not getting a proof
/// is a fault: a forked log would leave the proof out.
pub(super) fn check(
    receipt: &Receipt,
    trust: &TrustFile,
    options: &Options,
    checkpoint: Option<&Checkpoint>,
    faults: &mut Faults,
) {
    let (Some(note), Some(head)) = (&options.last_seen, checkpoint) else {
        return;
    };
    let result = match signatures::open_note(note, trust) {
        Ok(seen) => compare(receipt, &seen, head),
        Err(reason) => Err((
            "last-seen",
            format!("the last-seen checkpoint cannot be used: {reason}"),
        )),
    };
    if let Err((member, message)) = result {
        faults.add(Check::AppendOnly, None, member, &message);
    }
}

fn compare(
    receipt: &Receipt,
    seen: &Checkpoint,
    head: &Checkpoint,
) -> Result<(), (&'static str, String)> {
    if seen.size == head.size {
        if seen.root == head.root {
            return Ok(());
        }
        let message = format!(
            "the log signed two different heads of the size {}: this one and the last seen. Keep both, they prove it",
            head.size
        );
        return Err(("checkpoint", message));
    }
    let (old, new) = if seen.size < head.size {
        (seen, head)
    } else {
        (head, seen)
    };
    let proof = match receipt
        .consistency
        .iter()
        .find(|consistency| consistency.size == seen.size)
    {
        Some(consistency) => consistency.proof.as_slice(),
        // Every log continues the empty one, and the proof of it has no hash.
        None if old.size == 0 => &[],
        None => {
            let message = format!(
                "the receipt has no proof between size {}, last seen, and its own {}; ask the log for one, or for a new receipt",
                seen.size, head.size
            );
            return Err(("consistency", message));
        }
    };
    tree::verify_consistency(old.size, &old.root, new.size, &new.root, proof).map_err(|error| {
        let message = format!(
            "size {} is not proven to continue size {}: {error}",
            new.size, old.size
        );
        ("consistency", message)
    })
}
