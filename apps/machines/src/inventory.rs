//! What a provider tells of its machines.

use std::collections::{BTreeMap, HashSet};

use baton_model::{Expected, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Money, ProviderError};

/// The most bytes of an id, a name, or a word of a label.
const TEXT_BYTES: usize = 256;
/// The most labels of a machine.
const LABELS: usize = 64;

/// A machine that is paid for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// What its provider knows it by.
    pub id: String,
    /// What people call it; the id if it has no name.
    pub name: String,
    /// What it costs an hour while it runs.
    pub price_per_hour: Money,
    /// When it was started; none if that is not known.
    pub started_at: Option<Timestamp>,
    /// What it does.
    pub state: State,
    /// Words about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It comes up, and is paid for.
    Starting,
    /// It runs, and is paid for.
    Running,
    /// It ends, and may still be paid for.
    Stopping,
    /// It is not paid for by the hour.
    Stopped,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Running, Self::Stopping, Self::Stopped];

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    fn parse(text: &str) -> Result<Self, Expected> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Expected::text("one of starting, running, stopping, stopped", text))
    }
}

/// Reads machines, a JSON object a line: `id`, `name`, `price_per_hour`, `started_at`, `state`, `labels`. Empty lines are passed over;
/// a machine that is told twice is refused, as its price would count twice.
///
/// # Errors
/// [`ProviderError::Unreadable`], with the line and the field.
pub(crate) fn read_lines(text: &str) -> Result<Vec<Machine>, ProviderError> {
    let mut machines: Vec<Machine> = Vec::new();
    let mut ids = HashSet::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |(field, problem): (&str, Expected)| {
            let place = match field {
                "" => format!("line {number}"),
                field => format!("line {number}, {field}"),
            };
            ProviderError::Unreadable { place, problem }
        };
        let machine = serde_json::from_str(line)
            .map_err(|_| wrong(("", Expected::text("a JSON object", line))))
            .and_then(|value| read(&value).map_err(wrong))?;
        if !ids.insert(machine.id.clone()) {
            return Err(wrong(("id", Expected::text("an id that no line before has", &machine.id))));
        }
        machines.push(machine);
    }
    Ok(machines)
}

