//! PostgreSQL: a database on a server that others look after.
//!
//! The row `log_head` is locked by whoever writes, from the beginning of a transaction to its end. So transactions that write follow each
//! other, on however many hosts, and the order of the log is the order of the commits; what a transaction has read cannot change before it
//! commits. No process-wide lock is needed for that. Which host runs which task is in [`hosts`].

pub(super) mod batch;
mod connection;
pub(super) mod hosts;
pub(super) mod nodes;
mod open;
#[cfg(test)]
pub(crate) mod tests;
mod url;
pub mod version;

pub(in crate::store) use connection::{ANSWER_WALL_MAX, Connection, Options, silent};
pub(in crate::store) use hosts::{Hosts, TELL};
pub use url::{BadUrl, DatabaseUrl};

use std::time::Duration;

use super::StoreError;
use super::sql::ask::Readers;
use super::sql::{SqlStore, connection as either};

/// Who else may have the database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: whoever opens it so while another one has it is refused, until that one has closed it or is gone.
    Alone,
    /// Other hosts, which all have joined ([`Store::join`](super::Store::join)) before they run tasks.
    Together,
    /// Anybody. The data stays whole; tasks may be run twice.
    Shared,
}

/// The longest lease of a host: after it, every other one takes it for gone, whatever it says itself.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Opens the database and brings its schema up to date. Must be called inside a tokio runtime, on which the writer then lives.
///
/// # Errors
/// [`StoreError::Newer`] where a newer program has migrated it; [`StoreError::Unusable`] where it cannot be reached, is not a database of
/// ours, cannot be written to, or another host serves it.
pub async fn open(url: &DatabaseUrl, sharing: Sharing) -> Result<SqlStore, StoreError> {
    open_within(url, sharing, connection::ANSWER_WALL_MAX).await
}

/// The same where the server may take so long over a transaction.
async fn open_within(
    url: &DatabaseUrl,
    sharing: Sharing,
    wall: Duration,
) -> Result<SqlStore, StoreError> {
    let opened = open::open(url, sharing, wall).await?;
    let hosts = Hosts::new(&opened.options, PATIENCE);
    Ok(SqlStore::new(
        Some(hosts),
        Readers::Postgres(opened.readers),
        either::Connection::Postgres(Box::new(opened.writer)),
        either::Options::Postgres(opened.options),
    ))
}
