//! What clients send, read with everything that is wrong in it.

use baton_http::fastapi::{Must, Wrong, boolean, number, object, whole_of};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A new task.
#[derive(Debug)]
pub(crate) struct NewTask {
    pub(crate) task_type: String,
    pub(crate) description: Option<String>,
    /// As they came.
    pub(crate) params: Option<Box<RawValue>>,
    pub(crate) domain: Option<String>,
    pub(crate) drift_score: f64,
    /// None if its client does not say.
    pub(crate) run_immediately: Option<bool>,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

fn optional<T>(
    wrong: &mut Wrong,
    object: &Map<String, Value>,
    name: &str,
    must: Must,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Option<T> {
    let value = object.get(name).filter(|value| !value.is_null())?;
    let read = read(value);
    if read.is_none() {
        wrong.add(must, &[name.into()], value);
    }
    read
}

impl NewTask {
    /// Reads a new task.
    pub(crate) fn read(body: &str) -> Result<Self, Wrong> {
        let object = object(body)?;
        let mut wrong = Wrong::default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let task_type = optional(&mut wrong, &object, "type", Must::BeText, text);
        if !object.contains_key("type") {
            wrong.add(Must::Be, &["type".into()], &Value::Object(object.clone()));
        } else if object["type"].is_null() {
            wrong.add(Must::BeText, &["type".into()], &Value::Null);
        }
        let description = optional(&mut wrong, &object, "description", Must::BeText, text);
        let domain = optional(&mut wrong, &object, "domain", Must::BeText, text);
        let drift_score = optional(&mut wrong, &object, "drift_score", Must::BeNumber, number);
        let run_immediately = optional(&mut wrong, &object, "run_immediately", Must::BeBoolean, boolean);
        let has_params = optional(&mut wrong, &object, "params", Must::BeObject, |params| {
            params.is_object().then_some(())
        });
        let members: Option<Members> = has_params.and_then(|()| serde_json::from_str(body).ok());
        wrong.none_or(task_type.map(|task_type| Self {
            task_type,
            description,
            params: members.and_then(|members| members.params),
            domain,
            drift_score: drift_score.unwrap_or_default(),
            run_immediately,
        }))
    }
}

/// Which part of the list is asked for; all of it unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) limit: Option<usize>,
    pub(crate) offset: usize,
}

impl Part {
    /// Reads it from a query. Other parameters are passed over, as FastAPI does.
    pub(crate) fn read(query: &str) -> Result<Self, Wrong> {
        let mut wrong = Wrong::default();
        let mut part = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "limit" || name == "offset" {
                match whole_of(&value).and_then(|number| usize::try_from(number).ok()) {
                    Some(number) if name == "limit" => part.limit = Some(number),
                    Some(number) => part.offset = number,
                    None => wrong.add_to_query(Must::BeWhole, &name, &Value::from(&*value)),
                }
            }
        }
        wrong.none_or(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_the_shell_is_read() {
        let body = r#"{"description": "why?", "run_immediately": true, "params": {"task_description": "x", "n": 1.0},
            "type": "dspy.plan", "drift_score": 0.9}"#;
        let task = NewTask::read(body).unwrap();
        assert_eq!(
            (task.task_type.as_str(), task.drift_score, task.run_immediately),
            ("dspy.plan", 0.9, Some(true))
        );
        assert_eq!(task.params.unwrap().get(), r#"{"task_description": "x", "n": 1.0}"#);
        let least = NewTask::read(r#"{"type": "a", "params": null}"#).unwrap();
        assert!(least.run_immediately.is_none() && least.params.is_none() && least.drift_score == 0.0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, line) in [
            ("{}", "body.type: Field required"),
            (r#"{"type": null}"#, "body.type: Input should be a valid string"),
            (r#"{"type": "a", "params": []}"#, "body.params: Input should be a valid dictionary"),
            (r#"{"type": "a", "drift_score": "x"}"#, "body.drift_score: Input should be a valid number"),
        ] {
            assert_eq!(NewTask::read(body).unwrap_err().line(), line);
        }
        assert_eq!(
            Part::read("limit=x&snapshot_id=7").unwrap_err().line(),
            "query.limit: Input should be a valid integer"
        );
        assert_eq!(Part::read("limit=5&offset=10").unwrap(), Part { limit: Some(5), offset: 10 });
        assert_eq!(Part::read("limit=5.0").unwrap().limit, Some(5));
    }
}
