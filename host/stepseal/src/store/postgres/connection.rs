//! The connection that writes, and how transactions begin and end on it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::time::timeout;

use super::Sharing;
use super::hosts::{self, Member};
use crate::store::sql::log::Edge;
use crate::store::sql::writer::is_broken;
use crate::store::{News, StoreError};

/// Every statement sees what was committed before it began, so those after the first one see whatever the holder of the lock before left.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT size, frontier, write_version, rules, epoch FROM log_head WHERE id = 1 FOR UPDATE";

/// Held on the connection that writes for as long as it lives: by each host that serves the database together with the others, or by one program
/// that has it to itself. Another database or schema on the same server has a lock of its own. The number means nothing.
const ALONE: &str = "SELECT pg_advisory_lock(1398031440, hashtext(current_schema()))";
const TOGETHER: &str = "SELECT pg_advisory_lock_shared(1398031440, hashtext(current_schema()))";

/// To have it to itself for the beginning, if nobody serves it.
const ALONE_AT_FIRST: &str = "SELECT pg_try_advisory_lock(1398031440, hashtext(current_schema()))";
const NOT_ALONE: &str = "SELECT pg_advisory_unlock(1398031440, hashtext(current_schema()))";

/// How long a host waits for the one before it to be gone: a server notices soon that a process has ended.
const ALONE_WAIT: &str = "SET lock_timeout = '5s'";

/// Whoever has a database to itself has outlived every host of it.
const FORGET: &str = "DELETE FROM hosts";
const FORGET_HELD: &str = "UPDATE tasks SET holder = NULL WHERE holder IS NOT NULL";

/// Whether a host is there, and others beside it.
const WHO: &str = "SELECT count(*) FILTER (WHERE epoch = $1), count(*) FROM hosts";

/// The keys of the log and where they count, as one text.
const KEYS: &str = "SELECT coalesce(string_agg(concat_ws(' ', role, encode(public_key, 'hex'), from_index, to_index), ',' \
    ORDER BY role, from_index), '') FROM log_keys";

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
    /// Which host this is.
    pub(super) member: Arc<Member>,
    /// The database, for people.
    pub(super) shown: String,
}

impl Options {
    pub(in crate::store) async fn connect(&self) -> Result<Connection, StoreError> {
        Ok(self.enter(false).await?.0)
    }

    /// The first connection of this process, and whether it has the database to itself until [`Connection::settle`].
    pub(super) async fn connect_first(&self) -> Result<(Connection, bool), StoreError> {
        self.enter(true).await
    }

    async fn enter(&self, is_first: bool) -> Result<(Connection, bool), StoreError> {
        let link = timeout(self.wall, self.reach(is_first)).await;
        let (link, is_alone) = link.map_err(|_| silent(self.wall))??;
        let connection = Connection {
            link,
            options: self.clone(),
            is_begun: false,
            seen: None,
            has_others: false,
        };
        Ok((connection, is_alone))
    }

    async fn reach(&self, is_first: bool) -> Result<(PgConnection, bool), StoreError> {
        let mut connection = self.connect.connect().await?;
        sqlx::raw_sql(ALONE_WAIT).execute(&mut connection).await?;
        // Before the lock that is shared: of hosts that start at once, one has it to itself first and the others wait.
        let is_alone = match self.sharing {
            Sharing::Together if is_first => {
                let alone = sqlx::query_scalar(ALONE_AT_FIRST);
                alone.fetch_one(&mut connection).await?
            }
            sharing => sharing != Sharing::Together,
        };
        let held = match self.sharing {
            Sharing::Alone => Some(ALONE),
            Sharing::Together => Some(TOGETHER),
            Sharing::Shared => None,
        };
        if let Some(lock) = held {
            sqlx::raw_sql(lock)
                .execute(&mut connection)
                .await
                .map_err(|error| self.taken(error))?;
        }
        sqlx::raw_sql(LOCK_WAIT).execute(&mut connection).await?;
        Ok((connection, is_alone))
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
            why: match self.sharing {
                Sharing::Alone => {
                    "another host serves it: stop that one, and every other, or name another database"
                }
                _ => "another program has it to itself, as `keys rotate` does: try again when that is done",
            }
            .to_owned(),
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
    /// The epoch of the database at which this host was seen to be there. Hosts come and go while the head of the log is held, and then it changes.
    seen: Option<i64>,
    /// Other hosts were there then.
    has_others: bool,
}

impl Connection {
    /// Begins a transaction that nobody else can write beside, on any host, and gives the head of the log as it then is. Where the server has
    /// closed the connection, as when it was restarted, nothing was asked of it yet, and a new one does.
    pub(in crate::store) async fn begin(&mut self) -> Result<Edge, StoreError> {
        let me = self.options.member.epoch()?;
        let (edge, epoch) = self.take_head().await?;
        if let Some(me) = me
            && self.seen != Some(epoch)
        {
            let who = sqlx::query_as(WHO).bind(me).fetch_one(&mut self.link);
            let (is_there, all): (i64, i64) = who.await?;
            if is_there == 0 {
                self.options.member.is_gone();
                self.rollback().await?;
                return Err(StoreError::Lost);
            }
            (self.seen, self.has_others) = (Some(epoch), all > 1);
        }
        Ok(edge)
    }

