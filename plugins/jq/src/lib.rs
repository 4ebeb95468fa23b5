//! Runs a jq filter over a JSON document. Imports nothing, so it is pure: the same input gives the same output.
//!
//! The language is jq as the `jaq` crates understand it. Absent, because a pure step has none of it: the
//! environment (`env`, `$ENV`), the clock (`now`, `localtime`, `strflocaltime`), other inputs (`input`, `inputs`), modules
//! (`import`, `include`) and ending the program (`halt`). `debug` and `stderr` pass their input on and print nothing.

mod json;

use std::collections::BTreeMap;

use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, compile, data};
use jaq_json::Val;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepseal_plugin::{Call, Failure, JsonSchema, plugin, schemars};

/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 64 * 1024;

/// Most outputs of one filter: it may make outputs without end.
const OUTPUTS_MAX: usize = 100_000;

/// Longest part of a filter that is shown in a message, in characters.
const SHOWN_CHARS_MAX: usize = 24;

/// Filters that reach outside of the document, or end the program.
const ABSENT: [&str; 6] = [
    "env",
    "halt",
    "halt_error",
    "localtime",
    "now",
    "strflocaltime",
];

plugin! {
    /// Runs jq filters over JSON documents.
    name: "jq",
    steps: {
        /// Runs a jq filter over a JSON document and gives all of its outputs.
        "filter" => filter,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// A jq filter, such as `.packages | map(.name)`.
    #[schemars(length(min = 1, max = 65536))]
    filter: String,
    /// What the filter is run over: any JSON value.
    document: Value,
    /// Variables of the filter: `{"limit": 3}` gives it `$limit`.
    #[serde(default)]
    args: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Output {
    /// The first output of the filter; null if there is none.
    result: Value,
    /// All outputs of the filter, in order: a jq filter may give none, one or many.
    outputs: Vec<Value>,
}

fn filter(_: &Call, input: Input) -> Result<Output, Failure> {
    let Input {
        filter,
        document,
        args,
    } = input;
    if filter.len() > FILTER_BYTES_MAX {
        return Err(Failure::invalid_input(format!(
            "filter is longer than {FILTER_BYTES_MAX} bytes"
        )));
    }
    if let Some(name) = args.keys().find(|name| !is_variable(name)) {
        return Err(Failure::invalid_input(format!(
            "args: {name:?} cannot be the name of a variable"
        )));
    }
    let names: Vec<String> = args.keys().map(|name| format!("${name}")).collect();
    let program = compiled(&filter, &names).map_err(Failure::InvalidInput)?;
    let vars = Vars::new(args.into_values().map(json::to_jq));
    let ctx = Ctx::<data::JustLut<Val>>::new(&program.lut, vars);

    let mut outputs = Vec::new();
    for output in program
        .id
        .run((ctx, json::to_jq(document)))
        .map(jaq_core::unwrap_valr)
    {
        let place = outputs.len() + 1;
        if place > OUTPUTS_MAX {
            return Err(Failure::failed(format!(
                "the filter gives more than {OUTPUTS_MAX} outputs"
            )));
        }
        let output = output
            .map_err(|fault| Failure::failed(format!("output {place}: {}", message(fault))))?;
        let output = json::from_jq(output)
            .map_err(|fault| Failure::failed(format!("output {place}: {fault}")))?;
        outputs.push(output);
    }
    Ok(Output {
        result: outputs.first().cloned().unwrap_or_default(),
        outputs,
    })
}

/// What went wrong: the text itself where the filter called `error` with a text.
fn message(fault: jaq_json::Error) -> String {
    match fault.into_val() {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        value => value.to_string(),
    }
}

fn is_variable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
}

/// The filter, ready to run. An error says where in the filter it is.
fn compiled(
    filter: &str,
    names: &[String],
) -> Result<jaq_core::Filter<data::JustLut<Val>>, String> {
    let defs = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    let funs = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    let defs = defs.filter(|def| !ABSENT.contains(&def.name));
    let funs = funs.filter(|(name, _, _)| !ABSENT.contains(name));
    let arena = Arena::default();
    let modules = Loader::new(defs)
        .load(
            &arena,
            File {
                code: filter,
                path: (),
            },
        )
        .map_err(|faults| first(faults, |fault| load_fault(filter, fault)))?;
    load::import(&modules, |_| Err("importing data is not supported".into()))
        .map_err(|faults| first(faults, |fault| load_fault(filter, fault)))?;
    Compiler::default()
        .with_funs(funs)
        .with_global_vars(names.iter().map(String::as_str))
        .compile(modules)
        .map_err(|faults| {
            first(faults, |faults| {
                Some(undefined(filter, faults.into_iter().next()?))
            })
        })
}

/// The first fault: those after it are often only its consequences.
fn first<S, E>(faults: load::Errors<S, (), E>, told: impl FnOnce(E) -> Option<String>) -> String {
    let fault = faults.into_iter().next().and_then(|(_, fault)| told(fault));
    format!(
        "filter {}",
        fault.unwrap_or_else(|| "cannot be read".into())
    )
}

fn load_fault(filter: &str, fault: load::Error<&str>) -> Option<String> {
    Some(match fault {
        load::Error::Io(faults) => {
            let (path, fault) = faults.into_iter().next()?;
            format!("{}: {fault}", place(filter, path))
        }
        load::Error::Lex(faults) => {
            let (expected, found) = faults.into_iter().next()?;
            format!("{}: expected {}", place(filter, found), expected.as_str())
        }
        load::Error::Parse(faults) => {
            let (expected, found) = faults.into_iter().next()?;
            format!("{}: expected {}", place(filter, found), expected.as_str())
        }
    })
}

fn undefined(filter: &str, (name, what): compile::Error<&str>) -> String {
    let arity = match what {
        compile::Undefined::Filter(arity) => format!("/{arity}"),
        _ => String::new(),
    };
    format!(
        "{}: there is no {} `{}{arity}`",
        place(filter, name),
        what.as_str(),
        shown(name)
    )
}

/// Line and column of a part of the filter. `found` is a slice of it, from where the fault is.
fn place(filter: &str, found: &str) -> String {
    let offset = (found.as_ptr() as usize).wrapping_sub(filter.as_ptr() as usize);
    let Some((before, rest)) = filter.split_at_checked(offset) else {
        return "at an unknown place".into();
    };
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    let rest = rest.lines().next().unwrap_or_default();
    if rest.is_empty() {
        format!("at line {line}, column {column} (the end)")
    } else {
        format!("at line {line}, column {column} (`{}`)", shown(rest))
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
