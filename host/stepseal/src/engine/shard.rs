//! Which log this is: how it begins, that its database is not behind what it signed, and how another one continues it.

use std::path::Path;

use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::record::{KeyRole, Kind, Record, Shard, ShardHead};
use stepseal_receipts::tree::verify_consistency;

use super::content::Content;
use super::policies::BindPolicy;
use super::{Actor, Engine, EngineError};
use crate::data_dir::{read_small, write_secret};
use crate::store::{Identity, Store, StoreError};

/// Keys of a bucket that are copied at a time.
const KEYS_AT_A_TIME: u32 = 256;

/// The log that a new one continues.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its number; the new one's is one more.
    pub number: u64,
    /// The last head that it signed.
    pub head: Checkpoint,
}

/// What a new log took over from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Components.
    pub components: usize,
    /// Grants.
    pub grants: usize,
    /// Policy bindings.
    pub policies: usize,
    /// Keys of approvers.
    pub approvers: usize,
    /// Key-value buckets.
    pub buckets: usize,
    /// Schedules.
    pub schedules: usize,
}

impl Previous {
    /// The log that a database holds, as far as its newest head, which a host kept apart from it, was signed.
    pub async fn of(store: &dyn Store, head: &Path) -> Result<Self, EngineError> {
        let note = read_small(head).map_err(|error| EngineError::Internal(error.to_string()))?;
        let note = match note {
            Some(note) => Some(note),
            None => store.checkpoint().await?.map(|row| row.note),
        };
        let note = note.ok_or_else(|| {
            EngineError::Internal("it never signed a head that a new one could continue".to_owned())
        })?;
        let identity = store.identity().await?.ok_or_else(|| {
            EngineError::Internal("the database belongs to no log yet".to_owned())
        })?;
        Ok(Self {
            number: number(store).await?,
            head: opened(store, &identity.origin, &note, head).await?,
        })
    }
}

/// The number of the log in a database: what its first record says.
async fn number(store: &dyn Store) -> Result<u64, EngineError> {
    let first = store.log_records(0, 1).await?;
    let shard = first.first().and_then(|row| {
        let envelope: Envelope = serde_json::from_str(row.kept.envelope()?).ok()?;
        Record::parse(&envelope.payload).ok()?.shard
    });
    let shard = shard.ok_or_else(|| {
        EngineError::Internal("the first record of the log does not say which it is".to_owned())
    })?;
    Ok(shard.number)
}

/// A head that a key of the log signed.
async fn opened(
    store: &dyn Store,
    origin: &str,
    note: &str,
    file: &Path,
) -> Result<Checkpoint, EngineError> {
    let rows = store.keys().await?.into_iter();
    let keys = rows.filter(|row| row.role == KeyRole::Log);
    let keys: Vec<VerifierKey> = keys
        .filter_map(|row| VerifierKey::new(origin, &row.key).ok())
        .collect();
    Checkpoint::open(note, &keys).map_err(|error| {
        EngineError::Internal(format!(
            "{} is no head that this log signed ({error}): put it back from where the keys are kept, or delete it if the database is surely \
             the newest",
            file.display()
        ))
    })
}

impl Engine {
    /// Takes an empty database for this log; refuses one that is another's.
    pub(super) async fn claim(&self, previous: Option<Previous>) -> Result<(), EngineError> {
        if self.0.store.identity().await?.is_some() {
            return self.check_identity().await;
        }
        let act = self.act(Kind::ShardOpen, None, |record| {
            record.shard = Some(shard(previous));
        });
        match self.0.store.claim(&self.identity(), act.await?).await {
            // Another host was first; it may be one of the same log.
            Err(StoreError::Refused { .. }) => self.check_identity().await,
            claimed => Ok(claimed?),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            origin: self.0.origin.clone(),
            log_key: self.0.log_key.public(),
            record_key: self.0.record_key.public(),
        }
    }

