//! Erasing what tasks left: by request, or when it has been kept for long enough.

use std::time::Duration;

use stepseal_receipts::record::{Erasure, ErasureScope, Kind, LABEL_BYTES_MAX};
use stepseal_receipts::time::Timestamp;
use tokio::time::sleep;

use super::{Actor, Engine, EngineError, Fault};
use crate::store::StoreError;

/// How often it is looked for what has been kept for long enough.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Tasks that are looked up at a time.
const AT_A_TIME: u32 = 256;
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
        let act = self.act(Kind::Erasure, actor, |record| {
            record.erasure = Some(Erasure {
                scope: ErasureScope::Payloads,
                basis: basis.to_owned(),
                task: Some(task.to_owned()),
                blobs: Vec::new(),
                entries: Vec::new(),
            });
        });
        let act = act.await?;
        for _ in 1..TRIES {
            match self
                .0
                .store
                .erase(task, self.0.clock.now(), act.clone())
                .await
            {
                Err(StoreError::Busy) => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Ok(self
            .0
            .store
            .erase(task, self.0.clock.now(), act)
            .await
            .map(drop)?)
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
