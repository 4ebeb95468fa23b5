//! The clock that stops overlong calls: a thread, because a runtime whose workers all run guests has no time to tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// How often running guests look whether they must stop, and let others run.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Counts ticks; clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// How long a tick is ago.
    pub(crate) fn since(&self, tick: u64) -> Duration {
        let ticks = u32::try_from(self.now().saturating_sub(tick)).unwrap_or(u32::MAX);
        TICK.saturating_mul(ticks)
    }

    /// The tick at which so much time has passed from now on.
    pub(crate) fn after(&self, duration: Duration) -> u64 {
        let ticks =
            u64::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX);
        // One more, since the current tick has begun already.
        self.now().saturating_add(ticks).saturating_add(1)
    }
}

/// Starts the thread. It ends when the engines are gone.
pub(crate) fn start<const N: usize>(engines: [&Engine; N]) -> std::io::Result<Ticks> {
    let ticks = Ticks::default();
    let counter = ticks.clone();
    let engines = engines.map(Engine::weak);
    std::thread::Builder::new()
        .name("stepseal-ticker".to_owned())
        .spawn(move || run(&engines, &counter))?;
    Ok(ticks)
}

fn run<const N: usize>(engines: &[EngineWeak; N], ticks: &Ticks) {
    loop {
        std::thread::sleep(TICK);
        let alive = engines
            .each_ref()
            .map(|engine| engine.upgrade().map(|engine| engine.increment_epoch()));
        if alive.iter().all(Option::is_none) {
            return;
        }
        ticks.0.fetch_add(1, Ordering::Relaxed);
    }
}
