//! What `manage-tasks` is asked to change of a task that waits, and what a history tells of it.

use std::time::Duration;

use baton_model::{
    Changes, Expected, FromTo, Label, Priority, QueueName, RunAfter, TaskChange, Timeout, Timestamp, limits,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, as_seconds, integer, parsed, span, text};
use crate::text::NOTE_CHARS;

/// Changes how a task that waits is to be run. At least one thing is to be named; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = ChangeTask)]
pub struct ChangeRequest {
    /// `critical`, `high`, `normal` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub priority: Option<Priority>,
    /// The queue that it is to wait in. It keeps all else that it has; what the queue gives to tasks that do not say is for new ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<QueueName>,
    /// From when on it may be claimed, RFC 3339. A time that has come means now; a task that is due already keeps its turn. Not with
    /// `delay_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub run_after: Option<Timestamp>,
    /// The same, as a while from now on; 0 for at once. Not with `run_after`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub delay_seconds: Option<Duration>,
    /// How long one attempt may run; `null` for as long as it likes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "timeout_as_seconds")]
    #[schema(value_type = Option<f64>)]
    pub timeout_seconds: Option<Timeout>,
    /// How many attempts it is given, 1 to 1,000: more than were counted already, as another one is to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn timeout_as_seconds<S: Serializer>(timeout: &Option<Timeout>, to: S) -> Result<S::Ok, S::Error> {
    as_seconds(&timeout.and_then(Timeout::span), to)
}

fn timeout(raw: &RawValue) -> Result<Timeout, Expected> {
    match raw.get() {
        "null" => Ok(Timeout::Never),
        _ => span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN)(raw).map(Timeout::After),
    }
}

/// What is to be changed of a task, without who asks for it.
pub(crate) fn read_change(f: &mut Fields<'_>) -> Option<ChangeRequest> {
    let priority = f.optional("priority", parsed);
    let queue = f.optional("queue", parsed);
    if f.has("run_after") && f.has("delay_seconds") {
        f.refuse("delay_seconds", Expected::new("run_after or delay_seconds, not both", "both"));
    }
    let run_after = f.optional("run_after", parsed);
    let delay_seconds = f.optional("delay_seconds", span(Duration::ZERO, limits::LONGEST_DELAY));
    let timeout_seconds = f.nullable("timeout_seconds", timeout);
    let max_attempts = f.optional("max_attempts", integer(1..=limits::MAX_ATTEMPTS));
    Some(ChangeRequest {
        priority: priority?,
        queue: queue?,
        run_after: run_after?,
        delay_seconds: delay_seconds?,
        timeout_seconds: timeout_seconds?,
        max_attempts: max_attempts?,
        by: None,
        reason: None,
    })
}

impl ReadFields for ChangeRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let change = read_change(f);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let change = Self { by: by?, reason: reason?, ..change? };
        if change.change().is_empty() {
            let what = "one of priority, queue, run_after, delay_seconds, timeout_seconds and max_attempts";
            f.refuse("priority", Expected::new(what, "none of them"));
            return None;
        }
        Some(change)
    }
}

impl ChangeRequest {
    /// What it asks for.
    pub fn change(&self) -> TaskChange {
        TaskChange {
            priority: self.priority,
            queue: self.queue.clone(),
            run_after: self.run_after.map(RunAfter::At).or(self.delay_seconds.map(RunAfter::In)),
            timeout: self.timeout_seconds,
            max_attempts: self.max_attempts,
        }
    }
}

/// What a change has changed, each with what it was (`from`) and what it is (`to`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Changes)]
pub struct ChangesView {
    /// The priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub priority: Option<FromTo<Priority>>,
    /// The queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub queue: Option<FromTo<QueueName>>,
    /// From when on it may be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub run_after: Option<FromTo<Timestamp>>,
    /// How long one attempt may run, in seconds; `null` for as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub timeout_seconds: Option<FromTo<Option<f64>>>,
    /// How many attempts it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub max_attempts: Option<FromTo<u32>>,
}

impl From<Changes> for ChangesView {
    fn from(changes: Changes) -> Self {
        let seconds = |millis: Option<u64>| millis.map(|millis| Duration::from_millis(millis).as_secs_f64());
        Self {
            priority: changes.priority,
            queue: changes.queue,
            run_after: changes.run_after,
            timeout_seconds: changes
                .timeout_ms
                .map(|FromTo { from, to }| FromTo { from: seconds(from), to: seconds(to) }),
            max_attempts: changes.max_attempts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<ChangeRequest, BodyError> {
        ChangeRequest::from_json(json, &())
    }

    #[test]
    fn a_change_comes_back_as_a_client_sends_it() {
        for json in [
            r#"{"priority":"high","max_attempts":5,"by":"ada","reason":"soon"}"#,
            r#"{"run_after":"2026-01-31T08:15:00.000Z"}"#,
            r#"{"delay_seconds":0.0}"#,
            r#"{"queue":"gpu"}"#,
            r#"{"timeout_seconds":60.0}"#,
            r#"{"timeout_seconds":null}"#,
        ] {
            let change = read(json).unwrap();
            assert_eq!(serde_json::to_string(&change).unwrap(), json);
            assert!(!change.change().is_empty());
        }
        assert_eq!(read(r#"{"timeout_seconds":null}"#).unwrap().change().timeout, Some(Timeout::Never));
    }

    #[test]
    fn a_change_of_nothing_and_one_of_two_times_are_refused() {
        let none = "one of priority, queue, run_after, delay_seconds, timeout_seconds and max_attempts";
        for (json, field, expected, got) in [
            ("{}", "priority", none, "none of them"),
            (r#"{"priority":null,"by":"ada"}"#, "priority", none, "none of them"),
            (
                r#"{"run_after":"2026-01-31T08:15:00Z","delay_seconds":1}"#,
                "delay_seconds",
                "run_after or delay_seconds, not both",
                "both",
            ),
            (r#"{"max_attempts":0}"#, "max_attempts", "a whole number from 1 to 1000", "0"),
            (r#"{"priority":"urgent"}"#, "priority", "one of critical, high, normal, low", r#""urgent""#),
        ] {
            let wrong = FieldError { field: field.into(), expected: expected.into(), got: got.into() };
            assert_eq!(read(json), Err(BodyError::Fields(vec![wrong])), "{json}");
        }
    }
}
