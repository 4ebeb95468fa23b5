//! What comes back from the side becomes events, records and commits. The one place that decides when something is durable.

use stepseal_receipts::payload::Blob;
use stepseal_receipts::record::{self, Kind, Outcome, Record, Status};
use stepseal_receipts::state::StepState;
use stepseal_sandbox::Outcome as SandboxOutcome;

use super::attempt::{self, Authorized, Bench, Finish, Progress, Ran, Ready, Unready, View};
use super::basis::Basis;
use super::end::TASK_TIMEOUT;
use super::{Pending, RunError, Runner};
use crate::engine::buckets::changes;
use crate::engine::event::{Event, LogLine};
use crate::engine::grants::recorded;
use crate::engine::plan::OnFailure;
use crate::engine::verdict::{Composed, Judgement, WhyAgain};
use crate::store::{CommitError, NewBlob};

/// How often a step whose reads keep changing is run again before the attempt counts as failed. From the second time on it
/// holds its buckets, so more than a few mean that another host is as busy as this one.
const CONFLICTS_MAX: u32 = 64;

/// What a record says of an attempt that was cut off while it waited for the network.
pub(super) const MAY_HAVE_HAPPENED: &str = ", and what it asked the network for may have happened";

impl Runner {
    pub(super) fn prepare(&mut self, index: usize) {
        let attempt = self.task.steps[index].attempt + 1;
        let view = View::new(&self.engine, &self.task, index, attempt, &self.handle);
        self.in_flight.insert(index);
        self.running.add(attempt::prepare(view));
    }

    /// Takes what came back from the side.
    pub(super) async fn take(&mut self, progress: Progress) -> Result<(), RunError> {
        match progress {
            Progress::Ready(ready) => self.ready(*ready).await,
            Progress::Unready(unready) => self.unready(&unready),
            Progress::Ran(ran) => self.ran(*ran).await,
            Progress::Broken(error) => Err(error.into()),
        }
    }

    async fn ready(&mut self, ready: Ready) -> Result<(), RunError> {
        let index = ready.view.index;
        if self.is_stopping() || self.failing() {
            self.in_flight.remove(&index);
            return Ok(());
        }
        let Ready {
            view,
            bench,
            input,
            judgements,
            shown,
            composed,
        } = ready;
        let authorized = Authorized {
            view,
            bench,
            input,
            judgements,
            shown,
            approvals: Vec::new(),
            conflicts: 0,
        };
        match composed {
            Composed::Allow if authorized.bench.effects => {
                self.judged(&authorized)?;
                self.authorize(&authorized)?;
                self.flush().await?;
                self.running.add(attempt::run(authorized));
            }
            // Nothing is said about a pure step before it has run: were the host to stop now, it would simply run again.
            Composed::Allow => {
                self.running.add(attempt::run(authorized));
            }
            Composed::Ask(asks) => {
                self.in_flight.remove(&index);
                self.judged(&authorized)?;
                self.ask(&authorized, asks)?;
            }
            Composed::Deny { code, message } => {
                self.in_flight.remove(&index);
                self.judged(&authorized)?;
                self.deny(&authorized, code, message)?;
            }
        }
        Ok(())
    }

    fn unready(&mut self, unready: &Unready) -> Result<(), RunError> {
        self.in_flight.remove(&unready.view.index);
        self.fail_unrun(
            unready.view.index,
            unready.view.attempt,
            &unready.bench,
            Status::InvalidInput,
            unready.code,
            &unready.message,
        )
    }

    /// An attempt that failed before the sandbox saw it.
    pub(super) fn fail_unrun(
        &mut self,
        index: usize,
        attempt: u32,
        bench: &Bench,
        status: Status,
        code: &str,
        message: &str,
    ) -> Result<(), RunError> {
        self.begin()?;
        let outcome = Outcome {
            status,
            code: Some(code.to_owned()),
            message: Some(message.to_owned()),
        };
        self.record_unrun(index, attempt, bench, &outcome)?;
        self.emit(Event::StepFailed {
            step: self.task.plan.steps[index].id.clone(),
            attempt,
            status,
            code: outcome.code,
            message: outcome.message,
            fuel: None,
        })
    }

