//! The table's stream: what each of its records says of a task, told from the images before and after the write.
//!
//! A change of a task appends one entry to its history in the same write, so that each event is the news of exactly one
//! record, and whoever has read all records has read all histories. Which entries are news is told by the number of
//! events on both images; an entry that is kept apart is read from where it lies, which was written before the record.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::{Blob, base64};
use baton_model::{Event, ProjectId, QueueName, State, TaskId, TaskType, Timestamp};
use baton_store::StoreError;
use serde::Deserialize;
use serde_json::Value;

use crate::attr::{Fields, Item};
use crate::error::{corrupt, damaged};
use crate::keys::{self, Kind};
use crate::row::Stored;
use crate::store::Inner;

/// A record of the stream, as far as it is read.
#[derive(Debug, Deserialize)]
struct Given {
    dynamodb: Images,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Images {
    keys: HashMap<String, Value>,
    #[serde(default)]
    new_image: Option<HashMap<String, Value>>,
    #[serde(default)]
    old_image: Option<HashMap<String, Value>>,
    #[serde(default)]
    sequence_number: String,
    /// Seconds since 1970.
    #[serde(default)]
    approximate_creation_date_time: f64,
}

/// A record of the stream whose item someone is to hear of.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: String,
    pub(crate) sort: String,
    /// Names the record among those of its item.
    pub(crate) number: String,
    /// When the item was written; a second is as good as DynamoDB tells it.
    pub(crate) at: Timestamp,
    pub(crate) was: Option<Item>,
    pub(crate) is: Option<Item>,
}

impl Record {
    /// Reads a record from its JSON; none if its item is neither a task nor the tick.
    pub(crate) fn read(json: &str) -> Result<Option<Self>, StoreError> {
        let given: Given =
            serde_json::from_str(json).map_err(|error| corrupt("a record of the stream", error))?;
        let Images { keys, new_image, old_image, sequence_number, approximate_creation_date_time } =
            given.dynamodb;
        let key = |name: &str| {
            let text = keys.get(name).and_then(|value| value.get("S")).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let (partition, sort) = (key("pk"), key("sk"));
        if !is_task(&partition) && !keys::is_tick(&partition) {
            return Ok(None);
        }
        Ok(Some(Self {
            partition,
            sort,
            number: sequence_number,
            at: Timestamp::from_millis((approximate_creation_date_time * 1e3) as i64),
            was: old_image.map(item).transpose()?,
            is: new_image.map(item).transpose()?,
        }))
    }

    /// Whether it is of the item by which the age of the counts is told while nothing happens.
    pub(crate) fn is_tick(&self) -> bool {
        keys::is_tick(&self.partition)
    }
}

/// An event of a task's history, with what it is told of.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskEvent {
    /// The task.
    pub task: TaskId,
    /// Its owner.
    pub project: ProjectId,
    /// Its queue, as of the event.
    pub queue: QueueName,
    /// Its type.
    pub task_type: TaskType,
    /// What happened.
    pub event: Event,
}

impl Inner {
    /// The events that a record brings, in their order; none for what is no task's, and for removals, which are no part
    /// of a history.
    pub(crate) async fn events_of(&self, record: &str) -> Result<Vec<TaskEvent>, StoreError> {
        let Some(Record { partition, was: old, is: Some(new), .. }) = Record::read(record)? else {
            return Ok(Vec::new());
        };
        if keys::is_tick(&partition) {
            return Ok(Vec::new());
        }
        if Fields(&new).has("pg") {
            // A purge that has begun to remove the task counts itself, and is no event.
            return Ok(Vec::new());
        }
        let before = old.as_ref().map_or(Ok(0), |old| Fields(old).number::<u32>("ev"))?;
        let from = old.as_ref().map(|old| Fields(old).number("st").and_then(state)).transpose()?;
        let task = Stored::read(&new)?;
        let mut events = self.db.latest_events(&task.kept()?, before).await?;
        if events.len() != task.head.events.saturating_sub(before) as usize {
            return Err(damaged(format!(
                "task {}: expected {} new events in a record of the stream, got {}",
                task.head.id,
                task.head.events.saturating_sub(before),
                events.len()
            )));
        }
        if let Some(first) = events.first_mut() {
            first.from = from;
        }
        Ok(told_of(&task, events))
    }
}

