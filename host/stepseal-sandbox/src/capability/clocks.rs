//! `wasi:clocks` and `wasi:io/poll` over a clock of the guest's own: it starts at the time in the record, sleeping
//! moves it forward at once, and so does looking at it, by a little, so that a loop that waits for a time to come ends. Requests to
//! the network take none of it: whoever waits or looks finds them answered.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use stepseal_receipts::time::Timestamp;
use tokio::task::unconstrained;
use wasmtime::component::{Accessor, HasData, HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::clocks as clocks_0_3;
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
    /// Waits of WASI 0.3, by when they end and then in the order in which they began.
    waits: Mutex<BTreeMap<WaitKey, Option<Waker>>>,
    waits_begun: AtomicU64,
    /// The guest has more to do, or the host for it, although nothing could go on in this poll.
    busy: AtomicBool,
}

/// When a wait ends, and its number.
type WaitKey = (u64, u64);

impl Clock {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self {
            start: Duration::from_millis(start.unix_ms()),
            elapsed: AtomicU64::new(0),
            earliest: AtomicU64::new(NO_DEADLINE),
            waits: Mutex::default(),
            waits_begun: AtomicU64::new(0),
            busy: AtomicBool::new(false),
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

/// Waits of WASI 0.3, any number at a time. Only one thread at a time runs the guest, and so what happens does not depend on how
/// fast it runs: time passes only where the guest, in all its tasks, can do nothing but wait, and then to the end of one wait.
impl Clock {
    fn waits(&self) -> MutexGuard<'_, BTreeMap<WaitKey, Option<Waker>>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that whoever waits now is not the guest's own doing: time must not pass for it.
    pub(crate) fn stay(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Waits for work of the host, such as reading a bucket.
    pub(crate) async fn outside<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let polled = work.as_mut().poll(cx);
            if polled.is_pending() {
                self.stay();
            }
            polled
        })
        .await
    }

    /// Runs a guest, and lets time pass whenever all of it waits. It is pinned already: its future is large, and to move it about takes
    /// longer than all that is done here.
    pub(crate) async fn pass_waits<F: Future>(&self, mut guest: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            loop {
                self.busy.store(false, Ordering::Relaxed);
                if let Poll::Ready(output) = guest.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                if self.busy.load(Ordering::Relaxed) || !self.end_next_wait() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Moves the clock to the end of the next wait. `false` if there is none.
    fn end_next_wait(&self) -> bool {
        let Some(((deadline, _), waker)) = self.waits().pop_first() else {
            return false;
        };
        self.advance_to(deadline);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    async fn wait(&self, deadline: u64) {
        if deadline <= self.elapsed.load(Ordering::Relaxed) {
            return;
        }
        let number = self.waits_begun.fetch_add(1, Ordering::Relaxed);
        let wait = Wait {
            clock: self,
            key: (deadline, number),
        };
        self.waits().insert(wait.key, None);
        poll_fn(|cx| match self.waits().get_mut(&wait.key) {
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }
}

/// Takes a wait that nobody is interested in any more out of the clock.
struct Wait<'a> {
    clock: &'a Clock,
    key: WaitKey,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.clock.waits().remove(&self.key);
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    poll::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// The same clock for components of WASI 0.3.
pub(crate) fn add_wasi_0_3_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    clocks_0_3::types::add_to_linker::<Guest, Clocks>(linker, |guest| guest)?;
    clocks_0_3::system_clock::add_to_linker::<Guest, Clocks>(linker, |guest| guest)?;
    clocks_0_3::monotonic_clock::add_to_linker::<Guest, Clocks>(linker, |guest| guest)
}

/// Gives the guest to functions that wait, as a type of this crate.
struct Clocks;

impl HasData for Clocks {
    type Data<'a> = &'a mut Guest;
}

impl clocks_0_3::types::Host for Guest {}

impl clocks_0_3::system_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<clocks_0_3::system_clock::Instant> {
        let now = wall_clock::Host::now(self)?;
        Ok(clocks_0_3::system_clock::Instant {
            seconds: i64::try_from(now.seconds)?,
            nanoseconds: now.nanoseconds,
        })
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(self)
    }
}

impl clocks_0_3::monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(self)
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(self)
    }
}

impl<T: 'static> clocks_0_3::monotonic_clock::HostWithStore<T> for Clocks {
    async fn wait_until(store: &Accessor<T, Self>, when: u64) -> wasmtime::Result<()> {
        wait(store, |_| when.saturating_sub(MONOTONIC_START_NS)).await
    }

    async fn wait_for(store: &Accessor<T, Self>, duration: u64) -> wasmtime::Result<()> {
        wait(store, |now| now.saturating_add(duration)).await
    }
}

/// Waits until the clock has come to what is made of its time now.
async fn wait<T: 'static>(
    store: &Accessor<T, Clocks>,
    deadline: impl FnOnce(u64) -> u64,
) -> wasmtime::Result<()> {
    let shared = store.with(|mut access| {
        let guest = access.get();
        guest.charge(0);
        Arc::clone(&guest.shared)
    });
    let now = shared.clock.elapsed.load(Ordering::Relaxed);
    shared.clock.wait(deadline(now)).await;
    Ok(())
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
