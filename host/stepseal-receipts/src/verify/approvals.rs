//! Whether people approved what ran: the subject they saw, how many they were, and what they signed themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::faults::{Faults, Place};
use super::{Check, Signed};
use crate::digest::{Digest, digest_set};
use crate::dsse::{Envelope, IN_TOTO};
use crate::json::{self, RECORD_LIMITS};
use crate::keys::PublicKey;
use crate::record::{Approval, Decision, Record, Verdict, approval_subject};
use crate::trust::{ApproverKey, TrustFile};

/// The approvals of an attempt: those of its authorization and those of the record.
fn given<'a>(
    record: &'a Record,
    authorized: Option<&'a Record>,
) -> impl Iterator<Item = &'a Approval> {
    let records = authorized.into_iter().chain([record]);
    records.flat_map(|record| &record.approvals)
}

/// Checks that each approval was given for exactly this attempt, by computing what the person was shown.
pub(super) fn check_subjects(
    record: &Record,
    authorized: Option<&Record>,
    policies: Option<&Digest>,
    place: &mut Place<'_>,
) {
    if record.approvals.is_empty() {
        return;
    }
    let expected = match subject(record, authorized, policies) {
        Ok(expected) => expected,
        Err(member) => {
            place.fault(member, format!("the member {member} is absent, and the approvals' subject cannot be computed without it"));
            return;
        }
    };
    for (number, approval) in record.approvals.iter().enumerate() {
        if approval.subject != expected {
            place.fault(
                &format!("approvals[{number}].subject"),
                format!(
                    "{:?} decided on {}, and {expected} is expected: the approval is of something else",
                    approval.approver, approval.subject
                ),
            );
        }
    }
}

/// The subject that the record's own members make, or the member that is missing.
fn subject(
    record: &Record,
    authorized: Option<&Record>,
    policies: Option<&Digest>,
) -> Result<Digest, &'static str> {
    let records = || [Some(record), authorized].into_iter().flatten();
    let task = record.task.as_ref().ok_or("task")?;
    let step = record.step.as_ref().ok_or("step")?;
    let component = records()
        .find_map(|record| record.component.as_ref())
        .ok_or("component")?;
    let input = records()
        .find_map(|record| record.input.as_ref())
        .ok_or("input")?;
    let grants = records()
        .find_map(|record| record.grants.as_ref())
        .ok_or("grants")?;
    let policies = records()
        .find_map(|record| record.policies.as_ref())
        .or(policies)
        .ok_or("policies")?;
    let (_, subject) = approval_subject(
        &task.id,
        &step.id,
        step.attempt,
        &component.digest,
        &input.digest,
        grants,
        policies,
    );
    Ok(subject)
}

/// Checks that as many different people approved as a policy asked for, in the role it asked for.
pub(super) fn check_quorum(
    verdict: &Verdict,
    record: &Record,
    authorized: Option<&Record>,
    place: &mut Place<'_>,
) {
    let counts = |approval: &&Approval| {
        approval.decision == Decision::Approve
            && (verdict.role.is_none() || verdict.role == approval.role)
    };
    let people: BTreeSet<&str> = given(record, authorized)
        .filter(counts)
        .map(|approval| approval.approver.as_str())
        .collect();
    let needed = verdict.approvers.unwrap_or(1).max(1);
    if people.len() < needed as usize {
        let role = verdict
            .role
            .as_ref()
            .map_or(String::new(), |role| format!(" in the role {role:?}"));
        place.fault(
            "approvals",
            format!(
                "policy {:?} asked for {needed} approvals{role}, and the record has {}",
                verdict.name,
                people.len()
            ),
        );
    }
}

