//! Requests and answers of API Gateway's HTTP APIs, payload format 2.0, which function URLs speak, too.
//!
//! `lambda_http` does the same for functions that take nothing but HTTP; a dispatcher by event shape would have to
//! reach into what it hides.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use baton_api::ProblemCode;
use baton_api::address::{PATH, escaped};
use baton_http::ApiError;
use baton_http::auth::Vouched;
use baton_http::request_id::REQUEST_ID;
use baton_model::RequestKey;
use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use crate::event::Event;

/// The most bytes of a body that Lambda carries back: 6 MB with all that belongs to the answer.
const ANSWER_BYTES: usize = 6_000_000;

/// The name of a request: the API's own, without the `=` behind it, so that it leads from the function's lines to the access log's
/// and the other way round; Lambda's for its invocation, where there is none that may be one.
pub(crate) fn id<'a>(event: &'a Event<'_>, invocation: &'a str) -> &'a str {
    let api = event.request_context.as_ref().and_then(|context| context.request_id.as_deref());
    let api = api.map(|id| id.trim_end_matches('='));
    api.filter(|id| id.parse::<RequestKey>().is_ok()).unwrap_or(invocation)
}

/// Makes the request of an event. It gets `request_id` as its own unless it brought one.
///
/// # Errors
/// A problem, if it cannot be read as HTTP.
pub(crate) fn request(event: Event<'_>, request_id: &str) -> Result<Request<Full<Bytes>>, ApiError> {
    let malformed = |what: &str| {
        ApiError::new(
            ProblemCode::MalformedRequest,
            format!("expected {what}, got other bytes; mend the request and send it again"),
        )
    };
    let path = legible(path(&event));
    let uri = match event.raw_query_string.as_deref() {
        None | Some("") => path,
        Some(query) => Cow::Owned(format!("{path}?{query}")),
    };
    let body = match event.body {
        None => Bytes::new(),
        Some(text) if event.is_base64_encoded => {
            let bytes = BASE64_STANDARD.decode(&*text).map_err(|_| malformed("a body in base64"))?;
            Bytes::from(bytes)
        }
        Some(text) => Bytes::from(text.into_owned()),
    };
    let (http, authorizer) =
        event.request_context.map(|context| (context.http, context.authorizer)).unwrap_or_default();
    let method = http.map(|http| http.method);
    let method =
        Method::from_bytes(method.unwrap_or_default().as_bytes()).map_err(|_| malformed("a method"))?;
    let request = Request::builder().method(method).uri(&*uri).body(Full::new(body));
    let mut request = request.map_err(|_| malformed("a path and query by the rules of URIs"))?;
    let headers = request.headers_mut();
    for (name, value) in event.headers.into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("names of headers"))?;
        let value = HeaderValue::from_str(&value).map_err(|_| malformed("values of headers"))?;
        headers.append(name, value);
    }
    if let Some(cookies) = event.cookies.filter(|cookies| !cookies.is_empty()) {
        let cookies = HeaderValue::from_str(&cookies.join("; ")).map_err(|_| malformed("cookies"))?;
        headers.insert(COOKIE, cookies);
    }
    if !headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(request_id)
    {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(context) = authorizer.and_then(|authorizer| authorizer.lambda) {
        match serde_json::from_str::<Vouched>(context.get()) {
            Ok(vouched) => _ = request.extensions_mut().insert(vouched),
            // The request goes on as one that nobody vouches for.
            Err(error) => tracing::warn!(%error, "what the API's authorizer says cannot be read"),
        }
    }
    Ok(request)
}

/// What the API's authorizer is asked about.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The key of the request's route, such as `POST /v1/tasks`; empty if there is none.
    pub route_key: String,
    /// The request's headers, as far as they can be read: the others hold no token.
    pub headers: HeaderMap,
}

impl Asked {
    pub(crate) fn of(event: Event<'_>) -> Self {
        let readable = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok())
        };
        Self {
            route_key: event.route_key.unwrap_or_default().into_owned(),
            headers: event.headers.into_iter().flatten().filter_map(readable).collect(),
        }
    }
}

