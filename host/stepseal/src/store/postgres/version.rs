//! What a database is, without changing anything in it.

use sqlx::{ConnectOptions as _, Connection as _};

use super::{DatabaseUrl, open};
use crate::store::StoreError;

/// What was seen of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Version of the server.
    pub server: String,
    /// Schema version; `None` where no migration was ever run in it.
    pub schema: Option<i64>,
    /// How large it is.
    pub bytes: u64,
}

/// Looks at a database.
pub async fn look(url: &DatabaseUrl) -> Result<Seen, StoreError> {
    look_at(url)
        .await
        .map_err(|error| open::explain(url, error.into()))
}

async fn look_at(url: &DatabaseUrl) -> Result<Seen, sqlx::Error> {
    let options = open::settings(url).options([("default_transaction_read_only", "on")]);
    let mut connection = options.connect().await?;
    let (server, bytes, migrated): (String, i64, bool) = sqlx::query_as(
        "SELECT current_setting('server_version'), pg_database_size(current_database()), \
         to_regclass('_sqlx_migrations') IS NOT NULL",
    )
    .fetch_one(&mut connection)
    .await?;
    let schema = if migrated {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await?
    } else {
        None
    };
    connection.close().await?;
    Ok(Seen {
        server,
        schema,
        bytes: u64::try_from(bytes).unwrap_or_default(),
    })
}
