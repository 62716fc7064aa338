//! A producer: creates tasks one by one, in batches, with keys and with ids of its own, some of which wait for others; now and then
//! cancels one, or many by a bulk command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::client::Client;
use super::standing;

/// After how many requests a producer looks how much waits.
const LOOKS: u64 = 10;

/// Creates tasks until `on` is off; each request is sent until it is answered.
pub(super) async fn run(number: u32, client: Client, mut random: StdRng, pace: u64, on: Arc<AtomicBool>) {
    let mut made = 0_u64;
    while on.load(Ordering::Relaxed) {
        made += 1;
        if made.is_multiple_of(LOOKS) {
            until_few_wait(&client, &on).await;
        }
        let key = format!("producer-{number}-{made}");
        match random.random_range(0..10) {
            0..=1 => batch(&client, &mut random, &key).await,
            2..=3 => chosen(&client, &mut random).await,
            _ => {
                let mut task = task(&mut random);
                if random.random_bool(0.1)
                    && let Some(id) = known(&client, &mut random)
                {
                    wait_for(&mut task, &mut random, &[id]);
                }
                let answer = client.post("/v1/tasks", Some(&key), &task).await;
                created(&client, &answer.body, &task, answer.is_success());
            }
        }
        if random.random_bool(0.03) {
            cancel(&client, &mut random).await;
        }
        // Once in short runs, too, and of all tasks while they are few.
        if made == 3 || random.random_bool(0.02) {
            standing::bulk(&client, &mut random, made == 3).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..=pace))).await;
    }
}

/// Pauses for as long as a page of a list does not hold all that waits: what a long run creates must come to its end, at a task or two a
/// second where tasks share limits and everything fails now and then.
async fn until_few_wait(client: &Client, on: &AtomicBool) {
    while on.load(Ordering::Relaxed) {
        let page = client.get("/v1/tasks?status=queued&limit=100").await;
        if page["next_cursor"].is_null() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Sets limits that tasks run into all the time: were one of their places lost with a server, tasks would be stranded in the
/// end.
pub(super) async fn limit(client: &Client) {
    for limit in [
        json!({ "on": "queue/default/key/*", "max_running": 1, "holds_retries": true }),
        json!({ "on": "queue/slow", "max_running": 4, "exempt_types": ["score"] }),
        json!({ "on": "project/default", "max_running": 7 }),
    ] {
        let answer = client.post("/v1/limits", None, &limit).await;
        assert!(answer.is_success(), "a limit is set, got {answer:?}");
    }
}

fn task(random: &mut StdRng) -> Value {
    let mut task = json!({
        "type": pick(random, &["render", "encode", "score"]),
        "queue": pick(random, &["default", "slow"]),
        "priority": pick(random, &["critical", "high", "normal", "low"]),
        "params": { "n": random.random_range(0..1_000_000) },
        "max_attempts": 50,
        "backoff": { "base_seconds": 0.02, "max_seconds": 0.2 },
    });
    if random.random_bool(0.1) {
        task["delay_seconds"] = json!(0.2);
    }
    if random.random_bool(0.2) {
        task["concurrency_key"] = json!(pick(random, &["a", "b", "c"]));
    }
    task
}

/// Has a task wait for others.
fn wait_for(task: &mut Value, random: &mut StdRng, others: &[String]) {
    task["depends_on"] = json!(others);
    task["if_dependency_fails"] = json!(pick(random, &["cancel", "fail", "run"]));
}

/// A task that was acknowledged.
fn known(client: &Client, random: &mut StdRng) -> Option<String> {
    let told = client.record.told();
    let nth = random.random_range(0..told.created.len().max(1));
    told.created.keys().nth(nth).cloned()
}

fn pick<'a>(random: &mut StdRng, names: &[&'a str]) -> &'a str {
    names[random.random_range(0..names.len())]
}

fn created(client: &Client, answer: &Value, task: &Value, success: bool) {
    let mut told = client.record.told();
    match answer["id"].as_str() {
        Some(id) if success => {
            // The same task may be acknowledged twice, but two tasks never have one id.
            if let Some(earlier) = told.created.insert(id.to_owned(), task.clone())
                && earlier != *task
            {
                told.surprises.push(format!("task {id} was acknowledged for two different requests"));
            }
        }
        _ => told.surprises.push(format!("a creation was answered {answer}")),
    }
}

async fn batch(client: &Client, random: &mut StdRng, key: &str) {
    let mut tasks: Vec<Value> = (0..random.random_range(2..20)).map(|_| task(random)).collect();
    let linked = random.random_bool(0.25);
    if linked {
        for (place, task) in tasks.iter_mut().enumerate() {
            task["ref"] = json!(format!("t{place}"));
            let some =
                (0..random.random_range(0..3)).map(|_| format!("t{}", random.random_range(0..place.max(1))));
            let mut others: Vec<_> = some.collect();
            others.sort();
            others.dedup();
            if place > 0 && !others.is_empty() {
                wait_for(task, random, &others);
            }
        }
    }
    let body = json!({ "atomic": linked || random.random_bool(0.5), "tasks": tasks });
    let answer = client.post("/v1/tasks/batch", Some(key), &body).await;
    let items = answer.body["items"].as_array().cloned().unwrap_or_default();
    if items.len() != tasks.len() {
        let surprise = format!("a batch of {} was answered {}", tasks.len(), answer.body);
        client.record.told().surprises.push(surprise);
    }
    for (item, task) in items.iter().zip(&tasks) {
        created(client, &item["task"], task, answer.is_success());
    }
}

/// Creates a task with an id of its own, and sends the same request once more.
async fn chosen(client: &Client, random: &mut StdRng) {
    let mut task = task(random);
    // A UUID of version 8 (RFC 9562 §5.8), made of the seed.
    let (high, low): (u64, u64) = (random.random(), random.random());
    let digits = format!("{high:016x}{low:016x}");
    let id = format!(
        "{}-{}-8{}-a{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..]
    );
    task["id"] = json!(id);
    for _ in 0..2 {
        let answer = client.post("/v1/tasks", None, &task).await;
        created(client, &answer.body, &task, answer.is_success() && answer.body["id"] == json!(id));
    }
}

async fn cancel(client: &Client, random: &mut StdRng) {
    let Some(id) = known(client, random) else { return };
    let answer = client.post(&format!("/v1/tasks/{id}/cancel"), None, &json!({ "by": "chaos" })).await;
    let mut told = client.record.told();
    match (answer.is_success(), answer.code()) {
        (true, _) => told.cancelled.push(id),
        // It was finished before.
        (false, "transition_refused") => {}
        _ => told.surprises.push(format!("a cancellation was answered {} {}", answer.status, answer.body)),
    }
}
