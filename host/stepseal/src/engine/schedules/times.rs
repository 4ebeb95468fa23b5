//! The times of a cron expression in a time zone.

use std::sync::LazyLock;

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, Zoned};
use stepseal_receipts::time::Timestamp;

/// Characters of an expression, and of a time zone's name.
const CRON_CHARS_MAX: usize = 128;
const ZONE_CHARS_MAX: usize = 64;

/// When a schedule is due.
#[derive(Debug)]
pub(super) struct Times {
    cron: Cron,
    zone: TimeZone,
}

impl Times {
    /// Where it cannot be read, every member of the document that is wrong, and why.
    pub(super) fn new(cron: &str, zone: &str) -> Result<Self, Vec<(&'static str, String)>> {
        match (read_cron(cron), read_zone(zone)) {
            (Ok(cron), Ok(zone)) => Ok(Self { cron, zone }),
            (cron, zone) => {
                let cron = cron.err().map(|why| ("/cron", why));
                let zone = zone.err().map(|why| ("/time_zone", why));
                Err(cron.into_iter().chain(zone).collect())
            }
        }
    }

    /// The first time after this one.
    pub(super) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.zoned(time)?, false);
        stamp(&next.ok()?)
    }

    /// The last time up to this one.
    pub(super) fn last(&self, time: Timestamp) -> Option<Timestamp> {
        let last = self.cron.find_previous_occurrence(&self.zoned(time)?, true);
        stamp(&last.ok()?)
    }

    fn zoned(&self, time: Timestamp) -> Option<Zoned> {
        let ms = i64::try_from(time.unix_ms()).ok()?;
        let instant = Instant::from_millisecond(ms).ok()?;
        Some(instant.to_zoned(self.zone.clone()))
    }
}

fn read_cron(cron: &str) -> Result<Cron, String> {
    if cron.len() > CRON_CHARS_MAX || !cron.is_ascii() {
        return Err(format!(
            "a cron expression has at most {CRON_CHARS_MAX} characters, all of them ASCII"
        ));
    }
    CronParser::new().parse(cron).map_err(|error| {
        format!(
            "{error} Write minute, hour, day of month, month and day of week, with the second before them where it matters, such as \"0 3 * * *\""
        )
    })
}

/// The zones in the program: those of the machine may differ from host to host.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

fn read_zone(zone: &str) -> Result<TimeZone, String> {
    let known = (zone.len() <= ZONE_CHARS_MAX).then(|| ZONES.get(zone).ok());
    known.flatten().ok_or_else(|| {
        "there is no such time zone: write its IANA name, such as Europe/Berlin or UTC".to_owned()
    })
}

fn stamp(time: &Zoned) -> Option<Timestamp> {
    let ms = u64::try_from(time.timestamp().as_millisecond()).ok()?;
    Timestamp::from_unix_ms(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: Instant = text.parse().unwrap();
        Timestamp::from_unix_ms(instant.as_millisecond().try_into().unwrap()).unwrap()
    }

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let times = Times::new(cron, zone).unwrap();
        times
            .after(at(after))
            .map_or("never".to_owned(), |next| next.to_string())
    }

    #[test]
    fn a_schedule_is_due_at_the_hours_of_its_time_zone() {
        for (cron, zone, after, due) in [
            (
                "0 3 * * *",
                "UTC",
                "2026-11-22T03:00:00Z",
                "2026-11-23T03:00:00.000Z",
            ),
            (
                "0 3 * * *",
                "UTC",
                "2026-11-22T02:59:59.999Z",
                "2026-11-22T03:00:00.000Z",
            ),
            (
                "0 3 * * *",
                "Europe/Berlin",
                "2026-11-22T00:00:00Z",
                "2026-11-22T02:00:00.000Z",
            ),
            (
                "0 3 * * *",
                "Europe/Berlin",
                "2026-07-22T00:00:00Z",
                "2026-07-22T01:00:00.000Z",
            ),
            (
                "*/10 * * * * *",
                "UTC",
                "2026-11-22T03:00:00.001Z",
                "2026-11-22T03:00:10.000Z",
            ),
            (
                "@hourly",
                "Asia/Kolkata",
                "2026-11-22T03:00:00Z",
                "2026-11-22T03:30:00.000Z",
            ),
            (
                "0 0 * * MON#1",
                "UTC",
                "2026-11-22T00:00:00Z",
                "2026-12-07T00:00:00.000Z",
            ),
            // The clock of Berlin goes from two to three; what was due in between is due when that is over.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-29T01:00:00.000Z",
            ),
            // It goes from three back to two: what is due once a day is due once.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00.000Z",
            ),
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00.000Z",
            ),
            ("0 0 30 2 *", "UTC", "2026-11-22T00:00:00Z", "never"),
        ] {
            assert_eq!(next(cron, zone, after), due, "{cron} in {zone}");
        }
    }

    #[test]
    fn of_times_that_were_missed_the_last_is_found() {
        for (cron, zone, now, last) in [
            (
                "0 3 * * *",
                "UTC",
                "2026-11-22T03:00:00Z",
                "2026-11-22T03:00:00.000Z",
            ),
            (
                "0 3 * * *",
                "UTC",
                "2026-11-22T02:59:59.999Z",
                "2026-11-21T03:00:00.000Z",
            ),
            (
                "* * * * * *",
                "UTC",
                "2026-11-22T02:59:59.999Z",
                "2026-11-22T02:59:59.000Z",
            ),
            (
                "0 3 1 1 *",
                "Europe/Berlin",
                "2026-11-22T00:00:00Z",
                "2026-01-01T02:00:00.000Z",
            ),
        ] {
            let found = Times::new(cron, zone).unwrap().last(at(now)).unwrap();
            assert_eq!(found.to_string(), last, "{cron} in {zone}");
        }
    }

    #[test]
    fn what_is_no_time_says_where_and_why() {
        for (cron, zone, pointer) in [
            ("", "UTC", "/cron"),
            ("now", "UTC", "/cron"),
            ("60 * * * *", "UTC", "/cron"),
            ("* * * *", "UTC", "/cron"),
            ("0 3 * * * * * *", "UTC", "/cron"),
            ("0 3 * * \u{2606}", "UTC", "/cron"),
            (&"*/1,".repeat(100), "UTC", "/cron"),
            ("0 3 * * *", "", "/time_zone"),
            ("0 3 * * *", "Mars/Olympus", "/time_zone"),
            ("0 3 * * *", "../../etc/passwd", "/time_zone"),
            ("0 3 * * *", &"a".repeat(1000), "/time_zone"),
        ] {
            let faults = Times::new(cron, zone).unwrap_err();
            let [(found, why)] = &faults[..] else {
                panic!("{cron:?} {zone:?}: {faults:?}");
            };
            assert_eq!(*found, pointer, "{cron:?} {zone:?}");
            assert!(why.len() > 20, "{why}");
        }
    }
}
