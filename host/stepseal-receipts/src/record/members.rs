//! Reads the members of JSON objects one by one, so that every error names its place and what is left over is kept.
//!
//! Records, receipts and trust files are all read with it; none of them has a number.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::digest::{Digest, read_hex};
use crate::json::{Borrowed, decimal, owned};

/// Why a member cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// It is absent and must not be.
    #[error("member {member} is missing")]
    Missing {
        /// Path of the member.
        member: String,
    },
    /// It has the wrong form.
    #[error("member {member} must be {expected}")]
    Wrong {
        /// Path of the member.
        member: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// Its own format says no.
    #[error("member {member} cannot be read: {reason}")]
    Invalid {
        /// Path of the member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not one of the format's, where a reader must know every member.
    #[error("member {member} is unknown; remove it or use a version that knows it")]
    Unknown {
        /// Path of the member.
        member: String,
    },
    /// It has more items than are allowed.
    #[error("member {member} has {items} items, and at most {items_max} are allowed")]
    TooMany {
        /// Path of the member.
        member: String,
        /// Items it has.
        items: usize,
        /// Items it may have.
        items_max: usize,
    },
}

impl MemberError {
    /// Path of the member, like `predicate.task.seq` or `entries[3].proof`.
    pub fn member(&self) -> &str {
        match self {
            Self::Missing { member }
            | Self::Wrong { member, .. }
            | Self::Invalid { member, .. }
            | Self::Unknown { member }
            | Self::TooMany { member, .. } => member,
        }
    }
}

/// Where a value is in its document. A chain of borrowed names: nothing is allocated unless there is an error.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    name: Name<'a>,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Member(&'a str),
    Item(usize),
}

impl At<'_> {
    /// The outermost value. Where `name` is empty, its members are named without it.
    pub(crate) fn root(name: &'static str) -> At<'static> {
        At {
            parent: None,
            name: Name::Member(name),
        }
    }

    fn member<'a>(&'a self, name: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            name: Name::Member(name),
        }
    }

    fn item(&self, number: usize) -> At<'_> {
        At {
            parent: Some(self),
            name: Name::Item(number),
        }
    }

    fn is_document(&self) -> bool {
        self.parent.is_none() && matches!(self.name, Name::Member(""))
    }

    fn wrong(&self, expected: &'static str) -> MemberError {
        MemberError::Wrong {
            member: self.to_string(),
            expected,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parent, self.name) {
            (Some(parent), Name::Member(name)) if parent.is_document() => f.write_str(name),
            (Some(parent), Name::Member(name)) => write!(f, "{parent}.{name}"),
            (Some(parent), Name::Item(number)) => write!(f, "{parent}[{number}]"),
            (None, Name::Member(name)) => f.write_str(name),
            (None, Name::Item(number)) => write!(f, "[{number}]"),
        }
    }
}

