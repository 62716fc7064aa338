//! The events that trigger functions, as far as they are read, told apart by their shape.
//!
//! `aws_lambda_events` has types of all of their fields; reading the few that count borrows what it can from the event
//! and needs none of that crate's features.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Any event: each field is there if the trigger has it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    pub(crate) request_context: Option<RequestContext<'a>>,
    #[serde(borrow)]
    pub(crate) route_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) raw_path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) raw_query_string: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) headers: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(borrow)]
    pub(crate) cookies: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    pub(crate) body: Option<Cow<'a, str>>,
    /// `REQUEST` in an event for an authorizer; requests have none.
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) is_base64_encoded: bool,
    #[serde(borrow, rename = "Records")]
    pub(crate) records: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RequestContext<'a> {
    /// Only requests of payload format 2.0 have it.
    #[serde(borrow)]
    pub(crate) http: Option<HttpContext<'a>>,
    #[serde(borrow)]
    pub(crate) stage: Option<Cow<'a, str>>,
    /// The API's own name for the request, which its access log has.
    #[serde(borrow, rename = "requestId")]
    pub(crate) request_id: Option<Cow<'a, str>>,
    /// What the API's authorizer has answered. Only API Gateway sets it: nothing that a client sends gets there.
    #[serde(borrow)]
    pub(crate) authorizer: Option<AuthorizerContext<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AuthorizerContext<'a> {
    /// The context of a Lambda authorizer, of whatever form another one than Baton's gives it.
    #[serde(borrow)]
    pub(crate) lambda: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct HttpContext<'a> {
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
}

/// One record of a batch, as far as its kind and name go.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordHead<'a> {
    #[serde(borrow)]
    event_source: Option<Cow<'a, str>>,
}

/// A message of an SQS queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueRecord {
    pub(crate) message_id: String,
    pub(crate) body: String,
    #[serde(default)]
    pub(crate) message_attributes: BTreeMap<String, QueueAttribute>,
}

/// An attribute of a message, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueAttribute {
    #[serde(default)]
    pub(crate) string_value: Option<String>,
}

/// A record of a DynamoDB stream, as far as its number goes.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamRecord<'a> {
    #[serde(borrow)]
    pub(crate) dynamodb: StreamNumber<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StreamNumber<'a> {
    #[serde(borrow, rename = "SequenceNumber")]
    pub(crate) sequence_number: Cow<'a, str>,
}

/// What triggered a function.
#[derive(Debug)]
pub(crate) enum Trigger<'a> {
    /// API Gateway, by its HTTP API (payload format 2.0), or a function URL.
    Http(Box<Event<'a>>),
    /// A question of API Gateway, whether a request may go on (payload format 2.0).
    Authorization(Box<Event<'a>>),
    /// Messages of a queue.
    Queue(Vec<&'a RawValue>),
    /// Records of a stream.
    Stream(Vec<&'a RawValue>),
    /// Anything else: a schedule's events have no shape of their own, as their input may be set.
    Other,
}

impl<'a> Trigger<'a> {
    /// Reads an event.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(event: &'a str) -> Result<Self, String> {
        let mut event: Event<'_> = serde_json::from_str(event).map_err(|error| error.to_string())?;
        if let Some(records) = event.records.take() {
            let Some(first) = records.first() else { return Ok(Self::Queue(records)) };
            let head: RecordHead<'_> =
                serde_json::from_str(first.get()).map_err(|error| error.to_string())?;
            return match head.event_source.as_deref() {
                Some("aws:sqs") => Ok(Self::Queue(records)),
                Some("aws:dynamodb") => Ok(Self::Stream(records)),
                other => {
                    let got = other.unwrap_or("none");
                    Err(format!("expected records of aws:sqs or aws:dynamodb, got records of {got}"))
                }
            };
        }
        match &event.request_context {
            Some(RequestContext { http: Some(_), .. }) if event.kind.as_deref() == Some("REQUEST") => {
                Ok(Self::Authorization(Box::new(event)))
            }
            Some(RequestContext { http: Some(_), .. }) => Ok(Self::Http(Box::new(event))),
            Some(_) => Err("expected a request of payload format 2.0, got another; set the integration's \
                            PayloadFormatVersion to 2.0"
                .to_owned()),
            None => Ok(Self::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_by_their_shape() {
        let http = r#"{"version":"2.0","requestContext":{"http":{"method":"GET"},"stage":"$default"}}"#;
        assert!(matches!(Trigger::read(http), Ok(Trigger::Http(_))));
        let asked = r#"{"version":"2.0","type":"REQUEST","requestContext":{"http":{"method":"GET"}}}"#;
        assert!(matches!(Trigger::read(asked), Ok(Trigger::Authorization(_))));
        let queue = r#"{"Records":[{"eventSource":"aws:sqs"},{}]}"#;
        assert!(matches!(Trigger::read(queue), Ok(Trigger::Queue(records)) if records.len() == 2));
        let stream = r#"{"Records":[{"eventSource":"aws:dynamodb"}]}"#;
        assert!(matches!(Trigger::read(stream), Ok(Trigger::Stream(_))));
        for scheduled in [r#"{"source":"aws.scheduler"}"#, "{}"] {
            assert!(matches!(Trigger::read(scheduled), Ok(Trigger::Other)), "{scheduled}");
        }
        for (wrong, told) in [
            (r#"{"Records":[{"eventSource":"aws:s3"}]}"#, "got records of aws:s3"),
            (r#"{"httpMethod":"GET","requestContext":{"stage":"x"}}"#, "payload format 2.0"),
            ("[]", "expected struct Event"),
        ] {
            let error = Trigger::read(wrong).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
