//! What policies said, and what it comes to.

use serde::{Deserialize, Serialize};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::payload::CommitKind;
use stepseal_receipts::record;
use stepseal_sandbox::Verdict;

use super::payload::StoredPayload;
use super::schema::text;

/// Bytes of a policy's reason that are kept: all verdicts of an attempt go into one record, which has at most 32 KiB.
pub(super) const REASON_BYTES_MAX: usize = 256;
/// Bytes of a reason code or role that are kept, for the same cause.
pub(super) const CODE_BYTES_MAX: usize = 64;
/// Code of the reason where a policy could not judge.
pub(crate) const POLICY_FAILED: &str = "policy-failed";

/// Whether a policy's verdict counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It counts.
    Enforce,
    /// It is recorded and changes nothing.
    Monitor,
}

impl Mode {
    /// The name used in the API and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }

    /// As a record names it.
    pub(super) fn recorded(self) -> record::Mode {
        match self {
            Self::Enforce => record::Mode::Enforce,
            Self::Monitor => record::Mode::Monitor,
        }
    }
}

/// One thing that must be approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks: a policy's name, `baseline` or `plan`.
    pub by: String,
    /// For programs.
    pub code: String,
    /// For people.
    pub reason: String,
    /// The role an approver must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How many different approvers.
    pub approvers: u32,
}

/// What a policy said, as much of it as records keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) verdict: record::VerdictKind,
    pub(crate) code: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) role: Option<String>,
    /// 0 but where it asks for approval.
    pub(crate) approvers: u32,
}

impl Said {
    /// A policy that could not judge, for whatever cause, denies.
    pub(crate) fn of(answer: Result<Verdict, String>) -> Self {
        let (verdict, reason, role, approvers) = match answer {
            Ok(Verdict::NotApplicable) => (record::VerdictKind::NotApplicable, None, None, 0),
            Ok(Verdict::Allow) => (record::VerdictKind::Allow, None, None, 0),
            Ok(Verdict::NeedsApproval(asked)) => (
                record::VerdictKind::NeedsApproval,
                Some((asked.reason.code, asked.reason.message)),
                asked.role,
                asked.approvers,
            ),
            Ok(Verdict::Deny(reason)) => {
                let reason = (reason.code, reason.message);
                (record::VerdictKind::Deny, Some(reason), None, 0)
            }
            Err(why) => {
                let reason = (POLICY_FAILED.to_owned(), why);
                (record::VerdictKind::Deny, Some(reason), None, 0)
            }
        };
        let (code, reason) = reason.unzip();
        Self {
            verdict,
            code: code.map(|code| text(&code, CODE_BYTES_MAX)),
            reason: reason.map(|reason| text(&reason, REASON_BYTES_MAX)),
            role: role.map(|role| text(&role, CODE_BYTES_MAX)),
            approvers,
        }
    }
}

/// What one policy said when it was asked once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The policy component.
    pub policy: Digest,
    /// Its name.
    pub name: String,
    /// When it was asked.
    pub stage: record::Stage,
    /// Whether it counts.
    pub mode: Mode,
    /// What it said.
    pub verdict: record::VerdictKind,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whom a `needs-approval` asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How many of them; 0 for other verdicts.
    #[serde(default)]
    pub approvers: u32,
    /// Digest of the settings it is bound with.
    pub settings: Digest,
    /// What it was shown.
    pub input: StoredPayload,
    /// Fuel it took.
    pub fuel: u64,
}

impl Judgement {
    /// As a record names it.
    pub fn to_record(&self) -> record::Verdict {
        record::Verdict {
            policy: self.policy,
            name: self.name.clone(),
            stage: self.stage,
            verdict: self.verdict,
            mode: self.mode.recorded(),
            code: self.code.clone(),
            reason: self.reason.clone(),
            approvers: (self.verdict == record::VerdictKind::NeedsApproval)
                .then_some(self.approvers),
            role: self.role.clone(),
            settings: self.settings,
            input: record::PolicyInput {
                digest: self.input.digest,
                size: self.input.size,
                commit: CommitKind::Blind1,
            },
            fuel: self.fuel,
        }
    }
}

