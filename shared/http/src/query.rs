//! Query strings, read with all that is wrong in them.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use baton_api::FieldError;
use baton_model::{Expected, limits};
use baton_store::PageRequest;
use baton_store::query::Cursor;
use http::request::Parts;

use crate::error::ApiError;

/// The most bytes of a cursor.
const CURSOR_BYTES: usize = 1_024;

/// The parameters of a query string while they are being read. What does not fit is noted, and [`Self::finish`] tells
/// all of it.
#[derive(Debug)]
pub struct QueryFields {
    values: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for QueryFields {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::new(parts.uri.query().unwrap_or_default()))
    }
}

impl QueryFields {
    /// Takes a query string apart.
    pub fn new(query: &str) -> Self {
        let values = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { values, known: Vec::new(), errors: Vec::new() }
    }

    /// A parameter that may be missing. `None` also if it does not fit.
    pub fn one<T: FromStr<Err = Expected>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|problem| self.refuse(name, problem)).ok()
    }

    /// A parameter that may come several times, or once as a list with commas.
    pub fn many<T: FromStr<Err = Expected>>(&mut self, name: &'static str) -> Vec<T> {
        let texts = self.take(name);
        let parts: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).collect();
        let read = |part: &&str| part.parse().map_err(|problem| self.refuse(name, problem)).ok();
        parts.iter().filter_map(read).collect()
    }

    /// A parameter as it came.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let mut texts = self.take(name);
        if texts.len() > 1 {
            self.refuse(name, Expected::new("the parameter once", format!("{} times", texts.len())));
        }
        texts.pop()
    }

    /// The page: `cursor` and `limit`.
    pub fn page(&mut self) -> PageRequest {
        let cursor = self.text("cursor");
        if let Some(cursor) =
            cursor.as_ref().filter(|cursor| cursor.is_empty() || cursor.len() > CURSOR_BYTES)
        {
            self.refuse(
                "cursor",
                Expected::text("the next_cursor of an earlier page of the same query", cursor),
            );
        }
        let limit = self.text("limit").and_then(|text| {
            let limit = text.parse().ok().filter(|limit| (1..=limits::PAGE).contains(limit));
            if limit.is_none() {
                let expected = format!("a whole number from 1 to {}", limits::PAGE);
                self.refuse("limit", Expected::text(expected, &text));
            }
            limit
        });
        PageRequest {
            after: cursor.map(Cursor),
            limit: limit.unwrap_or(limits::DEFAULT_PAGE),
            in_parts: false,
        }
    }

    /// Notes that a parameter does not fit.
    pub fn refuse(&mut self, name: &str, problem: Expected) {
        self.errors.push(FieldError { field: name.to_owned(), expected: problem.expected, got: problem.got });
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 422 with all parameters that do not fit, and those that nobody has asked for.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let unknown: Vec<String> = self.values.iter().take(20).map(|(name, _)| name.clone()).collect();
        for name in unknown {
            let expected = if self.known.is_empty() {
                "no parameters".to_owned()
            } else {
                format!("one of {}", self.known.join(", "))
            };
            let shown: String = name.chars().take(Expected::SHOWN).collect();
            self.refuse(&shown, Expected::new(expected, "an unknown parameter"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::fields(self.errors)) }
    }

    fn take(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let taken = self.values.extract_if(.., |(key, _)| key == name);
        taken.map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_model::{QueueName, Status};

    #[test]
    fn parameters_are_read_and_decoded() {
        let mut query = QueryFields::new("status=queued,running&status=failed&queue=a%2Bb&limit=7&cursor=x");
        assert_eq!(query.many::<Status>("status"), [Status::Queued, Status::Running, Status::Failed]);
        assert_eq!(query.one::<QueueName>("queue").unwrap().as_str(), "a+b");
        let page = query.page();
        assert_eq!((page.limit, page.after.unwrap().0.as_str()), (7, "x"));
        assert!(query.finish().is_ok());
    }

    #[test]
    fn all_that_does_not_fit_is_told_at_once() {
        let mut query = QueryFields::new("status=queued,lost&queue=a/b&limit=0&quue=x&queue2&type=a&type=b");
        let _ = query.many::<Status>("status");
        let _ = query.one::<QueueName>("queue");
        let _ = query.one::<QueueName>("type");
        let _ = query.page();
        let problem = query.finish().unwrap_err().into_problem();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["status", "queue", "type", "limit", "quue", "queue2"]);
    }
}
