//! The one place where time and randomness come from.
//!
//! Everything else takes them as arguments or asks a [`Clock`], so that tests choose them.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the place that clippy.toml speaks of"
)]

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepseal_receipts::time::{Timestamp, UNIX_MS_MAX};

thread_local! {
    /// The operating system's randomness, of which each thread draws some at a time: to ask for it costs many times what it takes to make
    /// it. With it, how many pieces of it are left.
    static DRAWN: RefCell<([[u8; 32]; 64], usize)> = const { RefCell::new(([[0; 32]; 64], 0)) };
}

/// Tells the time and makes randomness.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
    /// 32 random bytes for salts, seeds and nonces.
    fn random(&self) -> [u8; 32];
    /// A bearer token of 256 bits. It begins with a word: nothing takes it for an option, as it would a `-`, and scanners for secrets know it.
    fn token(&self) -> String {
        format!("stepseal_{}", URL_SAFE_NO_PAD.encode(self.random()))
    }
    /// A new UUID version 7 (RFC 9562 §5.7).
    fn id(&self) -> String;
}

/// The machine's clock and the operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // A clock before 1970 or after 9999 is wrong; what it says is cut to what a record can hold.
        let ms = u64::try_from(since.as_millis())
            .unwrap_or(u64::MAX)
            .min(UNIX_MS_MAX);
        Timestamp::from_unix_ms(ms).expect("cut to the range")
    }

    fn random(&self) -> [u8; 32] {
        DRAWN.with_borrow_mut(|(drawn, left)| {
            if *left == 0 {
                getrandom::fill(drawn.as_flattened_mut())
                    .expect("the operating system has randomness");
                *left = drawn.len();
            }
            *left -= 1;
            // Given out once, and then it is nowhere any more.
            std::mem::take(&mut drawn[*left])
        })
    }

    fn id(&self) -> String {
        uuid::Uuid::now_v7().to_string()
    }
}
