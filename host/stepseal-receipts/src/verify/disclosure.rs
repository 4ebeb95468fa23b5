//! Whether every disclosed blob is one that the records speak of (format §5.7).

use std::collections::HashMap;

use super::faults::Faults;
use super::{Check, Signed};
use crate::digest::Digest;
use crate::payload::{BLIND1_PREFIX, CommitKind, SALT_BYTES};
use crate::receipt::Receipt;
use crate::record::Record;

/// What a record says of a blob besides its digest.
struct Claim {
    index: u64,
    member: String,
    /// How the digest was made and how many bytes the payload has, where the record says so.
    payload: Option<(CommitKind, u64)>,
}

/// Checks each blob against everything the records say of its digest.
pub(super) fn check(receipt: &Receipt, records: &[&Signed], faults: &mut Faults) {
    if receipt.disclosures.is_empty() {
        return;
    }
    let mut claims = claims(records);
    for (number, blob) in receipt.disclosures.iter().enumerate() {
        let digest = Digest::of(blob);
        // Taken out, so that a blob shown again costs nothing.
        let Some(claims) = claims.remove(&digest) else {
            let message = format!(
                "the blob has the digest {digest}, of which no record speaks, or it is in the receipt twice"
            );
            faults.add(
                Check::Disclosure,
                None,
                &format!("disclosures[{number}]"),
                &message,
            );
            continue;
        };
        for claim in claims {
            let Some((kind, size)) = claim.payload else {
                continue;
            };
            let (part, message) = match payload_size(kind, blob) {
                None => (
                    "commit",
                    format!(
                        "blob {number} is no {} blob: prefix and salt are expected",
                        kind.as_str()
                    ),
                ),
                Some(found) if found != size => (
                    "size",
                    format!(
                        "the size is {size}, and {found} is expected as the disclosed payload has"
                    ),
                ),
                Some(_) => continue,
            };
            let member = format!("{}.{part}", claim.member);
            faults.add(Check::Disclosure, Some(claim.index), &member, &message);
        }
    }
}

fn payload_size(kind: CommitKind, blob: &[u8]) -> Option<u64> {
    let payload = match kind {
        CommitKind::Plain => blob,
        CommitKind::Blind1 => blob.strip_prefix(BLIND1_PREFIX)?.get(SALT_BYTES..)?,
    };
    Some(payload.len() as u64)
}

/// Digests of all blobs that a record speaks of: what a receipt with this record may disclose, and nothing else.
pub fn disclosable(record: &Record) -> impl Iterator<Item = Digest> {
    claims_of(0, record).into_iter().map(|(digest, _)| digest)
}

/// Everything the records say of any blob, by its digest.
fn claims(records: &[&Signed]) -> HashMap<Digest, Vec<Claim>> {
    let mut claims: HashMap<Digest, Vec<Claim>> = HashMap::new();
    for signed in records {
        for (digest, claim) in claims_of(signed.index, &signed.record) {
            claims.entry(digest).or_default().push(claim);
        }
    }
    claims
}

fn claims_of(index: u64, record: &Record) -> Vec<(Digest, Claim)> {
    let mut claims = Vec::new();
    let mut claim = |digest: Digest, member: String, payload: Option<(CommitKind, u64)>| {
        let claim = Claim {
            index,
            member,
            payload,
        };
        claims.push((digest, claim));
    };
    for (member, commitment) in [("input", &record.input), ("output", &record.output)] {
        if let Some(commitment) = commitment {
            let payload = Some((commitment.commit, commitment.size));
            claim(commitment.digest, member.to_owned(), payload);
        }
    }
    for (number, verdict) in record.verdicts.iter().enumerate() {
        let input = verdict.input;
        let payload = Some((input.commit, input.size));
        claim(input.digest, format!("verdicts[{number}].input"), payload);
        claim(
            verdict.settings,
            format!("verdicts[{number}].settings"),
            None,
        );
    }
    let documents = [
        (
            "hostcalls.digest",
            record.hostcalls.map(|calls| calls.digest),
        ),
        ("plan", record.plan),
        ("policies", record.policies),
        ("grants", record.grants),
    ];
    for (member, digest) in documents {
        if let Some(digest) = digest {
            claim(digest, member.to_owned(), None);
        }
    }
    claims
}
