//! The one connection that writes.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::ask::Work;
use super::world::{Outcomes, Request};
use crate::store::{StoreError, postgres, sqlite};

/// How to make the connection.
#[derive(Clone, Debug)]
pub(in crate::store) enum Options {
    Sqlite(SqliteConnectOptions),
    Postgres(postgres::Options),
}

impl Options {
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        Ok(match self {
            Self::Sqlite(options) => Connection::Sqlite(options.connect().await?),
            Self::Postgres(options) => Connection::Postgres(Box::new(options.connect().await?)),
        })
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<postgres::Connection>),
}

impl Connection {
    /// Runs one statement that needs no transaction. On a server it has one all the same, since the beginning of it finds out whether the
    /// connection is still there.
    pub(super) async fn once<T>(
        &mut self,
        statement: impl for<'c> FnOnce(Work<'c>) -> BoxFuture<'c, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(connection) => statement(Work::Sqlite(connection)).await,
            Self::Postgres(_) => self.transact(statement).await,
        }
    }

    /// Stores what can be stored of these. `Ok` means that it is on disk. After an error the connection may be inside a transaction and
    /// must not be used again.
    pub(super) async fn batch(&mut self, requests: Vec<Request>) -> Result<Outcomes, StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::batch::run(connection, requests).await,
            Self::Postgres(connection) => postgres::batch::run(connection, requests).await,
        }
    }

    pub(super) async fn transact<T>(
        &mut self,
        statements: impl for<'c> FnOnce(Work<'c>) -> BoxFuture<'c, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                let done = statements(Work::Sqlite(&mut transaction)).await;
                match done {
                    Ok(_) => transaction.commit().await?,
                    Err(_) => transaction.rollback().await?,
                }
                done
            }
            Self::Postgres(connection) => {
                connection.begin().await?;
                let done = statements(Work::Postgres(&mut connection.link)).await;
                match done {
                    Ok(_) => connection.commit().await?,
                    Err(_) => connection.rollback().await?,
                }
                done
            }
        }
    }

    /// Joins the hosts of the database; of a file there is one.
    pub(super) async fn join(
        &mut self,
        name: String,
        lease_ms: i64,
        keys: Option<String>,
    ) -> Result<String, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(String::new()),
            Self::Postgres(connection) => connection.join(name, lease_ms, keys).await,
        }
    }

    /// Whether it may be used again.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(connection) => connection.is_whole(),
        }
    }

    pub(super) async fn cut_log(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => sqlite::cut_log(connection).await,
            // It is the server's, and goes on when its operator says.
            Self::Postgres(_) => Ok(()),
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }

    /// Waits for what is done on it for as long as may be: a server can be out of reach without anybody being told. What came of it is then not
    /// known, and the connection must not be used again.
    pub(super) async fn within<T>(
        wall: Option<Duration>,
        done: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match wall {
            None => done.await,
            Some(wall) => tokio::time::timeout(wall, done)
                .await
                .unwrap_or_else(|_| Err(postgres::silent(wall))),
        }
    }

    /// How long whatever is done on it may take; a disk answers, or says that it does not.
    pub(super) fn wall(&self) -> Option<Duration> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(connection) => Some(connection.wall()),
        }
    }
}
