//! The orchestrator's helpers and its dashboard: tasks under ids of their own, outputs, recoveries, and a socket that is cut again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::super::socket::Socket;
use super::{Client, Speaker, Told};

/// Submits tasks until it is to stop, each until it is answered: its id makes it the same task.
pub(super) async fn produce(mut speaker: Speaker) {
    let dashboard = tokio::spawn(watch(speaker.url.clone(), std::sync::Arc::clone(&speaker.on)));
    while speaker.is_on() {
        match speaker.random.random_range(0..10) {
            0..=5 => submit(&mut speaker).await,
            6 => output(&mut speaker).await,
            7 => recover(&mut speaker).await,
            _ => {
                let (status, list) = speaker.look("/tasks").await;
                let ids: Option<BTreeSet<String>> =
                    list.as_array().map(|list| list.iter().map(|task| task["id"].to_string()).collect());
                if status != 200 || ids.map(|ids| ids.len()) != list.as_array().map(Vec::len) {
                    speaker.surprise(format!("GET /tasks: {status} {list}")).await;
                }
            }
        }
        speaker.pause().await;
    }
    match dashboard.await {
        Ok(wrong) => {
            for what in wrong {
                speaker.surprise(what).await;
            }
        }
        Err(error) => speaker.surprise(format!("the dashboard's socket: {error}")).await,
    }
}

async fn submit(speaker: &mut Speaker) {
    let mark = speaker.mark();
    let body = json!({"id": mark, "title": "t", "description": "d", "role": "generic", "full_access": true, "target_dir": "."});
    let mut jobs = BTreeSet::new();
    // Once more than it was answered, now and then: the helper's user does so.
    for _ in 0..speaker.random.random_range(1..3) {
        let (status, answer) = speaker.insist("/tasks", &body).await;
        match answer["job_id"].as_str() {
            Some(job) if status == 200 && answer["task_id"] == mark => drop(jobs.insert(job.to_owned())),
            _ => return speaker.surprise(format!("POST /tasks {mark}: {status} {answer}")).await,
        }
    }
    if jobs.len() != 1 {
        speaker.surprise(format!("{mark} was answered with several jobs: {jobs:?}")).await;
    }
    let mut told = speaker.told.lock().await;
    told.created.extend(jobs.into_iter().map(|job| (job, mark.clone())));
}

/// What was not answered may be there or not, and is not sent again.
async fn output(speaker: &mut Speaker) {
    let Some(id) = speaker.known().await else { return };
    speaker.made += 1;
    let text = format!("output {} {}", speaker.number, speaker.made);
    let body = json!({"output_type": "log", "content": text});
    match speaker.client.ask(&format!("/api/tasks/outputs/{id}"), &body).await {
        Some((200, _)) => drop(speaker.told.lock().await.added.entry(id).or_default().insert(text)),
        None => {}
        Some((status, answer)) => speaker.surprise(format!("an output of {id}: {status} {answer}")).await,
    }
}

async fn recover(speaker: &mut Speaker) {
    let Some(id) = speaker.known().await else { return };
    let (status, answer) = speaker.insist(&format!("/api/tasks/{id}/recover"), &json!({})).await;
    if !matches!(status, 200 | 409) {
        speaker.surprise(format!("recover {id}: {status} {answer}")).await;
    }
}

/// A dashboard: opens its socket anew whenever it is cut, and reads whatever comes. Says what was none of the messages that it knows.
async fn watch(url: String, on: std::sync::Arc<std::sync::atomic::AtomicBool>) -> Vec<String> {
    let mut wrong = Vec::new();
    while on.load(std::sync::atomic::Ordering::Relaxed) {
        let Some(mut socket) = Socket::open(&url, "/ws").await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if socket.say("hello").await.is_none() {
            continue;
        }
        while on.load(std::sync::atomic::Ordering::Relaxed) {
            let Some(text) = socket.hear().await else { break };
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            let known = match told["type"].as_str() {
                Some("task_submitted") => told["task"]["state"].is_string() && told["task"]["id"].is_string(),
                Some("tasks_changed") => true,
                _ => text == "Echo: hello",
            };
            if !known {
                wrong.push(format!("the dashboard heard {text}"));
            }
        }
    }
    wrong
}

/// The dialect shows each task in the word for its state, with its outputs, and with a history that ends there.
pub(super) async fn agree(dialect: &Client, told: &Told, tasks: &[Value], broken: &mut Vec<String>) {
    let list = dialect.get("/tasks").await;
    for (id, mark) in &told.created {
        let Some(task) = tasks.iter().find(|task| task["id"] == **id) else { continue };
        let expected = match task["status"].as_str().unwrap_or_default() {
            "completed" => "passed",
            other => other,
        };
        let shown =
            list.as_array().into_iter().flatten().filter(|one| one["id"] == **mark).collect::<Vec<_>>();
        if shown.len() != 1 || shown[0]["state"] != expected {
            broken.push(format!("task {mark} is {} and listed as {shown:?}", task["status"]));
        }
        let history = dialect.get(&format!("/api/tasks/history/{mark}")).await;
        let last =
            history["history"].as_array().and_then(|entries| entries.last()).cloned().unwrap_or_default();
        if last["state_to"] != expected {
            broken.push(format!("task {mark} is {} and its history ends with {last}", task["status"]));
        }
        let outputs = dialect.get(&format!("/api/tasks/outputs/{mark}")).await.to_string();
        for text in told.added.get(id).into_iter().flatten() {
            if outputs.matches(&format!("\"{text}\"")).count() != 1 {
                broken.push(format!("task {mark} was given the output {text:?}, and has {outputs}"));
            }
        }
    }
}
