//! Verification under one key, which costs half as much once the key has proved to be one that signs a lot: a log is signed
//! by few keys, and whoever checks it checks thousands of signatures by the same one.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha512};

/// Good signatures after which the multiples of a key are made: making them takes as long as they save on about this many.
/// Bad ones do not count, so nobody makes us spend the 1.3 MB but who has signed with the key.
pub(super) const OFTEN: u32 = 128;

pub(super) struct Verifier {
    pub(super) key: VerifyingKey,
    pub(super) good: AtomicU32,
    /// Of the key's negative.
    multiples: OnceLock<Multiples>,
}

impl Verifier {
    pub(super) fn new(key: VerifyingKey) -> Self {
        Self {
            key,
            good: AtomicU32::new(0),
            multiples: OnceLock::new(),
        }
    }

    /// Whether S is canonical and R the encoding of \[S\]B - \[k\]A, with k of SHA-512(R, A, message) (RFC 8032 §5.1.7, without
    /// the cofactor).
    pub(super) fn accepts(&self, message: &[u8], signature: &Signature) -> bool {
        if self.good.load(Ordering::Relaxed) >= OFTEN {
            return self.accepts_by_multiples(message, signature);
        }
        let accepted = self.key.verify(message, signature).is_ok();
        if accepted {
            self.good.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    fn accepts_by_multiples(&self, message: &[u8], signature: &Signature) -> bool {
        static OF_BASE: LazyLock<Multiples> =
            LazyLock::new(|| Multiples::new(ED25519_BASEPOINT_POINT));
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(*signature.s_bytes()))
        else {
            return false;
        };
        let hash = Sha512::new()
            .chain_update(signature.r_bytes())
            .chain_update(self.key.as_bytes())
            .chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let of_key = self
            .multiples
            .get_or_init(|| Multiples::new(-self.key.to_edwards()));
        let r = OF_BASE.times(&s) + of_key.times(&k);
        r.compress().as_bytes() == signature.r_bytes()
    }
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Verifier {}

impl Hash for Verifier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// All multiples of a point by a byte's value at a byte's place, so that any multiple is a sum of 32 (fixed-base windowing:
/// Brickell, Gordon, `McCurley` and Wilson, 1992). How long that takes depends on the number: not for secrets.
struct Multiples(Vec<Vec<EdwardsPoint>>);

impl Multiples {
    fn new(point: EdwardsPoint) -> Self {
        let mut place = point;
        let of_place = |_| {
            let mut multiple = EdwardsPoint::identity();
            let mut next = || {
                let this = multiple;
                multiple += place;
                this
            };
            let multiples = (0..256).map(|_| next()).collect();
            place = multiple;
            multiples
        };
        Self((0..32).map(of_place).collect())
    }

    fn times(&self, number: &Scalar) -> EdwardsPoint {
        self.0
            .iter()
            .zip(number.as_bytes())
            .map(|(multiples, value)| &multiples[usize::from(*value)])
            .sum()
    }
}
