//! The shell of the task table: tasks that are run at once or later, called off, and listed.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::super::check;
use super::{Client, Speaker, Told};

/// Creates tasks until it is to stop. It sends none twice: what was not answered may be there or not.
pub(super) async fn produce(mut speaker: Speaker) {
    while speaker.is_on() {
        match speaker.random.random_range(0..10) {
            0..=5 => create(&mut speaker).await,
            6 => change(&mut speaker, "cancel", &["cancelled", "completed", "failed"]).await,
            7 => {
                let states = ["queued", "running", "completed", "retry"];
                change(&mut speaker, "run", &states).await;
            }
            8 => {
                let (status, list) = speaker.look("/api/v1/tasks").await;
                let items = list["items"].as_array().map(Vec::len);
                if status != 200 || items.map(|items| json!(items)) != Some(list["total"].clone()) {
                    speaker.surprise(format!("GET /api/v1/tasks: {status} {list}")).await;
                }
            }
            _ => {
                let Some(id) = speaker.known().await else { continue };
                let (status, one) = speaker.look(&format!("/api/v1/tasks/{id}")).await;
                if status != 200 || one["id"] != id {
                    speaker.surprise(format!("GET /api/v1/tasks/{id}: {status} {one}")).await;
                }
            }
        }
        speaker.pause().await;
    }
}

async fn create(speaker: &mut Speaker) {
    let mark = speaker.mark();
    let at_once = speaker.random.random_bool(0.7);
    let body = json!({"description": "why?", "run_immediately": at_once, "params": {"task_description": mark}, "type": "dspy.plan", "drift_score": 0.2});
    match speaker.client.ask("/api/v1/tasks", &body).await {
        // A worker may have it by the time that it is told.
        Some((200, answer)) if answer["id"].is_string() && (at_once || answer["status"] == "created") => {
            let id = answer["id"].as_str().unwrap_or_default().to_owned();
            speaker.told.lock().await.created.insert(id, mark);
        }
        None => {}
        Some((status, answer)) => speaker.surprise(format!("POST /api/v1/tasks: {status} {answer}")).await,
    }
}

async fn change(speaker: &mut Speaker, how: &str, expected: &[&str]) {
    let Some(id) = speaker.known().await else { return };
    let (status, answer) = speaker.insist(&format!("/api/v1/tasks/{id}/{how}"), &json!({})).await;
    // Somebody else may have ended it between the look and the change, which is said.
    if status != 409 && (status != 200 || !expected.iter().any(|word| answer["status"] == *word)) {
        speaker.surprise(format!("{how} of {id}: {status} {answer}")).await;
    }
}

/// Has all tasks run that nobody has asked to run.
pub(super) async fn run_all(direct: &Client, dialect: &Client) {
    for task in check::all(direct, "/v1/tasks?limit=1000").await {
        if task["status"] == "created" {
            let path = format!("/api/v1/tasks/{}/run", task["id"].as_str().unwrap_or_default());
            while dialect.ask(&path, &json!({})).await.is_none() {}
        }
    }
}

/// The dialect lists each task once, in the word for its state, with its result if it has one.
pub(super) async fn agree(dialect: &Client, told: &Told, tasks: &[Value], broken: &mut Vec<String>) {
    let list = dialect.get("/api/v1/tasks").await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    if items.len() != tasks.len() || list["total"] != tasks.len() {
        broken.push(format!("{} tasks are listed as {} of {}", tasks.len(), items.len(), list["total"]));
    }
    for id in told.created.keys() {
        let task = tasks.iter().find(|task| task["id"] == **id);
        let item = items.iter().find(|item| item["id"] == **id);
        let (Some(task), Some(item)) = (task, item) else {
            broken.push(format!("task {id} is not listed"));
            continue;
        };
        if item["status"] != task["status"] || item["result"].is_object() != (task["status"] == "completed") {
            broken.push(format!("task {id} is {} and listed as {item}", task["status"]));
        }
    }
}
