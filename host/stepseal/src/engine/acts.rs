//! Records of the host's own acts: who changed what it goes by is in the log, beside what agents did.

use stepseal_receipts::record::{self, Kind, Record};
use stepseal_receipts::verify::check_act;

use super::{Engine, EngineError};
use crate::store::NewAct;

/// Who asked for an act. It is a claim of whoever holds the token.
pub type Actor = Option<record::Actor>;

impl Engine {
    /// Builds and signs the record of an act.
    pub(super) async fn act(
        &self,
        kind: Kind,
        actor: Actor,
        fill: impl FnOnce(&mut Record),
    ) -> Result<NewAct, EngineError> {
        let now = self.0.clock.now();
        let mut record = Record::new(kind, self.0.origin.clone(), self.nonce());
        record.time = Some(record::Span {
            start: now,
            end: now,
        });
        record.runtime = Some(self.0.runtime.clone());
        record.actor = actor;
        fill(&mut record);
        // It may come to stand further on, and what may stand here may stand there.
        let index = self.0.store.log_head().await?.size;
        let broken = |why: String| EngineError::Internal(format!("a {kind} record: {why}"));
        if let Some(fault) = check_act(index, &record).first() {
            return Err(broken(fault.to_string()));
        }
        let signed =
            record::sign(&record, &self.0.record_key).map_err(|error| broken(error.to_string()))?;
        Ok(NewAct {
            envelope: String::from_utf8(signed.envelope.to_json()).expect("an envelope is JSON"),
            leaf_hash: signed.leaf_hash,
        })
    }

    /// What hides a record behind its leaf.
    pub(super) fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&self.0.clock.random()[..16]);
        nonce
    }
}
