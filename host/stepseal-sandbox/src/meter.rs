//! Memory of one instance, counted over all its memories and tables together.

use wasmtime::ResourceLimiter;

use crate::limits::{CORE_INSTANCES_MAX, TABLE_ENTRY_BYTES};

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
}

impl Meter {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            in_use: 0,
            peak: 0,
            refusal: None,
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

    /// A growth failed. What was permitted is not taken back: wasmtime tells of failures it never asked about (sizes that the
    /// type cannot have), and a guest must not have an earlier growth forgotten by failing on purpose.
    fn failed(&mut self, what: &str) {
        self.refuse(|| format!("{what} could not grow"));
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

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("memory");
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |entries: usize| (entries as u64).saturating_mul(TABLE_ENTRY_BYTES);
        Ok(self.grow("table", bytes(current), bytes(desired), maximum.map(bytes)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed("table");
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        CORE_INSTANCES_MAX
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
    fn a_growth_that_failed_is_remembered_and_still_counts() {
        let mut meter = Meter::new(1_000);
        assert!(meter.memory_growing(0, 600, None).unwrap());
        meter
            .memory_grow_failed(wasmtime::Error::msg("no pages"))
            .unwrap();
        assert!(meter.refusal().is_some());
        assert!(!meter.memory_growing(600, 1_100, None).unwrap());
        assert_eq!(meter.peak(), 600);
    }

    #[test]
    fn a_growth_over_the_own_maximum_is_remembered() {
        let mut meter = Meter::new(1_000);
        assert!(!meter.memory_growing(100, 200, Some(150)).unwrap());
        assert!(meter.refusal().unwrap().contains("may have 150"));
    }
}
