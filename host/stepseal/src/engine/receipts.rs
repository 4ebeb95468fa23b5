//! Records and receipts.

use std::collections::{BTreeMap, BTreeSet};

use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
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
        let parsed = entries
            .iter()
            .map(|entry| Record::parse(&entry.envelope.payload));
        let records: Vec<Record> = parsed
            .collect::<Result<_, _>>()
            .map_err(|error| broken(error.to_string()))?;
        let approvals = self.signed_approvals(task, &records).await?;
        let disclosures = if payloads {
            self.disclosures(task, &records).await?
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
            approvals,
            disclosures,
            consistency,
            unrecognised: serde_json::Map::new(),
        };
        Ok(receipt.to_json())
    }

    /// What approvers signed about a task, as far as its records speak of it: a step may be judged again after somebody decided.
    async fn signed_approvals(
        &self,
        task: &str,
        records: &[Record],
    ) -> Result<Vec<Envelope>, EngineError> {
        let approvals = records.iter().flat_map(|record| &record.approvals);
        let spoken_of: BTreeSet<Digest> =
            approvals.filter_map(|approval| approval.envelope).collect();
        if spoken_of.is_empty() {
            return Ok(Vec::new());
        }
        let mut envelopes = Vec::new();
        for stored in self.0.store.signed_approvals(task).await? {
            let envelope: Envelope = serde_json::from_str(&stored).map_err(|error| {
                EngineError::Internal(format!("what was signed about task {task}: {error}"))
            })?;
            if spoken_of.contains(&envelope.pae_digest()) {
                envelopes.push(envelope);
            }
        }
        Ok(envelopes)
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
    /// and what was shown before grants or policies changed never gets one. With what a policy was shown go the settings that
    /// it had, so that it can be asked again.
    async fn disclosures(
        &self,
        task: &str,
        records: &[Record],
    ) -> Result<Vec<Vec<u8>>, EngineError> {
        let spoken_of: BTreeSet<Digest> = records.iter().flat_map(disclosable).collect();
        let blobs = self.0.store.blobs(task).await?.into_iter();
        let blobs = blobs.map(|blob| (Digest::of(&blob), blob));
        let mut shown: BTreeMap<Digest, Vec<u8>> = blobs
            .filter(|(digest, _)| spoken_of.contains(digest))
            .collect();
        let verdicts = records.iter().flat_map(|record| &record.verdicts);
        let judged = verdicts.filter(|verdict| shown.contains_key(&verdict.input.digest));
        let settings = judged.map(|verdict| verdict.settings).collect();
        for settings in self.0.store.settings(&settings).await? {
            shown.insert(Digest::of(settings.as_bytes()), settings.into_bytes());
        }
        let unerased = records.iter().filter(|record| {
            let input = record.input.as_ref();
            input.is_some_and(|input| shown.contains_key(&input.digest))
        });
        for document in self.grants_to_disclose(unerased).await? {
            shown.insert(Digest::of(document.as_bytes()), document.into_bytes());
        }
        Ok(shown.into_values().collect())
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