/// The path as routes know it: an API's stage, unless it is the default one, stands before it.
///
/// A domain's mapping to a stage may leave it out, so that the route's own path decides where there is one.
fn path<'a>(event: &Event<'a>) -> Cow<'a, str> {
    let raw = event.raw_path.clone().unwrap_or(Cow::Borrowed("/"));
    let stage = event.request_context.as_ref().and_then(|context| context.stage.as_deref());
    let Some(stage) = stage.filter(|stage| !stage.is_empty() && *stage != "$default") else { return raw };
    let Some(rest) = raw.strip_prefix('/').and_then(|path| path.strip_prefix(stage)) else { return raw };
    if !rest.is_empty() && !rest.starts_with('/') {
        return raw;
    }
    let segments = |path: &str| path.split('/').filter(|segment| !segment.is_empty()).count();
    let route = event.route_key.as_deref().and_then(|key| key.split_once(' ')).map(|(_, path)| path);
    if route.is_some_and(|route| !route.contains("+}") && segments(route) == segments(&raw)) {
        return raw;
    }
    Cow::Owned(if rest.is_empty() { "/".to_owned() } else { rest.to_owned() })
}

/// A path as a URI has it. An HTTP API hands on what it has decoded, with blanks and letters of all kinds, such as names of files have; what
/// is written as `%` and two digits there stays so, as a function URL hands on what was sent.
fn legible(path: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || PATH.contains(&byte) || byte == b'%';
    if path.bytes().all(is_plain) && !path.contains('%') {
        return path;
    }
    let (mut plain, mut rest) = (String::with_capacity(path.len()), &*path);
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        plain.push_str(&escaped(before, PATH));
        let digits = from.as_bytes().get(1..3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        plain.push_str(if digits { "%" } else { "%25" });
        rest = &from[1..];
    }
    plain.push_str(&escaped(rest, PATH));
    Cow::Owned(plain)
}

/// An answer in the form that API Gateway takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpAnswer {
    pub(crate) status_code: u16,
    headers: BTreeMap<String, String>,
    /// There also when empty: `cargo lambda` takes no answer without.
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

impl HttpAnswer {
    /// Takes a response whole.
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            // No handler answers in parts on a store that functions work with; if one ever does, half is no answer.
            Err(error) => {
                tracing::error!(%error, "an answer broke off while it was made");
                return Self::problem(&ApiError::internal());
            }
        };
        let (text, is_base64_encoded) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64_STANDARD.encode(&body), true),
        };
        if text.len() > ANSWER_BYTES {
            return Self::problem(&ApiError::new(
                ProblemCode::PayloadTooLarge,
                format!(
                    "expected an answer of at most {ANSWER_BYTES} bytes, which is what Lambda carries, got {}; ask for \
                     a smaller page or fewer tasks at once",
                    text.len()
                ),
            ));
        }
        Self {
            status_code: parts.status.as_u16(),
            cookies: values(&parts.headers, &SET_COOKIE),
            headers: joined(&parts.headers),
            body: text,
            is_base64_encoded,
        }
    }

    /// A problem from outside of the envelope.
    pub(crate) fn problem(error: &ApiError) -> Self {
        error.log();
        let headers = [("content-type".to_owned(), "application/problem+json".to_owned())].into();
        let problem = error.clone().into_problem();
        Self {
            status_code: error.code().status(),
            headers,
            cookies: Vec::new(),
            // A problem is made of text and numbers, which always serialise.
            body: serde_json::to_string(&problem).unwrap_or_default(),
            is_base64_encoded: false,
        }
    }
}

fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// Headers that come several times are one list (RFC 9110 §5.3); cookies are not, and have a place of their own.
fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().filter(|name| **name != SET_COOKIE);
    names.map(|name| (name.as_str().to_owned(), values(headers, name).join(", "))).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::event::Trigger;

    fn read(event: &serde_json::Value) -> Request<Full<Bytes>> {
        let text = event.to_string();
        let Ok(Trigger::Http(event)) = Trigger::read(&text) else { panic!("{text}") };
        request(*event, "lambda-1").unwrap()
    }

    #[tokio::test]
    async fn a_request_arrives_with_all_that_it_has() {
        let event = serde_json::json!({
            "version": "2.0",
            "routeKey": "POST /v1/tasks",
            "rawPath": "/v1/tasks",
            "rawQueryString": "a=b%20c&a=d",
            "headers": {"content-type": "application/json", "x-many": "1,2"},
            "cookies": ["a=1", "b=2"],
            "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
            "body": BASE64_STANDARD.encode([0, 255]),
            "isBase64Encoded": true,
        });
        let request = read(&event);
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::POST, "/v1/tasks?a=b%20c&a=d")
        );
        assert_eq!(request.headers()["cookie"], "a=1; b=2");
        assert_eq!(request.headers()["x-many"], "1,2");
        assert_eq!(request.headers()["x-request-id"], "lambda-1");
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes().as_ref(), [0, 255]);
    }

    #[test]
    fn a_request_is_called_as_the_api_calls_it_where_that_is_a_name() {
        for (context, name) in [
            (serde_json::json!({"requestId": "JKJaXmPLvHcESHA="}), "JKJaXmPLvHcESHA"),
            (
                serde_json::json!({"requestId": "7a0e3f9e-5b7c-4cc3-98c4-dc0c0c07398f"}),
                "7a0e3f9e-5b7c-4cc3-98c4-dc0c0c07398f",
            ),
            (serde_json::json!({"requestId": "=="}), "lambda-1"),
            (serde_json::json!({"requestId": "a \"b\""}), "lambda-1"),
            (serde_json::json!({}), "lambda-1"),
        ] {
            let mut event = serde_json::json!({"requestContext": {"http": {"method": "GET"}}});
            event["requestContext"]["requestId"] = context["requestId"].clone();
            let text = event.to_string();
            let Ok(Trigger::Http(event)) = Trigger::read(&text) else { panic!("{text}") };
            assert_eq!(id(&event, "lambda-1"), name, "{text}");
        }
    }

    #[test]
    fn a_stage_before_the_path_is_taken_off_and_a_route_of_the_same_name_is_not() {
        for (stage, route, raw, path) in [
            ("$default", "GET /v1/tasks", "/v1/tasks", "/v1/tasks"),
            ("prod", "GET /v1/tasks", "/prod/v1/tasks", "/v1/tasks"),
            ("prod", "$default", "/prod/v1/tasks/a", "/v1/tasks/a"),
            ("prod", "$default", "/products", "/products"),
            ("v1", "GET /v1/tasks", "/v1/v1/tasks", "/v1/tasks"),
            ("v1", "GET /v1/tasks", "/v1/tasks", "/v1/tasks"),
            ("prod", "ANY /{proxy+}", "/prod/v1/tasks", "/v1/tasks"),
        ] {
            let event = serde_json::json!({
                "routeKey": route,
                "rawPath": raw,
                "requestContext": {"http": {"method": "GET"}, "stage": stage},
            });
            assert_eq!(read(&event).uri().path(), path, "{stage} {route} {raw}");
        }
    }

    #[test]
    fn a_path_that_was_decoded_is_written_as_a_uri_again() {
        for (raw, path) in [
            ("/v1/files/film/a b/ü.png", "/v1/files/film/a%20b/%C3%BC.png"),
            ("/v1/files/film/a%20b.png", "/v1/files/film/a%20b.png"),
            ("/v1/files/film/100%", "/v1/files/film/100%25"),
            ("/v1/files/film/%zz%4", "/v1/files/film/%25zz%254"),
            ("/v1/files/film/a\"?#.png", "/v1/files/film/a%22%3F%23.png"),
            ("/v1/tasks/a:b@c", "/v1/tasks/a:b@c"),
        ] {
            let event = serde_json::json!({"rawPath": raw, "requestContext": {"http": {"method": "GET"}}});
            assert_eq!(read(&event).uri().path(), path, "{raw}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_text_where_it_is_text_and_base64_else() {
        let answer = |bytes: &'static [u8]| {
            Response::builder()
                .status(201)
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("x-many", "1")
                .header("x-many", "2")
                .body(Body::from(bytes))
                .unwrap()
        };
        let told = serde_json::to_value(HttpAnswer::of(answer(b"{}")).await).unwrap();
        let expected = serde_json::json!({
            "statusCode": 201,
            "headers": {"x-many": "1, 2"},
            "cookies": ["a=1", "b=2"],
            "body": "{}",
            "isBase64Encoded": false,
        });
        assert_eq!(told, expected);
        let told = serde_json::to_value(HttpAnswer::of(answer(&[0, 255])).await).unwrap();
        assert_eq!((&told["body"], &told["isBase64Encoded"]), (&"AP8=".into(), &true.into()));
    }

    #[tokio::test]
    async fn an_answer_that_lambda_would_lose_is_a_problem() {
        let answer = HttpAnswer::of(Response::new(Body::from(vec![b'x'; ANSWER_BYTES + 1]))).await;
        assert_eq!(answer.status_code, 413);
        assert!(answer.body.contains("a smaller page"), "{}", answer.body);
    }
}
