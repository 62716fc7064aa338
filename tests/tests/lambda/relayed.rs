//! The table's stream, relayed to the queue `task-events`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use baton_http::App;
use baton_lambda::queues::Outgoing;
use baton_lambda::{Function, Host, Notify};
use baton_model::Timestamp;
use baton_store::StoreError;
use baton_store_dynamodb::table::KeptBy;
use baton_store_dynamodb::{RecordsCounted, TaskEvent};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::world::{RELAY_DEAD, Stream, TASK_EVENTS, World, again, invoke, seconds, send};

async fn relay(world: &World, host: &Host, stream: &mut Stream) -> Vec<String> {
    let records = stream.records(world);
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
            let message = if attempt % 3 == 0 { "x".repeat(3_000) } else { "no GPU\u{ffff}".to_owned() };
            let failure = json!({"worker_id": "w", "attempt": attempt, "retry_after_seconds": 1,
                "error": {"message": message}});
            let (status, answer) = send(&complete, "POST", &format!("/v1/tasks/{id}/fail"), failure).await;
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(relay(&world, &relayer, &mut stream).await, Vec::<String>::new());
    }
    let store = world.store().await;
    // Told again, from the table, they are the same messages; and none has a character that SQS refuses.
    let mut bodies: Vec<String> =
        world.queues.visible(TASK_EVENTS).into_iter().map(|message| message.body).collect();
    assert!(bodies.iter().all(|body| !body.contains('\u{ffff}')), "{bodies:#?}");
    let (mut again, mut place) = (Vec::new(), None);
    loop {
        let page = store.histories(Timestamp::from_millis(0), place.as_ref()).await.unwrap();
        let events = page.tasks.into_iter().flat_map(Result::unwrap);
        let body = |event| serde_json::to_string(&baton_relay_events::cloud_event(event)).unwrap();
        again.extend(events.map(|event| Outgoing::of_json(body(event)).body));
        place = page.next;
        if place.is_none() {
            break;
        }
    }
    bodies.sort();
    again.sort();
    assert_eq!(again, bodies);
    let heard = heard(&world);
    for id in ids {
        let detail = baton_store::TaskStore::task(&store, id.parse().unwrap()).await.unwrap();
        let history: Vec<Value> = detail
            .history
            .into_iter()
            .map(|event| serde_json::to_value(baton_api::task::EventView::from(event)).unwrap())
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
    let mut records = stream.records(&world);
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let first = records[0]["dynamodb"]["SequenceNumber"].clone();
    world.queues.refuse(TASK_EVENTS, true);
    let event = json!({ "Records": records });
    assert_eq!(json!(again(&invoke(&relayer, &event).await)), json!([first]));
    world.queues.refuse(TASK_EVENTS, false);
    assert_eq!(again(&invoke(&relayer, &event).await), Vec::<String>::new());
    assert_eq!(heard(&world).len(), 3);
}

/// Three tasks' records of which the second never can be relayed, as it names events that are nowhere, and the third not be
/// read at all.
async fn two_damaged_of_four(world: &World, stream: &mut Stream) -> Vec<Value> {
    let create = world.function("create-task");
    for _ in 0..4 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    let mut records = stream.records(world);
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    records[1]["dynamodb"]["NewImage"]["ev"] = json!({"N": "5"});
    records[2]["dynamodb"]["NewImage"]["st"] = json!({"Z": "\u{ffff}"});
    records
}

#[tokio::test]
async fn a_damaged_record_is_put_aside_whole_and_its_neighbours_go_on() {
    let world = World::with_statistics(KeptBy::Stream).await;
    let (relayer, query) = (world.function("relay-events"), world.function("query-tasks"));
    let records = two_damaged_of_four(&world, &mut Stream::default()).await;
    assert_eq!(again(&invoke(&relayer, &json!({ "Records": records })).await), Vec::<String>::new());
    assert_eq!(heard(&world).len(), 2);
    let dead = world.queues.visible(RELAY_DEAD);
    let whole: Vec<Value> = dead.iter().map(|letter| serde_json::from_str(&letter.body).unwrap()).collect();
    assert_eq!(whole, records[1..3]);
    assert!(!dead[1].body.contains('\u{ffff}'), "SQS refuses the character itself");
    for (letter, record) in dead.iter().zip(&whole) {
        assert_eq!(letter.attributes["baton-reason-code"], "record_damaged");
        assert!(!letter.attributes["baton-reason"].is_empty());
        assert_eq!(json!(letter.attributes["baton-message-id"]), record["dynamodb"]["SequenceNumber"]);
    }
    // Of the first damaged one the events are missing, and its images tell what it counts.
    let (_, stats) = send(&query, "GET", "/v1/stats", json!(null)).await;
    assert_eq!(stats["states"]["waiting"], 3);
}

