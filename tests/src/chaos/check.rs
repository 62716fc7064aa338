//! Holds the record against what the store says in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::atomic::Ordering;

use baton_model::{
    Expected, Label, Limit, LimitBook, LimitOn, LimitRules, ProjectId, QueueName, Shared, TaskId, TaskType,
    Timestamp,
};
use baton_store::ran::{Ran, over_limits};
use futures::StreamExt as _;
use serde_json::Value;

use super::client::Client;
use super::record::{Record, Told};
use super::{Outcome, standing};

/// How many tasks are read back at once.
const AT_ONCE: usize = 8;

/// Reads everything back and says what is broken.
pub(super) async fn check(
    record: &Record,
    client: &Client,
    (exact_counts, has_limits): (bool, bool),
    every: u64,
) -> Outcome {
    let tasks = all(client, "/v1/tasks?limit=1000").await;
    let generations = all(client, "/v1/generations?limit=1000").await;
    let stats = client.get("/v1/stats").await;
    // They are few. Functions answer for them only where these were started.
    let limited = if has_limits { client.get_if_there("/v1/limits?limit=1000").await } else { None };
    let limited = limited.and_then(|page| page["items"].as_array().cloned()).unwrap_or_default();
    let mut broken = Vec::new();
    let mut details = BTreeMap::new();
    let mut whole = futures::stream::iter(&tasks)
        .map(|task| async move {
            let id = text(&task["id"]);
            let mut detail = client.get(&format!("/v1/tasks/{id}")).await;
            detail["history"] = all(client, &format!("/v1/tasks/{id}/history?limit=1000")).await.into();
            (id, detail)
        })
        .buffered(AT_ONCE);
    while let Some((id, detail)) = whole.next().await {
        history(&id, &detail, &mut broken);
        if details.insert(id.clone(), detail).is_some() {
            broken.push(format!("task {id} is listed twice"));
        }
    }
    let acknowledged = record.told().bulk.clone();
    let bulk = standing::bulk_commands(client, &acknowledged, &details, &mut broken).await;
    let scheduled = standing::occurrences(&details, every, &mut broken);
    let told = record.told();
    broken.extend(told.surprises.iter().cloned());
    promises(&told, &details, &mut broken);
    dependencies(&details, &mut broken);
    limits(&told, &details, &limited, &mut broken);
    claims(&told, &mut broken);
    outputs(&details, &generations, &mut broken);
    if exact_counts {
        counts(&details, &stats, &mut broken);
    }
    let open = |detail: &&Value| {
        !matches!(text(&detail["task"]["status"]).as_str(), "completed" | "failed" | "cancelled")
    };
    broken.extend(
        details.values().filter(open).map(|detail| format!("a task is stranded: {}", detail["task"])),
    );
    Outcome {
        created: told.created.len(),
        scheduled,
        bulk,
        completed: told.completed.len(),
        attempts: told.given.len(),
        unanswered: record.unanswered.load(Ordering::Relaxed),
        kills: 0,
        events: details.iter().map(|(id, detail)| (id.clone(), events_of(detail).len())).collect(),
        broken,
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Every entry of a list, page by page.
pub(super) async fn all(client: &Client, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}{cursor}")).await;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// What was acknowledged holds.
fn promises(told: &Told, details: &BTreeMap<String, Value>, broken: &mut Vec<String>) {
    for (id, asked) in &told.created {
        match details.get(id) {
            None => broken.push(format!("task {id} was acknowledged and is lost")),
            Some(detail) if detail["task"]["params"] != asked["params"] => {
                broken.push(format!("task {id} has other params than were asked"));
            }
            Some(_) => {}
        }
    }
    let unknown = |(id, detail): &(&String, &Value)| {
        !told.created.contains_key(*id) && standing::occurrence(&detail["task"]).is_none()
    };
    for (id, _) in details.iter().filter(unknown) {
        broken.push(format!(
            "task {id} exists and was never acknowledged, though every request was sent to its answer"
        ));
    }
    for ((id, attempt), workers) in &told.given {
        if workers.iter().any(|worker| *worker != workers[0]) {
            broken.push(format!("attempt {attempt} of task {id} was given to {workers:?}"));
        }
    }
    for (id, completions) in &told.completed {
        let (attempt, generation, result) = &completions[0];
        if completions.iter().any(|other| other != &completions[0]) {
            broken.push(format!("task {id} was completed twice: {completions:?}"));
        }
        let Some(detail) = details.get(id) else { continue };
        if detail["task"]["status"] != "completed" {
            broken
                .push(format!("task {id} was acknowledged as completed and is {}", detail["task"]["status"]));
        }
        let standing = &detail["generation"];
        if text(&standing["id"]) != *generation
            || standing["attempt"] != *attempt
            || standing["result"] != *result
        {
            broken.push(format!("task {id} has generation {standing}, acknowledged were {completions:?}"));
        }
    }
    for id in &told.cancelled {
        if details.get(id).is_some_and(|detail| detail["task"]["status"] != "cancelled") {
            broken.push(format!("task {id} was acknowledged as cancelled and is not"));
        }
    }
}

/// A task that did not run ended because of one that it depends on, and one that ran had nothing against it.
fn dependencies(details: &BTreeMap<String, Value>, broken: &mut Vec<String>) {
    for (id, detail) in details {
        let task = &detail["task"];
        let waited_for = task["depends_on"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ended_well = |other: &Value| {
            details.get(&text(other)).is_some_and(|other| other["task"]["status"] == "completed")
        };
        let all_well = waited_for.iter().all(ended_well);
        let followed = task["error"]["code"] == "dependency_failed";
        let has_run = task["attempt"].as_u64().unwrap_or_default() > 0;
        if followed && (all_well || has_run || task["if_dependency_fails"] == "run") {
            broken
                .push(format!("task {id} ended as one that it depends on had failed, and none had: {task}"));
        }
        if has_run && !all_well && task["if_dependency_fails"] != "run" {
            broken.push(format!("task {id} ran though one that it depends on did not complete: {task}"));
        }
    }
}

/// No limit was exceeded at any moment; all of them were set before the first task was there, and have not been changed.
///
/// An attempt ran for certain from the time at which a worker had the answer to its claim to the time that its end is dated by. That one a
/// server has read before it wrote the end, from the clock of this machine or from one that is behind it. Of an attempt that nobody was
/// told of nothing is said.
fn limits(told: &Told, details: &BTreeMap<String, Value>, limited: &[Value], broken: &mut Vec<String>) {
    let book = match limited.iter().map(limit).collect::<Result<_, String>>() {
        Ok(limits) => LimitBook { limits, ..LimitBook::default() },
        Err(what) => return broken.push(what),
    };
    let named: Vec<_> = details.values().map(|detail| (named(&detail["task"]), detail)).collect();
    let mut ran = Vec::new();
    for (task, detail) in &named {
        let (id, queue, project, task_type, key) = match task {
            Ok(named) => named,
            Err(what) => {
                broken.push(what.clone());
                continue;
            }
        };
        let shared = Shared { queue, project, task_type, key: key.as_ref() };
        let events = events_of(detail);
        for (claim, end) in events.iter().zip(events.iter().skip(1)) {
            if claim["kind"] != "claimed" {
                continue;
            }
            let attempt = claim["attempt"].as_u64().unwrap_or_default();
            let given_by = told.given_by.get(&(id.to_string(), attempt));
            if let (Some(from), Ok(until)) = (given_by, text(&end["at"]).parse::<Timestamp>()) {
                ran.push(Ran { task: *id, attempt: attempt as u32, shared, from: *from, until });
            }
        }
    }
    broken.extend(over_limits(&book, &ran));
}

/// A limit as it is told.
fn limit(told: &Value) -> Result<(LimitOn, Limit), String> {
    let unread = |what: &dyn Display| format!("the limit {told} is not read: {what}");
    let on = text(&told["on"]).parse::<LimitOn>().map_err(|error| unread(&error))?;
    let exempt_types = told["exempt_types"].as_array().into_iter().flatten().map(text);
    let exempt_types = exempt_types.map(|one| one.parse::<TaskType>().map_err(|error| unread(&error)));
    let rules = LimitRules {
        max_running: told["max_running"].as_u64().map(|most| most as u32),
        exempt_types: exempt_types.collect::<Result<_, _>>()?,
        ..LimitRules::default()
    };
    let changed_at = Timestamp::UNIX_EPOCH;
    Ok((on.clone(), Limit { on, rules, changed_by: None, reason: None, changed_at }))
}

/// What of a task says which limits it falls under, behind its id.
type Named = (TaskId, QueueName, ProjectId, TaskType, Option<Label>);

fn named(task: &Value) -> Result<Named, String> {
    let read = || -> Result<Named, Expected> {
        Ok((
            text(&task["id"]).parse()?,
            text(&task["queue"]).parse()?,
            text(&task["project"]).parse()?,
            text(&task["type"]).parse()?,
            task["concurrency_key"].as_str().map(str::parse).transpose()?,
        ))
    };
    read().map_err(|error| format!("the task {task} is not read: {error}"))
}

/// All answers to one claim are of one set of leases: what a later one lacks had ended by then.
fn claims(told: &Told, broken: &mut Vec<String>) {
    for (request, answers) in &told.claims {
        let largest = answers.iter().max_by_key(|leases| leases.len());
        let others = |leases: &&BTreeSet<_>| largest.is_some_and(|largest| !leases.is_subset(largest));
        if answers.iter().any(|leases| others(&leases)) {
            broken.push(format!("claim {request} was given several sets of leases: {answers:?}"));
        }
    }
}

pub(super) fn events_of(detail: &Value) -> Vec<Value> {
    detail["history"].as_array().cloned().unwrap_or_default()
}

/// One generation for each completed task, and none besides.
fn outputs(details: &BTreeMap<String, Value>, generations: &[Value], broken: &mut Vec<String>) {
    let mut by_task: BTreeMap<String, u32> = BTreeMap::new();
    for generation in generations {
        *by_task.entry(text(&generation["task_id"])).or_default() += 1;
    }
    for (id, detail) in details {
        let expected = u32::from(detail["task"]["status"] == "completed");
        let found = by_task.remove(id).unwrap_or(0);
        if found != expected || u32::from(detail["generation"].is_object()) != expected {
            broken.push(format!("task {id} is {} and has {found} generations", detail["task"]["status"]));
        }
    }
    broken
        .extend(by_task.keys().map(|id| format!("a generation belongs to task {id}, which does not exist")));
}

/// A history counts from 1, each event begins where the one before it ended, and only a claim raises the attempt.
fn history(id: &str, detail: &Value, broken: &mut Vec<String>) {
    let events = events_of(detail);
    // All times are written alike, so that they sort as texts.
    if !events.is_sorted_by_key(|event| text(&event["at"])) {
        broken.push(format!("the history of task {id} runs backwards: {events:?}"));
    }
    let mut state = Value::Null;
    let mut attempt = 0;
    for (index, event) in events.iter().enumerate() {
        let raised = u64::from(event["kind"] == "claimed");
        if event["seq"] != index + 1 || event["from"] != state || event["attempt"] != attempt + raised {
            broken.push(format!("the history of task {id} breaks at its event {event}"));
        }
        state = event["to"].clone();
        attempt = event["attempt"].as_u64().unwrap_or_default();
    }
    let completions = events.iter().filter(|event| event["kind"] == "completed").count();
    let status = &detail["task"]["status"];
    if state != *status || detail["task"]["attempt"] != attempt || completions > 1 {
        broken
            .push(format!("task {id} is {status}, its history says {state} after {completions} completions"));
    }
}

/// The counts are those of the tasks.
fn counts(details: &BTreeMap<String, Value>, stats: &Value, broken: &mut Vec<String>) {
    let mut recount: BTreeMap<String, u64> = BTreeMap::new();
    for detail in details.values() {
        // What waits is counted as such, whether it is ready or not.
        let status = match text(&detail["task"]["status"]) {
            status if matches!(status.as_str(), "queued" | "created" | "retry") => "waiting".to_owned(),
            status => status,
        };
        *recount.entry(status).or_default() += 1;
    }
    for state in ["waiting", "running", "completed", "failed", "cancelled"] {
        let (told, counted) =
            (stats["states"][state].as_u64().unwrap_or(0), recount.get(state).copied().unwrap_or(0));
        if told != counted {
            broken.push(format!("{told} tasks are said to be {state}, {counted} are"));
        }
    }
}
