//! The contract of the drift simulation's clients, as they speak it over sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers may fail the test"
)]

mod access;
mod failures;
mod requests;
mod socket;
mod sockets;
mod timings;

use baton_tests::site::{Answer, Site};
use reqwest::Method;
use serde_json::{Value, json};

/// A server that speaks the dialect.
async fn site() -> Site {
    Site::speaking("drift", &[]).await
}

/// A client that has registered.
struct Client {
    id: String,
    token: String,
}

impl Client {
    async fn register(site: &Site) -> Self {
        let body = json!({"name": "a machine", "public_key": "k", "capabilities": {"cpu": {"cores": 8}}, "system_info": {}});
        let answer = site.post("/api/v1/clients/register", &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        assert_eq!(told["expires_in"], 86_400);
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        Self { id: text("client_id"), token: text("token") }
    }

    async fn send(&self, site: &Site, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = site.request(method, site.url(&format!("/api/v1{path}"))).bearer_auth(&self.token);
        site.send(if let Some(body) = body { request.json(body) } else { request }).await
    }

    async fn get(&self, site: &Site, path: &str) -> Answer {
        self.send(site, Method::GET, path, None).await
    }

    async fn post(&self, site: &Site, path: &str, body: &Value) -> Answer {
        self.send(site, Method::POST, path, Some(body)).await
    }

    /// Asks for a task; null if there is none.
    async fn ask(&self, site: &Site) -> Value {
        let answer = self.get(site, "/tasks/available").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Asks for a task, which there is, and gives its id.
    async fn take(&self, site: &Site) -> String {
        let task = self.ask(site).await;
        task["task_id"].as_str().unwrap_or_else(|| panic!("a task, not {task}")).to_owned()
    }
}

/// A result that a client sends of a simulation.
fn result() -> String {
    let result = json!({"success": true, "result_data": "x", "particle_count": 10, "execution_time": 1_200});
    result.to_string().bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// How a task stands.
async fn status(client: &Client, site: &Site, id: &str) -> Value {
    let answer = client.get(site, &format!("/tasks/status/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The ids of the tasks that run, as the operators' page lists them.
async fn active(site: &Site) -> Value {
    site.get("/api/v1/admin/debug/active-tasks").await.json()
}