#[tokio::test]
async fn a_damaged_record_that_cannot_be_put_aside_comes_again_with_those_behind_it() {
    let world = World::new().await;
    let relayer = world.function("relay-events");
    let records = two_damaged_of_four(&world, &mut Stream::default()).await;
    let event = json!({ "Records": records });
    world.queues.refuse(RELAY_DEAD, true);
    let number = |place: usize| json!([event["Records"][place]["dynamodb"]["SequenceNumber"]]);
    assert_eq!(json!(again(&invoke(&relayer, &event).await)), number(1));
    world.queues.refuse(RELAY_DEAD, false);
    // One that comes again anyhow is not put aside twice.
    world.queues.refuse(TASK_EVENTS, true);
    assert_eq!(json!(again(&invoke(&relayer, &event).await)), number(0));
    assert_eq!(world.queues.visible(RELAY_DEAD), []);
}

#[tokio::test]
async fn without_the_queue_task_events_nobody_is_told_and_the_statistics_are_kept() {
    let mut world = World::with_statistics(KeptBy::Stream).await;
    world.untold = true;
    let (relayer, query) = (world.function("relay-events"), world.function("query-tasks"));
    let records = two_damaged_of_four(&world, &mut Stream::default()).await;
    assert_eq!(again(&invoke(&relayer, &json!({ "Records": records })).await), Vec::<String>::new());
    assert_eq!(world.queues.visible(TASK_EVENTS), []);
    assert_eq!(world.queues.visible(RELAY_DEAD).len(), 1, "the one that cannot be counted");
    let (_, stats) = send(&query, "GET", "/v1/stats", json!(null)).await;
    assert_eq!(stats["states"]["waiting"], 3);
}

/// The event of the first record that tells one.
async fn an_event(world: &World, records: &[Value]) -> TaskEvent {
    let store = world.store().await;
    for record in records {
        if let Ok([event]) = store.events_of(&record.to_string()).await.as_deref() {
            return event.clone();
        }
    }
    panic!("no record tells an event");
}

