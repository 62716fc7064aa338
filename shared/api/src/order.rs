//! What `manage-tasks` is asked and answers of the order in which a queue gives out its ready tasks.

use baton_model::{Expected, FairBy, Label, QueueName, QueueOrder};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, describe, integer, parsed, text};
use crate::text::NOTE_CHARS;

/// Says in which order a queue gives out its ready tasks. It states the whole order: what is left out is off, and an empty object
/// asks for the usual order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct OrderRequest {
    /// Between whom the queue is fair: `project` (between projects) or `key` (between the `concurrency_key`s of tasks; tasks without
    /// one count as their project's). Among ready tasks of one priority, those go first of whom the fewest tasks run in this queue.
    /// Not fair if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fair: Option<FairBy>,
    /// For how many seconds a ready task waits until it counts one priority higher, and for how many more until the next, up to
    /// `critical`; 1 to 2,592,000 (30 days). Never if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_after_seconds: Option<u32>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads by what a queue is to be fair.
///
/// # Errors
/// If it is none of the names of [`FairBy`].
pub fn fair_by(name: &str) -> Result<FairBy, Expected> {
    known(name).ok_or_else(|| Expected::text(fair_names(), name))
}

fn known(name: &str) -> Option<FairBy> {
    FairBy::ALL.into_iter().find(|fair| fair.as_str() == name)
}

fn fair_names() -> String {
    FairBy::ALL.map(FairBy::as_str).join(" or ")
}

fn fair(raw: &RawValue) -> Result<FairBy, Expected> {
    let name = serde_json::from_str::<String>(raw.get()).ok();
    name.and_then(|name| known(&name)).ok_or_else(|| Expected::new(fair_names(), describe(raw)))
}

impl OrderRequest {
    /// The order that it asks for.
    pub const fn order(&self) -> QueueOrder {
        QueueOrder { fair: self.fair, age_after_seconds: self.age_after_seconds }
    }
}

impl ReadFields for OrderRequest {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let fair = f.optional("fair", fair);
        let age_after_seconds = f.optional("age_after_seconds", integer(QueueOrder::AGE_AFTER_SECONDS));
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { fair: fair?, age_after_seconds: age_after_seconds?, by: by?, reason: reason? })
    }
}

/// In which order a queue gives out its ready tasks. The usual, if both are left out: by priority, then by the time from when on a task
/// may be claimed, then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Order)]
pub struct OrderView {
    /// Between whom the queue is fair: `project` or `key`; left out if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fair: Option<FairBy>,
    /// After how many seconds of waiting, each time, a ready task counts one priority higher; left out if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_after_seconds: Option<u32>,
}

impl OrderView {
    /// Whether it is the usual order.
    pub const fn is_usual(&self) -> bool {
        self.fair.is_none() && self.age_after_seconds.is_none()
    }
}

impl From<QueueOrder> for OrderView {
    fn from(QueueOrder { fair, age_after_seconds }: QueueOrder) -> Self {
        Self { fair, age_after_seconds }
    }
}

/// In which order a queue gave out its tasks before a change, and in which it does since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderChange)]
pub struct OrderChangeView {
    /// The queue.
    #[schema(value_type = String)]
    pub queue: QueueName,
    /// Before.
    pub from: OrderView,
    /// Since.
    pub to: OrderView,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldError;
    use crate::fields::BodyError;

    fn read(json: &str) -> Result<OrderRequest, BodyError> {
        OrderRequest::from_json(json, &())
    }

    #[test]
    fn what_is_left_out_or_null_is_off() {
        for usual in ["{}", r#"{"fair":null,"age_after_seconds":null}"#] {
            assert_eq!(read(usual), Ok(OrderRequest::default()), "{usual}");
        }
        let whole = read(r#"{"fair":"key","age_after_seconds":600,"by":"ada","reason":"turns"}"#).unwrap();
        assert_eq!(whole.order(), QueueOrder { fair: Some(FairBy::Key), age_after_seconds: Some(600) });
        assert_eq!(read(&serde_json::to_string(&whole).unwrap()), Ok(whole), "as a client sends it");
        for by in FairBy::ALL {
            assert_eq!(fair_by(by.as_str()), Ok(by));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field_and_what_would_fit() {
        let number = "a whole number from 1 to 2592000";
        for (json, field, expected, got) in [
            (r#"{"fair":"queue"}"#, "fair", "project or key", r#""queue""#),
            (r#"{"fair":true}"#, "fair", "project or key", "true"),
            (r#"{"fair":{"key":null}}"#, "fair", "project or key", "an object"),
            (r#"{"age_after_seconds":0}"#, "age_after_seconds", number, "0"),
            (r#"{"age_after_seconds":2592001}"#, "age_after_seconds", number, "2592001"),
            (r#"{"age_after_seconds":1.5}"#, "age_after_seconds", number, "1.5"),
            (r#"{"age_after_seconds":"10m"}"#, "age_after_seconds", number, r#""10m""#),
        ] {
            let wrong = FieldError { field: field.into(), expected: expected.into(), got: got.into() };
            assert_eq!(read(json), Err(BodyError::Fields(vec![wrong])), "{json}");
        }
        assert_eq!(fair_by("owner").unwrap_err().to_string(), "expected project or key, got \"owner\"");
    }
}
