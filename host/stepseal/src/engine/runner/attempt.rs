//! One attempt of a step, in the two halves that run beside other steps: getting ready, and running.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::{Stage as RecordStage, Status};
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{
    Access, BucketSource, HttpAccess, Invocation, Limits, Live, Outcome, Secrets, Stage, StepCall,
    StepComponent, StepRun, World,
};
use tokio::sync::OwnedMutexGuard;

use super::Handle;
use crate::engine::approvers::Given;
use crate::engine::components::Plugin;
use crate::engine::grants::Grant;
use crate::engine::payload::{Payload, Sealed, read_json};
use crate::engine::plan::check::{effects, leaves_host};
use crate::engine::plan::{INPUT_DEPTH_MAX, Plan, Unresolved, resolve};
use crate::engine::policies::Rules;
use crate::engine::policy_input::{Judged, PolicyInput};
use crate::engine::schema::{MESSAGE_BYTES_MAX, text};
use crate::engine::task::Task;
use crate::engine::verdict::{Ask, Circumstances, Composed, Judgement, compose, denial};
use crate::engine::{Engine, EngineError, lock};
use crate::store::OPERATOR;

/// What came back from the side.
pub(super) enum Progress {
    /// An attempt is ready to run, or to be asked about.
    Ready(Box<Ready>),
    /// There is nothing that could run.
    Unready(Box<Unready>),
    /// The sandbox is done.
    Ran(Box<Ran>),
    /// The host itself failed.
    Broken(EngineError),
}

/// What an attempt needs to know of its task, shared so that it costs nothing to hand over.
#[derive(Clone)]
pub(super) struct View {
    engine: Engine,
    task: String,
    tenant: Arc<str>,
    agent: Option<String>,
    labels: Arc<BTreeMap<String, String>>,
    plan: Arc<Plan>,
    input: Payload,
    outputs: Vec<Option<Arc<Value>>>,
    history: Vec<(usize, stepseal_receipts::state::StepState)>,
    plan_judgements: Vec<Judgement>,
    pub(super) index: usize,
    pub(super) attempt: u32,
    /// What a person is asked because of the attempt before.
    again: Option<Ask>,
    handle: Arc<Handle>,
}

impl View {
    pub(super) fn new(
        engine: &Engine,
        task: &Task,
        index: usize,
        attempt: u32,
        handle: &Arc<Handle>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            task: task.id.clone(),
            tenant: Arc::clone(&task.tenant),
            agent: task.agent.clone(),
            labels: Arc::clone(&task.labels),
            plan: Arc::clone(&task.plan),
            input: task.input.clone(),
            outputs: task.steps.iter().map(|step| step.value.clone()).collect(),
            history: task.history(index),
            plan_judgements: task.plan_judgements.clone(),
            index,
            attempt,
            again: task.steps[index].again.clone(),
            handle: Arc::clone(handle),
        }
    }

    fn output(&self, id: &str) -> Option<&Value> {
        let at = self.plan.steps.iter().position(|step| step.id == id)?;
        self.outputs[at].as_deref()
    }

    /// Asks the policies about this step, before it runs or with its output.
    async fn judge(
        &self,
        bench: &Bench,
        input: &Value,
        output: Option<&Value>,
        now: Timestamp,
    ) -> Result<(Vec<Judgement>, Option<Sealed>), EngineError> {
        let stage = if output.is_some() {
            Stage::AfterStep
        } else {
            Stage::BeforeStep
        };
        let asked = PolicyInput {
            task: &self.task,
            tenant: &self.tenant,
            agent: self.agent.as_deref(),
            labels: &self.labels,
            input: Some(self.input.stored().digest),
            plan: &self.plan,
            history: self
                .history
                .iter()
                .map(|(index, state)| {
                    let step = &self.plan.steps[*index];
                    (
                        step.id.as_str(),
                        format!("{}/{}", step.plugin, step.step_type),
                        state.as_str(),
                    )
                })
                .collect(),
            time: now,
            judged: Some(Judged {
                index: self.index,
                attempt: self.attempt,
                effects: bench.effects,
                grants: &bench.grant.value,
                input,
                output,
            }),
        };
        self.engine
            .judge(
                &bench.rules,
                stage,
                &asked.target(),
                || asked.to_canonical(),
                now,
            )
            .await
    }
}

