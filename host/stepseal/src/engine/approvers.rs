//! People who sign their own decisions: whose keys count, and that nobody decides in their names without one.
//!
//! A verifier refuses a record that speaks of a decision by a key that does not count where the record stands, and an unsigned one
//! where a key does. So whose keys count is checked in the commit of such a record, as all rules are (`runner::basis`).

use stepseal_receipts::keys::PublicKey;
use stepseal_receipts::record::{Approval, KeyChange, KeyRole, Kind};
use stepseal_receipts::trust::KEYS_MAX;

use super::approvals::check_name;
use super::policies::Rules;
use super::{Actor, Engine, EngineError};
use crate::store::ApproverRow;

/// A decision as a record gives it, and the key that signed it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) approval: Approval,
    pub(crate) key: Option<PublicKey>,
}

impl Rules {
    /// The keys that count for a name now.
    pub(crate) fn keys_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PublicKey> {
        let of_name = move |row: &&ApproverRow| row.name == name && row.to_index.is_none();
        self.approvers.iter().filter(of_name).map(|row| &row.key)
    }

    /// Whether a decision by `name` counts: signed by a key of theirs, or unsigned where they never had one.
    pub(crate) fn counts(&self, name: &str, key: Option<&PublicKey>) -> bool {
        match key {
            Some(key) => self.keys_of(name).any(|own| own == key),
            None => self.approvers.iter().all(|row| row.name != name),
        }
    }
}

impl Engine {
    /// Every key that an approver has or had, the oldest first.
    pub async fn approvers(&self) -> Result<Vec<ApproverRow>, EngineError> {
        Ok(self.0.store.approvers().await?)
    }

    /// Gives a person a key, beside others of theirs. From now on nobody decides in that name without one, and what was decided
    /// before and is not in a record yet is void.
    pub async fn add_approver(
        &self,
        name: String,
        key: PublicKey,
        actor: Actor,
    ) -> Result<ApproverRow, EngineError> {
        check_name("/name", &name)?;
        let engine = self.clone();
        self.change_rules(async move {
            let known = engine.approvers().await?;
            let of_host = engine.keys().await?;
            let taken = known.iter().any(|row| row.key == key)
                || of_host.iter().any(|row| row.key == key);
            if taken {
                return Err(EngineError::Conflict {
                    code: "key-in-use",
                    message: format!(
                        "the key {} is or was another's or an approver's already: make a new one, with `stepseal keys approver init`",
                        key.id()
                    ),
                });
            }
            if known.len() >= KEYS_MAX {
                return Err(EngineError::Conflict {
                    code: "too-many-keys",
                    message: format!("approvers have or had {KEYS_MAX} keys, and a trust file holds no more"),
                });
            }
            let act = engine.act(Kind::KeyRotate, actor, |record| {
                record.key = Some(change(&name, &key));
            });
            Ok(engine.0.store.add_approver(&name, &key, act.await?).await?)
        })
        .await
    }

    /// Takes a key from a person. What it signed and a record speaks of stays believed; what no record speaks of yet is void.
    pub async fn remove_approver(&self, id: &str, actor: Actor) -> Result<(), EngineError> {
        let (engine, id) = (self.clone(), id.to_owned());
        self.change_rules(async move {
            let mut known = engine.approvers().await?.into_iter();
            let found = known.find(|row| row.to_index.is_none() && row.key.id().to_string() == id);
            if let Some(row) = found {
                let act = engine.act(Kind::KeyRevoke, actor, |record| {
                    record.key = Some(change(&row.name, &row.key));
                });
                if engine.0.store.end_approver(&row.key, act.await?).await? {
                    return Ok(());
                }
            }
            Err(EngineError::NotFound {
                what: "key of an approver that counts, with the id",
                id,
            })
        })
        .await
    }
}

fn change(name: &str, key: &PublicKey) -> KeyChange {
    KeyChange {
        role: KeyRole::Approver,
        name: Some(name.to_owned()),
        key: key.clone(),
        from_index: None,
        to_index: None,
    }
}