#[tokio::test]
async fn a_record_whose_handler_panics_is_put_aside_too() {
    let world = World::new().await;
    let records = two_damaged_of_four(&world, &mut Stream::default()).await;
    let first = records[0]["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned();
    let event = an_event(&world, &records).await;
    let panics = Function::new("relay-events", OpenApiRouter::default).stream(
        move |_, record| {
            let (first, event) = (first.clone(), event.clone());
            async move {
                assert!(!record.contains(&first), "as a mistake in the program would");
                Ok(vec![event])
            }
        },
        baton_relay_events::cloud_event,
    );
    let answer = invoke(&world.host(panics), &json!({ "Records": records })).await;
    assert_eq!(again(&answer), Vec::<String>::new());
    assert_eq!(world.queues.visible(RELAY_DEAD).len(), 1);
    assert_eq!(world.queues.visible(TASK_EVENTS).len(), 3);
}

#[tokio::test]
async fn a_relay_that_dies_between_sending_and_counting_tells_twice_and_counts_once() {
    let world = World::with_statistics(KeptBy::Stream).await;
    let (create, query) = (world.function("create-task"), world.function("query-tasks"));
    let mut stream = Stream::default();
    for _ in 0..3 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    let records = stream.records(&world);
    let of_tasks: Vec<_> = records
        .iter()
        .filter(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"))
        .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned())
        .collect();
    let event = json!({ "Records": records });
    let queued = async || {
        let (_, stats) = send(&query, "GET", "/v1/stats", json!(null)).await;
        (stats["states"]["waiting"].as_u64().unwrap(), stats["counted_at"].clone())
    };
    assert_eq!(queued().await, (0, json!(null)), "nothing is counted yet");

    // It dies before it counts, after a part of it, and after all of it, and nobody hears of what it has counted.
    let one = of_tasks[0].clone();
    let place = records.iter().position(|record| record["dynamodb"]["SequenceNumber"] == json!(one)).unwrap();
    for some in [0, place + 1, records.len()] {
        let dying = Function::new("relay-events", OpenApiRouter::default)
            .stream(
                |store, record| async move { baton_relay_events::relay(&store, &record).await },
                baton_relay_events::cloud_event,
            )
            .counting(move |store, records| async move {
                baton_relay_events::count(&store, &records[..some]).await;
                RecordsCounted { records: 0, failed: Some(StoreError::Unknown("it died".into())) }
            });
        let answer = invoke(&world.host(dying), &event).await;
        assert_eq!(again(&answer), [records[0]["dynamodb"]["SequenceNumber"].as_str().unwrap()]);
    }
    let relayer = world.function("relay-events");
    assert_eq!(again(&invoke(&relayer, &event).await), Vec::<String>::new());
    let (counted, at) = queued().await;
    assert_eq!((counted, at), (3, json!("2026-02-02T02:40:00.000Z")));
    assert_eq!(world.queues.visible(TASK_EVENTS).len(), 12, "each event was sent four times");

    // What could not be sent is not counted, and what comes before it is.
    for _ in 0..2 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    let mut records = stream.records(&world);
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let second = records[1]["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned();
    let away = second.clone();
    let hindered = Function::new("relay-events", OpenApiRouter::default)
        .stream(
            move |store, record| {
                let away = record.contains(&away);
                async move {
                    if away {
                        return Err(StoreError::Unavailable("the table is out of reach".into()));
                    }
                    baton_relay_events::relay(&store, &record).await
                }
            },
            baton_relay_events::cloud_event,
        )
        .counting(|store, records| async move { baton_relay_events::count(&store, &records).await });
    assert_eq!(again(&invoke(&world.host(hindered), &json!({ "Records": records })).await), [second]);
    assert_eq!(queued().await.0, 4);
    assert_eq!(again(&invoke(&relayer, &json!({ "Records": records })).await), Vec::<String>::new());
    assert_eq!(queued().await.0, 5);
}

/// Somebody hears of tasks, for whom nothing can be kept.
struct Unheard(fn() -> StoreError);

#[async_trait]
impl Notify for Unheard {
    async fn is_heard(&self, _: &App) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn notify(&self, _: &App, _: Vec<TaskEvent>) -> Result<(), StoreError> {
        Err((self.0)())
    }
}

#[tokio::test]
async fn what_webhooks_are_to_hear_comes_again_if_it_cannot_be_kept_and_what_is_damaged_holds_nobody_up() {
    let world = World::with_statistics(KeptBy::Stream).await;
    let mut stream = Stream::default();
    stream.records(&world);
    send(&world.function("create-task"), "POST", "/v1/tasks", json!({"type": "a"})).await;
    let mut records = stream.records(&world);
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let event = json!({ "Records": records });
    let relayed = async |why: fn() -> StoreError| {
        let function = Function::new("relay-events", OpenApiRouter::default)
            .stream(
                |store, record| async move { baton_relay_events::relay(&store, &record).await },
                baton_relay_events::cloud_event,
            )
            .notifying(Unheard(why))
            .counting(|store, records| async move { baton_relay_events::count(&store, &records).await });
        again(&invoke(&world.host(function), &event).await)
    };
    let first = records[0]["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned();
    assert_eq!(relayed(|| StoreError::Unavailable("the table is out of reach".into())).await, [first]);
    let damaged =
        || StoreError::Internal { what: "a webhook that is kept cannot be read".to_owned(), cause: None };
    assert_eq!(relayed(damaged).await, Vec::<String>::new());
    let (_, stats) = send(&world.function("query-tasks"), "GET", "/v1/stats", json!(null)).await;
    assert_eq!(stats["states"]["waiting"], 1);
}

#[tokio::test]
async fn a_removal_is_no_event() {
    let world = World::new().await;
    let (create, relayer) = (world.function("create-task"), world.function("relay-events"));
    let mut stream = Stream::default();
    send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    let mut records = stream.records(&world);
    records.retain(|record| record["dynamodb"]["Keys"]["pk"]["S"].as_str().unwrap().starts_with("T#"));
    let change = &mut records[0]["dynamodb"];
    change["OldImage"] = change["NewImage"].take();
    change.as_object_mut().unwrap().remove("NewImage");
    assert_eq!(again(&invoke(&relayer, &json!({ "Records": records })).await), Vec::<String>::new());
    assert_eq!(world.queues.visible(TASK_EVENTS), []);
}
