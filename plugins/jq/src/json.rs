//! JSON values to jq's values and back. jq has more values than JSON: those are errors, never silently changed.

use jaq_json::{Map, Num, Rc, Val};
use serde_json::{Number, Value};

pub(crate) fn to_jq(value: Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(value),
        Value::Number(number) => Val::Num(number_to_jq(&number)),
        Value::String(text) => Val::utf8_str(text.into_bytes()),
        Value::Array(items) => Val::Arr(Rc::new(items.into_iter().map(to_jq).collect())),
        Value::Object(members) => Val::obj(
            members
                .into_iter()
                .map(|(name, value)| (Val::utf8_str(name.into_bytes()), to_jq(value)))
                .collect::<Map>(),
        ),
    }
}

fn number_to_jq(number: &Number) -> Num {
    if let Some(integer) = number.as_i64() {
        Num::from_integral(integer)
    } else if let Some(integer) = number.as_u64() {
        Num::from_integral(integer)
    } else {
        // Without serde_json's arbitrary precision every other number is a double.
        Num::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

pub(crate) fn from_jq(value: Val) -> Result<Value, String> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(value) => Value::Bool(value),
        Val::Num(number) => Value::Number(number_from_jq(&number)?),
        Val::TStr(text) => Value::String(text_from_jq(text.to_vec())?),
        Val::BStr(_) => return Err("a byte string is not JSON".into()),
        Val::Arr(items) => {
            let items = Rc::unwrap_or_clone(items);
            Value::Array(items.into_iter().map(from_jq).collect::<Result<_, _>>()?)
        }
        Val::Obj(members) => {
            let members = Rc::unwrap_or_clone(members).into_iter();
            let members = members.map(|(name, value)| match name {
                Val::TStr(name) => Ok((text_from_jq(name.to_vec())?, from_jq(value)?)),
                name => Err(format!(
                    "{name} is the name of an object's member, which JSON wants to be a string"
                )),
            });
            Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

fn text_from_jq(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "a string is not UTF-8".into())
}

fn number_from_jq(number: &Num) -> Result<Number, String> {
    let text = number.to_string();
    if let Num::Int(_) | Num::BigInt(_) = number {
        return text.parse::<i64>().ok().filter(|integer| is_exact(*integer)).map(Number::from).ok_or_else(|| {
            format!("{} is an integer that a double cannot hold exactly: give it as a string (tostring)", crate::shown(&text))
        });
    }
    let float: f64 = match number {
        Num::Float(float) => *float,
        _ => text
            .parse()
            .map_err(|_| format!("{} is not a number", crate::shown(&text)))?,
    };
    Number::from_f64(float).ok_or_else(|| format!("{text} is not a JSON number"))
}

/// True if a double holds the integer exactly, which RFC 8785 needs.
fn is_exact(integer: i64) -> bool {
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    let magnitude = integer.unsigned_abs();
    magnitude <= EXACT_MAX
        || magnitude.trailing_zeros() + f64::MANTISSA_DIGITS
            >= u64::BITS - magnitude.leading_zeros()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_json_value_comes_back_as_it_was() {
        let value = json!({
            "null": null, "yes": true, "text": "äöü \u{1F600} \u{0}", "list": [1, -2, [], {}],
            "numbers": [0, 0.5, -1.25e-9, 9_007_199_254_740_992_u64, 1e300, i64::MIN]
        });
        assert_eq!(from_jq(to_jq(value.clone())), Ok(value));
    }

    #[test]
    fn integers_a_double_cannot_hold_are_refused() {
        for (integer, exact) in [
            (9_007_199_254_740_992, true),
            (9_007_199_254_740_993, false),
            (9_007_199_254_740_994, true),
            (-9_007_199_254_740_993, false),
            (i64::MIN, true),
            (i64::MAX, false),
        ] {
            assert_eq!(from_jq(to_jq(json!(integer))).is_ok(), exact, "{integer}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(from_jq(Val::Num(Num::Float(f64::NAN))).is_err());
        assert!(from_jq(Val::Num(Num::Float(f64::INFINITY))).is_err());
        assert!(from_jq(Val::byte_str(vec![1])).is_err());
        assert!(from_jq(Val::utf8_str(vec![0xff])).is_err());
        assert!(from_jq(Val::obj([(Val::Null, Val::Null)].into_iter().collect())).is_err());
    }
}
