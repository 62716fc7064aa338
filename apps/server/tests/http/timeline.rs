//! The time line as callers are told it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::World;

/// A task that a worker has, with lines about it and about nothing.
async fn story(world: &World, queue: &str, project: &str, worker: &str) -> String {
    let id = world.create(json!({"type": "a", "queue": queue, "project": project})).await;
    world.advance(Duration::from_secs(1));
    let claim = json!({"worker_id": worker, "queues": [queue]});
    assert_eq!(world.post("/v1/claims", claim).await.json()["tasks"][0]["id"], id);
    world.advance(Duration::from_secs(1));
    let at = world.app.now().to_string();
    let logs = json!([
        {"at": at, "task_id": id, "level": "warn", "source": "stderr", "message": "hot"},
        {"at": at, "level": "info", "source": "stderr", "message": "idle"},
    ]);
    let beat = world.post(&format!("/v1/workers/{worker}/heartbeat"), json!({"logs": logs})).await;
    assert_eq!(beat.status, 200, "{}", beat.text());
    world.advance(Duration::from_secs(1));
    let done =
        world.post(&format!("/v1/tasks/{id}/complete"), json!({"worker_id": worker, "attempt": 1})).await;
    assert_eq!(done.status, 200, "{}", done.text());
    world.advance(Duration::from_secs(1));
    id
}

fn told(page: &Value) -> Vec<String> {
    let say = |entry: &Value| {
        let words = entry["message"].as_str().unwrap().split(' ').next().unwrap();
        format!("{} {words}", entry["source"].as_str().unwrap())
    };
    page["items"].as_array().unwrap().iter().map(say).collect()
}

#[tokio::test]
async fn what_happened_is_told_the_newest_first() {
    let world = World::new();
    let id = story(&world, "gpu", "film", "w1").await;
    world.act("/v1/queues/gpu/pause").await;
    let all = world.get("/v1/timeline").await.json();
    assert_eq!(
        told(&all),
        [
            "audit pause_queue",
            "event completed",
            "log idle",
            "log hot",
            "event claimed",
            "worker started",
            "event created"
        ]
    );
    let entry = &all["items"][3];
    assert_eq!((&entry["task_id"], &entry["worker_id"]), (&json!(id), &json!("w1")));
    assert_eq!(
        (&entry["queue"], &entry["project"], &entry["level"]),
        (&json!("gpu"), &json!("film"), &json!("warn"))
    );
    assert_eq!(entry["details"]["source"], "stderr");
    assert_eq!(all["items"][4]["details"]["kind"], "claimed");
    assert_eq!(all["items"][0]["details"]["outcome"], 200);
    let of_task = format!("/v1/timeline?task_id={id}");
    assert_eq!(
        told(&world.get(&of_task).await.json()),
        ["event completed", "log hot", "event claimed", "event created"]
    );
    let mut path = format!("{of_task}&limit=1");
    let mut pages = Vec::new();
    loop {
        let page = world.get(&path).await.json();
        pages.extend(told(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("{of_task}&limit=1&cursor={next}");
    }
    assert_eq!(pages, ["event completed", "log hot", "event claimed", "event created"]);
    for (filter, count) in [
        ("worker=w1", 5),
        ("queue=gpu", 5),
        ("project=film", 4),
        ("level=warn", 1),
        ("schedule=nightly", 0),
        ("from=2026-02-02T02:40:02Z", 4),
        ("before=2026-02-02T02:40:02Z", 3),
    ] {
        let items =
            world.get(&format!("/v1/timeline?{filter}")).await.json()["items"].as_array().unwrap().len();
        assert_eq!(items, count, "{filter}");
    }
}

#[tokio::test]
async fn what_a_filter_cannot_be_is_refused() {
    let world = World::new();
    let wrong = world.get("/v1/timeline?task_id=1&level=loud&queue=a/b&limit=0&of=x").await.wrong_fields();
    assert_eq!(wrong, ["task_id", "queue", "level", "limit", "of"]);
    assert_eq!(world.get("/v1/timeline?cursor=e9:5").await.wrong_fields(), ["cursor"]);
    assert_eq!(world.get("/v1/timeline?cursor=z1:5").await.wrong_fields(), ["cursor"]);
    assert_eq!(world.get("/v1/timeline?cursor=e1:x").await.wrong_fields(), ["cursor"]);
}

#[tokio::test]
async fn a_caller_is_told_what_it_may_list() {
    let world = World::new();
    let film = story(&world, "gpu", "film", "w1").await;
    let game = story(&world, "cpu", "game", "w2").await;
    let operator = world.with_token(json!({})).await;
    assert_eq!(operator.get("/v1/timeline").await.json()["items"].as_array().unwrap().len(), 12);
    // Who may not list log lines is told the events of its tasks.
    let producer = world.with_token(json!({"scopes": ["producer"]})).await;
    assert_eq!(told(&producer.get("/v1/timeline").await.json()).len(), 6);
    assert!(told(&producer.get("/v1/timeline").await.json()).iter().all(|told| told.starts_with("event ")));
    assert_eq!(told(&producer.get(&format!("/v1/timeline?task_id={film}")).await.json()).len(), 3);
    for bounds in [json!({"project": "film"}), json!({"queues": ["gpu"]}), json!({"queues": ["gpu", "tpu"]})]
    {
        for scope in ["producer", "operator"] {
            let mut token = bounds.clone();
            token["scopes"] = json!([scope]);
            let bound = world.with_token(token).await;
            let all = bound.get("/v1/timeline").await.json();
            assert_eq!(told(&all), ["event completed", "event claimed", "event created"], "{bounds}");
            assert!(all["items"].as_array().unwrap().iter().all(|entry| entry["task_id"] == film.as_str()));
            bound.get(&format!("/v1/timeline?task_id={game}")).await.problem(404, "task_not_found");
            assert_eq!(told(&bound.get("/v1/timeline?worker=w2").await.json()).len(), 0);
        }
    }
    let bound = world.with_token(json!({"scopes": ["producer"], "queues": ["gpu"]})).await;
    bound.get("/v1/timeline?queue=cpu").await.problem(403, "outside_grant");
    let worker = world.with_token(json!({"scopes": ["worker"]})).await;
    worker.get("/v1/timeline").await.problem(403, "scope_missing");
}

#[tokio::test]
async fn the_first_page_of_ten_thousand_lines_costs_a_page() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    let at = world.app.now().to_string();
    for beat in 0..20 {
        let lines: Vec<_> = (0..500)
            .map(|n| json!({"at": at, "task_id": id, "level": "info", "source": "stderr", "message": format!("{beat}/{n}")}))
            .collect();
        assert_eq!(world.post("/v1/workers/w1/heartbeat", json!({"logs": lines})).await.status, 200);
        world.advance(Duration::from_secs(60));
    }
    let began = Instant::now();
    let page = world.get(&format!("/v1/timeline?task_id={id}")).await.json();
    let took = began.elapsed();
    assert_eq!(page["items"].as_array().unwrap().len(), 50);
    assert_eq!(page["items"][0]["message"], "19/499");
    println!("a page of 50 of 10,000 lines took {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}
