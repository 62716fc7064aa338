//! What a function is asked: its events as AWS hands them over, and its answers.

use std::time::Duration;

use baton_lambda::{Host, Invocation};
use baton_model::{Grant, Scope, Timestamp, Token, TokenId, TokenSecret};
use serde_json::{Value, json};

/// The token that requests come with: an operator's, which the events of `events/` have, too.
pub(crate) fn admin() -> (Token, TokenSecret) {
    token(
        TokenId::from_bytes(0x0198_0a6e_5b7c_7cc3_98c4_dc0c_0c07_3900_u128.to_be_bytes()),
        "admin",
        Scope::Operator,
    )
}

/// A token of this id, whose secret is always the same.
pub(crate) fn token(id: TokenId, name: &str, scope: Scope) -> (Token, TokenSecret) {
    let token = Token {
        id,
        name: name.parse().unwrap(),
        grant: Grant { scopes: [scope].into(), queues: [].into(), project: None },
        requests_per_second: None,
        created_at: Timestamp::from_millis(1_770_000_000_000),
        created_by: None,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    (token, TokenSecret::new(id, [7; TokenSecret::BYTES]))
}

/// What API Gateway tells a function of this token.
pub(crate) fn vouched(token: &Token) -> Value {
    json!({"token": serde_json::to_string(token).unwrap(), "token_id": token.id})
}

/// An invocation without anything of its own.
pub(crate) fn invocation(id: &str) -> Invocation {
    Invocation { request_id: id.to_owned(), ..Invocation::default() }
}

/// Gives a function an event; its answer as JSON.
pub(crate) async fn invoke(host: &Host, event: &Value) -> Value {
    serde_json::to_value(host.handle(&event.to_string(), &invocation("lambda-1")).await.unwrap()).unwrap()
}

/// A request of an operator, as API Gateway hands it over.
pub(crate) fn request(method: &str, path: &str, body: &Value) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    json!({
        "version": "2.0",
        "routeKey": format!("{method} {path}"),
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "authorizer": {"lambda": vouched(&admin().0)},
            "http": {"method": method, "path": path},
            "stage": "$default",
        },
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}

/// A question for the authorizer.
pub(crate) fn question(route_key: &str, authorization: Option<&str>) -> Value {
    let (method, path) = route_key.split_once(' ').unwrap_or(("GET", "/"));
    let mut event = json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "a"},
        "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
    });
    if let Some(authorization) = authorization {
        event["headers"]["authorization"] = json!(authorization);
    }
    event
}

/// What a caller with this token says.
pub(crate) fn bearer(secret: &TokenSecret) -> String {
    format!("Bearer {}", secret.reveal())
}

/// Sends a request; its status and its body.
pub(crate) async fn send(host: &Host, method: &str, path: &str, body: Value) -> (u64, Value) {
    let answer = invoke(host, &request(method, path, &body)).await;
    let status = answer["statusCode"].as_u64().unwrap();
    (status, serde_json::from_str(answer["body"].as_str().unwrap()).unwrap())
}

/// Messages as SQS hands them over, each with its id and body.
pub(crate) fn messages(messages: &[(String, String)]) -> Value {
    let records = messages.iter().map(|(id, body)| {
        json!({
            "messageId": id,
            "receiptHandle": "r",
            "body": body,
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:baton",
            "awsRegion": "eu-central-1",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// The ids of what of a batch is to come again.
pub(crate) fn again(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
