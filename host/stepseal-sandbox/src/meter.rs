//! Memory of one instance, counted over all its memories and tables together.

use wasmtime::{OutOfMemory, ResourceLimiter};

use crate::limits::{
    CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ENTRIES_MAX, TABLE_ENTRY_BYTES, TABLES_MAX,
};

/// Counts and limits the memory of one store. Wasmtime's own `StoreLimits` is per memory: ten memories would have ten
/// times the limit.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    in_use: u64,
    peak: u64,
    /// What was refused first. A guest cannot be asked: in most languages a failed allocation ends as the same
    /// `unreachable` as any other panic.
    refusal: Option<String>,
    /// The system had no memory for a growth that was permitted.
    host_is_short: bool,
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            in_use: 0,
            peak: 0,
            refusal: None,
            host_is_short: false,
        }
    }

    /// Most bytes in use at a time.
    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    /// What was refused, for people.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn grow(&mut self, what: &str, current: u64, desired: u64, maximum: Option<u64>) -> bool {
        let growth = desired.saturating_sub(current);
        let wanted = self.in_use.saturating_add(growth);
        if wanted > self.limit {
            let limit = self.limit;
            self.refuse(|| {
                format!("{what} would have grown to {wanted} bytes in all, the limit is {limit}")
            });
            return false;
        }
        // The maximum includes the pool's bound. Wasmtime would refuse by itself, but then nobody would remember it.
        if let Some(maximum) = maximum.filter(|maximum| desired > *maximum) {
            self.refuse(|| {
                format!("one {what} would have grown to {desired} bytes, it may have {maximum}")
            });
            return false;
        }
        self.in_use = wanted;
        self.peak = self.peak.max(wanted);
        true
    }

    /// Whether a growth failed for want of the host's memory, not of the guest's own.
    pub(crate) fn host_is_short(&self) -> bool {
        self.host_is_short
    }

    /// A growth failed after it was permitted, or without that wasmtime asked (sizes that the type cannot have). Where it was the
    /// system that refused, the guest is stopped: what it does next would depend on this host's memory, and what was counted
    /// does not matter any more. Otherwise nothing had been permitted, so there is nothing to take back.
    fn failed(&mut self, what: &str, error: wasmtime::Error) -> wasmtime::Result<()> {
        if error.is::<std::io::Error>() || error.is::<OutOfMemory>() {
            self.host_is_short = true;
            return Err(error);
        }
        self.refuse(|| format!("{what} could not grow: {error}"));
        Ok(())
    }

    fn refuse(&mut self, text: impl FnOnce() -> String) {
        self.refusal.get_or_insert_with(text);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(
            "memory",
            current as u64,
            desired as u64,
            maximum.map(|maximum| maximum as u64),
        ))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("memory", error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |entries: usize| (entries as u64).saturating_mul(TABLE_ENTRY_BYTES);
        let maximum = maximum.map_or(TABLE_ENTRIES_MAX, |maximum| maximum.min(TABLE_ENTRIES_MAX));
        let maximum = Some(bytes(maximum));
        Ok(self.grow("table", bytes(current), bytes(desired), maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("table", error)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut meter = Meter::new(1_000);
        assert!(meter.memory_growing(0, 500, None).unwrap());
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(!meter.table_growing(0, 7, None).unwrap());
        assert!(meter.table_growing(0, 6, None).unwrap());
        assert_eq!(meter.peak(), 996);
        assert!(
            meter
                .refusal()
                .unwrap()
                .contains("table would have grown to 1012")
        );
    }

    #[test]
    fn what_was_refused_is_not_counted() {
        let mut meter = Meter::new(1_000);
        assert!(meter.memory_growing(0, 600, None).unwrap());
        assert!(!meter.memory_growing(600, 1_100, None).unwrap());
        assert!(!meter.table_growing(0, 10, Some(9)).unwrap());
        // Wasmtime did not ask first, so nothing is taken back: a guest cannot have an earlier growth forgotten.
        let too_large = wasmtime::Error::msg("memory growth exceeds memory type's limits");
        meter.memory_grow_failed(too_large).unwrap();
        assert!(!meter.memory_growing(600, 1_001, None).unwrap());
        assert!(meter.memory_growing(600, 1_000, None).unwrap());
        assert_eq!(meter.peak(), 1_000);
    }

    #[test]
    fn a_guest_whose_growth_the_system_refused_is_stopped_and_not_to_blame() {
        for error in [
            wasmtime::Error::from(std::io::Error::from(std::io::ErrorKind::OutOfMemory)),
            wasmtime::Error::from(OutOfMemory::new(65_536)),
        ] {
            let mut meter = Meter::new(1 << 20);
            assert!(meter.memory_growing(0, 65_536, None).unwrap());
            assert!(meter.memory_grow_failed(error).is_err());
            assert!(meter.host_is_short() && meter.refusal().is_none());
        }
    }

    #[test]
    fn a_table_is_bounded_in_entries_too() {
        let mut meter = Meter::new(1 << 30);
        assert!(meter.table_growing(0, TABLE_ENTRIES_MAX, None).unwrap());
        assert!(!meter.table_growing(0, TABLE_ENTRIES_MAX + 1, None).unwrap());
        assert!(meter.refusal().unwrap().contains("it may have"));
    }

    #[test]
    fn a_growth_over_the_own_maximum_is_remembered() {
        let mut meter = Meter::new(1_000);
        assert!(!meter.memory_growing(100, 200, Some(150)).unwrap());
        assert!(meter.refusal().unwrap().contains("may have 150"));
    }
}
