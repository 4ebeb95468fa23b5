//! Other hosts on the same database: this one joins them, and hears what they do.
//!
//! Nothing rests on being told: every commit checks that the task is this host's and that what it was judged by is in force. Being told makes
//! it quick.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Engine, EngineError, lock};
use crate::store::{News, StoreError};

impl Engine {
    /// Serves the database under the name of a data directory from now on, beside other hosts.
    pub async fn join(&self, name: &str, lease: Duration) -> Result<(), EngineError> {
        self.0.store.join(name, lease).await?;
        // They may have been changed since they were looked at; from here on that would be noticed.
        self.check_identity().await
    }

    /// Does what others make necessary, until the engine stops.
    pub(super) async fn hear(self) {
        let mut stopping = self.0.stopping.subscribe();
        loop {
            let news = tokio::select! {
                news = self.0.store.news() => news,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            self.heard(news);
        }
    }

    fn heard(&self, news: News) {
        match news {
            News::Changed { tasks, due } => {
                for task in &tasks {
                    self.0.waiters.changed(task);
                }
                if due {
                    self.0.wake.notify_one();
                }
            }
            News::Poked(task) => self.poke(&task),
            News::Cancelled(task) => self.cancel_running(&task),
            News::Due => {
                self.0.wake.notify_one();
                self.0.wake_schedules.notify_one();
            }
            News::Rules => self.rules_changed(),
            News::Missed => {
                self.rules_changed();
                self.0.waiters.all_changed();
                for handle in lock(&self.0.active).values() {
                    handle.poke();
                }
                self.0.wake.notify_one();
            }
            News::Lost => {
                for handle in lock(&self.0.active).values() {
                    handle.lose();
                }
            }
        }
    }

    /// What this host goes by is to be read again before it is gone by.
    pub(super) fn rules_changed(&self) {
        self.0.rules_stale.store(true, Ordering::SeqCst);
    }

    /// Sees to it that tenants are those of the database: another host may have shut one out, or let one in. Whoever is not `known` takes turns
    /// with others who are not.
    pub async fn freshen_tenants(&self, known: bool) -> Result<(), StoreError> {
        if !self.0.store.is_shared() {
            return Ok(());
        }
        let _turn = if known {
            None
        } else {
            Some(self.0.strangers.lock().await)
        };
        let version = self.0.store.rules_version().await?;
        if self.0.tenants.version() == version {
            return Ok(());
        }
        self.reload_tenants().await
    }
}
