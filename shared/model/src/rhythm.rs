//! When something recurs: by a cron expression in a time zone, or every so long. Pure calendar: the time is handed in, and the
//! zones' rules are those that this version was built with, so that every process reckons the same.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expected::Expected;
use crate::time::{Timestamp, seconds};

/// The rules of all time zones, as this version was built with them.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone's name, such as `Europe/Berlin`.
    pub fn as_str(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day of a time in the zone, as `2026-01-31`.
    pub fn date(&self, at: Timestamp) -> String {
        self.zoned(at).map_or_else(String::new, |zoned| zoned.date().to_string())
    }

    fn zoned(&self, at: Timestamp) -> Option<Zoned> {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
        Some(instant.to_zoned(self.0.clone()))
    }

    /// When a time of the clocks comes: the first instant at which they show it, or a later one because they skip it. A later time comes
    /// later, or at the same instant.
    fn comes(&self, shown: DateTime) -> Option<Timestamp> {
        let at = match self.0.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(shown).ok()?
            }
            // As clocks go after the gap, what it skips lies before its end.
            AmbiguousOffset::Gap { after, .. } => {
                self.0.following(after.to_timestamp(shown).ok()?).next()?.timestamp()
            }
        };
        instant(at)
    }

    /// The first time of the clocks that comes at a second or after it: all that is less has come before.
    fn not_yet(&self, second: i64) -> Option<DateTime> {
        // By the clocks as they go up to the second: if they change at it, what they skip comes from now on, and what they show again
        // has come.
        let shown = |second: i64| {
            let before = jiff::Timestamp::from_second(second - 1).ok()?;
            Some(self.0.to_offset(before).to_datetime(jiff::Timestamp::from_second(second).ok()?))
        };
        let now = shown(second)?;
        // If they were set back, they show for a while what has come already.
        let change = self.0.preceding(jiff::Timestamp::from_second(second).ok()?).next();
        let once = change.and_then(|change| shown(change.timestamp().as_second()));
        Some(once.map_or(now, |once| once.max(now)))
    }
}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for Zone {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        ZONES
            .get(text)
            .map(Self)
            .map_err(|_| Expected::text("an IANA time zone such as Europe/Berlin or UTC", text))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A cron expression: five fields, six with seconds before them, or a name such as `@daily`.
#[derive(Clone)]
pub struct Cron {
    text: Box<str>,
    read: Box<croner::Cron>,
    /// Whether it names all 24 hours.
    hourly: bool,
}

impl Cron {
    /// The most bytes of an expression.
    pub const MOST_BYTES: usize = 256;

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Cron {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected = |why: String| {
            Expected::text(
                format!(
                    "a cron expression such as 30 3 * * MON-FRI, with seconds before it if need be, or @daily{why}"
                ),
                text,
            )
        };
        if text.len() > Self::MOST_BYTES {
            return Err(expected(format!(", of at most {} bytes", Self::MOST_BYTES)));
        }
        // The other name of the same.
        let known = if text.trim().eq_ignore_ascii_case("@midnight") { "@daily" } else { text };
        let read: croner::Cron = known.parse().map_err(|error| expected(format!(" ({error})")))?;
        let hourly = read.pattern.hours.values().len() == 24;
        Ok(Self { text: text.into(), read: Box::new(read), hourly })
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// When something recurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    /// At the times that a cron expression names, by the clocks of a time zone.
    ///
    /// When clocks are set forward, a named time that is skipped comes at the first instant after the gap. When they are set back, a
    /// named time that comes twice counts the first time only. An expression that names all 24 hours goes on evenly through both.
    Cron {
        /// The expression.
        cron: Cron,
        /// The zone.
        zone: Zone,
    },
    /// Every so long, counted from an anchor.
    Every(#[serde(with = "seconds")] Duration),
}

impl Rhythm {
    /// The first time after `after`; none if there is none. `anchor` is what intervals are counted from.
    pub fn next(&self, after: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } if cron.hourly => {
                let next = cron.read.find_next_occurrence(&zone.zoned(after)?, false).ok()?;
                instant(next.timestamp())
            }
            // Looked for among the times of a clock that nobody sets: each time that is named is there once.
            Self::Cron { cron, zone } => {
                let from = zone.not_yet(after.as_millis().div_euclid(1_000) + 1)?;
                zone.comes(cron.read.find_next_occurrence(&from, true).ok()?)
            }
            Self::Every(span) => {
                let span = positive(*span)?;
                let steps = (after.as_millis() - anchor.as_millis()).div_euclid(span) + 1;
                at_step(anchor, span, steps.max(0))
            }
        }
    }

    /// The last time before `before`; none if there is none.
    pub fn previous(&self, before: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { cron, zone } => {
                // Expressions know whole seconds: one that has begun lies before.
                let second = (before.as_millis() + 999).div_euclid(1_000);
                if cron.hourly {
                    let start = zone.zoned(Timestamp::from_millis(second * 1_000))?;
                    instant(cron.read.find_previous_occurrence(&start, false).ok()?.timestamp())
                } else {
                    zone.comes(cron.read.find_previous_occurrence(&zone.not_yet(second)?, false).ok()?)
                }
            }
            Self::Every(span) => {
                let span = positive(*span)?;
                let steps = (before.as_millis() - anchor.as_millis() - 1).div_euclid(span);
                if steps < 0 { None } else { at_step(anchor, span, steps) }
            }
        }
    }

    /// The zone by whose clocks its days are told.
    pub fn zone(&self) -> Zone {
        match self {
            Self::Cron { zone, .. } => zone.clone(),
            Self::Every(_) => Zone::UTC,
        }
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron { cron, zone } => write!(f, "{cron} ({zone})"),
            Self::Every(span) => write!(f, "every {} s", span.as_secs_f64()),
        }
    }
}

fn instant(at: jiff::Timestamp) -> Option<Timestamp> {
    let millis = at.as_millisecond();
    (0..=Timestamp::MAX.as_millis()).contains(&millis).then(|| Timestamp::from_millis(millis))
}

/// An interval in milliseconds.
fn positive(span: Duration) -> Option<i64> {
    i64::try_from(span.as_millis()).ok().filter(|millis| *millis > 0)
}

fn at_step(anchor: Timestamp, span: i64, steps: i64) -> Option<Timestamp> {
    let millis = span.checked_mul(steps)?.checked_add(anchor.as_millis())?;
    (millis <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(millis))
}
