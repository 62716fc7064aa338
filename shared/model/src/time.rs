//! Points in time, in milliseconds. Nothing here reads a clock: the time is always handed in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expected::Expected;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last instant that can be named: 9999-12-30T22:00:00Z, which has a four-digit year in every time zone.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// The first instant that can be named: 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// The instant `millis` after 1970, held within 1970 and [`Self::MAX`].
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, Self::MAX.0))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time as Python's `datetime.isoformat` writes it in UTC, such as `2025-07-27T10:00:00.123000+00:00`: older versions of it
    /// read no other form.
    pub fn isoformat(self) -> String {
        let text = self.to_string();
        format!("{}000+00:00", text.trim_end_matches('Z'))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant plus `delay`, at most [`Self::MAX`].
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This instant less `delay`, at least 1970.
    #[must_use]
    pub fn minus(self, delay: Duration) -> Self {
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(millis))
    }
}

/// The text of a time: `2026-01-31T08:15:00.250Z`.
struct Written([u8; 24]);

impl Written {
    const PATTERN: [u8; 24] = *b"0000-00-00T00:00:00.000Z";

    /// Writes a time that can be named. Each answer has some, and the library's way by `fmt` takes 900 instructions for one, this 150.
    fn new(at: Timestamp) -> Option<Self> {
        let millis = u32::try_from(at.0.rem_euclid(86_400_000)).ok()?;
        let (year, month, day) = civil(at.0.div_euclid(86_400_000));
        if !(0..=9_999).contains(&year) {
            return None;
        }
        let mut text = Self(Self::PATTERN);
        text.put(0, 4, u32::try_from(year).ok()?);
        text.put(5, 2, month);
        text.put(8, 2, day);
        text.put(11, 2, millis / 3_600_000);
        text.put(14, 2, millis / 60_000 % 60);
        text.put(17, 2, millis / 1_000 % 60);
        text.put(20, 3, millis % 1_000);
        Some(text)
    }

    /// Writes so many digits of a number at a place.
    fn put(&mut self, place: usize, digits: usize, mut number: u32) {
        for digit in self.0[place..place + digits].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Year, month and day of so many days since 1970-01-01, in the proleptic Gregorian calendar: `civil_from_days` of Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", which counts from 0000-03-01 in eras of 400 years.
const fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month as u32, day as u32)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Written::new(*self) {
            Some(text) => f.write_str(text.as_str()),
            // Unreachable for values made by `from_millis`; a stored value beyond it is still shown.
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = || {
            Expected::text(
                "an RFC 3339 time such as 2026-01-31T08:15:00Z, from 1970-01-01T00:00:00Z to 9999-12-30T22:00:00Z",
                text,
            )
        };
        let instant: jiff::Timestamp = text.parse().map_err(|_| expected())?;
        let millis = instant.as_millisecond();
        if !(0..=Self::MAX.0).contains(&millis) {
            return Err(expected());
        }
        Ok(Self(millis))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match Written::new(*self) {
            Some(text) => to.serialize_str(text.as_str()),
            None => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Durations as callers write them: a number of seconds, fractions down to a millisecond.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::expected::Expected;

    /// Takes a number of seconds between `least` and `most`.
    ///
    /// # Errors
    /// If it is not finite or lies outside of the bounds.
    pub fn parse(seconds: f64, least: Duration, most: Duration) -> Result<Duration, Expected> {
        let expected = || {
            let (least, most) = (least.as_secs_f64(), most.as_secs_f64());
            Expected::new(format!("a number of seconds from {least} to {most}"), format!("{seconds}"))
        };
        let duration = Duration::try_from_secs_f64(seconds).map_err(|_| expected())?;
        let duration = Duration::from_millis(u64::try_from(duration.as_millis()).map_err(|_| expected())?);
        if duration < least || duration > most {
            return Err(expected());
        }
        Ok(duration)
    }

    /// Writes a duration as seconds; for `#[serde(with)]`.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    /// Reads a duration from seconds; for `#[serde(with)]`.
    ///
    /// # Errors
    /// If the number is negative, not finite, or more than a thousand years.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let most = Duration::from_secs(1_000 * 366 * 86_400);
        parse(f64::deserialize(from)?, Duration::ZERO, most).map_err(serde::de::Error::custom)
    }
}

/// The same of a duration that may be missing.
pub mod maybe_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a duration as seconds, or null; for `#[serde(with)]`.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::seconds::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a duration from seconds, or null; for `#[serde(with)]`.
    ///
    /// # Errors
    /// As [`super::seconds::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Seconds(#[serde(with = "super::seconds")] Duration);
        Ok(Option::<Seconds>::deserialize(from)?.map(|Seconds(duration)| duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_python_with_six_digits_and_an_offset() {
        let told = |millis| Timestamp::from_millis(millis).isoformat();
        assert_eq!(told(1_753_610_400_123), "2025-07-27T10:00:00.123000+00:00");
        assert_eq!(told(1_753_610_400_000), "2025-07-27T10:00:00.000000+00:00");
    }

    #[test]
    fn a_time_is_written_in_utc_with_milliseconds_and_reads_back() {
        let at = Timestamp::from_millis(1_769_847_300_250);
        assert_eq!(at.to_string(), "2026-01-31T08:15:00.250Z");
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!("2026-01-31T09:15:00.25+01:00".parse(), Ok(at));
    }

    #[test]
    fn times_outside_of_the_calendar_are_refused_or_held() {
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string().parse(), Ok(Timestamp::MAX));
        assert_eq!(Timestamp(i64::MAX).to_string(), format!("{} ms", i64::MAX));
        assert_eq!(Timestamp::from_millis(-5), Timestamp::default());
    }

    #[test]
    fn the_message_about_a_time_names_the_first_and_the_last_that_are_taken() {
        let expected = "9999-12-30T23:00:00Z".parse::<Timestamp>().unwrap_err().expected;
        let (first, last) = expected.split_once("from ").unwrap().1.split_once(" to ").unwrap();
        assert_eq!(first.parse(), Ok(Timestamp::default()));
        assert_eq!(last.parse(), Ok(Timestamp::MAX));
    }

    #[test]
    fn seconds_keep_to_their_bounds() {
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(seconds::parse(0.25, least, most), Ok(Duration::from_millis(250)));
        for bad in [0.0, -1.0, 61.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(seconds::parse(bad, least, most).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_time_is_written_as_the_library_writes_it(millis in 0..=Timestamp::MAX.0) {
            let library = jiff::Timestamp::from_millisecond(millis).unwrap();
            proptest::prop_assert_eq!(Timestamp(millis).to_string(), format!("{library:.3}"));
        }
    }

    #[test]
    fn the_days_around_leap_days_and_turns_of_years_are_written_as_the_library_writes_them() {
        for year in [1970, 1972, 1999, 2000, 2001, 2024, 2100, 2400, 9999] {
            for day in [1, 31, 58, 59, 60, 61, 365] {
                let millis = (civil_days(year) + day - 1) * 86_400_000 + 86_399_999;
                if millis <= Timestamp::MAX.0 {
                    let library = jiff::Timestamp::from_millisecond(millis).unwrap();
                    assert_eq!(Timestamp(millis).to_string(), format!("{library:.3}"));
                }
            }
        }
    }

    fn civil_days(year: i16) -> i64 {
        let first = jiff::civil::date(year, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        first.timestamp().as_second() / 86_400
    }
}
