//! The strict reader behind [`super::parse`]: one pass, recursion bounded by the depth limit.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{
    JsonError, JsonErrorKind, SAFE_INTEGER_MAX, canonical_double, is_signed_name, write_string,
};

/// [`SAFE_INTEGER_MAX`] as a double.
const SAFE_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

/// About the memory of an object's tree node. It has room for eleven members and is split where more come, so it may be
/// filled by [`NODE_MEMBERS_MIN`] only.
const NODE_BYTES: usize = 640;
/// Fewest members of a tree node that is not its object's only one.
const NODE_MEMBERS_MIN: usize = 5;
/// About the memory of a member name besides its own bytes: what an allocator takes at least.
const NAME_BYTES: usize = 32;

/// A fault on its way up: each level it passes adds its name or index, so that success costs nothing. In a box, since
/// every value that is read is returned beside the room for one.
struct Fault(Box<Place>);

struct Place {
    kind: JsonErrorKind,
    offset: usize,
    /// Innermost first.
    path: Vec<String>,
}

impl Fault {
    fn new(kind: JsonErrorKind, offset: usize) -> Self {
        Self(Box::new(Place {
            kind,
            offset,
            path: Vec::new(),
        }))
    }

    fn inside(mut self, segment: &str) -> Self {
        self.0.path.push(segment.to_owned());
        self
    }
}

/// What the parser builds: values that own their text, or values that borrow from it.
pub(super) trait Tree<'a>: Sized {
    /// The members of an object that is being read.
    type Members: Default;

    fn null() -> Self;
    fn boolean(value: bool) -> Self;
    fn number(number: Number) -> Self;
    fn text(text: Cow<'a, str>) -> Self;
    fn list(items: Vec<Self>) -> Self;
    fn object(members: Self::Members) -> Self;

    /// How many members there are.
    fn count(members: &Self::Members) -> usize;
    /// Whether there is one of this name.
    fn has(members: &mut Self::Members, name: &str) -> bool;
    /// Adds a member of a new name.
    fn add(members: &mut Self::Members, name: Cow<'a, str>, value: Self);
    /// Whether the names are known to have come in the order of their bytes.
    fn rise(members: &Self::Members) -> bool;
}

impl<'a> Tree<'a> for Value {
    type Members = Map<String, Value>;

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
        Self::String(text.into_owned())
    }

    fn list(items: Vec<Self>) -> Self {
        Self::Array(items)
    }

    fn object(members: Self::Members) -> Self {
        Self::Object(members)
    }

    fn count(members: &Self::Members) -> usize {
        members.len()
    }

    fn has(members: &mut Self::Members, name: &str) -> bool {
        members.contains_key(name)
    }

    fn add(members: &mut Self::Members, name: Cow<'a, str>, value: Self) {
        members.insert(name.into_owned(), value);
    }

    fn rise(_: &Self::Members) -> bool {
        false
    }
}

/// Reads the one value that `text` is, which may take about `memory_bytes_max` bytes of memory. Says beside it whether the
/// text is known to be signed JSON in canonical form.
pub(super) fn parse<'a, T: Tree<'a>>(
    text: &'a [u8],
    depth_max: usize,
    memory_bytes_max: usize,
) -> Result<(T, bool), JsonError> {
    let mut parser = Parser {
        text,
        offset: 0,
        depth_max,
        memory_left: memory_bytes_max,
        signed: true,
    };
    parser
        .document()
        .map(|value| (value, parser.signed))
        .map_err(|Fault(at)| JsonError::new(at.kind, &at.path, Some((text, at.offset))))
}

struct Parser<'a> {
    text: &'a [u8],
    offset: usize,
    depth_max: usize,
    memory_left: usize,
    /// Whether what was read so far is signed JSON in canonical form: no number, no null, no white space, names of the
    /// allowed form that rise, no escape but where it must be.
    signed: bool,
}

impl<'a> Parser<'a> {
    fn fault(&self, kind: JsonErrorKind) -> Fault {
        Fault::new(kind, self.offset)
    }

