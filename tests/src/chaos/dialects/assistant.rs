//! Clients of the assistant task server: tasks alone and in lists, at once or not, and thoughts on them.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Client, Speaker, Told};

/// Creates tasks until it is to stop. It sends none twice, as its system has no keys: what was not answered may be there or not.
pub(super) async fn produce(mut speaker: Speaker) {
    while speaker.is_on() {
        let prefix = ["/task", "/tasks"][speaker.random.random_range(0..2)];
        match speaker.random.random_range(0..10) {
            0..=4 => single(&mut speaker, prefix).await,
            5..=6 => batch(&mut speaker, prefix).await,
            7 => think(&mut speaker, prefix).await,
            _ => {
                let (status, list) = speaker.look(&format!("{prefix}/list")).await;
                let active = list["active_tasks"].as_array().map(Vec::len);
                if status != 200
                    || active.map(|active| json!(active)) != Some(list["active_tasks_count"].clone())
                {
                    speaker.surprise(format!("{prefix}/list: {status} {list}")).await;
                }
            }
        }
        speaker.pause().await;
    }
}

async fn single(speaker: &mut Speaker, prefix: &str) {
    let mark = speaker.mark();
    let at_once = speaker.random.random_range(0..4) == 0;
    let body = json!({"task": {"action": "reflect", "content": mark}, "assigned_by": "ray", "execute_immediately": at_once});
    match speaker.client.ask(prefix, &body).await {
        Some((200, answer)) if answer["task_id"].is_string() => {
            let id = answer["task_id"].as_str().unwrap_or_default().to_owned();
            speaker.told.lock().await.created.insert(id, mark);
        }
        // The server may say that it cannot, and nothing is there then.
        None | Some((500, _)) => {}
        Some((status, answer)) => speaker.surprise(format!("POST {prefix}: {status} {answer}")).await,
    }
}

async fn batch(speaker: &mut Speaker, prefix: &str) {
    let marks: Vec<String> = (0..speaker.random.random_range(1..5)).map(|_| speaker.mark()).collect();
    let tasks: Vec<Value> =
        marks.iter().map(|mark| json!({"action": ["observe", "care"], "content": mark})).collect();
    let body = json!({"task": tasks, "assigned_by": "ray"});
    match speaker.client.ask(prefix, &body).await {
        Some((200, answer)) if answer["total_tasks"] == marks.len() => {
            let mut told = speaker.told.lock().await;
            for made in answer["created_tasks"].as_array().into_iter().flatten() {
                let (id, mark) = (made["task_id"].as_str(), made["task"]["content"].as_str());
                told.created.insert(id.unwrap_or_default().to_owned(), mark.unwrap_or_default().to_owned());
            }
        }
        None | Some((500, _)) => {}
        Some((status, answer)) => speaker.surprise(format!("POST {prefix}: {status} {answer}")).await,
    }
}

/// The same thought twice is one, so that it may be sent again.
async fn think(speaker: &mut Speaker, prefix: &str) {
    let Some(id) = speaker.known().await else { return };
    speaker.made += 1;
    let thought = format!("thought {} {}", speaker.number, speaker.made);
    let body = json!({"task_id": id, "action": "reflect", "reflection": thought, "is_final": false});
    match speaker.insist(&format!("{prefix}/reflect"), &body).await {
        (200, _) => drop(speaker.told.lock().await.added.entry(id).or_default().insert(thought)),
        (500, _) => {}
        (status, answer) => speaker.surprise(format!("POST {prefix}/reflect: {status} {answer}")).await,
    }
}

/// The dialect finds each task, with its thoughts, in the word for its state.
pub(super) async fn agree(dialect: &Client, told: &Told, tasks: &[Value], broken: &mut Vec<String>) {
    for id in told.created.keys() {
        let Some(task) = tasks.iter().find(|task| task["id"] == **id) else { continue };
        let shown = dialect.get(&format!("/tasks/{id}")).await;
        let expected = match task["status"].as_str().unwrap_or_default() {
            "completed" => "completed",
            "failed" => "error",
            "cancelled" => "cancelled",
            _ => "received",
        };
        let mut thoughts: Vec<&str> = Vec::new();
        for thought in shown["task"]["reflections"].as_array().into_iter().flatten() {
            thoughts.push(thought["reflection"].as_str().unwrap_or_default());
        }
        if shown["task"]["status"] != expected {
            broken.push(format!("task {id} is {} and shown as {}", task["status"], shown["task"]["status"]));
        }
        for thought in told.added.get(id).into_iter().flatten() {
            if thoughts.iter().filter(|one| *one == thought).count() != 1 {
                broken.push(format!("task {id} was given {thought:?}, and has {thoughts:?}"));
            }
        }
    }
}
