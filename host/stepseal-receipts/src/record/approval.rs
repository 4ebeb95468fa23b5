//! What an approval is bound to.

use super::Approval;
use super::encode::Object;
use crate::digest::Digest;
use crate::dsse::{Envelope, IN_TOTO};
use crate::keys::SigningKey;

/// The canonical JSON of exactly what an approval is bound to, and its SHA-256 (format §2, `approvals`).
///
/// It holds ids and digests only, no label or summary, so that page, command line and the approver's own tool
/// compute the same digest from what they show. Changing any of them makes another subject and voids the approval.
pub fn approval_subject(
    task: &str,
    step: &str,
    attempt: u32,
    component: &Digest,
    input: &Digest,
    grants: &Digest,
    policies: &Digest,
) -> (Vec<u8>, Digest) {
    let mut preimage = Vec::new();
    Object::new(&mut preimage, None)
        .with("attempt", u64::from(attempt))
        .with("component", *component)
        .with("grants", *grants)
        .with("input", *input)
        .with("policies", *policies)
        .with("step", step)
        .with("task", task)
        .end();
    let digest = Digest::of(&preimage);
    (preimage, digest)
}

/// The envelope in which an approver says the same as an approval (format §2, "An approver's own envelope").
pub fn sign_approval(approval: &Approval, key: &SigningKey) -> Envelope {
    let mut said = Vec::new();
    Object::new(&mut said, None)
        .with("decision", approval.decision.as_str())
        .with_some("role", approval.role.as_deref())
        .with("subject", approval.subject)
        .end();
    Envelope::sign(IN_TOTO, said, key)
}