    /// The record of an attempt that nobody ran, or that a host which is gone had begun.
    pub(super) fn record_unrun(
        &mut self,
        index: usize,
        attempt: u32,
        bench: &Bench,
        outcome: &Outcome,
    ) -> Result<(), RunError> {
        let now = self.engine.0.clock.now();
        let step = self.step_ref(index, attempt);
        let is_authorized = matches!(
            self.task.step_state(index),
            StepState::Authorized | StepState::Running
        );
        let judged = self.task.steps[index].judged.as_ref();
        let granted = judged.filter(|_| is_authorized).map(|judged| judged.grants);
        self.record(Kind::StepFailed, |record| {
            describe(record, step, bench);
            if granted.is_some() {
                // The bench is of the rules in force now, the record of what was authorised.
                record.grants = granted;
                record.limits = None;
            }
            record.time = Some(record::Span {
                start: now,
                end: now,
            });
            record.outcome = Some(outcome.clone());
        })
    }

    async fn ran(&mut self, mut ran: Ran) -> Result<(), RunError> {
        let index = ran.authorized.view.index;
        if matches!(ran.run.outcome, SandboxOutcome::Busy(_)) && !self.is_stopping() {
            // Nothing ran, for want of room: that is no attempt.
            self.running.add(attempt::run(ran.authorized));
            return Ok(());
        }
        let was_stopped = matches!(
            ran.run.outcome,
            SandboxOutcome::Busy(_) | SandboxOutcome::Cancelled
        );
        if was_stopped && self.handle.is_over_time() {
            ran.finish = Finish::Failed {
                status: Status::Timeout,
                code: Some(TASK_TIMEOUT.to_owned()),
                message: Some(self.task_timeout()),
            };
        }
        say_what_is_unknown(&mut ran);
        if !ran.authorized.bench.effects {
            self.in_flight.remove(&index);
            // What a person approved counts under the rules that they were shown.
            self.pending.judged.push(Basis::of(&ran.authorized.bench));
            self.conclude(&mut ran)?;
            if self.engine.0.task_limits.commit_per_step {
                self.flush().await?;
            }
            return Ok(());
        }
        // A conflict must undo this step's part alone, so what others left goes first.
        if !self.pending.events.is_empty() {
            self.flush().await?;
        }
        let before = self.task.clone();
        self.conclude(&mut ran)?;
        match self.flush().await {
            Err(RunError::Commit(CommitError::Conflict { bucket, key })) => {
                self.task = before;
                self.pending = Pending::default();
                ran.authorized.conflicts += 1;
                // What reached the network happened: that is an attempt, and whether there is another one says the plan.
                let has_left = ran.run.http.has_left();
                if ran.authorized.conflicts < CONFLICTS_MAX && !has_left {
                    self.running.add(attempt::run(ran.authorized));
                    return Ok(());
                }
                let how = if has_left {
                    "changed while the step ran, after it had reached the network"
                } else {
                    "changed every time the step ran"
                };
                ran.finish = Finish::Failed {
                    status: Status::Unavailable,
                    code: Some("conflict".to_owned()),
                    message: Some(format!("key {key:?} of bucket {bucket:?} {how}")),
                };
                self.in_flight.remove(&index);
                self.conclude(&mut ran)?;
                self.flush().await
            }
            other => {
                self.in_flight.remove(&index);
                other
            }
        }
    }

