//! Records, receipts and the trust file.

use std::collections::{BTreeMap, BTreeSet};

use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::note::VerifierKey;
use stepseal_receipts::receipt::{Entry, Receipt};
use stepseal_receipts::record::Record;
use stepseal_receipts::tree::ProofPlan;
use stepseal_receipts::trust::{RecordKey, TrustFile};
use stepseal_receipts::verify::disclosable;

use super::{Engine, EngineError};
use crate::store::{CheckpointRow, RecordRow};

impl Engine {
    /// The records of a task.
    pub async fn records(&self, task: &str) -> Result<Vec<RecordRow>, EngineError> {
        self.exists(task).await?;
        Ok(self.0.store.records(task).await?)
    }

    /// The receipt of a task as of now (`application/vnd.stepseal.receipt.v1+json`), with its payloads disclosed or not.
    pub async fn receipt(&self, task: &str, payloads: bool) -> Result<Vec<u8>, EngineError> {
        self.exists(task).await?;
        // Records before the checkpoint, so that the checkpoint covers them all.
        let records = self.0.store.records(task).await?;
        let checkpoint = self.signed_checkpoint().await?;
        let size = checkpoint.head.size;
        let broken = |why: String| EngineError::Internal(format!("receipt of task {task}: {why}"));
        let mut plans = Vec::new();
        let mut wanted = Vec::new();
        for row in &records {
            let plan =
                ProofPlan::inclusion(row.index, size).map_err(|error| broken(error.to_string()))?;
            wanted.extend(plan.nodes());
            plans.push(plan);
        }
        wanted.sort_unstable();
        wanted.dedup();
        let nodes: BTreeMap<_, _> = self.0.store.log_nodes(&wanted).await?;
        let mut entries = Vec::new();
        for (row, plan) in records.iter().zip(plans) {
            let proof = plan
                .assemble(|node| nodes.get(&node).copied())
                .map_err(|error| broken(error.to_string()))?;
            let envelope: Envelope = serde_json::from_str(&row.record.envelope)
                .map_err(|error| broken(error.to_string()))?;
            entries.push(Entry {
                index: row.index,
                envelope,
                proof,
            });
        }
        let disclosures = if payloads {
            self.disclosures(task, &entries).await?
        } else {
            Vec::new()
        };
        let receipt = Receipt {
            checkpoint: checkpoint.note,
            entries,
            approvals: Vec::new(),
            disclosures,
            consistency: Vec::new(),
            unrecognised: serde_json::Map::new(),
        };
        Ok(receipt.to_json())
    }

    /// The blobs of a task that its records speak of. There are others: what a person is being asked about has no record yet,
    /// and what was shown before grants or policies changed never gets one.
    async fn disclosures(
        &self,
        task: &str,
        entries: &[Entry],
    ) -> Result<Vec<Vec<u8>>, EngineError> {
        let mut spoken_of: BTreeSet<Digest> = BTreeSet::new();
        for entry in entries {
            let record = Record::parse(&entry.envelope.payload).map_err(|error| {
                EngineError::Internal(format!("receipt of task {task}: {error}"))
            })?;
            spoken_of.extend(disclosable(&record));
        }
        let mut blobs = self.0.store.blobs(task).await?;
        blobs.retain(|blob| spoken_of.contains(&Digest::of(blob)));
        Ok(blobs)
    }

    /// The newest checkpoint, signed at once where the log has grown.
    ///
    /// It is stored before anyone sees the signature, and by one caller at a time.
    async fn signed_checkpoint(&self) -> Result<CheckpointRow, EngineError> {
        let _signing = self.0.checkpoint_lock.lock().await;
        let head = self.0.store.log_head().await?;
        if let Some(last) = self.0.store.checkpoint().await? {
            if last.head == head {
                return Ok(last);
            }
            if last.head.size >= head.size {
                return Err(EngineError::Internal(format!(
                    "the log has {} entries but a checkpoint of {} was signed: the database is older than its checkpoint",
                    head.size, last.head.size
                )));
            }
        }
        let checkpoint = Checkpoint {
            origin: self.0.origin.clone(),
            size: head.size,
            root: head.root,
        };
        let note = checkpoint
            .sign(&self.0.log_key)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let row = CheckpointRow {
            head,
            note,
            signed: self.0.clock.now(),
        };
        self.0.store.put_checkpoint(&row).await?;
        Ok(row)
    }

    /// The trust file a verifier of this host's receipts needs (`application/vnd.stepseal.trust.v1+json`).
    pub fn trust(&self) -> Result<Vec<u8>, EngineError> {
        let log = VerifierKey::new(&self.0.origin, &self.0.log_key.public())
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let trust = TrustFile {
            origin: self.0.origin.clone(),
            log: vec![log],
            records: vec![RecordKey {
                key: self.0.record_key.public(),
                from_index: 0,
                to_index: None,
            }],
            approvers: Vec::new(),
            root: Vec::new(),
        };
        Ok(trust.to_json())
    }

    /// Whether the host can take tasks: database and disk answer.
    pub async fn ready(&self) -> Result<(), EngineError> {
        Ok(self.0.store.probe().await?)
    }

    async fn exists(&self, task: &str) -> Result<(), EngineError> {
        match self.0.store.task(task).await? {
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound {
                what: "task",
                id: task.to_owned(),
            }),
        }
    }
}
