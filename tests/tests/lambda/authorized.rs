//! Who may do what, behind API Gateway: what the authorizer lets through, and what the functions make of its word.

use std::sync::atomic::{AtomicU8, Ordering};

use baton_lambda::Host;
use baton_model::{ProjectId, Scope, Timestamp, Token, TokenId, TokenSecret};
use baton_runtime::Clock;
use baton_store::{AuditFilter, AuditStore, PageRequest, TaskFilter, TaskStore, TokenStore};
use serde_json::{Value, json};

use crate::world::{
    World, admin, bearer, invocation, invoke, question, request, seconds, send, token, vouched,
};

/// A token that the world knows, after a change.
async fn known(world: &World, scope: Scope, change: impl FnOnce(&mut Token)) -> (Token, TokenSecret) {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let id = TokenId::from_bytes([COUNT.fetch_add(1, Ordering::Relaxed); 16]);
    let (mut token, secret) = token(id, "t", scope);
    change(&mut token);
    world.keep((token.clone(), secret.clone())).await;
    (token, secret)
}

/// A request whose authorizer has said this.
fn with_context(mut event: Value, context: Option<Value>) -> Value {
    match context {
        Some(context) => event["requestContext"]["authorizer"]["lambda"] = context,
        None => _ = event["requestContext"].as_object_mut().unwrap().remove("authorizer"),
    }
    event
}

