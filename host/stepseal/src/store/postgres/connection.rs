//! The connection that writes, and how transactions begin and end on it.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::time::timeout;

use super::Sharing;
use crate::store::StoreError;
use crate::store::sql::log::Edge;
use crate::store::sql::writer::is_broken;

/// Every statement sees what was committed before it began, so those after the first one see whatever the holder of the lock before left.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT size, frontier, write_version FROM log_head WHERE id = 1 FOR UPDATE";

/// Held on the connection that writes by the host that serves the database, for as long as the connection lives. Another database or schema on
/// the same server has a lock of its own. The number means nothing.
const ALONE: &str = "SELECT pg_advisory_lock(1398031440, hashtext(current_schema()))";

/// How long a host waits for the one before it to be gone: a server notices soon that a process has ended.
const ALONE_WAIT: &str = "SET lock_timeout = '5s'";

/// How long a transaction waits for another one's. Those of a host take milliseconds, and one that hangs is ended by the server.
const LOCK_WAIT: &str = "SET lock_timeout = '30s'";

/// How long the server may take over a transaction, or to let a host in. Longer than any wait that the server itself ends: what takes more is no
/// server but a network that swallows what is sent.
pub(in crate::store) const ANSWER_WALL_MAX: Duration = Duration::from_mins(1);

/// How long to wait for the end of a connection that is of no more use.
const CLOSE_WALL_MAX: Duration = Duration::from_secs(1);

/// How to make the connection.
#[derive(Clone, Debug)]
pub(in crate::store) struct Options {
    pub(super) connect: PgConnectOptions,
    /// How long the server may take.
    pub(super) wall: Duration,
    pub(super) sharing: Sharing,
    /// The database, for people.
    pub(super) shown: String,
}

impl Options {
    pub(in crate::store) async fn connect(&self) -> Result<Connection, StoreError> {
        let link = timeout(self.wall, self.reach()).await;
        Ok(Connection {
            link: link.map_err(|_| silent(self.wall))??,
            options: self.clone(),
            is_begun: false,
        })
    }

    async fn reach(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.connect.connect().await?;
        if self.sharing == Sharing::Alone {
            sqlx::raw_sql(ALONE_WAIT).execute(&mut connection).await?;
            sqlx::raw_sql(ALONE)
                .execute(&mut connection)
                .await
                .map_err(|error| self.taken(error))?;
        }
        sqlx::raw_sql(LOCK_WAIT).execute(&mut connection).await?;
        Ok(connection)
    }

    fn taken(&self, error: sqlx::Error) -> StoreError {
        // `lock_not_available`
        let is_taken = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            == Some("55P03".into());
        if !is_taken {
            return error.into();
        }
        StoreError::Unusable {
            path: self.shown.clone(),
            why: "another host serves it: stop that one, or name another database".to_owned(),
        }
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) struct Connection {
    pub(in crate::store) link: PgConnection,
    options: Options,
    /// A transaction was begun and not ended.
    is_begun: bool,
}

impl Connection {
    /// Begins a transaction that nobody else can write beside, on any host, and gives the head of the log as it then is. Where the server has
    /// closed the connection, as when it was restarted, nothing was asked of it yet, and a new one does.
    pub(in crate::store) async fn begin(&mut self) -> Result<Edge, StoreError> {
        self.is_begun = true;
        match begin(&mut self.link).await {
            Err(error) if is_broken(&error) => {
                self.link = self.options.reach().await?;
                begin(&mut self.link).await
            }
            begun => begun,
        }
    }

    pub(in crate::store) async fn commit(&mut self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    pub(in crate::store) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(how).execute(&mut self.link).await?;
        self.is_begun = false;
        Ok(())
    }

    /// How long the server may take over a transaction.
    pub(in crate::store) fn wall(&self) -> Duration {
        self.options.wall
    }

    /// Says goodbye, where anybody listens.
    pub(in crate::store) async fn close(self) -> Result<(), sqlx::Error> {
        let closed = timeout(CLOSE_WALL_MAX, self.link.close()).await;
        closed.unwrap_or(Ok(()))
    }

    /// Whether another transaction can begin on it.
    pub(in crate::store) fn is_whole(&self) -> bool {
        !self.is_begun
    }
}

/// The server has not answered in time.
pub(in crate::store) fn silent(wall: Duration) -> StoreError {
    let why = format!("the server did not answer for {} s", wall.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why)).into()
}

async fn begin(connection: &mut PgConnection) -> Result<Edge, StoreError> {
    let rows = sqlx::raw_sql(BEGIN).fetch_all(connection).await?;
    let head = rows.first().ok_or_else(|| StoreError::Corrupt {
        what: "the head of the log",
        why: "it is not there".to_owned(),
    })?;
    let frontier: Vec<u8> = head.try_get(1)?;
    Edge::decode(head.try_get(0)?, &frontier, head.try_get(2)?)
}
