//! What is wrong with a body, as FastAPI says it: `{"detail": [{"type", "loc", "msg", "input"}]}` with 422.

use axum::response::Response;
use baton_http::{ApiError, json};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use serde_json::json as value;

/// Everything that is wrong with a body.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Value>,
    msg: String,
    input: Value,
}

/// What a field must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Must {
    /// It is not there.
    Be,
    BeText,
    BeBoolean,
    BeObject,
    BeList,
    /// The words of one action, or of several.
    BeAction,
}

impl Must {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Be => ("missing", "Field required"),
            Self::BeText => ("string_type", "Input should be a valid string"),
            Self::BeBoolean => ("bool_type", "Input should be a valid boolean"),
            Self::BeObject => ("dict_type", "Input should be a valid dictionary"),
            Self::BeList => ("list_type", "Input should be a valid list"),
            Self::BeAction => {
                ("value_error", "Value error, action must be a string or a non-empty list of strings")
            }
        }
    }
}

impl Wrong {
    /// Notes that a field, by its path below the body, is not what it must be; `input` is what came.
    pub(crate) fn add(&mut self, must: Must, path: &[Value], input: &Value) {
        let (kind, msg) = must.words();
        let loc = std::iter::once(Value::from("body")).chain(path.iter().cloned()).collect();
        self.0.push(Fault { kind, loc, msg: msg.to_owned(), input: input.clone() });
    }

    /// That a body is not JSON.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let fault = Fault {
            kind: "json_invalid",
            loc: vec!["body".into(), error.column().into()],
            msg: format!("JSON decode error: {error}"),
            input: value!({}),
        };
        Self(vec![fault])
    }

    /// Gives what was read if nothing was wrong.
    pub(crate) fn none_or<T>(self, read: Option<T>) -> Result<T, Self> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(self),
        }
    }

    /// All of it in one line, for the log.
    pub(crate) fn line(&self) -> String {
        let place = |fault: &Fault| {
            let names =
                fault.loc.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned));
            format!("{}: {}", names.collect::<Vec<_>>().join("."), fault.msg)
        };
        self.0.iter().map(place).collect::<Vec<_>>().join("; ")
    }

    /// The answer.
    pub(crate) fn answer(&self) -> Result<Response, ApiError> {
        json(StatusCode::UNPROCESSABLE_ENTITY, &value!({ "detail": self.0 }))
    }
}