type Wrong = (&'static str, Expected);

fn read(value: &Value) -> Result<Machine, Wrong> {
    let Value::Object(fields) = value else {
        return Err(("", Expected::text("a JSON object", &value.to_string())));
    };
    let id = text(fields.get("id"), "the machine's id, 1 to 256 bytes").map_err(|problem| ("id", problem))?;
    let name = match fields.get("name") {
        None | Some(Value::Null) => id.clone(),
        name => text(name, "a name of 1 to 256 bytes").map_err(|problem| ("name", problem))?,
    };
    let price_per_hour =
        price(fields.get("price_per_hour")).map_err(|problem| ("price_per_hour", problem))?;
    let started_at = match fields.get("started_at") {
        None | Some(Value::Null) => None,
        Some(Value::String(time)) => Some(time.parse().map_err(|problem| ("started_at", problem))?),
        Some(other) => return Err(("started_at", Expected::new("an RFC 3339 time in quotes", kind(other)))),
    };
    let state = match fields.get("state") {
        None | Some(Value::Null) => State::Running,
        Some(Value::String(word)) => State::parse(word).map_err(|problem| ("state", problem))?,
        Some(other) => return Err(("state", Expected::new("a word in quotes", kind(other)))),
    };
    let labels = labels(fields.get("labels")).map_err(|problem| ("labels", problem))?;
    Ok(Machine { id, name, price_per_hour, started_at, state, labels })
}

fn text(value: Option<&Value>, expected: &str) -> Result<String, Expected> {
    match value {
        None => Err(Expected::new(expected, "nothing")),
        Some(Value::String(text)) if (1..=TEXT_BYTES).contains(&text.len()) => Ok(text.clone()),
        Some(Value::String(text)) => Err(Expected::text(expected, text)),
        Some(other) => Err(Expected::new(expected, kind(other))),
    }
}

/// A price, as a number or as text.
pub(crate) fn price(value: Option<&Value>) -> Result<Money, Expected> {
    match value {
        Some(Value::Number(number)) => plain(&number.to_string()).parse(),
        Some(Value::String(text)) => text.parse(),
        None | Some(Value::Null) => Err(Expected::new("a price an hour, such as 0.74", "nothing")),
        Some(other) => Err(Expected::new("a price an hour, such as 0.74", kind(other))),
    }
}

/// A number without an exponent: small ones are printed with one.
fn plain(number: &str) -> String {
    match (number.split_once('e'), number.parse::<f64>()) {
        (Some(_), Ok(value)) => format!("{value:.12}"),
        _ => number.to_owned(),
    }
}

fn labels(value: Option<&Value>) -> Result<BTreeMap<String, String>, Expected> {
    let expected = || format!("up to {LABELS} names with texts of up to {TEXT_BYTES} bytes");
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(fields)) if fields.len() <= LABELS => {
            let pair = |(name, value): (&String, &Value)| match value {
                Value::String(text) if text.len() <= TEXT_BYTES && name.len() <= TEXT_BYTES => {
                    Ok((name.clone(), text.clone()))
                }
                other => Err(Expected::new(expected(), format!("{} as {name}", kind(other)))),
            };
            fields.iter().map(pair).collect()
        }
        Some(Value::Object(fields)) => Err(Expected::new(expected(), format!("{} of them", fields.len()))),
        Some(other) => Err(Expected::new(expected(), kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read_line_by_line() {
        let text = r#"
{"id":"a1","name":"gpu 1 ☂","price_per_hour":0.74,"started_at":"2026-11-28T10:00:00Z","state":"running","labels":{"gpu":"4090"}}

{"id":"b/2","price_per_hour":"1e-9"}"#;
        let problem = read_lines(text).unwrap_err().to_string();
        assert!(problem.starts_with("line 4, price_per_hour: expected a price an hour"), "{problem}");
        let text = text.replace("\"1e-9\"", "1e-9");
        let machines = read_lines(&text).unwrap();
        assert_eq!(
            (machines[0].name.as_str(), machines[0].price_per_hour.to_string()),
            ("gpu 1 ☂", "0.74".into())
        );
        assert_eq!((machines[0].labels["gpu"].as_str(), machines[0].state), ("4090", State::Running));
        assert_eq!((machines[1].name.as_str(), machines[1].price_per_hour.billionths()), ("b/2", 1));
        assert_eq!((machines[1].started_at, machines[1].state), (None, State::Running));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_field() {
        for (line, told) in [
            ("x", "line 1: expected a JSON object, got \"x\""),
            ("[]", "line 1: expected a JSON object, got \"[]\""),
            (r#"{"price_per_hour":1}"#, "line 1, id: expected the machine's id, 1 to 256 bytes, got nothing"),
            (
                r#"{"id":"","price_per_hour":1}"#,
                "line 1, id: expected the machine's id, 1 to 256 bytes, got \"\"",
            ),
            (
                r#"{"id":7,"price_per_hour":1}"#,
                "line 1, id: expected the machine's id, 1 to 256 bytes, got a number",
            ),
            (r#"{"id":"a"}"#, "line 1, price_per_hour: expected a price an hour, such as 0.74, got nothing"),
            (
                r#"{"id":"a","price_per_hour":-1}"#,
                "line 1, price_per_hour: expected a price an hour from 0 to 1000000, such as 0.74, got \"-1\"",
            ),
            (
                r#"{"id":"a","price_per_hour":1,"state":"RUNNING"}"#,
                "line 1, state: expected one of starting, running, stopping, stopped, got \"RUNNING\"",
            ),
            (
                r#"{"id":"a","price_per_hour":1,"started_at":17}"#,
                "line 1, started_at: expected an RFC 3339 time in quotes, got a number",
            ),
            (
                r#"{"id":"a","price_per_hour":1,"labels":{"a":1}}"#,
                "line 1, labels: expected up to 64 names with texts of up to 256 bytes, got a number as a",
            ),
        ] {
            assert_eq!(read_lines(line).unwrap_err().to_string(), told, "{line}");
        }
        let twice = "{\"id\":\"a\",\"price_per_hour\":1}\n{\"id\":\"a\",\"price_per_hour\":1}";
        assert_eq!(
            read_lines(twice).unwrap_err().to_string(),
            "line 2, id: expected an id that no line before has, got \"a\""
        );
    }
}
