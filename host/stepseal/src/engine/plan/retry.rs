//! `retry`: how often, after which outcomes and how long after them a step is tried again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::record::Status;

use super::submission::Faults;

/// Attempts of one step.
const ATTEMPTS_MAX: u64 = 100;
/// The longest wait between two attempts, in milliseconds.
const BACKOFF_MS_MAX: u64 = 3_600_000;
/// Milliseconds before the second attempt, where the plan does not say.
const BACKOFF_MS: u64 = 1000;

/// Outcomes that another attempt may not have.
const CAN_RETRY: [Status; 5] = [
    Status::Unavailable,
    Status::Timeout,
    Status::OutOfMemory,
    Status::OutOfFuel,
    Status::Trap,
];
/// Those after which there is another attempt where the plan does not say: what lies in the circumstances and not in the call.
const RETRIED: [Status; 2] = [Status::Unavailable, Status::Timeout];

/// How often, after which outcomes and how long after them a step is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// All attempts, the first included.
    pub max_attempts: u32,
    /// Milliseconds before the second attempt at most, and at least half of them; twice as long before each further one.
    pub backoff_ms: u64,
    /// The longest wait that this grows to.
    pub backoff_max_ms: u64,
    /// Outcomes that are followed by another attempt.
    pub on: Vec<Status>,
}

impl Retry {
    /// One attempt only.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            backoff_ms: BACKOFF_MS,
            backoff_max_ms: BACKOFF_MS_MAX,
            on: RETRIED.to_vec(),
        }
    }

    /// Whether the plan wants another attempt after this outcome, as long as there are some left.
    pub fn is_on(&self, status: Status) -> bool {
        self.on.contains(&status)
    }

    /// Milliseconds to wait after `attempt` failed: half of it for certain, the other half by chance, so that those who failed
    /// together do not come back together.
    pub fn wait_ms(&self, attempt: u32, random: [u8; 32]) -> u64 {
        let doublings = attempt.saturating_sub(1).min(32);
        let grown = self.backoff_ms.saturating_mul(1 << doublings);
        let longest = grown.min(self.backoff_max_ms).min(BACKOFF_MS_MAX);
        let chance = u64::from_le_bytes(*random.first_chunk().expect("32 bytes hold 8"));
        longest - chance % (longest / 2 + 1)
    }

    /// Reads what a plan says.
    pub(super) fn read(retry: Option<&Value>, at: &str, faults: &mut Faults) -> Self {
        let mut read = Self::never();
        let Some(retry) = retry.and_then(|retry| faults.object(retry, at)) else {
            return read;
        };
        let known = ["max_attempts", "backoff_ms", "backoff_max_ms", "on"];
        faults.unknown(retry, at, &known);
        let mut whole = |name: &str, default, min, max| {
            faults.whole(retry.get(name), &format!("{at}/{name}"), default, min, max)
        };
        let attempts = whole("max_attempts", 1, 1, ATTEMPTS_MAX);
        read.max_attempts = u32::try_from(attempts).unwrap_or(1);
        read.backoff_ms = whole("backoff_ms", BACKOFF_MS, 0, BACKOFF_MS_MAX);
        read.backoff_max_ms = whole(
            "backoff_max_ms",
            BACKOFF_MS_MAX,
            read.backoff_ms,
            BACKOFF_MS_MAX,
        );
        if let Some(on) = retry.get("on") {
            read.on = read_on(on, &format!("{at}/on"), faults);
        }
        read
    }
}

fn read_on(on: &Value, at: &str, faults: &mut Faults) -> Vec<Status> {
    let names: Vec<&str> = CAN_RETRY.iter().map(|status| status.as_str()).collect();
    let names = names.join(", ");
    let Some(list) = on.as_array().filter(|list| !list.is_empty()) else {
        faults.add(at, format!("this must be an array of outcomes: {names}"));
        return Vec::new();
    };
    let mut read = Vec::new();
    for (i, name) in list.iter().enumerate() {
        let at = format!("{at}/{i}");
        let status = serde_json::from_value::<Status>(name.clone()).ok();
        match status {
            Some(status) if read.contains(&status) => {
                faults.add(at, "this outcome is listed twice");
            }
            Some(status) if CAN_RETRY.contains(&status) => read.push(status),
            Some(status) => faults.add(
                at,
                format!(
                    "{}; there may be another attempt after {names}",
                    never(status)
                ),
            ),
            None => faults.add(
                at,
                format!(
                    "{name} is no outcome of an attempt that can be tried again; those are {names}"
                ),
            ),
        }
    }
    read
}

/// Why there is never another attempt after this outcome.
fn never(status: Status) -> &'static str {
    match status {
        Status::Ok => "what succeeded is over",
        Status::Denied => "what a policy or a person denied is not tried again",
        Status::Cancelled => "what was cancelled is not tried again",
        _ => "a step that fails so says that another attempt would end the same way",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn retry() -> Retry {
        Retry {
            max_attempts: 99,
            backoff_ms: 500,
            backoff_max_ms: 60_000,
            on: Vec::new(),
        }
    }

    #[test]
    fn each_wait_is_at_most_twice_the_one_before_and_at_least_half_of_that() {
        let (soonest, latest) = ([0xff; 32], [0; 32]);
        let latest: Vec<u64> = (1..=3).map(|n| retry().wait_ms(n, latest)).collect();
        assert_eq!(latest, [500, 1000, 2000]);
        for attempt in 1..=99 {
            let longest = retry().wait_ms(attempt, [0; 32]);
            assert!(longest <= 60_000);
            for chance in [soonest, [1; 32], [0x5a; 32], [0x80; 32]] {
                let wait = retry().wait_ms(attempt, chance);
                assert!(
                    (longest / 2..=longest).contains(&wait),
                    "{wait} of {longest}"
                );
            }
        }
        assert_eq!(retry().wait_ms(99, [0; 32]), 60_000);
        let mut at_once = retry();
        at_once.backoff_ms = 0;
        assert_eq!(at_once.wait_ms(7, [0xff; 32]), 0);
    }

    #[test]
    fn waits_differ_by_chance() {
        let waits: std::collections::BTreeSet<u64> =
            (0..=255).map(|n| retry().wait_ms(3, [n; 32])).collect();
        assert!(waits.len() > 100, "{waits:?}");
    }

    #[test]
    fn an_outcome_that_is_never_tried_again_is_refused_with_its_place() {
        let read = |on: Value| {
            let mut faults = Faults(Vec::new());
            let retry = Retry::read(Some(&json!({"on": on})), "/retry", &mut faults);
            let faults: Vec<_> = faults.0.into_iter().map(|fault| fault.pointer).collect();
            (retry.on, faults)
        };
        let none = Vec::<String>::new();
        assert_eq!(
            read(json!(["trap", "timeout"])),
            (vec![Status::Trap, Status::Timeout], none)
        );
        for wrong in [
            "denied",
            "cancelled",
            "ok",
            "failed",
            "invalid-input",
            "conflict",
            "",
        ] {
            assert_eq!(read(json!(["trap", wrong])).1, ["/retry/on/1"], "{wrong}");
        }
        assert_eq!(read(json!(["trap", "trap"])).1, ["/retry/on/1"]);
        assert_eq!(read(json!([])).1, ["/retry/on"]);
        assert_eq!(read(json!("trap")).1, ["/retry/on"]);
    }
}