/// What an attempt runs with: the plugin, and what it may use.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) plugin: Arc<Plugin>,
    pub(super) grant: Arc<Grant>,
    /// What was in force when it was judged; its output is judged by the same.
    pub(super) rules: Arc<Rules>,
    /// Digest of the policies that judged it.
    pub(super) policies: Digest,
    pub(super) limits: Limits,
    pub(super) effects: bool,
    /// It can do what no commit undoes.
    pub(super) leaves_host: bool,
}

impl Bench {
    /// Under the rules in force now.
    pub(super) async fn new(
        engine: &Engine,
        plan: &Plan,
        index: usize,
        rules: &Arc<Rules>,
    ) -> Result<Self, EngineError> {
        let step = &plan.steps[index];
        let plugin = engine.plugin(&step.component).await?.ok_or_else(|| {
            EngineError::Internal(format!(
                "component {} of a pinned plan is gone",
                step.component
            ))
        })?;
        let grant = Arc::clone(rules.grant(&step.plugin));
        Ok(Self {
            limits: step.limits.below(grant.limits()),
            effects: effects(&plugin, rules),
            leaves_host: leaves_host(&plugin, rules),
            policies: rules.policies_digest,
            rules: Arc::clone(rules),
            plugin,
            grant,
        })
    }
}

/// An attempt that was judged.
pub(super) struct Ready {
    pub(super) view: View,
    pub(super) bench: Bench,
    pub(super) input: Payload,
    pub(super) judgements: Vec<Judgement>,
    /// What the policies were shown.
    pub(super) shown: Option<Sealed>,
    pub(super) composed: Composed,
}

/// An attempt that could not be made ready.
pub(super) struct Unready {
    pub(super) view: View,
    pub(super) bench: Bench,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Makes the input, checks it, and asks the policies.
pub(super) async fn prepare(view: View) -> Progress {
    prepare_under_rules(view)
        .await
        .unwrap_or_else(Progress::Broken)
}

async fn prepare_under_rules(view: View) -> Result<Progress, EngineError> {
    let rules = view.engine.rules().await?;
    let bench = Bench::new(&view.engine, &view.plan, view.index, &rules).await?;
    let step = &view.plan.steps[view.index];
    let made = resolve(
        &step.with,
        view.input.value(),
        &|id| view.output(id),
        bench.limits.input_bytes,
    );
    let input = match made {
        Ok(input) => input,
        Err(Unresolved::Missing { pointer, reference }) => {
            let message =
                format!("{reference}, used at {pointer:?} of the step's input, points at nothing");
            return Ok(Progress::Unready(Box::new(Unready {
                view,
                bench,
                code: "unresolved-reference",
                message,
            })));
        }
        Err(Unresolved::TooLarge) => return Ok(too_large(view, bench)),
        Err(Unresolved::TooDeep) => {
            let message = format!("the input is nested deeper than {INPUT_DEPTH_MAX} levels");
            return Ok(Progress::Unready(Box::new(Unready {
                view,
                bench,
                code: "input-too-deep",
                message,
            })));
        }
    };
    if let Err(error) = bench.plugin.steps[&step.step_type].input.check(&input) {
        let message = text(
            &format!("the input does not fit the step type's schema: {error}"),
            MESSAGE_BYTES_MAX,
        );
        return Ok(Progress::Unready(Box::new(Unready {
            view,
            bench,
            code: "schema",
            message,
        })));
    }
    let input = Payload::new(input, view.engine.0.clock.random());
    if input.text().len() as u64 > bench.limits.input_bytes {
        return Ok(too_large(view, bench));
    }
    if bench.effects {
        // Before the record that it may run: what is not there has not been cut off.
        component(&view.engine, step.component).await?;
    }
    let now = view.engine.0.clock.now();
    let (judgements, shown) = loop {
        match view.judge(&bench, input.value(), None, now).await {
            // The wait for room is bounded where it is waited for; asking again is all there is to do.
            Err(EngineError::Busy { .. }) if !view.handle.cancel.is_cancelled() => {}
            other => break other?,
        }
    };
    let circumstances = Circumstances {
        effectful: bench.effects,
        plan_asks: step.approval,
        again: view.again.clone(),
    };
    let everything: Vec<Judgement> = view
        .plan_judgements
        .iter()
        .chain(&judgements)
        .cloned()
        .collect();
    let composed = compose(&everything, &circumstances);
    Ok(Progress::Ready(Box::new(Ready {
        view,
        bench,
        input,
        judgements,
        shown,
        composed,
    })))
}

fn too_large(view: View, bench: Bench) -> Progress {
    let message = format!(
        "the input is larger than the {} bytes this step may take",
        bench.limits.input_bytes
    );
    Progress::Unready(Box::new(Unready {
        view,
        bench,
        code: "input-too-large",
        message,
    }))
}

/// An attempt that may run.
#[derive(Clone)]
pub(super) struct Authorized {
    pub(super) view: View,
    pub(super) bench: Bench,
    pub(super) input: Payload,
    pub(super) judgements: Vec<Judgement>,
    pub(super) shown: Option<Sealed>,
    /// What people decided, where they were asked.
    pub(super) approvals: Vec<Given>,
    /// How often what it read had changed when it was to be committed.
    pub(super) conflicts: u32,
}

/// An attempt that ran.
pub(super) struct Ran {
    pub(super) authorized: Authorized,
    pub(super) seed: [u8; 32],
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) run: StepRun,
    pub(super) finish: Finish,
    pub(super) after: Vec<Judgement>,
    pub(super) after_shown: Option<Sealed>,
    /// Keeps others off the buckets until the writes are committed, where there were conflicts.
    #[expect(
        dead_code,
        reason = "held until the writes are committed, then dropped"
    )]
    pub(super) guards: Vec<OwnedMutexGuard<()>>,
}

