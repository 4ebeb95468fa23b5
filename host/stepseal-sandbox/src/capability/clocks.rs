//! `wasi:clocks` and `wasi:io/poll` over a clock of the guest's own: it starts at the time in the record, sleeping
//! moves it forward at once, and so does looking at it, by a little, so that a loop that waits for a time to come ends. Requests to
//! the network take none of it: whoever waits or looks finds them answered.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use stepseal_receipts::time::Timestamp;
use tokio::task::unconstrained;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bindings::wasi::io::poll;

use crate::guest::{Guest, Shared};

/// How far looking at the clock moves it, in nanoseconds. The first look sees the start exactly.
const LOOK_NS: u64 = 1_000;

/// What the monotonic clock starts at, in nanoseconds: a day, because programs subtract from it what they take for granted.
const MONOTONIC_START_NS: u64 = 86_400 * 1_000_000_000;

/// "No timer is waiting".
const NO_DEADLINE: u64 = u64::MAX;

/// The guest's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Duration,
    /// Nanoseconds since the start. Atomic because timers see it through an `Arc`; only one thread at a time runs the guest.
    elapsed: AtomicU64,
    /// The earliest deadline among the timers that were found waiting in this poll.
    earliest: AtomicU64,
}

impl Clock {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self {
            start: Duration::from_millis(start.unix_ms()),
            elapsed: AtomicU64::new(0),
            earliest: AtomicU64::new(NO_DEADLINE),
        }
    }

    /// How far it moved.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::Relaxed))
    }

    /// Nanoseconds since the start; looking moves it.
    fn look(&self) -> u64 {
        let now = self.elapsed.load(Ordering::Relaxed);
        self.elapsed
            .store(now.saturating_add(LOOK_NS), Ordering::Relaxed);
        now
    }

    fn advance_to(&self, deadline: u64) {
        self.elapsed.fetch_max(deadline, Ordering::Relaxed);
    }

    /// Polls a future that waits for timers among other things. Where nothing is ready, time passes until the earliest
    /// timer is: so of two timers the earlier one fires, and none fires while something else is ready.
    async fn pass_time<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            loop {
                self.earliest.store(NO_DEADLINE, Ordering::Relaxed);
                if let Poll::Ready(output) = future.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                match self.earliest.load(Ordering::Relaxed) {
                    NO_DEADLINE => return Poll::Pending,
                    deadline => self.advance_to(deadline),
                }
            }
        })
        .await
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    poll::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.charge(0);
        let clock = &self.shared.clock;
        let now = clock.start + Duration::from_nanos(clock.look());
        Ok(wall_clock::Datetime {
            seconds: now.as_secs(),
            nanoseconds: now.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.charge(0);
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000,
        })
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.charge(0);
        Ok(MONOTONIC_START_NS.saturating_add(self.shared.clock.look()))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.charge(0);
        Ok(LOOK_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.timer(when.saturating_sub(MONOTONIC_START_NS))
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.shared.clock.elapsed.load(Ordering::Relaxed);
        self.timer(now.saturating_add(duration))
    }
}

impl Guest {
    fn timer(&mut self, deadline: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.charge(0);
        // A deadline in the last nanosecond of the clock would look like none.
        let deadline = deadline.min(NO_DEADLINE - 1);
        let timer = self.table.push(Timer {
            shared: Arc::clone(&self.shared),
            deadline,
        })?;
        subscribe(&mut self.table, timer)
    }
}

/// Ready when the guest's clock has come to its deadline.
struct Timer {
    shared: Arc<Shared>,
    deadline: u64,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let clock = &self.shared.clock;
        poll_fn(|_| {
            if clock.elapsed.load(Ordering::Relaxed) >= self.deadline {
                return Poll::Ready(());
            }
            // Nobody is woken: `pass_time` polls again as soon as it has moved the clock.
            clock.earliest.fetch_min(self.deadline, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }
}

impl poll::Host for Guest {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.charge(pollables.len().saturating_mul(64));
        self.http_settle().await?;
        let shared = Arc::clone(&self.shared);
        shared
            .clock
            // However much the thread has done, what is ready must be seen before time passes.
            .pass_time(unconstrained(poll::Host::poll(&mut self.table, pollables)))
            .await
    }
}

impl poll::HostPollable for Guest {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.charge(0);
        self.http_settle().await?;
        let shared = Arc::clone(&self.shared);
        shared
            .clock
            .pass_time(poll::HostPollable::block(&mut self.table, pollable))
            .await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.charge(0);
        self.http_settle().await?;
        self.shared.clock.look();
        poll::HostPollable::ready(&mut self.table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(&mut self.table, pollable)
    }
}
