//! Decides when a task is run. A task is in memory only while it runs: waiting costs a row.
//!
//! What is due stands in the database, so that starting up is nothing special: the first look finds what a host left behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::runner::{Fresh, Handle, RunError, Runner};
use super::task::Task;
use super::tasks::TaskView;
use super::tenants::share;
use super::{Engine, lock};
use crate::store::{DueTask, StoreError, TaskRow};

/// Tasks that run at once; the rest stays in the database.
pub(crate) const RUNNING_MAX: usize = 256;
/// The longest time between two looks, whatever the database says about the next one due.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Rest after the database failed.
const REST: Duration = Duration::from_secs(1);
/// Times a task that cannot be run is tried before it is left for a later look.
const TRIES: u32 = 5;
/// Time running tasks are given when the host stops. What is not done then goes on at the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// Tasks that are running, by id.
pub(crate) type Active = HashMap<String, Running>;

/// A task that is running: whose it is, and how to reach it.
pub(crate) struct Running {
    tenant: Arc<str>,
    handle: Arc<Handle>,
}

impl Engine {
    /// Looks for due tasks until the engine stops.
    pub(crate) async fn schedule(self) {
        let mut stopping = self.0.stopping.subscribe();
        while !*stopping.borrow() {
            let rest = match self.start_due().await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::error!(%error, "due tasks could not be looked up");
                    REST
                }
            };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = sleep(rest) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// Starts what is due and can run; gives the time until more is due.
    async fn start_due(&self) -> Result<Duration, StoreError> {
        let now = self.0.clock.now();
        let free = self.0.permits.available_permits();
        if free == 0 {
            // Whoever leaves tells.
            self.0.backlog.store(true, Ordering::SeqCst);
            return Ok(LOOK_EVERY);
        }
        let tenants = self.0.tenants.all();
        // Those that run may be due as well; look past them.
        let limit = u32::try_from(free + lock(&self.0.active).len()).unwrap_or(u32::MAX);
        let due = self.0.store.due(now, &tenants, limit).await?;
        for task in in_turn(due) {
            if lock(&self.0.active).contains_key(&task.id) {
                continue;
            }
            match self.room(&task.tenant) {
                Some(permit) => self.spawn(task.id, task.tenant.into(), None, permit),
                None => self.0.backlog.store(true, Ordering::SeqCst),
            }
        }
        let next = self.0.store.next_wake(now, &tenants).await?;
        let until =
            next.map(|next| Duration::from_millis(next.unix_ms().saturating_sub(now.unix_ms())));
        Ok(until.map_or(LOOK_EVERY, |until| {
            until.clamp(Duration::from_millis(1), LOOK_EVERY)
        }))
    }

    /// Room to run a task that was just submitted; none where it is over already or the host stops.
    pub(crate) fn room_for(&self, task: &Task) -> Option<OwnedSemaphorePermit> {
        if task.state.is_final() || *self.0.stopping.borrow() {
            return None;
        }
        self.room(&task.tenant)
    }

    /// Room to run a task of this tenant, which may not have all of it where there are others.
    fn room(&self, tenant: &str) -> Option<OwnedSemaphorePermit> {
        if self.0.tenants.all().len() > 1 {
            let active = lock(&self.0.active);
            let running = active.values().filter(|task| *task.tenant == *tenant);
            if running.count() >= share(RUNNING_MAX) {
                return None;
            }
        }
        Arc::clone(&self.0.permits).try_acquire_owned().ok()
    }

    /// Runs a task that was just submitted.
    pub(crate) fn run_new(&self, fresh: Fresh, room: OwnedSemaphorePermit) {
        let (id, tenant) = (fresh.task.id.clone(), Arc::clone(&fresh.task.tenant));
        self.spawn(id, tenant, Some(fresh), room);
    }

    /// A task is in the database and did not find room to run.
    pub(crate) fn run_later(&self) {
        self.0.backlog.store(true, Ordering::SeqCst);
        // Room may have come in the meantime, and then nobody leaves who would tell.
        if self.0.permits.available_permits() > 0 {
            self.0.wake.notify_one();
        }
    }

    /// A task's row was changed by somebody who does not run it.
    pub(crate) fn poke(&self, id: &str) {
        match lock(&self.0.active).get(id) {
            Some(running) => running.handle.poke(),
            None => self.0.wake.notify_one(),
        }
    }

    /// A task is to stop.
    pub(crate) fn cancel_running(&self, id: &str) {
        match lock(&self.0.active).get(id) {
            Some(running) => running.handle.cancel(),
            None => self.0.wake.notify_one(),
        }
    }

