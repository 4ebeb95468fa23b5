//! The log as others follow it: signed heads, tiles and proofs.

use std::time::Duration;

use stepseal_receipts::checkpoint::Checkpoint;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::leaf;
use stepseal_receipts::log_export::{Line, LineEntry};
use stepseal_receipts::record::KeyRole;
use stepseal_receipts::tile::{Tile, TileKind, bundle};
use stepseal_receipts::tree::{NodeId, ProofPlan, TreeError};

use super::{Engine, EngineError, Fault};
use crate::store::{CheckpointRow, Kept, LogRow};

/// How old the signed head may be that monitors get: they come often, and each head is kept for ever.
const CHECKPOINT_AGE_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// The signed head of the log (C2SP tlog-checkpoint), a second old at most, with the cosignatures that come within a
    /// moment. Never an older one that has more of them: a monitor is to see the log as it is.
    pub async fn log_checkpoint(&self) -> Result<String, EngineError> {
        let now = self.0.clock.now().unix_ms();
        let recent = self.0.store.checkpoint().await?.filter(|last| {
            Duration::from_millis(now.abs_diff(last.signed.unix_ms())) < CHECKPOINT_AGE_MAX
        });
        let newest = match recent {
            Some(last) => last,
            None => self.signed_checkpoint().await?,
        };
        Ok(self.with_cosignatures(newest).await.note)
    }

    /// The bytes of a tile, which never change; `None` where the log does not fill it to its width.
    pub async fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(first) = tile.first() else {
            return Ok(None);
        };
        match tile.kind {
            TileKind::Hashes(_) => self.hash_tile(first, tile.width).await,
            TileKind::Entries => self.entry_tile(first.index, tile.width).await,
        }
    }

    async fn hash_tile(&self, first: NodeId, width: u16) -> Result<Option<Vec<u8>>, EngineError> {
        let wanted: Vec<NodeId> = (0..u64::from(width))
            .map(|offset| NodeId {
                index: first.index + offset,
                ..first
            })
            .collect();
        let found = self.0.store.log_nodes(&wanted).await?;
        let hashes = wanted.iter().map(|node| found.get(node));
        let hashes: Option<Vec<&Digest>> = hashes.collect();
        Ok(hashes.map(|hashes| {
            let bytes = hashes.into_iter().flat_map(|hash| *hash.as_bytes());
            bytes.collect()
        }))
    }

    async fn entry_tile(&self, first: u64, width: u16) -> Result<Option<Vec<u8>>, EngineError> {
        let rows = self.0.store.log_records(first, width.into()).await?;
        if rows.len() < usize::from(width) {
            return Ok(None);
        }
        let leaves = self.leaves(rows).await?;
        Ok(Some(bundle(leaves.iter().map(Vec::as_slice))))
    }

    /// The leaves of records, made again of their envelopes where there are any.
    pub(super) async fn leaves(&self, rows: Vec<LogRow>) -> Result<Vec<Vec<u8>>, EngineError> {
        let mut keys = self.keys().await?;
        keys.retain(|row| row.role == KeyRole::Record);
        let mut leaves = Vec::with_capacity(rows.len());
        for row in rows {
            let broken = |why: &dyn std::fmt::Display| {
                EngineError::Internal(format!("record {}: {why}", row.index))
            };
            let envelope: Envelope = match row.kept {
                Kept::Leaf { leaf, .. } => {
                    leaves.push(leaf);
                    continue;
                }
                Kept::Envelope(envelope) => {
                    serde_json::from_str(&envelope).map_err(|error| broken(&error))?
                }
            };
            let signature = envelope.signatures.first();
            let signature = signature.ok_or_else(|| broken(&"it is not signed"))?;
            let leaf = keys
                .iter()
                .map(|key| leaf::leaf(&envelope.pae_digest(), &signature.sig, &key.key))
                .find(|leaf| leaf::leaf_hash(leaf) == row.leaf_hash);
            let leaf = leaf.ok_or_else(|| broken(&"its leaf has another hash than the log"))?;
            leaves.push(leaf);
        }
        Ok(leaves)
    }

    /// Entries of the log from an index on, each a line as in the export of a log (format §7).
    pub async fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<u8>, EngineError> {
        let rows = self.0.store.log_records(first, limit).await?;
        let mut lines = Vec::new();
        for LogRow { index, kept, .. } in rows {
            match kept {
                // The stored envelope is canonical JSON, and so is the line.
                Kept::Envelope(envelope) => lines.extend_from_slice(
                    format!("{{\"envelope\":{envelope},\"index\":\"{index}\"}}\n").as_bytes(),
                ),
                Kept::Leaf { leaf, .. } => {
                    let entry = LineEntry::Leaf(leaf);
                    lines.extend(Line { index, entry }.to_line());
                }
            }
        }
        Ok(lines)
    }

    /// The proof that the log of `to` leaves continues the one of `from` (RFC 6962 section 2.1.2).
    pub async fn consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, EngineError> {
        self.proof(to, ProofPlan::consistency(from, to)).await
    }

    /// The proof that leaf `index` is in the log of `size` leaves (RFC 6962 section 2.1.1).
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, EngineError> {
        self.proof(size, ProofPlan::inclusion(index, size)).await
    }

    async fn proof(
        &self,
        size: u64,
        plan: Result<ProofPlan, TreeError>,
    ) -> Result<Vec<Digest>, EngineError> {
        let wrong = |message: String| {
            EngineError::Invalid(vec![Fault {
                pointer: String::new(),
                message,
            }])
        };
        let plan = plan.map_err(|error| wrong(error.to_string()))?;
        let head = self.0.store.log_head().await?;
        if size > head.size {
            return Err(wrong(format!(
                "the log has {} leaves, not {size}",
                head.size
            )));
        }
        let mut proofs = self.proofs(&[plan]).await?;
        Ok(proofs.pop().unwrap_or_default())
    }

    /// The proofs of plans over trees that the log has had, from its nodes.
    pub(super) async fn proofs(
        &self,
        plans: &[ProofPlan],
    ) -> Result<Vec<Vec<Digest>>, EngineError> {
        let mut wanted: Vec<NodeId> = plans.iter().flat_map(ProofPlan::nodes).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let nodes = self.0.store.log_nodes(&wanted).await?;
        let proofs = plans.iter().map(|plan| {
            plan.assemble(|node| nodes.get(&node).copied())
                .map_err(|error| EngineError::Internal(format!("a proof of the log: {error}")))
        });
        proofs.collect()
    }

    /// The newest checkpoint, signed at once where the log has grown.
    ///
    /// It is stored before anyone sees the signature, and by one caller at a time.
    pub(super) async fn signed_checkpoint(&self) -> Result<CheckpointRow, EngineError> {
        let _signing = self.0.checkpoint_lock.lock().await;
        // In this order: another host may sign a head of what comes in between.
        let last = self.0.store.checkpoint().await?;
        let head = self.0.store.log_head().await?;
        if let Some(last) = last {
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
        let key = &self.0.log_key;
        let note = match &self.0.log_key_before {
            None => checkpoint.sign(key),
            Some(before) => checkpoint.sign_with_both(key, before),
        };
        let note = note.map_err(|error| EngineError::Internal(error.to_string()))?;
        let row = CheckpointRow {
            head,
            note,
            signed: self.0.clock.now(),
        };
        self.0.store.put_checkpoint(&row).await?;
        self.keep_head(&row.note).await?;
        if let Some(witnesses) = &self.0.witnesses {
            witnesses.signed();
        }
        Ok(row)
    }
}
