//! Records and receipts.

use std::collections::BTreeSet;

use stepseal_receipts::digest::Digest;
use stepseal_receipts::receipt::{Consistency, Entry, Erased, Receipt};
use stepseal_receipts::record::Record;
use stepseal_receipts::tree::ProofPlan;
use stepseal_receipts::verify::disclosable;

use super::{Engine, EngineError};
use crate::store::{Kept, LogRow, RecordRow};

impl Engine {
    /// The records of a task.
    pub async fn records(&self, task: &str) -> Result<Vec<RecordRow>, EngineError> {
        self.exists(task).await?;
        Ok(self.0.store.records(task).await?)
    }

    /// The receipt of a task as of now (`application/vnd.stepseal.receipt.v1+json`), with its payloads disclosed or not.
    /// Where its reader has seen the log with `seen` leaves, it proves that the log only grew since.
    pub async fn receipt(
        &self,
        task: &str,
        payloads: bool,
        seen: Option<u64>,
    ) -> Result<Vec<u8>, EngineError> {
        self.exists(task).await?;
        // Records before the checkpoint, so that the checkpoint covers them all.
        let records = self.0.store.records(task).await?;
        let rows = self.with_erasures(records).await?;
        // Its reader has seen as much already, and a smaller head would look like a rewind.
        let covers = rows.last().map_or(0, |row| row.index + 1);
        let covers = covers.max(seen.unwrap_or(0));
        let checkpoint = self.witnessed_checkpoint(covers).await?;
        let size = checkpoint.head.size;
        let broken = |why: String| EngineError::Internal(format!("receipt of task {task}: {why}"));
        let plans: Result<Vec<_>, _> = rows
            .iter()
            .map(|row| ProofPlan::inclusion(row.index, size))
            .collect();
        let plans = plans.map_err(|error| broken(error.to_string()))?;
        let (mut entries, mut erased) = (Vec::new(), Vec::new());
        for (row, proof) in rows.into_iter().zip(self.proofs(&plans).await?) {
            let index = row.index;
            match row.kept {
                Kept::Envelope(envelope) => entries.push(Entry {
                    index,
                    envelope: serde_json::from_str(&envelope)
                        .map_err(|error| broken(error.to_string()))?,
                    proof,
                }),
                Kept::Leaf { leaf, erasure } => erased.push(Erased {
                    index,
                    leaf,
                    proof,
                    erasure,
                }),
            }
        }
        let disclosures = if payloads {
            self.disclosures(task, &entries).await?
        } else {
            Vec::new()
        };
        let mut consistency = Vec::new();
        // Nothing is to be proved from the empty log on, or to a head that is the same.
        if let Some(seen) = seen.filter(|seen| *seen != 0 && *seen != size) {
            let proof = self.consistency(seen, size).await?;
            consistency.push(Consistency { size: seen, proof });
        }
        let receipt = Receipt {
            checkpoint: checkpoint.note,
            entries,
            erased,
            approvals: Vec::new(),
            disclosures,
            consistency,
            unrecognised: serde_json::Map::new(),
        };
        Ok(receipt.to_json())
    }

    /// The records of a task and those of the erasures of some of them, in the log's order.
    async fn with_erasures(&self, records: Vec<RecordRow>) -> Result<Vec<LogRow>, EngineError> {
        let mut erasures = BTreeSet::new();
        let mut rows = Vec::with_capacity(records.len());
        for RecordRow {
            index,
            kept,
            leaf_hash,
            ..
        } in records
        {
            if let Kept::Leaf { erasure, .. } = kept {
                erasures.insert(erasure);
            }
            rows.push(LogRow {
                index,
                kept,
                leaf_hash,
            });
        }
        for erasure in erasures {
            rows.extend(self.0.store.log_records(erasure, 1).await?);
        }
        rows.sort_by_key(|row| row.index);
        Ok(rows)
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
