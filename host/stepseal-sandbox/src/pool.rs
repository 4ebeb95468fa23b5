//! Places to run in: how many calls run at a time, and how long one waits for its turn.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::Linker;
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::cancel::Cancel;
use crate::guest::{Guest, Stop};
use crate::limits::{HOST_CALL_BYTES_MAX, Limits, RESOURCES_MAX};
use crate::settings::PoolSettings;
use crate::ticker::Ticks;

/// An engine, what its guests may import, and its places.
pub(crate) struct Pool {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    places: Semaphore,
    wait: Duration,
    ticks: Ticks,
}

impl Pool {
    pub(crate) fn new(
        engine: Engine,
        linker: Linker<Guest>,
        settings: &PoolSettings,
        ticks: Ticks,
    ) -> Self {
        // Tokio panics beyond its own maximum; no machine has so many places.
        let places = (settings.concurrency as usize).min(Semaphore::MAX_PERMITS);
        Self {
            engine,
            linker,
            places: Semaphore::new(places),
            wait: settings.wait,
            ticks,
        }
    }

    /// A place to run in, before anything is instantiated: the allocator never has to say no. `None` if there was none in time.
    pub(crate) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        tokio::time::timeout(self.wait, self.places.acquire())
            .await
            .ok()?
            .ok()
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
        store.set_epoch_deadline(1);
        let (ticks, deadline) = (self.ticks.clone(), self.ticks.after(limits.wall));
        let (cancel, fuel) = (cancel.clone(), limits.fuel);
        store.epoch_deadline_callback(move |mut store| {
            let used = fuel
                .saturating_sub(store.get_fuel()?)
                .saturating_add(store.data().owed());
            let stop = if cancel.is_cancelled() {
                Stop::Cancelled
            } else if ticks.now() >= deadline {
                Stop::Timeout
            } else if used > fuel {
                Stop::OutOfFuel
            } else {
                return Ok(UpdateDeadline::Yield(1));
            };
            Err(store.data_mut().stop(stop))
        });
        Ok(store)
    }
}
