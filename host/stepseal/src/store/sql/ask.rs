//! One text for both databases: where a statement runs, the values bound to it, and the columns it gives.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Arguments as _, Encode, FromRow, Postgres, Sqlite, Type};

use super::connection::Connection;
use crate::store::{News, StoreError, postgres};

/// A value that both databases take.
pub(in crate::store) trait Value:
    Send + for<'t> Encode<'t, Sqlite> + Type<Sqlite> + for<'t> Encode<'t, Postgres> + Type<Postgres>
{
    /// The text that it is.
    fn text(&self) -> Option<&str> {
        None
    }
}

impl Value for i64 {}
impl Value for Option<i64> {}
impl Value for Vec<u8> {}
impl Value for &'static str {}
impl Value for String {
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}
impl Value for Option<String> {
    fn text(&self) -> Option<&str> {
        self.as_deref()
    }
}

/// Columns as either database gives them.
pub(in crate::store) trait Columns:
    Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>
{
}

impl<T> Columns for T where
    T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>
{
}

/// Connections that cannot write.
#[derive(Clone, Debug)]
pub(in crate::store) enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Readers {
    /// A statement to be run on one of them.
    pub(in crate::store) fn ask(&self, sql: &'static str) -> Ask<'_> {
        Ask::new(
            sql,
            match self {
                Self::Sqlite(pool) => At::SqliteReaders(pool, SqliteArguments::default()),
                Self::Postgres(pool) => At::PostgresReaders(pool, PgArguments::default()),
            },
        )
    }

    /// A text for each, where they do not speak of the same thing in one way.
    pub(super) fn text(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    pub(in crate::store) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// The connection that writes, for a while; in a transaction, where [`super::writer::Writer::transact`] gave it.
#[derive(Debug)]
pub(in crate::store) enum Work<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Work<'_> {
    /// A statement to be run on it.
    pub(in crate::store) fn ask(&mut self, sql: &'static str) -> Ask<'_> {
        Ask::new(
            sql,
            match self {
                Self::Sqlite(connection) => At::Sqlite(connection, SqliteArguments::default()),
                Self::Postgres(connection) => At::Postgres(connection, PgArguments::default()),
            },
        )
    }
}

impl Work<'_> {
    /// Tells other hosts, once what is done here is committed.
    pub(in crate::store) async fn tell(&mut self, news: &News) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                let told = self.ask(postgres::TELL).bind(news.to_text());
                told.one::<(String,)>().await.map(drop)
            }
        }
    }
}

/// A statement that reads the same to both databases. Its parameters are `$1`, `$2`, ...
#[must_use = "nothing is asked before `all`, `optional`, `one`, `each` or `execute`"]
pub(in crate::store) struct Ask<'a> {
    sql: &'static str,
    at: At<'a>,
    refused: Option<BoxDynError>,
    /// It names a text that PostgreSQL cannot hold, so no row of it does.
    finds_nothing: bool,
}

enum At<'a> {
    SqliteReaders(&'a SqlitePool, SqliteArguments),
    Sqlite(&'a mut SqliteConnection, SqliteArguments),
    PostgresReaders(&'a PgPool, PgArguments),
    Postgres(&'a mut PgConnection, PgArguments),
}

/// Runs the statement wherever it is to be run.
macro_rules! run {
    ($ask:ident, |$at:ident, $values:ident| $run:expr) => {
        match $ask.at {
            At::SqliteReaders($at, $values) => $run,
            At::Sqlite($at, $values) => $run,
            At::PostgresReaders($at, $values) => $run,
            At::Postgres($at, $values) => $run,
        }
    };
}

impl<'a> Ask<'a> {
    fn new(sql: &'static str, at: At<'a>) -> Self {
        Self {
            sql,
            at,
            refused: None,
            finds_nothing: false,
        }
    }

    /// Binds the next parameter.
    pub(in crate::store) fn bind<T: Value>(mut self, value: T) -> Self {
        let bound = match &mut self.at {
            At::SqliteReaders(_, values) | At::Sqlite(_, values) => values.add(value),
            At::PostgresReaders(_, values) | At::Postgres(_, values) => {
                self.finds_nothing |= value.text().is_some_and(|text| text.contains('\0'));
                values.add(value)
            }
        };
        if let Err(error) = bound {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Every row.
    pub(in crate::store) async fn all<T: Columns>(mut self) -> Result<Vec<T>, StoreError> {
        if self.finds_nothing {
            return Ok(Vec::new());
        }
        self.check()?;
        Connection::within(self.wall(), async {
            Ok(run!(self, |at, values| {
                sqlx::query_as_with(self.sql, values).fetch_all(at).await?
            }))
        })
        .await
    }

    /// The only column of every row.
    pub(in crate::store) async fn column<T>(self) -> Result<Vec<T>, StoreError>
    where
        (T,): Columns,
    {
        let rows = self.all::<(T,)>().await?.into_iter();
        Ok(rows.map(|(value,)| value).collect())
    }

    /// The first row, where there is any.
    pub(in crate::store) async fn optional<T: Columns>(mut self) -> Result<Option<T>, StoreError> {
        if self.finds_nothing {
            return Ok(None);
        }
        self.check()?;
        Connection::within(self.wall(), async {
            Ok(run!(self, |at, values| {
                sqlx::query_as_with(self.sql, values)
                    .fetch_optional(at)
                    .await?
            }))
        })
        .await
    }

    /// The first row, which must be there.
    pub(in crate::store) async fn one<T: Columns>(self) -> Result<T, StoreError> {
        let row = self.optional().await?;
        row.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// Row by row, where all of them may be too many at a time.
    pub(in crate::store) fn each<T: Columns + 'a>(
        mut self,
    ) -> BoxStream<'a, Result<T, sqlx::Error>> {
        if self.finds_nothing {
            return stream::empty().boxed();
        }
        if let Some(refused) = self.refused.take() {
            return stream::iter([Err(sqlx::Error::Encode(refused))]).boxed();
        }
        run!(self, |at, values| sqlx::query_as_with(self.sql, values)
            .fetch(at))
    }

    /// How many rows it changed.
    pub(in crate::store) async fn execute(mut self) -> Result<u64, StoreError> {
        if self.finds_nothing {
            return Err(StoreError::Refused {
                what: "a text",
                why: "it has a zero character, which PostgreSQL cannot store".to_owned(),
            });
        }
        self.check()?;
        Ok(run!(self, |at, values| {
            let done = sqlx::query_with(self.sql, values).execute(at).await?;
            done.rows_affected()
        }))
    }

    /// How long the answer may take, where nobody else sees to that.
    fn wall(&self) -> Option<Duration> {
        matches!(self.at, At::PostgresReaders(..)).then_some(postgres::ANSWER_WALL_MAX)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        match self.refused.take() {
            Some(refused) => Err(sqlx::Error::Encode(refused).into()),
            None => Ok(()),
        }
    }
}