/// Tells the latest events of a task, the first one first, each with the queue that the task was in since.
pub(crate) fn told_of(task: &Stored, events: Vec<Event>) -> Vec<TaskEvent> {
    let mut queue = task.queue.clone();
    let told = events.into_iter().rev().map(|event| {
        let left = event.detail.changes.as_ref().and_then(|changes| changes.queue.as_ref());
        let left = left.map_or_else(|| queue.clone(), |moved| moved.from.clone());
        TaskEvent {
            task: task.head.id,
            project: task.project.clone(),
            queue: std::mem::replace(&mut queue, left),
            task_type: task.task_type.clone(),
            event,
        }
    });
    let mut told: Vec<_> = told.collect();
    told.reverse();
    told
}

fn state(code: u8) -> Result<State, StoreError> {
    crate::codes::Code::of(code)
}

/// Whether a partition is one of tasks.
fn is_task(partition: &str) -> bool {
    let letter = partition.split_once('#').map(|(letter, _)| letter);
    let is_letter = |of: char| letter == Some(of.encode_utf8(&mut [0; 4]));
    [Kind::Task.letter(), Kind::Task.odd_letter()].into_iter().any(is_letter) && !keys::is_tick(partition)
}

/// An item from the JSON of the low-level API, which records are written in.
fn item(image: HashMap<String, Value>) -> Result<Item, StoreError> {
    image.into_iter().map(|(name, given)| Ok((name, value(given)?))).collect()
}

fn value(given: Value) -> Result<AttributeValue, StoreError> {
    let unknown = || damaged("expected a value of DynamoDB in a record of the stream, got another");
    let Value::Object(object) = given else { return Err(unknown()) };
    let (kind, inner) = object.into_iter().next().ok_or_else(unknown)?;
    let texts = |inner: Value| serde_json::from_value::<Vec<String>>(inner).map_err(|_| unknown());
    let blob = |text: &str| base64::decode(text).map(Blob::new).map_err(|_| unknown());
    Ok(match (kind.as_str(), inner) {
        ("S", Value::String(text)) => AttributeValue::S(text),
        ("N", Value::String(digits)) => AttributeValue::N(digits),
        ("B", Value::String(text)) => AttributeValue::B(blob(&text)?),
        ("BOOL", Value::Bool(is)) => AttributeValue::Bool(is),
        ("NULL", Value::Bool(is)) => AttributeValue::Null(is),
        ("SS", list) => AttributeValue::Ss(texts(list)?),
        ("NS", list) => AttributeValue::Ns(texts(list)?),
        ("BS", list) => {
            AttributeValue::Bs(texts(list)?.iter().map(|text| blob(text)).collect::<Result<_, _>>()?)
        }
        ("L", Value::Array(list)) => {
            AttributeValue::L(list.into_iter().map(value).collect::<Result<_, _>>()?)
        }
        ("M", Value::Object(map)) => AttributeValue::M(item(map.into_iter().collect())?),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read_and_others_are_refused() {
        let read = value(serde_json::json!({"M": {
            "a": {"S": "x"}, "b": {"N": "1.5"}, "c": {"B": "AP8="}, "d": {"BOOL": true}, "e": {"NULL": true},
            "f": {"SS": ["x"]}, "g": {"NS": ["1"]}, "h": {"BS": ["AP8="]}, "i": {"L": [{"S": "y"}]},
        }}));
        let AttributeValue::M(map) = read.unwrap() else { panic!() };
        assert_eq!(map["c"], AttributeValue::B(Blob::new([0, 255])));
        assert_eq!(map["h"], AttributeValue::Bs(vec![Blob::new([0, 255])]));
        assert_eq!(map["i"], AttributeValue::L(vec![AttributeValue::S("y".into())]));
        assert_eq!(map.len(), 9);
        for wrong in
            [serde_json::json!({}), "x".into(), serde_json::json!({"S": 1}), serde_json::json!({"B": "?"})]
        {
            assert!(value(wrong).is_err());
        }
    }
}
