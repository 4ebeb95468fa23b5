//! What an operator lets a plugin use. Nothing is granted by default, and no agent or plugin can grant.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;
use stepseal_receipts::record::{self, Kind};
use stepseal_sandbox::Limits;

use super::{Actor, Engine, EngineError, Fault};
use crate::store::GrantRow;

/// Buckets one plugin may be granted.
const BUCKETS_MAX: usize = 64;
/// The most an operator may give one call.
const CEILING: Limits = Limits {
    fuel: 1_000_000_000_000,
    memory_bytes: 1 << 30,
    wall: Duration::from_mins(10),
    input_bytes: 16 << 20,
    output_bytes: 16 << 20,
};

/// A grant document. Everything is optional; what is absent is not granted, or has its default limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// Key-value buckets the plugin may open, by name: `[a-z][a-z0-9-]*`, at most 64 characters. Two plugins granted the same name share it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// Limits of one call, where they are not the defaults.
    #[serde(default, skip_serializing_if = "LimitsDocument::is_empty")]
    pub limits: LimitsDocument,
}

/// Limits as an operator or a plan writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsDocument {
    /// Fuel, about one unit for each instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Bytes of all memories and tables together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Milliseconds of real time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Bytes of canonical input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_bytes: Option<u64>,
    /// Bytes of canonical output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

impl LimitsDocument {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Members with their values and the most they may be.
    fn members(&self) -> [(&'static str, Option<u64>, u64); 5] {
        [
            ("fuel", self.fuel, CEILING.fuel),
            ("memory_bytes", self.memory_bytes, CEILING.memory_bytes),
            ("wall_ms", self.wall_ms, wall_ms(&CEILING)),
            ("input_bytes", self.input_bytes, CEILING.input_bytes),
            ("output_bytes", self.output_bytes, CEILING.output_bytes),
        ]
    }

    /// What is out of range, with pointers below `pointer`.
    pub(crate) fn faults(&self, pointer: &str) -> Vec<Fault> {
        self.members()
            .into_iter()
            .filter_map(|(name, value, max)| {
                value
                    .filter(|value| *value == 0 || *value > max)
                    .map(|value| Fault {
                        pointer: format!("{pointer}/{name}"),
                        message: format!("{value} is out of range: 1 to {max}"),
                    })
            })
            .collect()
    }

    /// `limits` with what is set here in its place.
    pub(crate) fn over(&self, limits: Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(limits.fuel),
            memory_bytes: self.memory_bytes.unwrap_or(limits.memory_bytes),
            wall: self.wall_ms.map_or(limits.wall, Duration::from_millis),
            input_bytes: self.input_bytes.unwrap_or(limits.input_bytes),
            output_bytes: self.output_bytes.unwrap_or(limits.output_bytes),
        }
    }

    /// `limits`, lowered to what is set here: a plan may take less than was granted, never more.
    pub(crate) fn below(&self, limits: Limits) -> Limits {
        let wanted = self.over(limits);
        Limits {
            fuel: wanted.fuel.min(limits.fuel),
            memory_bytes: wanted.memory_bytes.min(limits.memory_bytes),
            wall: wanted.wall.min(limits.wall),
            input_bytes: wanted.input_bytes.min(limits.input_bytes),
            output_bytes: wanted.output_bytes.min(limits.output_bytes),
        }
    }
}

/// Milliseconds of a wall limit.
pub(crate) fn wall_ms(limits: &Limits) -> u64 {
    u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX)
}

/// Limits as a record names them.
pub(crate) fn recorded(limits: &Limits) -> record::Limits {
    record::Limits {
        fuel: limits.fuel,
        memory: limits.memory_bytes,
        wall_ms: wall_ms(limits),
        input: limits.input_bytes,
        output: limits.output_bytes,
    }
}

/// A grant in force.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) document: GrantDocument,
    /// The document as a policy sees it.
    pub(crate) value: Value,
    pub(crate) digest: Digest,
}

impl Grant {
    /// A document in its canonical form.
    pub(crate) fn new(document: GrantDocument) -> Self {
        let value = serde_json::to_value(&document).expect("a grant document is JSON");
        let digest = Digest::of(&json::canonical(&value));
        Self {
            document,
            value,
            digest,
        }
    }

    pub(crate) fn from_row(row: &GrantRow) -> Result<Self, EngineError> {
        serde_json::from_str(&row.document)
            .map(Self::new)
            .map_err(|error| EngineError::Internal(format!("grant of {}: {error}", row.plugin)))
    }

    /// Limits of a call where the plan does not lower them.
    pub(crate) fn limits(&self) -> Limits {
        self.document.limits.over(Limits::STEP)
    }
}

