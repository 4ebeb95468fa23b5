//! Clients that wait for a task to change. Only tasks somebody waits for take room here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::lock;
use super::tasks::TaskView;

/// What a waiter is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notice {
    /// The task as it is in the database, where nothing more happens before a person or a time comes, or ever.
    pub(crate) stopped: Option<Arc<TaskView>>,
}

type Rooms = Arc<Mutex<HashMap<String, watch::Sender<Notice>>>>;

/// Who waits for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiters(Rooms);

impl Waiters {
    /// Begins to wait for a task. Ask the database after this, so that no change falls in between.
    pub(crate) fn join(&self, task: &str) -> Waiter {
        let mut rooms = lock(&self.0);
        let room = rooms
            .entry(task.to_owned())
            .or_insert_with(|| watch::Sender::new(Notice::default()));
        Waiter {
            receiver: room.subscribe(),
            task: task.to_owned(),
            rooms: Arc::clone(&self.0),
        }
    }

    /// Something happened to a task.
    pub(crate) fn changed(&self, task: &str) {
        self.tell(task, |notice| notice.stopped = None);
    }

    /// Something may have happened to any task.
    pub(crate) fn all_changed(&self) {
        for room in lock(&self.0).values() {
            room.send_modify(|notice| notice.stopped = None);
        }
    }

    /// A task goes on no further by itself. `view` is called only where somebody waits.
    pub(crate) fn stopped(&self, task: &str, view: impl FnOnce() -> TaskView) {
        self.tell(task, |notice| notice.stopped = Some(Arc::new(view())));
    }

    fn tell(&self, task: &str, change: impl FnOnce(&mut Notice)) {
        if let Some(room) = lock(&self.0).get(task) {
            room.send_modify(change);
        }
    }
}

/// One client's wait.
#[derive(Debug)]
pub(crate) struct Waiter {
    receiver: watch::Receiver<Notice>,
    task: String,
    rooms: Rooms,
}

impl Waiter {
    /// The next change.
    pub(crate) async fn changed(&mut self) -> Notice {
        // The sender lives in the map for as long as this receiver does.
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.receiver.borrow_and_update().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut rooms = lock(&self.rooms);
        if rooms
            .get(&self.task)
            .is_some_and(|room| room.receiver_count() <= 1)
        {
            rooms.remove(&self.task);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stepseal_receipts::digest::Digest;
    use stepseal_receipts::state::TaskState;
    use stepseal_receipts::time::Timestamp;

    use super::*;
    use crate::store::{NewTask, OPERATOR, TaskRow};

    fn view() -> TaskView {
        let time = Timestamp::from_unix_ms(0).unwrap();
        let digest = Digest::of(b"");
        TaskView {
            row: TaskRow {
                task: NewTask {
                    id: "t".to_owned(),
                    tenant: OPERATOR.to_owned(),
                    agent: None,
                    labels: "{}".to_owned(),
                    idempotency: None,
                    plan: digest,
                    input: digest,
                    created: time,
                },
                state: TaskState::Succeeded,
                updated: time,
                wake_at: None,
                cancel: false,
                erased: None,
                pokes: 0,
                events: 3,
                records: 2,
                head: Some(digest),
            },
            labels: BTreeMap::new(),
            steps: Vec::new(),
            reason: None,
        }
    }

    #[tokio::test]
    async fn a_change_is_seen_by_all_who_wait_and_leaves_nothing_behind() {
        let waiters = Waiters::default();
        let (mut one, mut two) = (waiters.join("t"), waiters.join("t"));
        waiters.changed("t");
        waiters.changed("other");
        assert!(one.changed().await.stopped.is_none());
        waiters.stopped("t", view);
        let stopped = two.changed().await.stopped.expect("it stopped");
        assert_eq!(stopped.row.state, TaskState::Succeeded);
        drop(one);
        assert_eq!(lock(&waiters.0).len(), 1);
        drop(two);
        assert!(lock(&waiters.0).is_empty());
    }

    #[test]
    fn nothing_is_made_for_a_task_nobody_waits_for() {
        Waiters::default().stopped("t", || panic!("nobody waits"));
    }
}
