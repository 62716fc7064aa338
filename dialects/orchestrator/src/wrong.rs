//! What is wrong with a request, as FastAPI says it: `{"detail": [{"type", "loc", "msg", "input"}]}` with 422.

use axum::response::Response;
use baton_http::{ApiError, fastapi, json};
use http::StatusCode;
use serde::Serialize;
use serde_json::json as value;
use serde_json::{Map, Value};

/// Everything that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: [Value; 2],
    msg: String,
    input: Value,
}

impl Wrong {
    pub(crate) fn add(
        &mut self,
        (place, name): (&str, &str),
        (kind, msg): (&'static str, &str),
        input: &Value,
    ) {
        let loc = [place.into(), name.into()];
        self.0.push(Fault { kind, loc, msg: msg.to_owned(), input: input.clone() });
    }

    /// Gives what was read if nothing was wrong.
    pub(crate) fn none_or<T>(self, read: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(read) } else { Err(self) }
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Result<Response, ApiError> {
        json(StatusCode::UNPROCESSABLE_ENTITY, &value!({ "detail": self.0 }))
    }
}

/// The fields of a body.
pub(crate) struct Fields {
    all: Map<String, Value>,
    wrong: Wrong,
}

impl Fields {
    /// Those of a text that is a JSON object.
    pub(crate) fn of(text: &str) -> Result<Self, Wrong> {
        let mut wrong = Wrong::default();
        match serde_json::from_str(text) {
            Ok(Value::Object(all)) => return Ok(Self { all, wrong }),
            Ok(other) => {
                wrong.0.push(Fault {
                    kind: "model_attributes_type",
                    loc: ["body".into(), 0.into()],
                    msg: "Input should be a valid dictionary or object to extract fields from".to_owned(),
                    input: other,
                });
            }
            Err(error) => wrong.0.push(Fault {
                kind: "json_invalid",
                loc: ["body".into(), error.column().into()],
                msg: format!("JSON decode error: {error}"),
                input: value!({}),
            }),
        }
        Err(wrong)
    }

    /// A text that must be there.
    pub(crate) fn text(&mut self, name: &str) -> String {
        if self.all.contains_key(name) {
            return self.text_or_none(name).unwrap_or_else(|| {
                if self.all.get(name).is_some_and(Value::is_null) {
                    self.not_text(name, &Value::Null);
                }
                String::new()
            });
        }
        let all = Value::Object(self.all.clone());
        self.wrong.add(("body", name), ("missing", "Field required"), &all);
        String::new()
    }

    /// A text that may be left out or null.
    pub(crate) fn text_or_none(&mut self, name: &str) -> Option<String> {
        match self.all.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.not_text(name, &other);
                None
            }
        }
    }

    fn not_text(&mut self, name: &str, got: &Value) {
        self.wrong.add(("body", name), ("string_type", "Input should be a valid string"), got);
    }

    /// Yes or no; none if it is left out or null.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.all.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(value) => {
                let flag = fastapi::boolean(&value);
                if flag.is_none() {
                    self.wrong.add(("body", name), ("bool_type", "Input should be a valid boolean"), &value);
                }
                flag
            }
        }
    }

    /// An object; none if it is left out or null.
    pub(crate) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.all.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(other) => {
                self.wrong.add(("body", name), ("dict_type", "Input should be a valid dictionary"), &other);
                None
            }
        }
    }

    /// A whole number of 0 or more; none if it is left out or null.
    pub(crate) fn number(&mut self, name: &str) -> Option<u64> {
        match self.all.get(name).cloned() {
            None | Some(Value::Null) => None,
            Some(other) => {
                let number = fastapi::whole(&other).and_then(|number| u64::try_from(number).ok());
                if number.is_none() {
                    self.wrong.add(("body", name), ("int_type", "Input should be a valid integer"), &other);
                }
                number
            }
        }
    }

    /// Gives what was read if nothing was wrong.
    pub(crate) fn none_or<T>(self, read: T) -> Result<T, Wrong> {
        self.wrong.none_or(read)
    }
}
