//! Asking a policy, and what it may say.

use std::pin::pin;
use std::sync::Arc;

use super::{Ended, cost, failure, guard, sentence};
use crate::access::Access;
use crate::bindings::policy;
use crate::call::{Approval, Outcome, PolicyCall, PolicyRun, Reason, Verdict};
use crate::cancel::Cancel;
use crate::component::PolicyComponent;
use crate::descriptor::{Stage, is_name};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::pool::Pool;
use crate::text::message;
use crate::ticker;

/// Most approvers a policy may ask for.
const APPROVERS_MAX: u32 = 16;

/// Bytes of a role's name.
const ROLE_BYTES_MAX: usize = 64;

/// How often a policy is asked again that ran out of time while it hardly ran.
const STARVED_REPEATS_MAX: u32 = 2;

/// What came of asking a policy once.
enum Asked {
    Answered(PolicyRun),
    /// Its time went by and it hardly ran: others had the processor, or it kept the engine busy between two ticks.
    Starved(PolicyRun),
}

/// Asks a policy. Where its time went by while others ran, it is asked again, each time with twice as much; but not for ever, since
/// nobody can tell this from a policy that is busy between two ticks, and then it ran out of time like any other.
pub(crate) async fn policy(
    pool: &Pool,
    component: &PolicyComponent,
    mut call: PolicyCall,
) -> PolicyRun {
    let mut repeats = 0;
    loop {
        match once(pool, component, &call).await {
            Asked::Starved(_) if repeats < STARVED_REPEATS_MAX => {
                repeats += 1;
                call.limits.wall = call.limits.wall.saturating_mul(2);
            }
            Asked::Answered(run) | Asked::Starved(run) => return run,
        }
    }
}

async fn once(pool: &Pool, component: &PolicyComponent, call: &PolicyCall) -> Asked {
    let limits = call.limits;
    let cannot = |text: &str, busy| {
        Asked::Answered(PolicyRun {
            verdict: Err(text.to_owned()),
            busy,
            fuel_used: 0,
            memory_peak_bytes: 0,
        })
    };
    if call.input.len() as u64 > limits.input_bytes
        || call.settings.len() as u64 > limits.input_bytes
    {
        return cannot(
            "its input or settings are larger than the limit for policies",
            false,
        );
    }
    let Some(_place) = pool.admit(&component.0.share, None).await else {
        return cannot("the host had no place to run it in time", true);
    };
    let cancel = Cancel::new();
    let guest = Guest::new(&limits, call.seed, call.start, Access::default());
    let Ok(mut store) = pool.store(guest, &limits, &cancel) else {
        return cannot("the host has no memory to run it", true);
    };
    let stage = match call.stage {
        Stage::Plan => policy::Stage::Plan,
        Stage::BeforeStep => policy::Stage::BeforeStep,
        Stage::AfterStep => policy::Stage::AfterStep,
    };
    let shared = Arc::clone(&store.data().shared);
    let ended = {
        let running = pin!(async {
            let instance = component
                .0
                .pre
                .instantiate_async(&mut store)
                .await
                .map_err(Ended::Starting)?;
            let exports = instance.stepseal_plugin_policy();
            exports
                .call_evaluate(&mut store, stage, &call.settings, &call.input)
                .await
                .map_err(Ended::Running)
        });
        guard(
            pin!(shared.clock.pass_waits(running)),
            limits.wall,
            &cancel,
            &shared,
        )
        .await
    };
    let cost = cost(&store, &limits);
    let guest = store.data_mut();
    guest.shared.log().finish();
    let answer = match ended {
        _ if cost.out_of_fuel => Err(Outcome::OutOfFuel),
        Ok(answer) => Ok(answer),
        Err(ended) => Err(failure(guest, ended)),
    };
    let starved = matches!(answer, Err(Outcome::Timeout)) && starved(guest, &limits);
    let verdict = match &answer {
        Err(outcome) => Err(sentence(outcome)),
        Ok(Ok(verdict)) => check_verdict(verdict.clone()),
        Ok(Err(text)) => Err(text.clone()),
    };
    let run = PolicyRun {
        verdict: verdict.map_err(message),
        busy: matches!(answer, Err(Outcome::Busy(_))),
        // As for steps: where exactly it was stopped depends on when the host looked.
        fuel_used: match answer {
            Err(Outcome::OutOfFuel) => limits.fuel,
            _ => cost.fuel_used,
        },
        memory_peak_bytes: cost.memory_peak_bytes,
    };
    if starved {
        Asked::Starved(run)
    } else {
        Asked::Answered(run)
    }
}

/// Whether a guest that ran out of time was seen running for less than half of it: mostly others took it.
fn starved(guest: &Guest, limits: &Limits) -> bool {
    ticker::TICK
        .saturating_mul(guest.ticks_run)
        .saturating_mul(2)
        < limits.wall
}

/// A verdict goes into records and to approvers, so what it holds is checked first.
fn check_verdict(verdict: policy::Verdict) -> Result<Verdict, String> {
    let check_reason = |reason: policy::Reason| {
        if !is_name(&reason.code) {
            return Err(
                "its reason's code is not `[a-z][a-z0-9-]*` with at most 64 characters".to_owned(),
            );
        }
        Ok(Reason {
            code: reason.code,
            message: message(reason.message),
        })
    };
    match verdict {
        policy::Verdict::NotApplicable => Ok(Verdict::NotApplicable),
        policy::Verdict::Allow => Ok(Verdict::Allow),
        policy::Verdict::Deny(reason) => Ok(Verdict::Deny(check_reason(reason)?)),
        policy::Verdict::NeedsApproval(approval) => {
            if !(1..=APPROVERS_MAX).contains(&approval.approvers) {
                return Err(format!(
                    "it asks for {} approvers; 1 to {APPROVERS_MAX} are allowed",
                    approval.approvers
                ));
            }
            if approval
                .role
                .as_ref()
                .is_some_and(|role| role.is_empty() || role.len() > ROLE_BYTES_MAX)
            {
                return Err(format!(
                    "the role it asks for does not have 1 to {ROLE_BYTES_MAX} bytes"
                ));
            }
            let reason = check_reason(approval.reason)?;
            Ok(Verdict::NeedsApproval(Approval {
                reason,
                role: approval.role,
                approvers: approval.approvers,
            }))
        }
    }
}