    /// Says how an attempt that ran has ended.
    fn conclude(&mut self, ran: &mut Ran) -> Result<(), RunError> {
        let index = ran.authorized.view.index;
        let attempt = ran.authorized.view.attempt;
        let step = self.task.plan.steps[index].id.clone();
        let state = self.task.step_state(index);
        if state == StepState::Pending {
            self.judged(&ran.authorized)?;
            self.emit(Event::StepAuthorized {
                step: step.clone(),
                attempt,
            })?;
        }
        if matches!(state, StepState::Pending | StepState::Authorized) {
            self.begin()?;
            self.emit(Event::StepStarted {
                step: step.clone(),
                attempt,
            })?;
        }
        // What a step read is checked in the commit however it ended: a refusal that rests on stale reads is none.
        self.pending.keyvalue = changes(std::mem::take(&mut ran.run.changes));
        if !matches!(ran.finish, Finish::Ok(_)) {
            self.pending.keyvalue.writes.clear();
        }
        self.logged(ran, &step)?;
        if let Some(shown) = &ran.after_shown {
            self.pending.blobs.push(shown.to_blob());
        }
        let hostcalls = self.transcript(ran);
        let (kind, outcome) = match &ran.finish {
            Finish::Ok(output) => {
                self.pending.blobs.push(output.to_blob());
                (
                    Kind::StepCompleted,
                    Outcome {
                        status: Status::Ok,
                        code: None,
                        message: None,
                    },
                )
            }
            Finish::Failed {
                status,
                code,
                message,
            } => (
                Kind::StepFailed,
                Outcome {
                    status: *status,
                    code: code.clone(),
                    message: message.clone(),
                },
            ),
            Finish::Denied { code, message } => (
                Kind::StepDenied,
                Outcome {
                    status: Status::Denied,
                    code: Some(code.clone()),
                    message: Some(message.clone()),
                },
            ),
        };
        self.record_result(ran, kind, &outcome, hostcalls)?;
        match &ran.finish {
            Finish::Ok(output) => {
                self.emit(Event::StepSucceeded {
                    step,
                    attempt,
                    output: output.stored(),
                    fuel: ran.run.fuel_used,
                })?;
                self.task.steps[index].value = Some(std::sync::Arc::clone(output.value()));
                Ok(())
            }
            // Its record says how far it came; the step ends like those that had not begun.
            Finish::Failed {
                status: Status::Cancelled,
                ..
            } => self.emit(Event::StepCancelled { step }),
            Finish::Failed { status, .. } => {
                self.emit(Event::StepFailed {
                    step,
                    attempt,
                    status: *status,
                    code: outcome.code,
                    message: outcome.message,
                    fuel: Some(ran.run.fuel_used),
                })?;
                let effects = ran.authorized.bench.effects;
                if ran.run.http.is_open() {
                    self.after_unknown(index, attempt, *status)
                } else {
                    self.after_failure(index, attempt, *status, effects)
                }
            }
            Finish::Denied { code, message } => self.emit(Event::StepDenied {
                step,
                attempt,
                code: code.clone(),
                message: message.clone(),
            }),
        }
    }

    /// What follows an attempt that failed. Who lets an effect be tried more than once wants it done: after the last one a person is asked,
    /// unless the plan says what else is to be done.
    pub(super) fn after_failure(
        &mut self,
        index: usize,
        attempt: u32,
        status: Status,
        effects: bool,
    ) -> Result<(), RunError> {
        let step = &self.task.plan.steps[index];
        let retry = &step.retry;
        // A person may ask for more attempts than the plan has.
        let used_up = retry.max_attempts > 1 && attempt >= retry.max_attempts;
        let gave_up = effects && used_up && retry.on.contains(&status);
        let default = if gave_up {
            OnFailure::Pause
        } else {
            OnFailure::Fail
        };
        let pauses = step.on_failure.unwrap_or(default) == OnFailure::Pause;
        let asks = pauses.then_some(WhyAgain::Failed);
        self.try_again(index, attempt, status, asks)
    }

    /// What follows an attempt of which nobody knows what it did: where the plan allows no other, a person is asked for it, unless it says `fail`.
    pub(super) fn after_unknown(
        &mut self,
        index: usize,
        attempt: u32,
        status: Status,
    ) -> Result<(), RunError> {
        let gives_up = self.task.plan.steps[index].on_failure == Some(OnFailure::Fail);
        let asks = (!gives_up).then_some(WhyAgain::OutcomeUnknown);
        self.try_again(index, attempt, status, asks)
    }

