//! The one task that writes, and the queue in front of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::ask::Work;
use super::connection::{Connection, Options};
use super::world::Request;
use crate::store::{Accept, CommitError, NewTask, StoreError, Transition};

/// Jobs that may wait. Whoever comes then waits for a place in the queue.
const QUEUE_MAX: usize = 1024;

/// How long to wait for a place in the queue before [`StoreError::Busy`].
const QUEUE_WAIT: Duration = Duration::from_secs(5);

/// Transitions in one transaction. More would only make the first of them wait longer: the flush to disk is
/// shared by enough already.
const BATCH_MAX: usize = 128;

/// Bytes of blobs, bodies, envelopes and values after which a batch takes no further transition. Bounds the memory of a
/// batch to this and one transition.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The sending end of the queue.
#[derive(Debug)]
pub(in crate::store) struct Writer {
    queue: mpsc::Sender<Job>,
    commits: Arc<AtomicU64>,
}

enum Job {
    Transition(Box<TransitionJob>),
    Statement(StatementJob),
    /// Finish what is queued, then close the connection.
    Close(oneshot::Sender<()>),
}

struct TransitionJob {
    request: Request,
    reply: oneshot::Sender<Result<Accept, CommitError>>,
}

/// A statement, or a transaction of its own. It sends its answer itself, and says whether the connection may be used again.
type StatementJob = Box<dyn for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, bool> + Send>;

impl Writer {
    /// Starts the task. It ends when the last sender is gone or by [`Writer::close`].
    pub(in crate::store) fn start(connection: Connection, options: Options) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let task = WriterTask {
            jobs,
            held: None,
            connection: Some(connection),
            options,
            commits: Arc::clone(&commits),
        };
        tokio::spawn(task.run());
        Self { queue, commits }
    }

    /// How often it has written since the start: batches of transitions, and whatever else.
    pub(in crate::store) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(in crate::store) async fn accept(
        &self,
        task: NewTask,
        transition: Transition,
    ) -> Result<Accept, CommitError> {
        self.transition(Some(task), transition).await
    }

    pub(in crate::store) async fn commit(&self, transition: Transition) -> Result<(), CommitError> {
        self.transition(None, transition).await.map(drop)
    }

    async fn transition(
        &self,
        task: Option<NewTask>,
        transition: Transition,
    ) -> Result<Accept, CommitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { task, transition };
        self.send(Job::Transition(Box::new(TransitionJob { request, reply })))
            .await?;
        answer
            .await
            .unwrap_or(Err(CommitError::Store(StoreError::Busy)))
    }

    /// Runs a statement on the writing connection. It goes on to its end even if the caller stops waiting.
    pub(in crate::store) async fn write<T: Send + 'static>(
        &self,
        statement: impl for<'c> FnOnce(Work<'c>) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |connection| Box::pin(connection.once(statement)))
            .await
    }

    /// Runs statements in a transaction that takes the right to write first, from every host, so that nothing they read can change
    /// before they are stored. Where they fail, nothing is.
    pub(in crate::store) async fn transact<T: Send + 'static>(
        &self,
        statements: impl for<'c> FnOnce(Work<'c>) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |connection| Box::pin(connection.transact(statements)))
            .await
    }

    /// Joins the hosts of the database; gives the keys of its log, which must be `keys` for one that comes back.
    pub(in crate::store) async fn join(
        &self,
        name: String,
        lease_ms: i64,
        keys: Option<String>,
    ) -> Result<String, StoreError> {
        self.run(move |connection| Box::pin(connection.join(name, lease_ms, keys)))
            .await
    }

    /// Makes the database forget what it was about to write again, where it can.
    pub(in crate::store) async fn cut_log(&self) -> Result<(), StoreError> {
        self.run(|connection| Box::pin(connection.cut_log())).await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Statement(Box::new(move |connection| {
            Box::pin(async move {
                let wall = connection.wall();
                let done = Connection::within(wall, job(connection)).await;
                let is_whole = connection.is_whole() && !done.as_ref().is_err_and(is_broken);
                // Nobody listens where the caller has gone away.
                let _ = reply.send(done);
                is_whole
            })
        })))
        .await?;
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    pub(in crate::store) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Job::Close(reply)).await.is_ok() {
            // An error means that it has ended already.
            let _ = answer.await;
        }
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        match tokio::time::timeout(QUEUE_WAIT, self.queue.send(job)).await {
            Ok(Ok(())) => Ok(()),
            // No place in time, or no writer any more.
            Err(_) | Ok(Err(_)) => Err(StoreError::Busy),
        }
    }
}

struct WriterTask {
    jobs: mpsc::Receiver<Job>,
    /// A job taken from the queue that did not fit into the batch.
    held: Option<Job>,
    /// `None` after a failure: closing it takes back whatever was begun.
    connection: Option<Connection>,
    options: Options,
    commits: Arc<AtomicU64>,
}

impl WriterTask {
    async fn run(mut self) {
        let mut closed = Vec::new();
        while let Some(job) = self.next().await {
            match job {
                Job::Transition(first) => self.commit(*first).await,
                // Where there is no connection the job is dropped, and with it its reply: the caller sees `Busy`.
                Job::Statement(statement) => match self.connection().await {
                    Ok(connection) => {
                        if statement(connection).await {
                            self.commits.fetch_add(1, Ordering::Relaxed);
                        } else {
                            self.disconnect().await;
                        }
                    }
                    Err(error) => tracing::error!(%error, "the database cannot be opened again"),
                },
                Job::Close(reply) => {
                    self.jobs.close();
                    closed.push(reply);
                }
            }
        }
        self.disconnect().await;
        for reply in closed {
            let _ = reply.send(());
        }
    }

    async fn next(&mut self) -> Option<Job> {
        match self.held.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    /// Commits a transition together with those that wait behind it.
    async fn commit(&mut self, first: TransitionJob) {
        let mut bytes = first.request.bytes();
        let mut requests = vec![first.request];
        let mut replies = vec![first.reply];
        while requests.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(Job::Transition(job)) => {
                    bytes += job.request.bytes();
                    requests.push(job.request);
                    replies.push(job.reply);
                }
                Ok(other) => {
                    self.held = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let stored = match self.connection().await {
            Ok(connection) => {
                Connection::within(connection.wall(), connection.batch(requests)).await
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(outcomes) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, transitions = replies.len(), "transitions were not stored");
                self.disconnect().await;
                for reply in replies {
                    let _ = reply.send(Err(CommitError::Store(repeat(&error))));
                }
            }
        }
    }

    async fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

/// Whether this says that the connection is of no more use: it is closed, or a server says (SQLSTATE) that it closes it.
pub(in crate::store) fn is_broken(error: &StoreError) -> bool {
    use sqlx::Error;
    match error {
        StoreError::Database(Error::Database(said)) => said
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        StoreError::Database(error) => matches!(
            error,
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed
        ),
        _ => false,
    }
}

/// The same error for one more caller; errors of the database itself cannot be cloned.
fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { what, why } => StoreError::Corrupt {
            what,
            why: why.clone(),
        },
        StoreError::Busy => StoreError::Busy,
        StoreError::Lost => StoreError::Lost,
        StoreError::Full => StoreError::Full,
        StoreError::Database(error) => {
            StoreError::Database(sqlx::Error::Io(io::Error::other(error.to_string())))
        }
        other => StoreError::Database(sqlx::Error::Io(io::Error::other(other.to_string()))),
    }
}