    /// The fault of finding something else than `expected`, or the end.
    fn unexpected(&self, expected: &'static str) -> Fault {
        self.fault(if self.offset < self.text.len() {
            JsonErrorKind::Syntax { expected }
        } else {
            JsonErrorKind::UnexpectedEnd { expected }
        })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.offset).copied()
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.offset += 1;
            self.signed = false;
        }
    }

    /// Takes `bytes` of memory from what the text may use.
    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.memory_left.checked_sub(bytes) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => Err(self.fault(JsonErrorKind::TooMuchMemory)),
        }
    }

    /// Takes `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn document<T: Tree<'a>>(&mut self) -> Result<T, Fault> {
        self.skip_white_space();
        let value = self.value(0)?;
        self.skip_white_space();
        if self.offset == self.text.len() {
            Ok(value)
        } else {
            Err(self.fault(JsonErrorKind::TrailingBytes))
        }
    }

    /// The value that starts here, inside `depth` arrays and objects.
    fn value<T: Tree<'a>>(&mut self, depth: usize) -> Result<T, Fault> {
        self.charge(size_of::<Value>())?;
        match self.peek() {
            Some(b'{' | b'[') if depth >= self.depth_max => {
                Err(self.fault(JsonErrorKind::TooDeep {
                    depth_max: self.depth_max,
                }))
            }
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(T::text),
            Some(b'-' | b'0'..=b'9') => {
                self.signed = false;
                self.number().map(T::number)
            }
            Some(b't') => self.word(b"true", T::boolean(true)),
            Some(b'f') => self.word(b"false", T::boolean(false)),
            Some(b'n') => {
                self.signed = false;
                self.word(b"null", T::null())
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn word<T>(&mut self, word: &[u8], value: T) -> Result<T, Fault> {
        if !self.text[self.offset..].starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.offset += word.len();
        Ok(value)
    }

    fn array<T: Tree<'a>>(&mut self, depth: usize) -> Result<T, Fault> {
        self.offset += 1;
        let mut items = Vec::new();
        self.skip_white_space();
        if self.take(b']') {
            return Ok(T::list(items));
        }
        loop {
            self.skip_white_space();
            items.push(
                self.value(depth)
                    .map_err(|fault| fault.inside(&items.len().to_string()))?,
            );
            self.skip_white_space();
            if self.take(b']') {
                return Ok(T::list(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn object<T: Tree<'a>>(&mut self, depth: usize) -> Result<T, Fault> {
        self.offset += 1;
        let mut members = T::Members::default();
        self.skip_white_space();
        if self.take(b'}') {
            return Ok(T::object(members));
        }
        loop {
            if T::count(&members).is_multiple_of(NODE_MEMBERS_MIN) {
                self.charge(NODE_BYTES)?;
            }
            self.charge(NAME_BYTES)?;
            self.skip_white_space();
            self.member::<T>(depth, &mut members)?;
            self.skip_white_space();
            if self.take(b'}') {
                self.signed &= T::rise(&members);
                return Ok(T::object(members));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    fn member<T: Tree<'a>>(&mut self, depth: usize, members: &mut T::Members) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a member name in quotes"));
        }
        let name_offset = self.offset;
        let name = self.string()?;
        if T::has(members, &name) {
            let kind = JsonErrorKind::DuplicateName(name.clone().into_owned());
            return Err(Fault::new(kind, name_offset).inside(&name));
        }
        self.signed = self.signed && is_signed_name(&name);
        self.skip_white_space();
        if !self.take(b':') {
            return Err(self.unexpected("`:`").inside(&name));
        }
        self.skip_white_space();
        match self.value(depth) {
            Ok(value) => {
                T::add(members, name, value);
                Ok(())
            }
            Err(fault) => Err(fault.inside(&name)),
        }
    }

    /// The string that starts here, borrowed where it has no escape. Never allocates more than the text has bytes.
    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let start = self.offset;
        self.offset += 1;
        let mut string = Cow::Borrowed("");
        loop {
            let run_start = self.offset;
            self.offset += plain(&self.text[run_start..]);
            // Checked run by run: quote, backslash and control characters never stand inside a UTF-8 sequence.
            let run = match std::str::from_utf8(&self.text[run_start..self.offset]) {
                Ok(run) => run,
                Err(error) => {
                    self.offset = run_start + error.valid_up_to();
                    return Err(self.fault(JsonErrorKind::InvalidUtf8));
                }
            };
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    if string.is_empty() {
                        // Without an escape, nothing in it needs one.
                        return Ok(Cow::Borrowed(run));
                    }
                    string += run;
                    if self.signed {
                        let mut canonical = Vec::with_capacity(self.offset - start);
                        write_string(&string, &mut canonical);
                        self.signed = canonical == self.text[start..self.offset];
                    }
                    return Ok(string);
                }
                Some(b'\\') => {
                    string += run;
                    let character = self.escape()?;
                    string.to_mut().push(character);
                }
                Some(_) => return Err(self.fault(JsonErrorKind::ControlCharacter)),
                None => return Err(self.unexpected("`\"`")),
            }
        }
    }

    /// The character of the escape whose backslash is here.
    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.offset;
        let character = match self.text.get(start + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return Err(self.fault(JsonErrorKind::BadEscape)),
            None => {
                self.offset = self.text.len();
                return Err(self.unexpected("the rest of the escape"));
            }
        };
        self.offset = start + 2;
        Ok(character)
    }

    /// The character of `\uXXXX`, or of a pair of them.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.code_unit(self.offset)?;
        let mut units = [first, 0];
        let mut used = 1;
        if (0xd800..0xdc00).contains(&first) && self.text[self.offset + 6..].starts_with(b"\\u") {
            units[1] = self.code_unit(self.offset + 6)?;
            used = 2;
        }
        match char::decode_utf16(units[..used].iter().copied()).next() {
            Some(Ok(character)) => {
                self.offset += 6 * used;
                Ok(character)
            }
            _ => Err(self.fault(JsonErrorKind::LoneSurrogate)),
        }
    }

    /// The code unit of the `\uXXXX` at `offset`.
    fn code_unit(&self, offset: usize) -> Result<u16, Fault> {
        let digits = self
            .text
            .get(offset + 2..offset + 6)
            .ok_or_else(|| self.fault(JsonErrorKind::BadEscape))?;
        digits.iter().try_fold(0, |unit, &digit| {
            let value = char::from(digit)
                .to_digit(16)
                .and_then(|value| u16::try_from(value).ok());
            value
                .map(|value| unit << 4 | value)
                .ok_or_else(|| self.fault(JsonErrorKind::BadEscape))
        })
    }

    /// Takes one or more digits.
    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.offset += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.offset;
        let negative = self.take(b'-');
        if self.take(b'0') {
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.unexpected("no digit after a leading zero"));
            }
        } else {
            self.digits()?;
        }
        let integer_end = self.offset;
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let literal =
            std::str::from_utf8(&self.text[start..self.offset]).expect("a number literal is ASCII");
        let is_integer = integer_end == self.offset;
        number_of(literal, is_integer, negative).map_err(|kind| Fault::new(kind, start))
    }
}

