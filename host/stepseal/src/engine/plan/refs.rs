//! `{"$ref":"#/..."}`: a JSON Pointer (RFC 6901) into `{"input":..., "steps":{id:{"output":...}}}`.

use serde_json::{Map, Value};

/// Where a `$ref` points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// Into the task's input.
    Input,
    /// Into the output of this step.
    Output(String),
}

/// A `$ref` taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) root: Root,
    /// JSON Pointer below the root.
    pub(super) pointer: String,
}

impl Reference {
    /// Reads `#/input[/...]` or `#/steps/<id>/output[/...]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "a $ref is \"#/input...\" or \"#/steps/<id>/output...\"";
        let pointer = text.strip_prefix("#/").ok_or(FORMS)?;
        let (head, rest) = cut(pointer);
        match head {
            "input" => Ok(Self {
                root: Root::Input,
                pointer: rest.to_owned(),
            }),
            "steps" => {
                let (id, rest) = cut(rest.strip_prefix('/').ok_or(FORMS)?);
                let (output, rest) = cut(rest.strip_prefix('/').ok_or(FORMS)?);
                if output != "output" {
                    return Err(format!("{FORMS}; a step offers nothing but its output"));
                }
                Ok(Self {
                    root: Root::Output(unescape(id)),
                    pointer: rest.to_owned(),
                })
            }
            _ => Err(FORMS.to_owned()),
        }
    }
}

/// The first token of a pointer without its leading slash, and the rest with one.
fn cut(pointer: &str) -> (&str, &str) {
    pointer
        .find('/')
        .map_or((pointer, ""), |at| pointer.split_at(at))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// A member's name as a token of a JSON Pointer (RFC 6901 section 3).
pub(super) fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// The text of a `$ref` where `object` is one.
fn reference(object: &Map<String, Value>) -> Option<&Value> {
    object.get("$ref")
}

/// A step on the way to a value. Pointers are only written out where there is something to say.
#[derive(Clone, Copy)]
enum Segment<'a> {
    Name(&'a str),
    Index(usize),
}

/// The JSON Pointer of a way.
fn pointer(path: &[Segment<'_>]) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Name(name) => format!("/{}", escape(name)),
            Segment::Index(index) => format!("/{index}"),
        })
        .collect()
}

/// Every `$ref` in `with`, with its JSON Pointer below `at`; or what is wrong with it.
pub(super) fn references(with: &Value, at: &str) -> Vec<(String, Result<Reference, String>)> {
    let mut found = Vec::new();
    walk(with, &mut Vec::new(), &mut found);
    found
        .into_iter()
        .map(|(below, found)| (format!("{at}{below}"), found))
        .collect()
}

fn walk<'a>(
    value: &'a Value,
    path: &mut Vec<Segment<'a>>,
    found: &mut Vec<(String, Result<Reference, String>)>,
) {
    match value {
        Value::Object(object) => {
            if let Some(text) = reference(object) {
                found.push((pointer(path), read_reference(object, text)));
                return;
            }
            for (name, value) in object {
                path.push(Segment::Name(name));
                walk(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push(Segment::Index(i));
                walk(item, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

fn read_reference(object: &Map<String, Value>, text: &Value) -> Result<Reference, String> {
    match text {
        _ if object.len() > 1 => {
            Err("an object with \"$ref\" must have no other member".to_owned())
        }
        Value::String(text) => Reference::parse(text),
        _ => Err("a $ref must be a string".to_owned()),
    }
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
    output: &dyn Fn(&str) -> Option<&'a Value>,
    bytes_max: u64,
) -> Result<Value, Unresolved> {
    let mut filling = Filling {
        input,
        output,
        budget: bytes_max,
        path: Vec::new(),
    };
    filling.fill(with)
}

struct Filling<'a, 'f> {
    input: &'a Value,
    output: &'f dyn Fn(&str) -> Option<&'a Value>,
    /// Bytes that may still be copied.
    budget: u64,
    path: Vec<Segment<'a>>,
}

impl<'a> Filling<'a, '_> {
    fn fill(&mut self, with: &'a Value) -> Result<Value, Unresolved> {
        match with {
            Value::Object(object) => {
                if let Some(text) = reference(object) {
                    let text = text.as_str().unwrap_or_default();
                    let found = target(text, self.input, self.output);
                    let found = found.ok_or_else(|| Unresolved::Missing {
                        pointer: pointer(&self.path),
                        reference: text.to_owned(),
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

/// What a `$ref` points at.
fn target<'a>(
    text: &str,
    input: &'a Value,
    output: &dyn Fn(&str) -> Option<&'a Value>,
) -> Option<&'a Value> {
    let reference = Reference::parse(text).ok()?;
    let root = match &reference.root {
        Root::Input => input,
        Root::Output(step) => output(step)?,
    };
    root.pointer(&reference.pointer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_with_their_place() {
        let found = references(
            &json!({"a/b":[{"$ref":"#/steps/x/output/y"},{"$ref":7}]}),
            "/with",
        );
        assert_eq!(found[0].0, "/with/a~1b/0");
        let reference = found[0].1.clone().unwrap();
        assert_eq!(
            reference,
            Reference {
                root: Root::Output("x".to_owned()),
                pointer: "/y".to_owned()
            }
        );
        assert!(found[1].1.is_err());
    }

    #[test]
    fn only_inputs_and_outputs_can_be_pointed_at() {
        for wrong in [
            "",
            "#",
            "#/",
            "input",
            "#/steps/x",
            "#/steps/x/input",
            "#/grants",
            "http://x/y#/input",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Reference::parse("#/input").is_ok());
        assert!(Reference::parse("#/steps/x/output").is_ok());
        assert!(
            references(&json!({"$ref":"#/input","more":1}), "")[0]
                .1
                .is_err()
        );
    }

    #[test]
    fn a_value_is_put_where_the_reference_stood() {
        let output = json!({"available":"12.50"});
        let made = resolve(
            &json!({"amount":{"$ref":"#/steps/balance/output/available"},"to":{"$ref":"#/input/0"}}),
            &json!(["bob"]),
            &|id| (id == "balance").then_some(&output),
            1000,
        );
        assert_eq!(made.unwrap(), json!({"amount":"12.50","to":"bob"}));
    }

    #[test]
    fn a_reference_to_nothing_is_named() {
        let made = resolve(
            &json!({"a":{"$ref":"#/input/x"}}),
            &json!({}),
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
        assert!(resolve(&with(50), &input, &|_| None, 10_000).is_ok());
        assert_eq!(
            resolve(&with(51), &input, &|_| None, 10_000),
            Err(Unresolved::TooDeep)
        );
        assert_eq!(
            resolve(&nested(121, json!(1)), &input, &|_| None, 10_000),
            Err(Unresolved::TooDeep)
        );
    }

    #[test]
    fn one_large_value_named_often_is_stopped_while_it_is_copied() {
        let input = json!("x".repeat(1000));
        let with = json!(vec![json!({"$ref":"#/input"}); 1000]);
        assert_eq!(
            resolve(&with, &input, &|_| None, 10_000),
            Err(Unresolved::TooLarge)
        );
    }
}
