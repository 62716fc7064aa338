//! When the client sends a request again, against a server whose answers are written down beforehand.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

mod support;

use std::time::Duration;

use baton_api::bulk::{BulkRequest, Do, FilterRequest};
use baton_api::claim::ClaimRequest;
use baton_api::create::CreateTask;
use baton_api::manage::{ActionRequest, RetryRequest};
use baton_api::{Problem, ProblemCode};
use baton_client::{Client, ClientError};
use baton_model::{Directive, EventKind, TaskId, TokenId, TokenSecret};
use support::{Script, Step, header};
use tokio::net::TcpListener;

fn problem(code: ProblemCode) -> Step {
    let problem = Problem::new(code, "told by the test");
    Step::Answer(problem.status, serde_json::to_string(&problem).unwrap())
}

const TASK: &str = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";

fn created() -> Step {
    let body = format!(
        r#"{{"id":"{TASK}","status":"queued","created_at":"2026-01-31T08:15:00Z","run_after":"2026-01-31T08:15:00Z"}}"#
    );
    Step::Answer(201, body)
}

#[tokio::test]
async fn a_creation_is_repeated_under_one_key_until_it_is_answered() {
    let script = Script::start(vec![Step::HangUp, problem(ProblemCode::OutcomeUnknown), created()]).await;
    let task = CreateTask::new("render".parse().unwrap());

    let answer = script.client().create_task(&task).await.unwrap();

    assert_eq!(answer.id.to_string(), TASK);
    let heard = script.heard();
    assert_eq!(heard.len(), 3);
    let keys: Vec<_> = heard.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert!(keys[0].len() >= 32 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(heard[0].ends_with(r#"{"type":"render"}"#), "{}", heard[0]);
}

#[tokio::test]
async fn a_bulk_command_is_repeated_under_one_key_until_it_is_answered() {
    let made = format!(
        r#"{{"id":"{TASK}","do":"cancel","state":"running","looked_at":0,"changed":0,"created_at":"2026-01-31T08:15:00Z"}}"#
    );
    let steps = vec![Step::HangUp, problem(ProblemCode::OutcomeUnknown), Step::Answer(200, made)];
    let script = Script::start(steps).await;
    let filter = FilterRequest { queue: Some("gpu".parse().unwrap()), ..FilterRequest::default() };
    let cancel = BulkRequest {
        action: Do::Cancel,
        with: None,
        filter: Some(filter),
        ids: vec![],
        dry_run: false,
        by: None,
        reason: None,
    };

    let bulk = script.client().bulk(&cancel).await.unwrap();

    assert_eq!(bulk.id.to_string(), TASK);
    let heard = script.heard();
    assert_eq!(heard.len(), 3);
    let keys: Vec<_> = heard.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert!(keys[0].len() >= 32 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_claim_that_api_gateway_turns_away_comes_again() {
    // In its own words: for Lambda's lack of concurrency, and for the API's own throttle.
    let away = |status, words: &str| Step::Answer(status, format!(r#"{{"message":"{words}"}}"#));
    let steps = vec![
        away(503, "Service Unavailable"),
        away(429, "Too Many Requests"),
        away(503, "Service Unavailable"),
        Step::Answer(200, r#"{"tasks":[]}"#.to_owned()),
    ];
    let script = Script::start(steps).await;
    let claim =
        ClaimRequest { request_id: Some("c1".parse().unwrap()), ..ClaimRequest::new("w".parse().unwrap()) };
    let answer = script.client().claim(&claim).await.unwrap();
    assert!(answer.tasks.is_empty());
    let heard = script.heard();
    assert!(
        heard.len() == 4 && heard.iter().all(|request| request.contains(r#""request_id":"c1""#)),
        "{heard:?}"
    );
}

#[tokio::test]
async fn two_creations_have_two_keys() {
    let script = Script::start(vec![created(), created()]).await;
    let (client, task) = (script.client(), CreateTask::new("render".parse().unwrap()));
    client.create_task(&task).await.unwrap();
    client.create_task(&task).await.unwrap();
    let heard = script.heard();
    assert_ne!(header(&heard[0], "idempotency-key"), header(&heard[1], "idempotency-key"));
}

#[tokio::test]
async fn a_claim_is_repeated_only_if_it_has_a_name() {
    let nameless = ClaimRequest::new("w1".parse().unwrap());
    let script = Script::start(vec![Step::HangUp]).await;
    let error = script.client().claim(&nameless).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert_eq!(script.heard().len(), 1);

    let named = ClaimRequest { request_id: Some("c1".parse().unwrap()), ..nameless };
    let script = Script::start(vec![Step::HangUp, Step::Answer(200, r#"{"tasks":[]}"#.to_owned())]).await;
    assert!(script.client().claim(&named).await.unwrap().tasks.is_empty());
    assert_eq!(script.heard().len(), 2);
}

#[tokio::test]
async fn a_retry_is_repeated_when_nothing_was_changed_but_not_when_that_is_unknown() {
    let id: TaskId = TASK.parse().unwrap();
    let script = Script::start(vec![problem(ProblemCode::Busy), problem(ProblemCode::OutcomeUnknown)]).await;

    let error = script.client().retry(id, &RetryRequest::default()).await.unwrap_err();

    assert_eq!(error.code(), Some(ProblemCode::OutcomeUnknown));
    assert_eq!(script.heard().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_told_at_once_with_its_code() {
    let script = Script::start(vec![problem(ProblemCode::WorkerNotFound)]).await;
    let worker = "w1".parse().unwrap();
    let error =
        script.client().direct(&worker, Directive::Drain, &ActionRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(ProblemCode::WorkerNotFound));
    assert_eq!(error.to_string(), "No such worker (worker_not_found): told by the test");
    assert!(script.heard()[0].starts_with("POST /v1/workers/w1/drain HTTP/1.1"));
}

#[tokio::test]
async fn without_a_server_the_error_names_its_address_and_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(&base).deadline(Duration::from_millis(300)).build().unwrap();
    let error = client.stats().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("no answer from {base}: Connection refused")), "{error}");
    assert!(error.ends_with("check that the server runs there, or name another"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_batons_is_told_as_such() {
    let script = Script::start(vec![Step::Answer(200, "<html>".to_owned())]).await;
    let error = script.client().livez().await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 200, .. }), "{error}");
    let script = Script::start(vec![Step::Answer(404, "<html>".to_owned())]).await;
    let error = script.client().stats().await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn a_history_with_failures_and_their_details_is_read() {
    let body = r#"{"items":[{"seq":2,"at":"2026-01-31T08:15:00Z","kind":"attempt_failed","from":"running",
        "to":"failed","status":"failed","attempt":1,"worker_id":"w1","error":{"message":"m","code":"c","details":{"a":[1.50]}}}]}"#;
    let script = Script::start(vec![Step::Answer(200, body.to_owned())]).await;
    let page = script.client().history(TASK.parse().unwrap(), None, 100).await.unwrap();
    assert_eq!(page.items[0].kind, EventKind::AttemptFailed);
    let details = page.items[0].error.as_ref().unwrap().details.as_ref().unwrap();
    assert_eq!(details.as_str(), r#"{"a":[1.50]}"#);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for wrong in ["", "localhost:7410", "https://", "http://a.example/?x=1", "ftp://a.example"] {
        let error = Client::new(wrong).unwrap_err();
        assert!(matches!(error, ClientError::Address { .. }), "{wrong}: {error}");
    }
    assert_eq!(Client::new("http://127.0.0.1:7410/").unwrap().base(), "http://127.0.0.1:7410");
}

#[tokio::test]
async fn a_request_too_many_is_sent_again_when_the_server_says_and_a_denied_one_never() {
    let script = Script::start(vec![problem(ProblemCode::TooManyRequests), created()]).await;
    // Not repeatable by itself: but what was one too many has changed nothing.
    let retry = RetryRequest::default();
    let error = script.client().retry(TASK.parse().unwrap(), &retry).await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 201, .. }), "{error}");
    assert_eq!(script.heard().len(), 2);

    for code in [ProblemCode::Unauthorized, ProblemCode::ScopeMissing, ProblemCode::OutsideGrant] {
        let script = Script::start(vec![problem(code), created()]).await;
        let task = CreateTask::new("render".parse().unwrap());
        let error = script.client().create_task(&task).await.unwrap_err();
        assert!(error.is_denied() && error.code() == Some(code), "{error}");
        assert_eq!(script.heard().len(), 1);
    }
}

#[tokio::test]
async fn a_token_is_presented_and_not_shown() {
    let script = Script::start(vec![created()]).await;
    let token = TokenSecret::new(TokenId::from_bytes([1; 16]), [0xee; 32]);
    let builder = Client::builder(&script.base()).token(token.clone());
    assert!(!format!("{builder:?}").contains("eeee"));
    let client = builder.build().unwrap();
    assert!(!format!("{client:?}").contains("eeee"), "{client:?}");
    client.create_task(&CreateTask::new("render".parse().unwrap())).await.unwrap();
    let heard = script.heard();
    assert_eq!(header(&heard[0], "authorization").unwrap(), format!("Bearer {}", token.reveal()));
}

#[tokio::test]
async fn a_file_that_does_not_begin_to_come_is_waited_for_no_longer_than_any_answer() {
    let body = "x".repeat(100_000);
    let script = Script::start(vec![
        Step::Silence,
        problem(ProblemCode::FileNotFound),
        Step::Answer(502, "away".to_owned()),
        Step::Answer(200, body.clone()),
    ])
    .await;
    let client = Client::builder(&script.base()).timeout(Duration::from_millis(200)).build().unwrap();
    let error = client.get_file("film/a").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }) && error.is_passing(), "{error}");
    assert!(error.to_string().contains("it took too long"), "{error}");
    let error = client.get_file("film/a").await.unwrap_err();
    assert_eq!(error.code(), Some(ProblemCode::FileNotFound));
    let error = client.get_file("film/a").await.unwrap_err();
    assert!(matches!(error, ClientError::Unexpected { status: 502, .. }), "{error}");
    let mut file = client.get_file("film/a").await.unwrap();
    let mut got = 0;
    while let Some(some) = file.next().await.unwrap() {
        got += some.len();
    }
    assert_eq!(got, body.len());
}

#[tokio::test]
async fn a_large_file_goes_and_comes_where_the_server_says_and_no_token_goes_along() {
    let large = "x".repeat((4 << 20) + 1);
    let bucket =
        Script::start(vec![Step::Answer(200, String::new()), Step::Answer(200, "here".to_owned())]).await;
    let at = "2026-02-02T02:40:00.000Z";
    let url = format!("{}/uploads/a?signature=secret", bucket.base());
    let link = serde_json::json!({"url": url, "method": "PUT", "expires_at": at}).to_string();
    let kept = serde_json::json!({"project": "film", "path": "a", "size": large.len(),
        "sha256": sha256(large.as_bytes()), "content_type": "text/plain", "created_at": at});
    let script = Script::start(vec![
        Step::Answer(201, link),
        Step::Answer(503, "not yet".to_owned()),
        Step::Answer(200, kept.to_string()),
        Step::Elsewhere(format!("{}/bytes/a?signature=secret", bucket.base())),
    ])
    .await;
    let token = TokenSecret::new(TokenId::from_bytes([1; 16]), [0xee; 32]);
    let client = Client::builder(&script.base()).token(token).build().unwrap();
    let size = large.len() as u64;
    let stored = client.put_file("film/a", Some("text/plain"), size, large.clone()).await.unwrap();
    assert_eq!(stored.size, size);
    let mut file = client.get_file("film/a").await.unwrap();
    assert_eq!(file.next().await.unwrap().unwrap(), "here");
    let (heard, there) = (script.heard(), bucket.heard());
    assert!(heard[0].starts_with("POST /v1/file-links?name=film%2Fa&method=put"), "{}", heard[0]);
    assert!(heard[1].starts_with("GET /v1/files/film/a?about=true"), "{}", heard[1]);
    assert!(there[0].starts_with("PUT /uploads/a?signature=secret") && there[0].ends_with(&large));
    assert_eq!(header(&there[0], "content-length"), Some(large.len().to_string().as_str()));
    for request in &there {
        assert_eq!(header(request, "authorization"), None);
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_file_that_was_refused_is_not_taken_for_the_one_that_stands_under_its_name() {
    let large = "x".repeat((4 << 20) + 1);
    let at = "2026-02-02T02:40:00.000Z";
    let (same, other) = (sha256(large.as_bytes()), sha256(b"older"));
    for (size, digest) in [(5, &other), (large.len(), &other), (5, &same)] {
        let bucket = Script::start(vec![Step::Answer(200, String::new())]).await;
        let url = format!("{}/uploads/a", bucket.base());
        let link = serde_json::json!({"url": url, "method": "PUT", "expires_at": at}).to_string();
        let stands = serde_json::json!({"project": "film", "path": "a", "size": size, "sha256": digest,
            "content_type": "text/plain", "created_at": at});
        let script =
            Script::start(vec![Step::Answer(201, link), Step::Answer(200, stands.to_string())]).await;
        let client = Client::builder(&script.base()).build().unwrap();
        let error = client.put_file("film/a", None, large.len() as u64, large.clone()).await.unwrap_err();
        let told = "the file film/a was not kept; another stands under its name";
        assert_eq!((error.to_string().as_str(), error.is_passing()), (told, false));
    }
}
