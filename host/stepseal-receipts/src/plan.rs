//! What of a pinned plan decides which of its steps run (format §2, Plan): where `$ref`s point, and by which rule a step is skipped.
//!
//! The engine and the verifier of receipts both go through [`fate`], so what is skipped and what may be is the same text.

use serde_json::{Map, Value};

use crate::json::canonical;

/// Where a `$ref` points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// Into the task's input.
    Input,
    /// Into the output of this step.
    Output(String),
    /// Into the item that a step runs for.
    Item,
}

/// A `$ref`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference<'a> {
    /// Into what.
    pub root: Root,
    /// JSON Pointer (RFC 6901) below the root.
    pub pointer: String,
    /// As it is written.
    pub text: &'a str,
    /// What stands for it where it points at nothing.
    pub default: Option<&'a Value>,
}

/// A step on the way to a value. Pointers are only written out where there is something to say.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// A member of an object.
    Name(&'a str),
    /// A place in an array.
    Index(usize),
}

impl<'a> Reference<'a> {
    /// The `$ref` that an object is, or what is wrong with it; none where it is no `$ref`.
    pub fn of(object: &'a Map<String, Value>) -> Option<Result<Self, String>> {
        let text = object.get("$ref")?;
        let others = object
            .keys()
            .filter(|name| !["$ref", "default"].contains(&name.as_str()));
        Some(match text {
            _ if others.count() > 0 => {
                Err("an object with \"$ref\" may have a \"default\" and no other member".to_owned())
            }
            Value::String(text) => Self::parse(text, object.get("default")),
            _ => Err("a $ref must be a string".to_owned()),
        })
    }

    /// Reads `#/input[/...]`, `#/steps/<id>/output[/...]` or `#/item[/...]`.
    pub fn parse(text: &'a str, default: Option<&'a Value>) -> Result<Self, String> {
        const FORMS: &str = "a $ref is \"#/input...\", \"#/steps/<id>/output...\" or \"#/item...\"";
        let (head, rest) = cut(text.strip_prefix("#/").ok_or(FORMS)?);
        let (root, pointer) = match head {
            "input" => (Root::Input, rest),
            "item" => (Root::Item, rest),
            "steps" => {
                let (id, rest) = cut(rest.strip_prefix('/').ok_or(FORMS)?);
                let (output, rest) = cut(rest.strip_prefix('/').ok_or(FORMS)?);
                if output != "output" {
                    return Err(format!("{FORMS}; a step offers nothing but its output"));
                }
                (Root::Output(unescape(id)), rest)
            }
            _ => return Err(FORMS.to_owned()),
        };
        Ok(Self {
            root,
            pointer: pointer.to_owned(),
            text,
            default,
        })
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
pub fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// The JSON Pointer of a way.
pub fn pointer(path: &[Segment<'_>]) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Name(name) => format!("/{}", escape(name)),
            Segment::Index(index) => format!("/{index}"),
        })
        .collect()
}

/// Every `$ref` in a value with its JSON Pointer in it; or what is wrong with it.
pub fn references(value: &Value) -> Vec<(String, Result<Reference<'_>, String>)> {
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut found);
    found
}

fn walk<'a>(
    value: &'a Value,
    path: &mut Vec<Segment<'a>>,
    found: &mut Vec<(String, Result<Reference<'a>, String>)>,
) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = Reference::of(object) {
                found.push((pointer(path), reference));
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

/// `if`: `{"$ref": "...", "default": any, "equals": any}`. Without `equals` it must be `true` or `false` what it points at.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition<'a> {
    /// What is looked at.
    pub reference: Reference<'a>,
    equals: Option<&'a Value>,
}

impl<'a> Condition<'a> {
    /// Reads one, or says what is wrong with it.
    pub fn parse(value: &'a Value) -> Result<Self, String> {
        const FORM: &str =
            "this must be {\"$ref\":\"#/...\"}, where it likes with \"equals\" and \"default\"";
        let object = value.as_object().ok_or(FORM)?;
        let text = object.get("$ref").and_then(Value::as_str).ok_or(FORM)?;
        if object
            .keys()
            .any(|name| !["$ref", "default", "equals"].contains(&name.as_str()))
        {
            return Err(FORM.to_owned());
        }
        Ok(Self {
            reference: Reference::parse(text, object.get("default"))?,
            equals: object.get("equals"),
        })
    }

    /// Whether it is met by what is there, or what that must be. Values are the same whose canonical texts (RFC 8785) are.
    pub fn is_met(&self, found: &Value) -> Result<bool, String> {
        match (self.equals, found) {
            (Some(wanted), found) => Ok(canonical(wanted) == canonical(found)),
            (None, Value::Bool(found)) => Ok(*found),
            (None, _) => Err(format!(
                "{} must be true or false where \"if\" has no \"equals\"",
                self.reference.text
            )),
        }
    }
}