    /// Lets another attempt follow one that failed: where the plan allows it by itself, or, where it does not, where a person `asks` for
    /// it.
    pub(super) fn try_again(
        &mut self,
        index: usize,
        attempt: u32,
        status: Status,
        asks: Option<WhyAgain>,
    ) -> Result<(), RunError> {
        let step = &self.task.plan.steps[index];
        let is_planned = step.retry.follows(attempt, status);
        let asks = asks.filter(|_| !is_planned);
        if self.is_stopping() || !(is_planned || asks.is_some()) {
            return Ok(());
        }
        let wait_ms = if is_planned {
            step.retry.wait_ms(attempt, self.engine.0.clock.random())
        } else {
            0
        };
        let event = Event::StepRetrying {
            step: step.id.clone(),
            attempt,
            not_before: self.engine.after(wait_ms),
            asks,
        };
        self.emit(event)
    }

    fn record_result(
        &mut self,
        ran: &Ran,
        kind: Kind,
        outcome: &Outcome,
        hostcalls: Option<record::HostCalls>,
    ) -> Result<(), RunError> {
        let authorized = &ran.authorized;
        let step = self.step_ref(authorized.view.index, authorized.view.attempt);
        let approvals = if authorized.bench.effects {
            Vec::new()
        } else {
            self.given(authorized)
        };
        self.record(kind, |record| {
            describe(record, step, &authorized.bench);
            record.input = Some(authorized.input.stored().commitment());
            // An effectful step's own record of authorisation has these.
            if !authorized.bench.effects {
                record.verdicts = authorized
                    .judgements
                    .iter()
                    .map(Judgement::to_record)
                    .collect();
                record.approvals = approvals;
            }
            record
                .verdicts
                .extend(ran.after.iter().map(Judgement::to_record));
            if let Finish::Ok(output) = &ran.finish {
                record.output = Some(output.stored().commitment());
            }
            record.hostcalls = hostcalls;
            record.fuel = Some(record::Fuel {
                limit: authorized.bench.limits.fuel,
                used: ran.run.fuel_used,
            });
            record.memory = Some(record::Memory {
                limit: authorized.bench.limits.memory_bytes,
                peak: ran.run.memory_peak_bytes,
            });
            record.seed = Some(ran.seed);
            record.time = Some(record::Span {
                start: ran.start,
                end: ran.end.max(ran.start),
            });
            record.outcome = Some(outcome.clone());
        })
    }

    /// Keeps the transcript of a step that called out, salted like a payload.
    fn transcript(&mut self, ran: &Ran) -> Option<record::HostCalls> {
        let transcript = &ran.run.transcript;
        if transcript.count() == 0 {
            return None;
        }
        let blob = Blob::blind(self.engine.0.clock.random(), &transcript.to_bytes());
        let hostcalls = record::HostCalls {
            count: transcript.count(),
            digest: blob.digest(),
        };
        self.pending.blobs.push(NewBlob {
            digest: blob.digest(),
            bytes: blob.into_bytes(),
        });
        Some(hostcalls)
    }

    fn logged(&mut self, ran: &Ran, step: &str) -> Result<(), RunError> {
        if ran.run.logs.is_empty() && ran.run.logs_dropped == 0 {
            return Ok(());
        }
        // Not taken: after a conflict it is said a second time.
        let lines = ran
            .run
            .logs
            .iter()
            .map(|line| LogLine {
                level: line.level.as_str().to_owned(),
                context: line.context.clone(),
                message: line.message.clone(),
            })
            .collect();
        self.emit(Event::StepLogged {
            step: step.to_owned(),
            attempt: ran.authorized.view.attempt,
            lines,
            dropped: ran.run.logs_dropped,
        })
    }