    /// Steps of a task that run here now, by their index, with their attempts.
    pub(crate) fn in_sandbox(&self, id: &str) -> BTreeMap<usize, u32> {
        let active = lock(&self.0.active);
        let running = active.get(id).map(|running| Arc::clone(&running.handle));
        drop(active);
        running
            .map(|handle| handle.in_sandbox())
            .unwrap_or_default()
    }

    fn spawn(
        &self,
        id: String,
        tenant: Arc<str>,
        fresh: Option<Fresh>,
        permit: OwnedSemaphorePermit,
    ) {
        let handle = Arc::new(Handle::default());
        {
            let mut active = lock(&self.0.active);
            if active.contains_key(&id) {
                return;
            }
            let handle = Arc::clone(&handle);
            active.insert(id.clone(), Running { tenant, handle });
        }
        let stay = Stay {
            engine: self.clone(),
            id,
            handle,
            permit: Some(permit),
        };
        tokio::spawn(stay.run(fresh));
    }

    /// Stops taking up tasks and gives those that run a moment to end.
    pub async fn shutdown(&self) {
        self.0.stopping.send_replace(true);
        let all = u32::try_from(RUNNING_MAX).unwrap_or(u32::MAX);
        if timeout(DRAIN, self.0.permits.acquire_many(all))
            .await
            .is_err()
        {
            tracing::warn!("tasks still run; they go on when the host starts again");
        }
    }
}

/// The first of each tenant, then the second of each, and so on. They come one tenant after the other.
fn in_turn(due: Vec<DueTask>) -> Vec<DueTask> {
    let mut place = 0;
    let mut last = None;
    let mut placed: Vec<(usize, DueTask)> = Vec::with_capacity(due.len());
    for task in due {
        place = if last.as_ref() == Some(&task.tenant) {
            place + 1
        } else {
            0
        };
        last = Some(task.tenant.clone());
        placed.push((place, task));
    }
    // Stable: the order of tenants stays.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, task)| task).collect()
}

/// A task's stay among those that run. Dropping it, by a panic too, makes room and lets the task be found again.
struct Stay {
    engine: Engine,
    id: String,
    handle: Arc<Handle>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Stay {
    async fn run(self, mut fresh: Option<Fresh>) {
        for tries in 1..=TRIES {
            loop {
                match self.drive(fresh.take()).await {
                    Ok((task, row)) => {
                        if self.leave(&task, row) {
                            return;
                        }
                    }
                    Err(RunError::NotAccepted) => return,
                    Err(error) => {
                        tracing::error!(task = %self.id, %error, tries, "a task could not be run; it is loaded again");
                        break;
                    }
                }
            }
            if *self.engine.0.stopping.borrow() {
                return;
            }
            sleep(REST * tries).await;
        }
    }

    async fn drive(&self, fresh: Option<Fresh>) -> Result<(Task, TaskRow), RunError> {
        let (engine, handle) = (self.engine.clone(), Arc::clone(&self.handle));
        let driven = match fresh {
            Some(fresh) => Runner::fresh(engine, fresh, handle).drive().await,
            None => Runner::load(engine, &self.id, handle).await?.drive().await,
        };
        self.handle.left_sandbox();
        driven
    }

    /// Leaves, unless somebody poked the task since it was last looked at.
    fn leave(&self, task: &Task, row: TaskRow) -> bool {
        let mut active = lock(&self.engine.0.active);
        if self.handle.is_poked() && !task.state.is_final() {
            return false;
        }
        active.remove(&self.id);
        drop(active);
        if !task.state.is_final() {
            // It may be due soon.
            self.engine.0.wake.notify_one();
        }
        let waiters = &self.engine.0.waiters;
        waiters.stopped(&self.id, || TaskView::new(task, row));
        true
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut active = lock(&self.engine.0.active);
        if active
            .get(&self.id)
            .is_some_and(|running| Arc::ptr_eq(&running.handle, &self.handle))
        {
            active.remove(&self.id);
        }
        drop(active);
        drop(self.permit.take());
        if self.engine.0.backlog.swap(false, Ordering::SeqCst) {
            self.engine.0.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_all_of_another_tenants_tasks() {
        let due = ["a1", "a2", "a3", "b1", "c1", "c2"].map(|task| DueTask {
            tenant: task[..1].to_owned(),
            id: task.to_owned(),
        });
        let order: Vec<_> = in_turn(due.into())
            .into_iter()
            .map(|task| task.id)
            .collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "c2", "a3"]);
    }
}
