//! What runs beside a runner: attempts that are made ready, and attempts in the sandbox.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::attempt::Progress;
use crate::engine::EngineError;

/// Attempts under way. Dropping this drops them.
///
/// One that is alone runs where its runner does: most plans are a chain, and to hand each link to another task, and its result back,
/// takes longer than what is handed over. Where there are several, each has a task of its own, so that they have all processors.
#[derive(Default)]
pub(super) struct Side {
    alone: Option<BoxFuture<'static, Progress>>,
    apart: JoinSet<Progress>,
}

impl Side {
    pub(super) fn is_empty(&self) -> bool {
        self.alone.is_none() && self.apart.is_empty()
    }

    pub(super) fn add(&mut self, attempt: impl Future<Output = Progress> + Send + 'static) {
        if self.is_empty() {
            self.alone = Some(Box::pin(attempt));
        } else {
            self.part();
            self.apart.spawn(attempt);
        }
    }

    /// Gives the one that is alone a task of its own: whatever its runner waits for from now on, it takes no time of the attempt's.
    pub(super) fn part(&mut self) {
        if let Some(attempt) = self.alone.take() {
            self.apart.spawn(attempt);
        }
    }

    /// What the next one that ends has brought; nothing where there is none. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Progress> {
        // A panic of the host is the host's fault, not the step's.
        if let Some(attempt) = &mut self.alone {
            let landed = AssertUnwindSafe(attempt).catch_unwind().await;
            self.alone = None;
            return Some(landed.unwrap_or_else(|_| broken(&"it panicked")));
        }
        let landed = self.apart.join_next().await?;
        Some(landed.unwrap_or_else(|error| broken(&error)))
    }
}

fn broken(why: &dyn std::fmt::Display) -> Progress {
    let why = format!("an attempt did not come to an end: {why}");
    Progress::Broken(EngineError::Internal(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::id;

    /// Says in which task it ran.
    async fn attempt(pause: bool) -> Progress {
        if pause {
            tokio::task::yield_now().await;
        }
        broken(&id())
    }

    fn said(progress: Option<Progress>) -> String {
        let Some(Progress::Broken(error)) = progress else {
            panic!("there is one");
        };
        error.to_string()
    }

    #[tokio::test]
    async fn one_runs_where_it_is_waited_for_and_two_do_not() {
        let own = tokio::spawn(async {
            let mut side = Side::default();
            side.add(attempt(true));
            assert_eq!(said(side.next().await), said(Some(broken(&id()))));
            assert!(side.is_empty() && side.next().await.is_none());

            side.add(attempt(false));
            side.add(attempt(false));
            let both = [said(side.next().await), said(side.next().await)];
            assert!(!both.contains(&said(Some(broken(&id())))), "{both:?}");
            assert!(both[0] != both[1] && side.is_empty());

            side.add(attempt(false));
            side.part();
            assert_ne!(said(side.next().await), said(Some(broken(&id()))));
        });
        own.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_the_hosts_fault_wherever_it_was() {
        for several in [false, true] {
            let mut side = Side::default();
            side.add(async { panic!("a fault of the host") });
            if several {
                side.add(async { panic!("another") });
            }
            let said = said(side.next().await);
            assert!(said.contains("panicked"), "{said}");
        }
    }
}
