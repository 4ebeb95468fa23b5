//! One verdict of a policy, asked for again from its record.

use serde::Deserialize;
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::Commitment;
use stepseal_receipts::record::{self, Record, VerdictKind};
use stepseal_receipts::time::Timestamp;
use stepseal_sandbox::{Limits, Sandbox, Stage};

use super::compare::{self, Comparison};
use super::components::Components;
use super::disclosed::Disclosed;
use super::{NO_COMPONENT, OUT_OF_TIME_HERE, WALL_MIN};
use crate::engine::policies::question;
use crate::engine::{POLICY_FAILED, Said};

/// What the sandbox says of a policy that ran out of wall time.
const OUT_OF_TIME: &str = "it ran out of time";
/// How the host begins its word on a policy that it could not load.
const NOT_LOADED: &str = "the policy could not be loaded";
/// Settings that need not be disclosed.
const NO_SETTINGS: &[u8] = b"{}";

/// A verdict that was asked for again, or could not be.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Rejudged {
    /// Place of its record in the log.
    pub(in crate::cli) index: u64,
    /// What was judged: a step's id and attempt; the plan where absent.
    step: Option<(String, u32)>,
    stage: record::Stage,
    /// The policy's name.
    pub(in crate::cli) policy: String,
    component: Digest,
    /// Fuel it took this time, where it was asked.
    fuel_used: Option<u64>,
    /// What it said, with all that the record keeps of it.
    verdict: Comparison,
    fuel: Comparison,
}

impl Rejudged {
    /// What was compared, by name.
    pub(in crate::cli) fn compared(&self) -> [(&'static str, &Comparison); 2] {
        [("verdict", &self.verdict), ("fuel", &self.fuel)]
    }

    /// Whether the policy says again what the record says.
    pub(super) fn is_proven(&self) -> bool {
        self.verdict == Comparison::Same
    }

    /// What was judged, when, and by whom.
    pub(in crate::cli) fn title(&self) -> String {
        let judged = match &self.step {
            Some((step, attempt)) => format!("{step} attempt {attempt}"),
            None => "plan".to_owned(),
        };
        let stage = self.stage.as_str();
        format!("{judged}, {stage}: {} {}", self.policy, self.component)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "index": self.index,
            "step": self.step.as_ref().map(|(step, _)| step),
            "attempt": self.step.as_ref().map(|(_, attempt)| attempt),
            "stage": self.stage.as_str(),
            "policy": self.policy,
            "component": self.component,
            "fuel_used": self.fuel_used,
            "verdict": self.verdict.to_json(),
            "fuel": self.fuel.to_json(),
        })
    }
}

/// A verdict in its record.
pub(super) struct Judged<'a> {
    pub(super) index: u64,
    pub(super) record: &'a Record,
    pub(super) verdict: &'a record::Verdict,
}

impl Judged<'_> {
    /// Asks the policy again and compares.
    pub(super) async fn again(
        &self,
        sandbox: &Sandbox,
        disclosed: &Disclosed<'_>,
        components: &Components,
    ) -> anyhow::Result<Rejudged> {
        let recorded = self.verdict;
        if let Some(why) = not_repeatable(recorded) {
            return Ok(self.not_asked(why));
        }
        let (settings, input, start) = match self.shown(disclosed) {
            Ok(shown) => shown,
            Err(why) => return Ok(self.not_asked(why)),
        };
        let Some(bytes) = components.find(&recorded.policy) else {
            return Ok(self.not_asked(NO_COMPONENT));
        };
        let component = match sandbox.policy(recorded.policy, bytes).await {
            Ok(component) => component,
            Err(error) => {
                let why = format!("the policy cannot be loaded here: {error}");
                return Ok(self.not_asked(&why));
            }
        };
        let stage = match recorded.stage {
            record::Stage::Plan => Stage::Plan,
            record::Stage::BeforeStep => Stage::BeforeStep,
            record::Stage::AfterStep => Stage::AfterStep,
        };
        let mut call = question(stage, settings.to_owned(), input.to_owned(), start);
        call.limits = Limits {
            wall: call.limits.wall.max(WALL_MIN),
            ..call.limits
        };
        let run = sandbox.evaluate(&component, call).await;
        if run.busy || run.verdict.as_ref().is_err_and(|why| why == OUT_OF_TIME) {
            return Ok(self.not_asked(OUT_OF_TIME_HERE));
        }
        let there = self.record.runtime.as_ref();
        Ok(Rejudged {
            fuel_used: Some(run.fuel_used),
            fuel: compare::fuel(recorded.fuel, there, run.fuel_used, sandbox.runtime()),
            verdict: compare_said(recorded, &Said::of(run.verdict)),
            ..self.not_asked("")
        })
    }

    /// The policy's settings, its input, and where its clock stood.
    fn shown<'d>(
        &self,
        disclosed: &Disclosed<'d>,
    ) -> Result<(&'d str, &'d str, Timestamp), &'static str> {
        #[derive(Deserialize)]
        struct Clock {
            time: Timestamp,
        }
        let input = self.verdict.input;
        let commitment = Commitment {
            digest: input.digest,
            size: input.size,
            media_type: "application/json".to_owned(),
            commit: input.commit,
        };
        let input = disclosed
            .payload(&commitment)
            .ok_or("what it was shown is not disclosed: ask for a receipt with payloads")?;
        let input = str::from_utf8(input).map_err(|_| "what it was shown is not text")?;
        let Clock { time } = serde_json::from_str(input)
            .map_err(|_| "what it was shown has no `time` for its clock")?;
        let settings = match disclosed.blob(&self.verdict.settings) {
            Some(settings) => settings,
            None if self.verdict.settings == Digest::of(NO_SETTINGS) => NO_SETTINGS,
            None => {
                return Err(
                    "its settings are not disclosed: ask a host of this version for a receipt with payloads",
                );
            }
        };
        let settings = str::from_utf8(settings).map_err(|_| "its settings are not text")?;
        Ok((settings, input, time))
    }

    fn not_asked(&self, why: &str) -> Rejudged {
        let step = self.record.step.as_ref();
        Rejudged {
            index: self.index,
            step: step.map(|step| (step.id.clone(), step.attempt)),
            stage: self.verdict.stage,
            policy: self.verdict.name.clone(),
            component: self.verdict.policy,
            fuel_used: None,
            verdict: Comparison::NotChecked(why.to_owned()),
            fuel: Comparison::NotChecked(why.to_owned()),
        }
    }
}

