//! Sums of money in JSON, the same for the plugins that move them and the policies that judge them.
//!
//! The convention: a step that spends has the members `amount`, a decimal number in a string such as `"12.50"`, and
//! `currency`, an ISO 4217 code such as `"USD"`, in its input. No binary floating point anywhere: inside, a sum is
//! an integer number of the currency's minor unit (cents).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Most digits an amount may have, all together: a sum of billions of them still fits an `i128`.
pub const DIGITS_MAX: usize = 18;
/// Most digits after the point. ISO 4217 knows at most four.
pub const DECIMALS_MAX: usize = 6;

/// An amount that is not negative, as written: `"0"`, `"12.50"`. Compares by value: `"1.5"` equals `"1.50"`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal {
    /// The digits without the point.
    digits: i128,
    /// How many of the digits are after the point.
    decimals: u32,
}

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDecimal;

impl fmt::Display for NotDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an amount is a decimal number in a string, such as \"12.50\": no sign, no exponent, no leading zeros, \
             at most {DIGITS_MAX} digits and {DECIMALS_MAX} after the point"
        )
    }
}

impl std::error::Error for NotDecimal {}

impl Decimal {
    /// True for `"0"`, `"0.00"`.
    pub fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// The amount in the currency's minor unit, or `None` where it has more decimals than the currency.
    pub fn minor_units(self, currency: Currency) -> Option<i128> {
        let missing = currency.decimals().checked_sub(self.decimals)?;
        Some(self.digits * 10_i128.pow(missing))
    }

    /// The digits, as if all amounts were written with [`DECIMALS_MAX`] decimals. Cannot overflow: 24 digits.
    fn aligned(self) -> i128 {
        self.digits
            * 10_i128.pow(u32::try_from(DECIMALS_MAX).expect("a small number") - self.decimals)
    }
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Decimal, NotDecimal> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(NotDecimal),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !digits_only(whole) || !digits_only(fraction) {
            return Err(NotDecimal);
        }
        if whole.len() + fraction.len() > DIGITS_MAX || fraction.len() > DECIMALS_MAX {
            return Err(NotDecimal);
        }
        let digits = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| NotDecimal)?;
        let decimals = u32::try_from(fraction.len()).map_err(|_| NotDecimal)?;
        Ok(Decimal { digits, decimals })
    }
}

impl TryFrom<String> for Decimal {
    type Error = NotDecimal;

    fn try_from(text: String) -> Result<Decimal, NotDecimal> {
        text.parse()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_point(self.digits, self.decimals))
    }
}

impl From<Decimal> for String {
    fn from(amount: Decimal) -> String {
        amount.to_string()
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        self.aligned().cmp(&other.aligned())
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?$",
            "examples": ["12.50"]
        })
    }
}

/// An ISO 4217 code: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Why a text is no currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCurrency;

impl fmt::Display for NotCurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a currency is an ISO 4217 code of three capital letters, such as \"USD\"")
    }
}

impl std::error::Error for NotCurrency {}

impl Currency {
    /// The code.
    pub fn code(&self) -> &str {
        str::from_utf8(&self.0).expect("three capital letters, checked when it was made")
    }

    /// How many decimals the currency has: the exponent of ISO 4217, 2 for codes it gives none for.
    pub fn decimals(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
        }
    }

    /// A number of minor units as people write it, with a sign if it is negative: `-1250` is `-12.50`.
    pub fn written(self, minor_units: i128) -> String {
        with_point(minor_units, self.decimals())
    }
}

impl FromStr for Currency {
    type Err = NotCurrency;

    fn from_str(text: &str) -> Result<Currency, NotCurrency> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| NotCurrency)?;
        if code.iter().all(u8::is_ascii_uppercase) {
            Ok(Currency(code))
        } else {
            Err(NotCurrency)
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = NotCurrency;

    fn try_from(text: String) -> Result<Currency, NotCurrency> {
        text.parse()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().into()
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$", "examples": ["USD"] })
    }
}

fn with_point(digits: i128, decimals: u32) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let digits = digits.unsigned_abs();
    if decimals == 0 {
        return format!("{sign}{digits}");
    }
    let unit = 10_u128.pow(decimals);
    let width = usize::try_from(decimals).expect("at most six");
    format!("{sign}{}.{:0width$}", digits / unit, digits % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn amounts_come_back_as_they_were_written() {
        for text in [
            "0",
            "0.00",
            "0.05",
            "12.50",
            "7",
            "999999999999999999",
            "123456789012.345678",
        ] {
            assert_eq!(decimal(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_plain_decimal_number_is_refused() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "01", "00", "1e3", "1,5", "1.2.3", " 1", "1 ", "١",
            "0x1", "1_000", "NaN",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(NotDecimal), "{text:?}");
        }
        assert_eq!(
            "1000000000000000000".parse::<Decimal>(),
            Err(NotDecimal),
            "19 digits"
        );
        assert_eq!(
            "0.1234567".parse::<Decimal>(),
            Err(NotDecimal),
            "7 decimals"
        );
    }

    #[test]
    fn amounts_compare_by_value_without_rounding() {
        assert_eq!(decimal("1.5"), decimal("1.50"));
        assert!(decimal("100.000001") > decimal("100"));
        assert!(decimal("99.99") < decimal("100"));
        assert!(
            decimal("999999999999999999") > decimal("999999999999999998"),
            "a double could not tell these apart"
        );
    }

    #[test]
    fn minor_units_follow_the_currency() {
        assert_eq!(decimal("12.5").minor_units(currency("USD")), Some(1250));
        assert_eq!(decimal("12").minor_units(currency("JPY")), Some(12));
        assert_eq!(decimal("1.234").minor_units(currency("KWD")), Some(1234));
        assert_eq!(decimal("12.505").minor_units(currency("USD")), None);
        assert_eq!(decimal("12.0").minor_units(currency("JPY")), None);
        assert_eq!(currency("USD").written(-5), "-0.05");
        assert_eq!(currency("JPY").written(-5), "-5");
        assert_eq!(currency("CLF").written(12), "0.0012");
    }

    #[test]
    fn currencies_are_three_capital_letters() {
        for text in ["", "US", "usd", "USDT", "U$D", "ÄÖ"] {
            assert_eq!(text.parse::<Currency>(), Err(NotCurrency), "{text:?}");
        }
    }

    #[test]
    fn the_schema_and_the_decoder_agree() {
        let schema = jsonschema::validator_for(schemars::schema_for!(Decimal).as_value()).unwrap();
        for text in [
            "0",
            "12.50",
            "999999999999999999",
            "1.",
            "-1",
            "01",
            "0.1234567",
            "1000000000000000000",
            "x",
        ] {
            assert_eq!(
                schema.is_valid(&text.into()),
                text.parse::<Decimal>().is_ok(),
                "{text:?}"
            );
        }
    }
}
