//! Strict JSON in (RFC 8259 within I-JSON, RFC 7493), canonical JSON out (RFC 8785, "JCS").
//!
//! A text is accepted only if every reader understands the same by it: no duplicate member names, no lone surrogates, no
//! integers that a double cannot hold. The parser is this crate's own, because `serde_json` keeps the last of two equal
//! names, rounds large integers without a word, and changes both with features that any crate of a build may turn on.
//!
//! Numbers: an integer literal is accepted where a double holds it exactly, or where it is the way RFC 8785 writes the
//! double (so that canonical output is always accepted again). Literals with a fraction or an exponent are doubles. Whole
//! numbers within ±2^53 become integers in the [`Value`], all others doubles, so equal numbers are equal values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

use crate::b64;
use parser::Tree;

mod borrowed;
mod parser;
mod serialize;

pub(crate) use borrowed::{Borrowed, owned};
pub use serialize::{SerializeError, canonical_of};

/// Deepest nesting of arrays and objects in a payload of a step. [`Limits::depth_max`] is held to this in any case, since
/// the parser calls itself once per level.
pub const PAYLOAD_DEPTH_MAX: usize = 128;

/// Deepest nesting in a record.
pub const RECORD_DEPTH_MAX: usize = 16;

/// Most bytes of a record's statement.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;

/// The limits of a record, for [`parse_signed`].
pub const RECORD_LIMITS: Limits = Limits {
    bytes_max: RECORD_BYTES_MAX,
    depth_max: RECORD_DEPTH_MAX,
};

/// Most memory that the values of one text may take, about, in bytes. Small values take many times their text (an object of
/// one member 90 times), so the size of the text alone bounds too little.
pub const MEMORY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// 2^53: up to here every integer is a double.
const SAFE_INTEGER_MAX: u64 = 1 << 53;

/// Most bytes of a pointer or a name that an error message shows; the text may be hostile.
const SHOWN_BYTES_MAX: usize = 200;

/// What a text may have, checked before and while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the whole text.
    pub bytes_max: usize,
    /// Deepest nesting: a scalar is at depth 0, `[]` at 1. Held to [`PAYLOAD_DEPTH_MAX`].
    pub depth_max: usize,
}

/// Why a text is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// JSON Pointer (RFC 6901) of the innermost value that the fault is in; empty for the whole text.
    pub pointer: String,
    /// Line from 1, where the fault has a place in the text.
    pub line: Option<usize>,
    /// Column from 1, counted in bytes, where the fault has a place in the text.
    pub column: Option<usize>,
    /// The fault.
    pub kind: JsonErrorKind,
}

/// The faults of [`parse`] and [`parse_signed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// More bytes than allowed.
    #[error("the text has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// Bytes of the text.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// Too many small values.
    #[error("the values take more than {MEMORY_BYTES_MAX} bytes of memory")]
    TooMuchMemory,
    /// Nested deeper than allowed.
    #[error("arrays and objects are nested deeper than {depth_max}")]
    TooDeep {
        /// Depth allowed.
        depth_max: usize,
    },
    /// The text ends too early.
    #[error("the text ends here, {expected} is missing")]
    UnexpectedEnd {
        /// What would have had to follow.
        expected: &'static str,
    },
    /// Something else than the grammar allows.
    #[error("{expected} is expected here")]
    Syntax {
        /// What would have been right.
        expected: &'static str,
    },
    /// Something follows the value.
    #[error("nothing but white space may follow the value")]
    TrailingBytes,
    /// Not UTF-8.
    #[error("the string is not valid UTF-8")]
    InvalidUtf8,
    /// `\uD800` to `\uDFFF` that is not half of a pair.
    #[error("the escape of a lone surrogate is not a character")]
    LoneSurrogate,
    /// A character below U+0020 in a string.
    #[error("a control character in a string must be escaped")]
    ControlCharacter,
    /// A backslash followed by something unknown.
    #[error("this is not an escape that JSON knows")]
    BadEscape,
    /// A name that occurs twice in one object.
    #[error("the member name {} occurs twice", shown(.0))]
    DuplicateName(String),
    /// An integer that would change its value.
    #[error("the integer is not exact as a double; write it as a string")]
    InexactInteger,
    /// A number beyond the doubles.
    #[error("the number is beyond the range of a double")]
    NumberOverflow,
    /// A number in signed JSON.
    #[error("numbers are not allowed in signed JSON; integers are written as decimal strings")]
    NumberNotAllowed,
    /// A null in signed JSON.
    #[error("null is not allowed in signed JSON; an absent member says the same")]
    NullNotAllowed,
    /// A member name in signed JSON that does not match `[a-zA-Z_][a-zA-Z0-9_.-]*`.
    #[error("the member name {} is not one that signed JSON allows ([a-zA-Z_][a-zA-Z0-9_.-]*)", shown(.0))]
    BadName(String),
    /// Signed JSON that is not its own canonical form.
    #[error("the text is not in canonical form (RFC 8785); it differs from there on")]
    NotCanonical,
}

