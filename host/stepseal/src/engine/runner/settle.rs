//! Steps that wait for people, and attempts that were authorised before this runner existed.

use stepseal_receipts::record::{self, Outcome, Status};
use stepseal_receipts::state::StepState;
use stepseal_receipts::time::Timestamp;

use super::attempt::{self, Authorized, Bench, View};
use super::effects::MAY_HAVE_HAPPENED;
use super::{RunError, Runner, SIDE_BY_SIDE_MAX};
use crate::engine::approvals::{Ask, Decided, Shown, decision, decisions};
use crate::engine::approvers::Given;
use crate::engine::event::Event;
use crate::engine::grants::GrantDocument;
use crate::engine::payload::Payload;
use crate::engine::plan::check::asks_for_network;
use crate::engine::{Engine, EngineError};
use crate::store::{ApprovalRow, ApprovalState};

impl Runner {
    /// Puts a question to people.
    pub(super) fn ask(&mut self, authorized: &Authorized, asks: Vec<Ask>) -> Result<(), RunError> {
        let (index, attempt) = (authorized.view.index, authorized.view.attempt);
        let step = &self.task.plan.steps[index];
        let id = self.engine.0.clock.id();
        let shown = Shown {
            asks,
            plugin: step.plugin.clone(),
            version: step.version.clone(),
            step_type: step.step_type.clone(),
            component: step.component,
            input: authorized.input.stored(),
            grants: authorized.bench.grant.digest,
            policies: authorized.bench.policies,
        };
        let step = step.id.clone();
        let (_, subject) = shown.subject(&self.task.id, &step, attempt);
        let now = self.engine.0.clock.now();
        self.pending.approvals.push(ApprovalRow {
            id: id.clone(),
            task: self.task.id.clone(),
            step: step.clone(),
            attempt,
            subject,
            likeness: shown.likeness(),
            body: serde_json::to_string(&shown).expect("what is shown is JSON"),
            state: ApprovalState::Open,
            decisions: "[]".to_owned(),
            opened: now,
            expires: self.engine.after(self.engine.0.approval_ttl_ms),
        });
        self.emit(Event::StepWaiting {
            step,
            attempt,
            approval: id,
        })
    }

    /// Looks at every approval this task waits for and goes on where one is settled.
    pub(super) async fn settle(&mut self) -> Result<(), RunError> {
        for index in 0..self.task.steps.len() {
            if self.in_flight.len() >= SIDE_BY_SIDE_MAX {
                // The rest has its turn when one of these has ended.
                self.look = true;
                break;
            }
            if self.task.step_state(index) == StepState::Waiting {
                self.settle_step(index).await?;
            }
        }
        Ok(())
    }

    async fn settle_step(&mut self, index: usize) -> Result<(), RunError> {
        let Some(row) = self.approval_row(index).await? else {
            return Ok(());
        };
        let now = self.engine.0.clock.now();
        let (step, attempt) = (row.step.clone(), row.attempt);
        match row.state {
            ApprovalState::Open if row.expires > now => Ok(()),
            ApprovalState::Open => {
                self.pending.approvals.push(ApprovalRow {
                    state: ApprovalState::Expired,
                    ..row.clone()
                });
                let authorized = self.authorized_before(index, Vec::new()).await?;
                let message = format!("nobody decided before {}", row.expires);
                self.deny(&authorized, "approval-expired".to_owned(), message)
            }
            ApprovalState::Expired | ApprovalState::Void => {
                self.begin()?;
                let reason = "what was to be approved has changed".to_owned();
                self.emit(Event::StepVoided {
                    step,
                    attempt,
                    reason,
                })
            }
            ApprovalState::Rejected => {
                let mut decided = decisions(&row)?;
                let message = rejection(&decided);
                // It stays a rejection; the record speaks of what still counts.
                let rules = self.engine.rules().await?;
                decided.retain(|decided| decided.counts(&rules));
                let authorized = self
                    .authorized_before(index, recorded(&row, &decided))
                    .await?;
                self.deny(&authorized, "rejected".to_owned(), message)
            }
            ApprovalState::Approved => {
                let (shown, decided) = (Shown::read(&row)?, decisions(&row)?);
                let rules = self.engine.rules().await?;
                if !shown.holds(&rules) || !decided.iter().all(|decided| decided.counts(&rules)) {
                    self.pending.approvals.push(ApprovalRow {
                        state: ApprovalState::Void,
                        ..row
                    });
                    self.begin()?;
                    let reason =
                        "grants, policies or an approver's keys changed after it was approved"
                            .to_owned();
                    return self.emit(Event::StepVoided {
                        step,
                        attempt,
                        reason,
                    });
                }
                let authorized = self
                    .authorized_before(index, recorded(&row, &decided))
                    .await?;
                if authorized.bench.effects {
                    let digest = self.task.plan.steps[index].component;
                    attempt::component(&self.engine, digest).await?;
                    self.authorize(&authorized)?;
                    self.flush().await?;
                    self.in_flight.insert(index);
                    self.running.add(attempt::run(authorized));
                    return Ok(());
                }
                self.begin()?;
                self.emit(Event::StepAuthorized { step, attempt })
            }
        }
    }

