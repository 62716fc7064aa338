//! Who may ask for what where tokens are needed: clients by their own tokens, operators by Baton's.

use baton_tests::site::Site;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Client;

#[tokio::test]
async fn clients_register_without_a_token_and_reach_no_more_than_their_work() {
    let mut site = Site::speaking("drift", &[("tokens.required", "always")]).await;
    let client = Client::register(&site).await;
    client.take(&site).await;
    let told = client.post(&site, "/admin/tasks/clear-stuck", &json!({})).await;
    assert_eq!(told.status, 200, "each client asks for it every ten seconds: {told:?}");
    for path in ["/admin/debug/active-tasks", "/admin/clients", "/admin/stats", "/admin/batches"] {
        assert_eq!(client.get(&site, path).await.status, 403, "{path}");
    }
    for path in ["/admin/tasks/config", "/admin/batch/create", "/simulations/batch"] {
        assert_eq!(client.post(&site, path, &json!({})).await.status, 403, "{path}");
    }
    // Its token opens nothing of Baton's own.
    let own = site.request(Method::GET, site.own_url("/v1/tasks")).bearer_auth(&client.token);
    assert_eq!(site.send(own).await.status, 401);
    for open in ["/", "/health", "/api/v1/tasks/queue/status"] {
        assert_eq!(site.get(open).await.status, 200, "{open}");
    }
    assert_eq!(site.get("/api/v1/admin/stats").await.status, 401);
    let operator = site.make_token(json!({"scopes": ["operator"]})).await;
    site.present(Some(&operator));
    assert_eq!(site.get("/api/v1/admin/stats").await.status, 200);
    let told = site.post("/api/v1/admin/tasks/config", &json!({"max_tasks_per_client": 3})).await.json();
    assert_eq!(told["current_config"]["max_tasks_per_client"], 3);
    let audit = site.own_get("/v1/audit?action=drift.config").await;
    assert_eq!(
        audit["items"][0]["change"],
        json!({"from": "5 to 10 pending, 5 a client", "to": "5 to 10 pending, 3 a client"})
    );
}

#[tokio::test]
async fn a_token_with_a_slip_is_none() {
    let site = Site::speaking("drift", &[]).await;
    let mut client = Client::register(&site).await;
    let last = if client.token.ends_with('0') { "1" } else { "0" };
    client.token.replace_range(client.token.len() - 1.., last);
    let answer = client.get(&site, "/clients/me").await;
    assert_eq!((answer.status, answer.json()["detail"].is_string()), (401, true));
    assert_eq!(site.post("/api/v1/tasks/complete", &Value::Null).await.status, 401);
}
