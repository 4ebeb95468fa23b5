//! Decides when a task is run. A task is in memory only while it runs: waiting costs a row.
//!
//! What is due stands in the database, so that starting up is nothing special: the first look finds what a host left behind.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stepseal_receipts::time::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::plan::BACKOFF_MS_MAX;
use super::runner::{Fresh, Handle, RunError, Runner};
use super::task::Task;
use super::tasks::TaskView;
use super::tenants::share;
use super::{Engine, lock};
use crate::store::{CommitError, DueTask, KeyValueChanges, StoreError, TaskRow, Transition};

/// How many tasks a host takes, and how it keeps them.
#[derive(Clone, Copy, Debug)]
pub struct TaskLimits {
    /// Those that run at once; the rest stays in the database.
    pub running: u32,
    /// Those of one tenant that are due and do not run. One more is not taken.
    pub queued: u32,
    /// Whether each pure step is committed when it ends, before another one begins that needs it.
    pub commit_per_step: bool,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            running: 256,
            queued: 10_000,
            commit_per_step: false,
        }
    }
}

/// The longest time between two looks, whatever the database says about the next one due.
const LOOK_EVERY: Duration = Duration::from_millis(LOOK_EVERY_MS);
const LOOK_EVERY_MS: u64 = 30_000;
/// How far a clock may be put back, as those are that follow others, in milliseconds, without that anything is made due for it.
const CLOCK_BACK_MS: u64 = 1_000;
/// Rest after the database failed.
const REST: Duration = Duration::from_secs(1);
/// Times a task that cannot be run is tried before it is left for a later look.
const TRIES: u32 = 5;
/// Time running tasks are given when the host stops. What is not done then goes on at the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// Tasks that are running, and how to reach them.
pub(crate) type Active = HashMap<String, Arc<Handle>>;

/// How many tasks of each tenant run or are about to.
pub(crate) type Running = HashMap<Arc<str>, usize>;