/// The name of a step's attempt for one of its items, from 0.
pub fn item_id(step: &str, number: u64) -> String {
    format!("{step}[{number}]")
}

/// The step of the plan that a record's `step.id` names, and which of its items.
pub fn split_id(id: &str) -> (&str, Option<u64>) {
    let parts = id.strip_suffix(']').and_then(|id| id.rsplit_once('['));
    let split = parts.and_then(|(step, number)| Some((step, number.parse::<u64>().ok()?)));
    match split {
        Some((step, number)) if item_id(step, number) == id => (step, Some(number)),
        _ => (id, None),
    }
}

/// What a step runs for, one after the other or side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// These.
    Are(&'a [Value]),
    /// It is no array, or is nowhere, and why.
    Not(String),
    /// Whoever asks does not know enough.
    Unknown,
}

/// What `in` of a step's `for_each` lists: itself, or what it points at.
pub fn listed<'a>(source: &'a Value, look: &dyn Fn(&Root) -> Source<'a>) -> Listed<'a> {
    let reference = match source {
        Value::Array(items) => return Listed::Are(items),
        Value::Object(object) => Reference::of(object),
        _ => None,
    };
    let Some(Ok(reference)) = reference else {
        return Listed::Not("\"in\" must be an array or {\"$ref\":\"#/...\"}".to_owned());
    };
    let found = match look(&reference.root) {
        Source::Is(value) => value.pointer(&reference.pointer),
        Source::Nothing => None,
        Source::Hidden | Source::Unknown => return Listed::Unknown,
    };
    match found.or(reference.default) {
        Some(Value::Array(items)) => Listed::Are(items),
        Some(_) => Listed::Not(format!(
            "{}, used in \"for_each\", is no array",
            reference.text
        )),
        None => Listed::Not(format!(
            "{}, used in \"for_each\", points at nothing",
            reference.text
        )),
    }
}

/// What is known of what a `$ref` can point into.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// It is this.
    Is(&'a Value),
    /// There is none: the step was skipped, or it failed and the plan goes on.
    Nothing,
    /// There is a value, which whoever asks is not shown.
    Hidden,
    /// It is not known whether there is a value.
    Unknown,
}

/// What decides whether a step runs.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Its input, with `$ref`s.
    pub with: &'a Value,
    /// Its `if`.
    pub condition: Option<&'a Value>,
    /// The `in` of its `for_each`.
    pub items: Option<&'a Value>,
}

/// What the rules of a plan say of a step whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs.
    Runs,
    /// It is skipped, and why.
    Skipped(String),
    /// Its `if` cannot be answered, so it fails, and why.
    Fails(String),
    /// Whoever asks does not know enough.
    Unknown,
}

