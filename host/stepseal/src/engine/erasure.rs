//! Erasing what tasks left: by request, or when it has been kept for long enough.

use std::time::Duration;

use stepseal_receipts::record::{ErasedEntry, Erasure, ErasureScope, Kind, LABEL_BYTES_MAX};
use stepseal_receipts::time::Timestamp;
use tokio::time::sleep;

use super::{Actor, Engine, EngineError, Fault};
use crate::store::{LogRow, NewAct, NewErasure, RecordRow, StoreError};

/// How often it is looked for what has been kept for long enough.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Tasks that are looked up at a time.
const AT_A_TIME: u32 = 256;
/// Entries in the record of one erasure, which may have 256: fewer, so that it stays below 32 KiB with the longest of numbers,
/// `basis` and `actor`.
const AT_ONCE: usize = 200;
/// How often a reader that holds the files up is waited out.
const TRIES: u32 = 5;

impl Engine {
    /// Erases the payloads of a finished task and whatever else is kept of it but its records: plan, inputs, outputs, what policies
    /// were shown, events, approvals, agent and labels. `basis` says why it must be, and goes into the log with the act.
    ///
    /// When this has returned, no file of the host holds them. Receipts that were made before keep what they disclose.
    pub async fn erase_payloads(
        &self,
        task: &str,
        basis: &str,
        actor: Actor,
    ) -> Result<(), EngineError> {
        self.check_erasable(task, basis).await?;
        let act = self.erasure(ErasureScope::Payloads, task, basis, actor, Vec::new());
        let act = act.await?;
        let store = &self.0.store;
        let now = self.0.clock.now();
        patiently(|| store.erase(task, now, act.clone())).await
    }

    /// Erases the records of a finished task too: nothing stays of it but its row and its leaves in the log, whose places and links
    /// its receipt proves.
    pub async fn erase_records(
        &self,
        task: &str,
        basis: &str,
        actor: Actor,
    ) -> Result<(), EngineError> {
        self.check_erasable(task, basis).await?;
        let mut rows = Vec::new();
        let mut entries = Vec::new();
        let mut prev = None;
        for RecordRow {
            index,
            seq,
            kept,
            leaf_hash,
        } in self.0.store.records(task).await?
        {
            if kept.envelope().is_some() {
                entries.push(ErasedEntry { index, seq, prev });
                rows.push(LogRow {
                    index,
                    kept,
                    leaf_hash,
                });
            }
            prev = Some(leaf_hash);
        }
        let leaves = self.leaves(rows).await?;
        let mut erasures = Vec::new();
        for (entries, leaves) in entries.chunks(AT_ONCE).zip(leaves.chunks(AT_ONCE)) {
            let indexes = entries.iter().map(|entry| entry.index);
            let leaves = indexes.zip(leaves.iter().cloned()).collect();
            let actor = actor.clone();
            let act = self.erasure(ErasureScope::Records, task, basis, actor, entries.to_vec());
            let act = act.await?;
            erasures.push(NewErasure { act, leaves });
        }
        let store = &self.0.store;
        let now = self.0.clock.now();
        patiently(|| store.erase_records(task, now, &erasures)).await
    }

    /// The record of an erasure.
    async fn erasure(
        &self,
        scope: ErasureScope,
        task: &str,
        basis: &str,
        actor: Actor,
        entries: Vec<ErasedEntry>,
    ) -> Result<NewAct, EngineError> {
        let act = self.act(Kind::Erasure, actor, |record| {
            record.erasure = Some(Erasure {
                scope,
                basis: basis.to_owned(),
                task: Some(task.to_owned()),
                blobs: Vec::new(),
                entries,
            });
        });
        act.await
    }

    /// Whether there is such a task, it is over, and the basis is one.
    async fn check_erasable(&self, task: &str, basis: &str) -> Result<(), EngineError> {
        if !(1..=LABEL_BYTES_MAX).contains(&basis.len()) || basis.chars().any(char::is_control) {
            return Err(EngineError::Invalid(vec![Fault {
                pointer: "/basis".to_owned(),
                message: format!(
                    "say why it must be erased, in 1 to {LABEL_BYTES_MAX} bytes without control characters"
                ),
            }]));
        }
        let row = self.0.store.task(task).await?;
        let row = row.ok_or_else(|| EngineError::NotFound {
            what: "task",
            id: task.to_owned(),
        })?;
        if !row.state.is_final() {
            return Err(EngineError::Conflict {
                code: "unfinished",
                message: format!(
                    "task {task} is {}: cancel it first, or wait for its end",
                    row.state.as_str()
                ),
            });
        }
        Ok(())
    }

    /// Erases the payloads of tasks that were accepted longer ago than `keep` and are finished, for as long as the host runs.
    pub(super) async fn erase_old(self, keep: Duration) {
        let basis = format!("kept for {} days", keep.as_secs() / 86_400);
        let mut stopping = self.0.stopping.subscribe();
        while !*stopping.borrow() {
            if let Err(error) = self.erase_older(keep, &basis).await {
                tracing::error!(%error, "payloads that were kept long enough could not be erased");
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    async fn erase_older(&self, keep: Duration, basis: &str) -> Result<(), EngineError> {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let before = self.0.clock.now().unix_ms().saturating_sub(keep);
        let before = Timestamp::from_unix_ms(before)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let mut after = String::new();
        loop {
            let due = self.0.store.erasable(&after, before, AT_A_TIME).await?;
            let Some(last) = due.last() else {
                return Ok(());
            };
            after.clone_from(last);
            for task in &due {
                self.erase_payloads(task, basis, None).await?;
            }
        }
    }
}

/// Waits readers out that hold the files up. What was done stays done when it is tried again.
async fn patiently<Erased>(erase: impl Fn() -> Erased) -> Result<(), EngineError>
where
    Erased: Future<Output = Result<bool, StoreError>>,
{
    for _ in 1..TRIES {
        match erase().await {
            Err(StoreError::Busy) => {}
            done => return Ok(done.map(drop)?),
        }
    }
    Ok(erase().await.map(drop)?)
}
