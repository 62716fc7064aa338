//! The values of a row, as text that a table holds or as JSON, read as what a task has.

use std::borrow::Cow;
use std::time::Duration;

use baton_model::{Expected, Payload, Timestamp};
use serde_json::value::RawValue;

/// A value. A null is no value: the row has none of that name.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    /// Text of a table.
    Text(String),
    /// A JSON value, byte for byte.
    Json(Box<RawValue>),
}

/// Seconds since 1970 are below this (the year 5138), and milliseconds above (1973 and later).
const MILLISECONDS_FROM: f64 = 1e11;

impl Cell {
    /// A JSON value; none for a null.
    pub(crate) fn json(raw: Box<RawValue>) -> Option<Self> {
        (raw.get() != "null").then_some(Self::Json(raw))
    }

    /// As text: of a JSON string what it says, of any other JSON its text.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Json(raw) => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) => Cow::Owned(text),
                Err(_) => Cow::Borrowed(raw.get()),
            },
        }
    }

    /// As JSON. Text that is an object or a list is that, as tables without a type for JSON hold it so.
    ///
    /// # Errors
    /// If it is no JSON that every reader takes.
    pub(crate) fn payload(&self) -> Result<Payload, Expected> {
        let text = self.text();
        if matches!(self, Self::Text(_)) || text.starts_with(['{', '[']) {
            return Payload::parse(&text);
        }
        match self {
            Self::Json(raw) => Payload::parse(raw.get()),
            Self::Text(text) => Payload::parse(text),
        }
    }

    /// As JSON; text that is none is a JSON string.
    pub(crate) fn payload_or_text(&self) -> Payload {
        self.payload().unwrap_or_else(|_| Payload::from_value(&self.text().into_owned().into()))
    }

    /// As a point in time: RFC 3339 and what tables and Python make of it (a space for the T, no zone for UTC, an offset of hours), or a
    /// number of seconds or milliseconds since 1970.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn time(&self) -> Result<Timestamp, Expected> {
        let text = self.text();
        let text = text.trim();
        if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
            let millis = if number.abs() < MILLISECONDS_FROM { number * 1_000.0 } else { number };
            // A number that is no time is clamped to what is none either, and refused below.
            return held(millis.round() as i64, text);
        }
        let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        });
        match instant {
            Some(instant) => held(instant.as_millisecond(), text),
            None => Err(no_time(text)),
        }
    }

    /// As a number.
    ///
    /// # Errors
    /// If it is none, or not finite.
    pub(crate) fn number(&self) -> Result<f64, Expected> {
        let text = self.text();
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| Expected::text("a number", &text))
    }

    /// As a count.
    ///
    /// # Errors
    /// If it is no whole number from 0 on.
    pub(crate) fn count(&self) -> Result<u32, Expected> {
        let text = self.text();
        text.trim().parse().map_err(|_| Expected::text("a whole number from 0 on", &text))
    }

    /// As a number of seconds.
    ///
    /// # Errors
    /// If it is none that a task may run for.
    pub(crate) fn span(&self) -> Result<Duration, Expected> {
        let (least, most) = (baton_model::limits::SHORTEST_SPAN, baton_model::limits::LONGEST_SPAN);
        baton_model::time::seconds::parse(self.number()?, least, most)
    }

    /// As names: one, a JSON list of them, or PostgreSQL's own form of a list, `{a,b}`.
    pub(crate) fn names(&self) -> Vec<String> {
        let text = self.text();
        let text = text.trim();
        let list = match self {
            Self::Json(raw) => serde_json::from_str::<Vec<String>>(raw.get()).ok(),
            Self::Text(_) => None,
        };
        let list = list.or_else(|| serde_json::from_str::<Vec<String>>(text).ok()).or_else(|| {
            let inner = text.strip_prefix('{')?.strip_suffix('}')?;
            Some(inner.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect())
        });
        let mut names = list.unwrap_or_else(|| vec![text.to_owned()]);
        names.retain(|name| !name.is_empty());
        names
    }
}

fn no_time(text: &str) -> Expected {
    Expected::text("a time such as 2026-01-31T08:15:00Z, from 1970 on", text)
}

fn held(millis: i64, text: &str) -> Result<Timestamp, Expected> {
    let at = Timestamp::from_millis(millis);
    // What lies outside of the calendar is held within it, and is then another time.
    if at.as_millis() == millis { Ok(at) } else { Err(no_time(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Cell {
        Cell::json(RawValue::from_string(text.to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn times_are_read_as_tables_and_python_write_them() {
        let at = Timestamp::from_millis(1_769_847_300_250);
        for text in [
            "2026-01-31T08:15:00.250Z",
            "2026-01-31 08:15:00.25+00",
            "2026-01-31 09:15:00.25+01:00",
            "2026-01-31T08:15:00.250123+00:00",
            "2026-01-31T08:15:00.250",
            "2026-01-31 08:15:00.250",
            "1769847300.25",
            "1769847300250",
        ] {
            assert_eq!(Cell::Text(text.to_owned()).time(), Ok(at), "{text}");
        }
        assert_eq!(json("1769847300.25").time(), Ok(at));
        for bad in ["", "yesterday", "1969-12-31 23:59:59", "-1", "1e300", "NaN"] {
            assert!(Cell::Text(bad.to_owned()).time().is_err(), "{bad}");
        }
    }

    #[test]
    fn json_is_kept_byte_for_byte_also_where_a_table_has_it_as_text() {
        for cell in
            [json(r#"{"n": 1.50}"#), Cell::Text(r#"{"n": 1.50}"#.to_owned()), json(r#""{\"n\": 1.50}""#)]
        {
            assert_eq!(cell.payload().unwrap().as_str(), r#"{"n": 1.50}"#);
        }
        assert!(Cell::Text("{".to_owned()).payload().is_err());
        assert_eq!(Cell::Text("plain".to_owned()).payload_or_text().as_str(), "\"plain\"");
        assert!(Cell::json(RawValue::from_string("null".to_owned()).unwrap()).is_none());
    }

    #[test]
    fn names_come_alone_or_as_lists_of_three_kinds() {
        for cell in [json(r#"["a","b"]"#), Cell::Text("{a,\"b\"}".to_owned()), json(r#""{a,b}""#)] {
            assert_eq!(cell.names(), ["a", "b"]);
        }
        assert_eq!(json(r#""a""#).names(), ["a"]);
        assert_eq!(Cell::Text("{}".to_owned()).names(), Vec::<String>::new());
    }
}
