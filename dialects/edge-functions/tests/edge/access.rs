//! Who may call, and how those are refused who may not.

use reqwest::Method;
use serde_json::json;

use super::world::{PROJECT, bare, call, create, id, set, site, site_with};

#[tokio::test]
async fn a_key_that_is_missing_is_told_from_one_that_is_wrong() {
    let mut site = site_with(&[("tokens.required", "always")]).await;
    for (key, status) in [(None, 401), (Some("an-unknown-service-key"), 403)] {
        site.present(key);
        let answer = call(&site, "create-task", json!({})).await;
        assert_eq!((answer.status, &answer.json()["errorCode"]), (status, &json!("authentication_failed")));
        let answer = call(&site, "claim-next-task", json!({})).await;
        assert_eq!(answer.status, status);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        let answer = site.post("/rest/v1/rpc/func_insert_logs_batch", &json!({})).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!("42501")));
    }
}

#[tokio::test]
async fn a_producers_key_creates_and_claims_nothing() {
    let mut site = site().await;
    let key = site.make_token(json!({"scopes": ["producer"], "project": PROJECT})).await;
    site.present(Some(&key));
    create(&site, &id(1), "t", json!({})).await;
    for name in ["claim-next-task", "complete_task", "generate-upload-url"] {
        assert_eq!(
            call(&site, name, json!({"task_id": id(1), "worker_id": "w"})).await.status,
            403,
            "{name}"
        );
    }
    for word in ["Queued", "Failed", "Complete"] {
        assert_eq!(set(&site, &id(1), word, json!({})).await.status, 403, "{word}");
    }
    assert_eq!(set(&site, &id(1), "Cancelled", json!({})).await.status, 200);
    for table in ["workers", "system_logs", "active_workers_health"] {
        assert_eq!(
            bare(&site, Method::GET, &format!("/rest/v1/{table}?select=*")).await.status,
            403,
            "{table}"
        );
    }
}

#[tokio::test]
async fn a_workers_key_creates_nothing() {
    let mut site = site().await;
    let key = site.make_token(json!({"scopes": ["worker"]})).await;
    site.present(Some(&key));
    let body = json!({"task_type": "t", "params": {}, "project_id": PROJECT});
    assert_eq!(call(&site, "create-task", body.clone()).await.status, 403);
    assert_eq!(site.post("/rest/v1/tasks", &body).await.status, 403);
}

#[tokio::test]
async fn a_browser_is_told_that_it_may_ask_and_other_methods_are_refused() {
    let site = site().await;
    for path in ["/functions/v1/create-task", "/rest/v1/rpc/func_insert_logs_batch", "/rest/v1/tasks"] {
        let answer = bare(&site, Method::OPTIONS, path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("apikey"));
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = bare(&site, method.clone(), "/functions/v1/create-task").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    let answer = call(&site, "create-task", json!({})).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
}