/// A quoted, bounded rendering of a hostile name.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{:?}{dots}", &text[..end])
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str("in the JSON text")?;
        } else {
            write!(f, "in the JSON at {}", shown(&self.pointer))?;
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ", line {line} column {column}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for JsonError {}

impl JsonError {
    /// A fault of the value that the names and indexes in `path`, innermost first, lead to.
    fn new(kind: JsonErrorKind, path: &[String], place: Option<(&[u8], usize)>) -> Self {
        let mut pointer = String::new();
        for segment in path.iter().rev() {
            pointer.push('/');
            pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        }
        let (line, column) = place
            .map(|(text, offset)| line_and_column(text, offset))
            .unzip();
        Self {
            pointer,
            line,
            column,
            kind,
        }
    }
}

fn line_and_column(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |position| position + 1);
    (
        before.split(|&byte| byte == b'\n').count(),
        before.len() - line_start + 1,
    )
}

/// Reads one JSON text of at most `limits.bytes_max` bytes, strictly.
pub fn parse(text: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    parse_tree(text, limits).map(|(value, _)| value)
}

/// The same, as a value that borrows from the text.
pub(crate) fn parse_borrowed<'a>(
    text: &'a [u8],
    limits: &Limits,
) -> Result<Borrowed<'a>, JsonError> {
    parse_tree(text, limits).map(|(value, _)| value)
}

fn parse_tree<'a, T: Tree<'a>>(text: &'a [u8], limits: &Limits) -> Result<(T, bool), JsonError> {
    if text.len() > limits.bytes_max {
        let kind = JsonErrorKind::TooLarge {
            bytes: text.len(),
            bytes_max: limits.bytes_max,
        };
        return Err(JsonError::new(kind, &[], None));
    }
    parser::parse(
        text,
        limits.depth_max.min(PAYLOAD_DEPTH_MAX),
        MEMORY_BYTES_MAX,
    )
}

/// Reads signed JSON: on top of [`parse`], no numbers, no null, restricted member names, and the text is its own
/// canonical form. Call it only after the signature over `text` is verified.
pub fn parse_signed(text: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    parse_signed_borrowed(text, limits).map(Value::from)
}

/// The same, as a value that borrows from the text.
pub(crate) fn parse_signed_borrowed<'a>(
    text: &'a [u8],
    limits: &Limits,
) -> Result<Borrowed<'a>, JsonError> {
    let (value, is_signed) = parse_tree::<Borrowed<'_>>(text, limits)?;
    if is_signed {
        return Ok(value);
    }
    let mut path = Vec::new();
    if let Some(kind) = signed_fault(&value, &mut path) {
        return Err(JsonError::new(kind, &path, None));
    }
    let canonical = canonical(&Value::from(value));
    let offset = canonical
        .iter()
        .zip(text)
        .take_while(|(a, b)| a == b)
        .count();
    Err(JsonError::new(
        JsonErrorKind::NotCanonical,
        &[],
        Some((text, offset)),
    ))
}

