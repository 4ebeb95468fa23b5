//! The grant document: its members, what is wrong with one, and the limits it sets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_receipts::record;
use stepseal_sandbox::{CONFIG_VALUE_BYTES_MAX, CONFIG_VALUES_MAX, Capability, HttpRule, Limits};

use super::http::HttpGrant;
use super::{NAME_RULE, is_name};
use crate::engine::Fault;
use crate::engine::error::{pointer, token};

/// Rules for the network one plugin may be granted.
const HTTP_RULES_MAX: usize = 64;
/// Buckets one plugin may be granted.
const BUCKETS_MAX: usize = 64;
/// The most an operator may give one call.
pub(crate) const CEILING: Limits = Limits {
    fuel: 1_000_000_000_000,
    memory_bytes: 1 << 30,
    wall: Duration::from_mins(10),
    input_bytes: 16 << 20,
    output_bytes: 16 << 20,
};

/// The form of grant documents that this host knows. A document that says nothing is of this one.
const FORMAT: u64 = 1;

/// A grant document. Everything is optional; what is absent is not granted, or has its default limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// The form of the document, 1. Left out where it is kept, so that one grant has one digest.
    #[serde(default, skip_serializing)]
    pub format: Option<u64>,
    /// Key-value buckets the plugin may open, by name: `[a-z][a-z0-9-]*`, at most 64 characters. Two plugins granted the same name share it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// What `wasi:config/store` gives the plugin. It is in receipts, so that steps can be run again: no place for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// What it may ask the network for, one rule each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
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

impl GrantDocument {
    /// Reads a document that an operator gave; everything that is wrong with it otherwise, where it is.
    pub(super) fn read(document: Value) -> Result<Self, Vec<Fault>> {
        let read = serde_path_to_error::deserialize(document).map_err(|error| Fault {
            pointer: pointer(error.path()),
            message: error.inner().to_string(),
        });
        let document: Self = read.map_err(|fault| vec![fault])?;
        let faults = document.faults();
        if faults.is_empty() {
            Ok(Self {
                format: None,
                ..document
            })
        } else {
            Err(faults)
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.limits.faults("/limits");
        if let Some(format) = self.format
            && format != FORMAT
        {
            faults.push(fault(
                "/format",
                format!("this host knows form {FORMAT} of grant documents, not {format}"),
            ));
        }
        if self.buckets.len() > BUCKETS_MAX {
            faults.push(fault(
                "/buckets",
                format!("more than {BUCKETS_MAX} buckets"),
            ));
        }
        for (i, bucket) in self.buckets.iter().enumerate() {
            let at = format!("/buckets/{i}");
            if !is_name(bucket) {
                let message = format!("{bucket:?} is not a bucket's name: {NAME_RULE}");
                faults.push(fault(&at, message));
            }
            if self.buckets[..i].contains(bucket) {
                faults.push(fault(&at, format!("{bucket:?} is listed twice")));
            }
        }
        if self.config.len() > CONFIG_VALUES_MAX {
            faults.push(fault(
                "/config",
                format!("more than {CONFIG_VALUES_MAX} values"),
            ));
        }
        for (key, value) in &self.config {
            if key.is_empty() || key.len() + value.len() > CONFIG_VALUE_BYTES_MAX {
                faults.push(fault(
                    &format!("/config/{}", token(key)),
                    format!("a key has at least one byte, and with its value at most {CONFIG_VALUE_BYTES_MAX}"),
                ));
            }
        }
        if self.http.len() > HTTP_RULES_MAX {
            faults.push(fault("/http", format!("more than {HTTP_RULES_MAX} rules")));
        }
        for (i, rule) in self.http.iter().enumerate() {
            faults.extend(rule.rule(&format!("/http/{i}")).err().unwrap_or_default());
        }
        faults
    }

    /// The rules for the network. One that this host does not understand, since another version stored it, allows nothing.
    pub(super) fn http_rules(&self) -> Vec<HttpRule> {
        let rules = self.http.iter().map(|rule| rule.rule("/http"));
        rules.filter_map(Result::ok).collect()
    }

    /// What it grants at least something of.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        let all = Capability::ALL.into_iter();
        all.filter(|capability| !self.grants_nothing_of(*capability))
            .collect()
    }

    fn grants_nothing_of(&self, capability: Capability) -> bool {
        match capability {
            Capability::KeyValue => self.buckets.is_empty(),
            Capability::Config => self.config.is_empty(),
            Capability::Http => self.http.is_empty(),
        }
    }
}

/// The member of a grant document that grants something.
pub(super) fn member(capability: Capability) -> &'static str {
    match capability {
        Capability::KeyValue => "/buckets",
        Capability::Config => "/config",
        Capability::Http => "/http",
    }
}

pub(super) fn fault(pointer: &str, message: String) -> Fault {
    Fault {
        pointer: pointer.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(document: Value) -> Vec<String> {
        let faults = GrantDocument::read(document).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert_eq!(pointers(json!({"bukets": []})), ["/bukets"]);
        assert_eq!(pointers(json!({"limits": {"feul": 1}})), ["/limits/feul"]);
        assert_eq!(pointers(json!({"buckets": ["a", 7]})), ["/buckets/1"]);
        assert_eq!(pointers(json!({"format": 2})), ["/format"]);
        assert_eq!(
            pointers(
                json!({"buckets": ["a", "A", "a"], "config": {"": "x", "a/b": "y".repeat(20_000)}})
            ),
            ["/buckets/1", "/buckets/2", "/config/", "/config/a~1b"]
        );
    }

    #[test]
    fn the_form_is_not_kept() {
        let said = GrantDocument::read(json!({"format": 1, "buckets": ["a"]})).unwrap();
        let silent = GrantDocument::read(json!({"buckets": ["a"]})).unwrap();
        assert_eq!(said, silent);
        assert_eq!(
            serde_json::to_value(said).unwrap(),
            json!({"buckets": ["a"]})
        );
    }

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