/// Room for a task to run in, its tenant's and the host's. Giving it back tells whoever waits for it.
pub(crate) struct Room {
    engine: Engine,
    tenant: Arc<str>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Room {
    fn drop(&mut self) {
        {
            let mut running = lock(&self.engine.0.running);
            if let Some(count) = running.get_mut(&self.tenant) {
                *count -= 1;
                if *count == 0 {
                    running.remove(&self.tenant);
                }
            }
        }
        drop(self.permit.take());
        if self.engine.0.backlog.swap(false, Ordering::SeqCst) {
            self.engine.0.wake.notify_one();
        }
    }
}

impl Engine {
    /// Looks for due tasks until the engine stops.
    pub(crate) async fn schedule(self) {
        let mut stopping = self.0.stopping.subscribe();
        let mut looked = None;
        while !*stopping.borrow() {
            let rest = match self.start_due(&mut looked).await {
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

    /// Now, and when it was looked last. Where the clock was put back, also while no host ran, nothing waits until it is as late again.
    async fn follow_clock(&self, looked: &mut Option<Timestamp>) -> Result<Timestamp, StoreError> {
        let now = self.0.clock.now();
        let back = |looked: Timestamp| looked.unix_ms().saturating_sub(now.unix_ms());
        if looked.is_none_or(|looked| back(looked) > CLOCK_BACK_MS) {
            let latest = looked
                .unwrap_or(now)
                .unix_ms()
                .saturating_add(BACKOFF_MS_MAX);
            let until = Timestamp::from_unix_ms(latest).unwrap_or(now);
            self.0.store.hasten(until).await?;
        }
        *looked = Some(now);
        Ok(now)
    }

    /// Starts what is due and can run; gives the time until more is due.
    async fn start_due(&self, looked: &mut Option<Timestamp>) -> Result<Duration, StoreError> {
        if self.0.tenants_stale.load(Ordering::SeqCst) {
            self.reload_tenants().await?;
        }
        let now = self.follow_clock(looked).await?;
        let free = self.0.permits.available_permits();
        if free == 0 {
            self.hear_of_room();
            return Ok(LOOK_EVERY);
        }
        let tenants = self.0.tenants.all();
        // Those that run may be due as well; look past them.
        let limit = u32::try_from(free + lock(&self.0.active).len()).unwrap_or(u32::MAX);
        let mut due = self.0.store.due(now, &tenants, limit).await?;
        {
            let active = lock(&self.0.active);
            due.retain(|task| !active.contains_key(&task.id));
        }
        let running = lock(&self.0.running).clone();
        let mut put_off = BTreeSet::new();
        let mut rooms = BTreeMap::new();
        for task in in_turn(due, &running) {
            if put_off.contains(&task.tenant) {
                continue;
            }
            let tenant: Arc<str> = task.tenant.as_str().into();
            match self.room(&tenant) {
                Some(room) => {
                    rooms.insert(task.id, room);
                }
                None => {
                    put_off.insert(task.tenant);
                }
            }
        }
        if !rooms.is_empty() {
            let ids: Vec<String> = rooms.keys().cloned().collect();
            for id in self.0.store.take_up(&ids).await? {
                if let Some(room) = rooms.remove(&id) {
                    self.spawn(id, None, room);
                }
            }
        }
        // More may be due than there is room for, which was not looked at.
        self.hear_of_room();
        // What could not be taken up is another host's, or somebody writes to it just now.
        let missed = self.0.store.is_shared() && !rooms.is_empty();
        // Room that is given back tells whoever is put off below.
        drop(rooms);
        for tenant in put_off {
            self.run_later(&tenant.into());
        }
        if missed {
            return Ok(REST);
        }
        let next = self.0.store.next_wake(now, &tenants).await?;
        let until =
            next.map(|next| Duration::from_millis(next.unix_ms().saturating_sub(now.unix_ms())));
        Ok(until.map_or(LOOK_EVERY, |until| {
            until.clamp(Duration::from_millis(1), LOOK_EVERY)
        }))
    }

    /// Lets the next task that leaves tell, where there is no room now. One may have left in between.
    fn hear_of_room(&self) {
        if self.0.permits.available_permits() > 0 {
            return;
        }
        self.0.backlog.store(true, Ordering::SeqCst);
        if self.0.permits.available_permits() > 0 {
            self.0.wake.notify_one();
        }
    }

    /// Room to run a task that was just submitted; none where it is over already or the host stops.
    pub(crate) fn room_for(&self, task: &Task) -> Option<Room> {
        if task.state.is_final() || *self.0.stopping.borrow() {
            return None;
        }
        self.room(&task.tenant)
    }

    /// How many tasks of a tenant run.
    pub(crate) fn running_of(&self, tenant: &str) -> usize {
        let running = lock(&self.0.running);
        running.get(tenant).copied().unwrap_or_default()
    }

    /// How many tasks of a tenant may run.
    pub(crate) fn most_running(&self) -> usize {
        let all = self.0.task_limits.running as usize;
        if self.0.tenants.any() {
            share(all)
        } else {
            all
        }
    }

    /// Room to run a task of this tenant, which may not have all of it where there are others.
    fn room(&self, tenant: &Arc<str>) -> Option<Room> {
        let most = self.most_running();
        let mut running = lock(&self.0.running);
        let count = running.get(tenant).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        let permit = Arc::clone(&self.0.permits).try_acquire_owned().ok()?;
        running.insert(Arc::clone(tenant), count + 1);
        Some(Room {
            engine: self.clone(),
            tenant: Arc::clone(tenant),
            permit: Some(permit),
        })
    }

    /// Runs a task that was just submitted.
    pub(crate) fn run_new(&self, fresh: Fresh, room: Room) {
        self.spawn(fresh.task.id.clone(), Some(fresh), room);
    }

    /// A task of this tenant is in the database and did not find room to run.
    pub(crate) fn run_later(&self, tenant: &Arc<str>) {
        self.0.backlog.store(true, Ordering::SeqCst);
        // Room may have come in the meantime, and then nobody leaves who would tell but this.
        drop(self.room(tenant));
    }

    /// A task's row was changed by somebody who does not run it.
    pub(crate) fn poke(&self, id: &str) {
        match lock(&self.0.active).get(id) {
            Some(handle) => handle.poke(),
            None => self.0.wake.notify_one(),
        }
    }

    /// A task is to stop.
    pub(crate) fn cancel_running(&self, id: &str) {
        match lock(&self.0.active).get(id) {
            Some(handle) => handle.cancel(),
            None => self.0.wake.notify_one(),
        }
    }

    /// Steps of a task that run here now, by their index, with their attempts.
    pub(crate) fn in_sandbox(&self, id: &str) -> BTreeMap<usize, u32> {
        let handle = lock(&self.0.active).get(id).cloned();
        handle.map(|handle| handle.in_sandbox()).unwrap_or_default()
    }

    /// Whether a task runs here.
    pub(crate) fn is_running(&self, id: &str) -> bool {
        lock(&self.0.active).contains_key(id)
    }

    fn spawn(&self, id: String, fresh: Option<Fresh>, room: Room) {
        let handle = Arc::new(Handle::default());
        {
            let mut active = lock(&self.0.active);
            if active.contains_key(&id) {
                return;
            }
            active.insert(id.clone(), Arc::clone(&handle));
        }
        let stay = Stay {
            engine: self.clone(),
            id,
            handle,
            _room: room,
        };
        tokio::spawn(stay.run(fresh));
    }

    /// Stops taking up tasks and gives those that run a moment to end.
    pub async fn shutdown(&self) {
        self.0.stopping.send_replace(true);
        let all = self.0.task_limits.running;
        if timeout(DRAIN, self.0.permits.acquire_many(all))
            .await
            .is_err()
        {
            tracing::warn!("tasks still run; they go on elsewhere, or when the host starts again");
        }
        if self.0.store.is_shared() {
            for handle in lock(&self.0.active).values() {
                handle.lose();
            }
        }
        if let Err(error) = self.0.store.leave().await {
            tracing::warn!(%error, "what this host held is free once its lease is over");
        }
    }
}

/// One of each tenant, then another of each, and so on, beginning with those of whom fewest run. They come one tenant after the other.
fn in_turn(due: Vec<DueTask>, running: &Running) -> Vec<DueTask> {
    let mut place = 0;
    let mut last = None;
    let mut placed: Vec<(usize, DueTask)> = Vec::with_capacity(due.len());
    for task in due {
        place = if last.as_ref() == Some(&task.tenant) {
            place + 1
        } else {
            running.get(&*task.tenant).copied().unwrap_or_default()
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
    /// Given back last.
    _room: Room,
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
                    Err(RunError::NotAccepted) => {
                        let engine = self.engine.clone();
                        drop(self);
                        // It may have been stored all the same, and whoever looked meanwhile took it for one that runs.
                        engine.0.wake.notify_one();
                        return;
                    }
                    Err(RunError::Lost) => return,
                    Err(RunError::Overtaken | RunError::Commit(CommitError::RulesChanged)) => {
                        self.engine.rules_changed();
                        if !self.is_ours().await {
                            return;
                        }
                    }
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
            if !self.is_ours().await {
                return;
            }
        }
        if let Err(error) = self.let_go().await {
            tracing::error!(task = %self.id, %error, "a task that cannot be run here is kept from the other hosts");
        }
    }

    /// Leaves the task to other hosts, where there are any: what it needs may be there.
    async fn let_go(&self) -> Result<(), CommitError> {
        let store = &self.engine.0.store;
        let row = store.task(&self.id).await?;
        let Some(row) = row.filter(|row| store.is_shared() && !row.state.is_final()) else {
            return Ok(());
        };
        let at = self.engine.0.clock.now();
        let later = at.unix_ms().saturating_add(LOOK_EVERY_MS);
        let nothing = Transition {
            task: row.task.id,
            after: row.events,
            events: Vec::new(),
            records: Vec::new(),
            blobs: Vec::new(),
            state: row.state,
            wake_at: Timestamp::from_unix_ms(later).ok(),
            keeps: false,
            rules: None,
            pokes_seen: row.pokes,
            approvals: Vec::new(),
            keyvalue: KeyValueChanges::default(),
            at,
        };
        store.commit(nothing).await
    }

    /// Whether this host may go on with it. Where that cannot be found out, the next look does.
    async fn is_ours(&self) -> bool {
        let claimed = self.engine.0.store.take_up(std::slice::from_ref(&self.id));
        claimed.await.is_ok_and(|claimed| !claimed.is_empty())
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
        let is_left = self.engine.0.store.is_shared();
        if self.handle.is_poked() && !task.state.is_final() && !is_left {
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
            .is_some_and(|handle| Arc::ptr_eq(handle, &self.handle))
        {
            active.remove(&self.id);
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
        let order = |running: &[(&str, usize)]| {
            let running = running
                .iter()
                .map(|(tenant, count)| ((*tenant).into(), *count));
            let order = in_turn(due.clone().into(), &running.collect());
            order.into_iter().map(|task| task.id).collect::<Vec<_>>()
        };
        assert_eq!(order(&[]), ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert_eq!(
            order(&[("a", 2), ("b", 1)]),
            ["c1", "b1", "c2", "a1", "a2", "a3"]
        );
    }
}
