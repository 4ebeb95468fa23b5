//! Whether the log only grew since the verifier last saw it (format §5.8).

use super::faults::Faults;
use super::{Check, Options, Unanswered, signatures};
use crate::checkpoint::Checkpoint;
use crate::receipt::Receipt;
use crate::tree;
use crate::trust::TrustFile;

/// What a comparison of two heads comes to, where it is no "yes".
enum No {
    /// The log, the receipt or the last-seen checkpoint is at fault: the member and a sentence.
    Fault(String, String),
    /// The receipt does not say.
    Unknown(String),
}

/// Compares the receipt's checkpoint with the last one seen, where one is given. Returns whether there is an answer. A
/// receipt without the proof that was asked for has none: that is no "yes" either, since a log that forked would leave
/// the proof out.
pub(super) fn check(
    receipt: &Receipt,
    trust: &TrustFile,
    options: &Options,
    checkpoint: Option<&Checkpoint>,
    faults: &mut Faults,
    unanswered: &mut Vec<Unanswered>,
) -> bool {
    let (Some(note), Some(head)) = (&options.last_seen, checkpoint) else {
        return false;
    };
    let result = match signatures::open_note(note, &trust.log, &trust.origin) {
        Ok(seen) => compare(receipt, &seen, head),
        Err(reason) => Err(No::Fault(
            "last-seen".to_owned(),
            format!("the last-seen checkpoint cannot be used: {reason}"),
        )),
    };
    match result {
        Ok(()) => true,
        Err(No::Fault(member, message)) => {
            faults.add(Check::AppendOnly, None, &member, &message);
            true
        }
        Err(No::Unknown(message)) => {
            unanswered.push(Unanswered {
                check: Check::AppendOnly,
                message,
            });
            false
        }
    }
}

fn compare(receipt: &Receipt, seen: &Checkpoint, head: &Checkpoint) -> Result<(), No> {
    if seen.size == head.size {
        return if seen.root == head.root {
            Ok(())
        } else {
            let message = format!(
                "the log signed two different heads of the size {}, this one and the one last seen: both together are proof \
                 of misbehaviour, so keep both",
                head.size
            );
            Err(No::Fault("checkpoint".to_owned(), message))
        };
    }
    if head.size < seen.size {
        let message = format!(
            "the log had {} entries when it was last seen, and the receipt's checkpoint has only {}: the log was rewound, or \
             the receipt is older; ask the host for a new receipt of the task",
            seen.size, head.size
        );
        return Err(No::Fault("checkpoint".to_owned(), message));
    }
    let mut proofs = receipt.consistency.iter().enumerate();
    let found = proofs.find(|(_, consistency)| consistency.size == seen.size);
    let (place, proof) = match found {
        Some((number, found)) => (format!("consistency[{number}].proof"), &found.proof[..]),
        // Every log continues the empty one, and the proof of it has no hash.
        None if seen.size == 0 => ("consistency".to_owned(), &[][..]),
        None => {
            return Err(No::Unknown(format!(
                "the receipt has no consistency proof from size {}, last seen, to its own {}: ask the host for a receipt with \
                 that proof",
                seen.size, head.size
            )));
        }
    };
    tree::verify_consistency(seen.size, &seen.root, head.size, &head.root, proof).map_err(|error| {
        let message = format!(
            "the log of {} entries is not proven to continue the log of {}, last seen: {error}",
            head.size, seen.size
        );
        No::Fault(place, message)
    })
}
