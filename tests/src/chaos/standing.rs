//! What makes or changes tasks on somebody's behalf: a schedule, and bulk commands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use baton_model::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::check::{all, events_of, text};
use super::client::Client;

const SCHEDULE: &str = "chaos";

/// Sets a schedule that creates a task every so many seconds, also for those times at which nothing ran.
pub(super) async fn set_schedule(client: &Client, every: u64) {
    let schedule = json!({
        "name": SCHEDULE,
        "every_seconds": every,
        "if_missed": "all",
        "if_running": "allow",
        "task": {
            "type": "score",
            "queue": "slow",
            "params": { "time": "{{time}}" },
            "max_attempts": 50,
            "backoff": { "base_seconds": 0.02, "max_seconds": 0.2 },
        },
    });
    let answer = client.post("/v1/schedules", None, &schedule).await;
    assert!(answer.is_success(), "a schedule is set, got {answer:?}");
}

/// Has it create nothing any more.
pub(super) async fn pause_schedule(client: &Client) {
    let answer = client.post(&format!("/v1/schedules/{SCHEDULE}/pause"), None, &json!({})).await;
    assert!(answer.is_success(), "a schedule is paused, got {answer:?}");
}

/// The time that a task is for, if the schedule has created it.
pub(super) fn occurrence(task: &Value) -> Option<&str> {
    task["params"]["time"].as_str()
}

/// Each time from the first to the last has one task, and none was created before its time. Says how many there are.
pub(super) fn occurrences(details: &BTreeMap<String, Value>, every: u64, broken: &mut Vec<String>) -> usize {
    let mut times = BTreeSet::new();
    for (id, detail) in details {
        let task = &detail["task"];
        let Some(time) = occurrence(task) else { continue };
        let Ok(second) = time.parse::<Timestamp>() else {
            broken.push(format!("task {id} of the schedule is for {time}, which is no time"));
            continue;
        };
        let created = text(&task["created_at"]).parse::<Timestamp>();
        if !created.is_ok_and(|created| created >= second) {
            broken.push(format!("task {id} of the schedule was created before its time: {task}"));
        }
        if !times.insert(second) {
            broken.push(format!("the schedule has created two tasks for {time}, one of them is {id}"));
        }
    }
    for (one, next) in times.iter().zip(times.iter().skip(1)) {
        if next.since(*one) != Duration::from_secs(every) {
            broken.push(format!("the schedule has created no task between {one} and {next}"));
        }
    }
    times.len()
}

/// A command for many tasks at once: some by their ids, or those of a filter, which may be of those that have ended, too.
pub(super) async fn bulk(client: &Client, random: &mut StdRng, ended_too: bool) {
    let ids: Vec<String> = {
        let told = client.record.told();
        let known = told.created.len();
        let some: BTreeSet<_> = (0..12).map(|_| random.random_range(0..known.max(1))).collect();
        some.into_iter().filter_map(|nth| told.created.keys().nth(nth).cloned()).collect()
    };
    let filter = json!({ "queue": "slow", "type": "encode", "status": ["queued"] });
    let command = match random.random_range(0..3) {
        0 if !ids.is_empty() => json!({ "do": "cancel", "ids": ids }),
        1 => json!({ "do": "cancel", "filter": filter }),
        _ => {
            let mut filter = json!({ "queue": "default" });
            if !ended_too {
                filter["status"] = json!(["queued"]);
            }
            json!({ "do": "change", "with": { "priority": "low" }, "filter": filter })
        }
    };
    // Sent again after a lost answer it is another command.
    let answer = client.post("/v1/tasks/bulk", None, &command).await;
    let mut told = client.record.told();
    match answer.body["id"].as_str() {
        Some(id) if answer.is_success() => {
            told.bulk.insert(id.to_owned());
        }
        _ => told.surprises.push(format!("a bulk command was answered {} {}", answer.status, answer.body)),
    }
}

/// Waits for the end of all bulk commands.
pub(super) async fn end_of_bulk(client: &Client) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let commands = all(client, "/v1/bulk?limit=100").await;
        let Some(running) = commands.iter().find(|command| command["state"] == "running") else {
            return Ok(());
        };
        if begun.elapsed() > super::PATIENCE {
            return Err(format!("a bulk command has not come to its end without a kill: {running}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Each acknowledged command is there and done, and each task that it says to have changed names it once in its history.
/// Says how many there are.
pub(super) async fn bulk_commands(
    client: &Client,
    acknowledged: &BTreeSet<String>,
    details: &BTreeMap<String, Value>,
    broken: &mut Vec<String>,
) -> usize {
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for (id, detail) in details {
        let mut by_this = BTreeSet::new();
        for event in events_of(detail) {
            let Some(rest) = event["reason"].as_str().and_then(|reason| reason.strip_prefix("bulk command "))
            else {
                continue;
            };
            let command = rest.split(':').next().unwrap_or(rest).to_owned();
            if !by_this.insert(command.clone()) {
                broken.push(format!("bulk command {command} has changed task {id} twice"));
            }
            *named.entry(command).or_default() += 1;
        }
    }
    let commands = all(client, "/v1/bulk?limit=100").await;
    let listed: BTreeSet<_> = commands.iter().map(|command| text(&command["id"])).collect();
    broken.extend(acknowledged.difference(&listed).map(|id| format!("bulk command {id} is lost")));
    for command in &commands {
        let skipped = command["skipped"].as_object().into_iter().flat_map(|reasons| reasons.values());
        let skipped: u64 = skipped.filter_map(Value::as_u64).sum();
        let (looked_at, changed) = (command["looked_at"].as_u64(), command["changed"].as_u64().unwrap_or(0));
        if command["state"] != "done" || looked_at != Some(changed + skipped) {
            broken.push(format!("a bulk command ended as {command}"));
        }
        let by_it = named.remove(&text(&command["id"])).unwrap_or(0);
        if changed != by_it {
            broken.push(format!("{by_it} tasks were changed by the bulk command {command}"));
        }
    }
    broken.extend(named.keys().map(|id| format!("a history names bulk command {id}, which does not exist")));
    commands.len()
}
