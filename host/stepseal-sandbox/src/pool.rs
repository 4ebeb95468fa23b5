//! Places to run in: how many calls run at a time, in all and of one component, and how long one waits for its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use stepseal_receipts::digest::Digest;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::component::Linker;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::cancel::Cancel;
use crate::guest::{Guest, Shared, Stop};
use crate::limits::{HOST_CALL_BYTES_MAX, Limits, RESOURCES_MAX};
use crate::settings::PoolSettings;
use crate::ticker::Ticks;

/// An engine, what its guests may import, and its places.
pub(crate) struct Pool {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    /// Whether guests of it may use WASI 0.3.
    is_concurrent: bool,
    places: Semaphore,
    places_max: usize,
    component_places: usize,
    tenant_places: usize,
    /// The share of each component that is loaded and of each tenant for whom calls run or wait. Kept here and not only with the
    /// component, so that one that was dropped and loaded again while its calls run has the same share.
    shares: Mutex<HashMap<Owner, Weak<Semaphore>>>,
    turns: Turns,
    wait: Duration,
    ticks: Ticks,
}

/// Turns on a processor, of which a pool has as many as the machine has processors. A call needs none until it has run for some
/// ticks; from then on it runs only in its turn, a tick long, and beside the runtime's workers. Without that, as many calls as there
/// are places would stand in line at the workers, and with them timers, every short call, and the network.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

/// Ticks that a call runs without a turn: nearly all calls are over by then.
const TICKS_FREE: u64 = 2;

impl Turns {
    fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors)))
    }

    /// Lets others run, and waits for the next turn of this guest.
    async fn next(self, shared: Arc<Shared>) {
        tokio::task::yield_now().await;
        *shared.turn() = self.0.acquire_owned().await.ok();
    }
}

/// Runs what takes long, such as a slice of a call that takes turns. The worker gives what else it has to do to another thread, so
/// that the system, which can interrupt either, decides between the two.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}

/// Who has a share of a pool.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Component(Digest),
    Tenant(Arc<str>),
}

/// The places that calls of one component, or for one tenant, may take.
pub(crate) type Share = Arc<Semaphore>;

/// A place to run in: the component's, the tenant's, and the pool's.
pub(crate) struct Place<'a> {
    _component: SemaphorePermit<'a>,
    _tenant: Option<OwnedSemaphorePermit>,
    _pool: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(
        engine: Engine,
        linker: Linker<Guest>,
        is_concurrent: bool,
        settings: &PoolSettings,
        ticks: Ticks,
    ) -> Self {
        // Tokio panics beyond its own maximum; no machine has so many places.
        let places = |count: u32| (count as usize).min(Semaphore::MAX_PERMITS);
        let places_max = places(settings.concurrency);
        Self {
            engine,
            linker,
            is_concurrent,
            places: Semaphore::new(places_max),
            places_max,
            component_places: places(settings.component_concurrency),
            tenant_places: places(settings.tenant_concurrency),
            shares: Mutex::default(),
            turns: Turns::new(),
            wait: settings.wait,
            ticks,
        }
    }

    /// Places that calls have now.
    pub(crate) fn taken(&self) -> usize {
        self.places_max
            .saturating_sub(self.places.available_permits())
    }

    /// The share of a component or a tenant, the same one for as long as anybody has it.
    pub(crate) fn share(&self, owner: Owner) -> Share {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&owner).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let places = match owner {
            Owner::Component(_) => self.component_places,
            Owner::Tenant(_) => self.tenant_places,
        };
        let share = Arc::new(Semaphore::new(places));
        shares.insert(owner, Arc::downgrade(&share));
        share
    }

    /// A place to run in, before anything is instantiated: the allocator never has to say no. `None` if there was none in time.
    pub(crate) async fn admit<'a>(
        &'a self,
        share: &'a Share,
        tenant: Option<Arc<str>>,
    ) -> Option<Place<'a>> {
        let tenant = tenant.map(|name| self.share(Owner::Tenant(name)));
        // Most calls find one at once. Nobody who waits is overtaken: while one does, there is none.
        if let Some(place) = self.admit_at_once(share, tenant.as_ref()) {
            return Some(place);
        }
        // Who waits for the tenant's holds none that others of the component could use, and who waits for the component's none of the pool's.
        let waited = async {
            let of_tenant = match &tenant {
                Some(share) => Some(Arc::clone(share).acquire_owned().await.ok()?),
                None => None,
            };
            Some(Place {
                _tenant: of_tenant,
                _component: share.acquire().await.ok()?,
                _pool: self.places.acquire().await.ok()?,
            })
        };
        tokio::time::timeout(self.wait, waited).await.ok()?
    }

    fn admit_at_once<'a>(&'a self, share: &'a Share, tenant: Option<&Share>) -> Option<Place<'a>> {
        let of_tenant = match tenant {
            Some(share) => Some(Arc::clone(share).try_acquire_owned().ok()?),
            None => None,
        };
        Some(Place {
            _tenant: of_tenant,
            _component: share.try_acquire().ok()?,
            _pool: self.places.try_acquire().ok()?,
        })
    }

    /// A store in which every limit is set already: start functions run during instantiation.
    pub(crate) fn store(
        &self,
        guest: Guest,
        limits: &Limits,
        cancel: &Cancel,
    ) -> wasmtime::Result<Store<Guest>> {
        let mut store = Store::try_new(&self.engine, guest)?;
        store.set_fuel(limits.fuel)?;
        store.limiter(|guest| &mut guest.meter);
        // An operator who allows larger answers means it; memory bounds them.
        let output_bytes = usize::try_from(limits.output_bytes).unwrap_or(usize::MAX);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX.max(output_bytes));
        store.set_max_component_handles(RESOURCES_MAX);
        // Tasks, threads, streams and futures of WASI 0.3.
        if self.is_concurrent
            && let Some(table) = store.concurrent_resource_table()
        {
            table.set_max_capacity(RESOURCES_MAX);
        }
        store.set_epoch_deadline(1);
        let (ticks, deadline) = (self.ticks.clone(), self.ticks.after(limits.wall));
        let (turns, started) = (self.turns.clone(), self.ticks.now());
        let (cancel, fuel) = (cancel.clone(), limits.fuel);
        store.epoch_deadline_callback(move |mut store| {
            let guest = store.data_mut();
            guest.ticks_run = guest.ticks_run.saturating_add(1);
            let used = fuel
                .saturating_sub(store.get_fuel()?)
                .saturating_add(store.data().owed());
            let stop = if cancel.is_cancelled() {
                Stop::Cancelled
            } else if ticks.now() >= deadline {
                Stop::Timeout
            } else if used > fuel {
                Stop::OutOfFuel
            } else if ticks.now() <= started + TICKS_FREE {
                // Others run now; the guest does not wait.
                store.data().shared.clock.stay();
                return Ok(UpdateDeadline::Yield(1));
            } else {
                let shared = Arc::clone(&store.data().shared);
                *shared.turn() = None;
                shared.take_turns();
                let next = turns.clone().next(Arc::clone(&shared));
                let next = async move { shared.clock.outside(next).await };
                return Ok(UpdateDeadline::YieldCustom(1, Box::pin(next)));
            };
            Err(store.data_mut().stop(stop))
        });
        Ok(store)
    }
}
