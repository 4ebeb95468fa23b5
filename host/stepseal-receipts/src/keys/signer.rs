//! What makes signatures: AWS-LC where it is compiled in (feature `aws-lc`), which takes 60 % of the time that `ed25519-dalek`
//! takes, else `ed25519-dalek`, which runs everywhere. RFC 8032 leaves no choice: the bytes are the same.

#[cfg(feature = "aws-lc")]
mod imp {
    use aws_lc_rs::signature::Ed25519KeyPair;

    pub(in crate::keys) struct Signer(Ed25519KeyPair);

    impl Signer {
        pub(in crate::keys) fn new(key: &ed25519_dalek::SigningKey) -> Self {
            let pair = Ed25519KeyPair::from_seed_unchecked(key.as_bytes());
            Self(pair.expect("every 32 bytes are a seed"))
        }

        pub(in crate::keys) fn sign(&self, message: &[u8]) -> [u8; 64] {
            let signature = self.0.sign(message);
            signature.as_ref().try_into().expect("64 bytes")
        }
    }
}

#[cfg(not(feature = "aws-lc"))]
mod imp {
    use ed25519_dalek::VerifyingKey;
    use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
    use sha2::Sha512;

    pub(in crate::keys) struct Signer {
        /// Kept, because the key would make it again for every signature.
        expanded: ExpandedSecretKey,
        public: VerifyingKey,
    }

    impl Signer {
        pub(in crate::keys) fn new(key: &ed25519_dalek::SigningKey) -> Self {
            Self {
                expanded: ExpandedSecretKey::from(key.as_bytes()),
                public: key.verifying_key(),
            }
        }

        pub(in crate::keys) fn sign(&self, message: &[u8]) -> [u8; 64] {
            // Safe only with the public half of the same key, which nobody else could put here.
            raw_sign::<Sha512>(&self.expanded, message, &self.public).to_bytes()
        }
    }
}

pub(super) use imp::Signer;
