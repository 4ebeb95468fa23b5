//! A host as its users have it: the built program on a data directory of its own, and a client that holds its token.

pub(crate) mod client;
pub(crate) mod guests;
mod openapi;
#[path = "../../postgres.rs"]
pub(crate) mod postgres;
mod process;
#[path = "../../proxy.rs"]
pub(crate) mod proxy;
mod receipts;
pub(crate) mod s3;
mod stream;
pub(crate) mod tasks;
mod template;

use std::time::{Duration, Instant};

pub(crate) use openapi::{OPENAPI, openapi};
pub(crate) use process::{DataDir, Database, Host, Process};
pub(crate) use receipts::{believes, verify};
pub(crate) use tasks::allow_everything;

/// Makes two tests of each function: `name::sqlite` and `name::postgres`.
macro_rules! on_each_database {
    ($(fn $name:ident($database:ident: Database) $body:block)+) => {$(
        mod $name {
            use super::*;

            fn on($database: Database) $body

            #[test]
            fn sqlite() {
                on(Database::Sqlite);
            }

            #[test]
            fn postgres() {
                on(Database::Postgres);
            }
        }
    )+};
}
pub(crate) use on_each_database;

/// How long a test waits for anything before it fails: long, since a machine may be busy, and reached only by a bug.
const PATIENCE: Duration = Duration::from_mins(1);

/// Time between two looks.
const GLANCE: Duration = Duration::from_millis(5);

/// Looks until there is something to see, and fails with `what` where there is nothing until the deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "a deadline, so that a test that waits in vain fails"
)]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "it did not happen within {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(GLANCE);
    }
}
