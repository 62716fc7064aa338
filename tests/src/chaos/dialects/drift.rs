//! Clients of the drift simulation, which run its tasks: over HTTP, and over one socket or two.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::{Value, json};

use super::super::check;
use super::super::socket::Socket;
use super::{Client, Speaker};

/// A registered client: its id, and what it runs by its own account.
struct Registered {
    id: String,
    token: String,
    runs: BTreeSet<String>,
}

/// Works until it is to stop, and leaves then. Now and then it is started anew.
pub(super) async fn work(mut speaker: Speaker) {
    while speaker.is_on() {
        let mut client = register(&speaker).await;
        for _ in 0..speaker.random.random_range(5..25) {
            if !speaker.is_on() {
                break;
            }
            match speaker.random.random_range(0..3) {
                0 => over_http(&mut speaker, &mut client).await,
                1 => over_socket(&mut speaker, &mut client, false).await,
                _ => over_socket(&mut speaker, &mut client, true).await,
            }
            speaker.pause().await;
        }
        // One that was killed says nothing, and its tasks are lost with its silence; the others leave.
        if speaker.is_on() && speaker.random.random_bool(0.3) {
            continue;
        }
        while speaker
            .client
            .remove(&format!("/api/v1/clients/unregister?token={}", client.token))
            .await
            .is_none()
        {}
    }
}

