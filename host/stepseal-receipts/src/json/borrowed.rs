//! Values that borrow from the text they were read from, for what is read once and in bulk: a receipt has thousands of
//! strings, and most of them are only decoded.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::parser::Tree;

/// Up to so many members are compared one by one with a new name; more are sorted.
const COMPARED_MAX: usize = 16;

/// A JSON value that borrows its strings where they have no escape.
#[derive(Clone, Debug)]
pub(crate) enum Borrowed<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Borrowed<'a>>),
    /// In the order of the text, no name twice.
    Object(Vec<(Cow<'a, str>, Borrowed<'a>)>),
}

/// The members of an object that is being read.
#[derive(Default)]
pub(crate) struct Reading<'a> {
    members: Vec<(Cow<'a, str>, Borrowed<'a>)>,
    /// Whether a name came that does not follow the one before.
    falls: bool,
    /// The names of the first members, kept only where there are many of them and they do not rise.
    names: BTreeSet<Cow<'a, str>>,
}

impl<'a> Tree<'a> for Borrowed<'a> {
    type Members = Reading<'a>;

    fn null() -> Self {
        Self::Null
    }

    fn boolean(value: bool) -> Self {
        Self::Bool(value)
    }

    fn number(number: Number) -> Self {
        Self::Number(number)
    }

    fn text(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }

    fn list(items: Vec<Self>) -> Self {
        Self::List(items)
    }

    fn object(reading: Reading<'a>) -> Self {
        Self::Object(reading.members)
    }

    fn count(reading: &Reading<'a>) -> usize {
        reading.members.len()
    }

    fn has(reading: &mut Reading<'a>, name: &str) -> bool {
        let Reading {
            members,
            falls,
            names,
        } = reading;
        *falls |= members.last().is_some_and(|(last, _)| **last >= *name);
        if !*falls {
            // Canonical text has its names in order, and this is the only test it needs.
            return false;
        }
        if members.len() <= COMPARED_MAX {
            return members.iter().any(|(other, _)| other == name);
        }
        names.extend(members[names.len()..].iter().map(|(name, _)| name.clone()));
        names.contains(name)
    }

    fn add(reading: &mut Reading<'a>, name: Cow<'a, str>, value: Self) {
        reading.members.push((name, value));
    }

    fn rise(reading: &Reading<'a>) -> bool {
        !reading.falls
    }
}

impl From<Value> for Borrowed<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(Cow::Owned(text)),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

impl From<Borrowed<'_>> for Value {
    fn from(value: Borrowed<'_>) -> Self {
        match value {
            Borrowed::Null => Self::Null,
            Borrowed::Bool(value) => Self::Bool(value),
            Borrowed::Number(number) => Self::Number(number),
            Borrowed::Text(text) => Self::String(text.into_owned()),
            Borrowed::List(items) => items.into_iter().map(Self::from).collect(),
            Borrowed::Object(members) => Self::Object(owned(members)),
        }
    }
}

/// Members that own their text.
pub(crate) fn owned(members: Vec<(Cow<'_, str>, Borrowed<'_>)>) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, value)| (name.into_owned(), Value::from(value)))
        .collect()
}