async fn refused(host: &Host, event: &Value) -> (u64, String) {
    let answer = invoke(host, event).await;
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    (answer["statusCode"].as_u64().unwrap(), body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_good_token_is_let_through_and_its_use_is_noted_before_the_answer() {
    let world = World::new().await;
    let (token, secret) = known(&world, Scope::Producer, |_| {}).await;
    let event = question("POST /v1/tasks", Some(&bearer(&secret)));
    let verdict = invoke(&world.function("authorize"), &event).await;
    assert_eq!(verdict, json!({"isAuthorized": true, "context": vouched(&token)}));
    let stored = world.store().await.token(token.id).await.unwrap().unwrap();
    assert_eq!(stored.token.last_used_at, Some(world.clock.now()));
}

#[tokio::test]
async fn what_is_no_good_token_for_the_route_is_refused() {
    let world = World::new().await;
    let authorize = world.function("authorize");
    let (_, worker) = known(&world, Scope::Worker, |_| {}).await;
    let now = world.clock.now();
    let (_, expired) = known(&world, Scope::Operator, |token| token.expires_at = Some(now)).await;
    let (revoked, revoked_secret) = known(&world, Scope::Operator, |_| {}).await;
    world.store().await.revoke_token(revoked.id, now).await.unwrap();
    let wrong = TokenSecret::new(admin().0.id, [8; TokenSecret::BYTES]);
    let good = bearer(&admin().1);
    for (what, route, authorization) in [
        ("no token", "POST /v1/tasks", None),
        ("another scheme", "POST /v1/tasks", Some("Basic YTpi".to_owned())),
        ("no secret", "POST /v1/tasks", Some("Bearer baton_x".to_owned())),
        ("two tokens", "POST /v1/tasks", Some(format!("{good},{good}"))),
        ("a wrong secret", "POST /v1/tasks", Some(bearer(&wrong))),
        ("an expired token", "POST /v1/tasks", Some(bearer(&expired))),
        ("a revoked token", "POST /v1/tasks", Some(bearer(&revoked_secret))),
        ("another scope", "POST /v1/tasks", Some(bearer(&worker))),
        ("a route that nobody has", "DELETE /v1/tasks", Some(good.clone())),
        ("all other routes", "$default", Some(good)),
    ] {
        let verdict = invoke(&authorize, &question(route, authorization.as_deref())).await;
        assert_eq!(verdict, json!({"isAuthorized": false, "context": {}}), "{what}");
    }
    let claim = question("POST /v1/claims", Some(&bearer(&worker)));
    assert_eq!(invoke(&authorize, &claim).await["isAuthorized"], true);
}

#[tokio::test]
async fn an_open_route_needs_no_token() {
    let world = World::new().await;
    let authorize = world.function("authorize");
    for path in ["/livez", "/readyz", "/openapi.json", "/errors/{code}"] {
        let verdict = invoke(&authorize, &question(&format!("GET {path}"), None)).await;
        assert_eq!(verdict, json!({"isAuthorized": true, "context": {}}), "{path}");
    }
}

#[tokio::test]
async fn nobody_is_let_through_while_the_store_cannot_be_asked() {
    let world = World::new().await;
    let authorize = world.function("authorize");
    let event = question("POST /v1/tasks", Some(&bearer(&admin().1)));
    assert_eq!(invoke(&authorize, &event).await["isAuthorized"], true);
    world.end_engine();
    let failed = authorize.handle(&event.to_string(), &invocation("lambda-1")).await.unwrap_err().to_string();
    assert!(!failed.contains(&admin().1.reveal()), "{failed}");
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_to_come_again() {
    let world = World::new().await;
    let (authorize, create) = (world.function("authorize"), world.function("create-task"));
    let (_, secret) = known(&world, Scope::Producer, |token| token.requests_per_second = Some(1)).await;
    let event = question("POST /v1/tasks", Some(&bearer(&secret)));
    // The gateway may keep the verdict, so that only the function sees each request.
    let verdict = invoke(&authorize, &event).await;
    let event =
        with_context(request("POST", "/v1/tasks", &json!({"type": "a"})), Some(verdict["context"].clone()));
    assert_eq!(invoke(&create, &event).await["statusCode"], 201);
    let answer = invoke(&create, &event).await;
    assert_eq!((&answer["statusCode"], &answer["headers"]["retry-after"]), (&json!(429), &json!("1")));
    let again = invoke(&authorize, &question("POST /v1/tasks", Some(&bearer(&secret)))).await;
    assert_eq!(again["isAuthorized"], true, "who judges counts nobody's requests");
}

#[tokio::test]
async fn a_function_refuses_whom_no_authorizer_vouches_for_whatever_its_headers_say() {
    let world = World::new().await;
    let create = world.function("create-task");
    let mut event = request("POST", "/v1/tasks", &json!({"type": "a"}));
    event["headers"]["authorization"] = json!(bearer(&admin().1));
    let other = json!({"token": {"id": "x"}});
    for context in [None, Some(Value::Null), Some(json!({})), Some(json!({"token": "x"})), Some(other)] {
        let told = format!("{context:?}");
        let event = with_context(event.clone(), context);
        assert_eq!(refused(&create, &event).await, (401, "unauthorized".to_owned()), "{told}");
    }
    let iam = json!({"iam": {"accessKey": "a"}});
    event["requestContext"]["authorizer"] = iam;
    assert_eq!(refused(&create, &event).await.0, 401);
    assert_eq!(
        world.store().await.tasks(TaskFilter::default(), PageRequest::first(1)).await.unwrap().items.len(),
        0
    );
}

#[tokio::test]
async fn a_function_holds_a_token_to_its_end_and_its_scopes_though_the_verdict_was_kept() {
    let world = World::new().await;
    let create = world.function("create-task");
    let (token, _) = known(&world, Scope::Producer, |token| {
        token.expires_at = Some(Timestamp::from_millis(1_770_000_060_000));
    })
    .await;
    let event = |path| with_context(request("POST", path, &json!({"type": "a"})), Some(vouched(&token)));
    assert_eq!(invoke(&create, &event("/v1/tasks")).await["statusCode"], 201);
    assert_eq!(
        refused(&world.function("reap-stale-workers"), &event("/v1/reap")).await,
        (403, "scope_missing".to_owned())
    );
    world.clock.advance(seconds(60));
    assert_eq!(refused(&create, &event("/v1/tasks")).await, (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn a_tokens_bounds_hold_in_the_functions() {
    let world = World::new().await;
    let (create, query) = (world.function("create-task"), world.function("query-tasks"));
    let project: ProjectId = "film".parse().unwrap();
    let (token, secret) = known(&world, Scope::Producer, |token| token.grant.project = Some(project)).await;
    let verdict =
        invoke(&world.function("authorize"), &question("POST /v1/tasks", Some(&bearer(&secret)))).await;
    let event = |method, path: &str, body| with_context(request(method, path, &body), Some(vouched(&token)));
    assert_eq!(verdict["context"], vouched(&token));
    let other = event("POST", "/v1/tasks", json!({"type": "a", "project": "game"}));
    assert_eq!(refused(&create, &other).await, (403, "outside_grant".to_owned()));
    let (_, others) = send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    let path = format!("/v1/tasks/{}", others["id"].as_str().unwrap());
    assert_eq!(refused(&query, &event("GET", &path, Value::Null)).await, (404, "task_not_found".to_owned()));
}

#[tokio::test]
async fn what_operators_do_is_recorded_in_the_function_that_does_it() {
    let world = World::new().await;
    let (create, manage) = (world.function("create-task"), world.function("manage-tasks"));
    let (_, task) = send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    let path = format!("/v1/tasks/{}/cancel", task["id"].as_str().unwrap());
    assert_eq!(send(&manage, "POST", &path, json!({})).await.0, 200);
    let entries =
        world.store().await.audit(AuditFilter::default(), PageRequest::first(10)).await.unwrap().items;
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.target.as_str()), ("cancel_task", path.as_str()));
    assert_eq!((entry.token, entry.outcome), (Some(admin().0.id), Some(200)));
    assert_eq!(entry.request_id.as_deref(), Some("lambda-1"));
}

#[tokio::test]
async fn what_needs_no_caller_is_served_by_a_function() {
    let world = World::new().await;
    let query = world.function("query-tasks");
    for path in ["/livez", "/readyz", "/openapi.json", "/errors/unauthorized"] {
        let event = with_context(request("GET", path, &Value::Null), None);
        assert_eq!(invoke(&query, &event).await["statusCode"], 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_a_function_made_is_known_to_the_authorizer_until_it_is_revoked() {
    let world = World::new().await;
    let (tokens, authorize) = (world.function("manage-tokens"), world.function("authorize"));
    let (status, made) =
        send(&tokens, "POST", "/v1/tokens", json!({"name": "ci", "scopes": ["producer"]})).await;
    assert_eq!(status, 201);
    let authorization = format!("Bearer {}", made["secret"].as_str().unwrap());
    let event = question("POST /v1/tasks", Some(&authorization));
    assert_eq!(invoke(&authorize, &event).await["isAuthorized"], true);
    let path = format!("/v1/tokens/{}/revoke", made["token"]["id"].as_str().unwrap());
    assert_eq!(send(&tokens, "POST", &path, json!({})).await.0, 200);
    assert_eq!(invoke(&authorize, &event).await["isAuthorized"], false);
}