/// What all verdicts together come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Composed {
    /// It may run.
    Allow,
    /// It may run once all of this is approved.
    Ask(Vec<Ask>),
    /// It must not run.
    Deny {
        /// For programs.
        code: String,
        /// For people: who and why.
        message: String,
    },
}

impl Composed {
    /// As the API names it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask(_) => "needs-approval",
            Self::Deny { .. } => "deny",
        }
    }
}

/// Why a person is asked for another attempt, whatever policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyAgain {
    /// The attempt before may have had its effect, and the plan allows no other by itself.
    OutcomeUnknown,
    /// The attempt before failed, and the plan allows no other by itself.
    Failed,
}

impl WhyAgain {
    /// What a person is asked after an attempt that ended with this message.
    pub(crate) fn ask(self, attempt: u32, message: Option<&str>) -> Ask {
        let (code, reason) = match self {
            Self::OutcomeUnknown => (
                "outcome-unknown",
                "This step was cut off while it ran, and what it asked the network for may have happened. Run it again?".to_owned(),
            ),
            Self::Failed => {
                let message = message.unwrap_or("it did not say why");
                let reason = format!("Attempt {attempt} failed, run it again? {message}");
                ("step-failed", text(&reason, REASON_BYTES_MAX))
            }
        };
        Ask {
            by: "host".to_owned(),
            code: code.to_owned(),
            reason,
            role: None,
            approvers: 1,
        }
    }
}

/// What is asked besides the policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// The step can touch the world.
    pub(crate) effectful: bool,
    /// The plan itself asks for a person.
    pub(crate) plan_asks: bool,
    /// What a person is asked because of the attempt before.
    pub(crate) again: Option<Ask>,
}

/// Composes the verdicts on a step: any `deny` denies; else every `needs-approval` is asked; else one `allow` of stage `before-step`
/// allows; else a pure step runs and an effectful one waits for a person. A policy in mode `monitor` counts for nothing, and an
/// `allow` of stage `plan` allows no step by itself.
pub(crate) fn compose(judgements: &[Judgement], circumstances: &Circumstances) -> Composed {
    if let Some(denial) = denial(judgements) {
        return denial;
    }
    let mut asks: Vec<Ask> = enforced(judgements)
        .filter(|j| j.verdict == record::VerdictKind::NeedsApproval)
        .map(|j| Ask {
            by: j.name.clone(),
            code: j.code.clone().unwrap_or_default(),
            reason: j.reason.clone().unwrap_or_default(),
            role: j.role.clone(),
            approvers: j.approvers.max(1),
        })
        .collect();
    if circumstances.plan_asks {
        asks.push(Ask {
            by: "plan".to_owned(),
            code: "plan-asks".to_owned(),
            reason: "The plan asks for an approval of this step.".to_owned(),
            role: None,
            approvers: 1,
        });
    }
    asks.extend(circumstances.again.clone());
    if !asks.is_empty() {
        return Composed::Ask(asks);
    }
    let allowed = enforced(judgements)
        .any(|j| j.verdict == record::VerdictKind::Allow && j.stage == record::Stage::BeforeStep);
    if allowed || !circumstances.effectful {
        return Composed::Allow;
    }
    Composed::Ask(vec![Ask {
        by: "baseline".to_owned(),
        code: "no-policy-allows".to_owned(),
        reason: "This step can touch the world and no policy allows it.".to_owned(),
        role: None,
        approvers: 1,
    }])
}

/// The first `deny` that counts. At stage `after-step` there is nobody left to ask, so a `needs-approval` there counts as one.
pub(crate) fn denial(judgements: &[Judgement]) -> Option<Composed> {
    enforced(judgements)
        .find(|j| {
            j.verdict == record::VerdictKind::Deny
                || (j.stage == record::Stage::AfterStep
                    && j.verdict == record::VerdictKind::NeedsApproval)
        })
        .map(|j| Composed::Deny {
            code: j.code.clone().unwrap_or_else(|| "denied".to_owned()),
            message: format!(
                "{}: {}",
                j.name,
                j.reason.as_deref().unwrap_or("no reason given")
            ),
        })
}

