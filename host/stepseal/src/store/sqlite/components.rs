//! Uploaded components.

use sqlx::SqlitePool;
use stepseal_receipts::digest::Digest;

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
pub(super) async fn add(
    readers: &SqlitePool,
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
        .transact(move |connection| {
            Box::pin(async move {
                let done = sqlx::query(
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
                .execute(&mut *connection)
                .await?;
                let added = done.rows_affected() == 1;
                if added {
                    log::append(connection, act).await?;
                }
                Ok(added)
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

pub(super) async fn by_digest(
    readers: &SqlitePool,
    digest: &Digest,
) -> Result<Option<ComponentRow>, StoreError> {
    sqlx::query_as::<_, Columns>(select!("WHERE digest = $1"))
        .bind(row::bytes(digest))
        .fetch_optional(readers)
        .await?
        .map(decode)
        .transpose()
}

pub(super) async fn named(
    readers: &SqlitePool,
    kind: ComponentKind,
    name: &str,
    version: Option<&str>,
) -> Result<Option<ComponentRow>, StoreError> {
    let query = match version {
        Some(version) => {
            sqlx::query_as::<_, Columns>(select!("WHERE kind = $1 AND name = $2 AND version = $3"))
                .bind(kind.as_str())
                .bind(name.to_owned())
                .bind(version.to_owned())
        }
        None => sqlx::query_as::<_, Columns>(select!(
            "WHERE kind = $1 AND name = $2 ORDER BY added_ms DESC, digest DESC LIMIT 1"
        ))
        .bind(kind.as_str())
        .bind(name.to_owned()),
    };
    query.fetch_optional(readers).await?.map(decode).transpose()
}

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<ComponentRow>, StoreError> {
    sqlx::query_as::<_, Columns>(select!("ORDER BY name, added_ms, digest"))
        .fetch_all(readers)
        .await?
        .into_iter()
        .map(decode)
        .collect()
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
