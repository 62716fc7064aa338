//! Times as people read them: in the zone of this machine (TZ, or /etc/localtime) or in UTC, and how long ago they are.
//! `-o json` has them in UTC.

use baton_model::{Expected, Timestamp};
use clap::Args;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::text;

/// How output is shown that tells how long ago things were, and no times.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Paged {
    /// Write all at once, also what is longer than the terminal is high; else PAGER shows that page by page, or `less`.
    #[arg(long)]
    no_pager: bool,
}

impl Paged {
    /// Begins output that a pager may show; the answer is how its ages are written.
    pub(crate) fn begin(self, context: &Context) -> Times {
        if !self.no_pager {
            context.out.page();
        }
        Times::new(context.now(), false)
    }
}

/// How output with times is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    /// Show times in UTC instead of this machine's time zone.
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    paged: Paged,
}

impl Shown {
    /// Begins output that a pager may show; the answer is how its times are written.
    pub(crate) fn begin(self, context: &Context) -> Times {
        let Times { now, .. } = self.paged.begin(context);
        Times::new(now, self.utc)
    }

    /// How times are written in output that no pager may show, as it has no end.
    pub(crate) fn without_pager(self, context: &Context) -> Times {
        Times::new(context.now(), self.utc)
    }
}

/// How times are written.
pub(crate) struct Times {
    zone: TimeZone,
    now: Timestamp,
}

impl Times {
    pub(crate) fn new(now: Timestamp, utc: bool) -> Self {
        Self { zone: if utc { TimeZone::UTC } else { TimeZone::system() }, now }
    }

    /// A time with its offset, as RFC 3339 has it, so that it can be given to a flag again.
    pub(crate) fn at(&self, at: Timestamp) -> String {
        match jiff::Timestamp::from_millisecond(at.as_millis()) {
            Ok(instant) if !self.is_utc(instant) => {
                instant.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
            }
            _ => at.to_string(),
        }
    }

    /// Whether the zone is UTC then, under whatever name.
    fn is_utc(&self, instant: jiff::Timestamp) -> bool {
        self.zone == TimeZone::UTC || (self.zone.is_unknown()) || {
            let about = self.zone.to_offset_info(instant);
            about.offset().is_zero() && about.abbreviation() == "UTC"
        }
    }

    /// How long ago it is, or how far ahead.
    pub(crate) fn ago(&self, at: Timestamp) -> String {
        text::ago(at, self.now)
    }

    /// A time, and how long ago it is.
    pub(crate) fn full(&self, at: Timestamp) -> String {
        format!("{} ({})", self.at(at), self.ago(at))
    }
}

/// Reads a point in time: RFC 3339, or without an offset in the zone of this machine, such as `2026-01-31T08:15`.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, Expected> {
    parse_in(text, TimeZone::system())
}

fn parse_in(text: &str, zone: TimeZone) -> Result<Timestamp, Expected> {
    let refused = match text.parse() {
        Ok(at) => return Ok(at),
        Err(refused) => refused,
    };
    let local = text.parse::<DateTime>().ok().and_then(|local| local.to_zoned(zone).ok());
    let Some(local) = local.filter(|_| text.contains(':')) else {
        // One of the right form says which times there are.
        if Pieces::parse(text).is_ok_and(|pieces| pieces.time().is_some()) {
            return Err(refused);
        }
        return Err(Expected::text(
            "a time such as 2026-01-31T08:15:00Z, 2026-01-31T09:15+01:00 or, in this machine's zone, 2026-01-31T09:15",
            text,
        ));
    };
    let at = Timestamp::from_millis(local.timestamp().as_millisecond());
    // What was held within its bounds is not what was meant.
    if at.as_millis() == local.timestamp().as_millisecond() { Ok(at) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(hours: i8) -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(hours))
    }

    #[test]
    fn a_time_has_the_offset_of_its_zone_and_can_be_read_again() {
        let at: Timestamp = "2026-11-22T03:26:51.937Z".parse().unwrap();
        let times = |zone| Times { zone, now: at };
        assert_eq!(times(TimeZone::UTC).at(at), "2026-11-22T03:26:51.937Z");
        let told = times(zone(-5)).at(at);
        assert_eq!(told, "2026-11-21T22:26:51.937-05:00");
        assert_eq!(parse_time(&told), Ok(at));
        assert_eq!(times(zone(1)).full(at), "2026-11-22T04:26:51.937+01:00 (now)");
    }

    #[test]
    fn a_time_without_an_offset_is_one_of_this_machine() {
        let at: Timestamp = "2026-01-31T08:15:00Z".parse().unwrap();
        for text in
            ["2026-01-31T10:15", "2026-01-31 10:15:00", "2026-01-31T08:15:00Z", "2026-01-31T09:15+01:00"]
        {
            assert_eq!(parse_in(text, zone(2)), Ok(at), "{text}");
        }
        for wrong in ["", "tomorrow", "2026-01-31", "2026-13-01T00:00", "1969-12-31T10:00", "25:00", "10:15"]
        {
            assert!(parse_in(wrong, zone(2)).is_err(), "{wrong}");
        }
        for beyond in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59", "1969-12-31T23:00:00Z"] {
            let told = parse_in(beyond, zone(-2)).unwrap_err().to_string();
            assert!(told.contains("to 9999-12-30T22:00:00Z"), "{told}");
        }
    }
}