    /// Refuses a database that is not this log's, or was written with other keys.
    pub(super) async fn check_identity(&self) -> Result<(), EngineError> {
        let ours = self.identity();
        match self.0.store.identity().await? {
            Some(found) if found != ours => Err(EngineError::Foreign {
                found: Box::new(found),
                ours: Box::new(ours),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses a database that does not hold the last head that was signed: going on from it would fork the log.
    pub(super) async fn check_head(&self) -> Result<(), EngineError> {
        let file = &self.0.head;
        let note = read_small(file).map_err(|error| EngineError::Internal(error.to_string()))?;
        let Some(note) = note else {
            return Ok(());
        };
        let signed = opened(&*self.0.store, &self.0.origin, &note, file).await?;
        let ours = self.0.store.log_head().await?;
        let behind = |found: String| EngineError::Behind {
            origin: self.0.origin.clone(),
            signed: signed.size,
            found,
        };
        if ours.size < signed.size {
            return Err(behind(format!("has {}", ours.size)));
        }
        let proof = self.consistency(signed.size, ours.size).await?;
        verify_consistency(signed.size, &signed.root, ours.size, &ours.root, &proof)
            .map_err(|_| behind("has others in their place".to_owned()))
    }

    /// Remembers a head that is about to be shown, where restoring the database does not take it back.
    pub(super) async fn keep_head(&self, note: &str) -> Result<(), EngineError> {
        let (file, note) = (self.0.head.clone(), note.to_owned());
        tokio::task::spawn_blocking(move || write_secret(&file, note.as_bytes()))
            .await
            .map_err(|error| EngineError::Internal(error.to_string()))?
            .map_err(|error| EngineError::Internal(error.to_string()))
    }

    /// Takes over what the log before went by: components, grants, policies, keys of approvers, buckets and schedules. Its tasks stay there: what became of
    /// them after the copy was made is not known, and doing it twice would be worse than not at all.
    pub async fn carry_over(
        &self,
        from: &dyn Store,
        content: &Path,
        actor: Actor,
    ) -> Result<Carried, EngineError> {
        let mut carried = Carried::default();
        let files = Content::new(content.to_owned());
        for row in from.components().await? {
            let bytes = files.get(row.digest).map_err(|error| {
                EngineError::Internal(format!("component {} {}: {error}", row.name, row.version))
            })?;
            self.add_component(bytes, actor.clone()).await?;
            carried.components += 1;
        }
        let unreadable = |error: serde_json::Error| EngineError::Internal(error.to_string());
        for row in from.grants().await? {
            let document = serde_json::from_str(&row.document).map_err(unreadable)?;
            self.put_grant(&row.plugin, document, actor.clone()).await?;
            carried.grants += 1;
        }
        for row in from.policies().await? {
            let bind = BindPolicy {
                component: row.component,
                settings: serde_json::from_str(&row.settings).map_err(unreadable)?,
                scope: serde_json::from_str(&row.scope).map_err(unreadable)?,
                mode: serde_json::from_value(row.mode.into()).map_err(unreadable)?,
            };
            self.bind_policy(bind, actor.clone()).await?;
            carried.policies += 1;
        }
        for row in from.approvers().await? {
            if row.to_index.is_none() {
                self.add_approver(row.name, row.key, actor.clone()).await?;
                carried.approvers += 1;
            }
        }
        for bucket in from.buckets().await? {
            self.carry_bucket(from, &bucket).await?;
            carried.buckets += 1;
        }
        for row in from.schedules().await? {
            self.carry_schedule(row).await?;
            carried.schedules += 1;
        }
        Ok(carried)
    }

    async fn carry_bucket(&self, from: &dyn Store, bucket: &str) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let page = from
                .bucket_keys(bucket, after.as_deref(), KEYS_AT_A_TIME)
                .await?;
            let Some(last) = page.keys.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let mut entries = Vec::with_capacity(page.keys.len());
            for key in page.keys {
                if let Some(found) = from.bucket_get(bucket, &key).await? {
                    entries.push((key, found.value));
                }
            }
            self.0.store.fill_bucket(bucket, entries).await?;
        }
    }
}

fn shard(previous: Option<Previous>) -> Shard {
    match previous {
        None => Shard {
            number: 0,
            previous: None,
        },
        Some(previous) => Shard {
            number: previous.number + 1,
            previous: Some(ShardHead {
                origin: previous.head.origin,
                size: previous.head.size,
                root: previous.head.root,
            }),
        },
    }
}
