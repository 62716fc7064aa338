//! One request: who asks, and how it is said that something is not so.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::Response;
use baton_http::fastapi::{self, Must, Wrong};
use baton_http::{ApiError, ApiResult, BodyLimit, Caller, body, json};
use baton_model::Timestamp;
use baton_store::StoreError;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::client::Client;
use crate::drift::Drift;
use crate::watch;

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) drift: &'a Drift,
    pub(crate) caller: &'a Caller,
    /// The time that all of the answer is as of.
    pub(crate) now: Timestamp,
    /// The id in the path, if it has one.
    pub(crate) id: String,
    query: String,
}

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum No {
    /// It does not fit.
    Wrong(Wrong),
    /// The dialect's own words for it.
    Said(StatusCode, &'static str),
    /// Baton refuses it; the words are found where all of its problems are worded.
    Refused(ApiError),
}

impl From<ApiError> for No {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<Wrong> for No {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl No {
    /// The answer.
    pub(crate) fn answer(self) -> ApiResult {
        match self {
            Self::Wrong(wrong) => wrong.answer(),
            Self::Said(status, detail) => fastapi::detail(status, detail),
            Self::Refused(error) => Err(error),
        }
    }
}

/// What a handler answers.
pub(crate) type Told = Result<Response, No>;

/// 200 with this.
pub(crate) fn told(body: &impl serde::Serialize) -> Told {
    Ok(json(StatusCode::OK, body)?)
}

impl<'a> Ask<'a> {
    pub(crate) fn begin(
        drift: &'a Drift,
        caller: &'a Caller,
        params: Result<RawPathParams, RawPathParamsRejection>,
        request: &Request,
    ) -> Self {
        // Bytes that are no text are no id that anything has.
        let id = params.ok().and_then(|params| params.iter().next().map(|(_, id)| id.to_owned()));
        let query = request.uri().query().unwrap_or_default().to_owned();
        Self { drift, caller, now: drift.app.now(), id: id.unwrap_or_default(), query }
    }

    /// The client that asks, which is heard by it.
    pub(crate) async fn client(&self) -> Result<Client, No> {
        let client = Client::of(self.caller)?;
        watch::hear(self.drift, &client).await?;
        Ok(client)
    }

    /// A whole number of the query.
    pub(crate) fn number(&self, name: &str, most: u32, otherwise: u32) -> Result<u32, Wrong> {
        let mut all = form_urlencoded::parse(self.query.as_bytes());
        let Some((_, text)) = all.find(|(key, _)| key == name) else { return Ok(otherwise) };
        let mut wrong = Wrong::default();
        let number = fastapi::whole_of(&text).and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            wrong.add_to_query(Must::BeWhole, name, &Value::from(&*text));
        }
        wrong.none_or(number.map(|number| number.clamp(1, most)))
    }

    /// The fields of the request's body, whatever its kind is said to be.
    pub(crate) async fn fields(&self, request: Request, limit: BodyLimit) -> Result<Fields, No> {
        let bytes = body::of_any_kind(request, limit.bytes(&self.drift.app.limits())).await?;
        Ok(Fields::of(fastapi::object(body::utf8(&bytes)?)?))
    }

    /// The same of a body that may be left out.
    pub(crate) async fn fields_if_any(&self, request: Request) -> Result<Fields, No> {
        let bytes = body::of_any_kind(request, BodyLimit::Params.bytes(&self.drift.app.limits())).await?;
        let text = body::utf8(&bytes)?;
        Ok(Fields::of(if text.trim().is_empty() { Map::new() } else { fastapi::object(text)? }))
    }
}

/// The fields of a body, with all that is wrong in them.
pub(crate) struct Fields {
    all: Map<String, Value>,
    wrong: Wrong,
}

impl Fields {
    fn of(all: Map<String, Value>) -> Self {
        Self { all, wrong: Wrong::default() }
    }

    /// A field that may be left out or null.
    pub(crate) fn maybe<T>(
        &mut self,
        name: &str,
        must: Must,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.all.get(name).filter(|value| !value.is_null())?;
        let found = read(value);
        if found.is_none() {
            self.wrong.add(must, &[name.into()], value);
        }
        found
    }

    /// A field that must be there.
    pub(crate) fn needed<T>(
        &mut self,
        name: &str,
        must: Must,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.all.contains_key(name) {
            self.wrong.add(Must::Be, &[name.into()], &Value::Object(self.all.clone()));
            return None;
        }
        let found = read(&self.all[name]);
        if found.is_none() {
            self.wrong.add(must, &[name.into()], &self.all[name].clone());
        }
        found
    }

    /// A text that must be there.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.needed(name, Must::BeText, |value| value.as_str().map(str::to_owned))
    }

    /// An object that may be left out.
    pub(crate) fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        self.maybe(name, Must::BeObject, |value| value.as_object().cloned())
    }

    /// A number of 0 or more that may be left out.
    pub(crate) fn amount(&mut self, name: &str) -> Option<f64> {
        self.maybe(name, Must::BeNumber, |value| fastapi::number(value).filter(|number| *number >= 0.0))
    }

    /// A whole number that may be left out.
    pub(crate) fn whole(&mut self, name: &str) -> Option<i64> {
        self.maybe(name, Must::BeWhole, fastapi::whole)
    }

    /// A whole number of 1 or more that may be left out.
    pub(crate) fn some(&mut self, name: &str) -> Option<u64> {
        let read = |value: &Value| u64::try_from(fastapi::whole(value)?).ok().filter(|number| *number > 0);
        self.maybe(name, Must::BeWhole, read)
    }

    /// Notes that a field breaks a rule.
    pub(crate) fn refuse(&mut self, name: &str, rule: &'static str) {
        self.wrong.add(Must::Fit(rule), &[name.into()], self.all.get(name).unwrap_or(&Value::Null));
    }

    /// The fields that are not among these.
    pub(crate) fn others(&self, names: &[&str]) -> Map<String, Value> {
        let others = self.all.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        others.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Gives what was read if nothing was wrong.
    pub(crate) fn none_or<T>(self, read: Option<T>) -> Result<T, Wrong> {
        self.wrong.none_or(read)
    }
}