/// How an attempt ended, all things considered.
pub(super) enum Finish {
    Ok(Payload),
    Failed {
        status: Status,
        code: Option<String>,
        message: Option<String>,
    },
    Denied {
        code: String,
        message: String,
    },
}

/// The key a plugin hands on so that a remote effect happens once: the same for all attempts of a step, and
/// found again by anyone who has the record.
pub fn idempotency_key(task: &str, step: &str) -> String {
    format!("{task}/{step}")
}

/// The plugin of a step, ready to run.
pub(super) async fn component(
    engine: &Engine,
    digest: Digest,
) -> Result<StepComponent, EngineError> {
    let content = engine.0.content.clone();
    let ready = engine.0.sandbox.step(digest, move || content.get(digest));
    ready
        .await
        .map_err(|error| EngineError::Internal(format!("component {digest}: {error}")))
}

/// Runs an attempt and asks the policies about its output.
pub(super) async fn run(authorized: Authorized) -> Progress {
    let guards = take_turns(&authorized).await;
    let engine = authorized.view.engine.clone();
    let (plan, index) = (Arc::clone(&authorized.view.plan), authorized.view.index);
    let step = &plan.steps[index];
    let component = match component(&engine, step.component).await {
        Ok(component) => component,
        Err(error) => return Progress::Broken(error),
    };
    let (seed, start) = (engine.0.clock.random(), engine.0.clock.now());
    let call = StepCall {
        invocation: Invocation {
            task_id: authorized.view.task.clone(),
            step_id: step.id.clone(),
            attempt: authorized.view.attempt,
            step_type: step.step_type.clone(),
            input: authorized.input.text().to_owned(),
            idempotency_key: idempotency_key(&authorized.view.task, &step.id),
        },
        limits: authorized.bench.limits,
        seed,
        start,
        access: Access {
            config: authorized.bench.grant.document.config.clone(),
            world: world(&authorized, &engine),
        },
        tenant: Some(Arc::clone(&authorized.view.tenant)).filter(|tenant| **tenant != *OPERATOR),
        cancel: authorized.view.handle.cancel.clone(),
    };
    lock(&authorized.view.handle.in_sandbox).insert(index, authorized.view.attempt);
    let run = engine.0.sandbox.run(&component, call).await;
    engine.count_run(&run);
    let end = engine.0.clock.now();
    let mut ran = Ran {
        seed,
        start,
        end,
        finish: failure(&run.outcome),
        run,
        after: Vec::new(),
        after_shown: None,
        guards,
        authorized,
    };
    if let Outcome::Ok { output } = &ran.run.outcome {
        let output = output.clone();
        if let Err(error) = finish_ok(&mut ran, output, end).await {
            return Progress::Broken(error);
        }
    }
    Progress::Ran(Box::new(ran))
}

