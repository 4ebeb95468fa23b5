//! Cancelling a running call from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A flag that stops a running step. Cheap to clone; all clones are the same flag, and it is never reset.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    wake: Notify,
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops every call that was given this flag, within one tick of the epoch clock. Safe to call twice.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.wake.notify_waiters();
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Returns once the flag is set. For calls parked in a host function, where no guest code runs that could see the flag.
    /// Waits until it is cancelled.
    pub async fn cancelled(&self) {
        loop {
            // Registered before the flag is read, so that a `cancel` between the two is not missed.
            let wake = self.0.wake.notified();
            if self.is_cancelled() {
                return;
            }
            wake.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_is_woken_by_a_clone() {
        let cancel = Cancel::new();
        let clone = cancel.clone();
        let waiter = tokio::spawn(async move { clone.cancelled().await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        cancel.cancel();
        waiter.await.unwrap();
        assert!(cancel.is_cancelled());
    }
}
