//! The keys that sign for the log: which count where, and how one takes the place of another.
//!
//! Rotation and revocation are for a host that runs no tasks: a record that was signed and not committed yet would come to stand
//! where its key does not count.

use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::record::{KeyChange, KeyRole, Kind};
use stepseal_receipts::trust::{ApproverKey, RecordKey, TrustFile};

use super::{Actor, Engine, EngineError};
use crate::store::KeyRow;

impl Engine {
    /// Every key that ever signed for the log, with the indexes it counts at.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, EngineError> {
        Ok(self.0.store.keys().await?)
    }

    /// The trust file a verifier of this host's receipts needs (`application/vnd.stepseal.trust.v1+json`). Keys of the log that
    /// are revoked are not in it: a head is signed anew for whoever asks.
    pub async fn trust(&self) -> Result<Vec<u8>, EngineError> {
        let mut trust = TrustFile {
            origin: self.0.origin.clone(),
            log: Vec::new(),
            records: Vec::new(),
            approvers: Vec::new(),
            root: Vec::new(),
        };
        for row in self.keys().await? {
            match row.role {
                KeyRole::Record => trust.records.push(RecordKey {
                    key: row.key,
                    from_index: row.from_index,
                    to_index: row.to_index,
                }),
                // Those of approvers are in a table of their own.
                KeyRole::Approver => {}
                KeyRole::Log if row.to_index.is_some() => {}
                KeyRole::Log => {
                    let key = VerifierKey::new(&self.0.origin, &row.key)
                        .map_err(|error| EngineError::Internal(error.to_string()))?;
                    trust.log.push(key);
                }
            }
        }
        for row in self.approvers().await? {
            trust.approvers.push(ApproverKey {
                name: row.name,
                key: row.key,
                from_index: row.from_index,
                to_index: row.to_index,
            });
        }
        Ok(trust.to_json())
    }

    /// Makes a key count from the next record on. This engine goes on with the one it has: it must be opened again.
    pub async fn rotate_key(
        &self,
        role: KeyRole,
        key: PublicKey,
        actor: Actor,
    ) -> Result<KeyRow, EngineError> {
        let counting = self.counting(role).await?;
        if role == KeyRole::Log && counting.len() > 1 {
            return Err(refused(format!(
                "a head would need a third signature: revoke the key {} first",
                counting[0].key.id()
            )));
        }
        let row = KeyRow {
            role,
            key: key.clone(),
            from_index: self.0.store.log_head().await?.size + 1,
            to_index: None,
        };
        let act = self.act(Kind::KeyRotate, actor, |record| {
            record.key = Some(KeyChange {
                role,
                name: None,
                key,
                from_index: Some(row.from_index),
                to_index: None,
            });
        });
        self.0.store.add_key(&row, act.await?).await?;
        Ok(row)
    }

    /// Ends a key that another one has taken the place of. What it signed before stays believed.
    pub async fn revoke_key(&self, id: &Digest, actor: Actor) -> Result<KeyRow, EngineError> {
        let found = self.keys().await?.into_iter();
        let mut row = found
            .filter(|row| row.to_index.is_none())
            .find(|row| row.key.id() == *id)
            .ok_or_else(|| EngineError::NotFound {
                what: "key in use with the id",
                id: id.to_string(),
            })?;
        if self.counting(row.role).await?.last() == Some(&row) {
            let role = row.role;
            return Err(refused(format!(
                "it is the {role} key in use: put another in its place first, with `stepseal keys rotate {role}`"
            )));
        }
        let last = self.0.store.log_head().await?.size;
        row.to_index = Some(last);
        let act = self.act(Kind::KeyRevoke, actor, |record| {
            record.key = Some(KeyChange {
                role: row.role,
                name: None,
                key: row.key.clone(),
                from_index: None,
                to_index: Some(last),
            });
        });
        self.0.store.end_key(&row, act.await?).await?;
        Ok(row)
    }

    /// Keys of a role that are not revoked, the one in use last.
    async fn counting(&self, role: KeyRole) -> Result<Vec<KeyRow>, EngineError> {
        let mut rows = self.keys().await?;
        rows.retain(|row| row.role == role && row.to_index.is_none());
        Ok(rows)
    }
}

fn refused(message: String) -> EngineError {
    EngineError::Conflict {
        code: "key-in-use",
        message,
    }
}