    /// Takes up an attempt that is authorised in the database but that nobody runs.
    pub(super) async fn resume(&mut self, index: usize) -> Result<(), RunError> {
        let approvals = match self.approval_row(index).await? {
            Some(row) => recorded(&row, &decisions(&row)?),
            None => Vec::new(),
        };
        let rules = self.engine.rules().await?;
        let counts = |given: &Given| rules.counts(&given.approval.approver, given.key.as_ref());
        let counting = approvals.iter().all(counts);
        let authorized = self.authorized_before(index, approvals).await?;
        let judged = self.task.steps[index].judged.as_ref();
        let same = judged.is_some_and(|judged| {
            judged.grants == authorized.bench.grant.digest
                && judged.policies == authorized.bench.rules.policies_digest
        });
        // Nobody knows what it did, whatever the rules are now.
        if self.may_have_left(index, &authorized.bench).await? {
            return self.interrupted(index, &authorized);
        }
        if !same || !counting {
            let message =
                "grants, policies or an approver's keys changed after this attempt was authorised";
            let attempt = authorized.view.attempt;
            // Only an effect is started in the database before it has run.
            let effects = self.task.step_state(index) == StepState::Running;
            let (bench, status) = (&authorized.bench, Status::Failed);
            self.fail_unrun(index, attempt, bench, status, "rules-changed", message)?;
            return self.after_failure(index, attempt, status, effects);
        }
        self.in_flight.insert(index);
        self.running.add(attempt::run(authorized));
        Ok(())
    }

    /// Whether an attempt that a stopped host left behind may have reached the network: by the grant that it was authorised under, since
    /// what is granted now says nothing of what it did.
    pub(super) async fn may_have_left(
        &mut self,
        index: usize,
        bench: &Bench,
    ) -> Result<bool, RunError> {
        let judged = self.task.steps[index].judged.as_ref();
        let Some(judged) = judged.filter(|_| self.task.step_state(index) == StepState::Running)
        else {
            return Ok(false);
        };
        if !asks_for_network(&bench.plugin) {
            return Ok(false);
        }
        let granted = self.engine.0.store.grant_document(&judged.grants).await?;
        let granted = granted.map(|granted| serde_json::from_str::<GrantDocument>(&granted));
        // What cannot be read might have granted it.
        Ok(!matches!(granted, Some(Ok(granted)) if granted.http.is_empty()))
    }

    /// Fails an attempt that was under way when a host stopped, or rules changed, and that may have done what no commit undoes. Another one has the same
    /// idempotency key; where the plan allows none, or none after an interruption, a person is asked for it, unless the plan says `fail`.
    fn interrupted(&mut self, index: usize, authorized: &Authorized) -> Result<(), RunError> {
        let attempt = authorized.view.attempt;
        let message = format!("this attempt was cut off while it ran{MAY_HAVE_HAPPENED}");
        self.fail_unrun(
            index,
            attempt,
            &authorized.bench,
            Status::Unavailable,
            "interrupted",
            &message,
        )?;
        self.after_unknown(index, attempt, Status::Unavailable)
    }