    async fn take_head(&mut self) -> Result<(Edge, i64), StoreError> {
        self.is_begun = true;
        match begin(&mut self.link).await {
            Err(error) if is_broken(&error) => {
                (self.link, _) = self.options.reach(false).await?;
                begin(&mut self.link).await
            }
            begun => begun,
        }
    }

    /// Joins the hosts of the database, and gives the keys of the log as they then are. Without `keys` it takes the place of a host with the same
    /// name, which is gone; with them it comes back, and does not where they are others by now.
    pub(in crate::store) async fn join(
        &mut self,
        name: String,
        lease_ms: i64,
        keys: Option<String>,
    ) -> Result<String, StoreError> {
        self.take_head().await?;
        let found: String = sqlx::query_scalar(KEYS).fetch_one(&mut self.link).await?;
        match keys {
            None => {
                let before = "DELETE FROM hosts WHERE name = $1 RETURNING epoch";
                let before: Vec<i64> = sqlx::query_scalar(before)
                    .bind(&name)
                    .fetch_all(&mut self.link)
                    .await?;
                for epoch in before {
                    let release = sqlx::query(hosts::RELEASE).bind(epoch);
                    release.execute(&mut self.link).await?;
                }
            }
            Some(keys) if keys == found => {}
            Some(_) => {
                self.rollback().await?;
                return Err(StoreError::Unusable {
                    path: self.options.shown.clone(),
                    why: "the keys of its log were changed meanwhile: copy them to this host and start it again".to_owned(),
                });
            }
        }
        sqlx::raw_sql(hosts::MOVED).execute(&mut self.link).await?;
        let epoch = "SELECT epoch FROM log_head WHERE id = 1";
        let epoch: i64 = sqlx::query_scalar(epoch).fetch_one(&mut self.link).await?;
        let join = sqlx::query(hosts::JOIN).bind(epoch).bind(name);
        join.bind(lease_ms).execute(&mut self.link).await?;
        self.commit().await?;
        self.seen = None;
        self.options.member.is(epoch);
        Ok(found)
    }

    /// Lets others have it too, where it was had alone for the beginning. One that is to have it to itself forgets the hosts before.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        match self.options.sharing {
            Sharing::Together => {
                sqlx::raw_sql(NOT_ALONE).execute(&mut self.link).await?;
            }
            Sharing::Alone => {
                self.take_head().await?;
                for forget in [FORGET, FORGET_HELD, hosts::MOVED] {
                    sqlx::raw_sql(forget).execute(&mut self.link).await?;
                }
                self.commit().await?;
            }
            Sharing::Shared => {}
        }
        Ok(())
    }

    /// The host that writes, where it is one of several.
    pub(super) fn me(&self) -> Option<i64> {
        self.options.member.epoch().ok().flatten()
    }

    /// Tells other hosts, once what is done here is committed, where there are any.
    pub(super) async fn tell(&mut self, news: &News) -> Result<(), StoreError> {
        if let Some(me) = self.me().filter(|_| self.has_others) {
            let told = sqlx::query(hosts::TELL).bind(news.signed(me));
            told.execute(&mut self.link).await?;
        }
        Ok(())
    }

    pub(super) fn has_others(&self) -> bool {
        self.has_others
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

async fn begin(connection: &mut PgConnection) -> Result<(Edge, i64), StoreError> {
    let rows = sqlx::raw_sql(BEGIN).fetch_all(connection).await?;
    let head = rows.first().ok_or_else(|| StoreError::Corrupt {
        what: "the head of the log",
        why: "it is not there".to_owned(),
    })?;
    let frontier: Vec<u8> = head.try_get(1)?;
    let edge = Edge::decode(
        head.try_get(0)?,
        &frontier,
        head.try_get(2)?,
        head.try_get(3)?,
    )?;
    Ok((edge, head.try_get(4)?))
}
