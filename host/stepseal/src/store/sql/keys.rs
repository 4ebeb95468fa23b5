//! Whose log it is: its origin and the keys that sign for it.

use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::record::KeyRole;

use super::ask::{Readers, Work};
use super::writer::Writer;
use super::{log, row};
use crate::store::{Identity, KeyRow, NewAct, StoreError};

const ALL: &str =
    "SELECT role, public_key, from_index, to_index FROM log_keys ORDER BY role, from_index";

pub(in crate::store) async fn identity(readers: &Readers) -> Result<Option<Identity>, StoreError> {
    let origin = readers
        .ask("SELECT origin FROM identity WHERE id = 1")
        .optional::<(String,)>();
    let Some((origin,)) = origin.await? else {
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

pub(in crate::store) async fn claim(
    writer: &Writer,
    identity: Identity,
    act: NewAct,
) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let claimed = work
                    .ask("INSERT INTO identity (id, origin) VALUES (1, $1) ON CONFLICT DO NOTHING")
                    .bind(identity.origin)
                    .execute()
                    .await?;
                if claimed == 0 {
                    return Err(refused("the database belongs to a log already"));
                }
                for (role, key) in [
                    (KeyRole::Log, identity.log_key),
                    (KeyRole::Record, identity.record_key),
                ] {
                    insert(&mut work, role, &key, 0).await?;
                }
                log::append(&mut work, act).await.map(drop)
            })
        })
        .await
}

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<KeyRow>, StoreError> {
    let rows: Vec<(String, Vec<u8>, i64, Option<i64>)> = readers.ask(ALL).all().await?;
    let rows = rows.into_iter().map(|(role, key, from, to)| {
        Ok(KeyRow {
            role: row::name("the role of a key", &role, KeyRole::ALL, KeyRole::as_str)?,
            key: row::key("a key of the log", key)?,
            from_index: row::unsigned("the first index of a key", from)?,
            to_index: to
                .map(|to| row::unsigned("the last index of a key", to))
                .transpose()?,
        })
    });
    rows.collect()
}

pub(in crate::store) async fn add(
    writer: &Writer,
    new: KeyRow,
    act: NewAct,
) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                if log::append(&mut work, act).await? >= new.from_index {
                    return Err(refused("the log has grown beyond where it was to begin"));
                }
                let from = row::signed("the first index of a key", new.from_index)?;
                insert(&mut work, new.role, &new.key, from).await
            })
        })
        .await
}

pub(in crate::store) async fn end(
    writer: &Writer,
    ended: KeyRow,
    act: NewAct,
) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let index = log::append(&mut work, act).await?;
                let to = ended.to_index.filter(|to| *to >= index);
                let to =
                    to.ok_or_else(|| refused("the log has grown beyond where it was to end"))?;
                let ended = work
                    .ask(
                        "UPDATE log_keys SET to_index = $3 \
                         WHERE role = $1 AND public_key = $2 AND to_index IS NULL",
                    )
                    .bind(ended.role.as_str())
                    .bind(ended.key.to_bytes().to_vec())
                    .bind(row::signed("the last index of a key", to)?)
                    .execute()
                    .await?;
                if ended == 0 {
                    return Err(refused("it does not count any more, or never did"));
                }
                Ok(())
            })
        })
        .await
}

async fn insert(
    work: &mut Work<'_>,
    role: KeyRole,
    key: &PublicKey,
    from: i64,
) -> Result<(), StoreError> {
    work.ask("INSERT INTO log_keys (role, public_key, from_index) VALUES ($1, $2, $3)")
        .bind(role.as_str())
        .bind(key.to_bytes().to_vec())
        .bind(from)
        .execute()
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
