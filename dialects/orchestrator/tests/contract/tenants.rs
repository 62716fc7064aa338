//! Tokens and their bounds.

use serde_json::json;

use crate::{site, submit, task};

#[tokio::test]
async fn two_tenants_have_their_own_tasks_settings_and_numbers() {
    let mut site = site(&[("tokens.required", "always")]).await;
    let film = site.make_token(json!({"name": "film", "project": "film"})).await;
    let game = site.make_token(json!({"name": "game", "project": "game"})).await;
    site.present(Some(&film));
    submit(&site, &task("one")).await;
    assert_eq!(site.post("/api/tasks/outputs/one", &json!({"content": "ours"})).await.status, 200);
    let preferences = json!({"preferred_provider": "claude"});
    assert_eq!(site.post("/api/preferences", &preferences).await.status, 200);

    site.present(Some(&game));
    assert_eq!(site.get("/tasks/one").await.status, 404);
    assert_eq!(site.get("/api/tasks/outputs/one").await.status, 404);
    assert_eq!(site.get("/tasks").await.json(), json!([]));
    assert_eq!(site.get("/api/preferences").await.json()["preferred_provider"], json!(null));
    // The same id is a task of theirs.
    submit(&site, &task("one")).await;
    assert_eq!(site.get("/api/tasks/outputs/one").await.json()["total_outputs"], 0);
    assert_eq!(site.get("/api/metrics").await.json()["tasks_enqueued"], 1);
    assert_eq!(site.get("/api/persistence/stats").await.json()["total_tasks"], 1);
    // What is about all of Baton is not theirs.
    for path in ["/metrics", "/api/workers", "/agents/status"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.json()["detail"].is_string());
    }
    assert_eq!(site.post("/api/tasks/one/recover", &json!({})).await.status, 403);

    site.present(None);
    let answer = site.get("/tasks").await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["detail"].is_string(), "{answer:?}");
}

#[tokio::test]
async fn a_token_of_the_queue_alone_submits_and_reads() {
    let mut site = site(&[("tokens.required", "always")]).await;
    let token = site.make_token(json!({"name": "q", "queues": ["autodev"]})).await;
    site.present(Some(&token));
    submit(&site, &task("a")).await;
    assert_eq!(site.get("/tasks/a").await.status, 200);
    assert_eq!(site.get("/api/preferences").await.status, 200);
    assert_eq!(site.get("/api/tasks/outputs/a").await.json()["total_outputs"], 0);
    let answer = site.post("/api/tasks/outputs/a", &json!({"content": "c"})).await;
    assert_eq!(answer.status, 403, "it is not of the queue of records: {answer:?}");
}
