//! What a commit rests on: the rules that something was judged by must still be in force in the transaction that stores it, whichever host
//! changed them.

use stepseal_receipts::digest::Digest;

use super::attempt::Bench;
use super::{Pending, RunError};
use crate::engine::policies::Rules;

/// What an attempt was judged by.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    plugin: String,
    grants: Digest,
    policies: Digest,
}

impl Basis {
    pub(super) fn of(bench: &Bench) -> Self {
        Self {
            plugin: bench.plugin.row.name.clone(),
            grants: bench.grant.digest,
            policies: bench.policies,
        }
    }

    fn holds(&self, rules: &Rules) -> bool {
        rules.policies_digest == self.policies && rules.grant(&self.plugin).digest == self.grants
    }
}

impl Pending {
    /// The version of these rules, where anything of this rests on any; an error where they are not those that it was judged by.
    pub(super) fn rests_on(&self, rules: &Rules) -> Result<Option<u64>, RunError> {
        let opened = self.rules.iter().all(|version| *version == rules.version);
        let judged = self.judged.iter().all(|basis| basis.holds(rules));
        let mut given = self.given.iter();
        let given = given.all(|given| rules.counts(&given.approval.approver, given.key.as_ref()));
        if !(opened && judged && given) {
            return Err(RunError::Overtaken);
        }
        let rests = self.rules.is_some() || !self.judged.is_empty() || !self.given.is_empty();
        Ok(rests.then_some(rules.version))
    }
}