    /// Ends an attempt that a host which is gone had authorised and that is not to be run again: a record that it may run is
    /// followed by one of how it ended.
    pub(super) async fn abandon(&mut self, index: usize) -> Result<(), RunError> {
        let authorized = self.authorized_before(index, Vec::new()).await?;
        let outcome = Outcome {
            status: Status::Cancelled,
            code: None,
            message: Some("the task was cancelled before this attempt ended".to_owned()),
        };
        let attempt = authorized.view.attempt;
        self.record_unrun(index, attempt, &authorized.bench, &outcome)?;
        let step = self.task.plan.steps[index].id.clone();
        self.emit(Event::StepCancelled { step })
    }

    /// The attempt as it was judged, under the rules in force now.
    pub(super) async fn authorized_before(
        &mut self,
        index: usize,
        approvals: Vec<Given>,
    ) -> Result<Authorized, RunError> {
        let progress = &self.task.steps[index];
        let judged = progress.judged.as_ref().ok_or_else(|| {
            EngineError::Internal(format!(
                "step {index} of task {} was never judged",
                self.task.id
            ))
        })?;
        let rules = self.engine.rules().await?;
        let bench = Bench::new(&self.engine, &self.task.plan, index, &rules).await?;
        // What was judged in this very run may not be in the database yet.
        let pending = self
            .pending
            .blobs
            .iter()
            .find(|blob| blob.digest == judged.input.digest);
        let blob = match pending {
            Some(blob) => blob.bytes.clone(),
            None => self
                .engine
                .0
                .store
                .blob(&self.task.id, &judged.input.digest)
                .await?
                .ok_or_else(|| {
                    EngineError::Internal(format!(
                        "the input of step {index} of task {} is gone",
                        self.task.id
                    ))
                })?,
        };
        Ok(Authorized {
            view: View::new(
                &self.engine,
                &self.task,
                index,
                progress.attempt,
                &self.handle,
            ),
            bench: Bench {
                policies: judged.policies,
                ..bench
            },
            input: Payload::from_blob(blob, judged.input)?,
            judgements: judged.judgements.clone(),
            shown: None,
            approvals,
            conflicts: 0,
        })
    }

    async fn approval_row(&mut self, index: usize) -> Result<Option<ApprovalRow>, RunError> {
        let Some(id) = &self.task.steps[index].approval else {
            return Ok(None);
        };
        if let Some(row) = self
            .pending
            .approvals
            .iter()
            .rev()
            .find(|row| row.id == *id)
        {
            return Ok(Some(row.clone()));
        }
        Ok(self.engine.0.store.approval(id).await?)
    }

    /// When the approval a step waits for lapses.
    pub(super) async fn approval_expiry(
        &mut self,
        index: usize,
    ) -> Result<Option<Timestamp>, RunError> {
        Ok(self.approval_row(index).await?.map(|row| row.expires))
    }

    /// Nobody needs to decide any more.
    pub(super) async fn void_approval(&mut self, index: usize) -> Result<(), RunError> {
        if let Some(row) = self.approval_row(index).await?
            && row.state == ApprovalState::Open
        {
            self.pending.approvals.push(ApprovalRow {
                state: ApprovalState::Void,
                ..row
            });
        }
        Ok(())
    }
}

fn rejection(decided: &[Decided]) -> String {
    let Some(no) = decided.iter().find(|decided| !decided.approve) else {
        return "rejected".to_owned();
    };
    match &no.comment {
        Some(comment) => format!("rejected by {}: {comment}", no.approver),
        None => format!("rejected by {}", no.approver),
    }
}

/// Decisions as a record names them.
fn recorded(row: &ApprovalRow, decided: &[Decided]) -> Vec<Given> {
    decided
        .iter()
        .map(|decided| Given {
            approval: record::Approval {
                approver: decided.approver.clone(),
                decision: decision(decided.approve),
                role: decided.role.clone(),
                subject: row.subject,
                envelope: decided.signed.as_ref().map(|signed| signed.envelope),
            },
            key: decided.signed.as_ref().map(|signed| signed.key.clone()),
        })
        .collect()
}

impl Engine {
    /// `ms` milliseconds from now.
    pub(crate) fn after(&self, ms: u64) -> Timestamp {
        let now = self.0.clock.now();
        Timestamp::from_unix_ms(now.unix_ms().saturating_add(ms)).unwrap_or(now)
    }
}
