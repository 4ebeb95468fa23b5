//! Several statements handed to `SQLite` in one go.
//!
//! A statement that is awaited costs a hop to the connection's thread and back, several times what `SQLite` itself needs
//! for it. So a batch is two scripts: one that reads, one that writes. The text is put together from constants and
//! counts, and every value is bound. Parameters are plain `?`, since `SQLite` looks numbered ones up by
//! name, one after the other, and a batch has thousands.

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use crate::store::sql::row;

/// Rows in one statement. Even of the widest table they stay far below `SQLite`'s limit of 32,766 parameters.
const ROWS_MAX: usize = 256;

/// Statements and the values bound to them, in order.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    values: Values,
}

/// The values of a script.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    refused: Option<sqlx::error::BoxDynError>,
}

impl Values {
    /// Binds the next parameter.
    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Binds a digest.
    pub(super) fn digest(&mut self, value: &Digest) -> &mut Self {
        self.push(row::bytes(value))
    }

    /// Binds a count, size or index. Columns are signed; a number they do not hold fails the script.
    pub(super) fn count(&mut self, value: u64) -> &mut Self {
        match i64::try_from(value) {
            Ok(value) => self.push(value),
            Err(error) => {
                self.refused.get_or_insert(error.into());
                self
            }
        }
    }

    /// Binds a time.
    pub(super) fn time(&mut self, value: Timestamp) -> &mut Self {
        self.push(row::ms(value))
    }
}

impl Script {
    /// Adds a statement without parameters.
    pub(super) fn statement(&mut self, sql: &'static str) -> &mut Values {
        self.sql.push_str(sql);
        self.sql.push_str(";\n");
        &mut self.values
    }

    /// Adds `head VALUES (..), (..) tail` for rows of `columns` columns; nothing where there are no rows, and several
    /// statements where there are many.
    pub(super) fn rows<T>(
        &mut self,
        head: &'static str,
        columns: usize,
        tail: &'static str,
        rows: impl IntoIterator<Item = T>,
        bind: impl Fn(T, &mut Values),
    ) {
        let mut count = 0;
        for row in rows {
            if count == ROWS_MAX {
                self.end(tail);
                count = 0;
            }
            self.sql.push_str(if count == 0 { head } else { ", " });
            self.sql.push_str(if count == 0 { " VALUES " } else { "" });
            for column in 0..columns {
                self.sql.push_str(if column == 0 { "(?" } else { ", ?" });
            }
            self.sql.push(')');
            bind(row, &mut self.values);
            count += 1;
        }
        if count > 0 {
            self.end(tail);
        }
    }

    /// The same for a list that is looked up, filled up with its last row to a power of two: few lengths mean few texts,
    /// and those stay compiled. Looking for something twice changes nothing.
    pub(super) fn lookup<T>(
        &mut self,
        head: &'static str,
        columns: usize,
        tail: &'static str,
        rows: &[T],
        bind: impl Fn(&T, &mut Values),
    ) {
        for rows in rows.chunks(ROWS_MAX) {
            let Some(last) = rows.last() else { continue };
            let fill = rows.len().next_power_of_two() - rows.len();
            let filled = rows.iter().chain(std::iter::repeat_n(last, fill));
            self.rows(head, columns, tail, filled, &bind);
        }
    }

    fn end(&mut self, tail: &'static str) {
        self.sql.push(' ');
        self.sql.push_str(tail);
        self.sql.push_str(";\n");
    }

    /// Runs it. Stops at the first statement that fails. Returns the rows of all of them, in order. With `keep` the
    /// statements stay compiled.
    pub(super) async fn run(
        self,
        connection: &mut SqliteConnection,
        keep: bool,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        if let Some(refused) = self.values.refused {
            return Err(sqlx::Error::Encode(refused));
        }
        sqlx::query_with(AssertSqlSafe(self.sql), self.values.arguments)
            .persistent(keep)
            .fetch_all(connection)
            .await
    }

    /// The text so far.
    #[cfg(test)]
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }
}
