//! What is compiled now, for those who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepseal_receipts::digest::Digest;

use crate::ticker::Ticks;

/// A component that is compiled, or is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilation {
    /// Of its bytes.
    pub digest: Digest,
    /// Its size, once its turn has come; until then it waits.
    pub component_bytes: Option<u64>,
    /// How long it has waited, or been compiled.
    pub elapsed: Duration,
}

/// Everything that waits or is compiled, the oldest first.
#[derive(Clone)]
pub(crate) struct Progress {
    ticks: Ticks,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    listed: Vec<Entry>,
}

struct Entry {
    number: u64,
    digest: Digest,
    component_bytes: Option<u64>,
    since: u64,
}

/// One of them, for as long as somebody waits for it.
pub(crate) struct Listed {
    progress: Progress,
    number: u64,
}

impl Progress {
    pub(crate) fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            entries: Arc::default(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A component waits for its turn.
    pub(crate) fn wait(&self, digest: Digest) -> Listed {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        entries.listed.push(Entry {
            number,
            digest,
            component_bytes: None,
            since: self.ticks.now(),
        });
        Listed {
            progress: self.clone(),
            number,
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<Compilation> {
        let entries = self.entries();
        let compilations = entries.listed.iter().map(|entry| Compilation {
            digest: entry.digest,
            component_bytes: entry.component_bytes,
            elapsed: self.ticks.since(entry.since),
        });
        compilations.collect()
    }
}

impl Listed {
    /// Its turn has come.
    pub(crate) fn compile(&self, component_bytes: usize) {
        let now = self.progress.ticks.now();
        let mut entries = self.progress.entries();
        let own = entries
            .listed
            .iter_mut()
            .find(|entry| entry.number == self.number);
        if let Some(entry) = own {
            (entry.component_bytes, entry.since) = (Some(component_bytes as u64), now);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.progress
            .entries()
            .listed
            .retain(|entry| entry.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_listed() {
        let progress = Progress::new(Ticks::default());
        let [first, second] = [[1], [2]].map(|bytes| Digest::of(&bytes));
        let (one, two) = (progress.wait(first), progress.wait(second));
        one.compile(77);
        let listed = progress.list();
        assert_eq!(
            listed
                .iter()
                .map(|c| (c.digest, c.component_bytes))
                .collect::<Vec<_>>(),
            [(first, Some(77)), (second, None)]
        );
        drop(one);
        assert_eq!(progress.list().len(), 1);
        drop(two);
        assert!(progress.list().is_empty());
    }
}