/// After a conflict, one at a time: the steps that meet on a bucket queue for it, and those that come later queue behind them.
async fn take_turns(authorized: &Authorized) -> Vec<OwnedMutexGuard<()>> {
    let mut guards = Vec::new();
    if authorized.bench.effects {
        // In sorted order, so that two steps never wait for each other.
        let mut buckets = authorized.bench.grant.document.buckets.clone();
        buckets.sort();
        for bucket in buckets {
            let turn = authorized.view.engine.turn(&bucket);
            let cancelled = authorized.view.handle.cancel.cancelled();
            if authorized.conflicts > 0 {
                tokio::select! {
                    guard = turn.lock_owned() => guards.push(guard),
                    () = cancelled => {}
                }
            } else if turn.try_lock().is_err() {
                // Somebody is repeating a step on this bucket; wait for them rather than spoil it again.
                tokio::select! {
                    guard = turn.lock_owned() => drop(guard),
                    () = cancelled => {}
                }
            }
        }
    }
    guards
}

fn world(authorized: &Authorized, engine: &Engine) -> World {
    if !authorized.bench.effects {
        return World::None;
    }
    let source: Arc<dyn BucketSource> = Arc::new(crate::engine::buckets::StoredBuckets(
        Arc::clone(&engine.0.store),
    ));
    let grant = &authorized.bench.grant;
    let http = authorized.bench.leaves_host.then(|| HttpAccess {
        rules: Arc::clone(&grant.http),
        secrets: Arc::new(Secrets::new(engine.0.secrets.of(grant))),
        client: Arc::clone(&engine.0.http),
    });
    World::Live(Live {
        buckets: grant.document.buckets.clone(),
        source,
        http,
    })
}

fn failure(outcome: &Outcome) -> Finish {
    Finish::Failed {
        status: outcome.status(),
        code: outcome.code().map(str::to_owned),
        message: outcome
            .message()
            .map(|message| text(&message, MESSAGE_BYTES_MAX)),
    }
}

/// Bytes of an output that is read on the spot. What is larger would hold up everything else that the worker has to do.
const READ_ON_THE_SPOT_BYTES_MAX: usize = 64 << 10;

/// The output as a value and as the bytes that it was, or what is wrong with it.
type Read = Result<(Value, Vec<u8>), String>;

/// Reads an output and checks it against the step type's schema.
async fn read_output(
    output: Vec<u8>,
    plugin: Arc<Plugin>,
    step_type: String,
) -> Result<Read, EngineError> {
    let is_large = output.len() > READ_ON_THE_SPOT_BYTES_MAX;
    let read = move || -> Read {
        let read = read_json(&output);
        let value = read.map_err(|error| format!("the output is not JSON: {error}"))?;
        let fits = plugin.steps[&step_type].output.check(&value);
        fits.map_err(|error| format!("the output does not fit the step type's schema: {error}"))?;
        Ok((value, output))
    };
    if !is_large {
        return Ok(read());
    }
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| EngineError::Internal(error.to_string()))
}

/// Checks an output and asks the policies about it.
async fn finish_ok(ran: &mut Ran, output: Vec<u8>, now: Timestamp) -> Result<(), EngineError> {
    let plugin = Arc::clone(&ran.authorized.bench.plugin);
    let view = &ran.authorized.view;
    let step_type = view.plan.steps[view.index].step_type.clone();
    let read = read_output(output, plugin, step_type).await?;
    let (value, json) = match read {
        Ok(read) => read,
        Err(message) => {
            ran.finish = Finish::Failed {
                status: Status::Failed,
                code: Some("bad-output".to_owned()),
                message: Some(text(&message, MESSAGE_BYTES_MAX)),
            };
            return Ok(());
        }
    };
    let authorized = &ran.authorized;
    let view = &authorized.view;
    let output = Payload::from_canonical(value, &json, view.engine.0.clock.random());
    let (after, shown) = loop {
        match view
            .judge(
                &authorized.bench,
                authorized.input.value(),
                Some(output.value()),
                now,
            )
            .await
        {
            Err(EngineError::Busy { .. }) if !view.handle.cancel.is_cancelled() => {}
            other => break other?,
        }
    };
    ran.finish = match denial(&after) {
        Some(Composed::Deny { code, message }) => Finish::Denied { code, message },
        _ => Finish::Ok(output),
    };
    debug_assert!(
        after
            .iter()
            .all(|judgement| judgement.stage == RecordStage::AfterStep)
    );
    ran.after = after;
    ran.after_shown = shown;
    Ok(())
}