/// What the rules say of a step: it is skipped where it refers, without a default, to the output of a step that has none; else where its
/// `if` is not met.
pub fn fate<'a>(rules: &Rules<'a>, look: &dyn Fn(&Root) -> Source<'a>) -> Fate {
    let condition = match rules.condition.map(Condition::parse).transpose() {
        Ok(condition) => condition,
        Err(error) => return Fate::Fails(error),
    };
    let values = [Some(rules.with), rules.items].into_iter().flatten();
    let of_values = values
        .flat_map(references)
        .filter_map(|(_, read)| read.ok());
    let of_if = condition
        .as_ref()
        .map(|condition| condition.reference.clone());
    let mut known = true;
    for reference in of_values.chain(of_if) {
        let (Root::Output(step), None) = (&reference.root, reference.default) else {
            continue;
        };
        match look(&reference.root) {
            Source::Nothing => {
                return Fate::Skipped(format!(
                    "it needs the output of step {step}, which has none"
                ));
            }
            Source::Unknown => known = false,
            Source::Is(_) | Source::Hidden => {}
        }
    }
    if !known {
        return Fate::Unknown;
    }
    let Some(condition) = condition else {
        return Fate::Runs;
    };
    let reference = &condition.reference;
    let found = match look(&reference.root) {
        Source::Unknown | Source::Hidden => return Fate::Unknown,
        Source::Nothing => None,
        Source::Is(value) => value.pointer(&reference.pointer),
    };
    let Some(found) = found.or(reference.default) else {
        return Fate::Fails(format!(
            "{}, used in \"if\", points at nothing",
            reference.text
        ));
    };
    match condition.is_met(found) {
        Ok(true) => Fate::Runs,
        Ok(false) => Fate::Skipped("its \"if\" is not met".to_owned()),
        Err(error) => Fate::Fails(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_with_their_place() {
        let with = json!({"a/b":[{"$ref":"#/steps/x/output/y"},{"$ref":7},{"$ref":"#/input","default":null}]});
        let found = references(&with);
        assert_eq!(found[0].0, "/a~1b/0");
        let reference = found[0].1.clone().unwrap();
        assert_eq!(
            (
                reference.root,
                reference.pointer.as_str(),
                reference.default
            ),
            (Root::Output("x".to_owned()), "/y", None)
        );
        assert!(found[1].1.is_err());
        assert_eq!(found[2].1.clone().unwrap().default, Some(&Value::Null));
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
            assert!(Reference::parse(wrong, None).is_err(), "{wrong}");
        }
        assert!(Reference::parse("#/input", None).is_ok());
        assert!(Reference::parse("#/steps/x/output", None).is_ok());
        assert!(
            references(&json!({"$ref":"#/input","more":1}))[0]
                .1
                .is_err()
        );
    }

    fn told(with: &Value, condition: &Value) -> Fate {
        let input = json!({"yes": true, "n": 1});
        let output = json!({"state": "paid", "no": false});
        let rules = Rules {
            with,
            condition: Some(condition),
            items: None,
        };
        fate(&rules, &|root| match root {
            Root::Input => Source::Is(&input),
            Root::Output(step) if step == "there" => Source::Is(&output),
            Root::Output(step) if step == "gone" => Source::Nothing,
            Root::Output(step) if step == "hidden" => Source::Hidden,
            Root::Output(_) | Root::Item => Source::Unknown,
        })
    }

    #[test]
    fn an_item_has_one_name() {
        assert_eq!(split_id(&item_id("pay", 12)), ("pay", Some(12)));
        for other in [
            "pay",
            "pay[]",
            "pay[01]",
            "pay[+1]",
            "pay[1",
            "pay1]",
            "pay[18446744073709551616]",
        ] {
            assert_eq!(split_id(other), (other, None));
        }
    }

    #[test]
    fn items_are_an_array_or_where_one_is() {
        let input = json!({"list": [1, 2], "one": 1});
        let told = |source: Value| match listed(&source, &|root| match root {
            Root::Input => Source::Is(&input),
            _ => Source::Hidden,
        }) {
            Listed::Are(items) => Some(items.len()),
            Listed::Not(_) => None,
            Listed::Unknown => Some(99),
        };
        assert_eq!(told(json!([1, 2, 3])), Some(3));
        assert_eq!(told(json!({"$ref": "#/input/list"})), Some(2));
        assert_eq!(
            told(json!({"$ref": "#/input/none", "default": []})),
            Some(0)
        );
        assert_eq!(told(json!({"$ref": "#/steps/x/output"})), Some(99));
        for wrong in [
            json!({"$ref": "#/input/one"}),
            json!({"$ref": "#/input/none"}),
            json!(3),
            json!({}),
        ] {
            assert_eq!(told(wrong.clone()), None, "{wrong}");
        }
    }

    #[test]
    fn a_step_runs_where_its_condition_is_met_and_what_it_needs_is_there() {
        let with = json!({"x": {"$ref": "#/steps/there/output"}});
        let runs = [
            json!({"$ref": "#/input/yes"}),
            json!({"$ref": "#/input/n", "equals": 1.0}),
            json!({"$ref": "#/steps/there/output/state", "equals": "paid"}),
            json!({"$ref": "#/steps/there/output/no", "equals": false}),
            json!({"$ref": "#/steps/gone/output/x", "default": true}),
            json!({"$ref": "#/input/absent", "default": null, "equals": null}),
        ];
        for condition in runs {
            assert_eq!(told(&with, &condition), Fate::Runs, "{condition}");
        }
        let skipped = [
            json!({"$ref": "#/steps/there/output/no"}),
            json!({"$ref": "#/input/n", "equals": "1"}),
            json!({"$ref": "#/steps/gone/output/x"}),
            json!({"$ref": "#/steps/gone/output/x", "default": false}),
        ];
        for condition in skipped {
            assert!(
                matches!(told(&with, &condition), Fate::Skipped(_)),
                "{condition}"
            );
        }
        let fails = [
            json!({"$ref": "#/input/n"}),
            json!({"$ref": "#/input/absent"}),
            json!({"$ref": "#/steps/there/output/state"}),
        ];
        for condition in fails {
            assert!(
                matches!(told(&with, &condition), Fate::Fails(_)),
                "{condition}"
            );
        }
        assert_eq!(
            told(&with, &json!({"$ref": "#/steps/hidden/output"})),
            Fate::Unknown
        );
    }

    #[test]
    fn without_what_it_refers_to_a_step_is_skipped_unless_it_says_what_stands_for_it() {
        let yes = json!({"$ref": "#/input/yes"});
        let with = json!([{"$ref": "#/steps/gone/output/a"}]);
        assert!(matches!(told(&with, &yes), Fate::Skipped(why) if why.contains("gone")));
        let with = json!([{"$ref": "#/steps/gone/output/a", "default": 0}]);
        assert_eq!(told(&with, &yes), Fate::Runs);
    }
}
