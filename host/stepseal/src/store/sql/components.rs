//! Uploaded components.

use stepseal_receipts::digest::Digest;

use super::ask::Readers;
use super::writer::Writer;
use super::{log, row};
use crate::store::{AddComponent, ComponentKind, ComponentRow, NewAct, StoreError};

const KINDS: [ComponentKind; 2] = [ComponentKind::Plugin, ComponentKind::Policy];

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT digest, kind, name, version, descriptor, imports, size, added_ms FROM components ",
            $rest
        )
    };
}

type Columns = (Vec<u8>, String, String, String, String, String, i64, i64);

/// Components are never removed, so what the insert collided with is still there when it is looked up.
pub(in crate::store) async fn add(
    readers: &Readers,
    writer: &Writer,
    component: &ComponentRow,
    act: NewAct,
) -> Result<AddComponent, StoreError> {
    let new = component.clone();
    let imports = serde_json::to_string(&new.imports).map_err(|error| StoreError::Refused {
        what: "the imports of a component",
        why: error.to_string(),
    })?;
    let size = row::signed("the size of a component", new.size)?;
    let added = writer
        .transact(move |mut work| {
            Box::pin(async move {
                let added = work
                    .ask(
                        "INSERT INTO components (digest, kind, name, version, descriptor, imports, size, added_ms) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                    )
                    .bind(row::bytes(&new.digest))
                    .bind(new.kind.as_str())
                    .bind(new.name)
                    .bind(new.version)
                    .bind(new.descriptor)
                    .bind(imports)
                    .bind(size)
                    .bind(row::ms(new.added))
                    .execute()
                    .await?;
                if added == 1 {
                    log::append(&mut work, act).await?;
                    log::rules_changed(&mut work).await?;
                }
                Ok(added == 1)
            })
        })
        .await?;
    if added {
        return Ok(AddComponent::Added);
    }
    if let Some(known) = by_digest(readers, &component.digest).await? {
        return Ok(AddComponent::Known(known));
    }
    let version = Some(component.version.as_str());
    match named(readers, component.kind, &component.name, version).await? {
        Some(other) => Ok(AddComponent::NameTaken(other.digest)),
        None => Err(StoreError::Corrupt {
            what: "a component",
            why: format!("{} is neither new nor there", component.digest),
        }),
    }
}

pub(in crate::store) async fn by_digest(
    readers: &Readers,
    digest: &Digest,
) -> Result<Option<ComponentRow>, StoreError> {
    readers
        .ask(select!("WHERE digest = $1"))
        .bind(row::bytes(digest))
        .optional()
        .await?
        .map(decode)
        .transpose()
}

pub(in crate::store) async fn named(
    readers: &Readers,
    kind: ComponentKind,
    name: &str,
    version: Option<&str>,
) -> Result<Option<ComponentRow>, StoreError> {
    let sql = match version {
        Some(_) => select!("WHERE kind = $1 AND name = $2 AND version = $3"),
        None => {
            select!("WHERE kind = $1 AND name = $2 ORDER BY added_ms DESC, digest DESC LIMIT 1")
        }
    };
    let mut query = readers.ask(sql).bind(kind.as_str()).bind(name.to_owned());
    if let Some(version) = version {
        query = query.bind(version.to_owned());
    }
    query.optional().await?.map(decode).transpose()
}

pub(in crate::store) async fn all(readers: &Readers) -> Result<Vec<ComponentRow>, StoreError> {
    let rows = readers
        .ask(select!("ORDER BY name, added_ms, digest"))
        .all();
    rows.await?.into_iter().map(decode).collect()
}

fn decode(columns: Columns) -> Result<ComponentRow, StoreError> {
    let (digest, kind, name, version, descriptor, imports, size, added) = columns;
    Ok(ComponentRow {
        digest: row::digest("the digest of a component", &digest)?,
        kind: row::name(
            "the kind of a component",
            &kind,
            &KINDS,
            ComponentKind::as_str,
        )?,
        name,
        version,
        descriptor,
        imports: serde_json::from_str(&imports).map_err(|error| StoreError::Corrupt {
            what: "the imports of a component",
            why: error.to_string(),
        })?,
        size: row::unsigned("the size of a component", size)?,
        added: row::time("the time of an upload", added)?,
    })
}
