//! `retry`: how often, after which outcomes and how long after them a step is tried again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::record::Status;

use super::submission::Faults;

/// Attempts of one step.
const ATTEMPTS_MAX: u64 = 100;
/// The longest wait between two attempts, in milliseconds.
pub(crate) const BACKOFF_MS_MAX: u64 = 3_600_000;
/// Milliseconds before the second attempt at most, where the plan does not say.
const BACKOFF_MS: u64 = 1000;
/// How much longer each further wait may be, where the plan does not say; and at most.
const BACKOFF_FACTOR: u64 = 2;
const BACKOFF_FACTOR_MAX: u64 = 10;

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
    /// The longest wait before the second attempt, in milliseconds.
    pub backoff_ms: u64,
    /// How many times as long each further wait may be.
    pub backoff_factor: u64,
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
            backoff_factor: BACKOFF_FACTOR,
            backoff_max_ms: BACKOFF_MS_MAX,
            on: RETRIED.to_vec(),
        }
    }

    /// Whether this attempt, which ended so, is followed by another one.
    pub fn follows(&self, attempt: u32, status: Status) -> bool {
        attempt < self.max_attempts && self.on.contains(&status)
    }

    /// Milliseconds to wait after `attempt` failed: any number up to the longest, by chance, so that those who failed together do not
    /// come back together.
    pub fn wait_ms(&self, attempt: u32, random: [u8; 32]) -> u64 {
        let grown = self
            .backoff_factor
            .saturating_pow(attempt.saturating_sub(1));
        let longest = self.backoff_ms.saturating_mul(grown);
        let longest = longest.min(self.backoff_max_ms).min(BACKOFF_MS_MAX);
        let chance = random.first_chunk().expect("32 bytes hold 8");
        u64::from_le_bytes(*chance) % (longest + 1)
    }

    /// Reads what a plan says.
    pub(super) fn read(retry: Option<&Value>, at: &str, faults: &mut Faults) -> Self {
        let mut read = Self::never();
        let Some(retry) = retry.and_then(|retry| faults.object(retry, at)) else {
            return read;
        };
        let known = [
            "max_attempts",
            "backoff_ms",
            "backoff_factor",
            "backoff_max_ms",
            "on",
        ];
        faults.unknown(retry, at, &known);
        let mut whole = |name: &str, default, min, max| {
            faults.whole(retry.get(name), &format!("{at}/{name}"), default, min, max)
        };
        let attempts = whole("max_attempts", 1, 1, ATTEMPTS_MAX);
        read.max_attempts = u32::try_from(attempts).unwrap_or(1);
        read.backoff_ms = whole("backoff_ms", BACKOFF_MS, 0, BACKOFF_MS_MAX);
        read.backoff_factor = whole("backoff_factor", BACKOFF_FACTOR, 1, BACKOFF_FACTOR_MAX);
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
    // Each may stand there once.
    let fits = |list: &&Vec<Value>| (1..=CAN_RETRY.len()).contains(&list.len());
    let Some(list) = on.as_array().filter(fits) else {
        faults.add(
            at,
            format!("this must be an array of different outcomes: {names}"),
        );
        return Vec::new();
    };
    let mut read = Vec::new();
    for (i, name) in list.iter().enumerate() {
        let status = serde_json::from_value::<Status>(name.clone());
        match status.ok().filter(|status| CAN_RETRY.contains(status)) {
            Some(status) if !read.contains(&status) => read.push(status),
            Some(_) => faults.add(format!("{at}/{i}"), "this outcome is listed twice"),
            None => faults.add(
                format!("{at}/{i}"),
                format!("there may be another attempt after {names}, and after nothing else"),
            ),
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn retry() -> Retry {
        Retry {
            max_attempts: 99,
            backoff_ms: 500,
            backoff_factor: 3,
            backoff_max_ms: 60_000,
            on: vec![Status::Trap],
        }
    }

    /// The longest wait out of many.
    fn longest(retry: &Retry, attempt: u32) -> u64 {
        let waits = (0..=u8::MAX).flat_map(|n| {
            (0..=u8::MAX).map(move |m| {
                let mut random = [0; 32];
                (random[0], random[1]) = (n, m);
                random
            })
        });
        waits
            .map(|random| retry.wait_ms(attempt, random))
            .max()
            .unwrap()
    }

    #[test]
    fn the_longest_wait_grows_by_its_factor_up_to_its_end() {
        let waits: Vec<u64> = (1..=6).map(|attempt| longest(&retry(), attempt)).collect();
        assert_eq!(waits, [500, 1500, 4500, 13_500, 40_500, 60_000]);
        assert_eq!(longest(&retry(), u32::MAX), 60_000);
        let mut at_once = retry();
        at_once.backoff_ms = 0;
        assert_eq!(longest(&at_once, 7), 0);
    }

    #[test]
    fn a_wait_is_any_up_to_the_longest_by_chance() {
        let waits: std::collections::BTreeSet<u64> =
            (0..=255).map(|n| retry().wait_ms(3, [n; 32])).collect();
        assert!(waits.len() > 200, "{waits:?}");
        assert!(
            waits.first() < Some(&450) && waits.last() > Some(&4050),
            "{waits:?}"
        );
    }

    #[test]
    fn there_is_another_attempt_after_the_outcomes_that_the_plan_names_and_not_for_ever() {
        assert!(retry().follows(98, Status::Trap));
        assert!(!retry().follows(99, Status::Trap));
        assert!(!retry().follows(1, Status::Unavailable));
        assert!(!Retry::never().follows(1, Status::Unavailable));
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
        assert_eq!(read(json!(vec!["trap"; 6])).1, ["/retry/on"]);
        assert_eq!(read(json!("trap")).1, ["/retry/on"]);
    }
}
