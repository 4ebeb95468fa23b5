//! The one task that writes, and the queue in front of it.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use super::batch;
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
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
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

/// A statement, or a transaction of its own. It sends its answer itself.
type StatementJob = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, ()> + Send>;

impl Writer {
    /// Starts the task. It ends when the last sender is gone or by [`Writer::close`].
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let task = WriterTask {
            jobs,
            held: None,
            connection: Some(connection),
            options,
        };
        tokio::spawn(task.run());
        Self { queue }
    }

    pub(super) async fn accept(
        &self,
        task: NewTask,
        transition: Transition,
    ) -> Result<Accept, CommitError> {
        self.transition(Some(task), transition).await
    }

    pub(super) async fn commit(&self, transition: Transition) -> Result<(), CommitError> {
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

    /// Runs a statement or a transaction on the writing connection. It goes on to its end even if the caller stops waiting.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        statement: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Statement(Box::new(move |connection| {
            Box::pin(async move {
                let done = statement(connection).await;
                // Nobody listens where the caller has gone away.
                let _ = reply.send(done);
            })
        })))
        .await?;
        answer.await.unwrap_or(Err(StoreError::Busy))
    }

    /// Runs statements in a transaction that takes the write lock first, so that nothing they read can change before
    /// they are stored. Where they fail, nothing is.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        statements: impl for<'c> FnOnce(
            &'c mut SqliteConnection,
        ) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let done = statements(&mut transaction).await;
                match done {
                    Ok(_) => transaction.commit().await?,
                    Err(_) => transaction.rollback().await?,
                }
                done
            })
        })
        .await
    }

    pub(super) async fn close(&self) {
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
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
}

impl WriterTask {
    async fn run(mut self) {
        let mut closed = Vec::new();
        while let Some(job) = self.next().await {
            match job {
                Job::Transition(first) => self.commit(*first).await,
                // Where there is no connection the job is dropped, and with it its reply: the caller sees `Busy`.
                Job::Statement(statement) => match self.connection().await {
                    Ok(connection) => statement(connection).await,
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
            Ok(connection) => batch::run(connection, requests).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(outcomes) => {
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

    async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
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

/// The same error for one more caller; errors of the database itself cannot be cloned.
fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { what, why } => StoreError::Corrupt {
            what,
            why: why.clone(),
        },
        StoreError::Busy => StoreError::Busy,
        StoreError::Database(error) => {
            StoreError::Database(sqlx::Error::Io(io::Error::other(error.to_string())))
        }
        other => StoreError::Database(sqlx::Error::Io(io::Error::other(other.to_string()))),
    }
}
