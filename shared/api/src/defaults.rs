//! What `manage-tasks` is asked and answers of what a queue gives to tasks that do not say.

use std::time::Duration;

use baton_model::{Backoff, DefaultsChange, Expected, Label, Priority, QueueDefaults, QueueName, limits};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::create::{BackoffSchema, backoff};
use crate::fields::{Fields, ReadFields, as_seconds, integer, parsed, span, text};
use crate::text::NOTE_CHARS;

/// Changes what a queue gives to tasks that do not say. At least one thing is to be named: what is left out stays as it is, and what
/// is null is given no longer. Tasks that exist are left as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct DefaultsRequest {
    /// How many attempts they are given, 1 to 1,000; `null` for the usual 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub max_attempts: Option<Option<u32>>,
    /// How long one attempt may run; `null` for as long as it likes.
    #[serde(
        rename = "timeout_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "seconds_or_null"
    )]
    #[schema(value_type = Option<f64>)]
    pub timeout: Option<Option<Duration>>,
    /// How long they wait between attempts; what is left out within it has its usual value, and `null` is the usual one whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BackoffSchema>)]
    pub backoff: Option<Option<Backoff>>,
    /// `critical`, `high`, `normal` or `low`; `null` for the usual `normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub priority: Option<Option<Priority>>,
    /// How long they are kept once they have ended, up to ten years; `null` for as long as the store keeps all.
    #[serde(
        rename = "retention_seconds",
        skip_serializing_if = "Option::is_none",
        serialize_with = "seconds_or_null"
    )]
    #[schema(value_type = Option<f64>)]
    pub retention: Option<Option<Duration>>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn seconds_or_null<S: Serializer>(span: &Option<Option<Duration>>, to: S) -> Result<S::Ok, S::Error> {
    as_seconds(&span.flatten(), to)
}

/// Reads a value, or null for none.
fn or_null<'a, T>(
    read: impl FnOnce(&'a RawValue) -> Result<T, Expected>,
) -> impl FnOnce(&'a RawValue) -> Result<Option<T>, Expected> {
    |raw| match raw.get() {
        "null" => Ok(None),
        _ => read(raw).map(Some),
    }
}

impl DefaultsRequest {
    /// What it asks for.
    pub const fn change(&self) -> DefaultsChange {
        DefaultsChange {
            max_attempts: self.max_attempts,
            timeout: self.timeout,
            backoff: self.backoff,
            priority: self.priority,
            retention: self.retention,
        }
    }
}

impl ReadFields for DefaultsRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let max_attempts = f.nullable("max_attempts", or_null(integer(1..=limits::MAX_ATTEMPTS)));
        let timeout =
            f.nullable("timeout_seconds", or_null(span(limits::SHORTEST_SPAN, limits::LONGEST_SPAN)));
        // Null is told from left out before the object is read.
        let backoff = if f.has("backoff") {
            backoff(f).map(Some)
        } else {
            f.nullable("backoff", or_null(|_| Ok(Backoff::default())))
        };
        let priority = f.nullable("priority", or_null(parsed));
        let retention =
            f.nullable("retention_seconds", or_null(span(limits::SHORTEST_SPAN, limits::LONGEST_RETENTION)));
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        let request = Self {
            max_attempts: max_attempts?,
            timeout: timeout?,
            backoff: backoff?,
            priority: priority?,
            retention: retention?,
            by: by?,
            reason: reason?,
        };
        if request.change().is_empty() {
            let what = "one of max_attempts, timeout_seconds, backoff, priority and retention_seconds";
            f.refuse("max_attempts", Expected::new(what, "none of them"));
            return None;
        }
        Some(request)
    }
}

/// What a queue gives to tasks that do not say; what is left out has its usual value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Defaults)]
pub struct DefaultsView {
    /// How many attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// How long to wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BackoffSchema>)]
    pub backoff: Option<Backoff>,
    /// How soon to be claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub priority: Option<Priority>,
    /// How long to be kept once they have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<f64>,
}

impl From<QueueDefaults> for DefaultsView {
    fn from(defaults: QueueDefaults) -> Self {
        Self {
            max_attempts: defaults.max_attempts,
            timeout_seconds: defaults.timeout.map(|span| span.as_secs_f64()),
            backoff: defaults.backoff,
            priority: defaults.priority,
            retention_seconds: defaults.retention.map(|span| span.as_secs_f64()),
        }
    }
}

/// What a queue gave before a change, and what it gives since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DefaultsChange)]
pub struct DefaultsChangeView {
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// Before.
    pub from: DefaultsView,
    /// Since.
    pub to: DefaultsView,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<DefaultsRequest, BodyError> {
        DefaultsRequest::from_json(json, &())
    }

    #[test]
    fn what_is_left_out_stays_and_what_is_null_goes() {
        let request = read(r#"{"max_attempts":5,"timeout_seconds":null,"backoff":null}"#).unwrap();
        let change = request.change();
        assert_eq!(
            (change.max_attempts, change.timeout, change.backoff),
            (Some(Some(5)), Some(None), Some(None))
        );
        assert_eq!((change.priority, change.retention), (None, None));
        for json in [
            r#"{"max_attempts":5,"timeout_seconds":1.5,"priority":"high","retention_seconds":60.0,"by":"ada","reason":"calm"}"#,
            r#"{"max_attempts":null,"timeout_seconds":null,"backoff":null,"priority":null,"retention_seconds":null}"#,
            r#"{"backoff":{"base_seconds":1.0,"factor":3.0,"max_seconds":600.0,"jitter":0.2}}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json, "as a client sends it");
        }
        let half = read(r#"{"backoff":{"base_seconds":1}}"#).unwrap().backoff.flatten().unwrap();
        assert_eq!(half, Backoff { base: Duration::from_secs(1), ..Backoff::default() });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field_and_what_would_fit() {
        let none = "one of max_attempts, timeout_seconds, backoff, priority and retention_seconds";
        for (json, field, expected, got) in [
            ("{}", "max_attempts", none, "none of them"),
            (r#"{"by":"ada"}"#, "max_attempts", none, "none of them"),
            (r#"{"max_attempts":0}"#, "max_attempts", "a whole number from 1 to 1000", "0"),
            (r#"{"priority":"urgent"}"#, "priority", "one of critical, high, normal, low", r#""urgent""#),
            (r#"{"timeout_seconds":0}"#, "timeout_seconds", "a number of seconds from 0.001 to 2592000", "0"),
            (
                r#"{"retention_seconds":1e9}"#,
                "retention_seconds",
                "a number of seconds from 0.001 to 315360000",
                "1e9",
            ),
            (r#"{"backoff":{"factor":11}}"#, "backoff.factor", "a number from 1 to 10", "11"),
        ] {
            let wrong = FieldError { field: field.into(), expected: expected.into(), got: got.into() };
            assert_eq!(read(json), Err(BodyError::Fields(vec![wrong])), "{json}");
        }
    }
}
