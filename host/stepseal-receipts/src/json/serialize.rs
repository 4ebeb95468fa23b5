//! From a value of any type to canonical JSON (RFC 8785) in one go: as a tree of values first it took several times as long.

use std::fmt;
use std::ops::Range;

use serde::ser::{self, Serialize};

use super::{canonical_double, compare_names, write_number, write_string};

/// The canonical form of `value`, the same as that of the tree `serde_json::to_value` makes of it.
///
/// # Errors
/// Where the type has something that JSON has not: a number that is not finite, or a name that is no text; and what the type itself says.
pub fn canonical_of<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SerializeError> {
    let mut out = Vec::with_capacity(1024);
    value.serialize(Writer { out: &mut out })?;
    Ok(out)
}

/// Why a value has no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be written as JSON: {0}")]
pub struct SerializeError(String);

impl ser::Error for SerializeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

type Result<T, E = SerializeError> = std::result::Result<T, E>;

/// Writes one value.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    fn list(self) -> List<'o> {
        self.out.push(b'[');
        List {
            out: self.out,
            is_first: true,
            end: b"]",
        }
    }

    fn object(self) -> Object<'o> {
        self.out.push(b'{');
        Object {
            start: self.out.len(),
            out: self.out,
            members: Vec::new(),
            rises: true,
            end: b"}",
        }
    }

    /// `{"variant":`, which the value of the variant and a brace are to follow.
    fn variant(self, variant: &str) -> Self {
        self.out.push(b'{');
        write_string(variant, self.out);
        self.out.push(b':');
        self
    }

    fn double(self, value: f64) -> Result<()> {
        if !value.is_finite() {
            return Err(ser::Error::custom(format!("{value} is no number of JSON")));
        }
        self.out.extend_from_slice(&canonical_double(value));
        Ok(())
    }
}

/// Small whole numbers, all of which a double holds.
macro_rules! small {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(self, value: $type) -> Result<()> {
            self.serialize_i64(value.into())
        }
    )*};
}

impl<'o> ser::Serializer for Writer<'o> {
    type Ok = ();
    type Error = SerializeError;
    type SerializeSeq = List<'o>;
    type SerializeTuple = List<'o>;
    type SerializeTupleStruct = List<'o>;
    type SerializeTupleVariant = List<'o>;
    type SerializeMap = Object<'o>;
    type SerializeStruct = Object<'o>;
    type SerializeStructVariant = Object<'o>;

    small!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32);

    fn serialize_i64(self, value: i64) -> Result<()> {
        write_number(&value.into(), self.out);
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        write_number(&value.into(), self.out);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<()> {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(word);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.double(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.double(value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        write_string(value, self.out);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let Writer { out } = self.variant(variant);
        value.serialize(Writer { out })?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'o>> {
        Ok(self.list())
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'o>> {
        Ok(self.list())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'o>> {
        Ok(self.list())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'o>> {
        let list = self.variant(variant).list();
        Ok(List { end: b"]}", ..list })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'o>> {
        Ok(self.object())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'o>> {
        Ok(self.object())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'o>> {
        let object = self.variant(variant).object();
        Ok(Object {
            end: b"}}",
            ..object
        })
    }
}

/// Writes an array.
struct List<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
    end: &'static [u8],
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        value.serialize(Writer { out: self.out })
    }

    fn finish(self) {
        self.out.extend_from_slice(self.end);
    }
}

/// The ways `serde` has to a list.
macro_rules! list {
    ($($trait:ident, $method:ident;)*) => {$(
        impl ser::$trait for List<'_> {
            type Ok = ();
            type Error = SerializeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }

            fn end(self) -> Result<()> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

list! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

/// Writes an object. Members are written as they come, and put in order at the end where they did not come so.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// Where the first member begins.
    start: usize,
    /// Names, and where each member is.
    members: Vec<(Name, Range<usize>)>,
    rises: bool,
    end: &'static [u8],
}

/// The name of a member.
enum Name {
    Fixed(&'static str),
    Made(String),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl Object<'_> {
    fn name(&mut self, name: Name) {
        if let Some((before, _)) = self.members.last() {
            self.rises &= compare_names(before.text(), name.text()).is_lt();
            self.out.push(b',');
        }
        let start = self.out.len();
        write_string(name.text(), self.out);
        self.out.push(b':');
        self.members.push((name, start..start));
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(Writer { out: self.out })?;
        if let Some((_, place)) = self.members.last_mut() {
            place.end = self.out.len();
        }
        Ok(())
    }

    fn finish(mut self) {
        if !self.rises {
            self.members
                .sort_by(|(a, _), (b, _)| compare_names(a.text(), b.text()));
            let mut sorted = Vec::with_capacity(self.out.len() - self.start);
            for (_, place) in &self.members {
                if !sorted.is_empty() {
                    sorted.push(b',');
                }
                sorted.extend_from_slice(&self.out[place.clone()]);
            }
            self.out.truncate(self.start);
            self.out.extend_from_slice(&sorted);
        }
        self.out.extend_from_slice(self.end);
    }
}

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = SerializeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        // A name is a text; what else a key can be has no name in JSON.
        match serde_json::to_value(key) {
            Ok(serde_json::Value::String(name)) => {
                self.name(Name::Made(name));
                Ok(())
            }
            _ => Err(ser::Error::custom("the name of a member is no text")),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = SerializeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        self.name(Name::Fixed(name));
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Object<'_> {
    type Ok = ();
    type Error = SerializeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        self.name(Name::Fixed(name));
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::super::canonical;
    use super::super::tests::values;
    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Nothing,
        One(u8),
        Two(i64, f32),
        Named { zebra: bool, ape: Option<()> },
    }

    #[derive(Serialize)]
    struct Everything<'a> {
        z: &'a Value,
        texts: HashMap<&'a str, char>,
        shapes: [Shape; 4],
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<u8>,
        large: (u64, i64, u64),
        a: f64,
        unit: (),
    }

    #[test]
    fn every_kind_of_value_is_written_as_its_tree_would_be() {
        let z = json!({"b": [1, null, -0.5], "a\u{10000}": "\u{1}\"", "a\u{e000}": {}});
        let value = Everything {
            z: &z,
            texts: HashMap::from([("é", 'é'), ("e", '"'), ("\n", '\\')]),
            shapes: [
                Shape::Nothing,
                Shape::One(7),
                Shape::Two(-1, 0.5),
                Shape::Named {
                    zebra: true,
                    ape: None,
                },
            ],
            absent: None,
            large: (u64::MAX, i64::MIN, 1 << 53),
            a: 1e21,
            unit: (),
        };
        let tree = serde_json::to_value(&value).unwrap();
        let written = String::from_utf8(canonical_of(&value).unwrap()).unwrap();
        assert_eq!(written, String::from_utf8(canonical(&tree)).unwrap());
    }

    #[test]
    fn what_json_has_not_is_refused() {
        assert!(canonical_of(&f64::NAN).is_err());
        assert!(canonical_of(&[f32::INFINITY]).is_err());
        assert!(canonical_of(&HashMap::from([((1, 2), 3)])).is_err());
    }

    proptest! {
        #[test]
        fn every_tree_is_written_as_itself(value in values()) {
            prop_assert_eq!(canonical_of(&value).unwrap(), canonical(&value));
        }
    }
}
