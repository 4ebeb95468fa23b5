//! What the operator decided: grants and policy bindings.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::time::Timestamp;

use super::ask::Readers;
use super::writer::Writer;
use super::{log, row};
use crate::store::{GrantRow, NewAct, PolicyRow, StoreError};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT plugin, document, digest, version, changed_ms FROM grants ",
            $rest
        )
    };
}

type GrantColumns = (String, String, Vec<u8>, i64, i64);
type PolicyColumns = (String, Vec<u8>, String, String, String, i64);

pub(in crate::store) async fn put(
    writer: &Writer,
    new: GrantRow,
    act: NewAct,
) -> Result<u64, StoreError> {
    let version = writer
        .transact(move |mut work| {
            Box::pin(async move {
                let (version,): (i64,) = work
                    .ask(
                        "INSERT INTO grants (plugin, document, digest, version, changed_ms) SELECT $1, $2, $3, \
                         COALESCE(MAX(version), 0) + 1, $4 FROM grants WHERE plugin = $1 RETURNING version",
                    )
                    .bind(new.plugin)
                    .bind(new.document)
                    .bind(row::bytes(&new.digest))
                    .bind(row::ms(new.changed))
                    .one()
                    .await?;
                log::append(&mut work, act).await?;
                log::rules_changed(&mut work).await?;
                Ok(version)
            })
        })
        .await?;
    row::unsigned("the version of a grant", version)
}

pub(in crate::store) async fn of(
    readers: &Readers,
    plugin: &str,
) -> Result<Option<GrantRow>, StoreError> {
    Ok(history(readers, plugin, 1).await?.pop())
}

pub(in crate::store) async fn history(
    readers: &Readers,
    plugin: &str,
    limit: u32,
) -> Result<Vec<GrantRow>, StoreError> {
    let rows = readers
        .ask(select!("WHERE plugin = $1 ORDER BY version DESC LIMIT $2"))
        .bind(plugin.to_owned())
        .bind(i64::from(limit))
        .all();
    rows.await?.into_iter().map(decode).collect()
}

pub(in crate::store) async fn document(
    readers: &Readers,
    digest: &Digest,
) -> Result<Option<String>, StoreError> {
    let found = readers
        .ask("SELECT document FROM grants WHERE digest = $1 LIMIT 1")
        .bind(row::bytes(digest))
        .optional::<(String,)>();
    Ok(found.await?.map(|(document,)| document))
}

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<GrantRow>, StoreError> {
    let rows = readers
        .ask(select!(
            "WHERE version = (SELECT MAX(version) FROM grants AS newer WHERE newer.plugin = grants.plugin) ORDER BY plugin"
        ))
        .all();
    rows.await?.into_iter().map(decode).collect()
}

fn decode(
    (plugin, document, digest, version, changed): GrantColumns,
) -> Result<GrantRow, StoreError> {
    Ok(GrantRow {
        plugin,
        document,
        digest: row::digest("the digest of a grant", &digest)?,
        version: row::unsigned("the version of a grant", version)?,
        changed: row::time("the time of a grant", changed)?,
    })
}

pub(in crate::store) async fn bind_policy(
    writer: &Writer,
    new: PolicyRow,
    act: NewAct,
) -> Result<(), StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                work.ask(
                    "INSERT INTO policies (id, component, settings, scope, mode, bound_ms) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(new.id)
                .bind(row::bytes(&new.component))
                .bind(new.settings)
                .bind(new.scope)
                .bind(new.mode)
                .bind(row::ms(new.bound))
                .execute()
                .await?;
                log::append(&mut work, act).await?;
                log::rules_changed(&mut work).await
            })
        })
        .await
}

pub(in crate::store) async fn policies(readers: &Readers) -> Result<Vec<PolicyRow>, StoreError> {
    let rows: Vec<PolicyColumns> = readers
        .ask(
            "SELECT id, component, settings, scope, mode, bound_ms FROM policies \
             WHERE ended_ms IS NULL ORDER BY bound_ms, id",
        )
        .all()
        .await?;
    let rows = rows
        .into_iter()
        .map(|(id, component, settings, scope, mode, bound)| {
            Ok(PolicyRow {
                id,
                component: row::digest("the component of a policy", &component)?,
                settings,
                scope,
                mode,
                bound: row::time("the time of a policy", bound)?,
            })
        });
    rows.collect()
}

/// Goes through them one by one, since there are as many as policies were ever bound.
pub(in crate::store) async fn settings(
    readers: &Readers,
    digests: &BTreeSet<Digest>,
) -> Result<Vec<String>, StoreError> {
    let mut wanted = digests.clone();
    let mut found = Vec::new();
    let mut rows = readers
        .ask("SELECT settings FROM policies")
        .each::<(String,)>();
    while !wanted.is_empty()
        && let Some((settings,)) = rows.try_next().await?
    {
        if wanted.remove(&Digest::of(settings.as_bytes())) {
            found.push(settings);
        }
    }
    Ok(found)
}

pub(in crate::store) async fn unbind_policy(
    writer: &Writer,
    id: String,
    at: Timestamp,
    act: NewAct,
) -> Result<bool, StoreError> {
    writer
        .transact(move |mut work| {
            Box::pin(async move {
                let ended = work
                    .ask("UPDATE policies SET ended_ms = $2 WHERE id = $1 AND ended_ms IS NULL")
                    .bind(id)
                    .bind(row::ms(at))
                    .execute()
                    .await?;
                if ended == 1 {
                    log::append(&mut work, act).await?;
                    log::rules_changed(&mut work).await?;
                }
                Ok(ended == 1)
            })
        })
        .await
}
