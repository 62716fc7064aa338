//! Tokens: how they are made and end, what is counted, and what is recorded of their use.

use std::time::Duration;

use axum::body::Body;
use axum::routing::{get, post};
use baton_http::{Authenticator, Caller, Envelope};
use baton_runtime::settings::TokenSettings;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;

use crate::world::{Answer, World};

async fn strict() -> (World, World) {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = world.with_token(json!({"name": "root"})).await;
    (world, operator)
}

async fn audit(operator: &World) -> Vec<Value> {
    operator.get("/v1/audit").await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_token_is_made_shown_once_used_and_revoked() {
    let (world, operator) = strict().await;
    let request = json!({"name": "ci", "scopes": ["producer"], "project": "film", "requests_per_second": 50});
    let answer = operator.post("/v1/tokens", request).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.headers["cache-control"], "no-store");
    let created = answer.json();
    let (secret, token) = (created["secret"].as_str().unwrap(), &created["token"]);
    assert!(secret.starts_with("baton_") && secret.len() == 103, "{secret}");
    assert_eq!(token["scopes"], json!(["producer"]));
    assert_eq!(
        (&token["project"], &token["status"], &token["created_by"], &token["requests_per_second"]),
        (&json!("film"), &json!("active"), &json!("root"), &json!(50))
    );
    let id = token["id"].as_str().unwrap();

    let ci = world.presenting(&format!("Bearer {secret}"));
    let task = ci.create(json!({"type": "a"})).await;
    assert_eq!(operator.task(&task).await["task"]["project"], "film");

    let listed = operator.get("/v1/tokens").await;
    assert!(!listed.text().contains(&secret[39..]), "{}", listed.text());
    assert_eq!(listed.json()["items"][0]["id"], id);

    let revoked = operator.act(&format!("/v1/tokens/{id}/revoke")).await.json();
    assert_eq!((&revoked["status"], revoked["revoked_at"].is_string()), (&json!("revoked"), true));
    ci.post("/v1/tasks", json!({"type": "a"})).await.problem(401, "unauthorized");
    let again = operator.act(&format!("/v1/tokens/{id}/revoke")).await.json();
    assert_eq!(again["revoked_at"], revoked["revoked_at"]);
    operator
        .act("/v1/tokens/01980a6e-0000-7cc3-98c4-dc0c0c070000/revoke")
        .await
        .problem(404, "token_not_found");
}

#[tokio::test]
async fn a_token_is_told_what_it_allows_itself() {
    let (world, operator) = strict().await;
    for scope in ["producer", "worker", "operator"] {
        let asked = json!({"name": "ci", "scopes": [scope], "queues": ["gpu"]});
        let made = operator.post("/v1/tokens", asked).await.json();
        let secret = made["secret"].as_str().unwrap();
        let told = world.presenting(&format!("Bearer {secret}")).get("/v1/token").await;
        assert_eq!(told.status, 200, "{}", told.text());
        assert!(!told.text().contains(&secret[39..]), "{}", told.text());
        let (own, made) = (told.json()["token"].clone(), &made["token"]);
        for field in ["id", "name", "scopes", "queues", "expires_at", "created_by"] {
            assert_eq!(own[field], made[field], "{scope} {field}");
        }
    }
    let open = World::new();
    assert_eq!(open.get("/v1/token").await.json(), json!({}), "where none is needed, there is none");
}