/// Checks the envelopes that approvers signed themselves: each is one that a record speaks of, signed by that
/// approver's own key, and says what the record says; and none that a record speaks of is left out, or leaving a bad one
/// out would hide it. Who has a key signs: else the host could go on to decide in that name.
pub(super) fn check_envelopes(
    envelopes: &[Envelope],
    records: &[&Signed],
    trust: &TrustFile,
    faults: &mut Faults,
) {
    let mut named: BTreeMap<Digest, Vec<(u64, usize, &Approval)>> = BTreeMap::new();
    for signed in records {
        for (number, approval) in signed.record.approvals.iter().enumerate() {
            let index = signed.index;
            if let Some(envelope) = approval.envelope {
                let place = (index, number, approval);
                named.entry(envelope).or_default().push(place);
            } else if signs(approval, trust, index) {
                let member = format!("approvals[{number}].envelope");
                let message = format!(
                    "the trust file gives {:?} a key, and this approval is not signed",
                    approval.approver
                );
                faults.add(Check::Signatures, Some(index), &member, &message);
            }
        }
    }
    for (number, envelope) in envelopes.iter().enumerate() {
        let member = format!("approvals[{number}]");
        // Taken out, so that an envelope shown again costs nothing.
        let Some(approvals) = named.remove(&envelope.pae_digest()) else {
            let message =
                "no approval in the records speaks of this envelope, or it is in the receipt twice";
            faults.add(Check::Signatures, None, &member, &message);
            continue;
        };
        for (index, _, approval) in approvals {
            if let Err(message) =
                check_approval(envelope, approval, keys_of(approval, trust, index))
            {
                faults.add(Check::Signatures, Some(index), &member, &message);
            }
        }
    }
    for (index, number, approval) in named.into_values().flatten() {
        let member = format!("approvals[{number}].envelope");
        let message = format!(
            "{:?} signed an envelope for this approval, and it is not among the receipt's approvals",
            approval.approver
        );
        faults.add(Check::Signatures, Some(index), &member, &message);
    }
}

/// The keys that the trust file gives an approver for a record at an index of the log.
fn keys_of<'a>(
    approval: &'a Approval,
    trust: &'a TrustFile,
    index: u64,
) -> impl Iterator<Item = &'a PublicKey> {
    let of_name = move |key: &&ApproverKey| key.name == approval.approver && key.covers(index);
    trust.approvers.iter().filter(of_name).map(|key| &key.key)
}

/// Whether an approver has a key, or had one: taking it away does not give others the name.
fn signs(approval: &Approval, trust: &TrustFile, index: u64) -> bool {
    let began = |key: &ApproverKey| key.name == approval.approver && key.from_index <= index;
    trust.approvers.iter().any(began)
}

/// Why an approver's own envelope does not carry an approval that a record or a client of the host claims (format §2, "An approver's
/// own envelope"). `keys` are those that count for the approver; which of them signed comes back.
///
/// The payload is signed JSON (format §1) with at least the members `subject` and `decision`, and `role` where the approval has one.
pub fn check_approval<'a>(
    envelope: &Envelope,
    approval: &Approval,
    mut keys: impl Iterator<Item = &'a PublicKey>,
) -> Result<&'a PublicKey, String> {
    let name = &approval.approver;
    if envelope.payload_type != IN_TOTO {
        let found = &envelope.payload_type;
        return Err(format!(
            "the payload type is {found:?}, and {IN_TOTO:?} is expected"
        ));
    }
    let [signature] = envelope.signatures.as_slice() else {
        let found = envelope.signatures.len();
        return Err(format!(
            "there are {found} signatures, and exactly one is expected"
        ));
    };
    let key = keys
        .find(|key| envelope.verify(signature, key).is_ok())
        .ok_or_else(|| {
            format!("no key that counts here for the approver {name:?} signed this envelope")
        })?;
    let payload = json::parse_signed(&envelope.payload, &RECORD_LIMITS)
        .map_err(|error| format!("what {name:?} signed is not signed JSON: {error}"))?;
    let subject = payload.get("subject").and_then(digest_set::from_value);
    if subject != Some(approval.subject) {
        return Err(format!(
            "what {name:?} signed has another subject than {}",
            approval.subject
        ));
    }
    let decision = payload
        .get("decision")
        .and_then(|decision| decision.as_str());
    if decision != Some(approval.decision.as_str()) {
        return Err(format!(
            "what {name:?} signed does not say {}",
            approval.decision
        ));
    }
    let role = approval.role.as_deref().map(Value::from);
    if payload.get("role") != role.as_ref() {
        return Err(format!(
            "what {name:?} signed does not say the role of the approval"
        ));
    }
    Ok(key)
}
