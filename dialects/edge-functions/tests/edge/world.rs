//! A server with the dialect, and what the platform's clients do to it.

use baton_model::Watch;
use baton_runtime::Clock as _;
use baton_store::Reap;
use baton_tests::site::{Answer, Site};
use reqwest::Method;
use serde_json::{Value, json};

/// A project of the tests.
pub(crate) const PROJECT: &str = "51c00000-0000-4000-8000-000000000001";

/// A server that speaks the dialect.
pub(crate) async fn site() -> Site {
    site_with(&[]).await
}

/// The same with other settings.
pub(crate) async fn site_with(settings: &[(&str, &str)]) -> Site {
    let mut all = vec![("dialects.edge-functions.api_types", "image_edit,caption")];
    all.extend_from_slice(settings);
    Site::keeping(super::KEPT, "edge-functions", &all).await
}

/// The id of a task by a number.
pub(crate) fn id(number: u32) -> String {
    format!("8b6e0000-0000-4000-8000-{number:012}")
}

/// Calls a function.
pub(crate) async fn call(site: &Site, name: &str, body: Value) -> Answer {
    site.post(&format!("/functions/v1/{name}"), &body).await
}

/// Calls a function that is to succeed.
pub(crate) async fn called(site: &Site, name: &str, body: Value) -> Value {
    let answer = call(site, name, body.clone()).await;
    assert_eq!(answer.status, 200, "{name} {body}: {answer:?}");
    answer.json()
}

/// Creates a task of a type under an id of the client's.
pub(crate) async fn create(site: &Site, id: &str, task_type: &str, params: Value) {
    let body = json!({
        "task_id": id,
        "task_type": task_type,
        "params": params,
        "project_id": PROJECT,
        "dependant_on": null,
    });
    let told = called(site, "create-task", body).await;
    assert_eq!(told, json!({"task_id": id, "status": "Task queued"}));
}

/// What a GPU worker is given; none if it is given nothing.
pub(crate) async fn claim(site: &Site, worker: &str) -> Option<Value> {
    claim_as(site, worker, "gpu").await
}

/// The same for a run type.
pub(crate) async fn claim_as(site: &Site, worker: &str, run_type: &str) -> Option<Value> {
    let answer = call(site, "claim-next-task", json!({"worker_id": worker, "run_type": run_type})).await;
    match answer.status {
        204 => {
            assert_eq!(answer.text, "");
            None
        }
        200 => Some(answer.json()),
        _ => panic!("{answer:?}"),
    }
}

/// Claims a task, which is to be this one.
pub(crate) async fn claim_this(site: &Site, worker: &str, id: &str) {
    let task = claim(site, worker).await.expect("a task waits");
    assert_eq!(task["task_id"], id, "{task}");
}

/// A task's status.
pub(crate) async fn status(site: &Site, id: &str) -> String {
    let told = called(site, "get-task-status", json!({"task_id": id})).await;
    told["status"].as_str().unwrap().to_owned()
}

/// Sets a status.
pub(crate) async fn set(site: &Site, id: &str, status: &str, more: Value) -> Answer {
    let mut body = json!({"task_id": id, "status": status});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(site, "update-task-status", body).await
}

/// A heartbeat as the workers' watcher sends it: with the key as `apikey` alone.
pub(crate) async fn beat(site: &Site, worker: &str, status: &str, logs: Value) -> Value {
    let body = json!({
        "worker_id_param": worker,
        "vram_total_mb_param": 24_576,
        "vram_used_mb_param": 1_024,
        "logs_param": logs,
        "status_param": status,
    });
    let answer = site.post("/rest/v1/rpc/func_worker_heartbeat_with_logs", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The generations of a task.
pub(crate) async fn generations(site: &Site, id: &str) -> Vec<Value> {
    let found = site.own_get(&format!("/v1/generations?task_id={id}")).await;
    found["items"].as_array().unwrap().clone()
}

/// What a request without a body and a token is answered.
pub(crate) async fn bare(site: &Site, method: Method, path: &str) -> Answer {
    site.send(site.request(method, site.url(path))).await
}

/// Takes back what is lost by now. The server's own rounds would first hear workers anew, as the test's clock leaps.
pub(crate) async fn reap(site: &Site) {
    let watch = Watch::at(site.clock.now());
    site.store.reap(Reap { watch, limit: 100, worker: None, queue: None }).await.unwrap();
}