/// The first fault in `value`; `path` then holds the way to it, innermost first. Nothing is allocated without a fault.
fn signed_fault(value: &Borrowed<'_>, path: &mut Vec<String>) -> Option<JsonErrorKind> {
    match value {
        Borrowed::Null => Some(JsonErrorKind::NullNotAllowed),
        Borrowed::Number(_) => Some(JsonErrorKind::NumberNotAllowed),
        Borrowed::Bool(_) | Borrowed::Text(_) => None,
        Borrowed::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(kind) = signed_fault(item, path) {
                    path.push(index.to_string());
                    return Some(kind);
                }
            }
            None
        }
        Borrowed::Object(members) => {
            for (name, member) in members {
                let fault = if is_signed_name(name) {
                    signed_fault(member, path)
                } else {
                    Some(JsonErrorKind::BadName(name.clone().into_owned()))
                };
                if fault.is_some() {
                    path.push(name.clone().into_owned());
                    return fault;
                }
            }
            None
        }
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_.-]*`
fn is_signed_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The canonical form of a value (RFC 8785 §3.2): no white space, members sorted by UTF-16 code units, numbers as
/// ECMAScript writes them. Integers beyond ±2^53 in the value are written as the nearest double; [`parse`] makes none.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    write_value(value, &mut out);
    out
}

/// The canonical form of one JSON text, which is read as by [`parse`] and not made into a tree of values on the way. Borrowed where the
/// text is known to be its own.
pub fn canonicalize<'a>(text: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, JsonError> {
    let (value, is_canonical) = parse_tree::<Borrowed<'_>>(text, limits)?;
    if is_canonical {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    write_borrowed(&value, &mut out);
    Ok(Cow::Owned(out))
}

fn write_borrowed(value: &Borrowed<'_>, out: &mut Vec<u8>) {
    match value {
        Borrowed::Null => out.extend_from_slice(b"null"),
        Borrowed::Bool(true) => out.extend_from_slice(b"true"),
        Borrowed::Bool(false) => out.extend_from_slice(b"false"),
        Borrowed::Number(number) => write_number(number, out),
        Borrowed::Text(text) => write_string(text, out),
        Borrowed::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_borrowed(item, out);
            }
            out.push(b']');
        }
        Borrowed::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by(|(a, _), (b, _)| compare_names(a, b));
            out.push(b'{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write_borrowed(member, out);
            }
            out.push(b'}');
        }
    }
}

pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(members, out),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) {
    // The map itself is sorted by bytes unless another crate of the build asked serde_json for insertion order, and most
    // names are ASCII, where both orders agree: then nothing is left to sort.
    if members.keys().all(|name| name.is_ascii()) && members.keys().is_sorted() {
        write_members(members.iter(), out);
    } else {
        let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| compare_names(a, b));
        write_members(sorted.into_iter(), out);
    }
}

fn write_members<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, member)) in members.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_value(member, out);
    }
    out.push(b'}');
}

/// The order of RFC 8785 §3.2.3. It differs from the order of bytes where a surrogate pair meets U+E000 to U+FFFF.
pub(crate) fn compare_names(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        a.cmp(b)
    } else {
        a.encode_utf16().cmp(b.encode_utf16())
    }
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(integer) = number
        .as_i64()
        .filter(|integer| integer.unsigned_abs() <= SAFE_INTEGER_MAX)
    {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        let double = number
            .as_f64()
            .expect("a number of a JSON value is a finite double");
        out.extend_from_slice(&canonical_double(double));
    }
}

/// RFC 8785 §3.2.2.3: the way ECMAScript writes a finite double.
fn canonical_double(double: f64) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(&double).expect("a finite double always has a canonical form")
}

/// Writes a string (RFC 8785 §3.2.2.2).
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out of the inner loop, the compiler looks at many bytes at a time.
    let any = |bytes: &[u8]| bytes.iter().fold(false, |any, &byte| any | escaped(byte));
    if !bytes.chunks(64).any(any) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut copied = 0;
    for (position, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..position]);
        copied = position + 1;
        if short == 0 {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Writes bytes as a string of padded standard base64, which has nothing to escape.
pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    b64::encode_into(bytes, out);
    out.push(b'"');
}

/// Integers of signed JSON: decimal strings without sign or leading zero, at most 2^64-1. For `#[serde(with = "decimal")]`.
pub mod decimal {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads a decimal string; `None` for a sign, a leading zero, white space, or more than 2^64-1.
    pub fn parse(text: &str) -> Option<u64> {
        let canonical = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        if canonical { text.parse().ok() } else { None }
    }

    /// Writes a decimal string.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads a decimal string.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom("an integer is a decimal string without sign or leading zero, at most 18446744073709551615")
        })
    }
}

#[cfg(test)]
mod tests;