/// How many bytes come before the first that ends a string or is not plain in one.
fn plain(text: &[u8]) -> usize {
    let (words, _) = text.as_chunks();
    let mut found = words.iter().map(|word| special(u64::from_le_bytes(*word)));
    let rest = match found.position(|place| place.is_some()) {
        Some(word) => return word * 8 + special(u64::from_le_bytes(words[word])).unwrap_or(0),
        None => words.len() * 8,
    };
    let is_plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    rest + text[rest..].iter().take_while(is_plain).count()
}

/// The place of the first of eight bytes that is a quote, a backslash or below 0x20.
fn special(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    // A byte is below `limit` where subtracting borrows into its top bit. What is borrowed from the next byte can only make
    // a later place look special, so the first one found is right.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & TOPS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let places = below(word, 0x20) | equal(b'"') | equal(b'\\');
    (places != 0).then(|| places.trailing_zeros() as usize / 8)
}

/// The number of a literal that fits the grammar: see the module documentation of [`super`].
fn number_of(literal: &str, is_integer: bool, negative: bool) -> Result<Number, JsonErrorKind> {
    if is_integer
        && let Ok(integer) = literal.parse::<i64>()
        && integer.unsigned_abs() <= SAFE_INTEGER_MAX
    {
        return Ok(Number::from(integer));
    }
    let double: f64 = literal.parse().map_err(|_| JsonErrorKind::NumberOverflow)?;
    let magnitude = double.abs();
    if magnitude.is_infinite() {
        return Err(JsonErrorKind::NumberOverflow);
    }
    if is_integer {
        // Exactly the double's digits, or the digits by which RFC 8785 names the double.
        let digits = literal.strip_prefix('-').unwrap_or(literal);
        let exact = format!("{magnitude:.0}") == digits;
        if !exact && canonical_double(magnitude) != digits.as_bytes() {
            return Err(JsonErrorKind::InexactInteger);
        }
    }
    if magnitude.fract() == 0.0 && magnitude <= SAFE_DOUBLE_MAX {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number within 2^53"
        )]
        let integer = magnitude as i64;
        return Ok(Number::from(if negative { -integer } else { integer }));
    }
    Number::from_f64(double).ok_or(JsonErrorKind::NumberOverflow)
}
