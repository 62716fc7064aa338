//! The table's stream, relayed to the queue `task-events`.

use std::collections::BTreeMap;

use baton_lambda::Host;
use serde_json::{Value, json};

use crate::world::{Stream, TASK_EVENTS, World, again, invoke, seconds, send};

async fn relay(world: &World, host: &Host, stream: &mut Stream) -> Vec<String> {
    let records = stream.records(world).await;
    again(&invoke(host, &json!({ "Records": records })).await)
}

/// The events of each task by their numbers, as consumers make them of messages; each message once by its id.
fn heard(world: &World) -> BTreeMap<String, BTreeMap<u64, Value>> {
    let mut heard: BTreeMap<String, BTreeMap<u64, Value>> = BTreeMap::new();
    for message in world.queues.visible(TASK_EVENTS) {
        let event: Value = serde_json::from_str(&message.body).unwrap();
        let task = event["subject"].as_str().unwrap().to_owned();
        let seq = event["data"]["event"]["seq"].as_u64().unwrap();
        assert_eq!(event["id"], format!("{task}/{seq}"));
        assert_eq!(event["sequence"], format!("{seq:010}"));
        assert_eq!((&event["specversion"], &event["data"]["task_id"]), (&json!("1.0"), &json!(task)));
        let kind = event["data"]["event"]["kind"].as_str().unwrap();
        assert_eq!(event["type"], format!("baton.task.{kind}"));
        assert_eq!(event["time"], event["data"]["event"]["at"]);
        heard.entry(task).or_default().insert(seq, event["data"]["event"].clone());
    }
    heard
}

#[tokio::test]
async fn every_event_of_every_history_is_told_also_those_that_are_kept_apart() {
    let world = World::new().await;
    let (create, claim) = (world.function("create-task"), world.function("claim-task"));
    let (complete, relayer) = (world.function("complete-task"), world.function("relay-events"));
    let mut stream = Stream::default();
    let task = json!({"type": "render", "queue": "gpu", "project": "acme", "max_attempts": 100});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, created) = send(&create, "POST", "/v1/tasks", task.clone()).await;
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(relay(&world, &relayer, &mut stream).await, Vec::<String>::new());
    // Enough attempts for the history to spill several times, with failures that are kept apart by themselves.
    for attempt in 1..=12 {
        world.clock.advance(seconds(60));
        let claimed = json!({"worker_id": "w", "queues": ["gpu"], "max_tasks": 2});
        let (_, answer) = send(&claim, "POST", "/v1/claims", claimed).await;
        assert_eq!(answer["tasks"].as_array().unwrap().len(), 2, "{answer}");
        assert_eq!(relay(&world, &relayer, &mut stream).await, Vec::<String>::new());
        for id in &ids {
            let message = if attempt % 3 == 0 { "x".repeat(3_000) } else { "no GPU".to_owned() };
            let failure = json!({"worker_id": "w", "attempt": attempt, "retry_after_seconds": 1,
                "error": {"message": message}});
            let (status, answer) = send(&complete, "POST", &format!("/v1/tasks/{id}/fail"), failure).await;
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(relay(&world, &relayer, &mut stream).await, Vec::<String>::new());
    }
    let store = world.store().await;
    let heard = heard(&world);
    for id in ids {
        let detail = baton_store::TaskStore::task(&store, id.parse().unwrap()).await.unwrap();
        let history: Vec<Value> = detail
            .history
            .into_iter()
            .map(|event| serde_json::to_value(baton_api::answer::EventView::from(event)).unwrap())
            .collect();
        assert_eq!(history.len(), 25);
        assert_eq!(heard[&id].values().cloned().collect::<Vec<_>>(), history);
    }
    // What is no task's brings nothing: workers, queues and counts have changed all the while.
    assert_eq!(world.queues.visible(TASK_EVENTS).len(), 50);
}

#[tokio::test]
async fn what_the_queue_refuses_comes_again_from_the_first_record_on() {
    let world = World::new().await;
    let (create, relayer) = (world.function("create-task"), world.function("relay-events"));
    let mut stream = Stream::default();
    for _ in 0..3 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    let mut records = stream.records(&world).await;
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let first = records[0]["dynamodb"]["SequenceNumber"].clone();
    world.queues.refuse(TASK_EVENTS, true);
    let event = json!({ "Records": records });
    assert_eq!(json!(again(&invoke(&relayer, &event).await)), json!([first]));
    world.queues.refuse(TASK_EVENTS, false);
    assert_eq!(again(&invoke(&relayer, &event).await), Vec::<String>::new());
    assert_eq!(heard(&world).len(), 3);

    // One that cannot be read stops those behind it, and not those before it.
    let mut damaged = event.clone();
    damaged["Records"][1]["dynamodb"]["NewImage"]["ev"] = json!({"N": "5"});
    let second = damaged["Records"][1]["dynamodb"]["SequenceNumber"].clone();
    assert_eq!(json!(again(&invoke(&relayer, &damaged).await)), json!([second]));
}

#[tokio::test]
async fn a_removal_is_no_event() {
    let world = World::new().await;
    let (create, relayer) = (world.function("create-task"), world.function("relay-events"));
    let mut stream = Stream::default();
    send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    let mut records = stream.records(&world).await;
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let change = &mut records[0]["dynamodb"];
    change["OldImage"] = change["NewImage"].take();
    change.as_object_mut().unwrap().remove("NewImage");
    assert_eq!(again(&invoke(&relayer, &json!({ "Records": records })).await), Vec::<String>::new());
    assert_eq!(world.queues.visible(TASK_EVENTS), []);
}
