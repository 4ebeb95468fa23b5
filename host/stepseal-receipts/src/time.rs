//! Points in time as records write them: RFC 3339 in UTC with exactly three digits of fraction.
//!
//! There is no clock here. A time in a record is a claim of the host's clock, not proof.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `9999-12-31T23:59:59.999Z`, the last time that the four digits of the year can say.
pub const UNIX_MS_MAX: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 86_400_000;

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `ms` milliseconds after the Unix epoch; an error after the year 9999.
    pub const fn from_unix_ms(ms: u64) -> Result<Self, TimestampError> {
        if ms > UNIX_MS_MAX {
            Err(TimestampError::OutOfRange)
        } else {
            Ok(Self(ms))
        }
    }

    /// Milliseconds since the Unix epoch, at most [`UNIX_MS_MAX`].
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Its one spelling. Without the machinery of `fmt`, since every record that ran has two.
    pub(crate) fn text(self) -> [u8; 24] {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut number = |places: Range<usize>, mut value: u64| {
            for digit in text[places].iter_mut().rev() {
                *digit += u8::try_from(value % 10).expect("a digit");
                value /= 10;
            }
        };
        let (year, month, day) = civil_from_days(self.0 / DAY_MS);
        let ms = self.0 % DAY_MS;
        number(0..4, year);
        number(5..7, month);
        number(8..10, day);
        number(11..13, ms / 3_600_000);
        number(14..16, ms / 60_000 % 60);
        number(17..19, ms / 1_000 % 60);
        number(20..23, ms % 1_000);
        text
    }
}

/// Why something is not a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Outside the years 1970 to 9999.
    #[error("a time lies between 1970-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z")]
    OutOfRange,
    /// Not of the one accepted shape.
    #[error("a time is written YYYY-MM-DDTHH:MM:SS.sssZ")]
    Shape,
    /// The right shape, but no such day or no such time of day.
    #[error("there is no such date or time of day")]
    NoSuchTime,
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian calendar).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Counting years from March puts the leap day at the end of the year, so that month lengths follow one formula.
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = shifted / 146_097; // 400 years
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`] for years from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    146_097 * era + day_of_era - 719_468
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).expect("digits and marks are ASCII"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: &[u8; 24] = text
            .as_bytes()
            .try_into()
            .map_err(|_| TimestampError::Shape)?;
        for (position, mark) in [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (23, b'Z'),
        ] {
            if bytes[position] != mark {
                return Err(TimestampError::Shape);
            }
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().try_fold(0, |value: u64, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| 10 * value + u64::from(digit - b'0'))
                    .ok_or(TimestampError::Shape)
            })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second, ms) = (
            number(11, 13)?,
            number(14, 16)?,
            number(17, 19)?,
            number(20, 23)?,
        );
        if year < 1970 {
            return Err(TimestampError::OutOfRange);
        }
        let day_exists =
            (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        // RFC 3339 lets a leap second be written as :60; Unix time has no such second, so it is refused.
        if !day_exists || hour > 23 || minute > 59 || second > 59 {
            return Err(TimestampError::NoSuchTime);
        }
        let seconds = 3_600 * hour + 60 * minute + second;
        Self::from_unix_ms(DAY_MS * days_from_civil(year, month, day) + 1_000 * seconds + ms)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_234_567_890_123, "2009-02-13T23:31:30.123Z"),
            (UNIX_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let time = Timestamp::from_unix_ms(ms).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        assert_eq!(
            Timestamp::from_unix_ms(UNIX_MS_MAX + 1),
            Err(TimestampError::OutOfRange)
        );
        for (text, error) in [
            ("1969-12-31T23:59:59.999Z", TimestampError::OutOfRange),
            ("2023-02-29T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2100-02-29T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2024-13-01T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2024-04-31T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2024-00-10T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2024-01-00T00:00:00.000Z", TimestampError::NoSuchTime),
            ("2016-12-31T23:59:60.000Z", TimestampError::NoSuchTime),
            ("2024-01-01T24:00:00.000Z", TimestampError::NoSuchTime),
            ("2024-01-01T00:00:00Z", TimestampError::Shape),
            ("2024-01-01T00:00:00.0000Z", TimestampError::Shape),
            ("2024-01-01t00:00:00.000Z", TimestampError::Shape),
            ("2024-01-01T00:00:00.000z", TimestampError::Shape),
            ("2024-01-01T00:00:00,000Z", TimestampError::Shape),
            ("+024-01-01T00:00:00.000Z", TimestampError::Shape),
            ("2024-01-01T00:00:00.0é", TimestampError::Shape),
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text_and_texts_sort_like_times(a in 0..=UNIX_MS_MAX, b in 0..=UNIX_MS_MAX) {
            let (a, b) = (Timestamp::from_unix_ms(a).unwrap(), Timestamp::from_unix_ms(b).unwrap());
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