/// Why asking again could say nothing, whatever came of it.
fn not_repeatable(recorded: &record::Verdict) -> Option<&'static str> {
    if recorded.code.as_deref() != Some(POLICY_FAILED) {
        return None;
    }
    let reason = recorded.reason.as_deref()?;
    if reason == OUT_OF_TIME {
        return Some("it ran out of wall time, and that depends on the machine");
    }
    reason
        .starts_with(NOT_LOADED)
        .then_some("the host could not load the policy, so it was not asked")
}

/// Compares everything that a record keeps of what a policy says, and names the first member that differs.
fn compare_said(recorded: &record::Verdict, said: &Said) -> Comparison {
    // A record that does not say how many must approve means one.
    let asks = |verdict: VerdictKind| verdict == VerdictKind::NeedsApproval;
    let approvers = asks(recorded.verdict).then(|| recorded.approvers.unwrap_or(1));
    let members = [
        (
            "verdict",
            json!(recorded.verdict.as_str()),
            json!(said.verdict.as_str()),
        ),
        ("code", json!(recorded.code), json!(said.code)),
        (
            "approvers",
            json!(approvers),
            json!(asks(said.verdict).then_some(said.approvers)),
        ),
        ("role", json!(recorded.role), json!(said.role)),
        ("reason", json!(recorded.reason), json!(said.reason)),
    ];
    let different = members.into_iter().find(|(_, there, here)| there != here);
    match different {
        None => Comparison::Same,
        Some((member, there, here)) => Comparison::Differs(format!(
            "at {member} the record has {there}, asked again it says {here}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use stepseal_receipts::payload::CommitKind;
    use stepseal_sandbox::{Approval, Reason, Verdict};

    use super::*;

    fn recorded(verdict: VerdictKind) -> record::Verdict {
        let digest = Digest::of(b"x");
        record::Verdict {
            policy: digest,
            name: "limit".to_owned(),
            stage: record::Stage::BeforeStep,
            verdict,
            mode: record::Mode::Enforce,
            code: None,
            reason: None,
            approvers: None,
            role: None,
            settings: digest,
            input: record::PolicyInput {
                digest,
                size: 0,
                commit: CommitKind::Blind1,
            },
            fuel: 1,
        }
    }

    fn asks(approvers: u32, role: Option<&str>) -> Said {
        Said::of(Ok(Verdict::NeedsApproval(Approval {
            reason: Reason {
                code: "much".to_owned(),
                message: "That is much.".to_owned(),
            },
            role: role.map(str::to_owned),
            approvers,
        })))
    }

    #[test]
    fn the_first_member_that_differs_is_named() {
        let allowed = recorded(VerdictKind::Allow);
        assert_eq!(
            compare_said(&allowed, &Said::of(Ok(Verdict::Allow))),
            Comparison::Same
        );
        let differs = |recorded: &record::Verdict, said: &Said| match compare_said(recorded, said) {
            Comparison::Differs(how) => how,
            other => panic!("{other}"),
        };
        let how = differs(&allowed, &asks(1, None));
        assert!(
            how.contains("at verdict")
                && how.contains("\"allow\"")
                && how.contains("needs-approval"),
            "{how}"
        );
        let asked = record::Verdict {
            code: Some("much".to_owned()),
            reason: Some("That is much.".to_owned()),
            ..recorded(VerdictKind::NeedsApproval)
        };
        assert_eq!(compare_said(&asked, &asks(1, None)), Comparison::Same);
        assert!(differs(&asked, &asks(2, None)).contains("at approvers"));
        assert!(differs(&asked, &asks(1, Some("cfo"))).contains("at role"));
        let mut other = asks(1, None);
        other.reason = Some("That is little.".to_owned());
        assert!(differs(&asked, &other).contains("at reason"));
    }

    #[test]
    fn what_the_machine_decided_is_not_judged_again() {
        let failed = |why: &str| record::Verdict {
            code: Some(POLICY_FAILED.to_owned()),
            reason: Some(why.to_owned()),
            ..recorded(VerdictKind::Deny)
        };
        assert!(not_repeatable(&failed("it ran out of time")).is_some());
        assert!(not_repeatable(&failed("the policy could not be loaded: gone")).is_some());
        assert!(not_repeatable(&failed("it ran out of fuel")).is_none());
        assert!(not_repeatable(&recorded(VerdictKind::Allow)).is_none());
    }
}
