//! Opening the database: can it be reached, is it ours, do we know its schema, can it be written, does it keep what it says it has?

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use super::connection::{Connection, Options};
use super::{DatabaseUrl, Sharing};
use crate::store::StoreError;
use crate::store::sql::ask::Work;
use crate::store::sql::{log, schema};

/// Readers at the same time. Each is a process of the server.
const READERS_MAX: u32 = 8;

/// How long to wait for a reader.
const READER_WAIT: Duration = Duration::from_secs(5);

/// A reader that rested this long is asked whether it is still there before it is used: the server may have been restarted.
const READER_REST: Duration = Duration::from_secs(1);

/// A transaction whose host is stopped in the middle of it holds up every other host's. The server ends it after this.
const STALLED_MAX: &str = "10s";

/// Every migration this program knows.
pub(super) const MIGRATIONS: &schema::Migrations = &[
    (
        1,
        "first",
        include_str!("../../../../../migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "cosignatures",
        include_str!("../../../../../migrations/postgres/0002_cosignatures.sql"),
    ),
];

/// An open database.
pub(super) struct Opened {
    /// Connections that cannot write.
    pub(super) readers: PgPool,
    /// The connection that writes.
    pub(super) writer: Connection,
    /// To make that connection anew.
    pub(super) options: Options,
}

pub(super) async fn open(
    url: &DatabaseUrl,
    sharing: Sharing,
    wall: Duration,
) -> Result<Opened, StoreError> {
    open_it(url, sharing, wall)
        .await
        .map_err(|error| explain(url, error))
}

async fn open_it(
    url: &DatabaseUrl,
    sharing: Sharing,
    wall: Duration,
) -> Result<Opened, StoreError> {
    let options = Options {
        connect: settings(url),
        wall,
        sharing,
        member: Arc::default(),
        shown: url.to_string(),
    };
    // Before anything is looked at or changed: whoever serves it may be an older program.
    let (mut writer, is_alone) = options.connect_first().await?;
    let is_current = inspect(&mut writer.link, url).await?;
    if !is_alone && !is_current {
        return Err(StoreError::Unusable {
            path: url.to_string(),
            why: "hosts of an older program serve it: stop all of them first, since the tables change".to_owned(),
        });
    }
    if is_alone {
        schema::migrator(MIGRATIONS)
            .run_direct(None, &mut writer.link, false)
            .await?;
        writer.settle().await?;
    }
    log::touch(&mut Work::Postgres(&mut writer.link)).await?;
    let read_only = settings(url).options([("default_transaction_read_only", "on")]);
    let readers = PgPoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(
                async move { Ok(meta.idle_for < READER_REST || connection.ping().await.is_ok()) },
            )
        })
        .connect_with(read_only)
        .await?;
    Ok(Opened {
        readers,
        writer,
        options,
    })
}

/// What every connection goes by. Statements go along indexes, row by row: the server would rather read a whole table while it is small, and
/// go on with that when it has grown, until somebody counts its rows.
pub(super) fn settings(url: &DatabaseUrl) -> PgConnectOptions {
    let options = url.options();
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("stepseal"),
    };
    options
        .options([
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            // Acknowledged is durable, whatever the server does for others.
            ("synchronous_commit", "on"),
            ("idle_in_transaction_session_timeout", STALLED_MAX),
            // A host whose machine is gone leaves the connection open, and what it holds held, until the server asks.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
        ])
        .disable_statement_logging()
}

/// Looks before anything is done: somebody else's database must be left as it is, and a newer one too. False where it has no tables yet, or not all.
async fn inspect(connection: &mut PgConnection, url: &DatabaseUrl) -> Result<bool, StoreError> {
    let refuse = |why: &str| {
        Err(StoreError::Unusable {
            path: url.to_string(),
            why: why.to_owned(),
        })
    };
    let (encoding, fsync, schema): (String, String, Option<String>) = sqlx::query_as(
        "SELECT current_setting('server_encoding'), current_setting('fsync'), current_schema()::text",
    )
    .fetch_one(&mut *connection)
    .await?;
    if encoding != "UTF8" {
        return refuse(&format!(
            "its texts are in {encoding}: make one with createdb --encoding=UTF8 --template=template0"
        ));
    }
    if fsync != "on" {
        return refuse(
            "its server runs with fsync = off, so that a power cut takes back what was acknowledged: set it to on",
        );
    }
    if schema.is_none() {
        return refuse(
            "none of the schemas of its search_path is there: make one with CREATE SCHEMA",
        );
    }
    let (tables, migrated): (i64, bool) = sqlx::query_as(
        "SELECT count(*), coalesce(bool_or(tablename = '_sqlx_migrations'), FALSE) FROM pg_tables \
         WHERE schemaname = current_schema()",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables == 0 {
        return Ok(false);
    }
    if !migrated {
        return refuse(
            "it has tables of another program: make a database for stepseal alone, with createdb",
        );
    }
    let versions: Vec<(i64, bool)> =
        sqlx::query_as("SELECT version, success FROM _sqlx_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await?;
    schema::check(&url.to_string(), MIGRATIONS, &versions)?;
    Ok(versions.len() == MIGRATIONS.len())
}

/// Says what to do about what the server says, or does not say, while the database is opened.
pub(super) fn explain(url: &DatabaseUrl, error: StoreError) -> StoreError {
    let (StoreError::Database(said)
    | StoreError::Migrate(
        sqlx::migrate::MigrateError::Execute(said)
        | sqlx::migrate::MigrateError::ExecuteMigration(said, _),
    )) = &error
    else {
        return error;
    };
    let code = said
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    let what_to_do = match (said, code.as_deref()) {
        (sqlx::Error::Io(said), _) if said.to_string().contains("invalid peer certificate") => {
            "its server's certificate is not one to believe: name the CA that signed it with sslrootcert in the address"
        }
        (sqlx::Error::Io(_), _) => {
            "it cannot be reached: does the server run, and is this its address?"
        }
        (sqlx::Error::Tls(_), _) => {
            "no TLS can be had with its server: see the server's log, or say sslmode=disable in the address if the network between is trusted"
        }
        (_, Some("53300")) => "its server takes no more connections: raise its max_connections",
        (_, Some("28P01" | "28000")) => {
            "the server does not let this user in: give the password in the address, in PGPASSWORD or in ~/.pgpass"
        }
        (_, Some("3D000")) => "it is not there: make it with createdb",
        (_, Some("42501")) => "this user may not do that: make the user the owner of the database",
        (_, Some("25006")) => {
            "it cannot be written to: is this a standby, or is default_transaction_read_only on?"
        }
        (_, Some("53100")) => "the disk of its server is full",
        (_, Some("57P03")) => "its server is starting up or shutting down: try again",
        (_, Some("XX001" | "XX002")) => "it is damaged: go back to a backup",
        _ => return error,
    };
    StoreError::Unusable {
        path: url.to_string(),
        why: format!("{what_to_do} (PostgreSQL: {said})"),
    }
}
