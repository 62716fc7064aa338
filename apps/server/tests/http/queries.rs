//! Lists and single things, as they are shown.

use std::time::Duration;

use baton_model::{RunAfter, TaskSpec};
use baton_store::Create;
use serde_json::{Value, json};

use crate::world::World;

fn items(answer: &Value, field: &str) -> Vec<String> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

async fn some_tasks(world: &World) -> Vec<String> {
    let mut ids = Vec::new();
    for task in [
        json!({"type": "a", "queue": "one", "project": "p", "domain": "x y", "assigned_by": "ana"}),
        json!({"type": "b", "queue": "one", "delay_seconds": 60}),
        json!({"type": "a", "queue": "two"}),
        json!({"type": "a", "queue": "two", "priority": "low"}),
    ] {
        ids.push(world.create(task).await);
        world.advance(Duration::from_secs(1));
    }
    ids
}

#[tokio::test]
async fn tasks_are_listed_by_what_they_are() {
    let world = World::new();
    let ids = some_tasks(&world).await;
    world.post("/v1/claims", json!({"worker_id": "w", "queues": ["two"]})).await;
    for (query, expected) in [
        ("", vec![3, 2, 1, 0]),
        ("type=a", vec![3, 2, 0]),
        ("queue=one", vec![1, 0]),
        ("status=running", vec![2]),
        ("status=running,created", vec![2, 1]),
        ("status=queued&status=running", vec![3, 2, 0]),
        ("domain=x+y", vec![0]),
        ("project=p&assigned_by=ana", vec![0]),
        ("worker=w", vec![2]),
        ("created_from=2026-02-02T02:40:01Z&created_before=2026-02-02T02:40:03Z", vec![2, 1]),
        ("type=b&queue=two", vec![]),
    ] {
        let answer = world.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let expected: Vec<&String> = expected.into_iter().map(|index: usize| &ids[index]).collect();
        assert_eq!(items(&answer.json(), "id").iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let world = World::new();
    let mut ids = some_tasks(&world).await;
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = world.get(&format!("/v1/tasks?limit=2{after}")).await.json();
        seen.extend(items(&page, "id"));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(world.get("/v1/tasks?cursor=nonsense").await.wrong_fields(), ["cursor"]);
    for list in ["generations", "workers", "queues", "logs"] {
        let answer = world.get(&format!("/v1/{list}?cursor=%00nonsense")).await;
        assert_eq!(answer.wrong_fields(), ["cursor"], "{list}");
    }
}

#[tokio::test]
async fn all_wrong_parameters_are_named() {
    let world = World::new();
    let query = "status=lost&type=a%20b&queue=&created_from=now&limit=1001&state=x&worker=a&worker=b";
    let fields = world.get(&format!("/v1/tasks?{query}")).await.wrong_fields();
    assert_eq!(fields, ["status", "type", "queue", "worker", "created_from", "limit", "state"]);
    for path in ["/v1/stats?x=1", "/v1/workers?x=1", "/v1/queues/q?x=1", "/v1/workers/w?x=1"] {
        assert_eq!(world.get(path).await.wrong_fields(), ["x"], "{path}");
    }
    assert_eq!(world.get("/v1/logs?level=loud&task=1").await.wrong_fields(), ["level", "task"]);
    assert_eq!(world.get("/v1/generations?task_id=1&finished_from=x").await.wrong_fields().len(), 2);
    assert_eq!(world.get("/v1/tasks/nine").await.wrong_fields(), ["id"]);
    assert_eq!(world.get("/v1/generations/nine").await.wrong_fields(), ["id"]);
}

#[tokio::test]
async fn ids_are_found_by_their_beginning() {
    let world = World::new();
    let ids = some_tasks(&world).await;
    let found = world.get(&format!("/v1/task-ids?prefix={}", ids[1].to_uppercase())).await.json();
    assert_eq!(found, json!({"ids": [ids[1]]}));
    let found = world.get(&format!("/v1/task-ids?prefix={}", &ids[0][..4])).await.json();
    assert_eq!(found["ids"].as_array().unwrap().len(), 4);
    assert_eq!(world.get("/v1/task-ids?prefix=zzzz").await.wrong_fields(), ["prefix"]);
    assert_eq!(world.get("/v1/task-ids").await.wrong_fields(), ["prefix"]);
}

#[tokio::test]
async fn generations_are_listed_and_shown() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let done = json!({"worker_id": "w", "attempt": 1, "location": "/x"});
    let done = world.post(&format!("/v1/tasks/{id}/complete"), done).await.json();
    let generation = done["generation_id"].as_str().unwrap();
    let shown = world.get(&format!("/v1/generations/{generation}")).await.json();
    assert_eq!((&shown["task_id"], &shown["location"]), (&json!(id), &json!("/x")));
    for query in ["", &format!("task_id={id}"), "type=a&queue=default&project=default&worker=w"] {
        let list = world.get(&format!("/v1/generations?{query}")).await.json();
        assert_eq!(items(&list, "id"), [generation], "{query}");
    }
    let list = world.get("/v1/generations?worker=v").await.json();
    assert!(items(&list, "id").is_empty());
}

#[tokio::test]
async fn queues_workers_and_statistics_are_shown() {
    let world = World::new();
    some_tasks(&world).await;
    world.post("/v1/claims", json!({"worker_id": "w", "queues": ["two"]})).await;
    world.post("/v1/workers/w/heartbeat", json!({})).await;
    world.post("/v1/workers/idle/heartbeat", json!({})).await;
    let queues = world.get("/v1/queues").await.json();
    assert_eq!(items(&queues, "name"), ["one", "two"]);
    let one = world.get("/v1/queues/one").await.json();
    let numbers = ["waiting", "queued", "created", "retry", "running"].map(|number| one[number].clone());
    assert_eq!(numbers, [2, 1, 1, 0, 0].map(|number| json!(number)));
    assert_eq!(one["at_least"], json!([]));
    assert_eq!(one["oldest_ready_seconds"], 4.0);
    let workers = world.get("/v1/workers?limit=1").await.json();
    assert_eq!(items(&workers, "id"), ["idle"]);
    let worker = world.get("/v1/workers/w").await.json();
    assert_eq!((&worker["active"], worker["tasks"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let stats = world.get("/v1/stats").await.json();
    assert_eq!((&stats["states"]["waiting"], &stats["states"]["running"]), (&json!(3), &json!(1)));
    assert_eq!(stats["states"].as_object().unwrap().len(), 6);
    assert_eq!(
        stats["workers"],
        json!({"alive": 2, "busy": 1, "idle": 1, "silent": 0, "lost": 0, "gone": 0})
    );
    assert!(stats["counts"].as_array().unwrap().len() >= 3);
}

#[tokio::test]
async fn of_more_tasks_than_are_counted_it_is_told_that_there_are_at_least_so_many() {
    let world = World::new();
    let now = world.app.now();
    for due in [now, now.plus(Duration::from_secs(3_600))] {
        for _ in 0..11 {
            let spec = |_: u32| TaskSpec {
                queue: "one".parse().unwrap(),
                run_after: RunAfter::At(due),
                ..TaskSpec::new(world.app.ids.task(), "a".parse().unwrap())
            };
            let tasks = (0..1_000).map(spec).collect();
            // Past the server, which has nothing to do with it.
            let create = Create { now, tasks, atomic: true, idempotency: None, by: None };
            world.app.store.create(create).await.unwrap();
        }
    }
    let shown = world.get("/v1/queues/one").await.json();
    let listed = world.get("/v1/queues").await.json()["items"][0].clone();
    for queue in [shown, listed] {
        let numbers = ["waiting", "queued", "created", "retry"].map(|number| queue[number].clone());
        assert_eq!(numbers, [22_000, 10_000, 10_000, 0].map(|number| json!(number)));
        assert_eq!(queue["at_least"], json!(["queued", "created"]));
    }
}

#[tokio::test]
async fn a_log_line_is_listed_where_it_was_received_with_the_time_that_it_bears_beside_it() {
    let world = World::new();
    let dates = ["2099-01-01T00:00:00.000Z", "1999-01-01T00:00:00.000Z"];
    for (message, at) in [("far", dates[0]), ("old", dates[1])] {
        let logs = json!({"logs": [{"message": message, "at": at}]});
        world.post("/v1/workers/w/heartbeat", logs).await;
        world.advance(std::time::Duration::from_secs(1));
    }
    let logs = world.get("/v1/logs").await.json();
    assert_eq!(items(&logs, "message"), ["old", "far"]);
    assert_eq!(items(&logs, "at"), [dates[1], dates[0]]);
    let received = items(&logs, "received_at");
    assert!(received[0] > received[1] && received[0].as_str() < dates[0], "{received:?}");
    let first = world.get("/v1/logs?limit=1").await.json();
    let next = first["next_cursor"].as_str().unwrap();
    let second = world.get(&format!("/v1/logs?limit=1&cursor={next}")).await.json();
    assert_eq!([items(&first, "message"), items(&second, "message")], [["old"], ["far"]]);
    let since = world.get(&format!("/v1/logs?from={}", received[0])).await.json();
    assert_eq!(items(&since, "message"), ["old"], "a line of 2099 is no younger for that");
}

#[tokio::test]
async fn the_progress_of_a_running_task_is_shown_with_it() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let beat = json!({"running": [{"task_id": id, "attempt": 1, "progress": 0.25, "message": "tile 4"}]});
    world.post("/v1/workers/w/heartbeat", beat).await;
    assert_eq!(world.task(&id).await["progress"], json!({"progress": 0.25, "message": "tile 4"}));
    assert_eq!(world.get("/v1/workers/w").await.json()["tasks"][0]["progress"], 0.25);
}

#[tokio::test]
async fn the_server_says_that_it_is_there_and_what_it_offers() {
    let world = World::new();
    for path in ["/livez", "/readyz"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("ok")), "{path}");
    }
    let document = world.get("/openapi.json").await;
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.text(), baton_server::openapi());
    let page = world.get("/errors/lease_lost").await;
    assert_eq!((page.status.as_u16(), page.text().starts_with("# The lease is lost")), (200, true));
    // As the pages link to each other.
    assert_eq!(world.get("/errors/lease_lost.md").await.text(), page.text());
    assert_eq!(world.get("/errors/lost").await.wrong_fields(), ["code"]);
}