#[tokio::test]
async fn a_token_ends_after_90_days_unless_it_says_otherwise() {
    let (world, operator) = strict().await;
    let make = async |more: Value| {
        let mut request = json!({"name": "t", "scopes": ["operator"]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = operator.post("/v1/tokens", request).await.json();
        world.presenting(&format!("Bearer {}", answer["secret"].as_str().unwrap()))
    };
    let (usual, short) = (make(json!({})).await, make(json!({"expires_in_seconds": 60})).await);
    let endless = make(json!({"expires_at": "never"})).await;
    let good = async |caller: &World| caller.get("/v1/stats").await.status == 200;
    assert!(good(&usual).await && good(&short).await && good(&endless).await);
    world.advance(Duration::from_secs(60));
    assert!(good(&usual).await && !good(&short).await && good(&endless).await);
    world.advance(Duration::from_secs(90 * 86_400));
    assert!(!good(&usual).await && good(&endless).await);
}

#[tokio::test]
async fn wrong_fields_of_a_token_are_all_named() {
    let (_, operator) = strict().await;
    let wrong = json!({
        "name": "", "scopes": ["admin"], "queues": ["a/b"], "project": "default", "requests_per_second": 0,
        "expires_in_seconds": 0, "secret": "x"
    });
    let fields = operator.post("/v1/tokens", wrong).await.wrong_fields();
    assert_eq!(
        fields,
        ["name", "scopes", "queues", "project", "expires_in_seconds", "requests_per_second", "secret"]
    );
    let both = json!({"name": "t", "scopes": ["worker"], "expires_in_seconds": 5, "expires_at": "never"});
    assert_eq!(operator.post("/v1/tokens", both).await.wrong_fields(), ["expires_at"]);
    let past = json!({"name": "t", "scopes": ["worker"], "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(operator.post("/v1/tokens", past).await.wrong_fields(), ["expires_at"]);
    for scopes in [json!([]), json!("worker"), json!(["worker", "worker", "worker", "worker"])] {
        let request = json!({"name": "t", "scopes": scopes});
        assert_eq!(operator.post("/v1/tokens", request).await.wrong_fields(), ["scopes"]);
    }
    assert_eq!(operator.get("/v1/audit?action=cancel&token=x").await.wrong_fields(), ["action", "token"]);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let world = World::with(&[("tokens.required", "always"), ("tokens.requests_per_second", "3")]);
    let (a, b) = (world.with_token(json!({})).await, world.with_token(json!({})).await);
    let own = world.with_token(json!({"requests_per_second": 1})).await;
    for _ in 0..3 {
        assert_eq!(a.get("/v1/stats").await.status, 200);
    }
    let answer = a.get("/v1/stats").await;
    let problem = answer.problem(429, "too_many_requests");
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(problem["detail"].as_str().unwrap().contains("may make 3 requests a second"), "{problem}");
    // Each token counts for itself, and a refused request is not counted.
    assert_eq!(b.get("/v1/stats").await.status, 200);
    world.advance(Duration::from_millis(334));
    assert_eq!(a.get("/v1/stats").await.status, 200);
    a.get("/v1/stats").await.problem(429, "too_many_requests");
    assert_eq!(own.get("/v1/stats").await.status, 200);
    own.get("/v1/stats").await.problem(429, "too_many_requests");
    // What asks for no token is not counted.
    assert_eq!(a.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_requests_limit_counts_those_without_the_scope_too() {
    let world = World::with(&[("tokens.required", "always")]);
    let worker = world.with_token(json!({"scopes": ["worker"], "requests_per_second": 1})).await;
    worker.get("/v1/stats").await.problem(403, "scope_missing");
    worker.get("/v1/stats").await.problem(429, "too_many_requests");
}

#[tokio::test]
async fn the_last_use_of_a_token_is_noted_to_the_minute() {
    let (world, operator) = strict().await;
    let noted = async |at: &str| {
        let until = async {
            loop {
                let tokens = operator.get("/v1/tokens").await.json();
                if tokens["items"][0]["last_used_at"] == at {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), until).await.expect("the use is noted");
    };
    noted("2026-02-02T02:40:00.000Z").await;
    world.advance(Duration::from_secs(59));
    operator.get("/v1/stats").await;
    world.advance(Duration::from_secs(1));
    noted("2026-02-02T02:41:00.000Z").await;
}

#[tokio::test]
async fn what_operators_do_is_recorded_with_its_outcome() {
    let (world, operator) = strict().await;
    let ci = world.with_token(json!({"name": "ci", "scopes": ["producer"]})).await;
    let task = ci.create(json!({"type": "a"})).await;
    let cancel = Request::post(format!("/v1/tasks/{task}/cancel")).header("x-request-id", "r-17");
    assert_eq!(ci.send(cancel.body(Body::empty()).unwrap()).await.status, 200);
    operator.act(&format!("/v1/tasks/{task}/retry")).await;
    operator.act("/v1/queues/gpu/pause").await;
    operator.act("/v1/queues/gpu/resume").await;
    for action in ["drain", "stop", "run"] {
        operator.act(&format!("/v1/workers/w9/{action}")).await.problem(404, "worker_not_found");
    }
    operator.act("/v1/reap").await;
    // Neither looking nor what workers and producers do all day.
    operator.get("/v1/stats").await;
    operator.claim("w1").await;

    let entries = audit(&operator).await;
    let told: Vec<(&str, &str, u64)> = entries
        .iter()
        .rev()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap();
            (text("action"), text("token_name"), entry["outcome"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("cancel_task", "ci", 200),
            ("retry_task", "root", 200),
            ("pause_queue", "root", 200),
            ("resume_queue", "root", 200),
            ("drain_worker", "root", 404),
            ("stop_worker", "root", 404),
            ("run_worker", "root", 404),
            ("reap", "root", 200),
        ]
    );
    let first = entries.last().unwrap();
    assert_eq!(first["target"], format!("/v1/tasks/{task}/cancel"));
    assert_eq!((&first["request_id"], &first["at"]), (&json!("r-17"), &json!("2026-02-02T02:40:00.000Z")));
    let of_ci = format!("/v1/audit?token={}", first["token_id"].as_str().unwrap());
    assert_eq!(operator.get(&of_ci).await.json()["items"].as_array().unwrap().len(), 1);
    let paused = operator.get("/v1/audit?action=pause_queue").await.json();
    assert_eq!(paused["items"].as_array().unwrap().len(), 1);
    // The id that the server made is the one of the answer.
    let answer = operator.act("/v1/reap").await;
    assert_eq!(audit(&operator).await[0]["request_id"], answer.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let (world, operator) = strict().await;
    let task = operator.create(json!({"type": "a"})).await;
    let file = world.dir.path().join("baton.db");
    let database = rusqlite::Connection::open(file).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database.execute_batch("DROP TABLE audit").unwrap();
    let answer = operator.act(&format!("/v1/tasks/{task}/cancel")).await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
    assert_eq!(operator.task(&task).await["task"]["status"], "queued");
    // What needs no record goes on.
    operator.create(json!({"type": "b"})).await;
}

#[tokio::test]
async fn histories_name_the_token_unless_the_request_names_somebody() {
    let (world, operator) = strict().await;
    let ci = world.with_token(json!({"name": "ci", "scopes": ["producer"]})).await;
    let task = ci.create(json!({"type": "a"})).await;
    ci.act(&format!("/v1/tasks/{task}/cancel")).await;
    operator.post(&format!("/v1/tasks/{task}/retry"), json!({"by": "ada"})).await;
    let batch = ci.post("/v1/tasks/batch", json!({"tasks": [{"type": "b"}]})).await.json();
    let by = async |task: &str| {
        let history = operator.get(&format!("/v1/tasks/{task}/history")).await.json();
        let events = history["items"].as_array().unwrap().clone();
        events.iter().map(|event| event["by"].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(by(&task).await, ["ci", "ci", "ada"]);
    assert_eq!(by(batch["items"][0]["task"]["id"].as_str().unwrap()).await, ["ci"]);
}

async fn tells_its_caller(caller: Caller) -> String {
    caller.name().map_or_else(|| "anybody".to_owned(), |name| name.to_string())
}

fn small_router() -> OpenApiRouter<baton_http::App> {
    OpenApiRouter::default()
        .route("/v1/stats", get(tells_its_caller))
        .route("/v1/secret", get(tells_its_caller))
        .route("/v1/reap", post(tells_its_caller))
}

async fn ask(
    service: impl tower::Service<
        Request<Body>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
    >,
    path: &str,
) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    Answer::of(service.oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_route_without_a_rule_is_refused_though_it_exists() {
    let world = World::new();
    let settings = TokenSettings { required: false, requests_per_second: None };
    let by = Authenticator::new(world.app.clone(), settings);
    let service = Envelope::new(small_router(), world.app.clone(), Duration::from_secs(5), Vec::new());
    let service = service.authenticated(by);
    assert_eq!(ask(service.clone(), "/v1/stats").await.text(), "anybody");
    ask(service, "/v1/secret").await.problem(404, "route_not_found");
}

#[tokio::test]
async fn a_handler_that_asks_for_its_caller_is_not_open_without_the_authentication() {
    let world = World::new();
    let service = Envelope::new(small_router(), world.app.clone(), Duration::from_secs(5), Vec::new());
    ask(service, "/v1/stats").await.problem(500, "internal");
}
