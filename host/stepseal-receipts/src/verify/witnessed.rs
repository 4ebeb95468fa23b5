//! Whether others saw the same log (format §5.3): enough witnesses cosigned the checkpoint.

use super::faults::{Faults, cut};
use super::{Check, Cosigned};
use crate::checkpoint::Checkpoint;
use crate::note::Note;
use crate::trust::TrustFile;
use crate::witness_policy::{Witness, WitnessPolicy};

/// Applies a policy to the receipt's checkpoint, which the log's key signed. Returns the witnesses whose cosignature
/// verifies, in the policy's order.
pub(super) fn check(
    note: &str,
    checkpoint: &Checkpoint,
    policy: &WitnessPolicy,
    trust: &TrustFile,
    faults: &mut Faults,
) -> Vec<Cosigned> {
    let mut fault = |member: &str, message: String| {
        faults.add(Check::Witnessed, None, member, &message);
    };
    // It was read before, or there would be no checkpoint.
    let Ok(note) = Note::parse(note) else {
        return Vec::new();
    };
    if let Some(message) = log_fault(&note, checkpoint, policy) {
        fault("checkpoint", message);
    }
    for witness in policy.witnesses() {
        if let Some(role) = trust.role_of(witness.key.key()) {
            let message = format!(
                "the key of the witness {:?} is in the trust file too, as {role}: a host that witnesses itself shows nothing",
                witness.name
            );
            fault("witness-policy", message);
        }
    }
    let mut cosigned = Vec::new();
    for witness in policy.witnesses() {
        match latest(&note, &witness) {
            Ok(None) => {}
            Ok(Some(unix_seconds)) => cosigned.push((witness, unix_seconds)),
            Err(message) => fault("checkpoint", message),
        }
    }
    let has = |witness: &Witness<'_>| cosigned.iter().any(|(other, _)| other == witness);
    if !policy.is_met(|key| cosigned.iter().any(|(witness, _)| witness.key == key)) {
        let asked = policy.asked();
        let (came, missing): (Vec<_>, Vec<_>) = asked.iter().partition(|witness| has(witness));
        let message = format!(
            "the quorum of witnesses is not met: a good cosignature is there by {}, and none by {}",
            names(&came),
            names(&missing)
        );
        fault("checkpoint", message);
    }
    cosigned
        .into_iter()
        .map(|(witness, unix_seconds)| Cosigned {
            witness: cut(witness.name),
            key_name: witness.key.name().to_owned(),
            unix_seconds,
        })
        .collect()
}

/// Where the policy names logs, one of them must have signed.
fn log_fault(note: &Note, checkpoint: &Checkpoint, policy: &WitnessPolicy) -> Option<String> {
    if policy.logs().is_empty() {
        return None;
    }
    let origin = &checkpoint.origin;
    match note.verify(policy.logs()) {
        Ok(signers) if signers.iter().any(|log| log.name() == origin) => None,
        Ok(_) => Some(format!(
            "no key that the witness policy has for the log {origin:?} signed the checkpoint"
        )),
        Err(error) => Some(format!(
            "the checkpoint is not of a log of the witness policy: {error}"
        )),
    }
}

/// When the witness last cosigned this checkpoint, if it did. It counts once, however often it did; but a line under its
/// name that does not verify is a forgery, whatever stands beside it.
fn latest(note: &Note, witness: &Witness<'_>) -> Result<Option<u64>, String> {
    let mut latest = None;
    for (number, line) in note.signatures.iter().enumerate() {
        if !witness.key.is_named_by(line) {
            continue;
        }
        let time = witness.key.verify(&note.text, line).map_err(|error| {
            format!(
                "signature line {} is not by the witness {:?} ({}), as it says: {error}",
                number + 1,
                witness.name,
                witness.key.name()
            )
        })?;
        latest = latest.max(Some(time));
    }
    Ok(latest)
}

fn names(witnesses: &[&Witness<'_>]) -> String {
    if witnesses.is_empty() {
        return "nobody".to_owned();
    }
    let names: Vec<String> = witnesses
        .iter()
        .map(|witness| format!("{:?}", witness.name))
        .collect();
    names.join(", ")
}