impl Engine {
    /// Validates a grant document and puts it in force for every version of `plugin`. Approvals that were given under another
    /// grant are void from then on.
    ///
    /// The document: `{"buckets":["ledger"],"limits":{"fuel":1000000,...}}`, all optional.
    pub async fn put_grant(
        &self,
        plugin: &str,
        document: Value,
        actor: Actor,
    ) -> Result<GrantRow, EngineError> {
        let document: GrantDocument = serde_json::from_value(document).map_err(|error| {
            EngineError::Invalid(vec![Fault {
                pointer: String::new(),
                message: error.to_string(),
            }])
        })?;
        let mut faults = document.limits.faults("/limits");
        if !is_name(plugin) {
            faults.push(Fault {
                pointer: String::new(),
                message: format!("{plugin:?} is not a plugin's name: {NAME_RULE}"),
            });
        }
        if document.buckets.len() > BUCKETS_MAX {
            faults.push(Fault {
                pointer: "/buckets".to_owned(),
                message: format!("more than {BUCKETS_MAX} buckets"),
            });
        }
        for (i, bucket) in document.buckets.iter().enumerate() {
            if !is_name(bucket) {
                faults.push(Fault {
                    pointer: format!("/buckets/{i}"),
                    message: format!("{bucket:?} is not a bucket's name: {NAME_RULE}"),
                });
            }
            if document.buckets[..i].contains(bucket) {
                faults.push(Fault {
                    pointer: format!("/buckets/{i}"),
                    message: format!("{bucket:?} is listed twice"),
                });
            }
        }
        if !faults.is_empty() {
            return Err(EngineError::Invalid(faults));
        }
        let grant = Grant::new(document);
        let mut row = GrantRow {
            plugin: plugin.to_owned(),
            document: String::from_utf8(json::canonical(&grant.value))
                .expect("canonical JSON is UTF-8"),
            digest: grant.digest,
            version: 0,
            changed: self.0.clock.now(),
        };
        let act = self.act(Kind::GrantChanged, actor, |record| {
            record.plugin = Some(row.plugin.clone());
            record.grants = Some(row.digest);
        });
        let act = act.await?;
        let store = Arc::clone(&self.0.store);
        self.change_rules(async move {
            row.version = store.put_grant(&row, act).await?;
            Ok(row)
        })
        .await
    }

    /// Every grant in force.
    pub async fn grants(&self) -> Result<Vec<GrantRow>, EngineError> {
        Ok(self.0.store.grants().await?)
    }

    /// The grant in force for `plugin`.
    pub async fn grant(&self, plugin: &str) -> Result<GrantRow, EngineError> {
        let found = self.0.store.grant(plugin).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "grant for plugin",
            id: plugin.to_owned(),
        })
    }
}

/// The rule [`is_name`] checks, for messages.
pub(crate) const NAME_RULE: &str =
    "lower-case letters, digits and hyphens, a letter first, at most 64";

/// Whether `name` may name a plugin, a policy, a bucket or a step type.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_may_lower_a_limit_and_never_raise_it() {
        let lower = LimitsDocument {
            fuel: Some(7),
            ..LimitsDocument::default()
        };
        assert_eq!(lower.below(Limits::STEP).fuel, 7);
        let higher = LimitsDocument {
            fuel: Some(u64::MAX),
            ..LimitsDocument::default()
        };
        assert_eq!(higher.below(Limits::STEP).fuel, Limits::STEP.fuel);
    }

    #[test]
    fn the_digest_does_not_depend_on_how_the_operator_wrote_it() {
        let a: GrantDocument =
            serde_json::from_value(json!({"limits":{"fuel":5},"buckets":["a"]})).unwrap();
        let b: GrantDocument =
            serde_json::from_value(json!({"buckets":["a"],"limits":{"fuel":5}})).unwrap();
        assert_eq!(Grant::new(a.clone()).digest, Grant::new(b).digest);
        let other: GrantDocument =
            serde_json::from_value(json!({"buckets":["b"],"limits":{"fuel":5}})).unwrap();
        assert_ne!(Grant::new(a).digest, Grant::new(other).digest);
    }

    #[test]
    fn limits_out_of_range_are_named() {
        let limits = LimitsDocument {
            fuel: Some(0),
            wall_ms: Some(u64::MAX),
            ..LimitsDocument::default()
        };
        let pointers: Vec<String> = limits
            .faults("/limits")
            .into_iter()
            .map(|f| f.pointer)
            .collect();
        assert_eq!(pointers, ["/limits/fuel", "/limits/wall_ms"]);
    }
}