/// The members of one object that are not read yet, and what its nested objects left over.
pub(crate) struct Members<'a> {
    at: At<'a>,
    unread: Vec<(Cow<'a, str>, Borrowed<'a>)>,
    left_over: Map<String, Value>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(at: At<'a>, value: Borrowed<'a>) -> Result<Self, MemberError> {
        match value {
            Borrowed::Object(unread) => Ok(Self {
                at,
                unread,
                left_over: Map::new(),
            }),
            _ => Err(at.wrong("an object")),
        }
    }

    /// What nobody read, here and below.
    pub(crate) fn finish(self) -> Map<String, Value> {
        let mut left_over = self.left_over;
        if !self.unread.is_empty() {
            left_over.extend(owned(self.unread));
        }
        left_over
    }

    /// Refuses what nobody read, here and below.
    pub(crate) fn finish_known(&self) -> Result<(), MemberError> {
        let unread = self.unread.iter().map(|(name, _)| &**name);
        match unread
            .chain(self.left_over.keys().map(String::as_str))
            .min()
        {
            None => Ok(()),
            Some(name) => {
                // The name is the file's, and may be as long as the file.
                let name: String = name.chars().take(UNKNOWN_NAME_CHARS_MAX).collect();
                Err(MemberError::Unknown {
                    member: self.at.member(&name).to_string(),
                })
            }
        }
    }

    pub(crate) fn invalid(&self, name: &str, reason: &impl ToString) -> MemberError {
        MemberError::Invalid {
            member: self.at.member(name).to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Borrowed<'a>> {
        take(&mut self.unread, name)
    }

    pub(crate) fn wrong(&self, name: &str, expected: &'static str) -> MemberError {
        self.at.member(name).wrong(expected)
    }

    /// Turns an absent member into an error.
    pub(crate) fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, MemberError> {
        value.ok_or_else(|| MemberError::Missing {
            member: self.at.member(name).to_string(),
        })
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, MemberError> {
        match self.take(name) {
            None => Ok(None),
            Some(Borrowed::Text(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(crate) fn need_text(&mut self, name: &str) -> Result<String, MemberError> {
        let text = self.text(name)?;
        self.need(name, text)
    }

    /// A value that is written as a string of some form.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, MemberError> {
        match self.take(name) {
            None => Ok(None),
            Some(Borrowed::Text(text)) => match parse(&text) {
                Some(value) => Ok(Some(value)),
                None => Err(self.wrong(name, expected)),
            },
            Some(_) => Err(self.wrong(name, expected)),
        }
    }

    pub(crate) fn need_parsed<T>(
        &mut self,
        name: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, MemberError> {
        let value = self.parsed(name, expected, parse)?;
        self.need(name, value)
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<u64>, MemberError> {
        self.parsed(name, INTEGER, decimal::parse)
    }

    pub(crate) fn need_integer(&mut self, name: &str) -> Result<u64, MemberError> {
        self.need_parsed(name, INTEGER, decimal::parse)
    }

    pub(crate) fn digest(&mut self, name: &'static str) -> Result<Option<Digest>, MemberError> {
        self.object(name, digest)
    }

    pub(crate) fn need_digest(&mut self, name: &'static str) -> Result<Digest, MemberError> {
        let digest = self.digest(name)?;
        self.need(name, digest)
    }

    pub(crate) fn object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Members<'_>) -> Result<T, MemberError>,
    ) -> Result<Option<T>, MemberError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let mut members = Members::new(self.at.member(name), value)?;
        let read = read(&mut members)?;
        let left_over = members.finish();
        if !left_over.is_empty() {
            self.left_over
                .insert(name.to_owned(), Value::Object(left_over));
        }
        Ok(Some(read))
    }

    pub(crate) fn need_object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Members<'_>) -> Result<T, MemberError>,
    ) -> Result<T, MemberError> {
        let object = self.object(name, read)?;
        self.need(name, object)
    }

    /// A list of strings of one form; absent is empty.
    pub(crate) fn texts<T>(
        &mut self,
        name: &'static str,
        items_max: usize,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, MemberError> {
        let at = self.at.member(name);
        let read = |(number, value): (usize, &Borrowed<'_>)| {
            let item = match value {
                Borrowed::Text(text) => parse(text),
                _ => None,
            };
            item.ok_or_else(|| at.item(number).wrong(expected))
        };
        let values = values_of(&mut self.unread, &at, name, items_max)?;
        values.iter().enumerate().map(read).collect()
    }

    fn values(&mut self, name: &str, items_max: usize) -> Result<Vec<Borrowed<'a>>, MemberError> {
        values_of(&mut self.unread, &self.at.member(name), name, items_max)
    }

    /// A list of objects that must be there, though it be empty.
    pub(crate) fn need_list<T>(
        &mut self,
        name: &'static str,
        items_max: usize,
        read: impl Fn(&mut Members<'_>) -> Result<T, MemberError>,
    ) -> Result<Vec<T>, MemberError> {
        let found = self.unread.iter().find(|(found, _)| found == name);
        self.need(name, found)?;
        self.list(name, items_max, read)
    }

    /// A list of objects; absent is empty.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        items_max: usize,
        read: impl Fn(&mut Members<'_>) -> Result<T, MemberError>,
    ) -> Result<Vec<T>, MemberError> {
        let values = self.values(name, items_max)?;
        let mut items = Vec::with_capacity(values.len());
        let mut left_overs = Map::new();
        let at = self.at.member(name);
        for (number, value) in values.into_iter().enumerate() {
            let mut members = Members::new(at.item(number), value)?;
            items.push(read(&mut members)?);
            let left_over = members.finish();
            if !left_over.is_empty() {
                left_overs.insert(number.to_string(), Value::Object(left_over));
            }
        }
        if !left_overs.is_empty() {
            self.left_over
                .insert(name.to_owned(), Value::Object(left_overs));
        }
        Ok(items)
    }
}

/// The digest that an object is.
pub(super) fn digest(members: &mut Members<'_>) -> Result<Digest, MemberError> {
    let hex = "64 lower-case hexadecimal digits";
    let digest = members.need_parsed("sha256", hex, |text| Digest::from_hex(text).ok())?;
    members.finish_known()?;
    Ok(digest)
}

/// Most characters of an unknown member's name that an error shows.
const UNKNOWN_NAME_CHARS_MAX: usize = 64;

fn take<'a>(unread: &mut Vec<(Cow<'a, str>, Borrowed<'a>)>, name: &str) -> Option<Borrowed<'a>> {
    let place = unread.iter().position(|(found, _)| found == name)?;
    Some(unread.swap_remove(place).1)
}

fn values_of<'a>(
    unread: &mut Vec<(Cow<'a, str>, Borrowed<'a>)>,
    at: &At<'_>,
    name: &str,
    items_max: usize,
) -> Result<Vec<Borrowed<'a>>, MemberError> {
    match take(unread, name) {
        None => Ok(Vec::new()),
        Some(Borrowed::List(values)) if values.len() > items_max => Err(MemberError::TooMany {
            member: at.to_string(),
            items: values.len(),
            items_max,
        }),
        Some(Borrowed::List(values)) => Ok(values),
        Some(_) => Err(at.wrong("a list")),
    }
}

const INTEGER: &str =
    "a decimal integer up to 18446744073709551615 in a string, without sign or leading zero";

/// Exactly `N` bytes in lower-case hexadecimal.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    read_hex(text.as_bytes())
}