async fn register(speaker: &Speaker) -> Registered {
    let body = json!({"name": "c", "public_key": "k", "capabilities": {"cpu": {}}, "system_info": {}});
    loop {
        let (status, answer) = speaker.insist("/api/v1/clients/register", &body).await;
        if let (200, Some(id), Some(token)) = (status, answer["client_id"].as_str(), answer["token"].as_str())
        {
            return Registered { id: id.to_owned(), token: token.to_owned(), runs: BTreeSet::new() };
        }
        speaker.surprise(format!("register: {status} {answer}")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Notes a task that the client is given: never one that it runs already.
async fn given(speaker: &Speaker, client: &mut Registered, task: &Value) -> Option<String> {
    let id = task["task_id"].as_str()?.to_owned();
    if !client.runs.insert(id.clone()) {
        speaker.surprise(format!("client {} was given {id}, which it runs", client.id)).await;
    }
    if !task["input_data"].is_string() || !task["particle_count"].is_u64() {
        speaker.surprise(format!("a task was given as {task}")).await;
    }
    Some(id)
}

fn digits(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn result(mark: &str) -> String {
    digits(&json!({"success": true, "result_data": mark, "particle_count": 10}).to_string())
}

async fn completed(speaker: &Speaker, task: &str, mark: String) {
    speaker.told.lock().await.completed.entry(task.to_owned()).or_default().insert(mark);
}

async fn over_http(speaker: &mut Speaker, client: &mut Registered) {
    let token = client.token.clone();
    let Some((status, task)) =
        speaker.client.ask_for(&format!("/api/v1/tasks/available?token={token}")).await
    else {
        return;
    };
    if status != 200 {
        return speaker.surprise(format!("available: {status} {task}")).await;
    }
    let Some(id) = given(speaker, client, &task).await else { return };
    tokio::time::sleep(Duration::from_millis(speaker.random.random_range(0..30))).await;
    if speaker.random.random_range(0..8) == 0 {
        let body = json!({"task_id": id, "error_message": "Task cancelled: paused", "metadata": {}});
        let (status, answer) = speaker.insist(&format!("/api/v1/tasks/fail?token={token}"), &body).await;
        if !matches!(status, 200 | 400) {
            speaker.surprise(format!("fail: {status} {answer}")).await;
        }
        client.runs.remove(&id);
        return;
    }
    let mark = speaker.mark();
    let body = json!({"task_id": id, "result_data": result(&mark), "execution_time": 0.5, "metadata": {}});
    // It never tells it twice by itself; whoever sits before it may press the button again.
    let path = format!("/api/v1/tasks/complete?token={token}");
    let answer = if speaker.random.random_bool(0.5) {
        Some(speaker.insist(&path, &body).await)
    } else {
        speaker.client.ask(&path, &body).await
    };
    client.runs.remove(&id);
    match answer {
        Some((200, _)) => completed(speaker, &id, mark).await,
        Some((400, _)) | None => {}
        Some((status, answer)) => speaker.surprise(format!("complete: {status} {answer}")).await,
    }
}

/// Some tasks over a socket; with another one of the same client, which is opened and closed meanwhile.
async fn over_socket(speaker: &mut Speaker, client: &mut Registered, twice: bool) {
    let path = format!("/ws/client/{}", client.id);
    let Some(mut socket) = Socket::open(&speaker.url, &path).await else { return };
    let second = if twice { Socket::open(&speaker.url, &path).await } else { None };
    let mut mine = BTreeSet::new();
    for round in 0..speaker.random.random_range(1..4) {
        if socket.say(&json!({"type": "task_request"}).to_string()).await.is_none() {
            break;
        }
        let Some(told) = socket.hear_of(&["task_assignment", "no_tasks_available"]).await else { break };
        let Some(id) = given(speaker, client, &told["task"]).await else { continue };
        mine.insert(id.clone());
        if round == 0
            && let Some(mut second) = second_of(&second, speaker, &path).await
        {
            // Its close is not the client's departure.
            let _said = second.say(&json!({"type": "heartbeat", "timestamp": "x"}).to_string()).await;
        }
        tokio::time::sleep(Duration::from_millis(speaker.random.random_range(0..30))).await;
        let mark = speaker.mark();
        let told = json!({"type": "task_completed", "task_id": id, "result_data": result(&mark), "execution_time": 0.5});
        if socket.say(&told.to_string()).await.is_none() {
            break;
        }
        let Some(ack) = socket.hear_of(&["task_completion_ack"]).await else { break };
        mine.remove(&id);
        client.runs.remove(&id);
        if ack["task_id"] != id {
            speaker.surprise(format!("{id} was acknowledged as {ack}")).await;
        }
        if ack["success"] == true {
            completed(speaker, &id, mark).await;
        }
    }
    // What it was given over a socket that is cut, it calls off.
    for id in mine {
        client.runs.remove(&id);
    }
    drop(second);
}

async fn second_of(second: &Option<Socket>, speaker: &Speaker, path: &str) -> Option<Socket> {
    second.as_ref()?;
    if speaker.calm.load(std::sync::atomic::Ordering::Relaxed) {
        return None;
    }
    Socket::open(&speaker.url, path).await
}

/// Waits until no client holds anything: those that left have given it back, and what the silent ones held is taken back by their silence,
/// for which the old server had five minutes.
pub(super) async fn rests(direct: &Client) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let tasks = check::all(direct, "/v1/tasks?limit=1000&status=running").await;
        if tasks.is_empty() {
            return Ok(());
        }
        // A silent one keeps them for longer than a short run has.
        let workers = check::all(direct, "/v1/workers?limit=1000").await;
        let left: BTreeSet<&str> = workers
            .iter()
            .filter(|worker| worker["labels"]["left"] == "true")
            .filter_map(|worker| worker["id"].as_str())
            .collect();
        let held =
            tasks.iter().find(|task| left.contains(task["lease"]["worker_id"].as_str().unwrap_or_default()));
        match held {
            None => return Ok(()),
            Some(task) if begun.elapsed() > Duration::from_secs(20) => {
                return Err(format!("a client that has left holds a task: {task}"));
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The dialect tells the same numbers as Baton's own routes.
pub(super) async fn agree(dialect: &Client, tasks: &[Value], broken: &mut Vec<String>) {
    let running = tasks.iter().filter(|task| task["status"] == "running").count();
    let queue = dialect.get("/api/v1/tasks/queue/status").await;
    if queue["active_tasks"] != running {
        broken.push(format!("{running} tasks run, and the queue says {queue}"));
    }
    let active = dialect.get("/api/v1/admin/debug/active-tasks").await;
    if active["total_active_tasks"] != running {
        broken.push(format!("{running} tasks run, and active-tasks says {active}"));
    }
}
