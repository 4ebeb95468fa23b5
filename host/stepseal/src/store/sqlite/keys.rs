//! Whose log it is: its origin and the keys that sign for it.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::record::KeyRole;

use super::writer::Writer;
use super::{log, row};
use crate::store::{Identity, KeyRow, NewAct, StoreError};

const ALL: &str =
    "SELECT role, public_key, from_index, to_index FROM log_keys ORDER BY role, from_index";

pub(super) async fn identity(readers: &SqlitePool) -> Result<Option<Identity>, StoreError> {
    let origin: Option<String> = sqlx::query_scalar("SELECT origin FROM identity WHERE id = 1")
        .fetch_optional(readers)
        .await?;
    let Some(origin) = origin else {
        return Ok(None);
    };
    let keys = all(readers).await?;
    let newest = |role| {
        let of_role = keys.iter().rev().find(|row| row.role == role);
        of_role
            .map(|row| row.key.clone())
            .ok_or_else(|| corrupt(format!("the log has no key of the role {role}")))
    };
    Ok(Some(Identity {
        origin,
        log_key: newest(KeyRole::Log)?,
        record_key: newest(KeyRole::Record)?,
    }))
}

pub(super) async fn claim(
    writer: &Writer,
    identity: Identity,
    act: NewAct,
) -> Result<(), StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO identity (id, origin) VALUES (1, $1) ON CONFLICT DO NOTHING",
                )
                .bind(identity.origin)
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(refused("the database belongs to a log already"));
                }
                for (role, key) in [
                    (KeyRole::Log, identity.log_key),
                    (KeyRole::Record, identity.record_key),
                ] {
                    insert(connection, role, &key, 0).await?;
                }
                log::append(connection, act).await.map(drop)
            })
        })
        .await
}

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<KeyRow>, StoreError> {
    sqlx::query_as::<_, (String, Vec<u8>, i64, Option<i64>)>(ALL)
        .fetch_all(readers)
        .await?
        .into_iter()
        .map(|(role, key, from, to)| {
            Ok(KeyRow {
                role: row::name("the role of a key", &role, KeyRole::ALL, KeyRole::as_str)?,
                key: row::key("a key of the log", key)?,
                from_index: row::unsigned("the first index of a key", from)?,
                to_index: to
                    .map(|to| row::unsigned("the last index of a key", to))
                    .transpose()?,
            })
        })
        .collect()
}

pub(super) async fn add(writer: &Writer, new: KeyRow, act: NewAct) -> Result<(), StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                if log::append(connection, act).await? >= new.from_index {
                    return Err(refused("the log has grown beyond where it was to begin"));
                }
                let from = row::signed("the first index of a key", new.from_index)?;
                insert(connection, new.role, &new.key, from).await
            })
        })
        .await
}

pub(super) async fn end(writer: &Writer, ended: KeyRow, act: NewAct) -> Result<(), StoreError> {
    writer
        .transact(move |connection| {
            Box::pin(async move {
                let index = log::append(connection, act).await?;
                let to = ended.to_index.filter(|to| *to >= index);
                let to =
                    to.ok_or_else(|| refused("the log has grown beyond where it was to end"))?;
                let done = sqlx::query(
                    "UPDATE log_keys SET to_index = $3 \
                     WHERE role = $1 AND public_key = $2 AND to_index IS NULL",
                )
                .bind(ended.role.as_str())
                .bind(ended.key.to_bytes().to_vec())
                .bind(row::signed("the last index of a key", to)?)
                .execute(&mut *connection)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(refused("it does not count any more, or never did"));
                }
                Ok(())
            })
        })
        .await
}

async fn insert(
    connection: &mut SqliteConnection,
    role: KeyRole,
    key: &PublicKey,
    from: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO log_keys (role, public_key, from_index) VALUES ($1, $2, $3)")
        .bind(role.as_str())
        .bind(key.to_bytes().to_vec())
        .bind(from)
        .execute(connection)
        .await?;
    Ok(())
}

fn corrupt(why: String) -> StoreError {
    StoreError::Corrupt {
        what: "a key of the log",
        why,
    }
}

fn refused(why: &str) -> StoreError {
    StoreError::Refused {
        what: "a key of the log",
        why: why.to_owned(),
    }
}
