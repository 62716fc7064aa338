//! The words of FastAPI, which several of the systems were built with: `{"detail": …}`, with a text, or with a list of what is wrong
//! in a request (422).

use axum::response::Response;
use baton_api::{Problem, ProblemCode};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, ApiResult};
use crate::reply;

/// A problem as FastAPI says it.
pub fn phrase(problem: &Problem) -> Response {
    let text = match problem.code.as_str() {
        code if code == ProblemCode::RouteNotFound.as_str() => "Not Found",
        code if code == ProblemCode::MethodNotAllowed.as_str() => "Method Not Allowed",
        _ => problem.detail.as_str(),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A text always serialises.
    detail(status, text).unwrap_or_default()
}

/// An answer with a text.
///
/// # Errors
/// As [`reply::json`].
pub fn detail(status: StatusCode, text: &str) -> ApiResult {
    reply::json(status, &json!({ "detail": text }))
}

/// Everything that is wrong with a request.
#[derive(Debug, Default)]
pub struct Wrong(Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: String,
    loc: Vec<Value>,
    msg: String,
    input: Value,
}

/// What a field must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// It must be there.
    Be,
    /// A text.
    BeText,
    /// `true` or `false`.
    BeBoolean,
    /// A number.
    BeNumber,
    /// A whole number.
    BeWhole,
    /// An object.
    BeObject,
    /// A list.
    BeList,
    /// What a rule of the program's own says: its words.
    Fit(&'static str),
}

impl Must {
    fn words(self) -> (&'static str, String) {
        let (kind, words) = match self {
            Self::Be => ("missing", "Field required"),
            Self::BeText => ("string_type", "Input should be a valid string"),
            Self::BeBoolean => ("bool_type", "Input should be a valid boolean"),
            Self::BeNumber => ("float_type", "Input should be a valid number"),
            Self::BeWhole => ("int_parsing", "Input should be a valid integer"),
            Self::BeObject => ("dict_type", "Input should be a valid dictionary"),
            Self::BeList => ("list_type", "Input should be a valid list"),
            Self::Fit(rule) => return ("value_error", format!("Value error, {rule}")),
        };
        (kind, words.to_owned())
    }
}

impl Wrong {
    /// Notes that a field, by its path below the body, is not what it must be; `input` is what came.
    pub fn add(&mut self, must: Must, path: &[Value], input: &Value) {
        let loc = std::iter::once(Value::from("body")).chain(path.iter().cloned()).collect();
        self.push(must, loc, input);
    }

    /// Notes that a parameter of the query is not what it must be.
    pub fn add_to_query(&mut self, must: Must, name: &str, input: &Value) {
        self.push(must, vec!["query".into(), name.into()], input);
    }

    fn push(&mut self, must: Must, loc: Vec<Value>, input: &Value) {
        let (kind, msg) = must.words();
        self.0.push(Fault { kind: kind.to_owned(), loc, msg, input: input.clone() });
    }

    /// What Baton has found wrong with fields that have the same names there.
    pub fn of_fields(problem: &Problem) -> Self {
        let fault = |error: &baton_api::FieldError| {
            let path = error.field.split('.').map(Value::from);
            Fault {
                kind: "value_error".to_owned(),
                loc: std::iter::once(Value::from("body")).chain(path).collect(),
                msg: format!("Value error, expected {}", error.expected),
                input: error.got.clone().into(),
            }
        };
        Self(problem.errors.iter().map(fault).collect())
    }

    /// Gives what was read if nothing was wrong.
    ///
    /// # Errors
    /// What was wrong.
    pub fn none_or<T>(self, read: Option<T>) -> Result<T, Self> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => Err(self),
        }
    }

    /// All of it in one line, for a log.
    pub fn line(&self) -> String {
        let place = |fault: &Fault| {
            let name = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            format!("{}: {}", fault.loc.iter().map(name).collect::<Vec<_>>().join("."), fault.msg)
        };
        self.0.iter().map(place).collect::<Vec<_>>().join("; ")
    }

    /// The answer.
    ///
    /// # Errors
    /// As [`reply::json`].
    pub fn answer(&self) -> Result<Response, ApiError> {
        reply::json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": self.0 }))
    }
}

/// A body that is to be a JSON object.
///
/// # Errors
/// What it is instead.
pub fn object(body: &str) -> Result<Map<String, Value>, Wrong> {
    let mut wrong = Wrong::default();
    if body.trim().is_empty() {
        wrong.add(Must::Be, &[], &Value::Null);
        return Err(wrong);
    }
    match serde_json::from_str(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => {
            wrong.add(Must::BeObject, &[], &other);
            Err(wrong)
        }
        Err(error) => Err(Wrong(vec![Fault {
            kind: "json_invalid".to_owned(),
            loc: vec!["body".into(), error.column().into()],
            msg: format!("JSON decode error: {error}"),
            input: json!({}),
        }])),
    }
}