#[tokio::test]
async fn a_history_is_read_by_pages_and_a_task_shows_its_latest_events() {
    let world = World::new();
    let id = world.create(json!({"type": "a", "max_attempts": 100})).await;
    for attempt in 1..=60 {
        world.post("/v1/claims", json!({"worker_id": "w"})).await;
        let failure = json!({"worker_id": "w", "attempt": attempt, "error": {"message": "no"}, "retry_after_seconds": 0});
        assert_eq!(world.post(&format!("/v1/tasks/{id}/fail"), failure).await.status, 200);
    }
    let seqs = |events: &Value| -> Vec<u64> {
        events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    let shown = world.get(&format!("/v1/tasks/{id}")).await.json();
    assert_eq!(shown["events"], 121);
    assert_eq!(seqs(&shown["history"]), (22..=121).collect::<Vec<_>>());
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = world.get(&format!("/v1/tasks/{id}/history?limit=40{after}")).await.json();
        seen.extend(seqs(&page["items"]));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=121).collect::<Vec<_>>());
    let page = world.get(&format!("/v1/tasks/{id}/history")).await.json();
    assert_eq!(seqs(&page["items"]).len(), 50, "as other lists");
    assert_eq!(world.get(&format!("/v1/tasks/{id}/history?cursor=x")).await.status, 422);
    assert_eq!(world.get("/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/history").await.status, 404);
}
