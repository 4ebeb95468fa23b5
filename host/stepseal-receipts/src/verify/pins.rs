//! Whether what ran, and what judged it, is what the verifier pinned (format §5, "Pins").

use super::attempt::may_run;
use super::faults::Place;
use crate::digest::Digest;
use crate::record::{Mode, Record, Stage};

/// What may have run and what may have judged it. An empty list pins nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Digests of components: each step that ran used one of them.
    pub components: Vec<Digest>,
    /// Digests of policies' components: one of them judged each step before it ran, and no other had a say.
    pub policies: Vec<Digest>,
}

impl Pins {
    /// Whether nothing is pinned.
    pub(super) fn is_empty(&self) -> bool {
        self.components.is_empty() && self.policies.is_empty()
    }
}

/// Checks one record of a task. `authorized` says whether the attempt's authorization, which is another record, was checked.
pub(super) fn check(pins: &Pins, record: &Record, authorized: bool, place: &mut Place<'_>) {
    if !pins.components.is_empty() && may_run(record) {
        // Without a component it has a fault already.
        let found = record.component.as_ref().map(|component| component.digest);
        if let Some(found) = found.filter(|found| !pins.components.contains(found)) {
            place.fault(
                "component.digest",
                format!("{found} is none of the components that are pinned"),
            );
        }
    }
    if pins.policies.is_empty() {
        return;
    }
    let verdicts = record.verdicts.iter().enumerate();
    let counted = verdicts.filter(|(_, verdict)| verdict.mode == Mode::Enforce);
    let mut judged = authorized;
    for (number, verdict) in counted {
        judged |= verdict.stage == Stage::BeforeStep;
        if !pins.policies.contains(&verdict.policy) {
            place.fault(
                &format!("verdicts[{number}].policy"),
                format!(
                    "{} ({:?}) is none of the policies that are pinned",
                    verdict.policy, verdict.name
                ),
            );
        }
    }
    if may_run(record) && !judged {
        place.fault(
            "verdicts",
            "no policy judged the step before it ran, and one that is pinned is expected",
        );
    }
}
