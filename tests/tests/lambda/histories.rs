//! Histories of any length come by pages, each of which is small enough for the answer of a function.

use baton_model::{Event, EventDetail, EventKind, Failure, State};
use baton_runtime::Clock;
use baton_store::Transfer;
use baton_store::transfer::{Record, TaskRecord};
use serde_json::{Value, json};

use crate::world::{World, send};

/// What Lambda lets an answer have, in bytes.
const ANSWER: usize = 6 * 1024 * 1024;

/// How many events the history has: few in the gate, `BATON_TEST_EVENTS=30000` for the bar.
fn events() -> u32 {
    std::env::var("BATON_TEST_EVENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(2_500)
}

/// The only task that the table has.
async fn only_task(store: &impl Transfer, world: &World) -> TaskRecord {
    let mut after = None;
    loop {
        let page = store.export(world.clock.now(), after, 100).await.unwrap();
        let task = page.items.into_iter().find_map(|record| match record {
            Record::Task(task) => Some(*task),
            _ => None,
        });
        match task {
            Some(task) => return task,
            None => after = Some(page.next.expect("the table has a task")),
        }
    }
}

/// Has a task be claimed and fail until it has so many events. Every hundredth failure says 16 KB.
fn lengthen(record: &mut TaskRecord, events: u32) {
    let first = record.history[0].clone();
    let worker = Some("w".parse().unwrap());
    for seq in 2..=events | 1 {
        let attempt = seq / 2;
        let begins = seq % 2 == 0;
        let (kind, from, to) = match begins {
            true => (EventKind::Claimed, State::Queued, State::Running),
            false => (EventKind::AttemptFailed, State::Running, State::Queued),
        };
        let message = "x".repeat(if attempt % 100 == 0 { 16_000 } else { 40 });
        let error = (!begins).then_some(Failure { message, code: None, details: None });
        let detail = EventDetail { worker: worker.clone(), error, ..EventDetail::default() };
        record.history.push(Event { seq, at: first.at, kind, from: Some(from), to, attempt, detail });
    }
    let head = &mut record.task.head;
    (head.events, head.attempt) = (events | 1, events / 2);
    record.task.error = record.history.last().and_then(|event| event.detail.error.clone());
    (record.worker, record.claimed_at) = (worker, Some(first.at));
}

#[tokio::test]
async fn a_history_of_any_length_is_read_by_pages() {
    let world = World::new().await;
    let (create, query) = (world.function("create-task"), world.function("query-tasks"));
    let (status, created) = send(&create, "POST", "/v1/tasks", json!({"type": "render"})).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().unwrap();
    // It is moved in with its history: to claim it so often would take the tests a quarter of an hour.
    let store = world.store().await;
    let mut record = only_task(&store, &world).await;
    lengthen(&mut record, events());
    let history = record.history.clone();
    store.import(vec![Record::Task(Box::new(record))]).await.unwrap();

    let (status, detail) = send(&query, "GET", &format!("/v1/tasks/{id}"), Value::Null).await;
    assert_eq!((status, &detail["events"]), (200, &json!(history.len())));
    let shown = detail["history"].as_array().unwrap();
    let latest = shown.last().map(|event| &event["seq"]);
    assert_eq!(latest, Some(&json!(history.len())), "the latest are shown with the task");
    assert!(detail.to_string().len() < ANSWER / 2);

    let (mut read, mut pages, mut cursor) = (0, 0, String::new());
    loop {
        let path = format!("/v1/tasks/{id}/history?limit=1000{cursor}");
        let (status, page) = send(&query, "GET", &path, Value::Null).await;
        assert_eq!(status, 200, "{page}");
        assert!(page.to_string().len() < ANSWER / 2, "{} bytes", page.to_string().len());
        for event in page["items"].as_array().unwrap() {
            let told = &history[read];
            assert_eq!(event["seq"], json!(told.seq));
            assert_eq!(event["kind"], json!(told.kind.as_str()));
            let message = told.detail.error.as_ref().map(|error| error.message.as_str());
            assert_eq!(event["error"]["message"].as_str(), message, "event {}", told.seq);
            read += 1;
        }
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(read, history.len());
    println!("{read} events in {pages} pages");
}
