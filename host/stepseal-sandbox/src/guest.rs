//! The state of one running guest: what its store carries from instantiation to the answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepseal_receipts::time::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::access::{Access, World};
use crate::capability::base;
use crate::capability::clocks::Clock;
use crate::capability::http::Http;
use crate::capability::keyvalue::KeyValue;
use crate::capability::logging::Log;
use crate::capability::random::Random;
use crate::limits::{HOST_BYTES_PER_FUEL, HOST_CALL_FUEL, Limits, RESOURCES_MAX};
use crate::meter::Meter;
use crate::secrets::Secrets;
use crate::transcript::Journal;

/// Why the host stopped a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the wall limit was reached")]
    Timeout,
    #[error("the call was cancelled")]
    Cancelled,
    #[error("host calls used up the fuel")]
    OutOfFuel,
    #[error("the key-value store could not be read")]
    BucketsUnavailable,
    #[error("{0}")]
    SecretLeak(String),
    #[error("{0}")]
    Replay(String),
}

/// The data of a store.
pub(crate) struct Guest {
    pub(crate) meter: Meter,
    pub(crate) table: ResourceTable,
    pub(crate) random: Random,
    /// What `wasi:config/store` holds.
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) keyvalue: KeyValue,
    pub(crate) http: Http,
    pub(crate) journal: Journal,
    /// What must not leave through the guest, where it has to do with secrets.
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) shared: Arc<Shared>,
    /// Why the host stopped it. Kept here because an error's type may be lost on its way through the guest.
    pub(crate) stop: Option<Stop>,
    /// How often it ran until the next tick. Where this is little, its time went by while others ran.
    pub(crate) ticks_run: u32,
    /// Fuel that host calls cost. Kept beside wasmtime's own count because most host calls cannot reach the store: it is
    /// settled at every tick and at the end. Both counts only rise, so whether they fit the limit does not depend on when
    /// one looks.
    owed: u64,
    /// Made at the first WASI call: most guests make none, and it is the dearest part of this struct.
    wasi: Option<Box<WasiCtx>>,
}

/// What streams and timers of the guest share with it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    log: Mutex<Log>,
    turn: Mutex<Option<OwnedSemaphorePermit>>,
    /// Whether the call has run for so long that it runs in turns only.
    long: AtomicBool,
    /// Writes to streams, which cost as much as host calls.
    writes: AtomicU64,
}

impl Shared {
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest's turn on a processor, where it needs one and has it; see [`Turns`](crate::pool::Turns).
    pub(crate) fn turn(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the call runs in turns only.
    pub(crate) fn take_turns(&self) {
        self.long.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn takes_turns(&self) -> bool {
        self.long.load(Ordering::Relaxed)
    }

    /// Charges one write to a stream.
    pub(crate) fn charge_call(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Guest {
    pub(crate) fn new(limits: &Limits, seed: [u8; 32], start: Timestamp, access: Access) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            meter: Meter::new(limits.memory_bytes),
            table,
            random: Random::new(seed),
            config: access.config,
            keyvalue: KeyValue::new(&access.world),
            http: Http::new(&access.world),
            secrets: match &access.world {
                World::Live(live) => live.http.as_ref().map(|http| Arc::clone(&http.secrets)),
                World::None | World::Replay(_) => None,
            },
            journal: match access.world {
                World::Replay(recorded) => Journal::replay(recorded),
                World::None | World::Live(_) => Journal::default(),
            },
            shared: Arc::new(Shared {
                clock: Clock::new(start),
                log: Mutex::default(),
                turn: Mutex::default(),
                long: AtomicBool::new(false),
                writes: AtomicU64::new(0),
            }),
            stop: None,
            ticks_run: 0,
            owed: 0,
            wasi: None,
        }
    }

    /// Charges one host call that handles `bytes`.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.owed = self
            .owed
            .saturating_add(HOST_CALL_FUEL + bytes as u64 / HOST_BYTES_PER_FUEL);
    }

    /// Fuel that host calls cost until now.
    pub(crate) fn owed(&self) -> u64 {
        let writes = self.shared.writes.load(Ordering::Relaxed);
        self.owed
            .saturating_add(writes.saturating_mul(HOST_CALL_FUEL))
            .saturating_add(self.shared.log().printed_bytes() / HOST_BYTES_PER_FUEL)
    }

    /// The name of a secret that is in these bytes.
    pub(crate) fn secret_in(&self, bytes: &[u8]) -> Option<&str> {
        self.secrets.as_ref()?.find(bytes)
    }

    /// Stops the guest where a secret is in what it gives away.
    pub(crate) fn refuse_secrets(&mut self, bytes: &[u8], of: &str) -> wasmtime::Result<()> {
        let Some(name) = self.secret_in(bytes) else {
            return Ok(());
        };
        let stop = Stop::SecretLeak(format!("{of} of the step has the secret {name} in it"));
        Err(self.stop(stop))
    }

    /// Stops the guest: remembers why, and gives the error to trap with.
    pub(crate) fn stop(&mut self, stop: Stop) -> wasmtime::Error {
        self.stop = Some(stop.clone());
        wasmtime::Error::from(stop)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.charge(0);
        let ctx = self
            .wasi
            .get_or_insert_with(|| Box::new(base::empty_context(&self.shared)));
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}