fn enforced(judgements: &[Judgement]) -> impl Iterator<Item = &Judgement> {
    judgements.iter().filter(|j| j.mode == Mode::Enforce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Stage, VerdictKind};

    fn judged(stage: Stage, verdict: VerdictKind) -> Judgement {
        Judgement {
            policy: Digest::of(b"policy"),
            name: "p".to_owned(),
            stage,
            mode: Mode::Enforce,
            verdict,
            code: Some("c".to_owned()),
            reason: Some("r".to_owned()),
            role: None,
            approvers: u32::from(verdict == VerdictKind::NeedsApproval),
            settings: Digest::of(b"{}"),
            input: StoredPayload {
                digest: Digest::of(b"in"),
                size: 2,
            },
            fuel: 1,
        }
    }

    const EFFECT: Circumstances = Circumstances {
        effectful: true,
        plan_asks: false,
        again: None,
    };
    const PURE: Circumstances = Circumstances {
        effectful: false,
        plan_asks: false,
        again: None,
    };

    #[test]
    fn a_pure_step_runs_and_an_effectful_one_waits_where_no_policy_applies() {
        let silent = [judged(Stage::BeforeStep, VerdictKind::NotApplicable)];
        for none in [&[][..], &silent[..]] {
            assert_eq!(compose(none, &PURE), Composed::Allow);
            let Composed::Ask(asks) = compose(none, &EFFECT) else {
                panic!("an effectful step ran without leave")
            };
            assert_eq!(asks[0].by, "baseline");
        }
    }

    #[test]
    fn a_deny_wins_over_everything_and_an_ask_over_an_allow() {
        let allow = judged(Stage::BeforeStep, VerdictKind::Allow);
        let ask = judged(Stage::BeforeStep, VerdictKind::NeedsApproval);
        let deny = judged(Stage::BeforeStep, VerdictKind::Deny);
        assert_eq!(
            compose(std::slice::from_ref(&allow), &EFFECT),
            Composed::Allow
        );
        assert_eq!(
            compose(&[allow.clone(), ask.clone()], &EFFECT).as_str(),
            "needs-approval"
        );
        assert_eq!(compose(&[ask, allow, deny], &PURE).as_str(), "deny");
    }

    #[test]
    fn every_ask_is_put_to_people_the_plans_own_included() {
        let ask = judged(Stage::BeforeStep, VerdictKind::NeedsApproval);
        let plan = Circumstances {
            effectful: false,
            plan_asks: true,
            again: None,
        };
        let Composed::Ask(asks) = compose(&[ask.clone(), ask], &plan) else {
            panic!("nobody was asked")
        };
        assert_eq!(asks.len(), 3);
        assert_eq!(
            compose(&[judged(Stage::BeforeStep, VerdictKind::Allow)], &plan).as_str(),
            "needs-approval"
        );
    }

    #[test]
    fn after_an_attempt_whose_outcome_nobody_knows_a_person_is_asked_whatever_policies_say() {
        let unknown = Circumstances {
            again: Some(WhyAgain::OutcomeUnknown.ask(1, None)),
            ..EFFECT
        };
        let Composed::Ask(asks) =
            compose(&[judged(Stage::BeforeStep, VerdictKind::Allow)], &unknown)
        else {
            panic!("nobody was asked")
        };
        assert_eq!(asks[0].code, "outcome-unknown");
        let deny = judged(Stage::BeforeStep, VerdictKind::Deny);
        assert_eq!(compose(&[deny], &unknown).as_str(), "deny");
    }

    #[test]
    fn monitoring_changes_nothing() {
        let mut deny = judged(Stage::BeforeStep, VerdictKind::Deny);
        deny.mode = Mode::Monitor;
        let mut allow = judged(Stage::BeforeStep, VerdictKind::Allow);
        allow.mode = Mode::Monitor;
        assert_eq!(compose(&[deny], &PURE), Composed::Allow);
        assert_eq!(compose(&[allow], &EFFECT).as_str(), "needs-approval");
    }

    #[test]
    fn an_allow_of_the_plan_allows_no_step_by_itself() {
        assert_eq!(
            compose(&[judged(Stage::Plan, VerdictKind::Allow)], &EFFECT).as_str(),
            "needs-approval"
        );
    }

    #[test]
    fn after_the_step_an_ask_is_a_deny() {
        assert!(denial(&[judged(Stage::AfterStep, VerdictKind::NeedsApproval)]).is_some());
        assert!(denial(&[judged(Stage::BeforeStep, VerdictKind::NeedsApproval)]).is_none());
    }
}
