//! The words of FastAPI, which several of the systems were built with: `{"detail": …}`, with a text, or with a list of what is wrong
//! in a request (422).

use axum::response::Response;
use baton_api::{Problem, ProblemCode};
use http::StatusCode;
use percent_encoding::percent_decode_str;
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

/// A part of a path as its program is given it: what stands behind percent signs is read. Bytes that are no text are replaced.
pub fn part_of_path(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
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

/// Yes or no as those systems read it (Pydantic's lax mode): also from 0 and 1, and from words.
pub fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A number as those systems read it: also from a text of one, and from yes and no.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        other => other.as_f64(),
    }
}

/// A whole number as those systems read it: also from one with nothing behind its point, and from a text.
pub fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::String(text) => whole_of(text),
        other => other.as_i64().or_else(|| {
            // Within what a number of this kind holds exactly.
            let number = other.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
            Some(number as i64)
        }),
    }
}

/// The same of a text alone, such as a parameter of a query.
pub fn whole_of(text: &str) -> Option<i64> {
    let text = text.trim();
    let is_nothing = |rest: &str| rest.bytes().all(|digit| digit == b'0');
    text.split_once('.').filter(|(_, rest)| is_nothing(rest)).map_or(text, |(whole, _)| whole).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_percent_signs_is_read() {
        for (part, text) in
            [("a%20b", "a b"), ("a+b", "a+b"), ("%C3%BC", "ü"), ("%ff", "\u{fffd}"), ("%", "%")]
        {
            assert_eq!(part_of_path(part), text);
        }
    }

    #[test]
    fn fields_are_read_as_lax_as_those_systems_read_them() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!(0), Some(false)),
            (json!(1.0), Some(true)),
            (json!("True"), Some(true)),
            (json!("off"), Some(false)),
            (json!(2), None),
            (json!("maybe"), None),
            (json!(null), None),
            (json!([true]), None),
        ] {
            assert_eq!(boolean(&value), expected, "{value}");
        }
        assert_eq!(
            (number(&json!(" 0.5 ")), number(&json!(true)), number(&json!("x"))),
            (Some(0.5), Some(1.0), None)
        );
        assert_eq!((number(&json!("inf")), number(&json!(null))), (None, None));
        assert_eq!((whole(&json!(5.0)), whole(&json!("7")), whole(&json!(5.5))), (Some(5), Some(7), None));
        assert_eq!((whole(&json!("7.5")), whole(&json!({}))), (None, None));
        assert_eq!((whole(&json!("7.0")), whole_of(" -7 "), whole_of("1.")), (Some(7), Some(-7), Some(1)));
        assert_eq!((whole_of(".0"), whole_of("1.0.0"), whole_of("")), (None, None, None));
    }
}
