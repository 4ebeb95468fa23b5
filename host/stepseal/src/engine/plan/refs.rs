//! `{"$ref":"#/..."}`: a JSON Pointer (RFC 6901) into `{"input":..., "steps":{id:{"output":...}}}`.

use serde_json::{Map, Value};
use stepseal_receipts::plan::{Reference, Root, Segment, pointer};

/// Every `$ref` in `with`, with its JSON Pointer below `at`; or what is wrong with it.
pub(super) fn references<'a>(
    with: &'a Value,
    at: &str,
) -> Vec<(String, Result<Reference<'a>, String>)> {
    let found = stepseal_receipts::plan::references(with).into_iter();
    found
        .map(|(below, found)| (format!("{at}{below}"), found))
        .collect()
}

/// Why an input could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// A `$ref` points at nothing.
    Missing {
        /// Place in `with`.
        pointer: String,
        /// The `$ref`.
        reference: String,
    },
    /// What the `$ref`s bring together is larger than the step may take.
    TooLarge,
    /// What the `$ref`s bring together is nested deeper than [`INPUT_DEPTH_MAX`].
    TooDeep,
}

/// How deep a step's input may be nested. Less than [`json::PAYLOAD_DEPTH_MAX`], since policies are shown it inside
/// something else.
///
/// [`json::PAYLOAD_DEPTH_MAX`]: stepseal_receipts::json::PAYLOAD_DEPTH_MAX
pub(crate) const INPUT_DEPTH_MAX: usize = 120;

/// `with` with every `$ref` replaced by what it points at.
///
/// A plan can name a large or deep output many times over, so what is copied is counted against `bytes_max` and
/// [`INPUT_DEPTH_MAX`] while it is copied.
pub(crate) fn resolve<'a>(
    with: &'a Value,
    input: &'a Value,
    item: Option<&'a Value>,
    output: &dyn Fn(&str) -> Option<&'a Value>,
    bytes_max: u64,
) -> Result<Value, Unresolved> {
    let mut filling = Filling {
        input,
        item,
        output,
        budget: bytes_max,
        path: Vec::new(),
    };
    filling.fill(with)
}

struct Filling<'a, 'f> {
    input: &'a Value,
    item: Option<&'a Value>,
    output: &'f dyn Fn(&str) -> Option<&'a Value>,
    /// Bytes that may still be copied.
    budget: u64,
    path: Vec<Segment<'a>>,
}

impl<'a> Filling<'a, '_> {
    fn fill(&mut self, with: &'a Value) -> Result<Value, Unresolved> {
        match with {
            Value::Object(object) => {
                if let Some(reference) = Reference::of(object) {
                    let found = reference.and_then(|reference| self.target(&reference));
                    let found = found.map_err(|reference| Unresolved::Missing {
                        pointer: pointer(&self.path),
                        reference,
                    })?;
                    return self.copy(found, self.path.len());
                }
                self.spend(2)?;
                let mut filled = Map::new();
                for (name, value) in object {
                    self.spend(name.len())?;
                    self.enter(Segment::Name(name))?;
                    filled.insert(name.clone(), self.fill(value)?);
                    self.path.pop();
                }
                Ok(Value::Object(filled))
            }
            Value::Array(items) => {
                self.spend(2)?;
                let mut filled = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    self.enter(Segment::Index(i))?;
                    filled.push(self.fill(item)?);
                    self.path.pop();
                }
                Ok(Value::Array(filled))
            }
            plain => self.copy(plain, self.path.len()),
        }
    }

    /// What a `$ref` points at, or else its default; the `$ref` where there is neither.
    fn target(&self, reference: &Reference<'a>) -> Result<&'a Value, String> {
        let root = match &reference.root {
            Root::Input => Some(self.input),
            Root::Item => self.item,
            Root::Output(step) => (self.output)(step),
        };
        let found = root.and_then(|root| root.pointer(&reference.pointer));
        let found = found.or(reference.default);
        found.ok_or_else(|| reference.text.to_owned())
    }

    fn copy(&mut self, value: &Value, depth: usize) -> Result<Value, Unresolved> {
        if depth >= INPUT_DEPTH_MAX && (value.is_object() || value.is_array()) {
            return Err(Unresolved::TooDeep);
        }
        Ok(match value {
            Value::Object(object) => {
                self.spend(2)?;
                let mut copied = Map::new();
                for (name, value) in object {
                    self.spend(name.len())?;
                    copied.insert(name.clone(), self.copy(value, depth + 1)?);
                }
                Value::Object(copied)
            }
            Value::Array(items) => {
                self.spend(2)?;
                let copied = items.iter().map(|item| self.copy(item, depth + 1));
                Value::Array(copied.collect::<Result<_, _>>()?)
            }
            Value::String(text) => {
                self.spend(text.len())?;
                value.clone()
            }
            other => {
                self.spend(1)?;
                other.clone()
            }
        })
    }

    fn enter(&mut self, segment: Segment<'a>) -> Result<(), Unresolved> {
        if self.path.len() >= INPUT_DEPTH_MAX {
            return Err(Unresolved::TooDeep);
        }
        self.path.push(segment);
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unresolved> {
        self.budget = self
            .budget
            .checked_sub(bytes as u64)
            .ok_or(Unresolved::TooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_put_where_the_reference_stood() {
        let output = json!({"available":"12.50"});
        let made = resolve(
            &json!({"amount":{"$ref":"#/steps/balance/output/available"},"to":{"$ref":"#/input/0"}}),
            &json!(["bob"]),
            None,
            &|id| (id == "balance").then_some(&output),
            1000,
        );
        assert_eq!(made.unwrap(), json!({"amount":"12.50","to":"bob"}));
    }

    #[test]
    fn where_a_reference_points_at_nothing_its_default_stands() {
        let with = json!({
            "a": {"$ref": "#/input/x", "default": 1}, "b": {"$ref": "#/steps/gone/output", "default": null},
            "c": {"$ref": "#/input/y", "default": 1},
        });
        let made = resolve(&with, &json!({"y": 2}), None, &|_| None, 1000);
        assert_eq!(made.unwrap(), json!({"a": 1, "b": null, "c": 2}));
    }

    #[test]
    fn a_reference_to_nothing_is_named() {
        let made = resolve(
            &json!({"a":{"$ref":"#/input/x"}}),
            &json!({}),
            None,
            &|_| None,
            1000,
        );
        assert_eq!(
            made,
            Err(Unresolved::Missing {
                pointer: "/a".to_owned(),
                reference: "#/input/x".to_owned()
            })
        );
    }

    #[test]
    fn nesting_is_bounded_where_a_reference_puts_one_depth_inside_another() {
        let nested =
            |levels: usize, inner: Value| (0..levels).fold(inner, |value, _| json!([value]));
        let input = nested(70, json!(1));
        let with = |levels| nested(levels, json!({"$ref":"#/input"}));
        assert!(resolve(&with(50), &input, None, &|_| None, 10_000).is_ok());
        assert_eq!(
            resolve(&with(51), &input, None, &|_| None, 10_000),
            Err(Unresolved::TooDeep)
        );
        assert_eq!(
            resolve(&nested(121, json!(1)), &input, None, &|_| None, 10_000),
            Err(Unresolved::TooDeep)
        );
    }

    #[test]
    fn one_large_value_named_often_is_stopped_while_it_is_copied() {
        let input = json!("x".repeat(1000));
        let with = json!(vec![json!({"$ref":"#/input"}); 1000]);
        assert_eq!(
            resolve(&with, &input, None, &|_| None, 10_000),
            Err(Unresolved::TooLarge)
        );
    }
}
