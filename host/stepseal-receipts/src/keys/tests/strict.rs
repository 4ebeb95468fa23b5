//! [`PublicKey::verify`] accepts exactly what `verify_strict` does, though it works otherwise, and in two ways.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::Verifier as _;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use super::super::*;
use super::{few_and_many, plus_order};

/// Who accepts a signature under a key.
struct Accepted {
    /// By a key of few signatures, and by one of many.
    ours: [bool; 2],
    strict: bool,
    /// Refuses neither keys nor R of low order.
    lax: bool,
}

struct Judges {
    ours: Option<[PublicKey; 2]>,
    theirs: Option<VerifyingKey>,
}

impl Judges {
    fn new(key: &[u8; 32]) -> Self {
        Self {
            ours: few_and_many(key),
            theirs: VerifyingKey::from_bytes(key).ok(),
        }
    }

    fn judge(&self, message: &[u8], signature: &[u8; 64]) -> Accepted {
        let accepts = |key: &PublicKey| key.verify(message, signature).is_ok();
        let ours = self.ours.as_ref();
        let signature = Signature::from_bytes(signature);
        let by = |verify: &dyn Fn(&VerifyingKey) -> bool| self.theirs.as_ref().is_some_and(verify);
        Accepted {
            ours: ours.map_or([false; 2], |keys| keys.each_ref().map(accepts)),
            strict: by(&|key| key.verify_strict(message, &signature).is_ok()),
            lax: by(&|key| key.verify(message, &signature).is_ok()),
        }
    }
}

/// Every encoding that decodes to the point: the canonical one, and those with y + p for y or with a sign for x = 0.
fn spellings(point: &EdwardsPoint) -> Vec<[u8; 32]> {
    let canonical = point.compress().to_bytes();
    let mut spellings = vec![canonical];
    let mut add = |mut spelling: [u8; 32]| {
        for _ in 0..2 {
            let decoded = CompressedEdwardsY(spelling).decompress();
            if decoded.as_ref() == Some(point) && !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
            spelling[31] ^= 0x80;
        }
    };
    add(canonical);
    if canonical[0] < 19 {
        let mut high = [0xff; 32];
        high[0] = 0xed + canonical[0];
        high[31] = 0x7f;
        add(high);
    }
    spellings
}

/// The sums of a point of the large subgroup with each point of low order, by its number of the base point.
fn points(number: Scalar) -> impl Iterator<Item = (Scalar, [u8; 32])> {
    let sums = EIGHT_TORSION.map(|low| EdwardsPoint::mul_base(&number) + low);
    let spellings = sums.into_iter().flat_map(|sum| spellings(&sum));
    spellings.map(move |spelling| (number, spelling))
}

fn signed(
    key: Scalar,
    key_spelling: &[u8; 32],
    r: Scalar,
    r_spelling: &[u8; 32],
    message: &[u8],
) -> [u8; 64] {
    let hash = Sha512::new()
        .chain_update(r_spelling)
        .chain_update(key_spelling)
        .chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r_spelling);
    signature[32..].copy_from_slice((r + k * key).as_bytes());
    signature
}

/// Keys and R of low, of full and of mixed order, in each of their spellings, with S below and beyond the order of the group:
/// what "Taming the many `EdDSAs`" (Chalkias, Garillot, Nikolaenko, 2020) found verifiers to differ on. S fits the equation
/// but for what the parts of low order add, which cancel out in some.
#[test]
fn points_of_low_and_mixed_order_and_their_spellings_are_judged_as_verify_strict_does() {
    let numbers = [Scalar::ZERO, Scalar::from(0x5eed_u64)];
    let (mut judged, mut strict, mut lax_alone) = (0, 0, 0);
    for (key, key_spelling) in numbers.into_iter().flat_map(points) {
        let both = Judges::new(&key_spelling);
        for (r, r_spelling) in numbers.into_iter().flat_map(points) {
            for message in [b"a", b"b", b"c", b"d"] {
                let signature = signed(key, &key_spelling, r, &r_spelling, message);
                let mut beyond = signature;
                plus_order(&mut beyond);
                for signature in [signature, beyond] {
                    let accepted = both.judge(message, &signature);
                    let case = || format!("{key_spelling:x?} {signature:x?} {message:?}");
                    assert_eq!(accepted.ours, [accepted.strict; 2], "{}", case());
                    judged += 1;
                    strict += usize::from(accepted.strict);
                    lax_alone += usize::from(accepted.lax && !accepted.strict);
                }
            }
        }
    }
    assert_eq!(
        judged,
        22 * 22 * 4 * 2,
        "14 spellings of low order, 8 others"
    );
    assert!(
        strict > 0 && lax_alone > 0,
        "else this says nothing: {strict}, {lax_alone}"
    );
}

proptest! {
    #[test]
    fn any_two_halves_of_a_signature_are_judged_as_verify_strict_does(
        seed: [u8; 32], message: Vec<u8>, r: Option<[u8; 32]>, s: Option<[u8; 32]>, key: Option<[u8; 32]>,
    ) {
        let signer = SigningKey::from_seed(seed);
        let mut signature = signer.sign(&message);
        let (signed_r, signed_s) = signature.split_at_mut(32);
        if let Some(r) = r {
            signed_r.copy_from_slice(&r);
        }
        if let Some(s) = s {
            signed_s.copy_from_slice(&s);
        }
        let untouched = r.is_none() && s.is_none() && key.is_none();
        let key = key.unwrap_or(signer.public().to_bytes());
        let accepted = Judges::new(&key).judge(&message, &signature);
        prop_assert_eq!(accepted.ours, [accepted.strict; 2]);
        prop_assert_eq!(accepted.strict, untouched);
    }
}
