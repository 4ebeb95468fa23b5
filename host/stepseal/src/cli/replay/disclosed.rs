//! What a receipt discloses.

use std::collections::BTreeMap;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::{self, BLIND1_PREFIX, Commitment, SALT_BYTES};
use stepseal_receipts::receipt::Receipt;

/// What a receipt discloses, by digest.
#[derive(Default)]
pub(super) struct Disclosed<'a>(BTreeMap<Digest, &'a [u8]>);

impl<'a> Disclosed<'a> {
    pub(super) fn new(receipt: &'a Receipt) -> Self {
        let blobs = receipt.disclosures.iter();
        Self(
            blobs
                .map(|blob| (Digest::of(blob), blob.as_slice()))
                .collect(),
        )
    }

    pub(super) fn blob(&self, digest: &Digest) -> Option<&'a [u8]> {
        self.0.get(digest).copied()
    }

    pub(super) fn payload(&self, commitment: &Commitment) -> Option<&'a [u8]> {
        payload::open(commitment, self.blob(&commitment.digest)?).ok()
    }
}

/// What a blob holds beside prefix and salt, where it has them.
pub(super) fn unblinded(blob: &[u8]) -> &[u8] {
    blob.strip_prefix(BLIND1_PREFIX)
        .and_then(|rest| rest.get(SALT_BYTES..))
        .unwrap_or(blob)
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::payload::Blob;
    use stepseal_sandbox::Transcript;

    use super::*;

    const SALT: [u8; SALT_BYTES] = [7; SALT_BYTES];

    #[test]
    fn a_transcript_is_read_with_and_without_a_salt() {
        let transcript = Transcript::default().to_bytes();
        let blind = Blob::blind(SALT, &transcript);
        assert_eq!(unblinded(blind.bytes()), transcript);
        assert_eq!(unblinded(&transcript), transcript);
    }
}