    /// Says what was judged about an attempt, and keeps what that was about.
    fn judged(&mut self, authorized: &Authorized) -> Result<(), RunError> {
        self.begin()?;
        self.pending.judged.push(Basis::of(&authorized.bench));
        self.keep(authorized.input.sealed());
        if let Some(shown) = &authorized.shown {
            self.keep(shown);
        }
        self.emit(Event::StepJudged {
            step: self.task.plan.steps[authorized.view.index].id.clone(),
            attempt: authorized.view.attempt,
            judgements: authorized.judgements.clone(),
            input: authorized.input.stored(),
            grants: authorized.bench.grant.digest,
            policies: authorized.bench.policies,
        })
    }

    /// Lets an effectful attempt run: its record is in the commit that comes before the effect.
    pub(super) fn authorize(&mut self, authorized: &Authorized) -> Result<(), RunError> {
        self.begin()?;
        self.pending.judged.push(Basis::of(&authorized.bench));
        let (step, attempt) = self.named(authorized);
        self.emit(Event::StepAuthorized {
            step: step.clone(),
            attempt,
        })?;
        self.record_decision(Kind::StepAuthorized, authorized, None)?;
        self.emit(Event::StepStarted { step, attempt })
    }

    /// A policy or a person said no before it ran.
    pub(super) fn deny(
        &mut self,
        authorized: &Authorized,
        code: String,
        message: String,
    ) -> Result<(), RunError> {
        self.begin()?;
        let (step, attempt) = self.named(authorized);
        let outcome = Outcome {
            status: Status::Denied,
            code: Some(code.clone()),
            message: Some(message.clone()),
        };
        self.record_decision(Kind::StepDenied, authorized, Some(outcome))?;
        self.emit(Event::StepDenied {
            step,
            attempt,
            code,
            message,
        })
    }

    /// What was decided about an attempt that has not run.
    fn record_decision(
        &mut self,
        kind: Kind,
        authorized: &Authorized,
        outcome: Option<Outcome>,
    ) -> Result<(), RunError> {
        let now = self.engine.0.clock.now();
        let step = self.step_ref(authorized.view.index, authorized.view.attempt);
        let approvals = self.given(authorized);
        self.record(kind, |record| {
            describe(record, step, &authorized.bench);
            record.input = Some(authorized.input.stored().commitment());
            record.verdicts = authorized
                .judgements
                .iter()
                .map(Judgement::to_record)
                .collect();
            record.approvals = approvals;
            record.time = Some(record::Span {
                start: now,
                end: now,
            });
            record.outcome = outcome;
        })
    }

    /// What people decided, for a record of the next commit.
    fn given(&mut self, authorized: &Authorized) -> Vec<record::Approval> {
        let given = &authorized.approvals;
        self.pending.given.extend_from_slice(given);
        given.iter().map(|given| given.approval.clone()).collect()
    }

    /// Id and attempt, as events name a step.
    fn named(&self, authorized: &Authorized) -> (String, u32) {
        let step = &self.task.plan.steps[authorized.view.index];
        (step.id.clone(), authorized.view.attempt)
    }

    fn step_ref(&self, index: usize, attempt: u32) -> record::StepRef {
        let step = &self.task.plan.steps[index];
        record::StepRef {
            id: step.id.clone(),
            index: index as u64,
            attempt,
            step_type: step.step_type.clone(),
        }
    }
}

/// Where a guest was stopped before it was told what came of a request, its record says so.
fn say_what_is_unknown(ran: &mut Ran) {
    if !ran.run.http.is_open() {
        return;
    }
    if let Finish::Failed { message, .. } = &mut ran.finish {
        let said = message.take();
        let said = said.unwrap_or_else(|| "this attempt was cut off while it ran".to_owned());
        *message = Some(said + MAY_HAVE_HAPPENED);
    }
}

/// What every record of a step says.
fn describe(record: &mut Record, step: record::StepRef, bench: &Bench) {
    record.step = Some(step);
    record.policies = Some(bench.policies);
    record.component = Some(record::ComponentRef {
        name: bench.plugin.row.name.clone(),
        version: bench.plugin.row.version.clone(),
        digest: bench.plugin.row.digest,
    });
    record.grants = Some(bench.grant.digest);
    record.limits = Some(recorded(&bench.limits));
}
