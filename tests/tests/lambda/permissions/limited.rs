//! Tasks under limits: what starts and ends under them ask for, what waits at them, and what operators change.

use serde_json::{Value, json};

use super::{INDEX, TABLE, created, done, got, took};
use crate::world::{World, invoke, seconds};

async fn set(world: &World, limit: Value) {
    done(world, "manage-tasks", "/v1/limits", limit).await;
}

pub(super) async fn task(world: &World, queue: &str, more: Value) -> String {
    let mut task = json!({"type": "a", "queue": queue, "backoff": {"base_seconds": 1}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    created(world, task).await
}

/// What a worker is given: the ids of its tasks.
pub(super) async fn given(world: &World, worker: &str, queue: &str) -> Vec<String> {
    let body = json!({"worker_id": worker, "queues": [queue], "max_tasks": 9, "capacity": 100});
    let answer = done(world, "claim-task", "/v1/claims", body).await;
    let tasks = answer["tasks"].as_array().unwrap();
    tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

pub(super) async fn ends(world: &World, id: &str, how: &str, more: Value) -> Value {
    let attempt = got(world, "query-tasks", &format!("/v1/tasks/{id}")).await["task"]["attempt"].clone();
    let mut body = json!({"worker_id": "w", "attempt": attempt});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.calls.latest();
    done(world, "complete-task", &format!("/v1/tasks/{id}/{how}"), body).await
}

pub(super) async fn round(world: &World) {
    invoke(&world.function("reap-stale-workers"), &json!({"source": "aws.scheduler"})).await;
}

pub(super) async fn limited(world: &World) {
    let keyed = json!({"concurrency_key": "k"});
    let first = task(world, "limited", keyed.clone()).await;
    given(world, "w", "limited").await;
    world.calls.latest();
    set(world, json!({"on": "queue/limited/key/*", "max_running": 1, "holds_retries": true})).await;
    took(
        world,
        "manage-tasks",
        "a limit, and what runs under it",
        &[(TABLE, &["GetItem", "PutItem", "UpdateItem", "Query", "BatchGetItem"]), (INDEX, &["Query"])],
    );
    // Ids of both kinds: their items lie in different partitions.
    let mut waiting = vec![task(world, "limited", keyed.clone()).await];
    let chosen = json!({"id": "6f1c1b3a-5b7c-4cc3-98c4-dc0c0c073993", "concurrency_key": "k"});
    waiting.push(task(world, "limited", chosen).await);
    waiting.push(task(world, "limited", keyed.clone()).await);
    world.calls.latest();
    assert_eq!(given(world, "w", "limited").await, Vec::<String>::new());
    took(world, "claim-task", "tasks are put aside", &[(TABLE, &["BatchGetItem", "PutItem", "UpdateItem"])]);
    for id in &waiting {
        let why = got(world, "query-tasks", &format!("/v1/tasks/{id}/why")).await;
        assert_eq!(why["reasons"][0]["holders"][0]["task_id"], json!(first), "{why}");
    }
    let wanted = [(TABLE, &["GetItem", "Query", "BatchGetItem"][..]), (INDEX, &["Query"])];
    took(world, "query-tasks", "why tasks wait at a limit", &wanted);

    ends(world, &first, "fail", json!({"error": {"message": "once more"}})).await;
    took(world, "complete-task", "a task keeps its place while it waits", &[(TABLE, &["UpdateItem"])]);
    world.clock.advance(seconds(30));
    assert_eq!(given(world, "w", "limited").await, std::slice::from_ref(&first));
    let next = json!({"claim": {"worker_id": "w", "queues": ["limited"]}});
    let answer = ends(world, &first, "complete", next).await;
    took(
        world,
        "complete-task",
        "a place is free, and the next task is taken",
        &[(TABLE, &["Query", "UpdateItem", "DeleteItem"])],
    );
    assert_eq!(answer["next"]["tasks"].as_array().map(Vec::len), Some(1), "{answer}");
    let running = answer["next"]["tasks"][0]["id"].as_str().unwrap().to_owned();
    waiting.retain(|id| *id != running);
    world.calls.latest();
    done(world, "manage-tasks", &format!("/v1/tasks/{}/cancel", waiting[0]), json!({})).await;
    took(world, "manage-tasks", "one that waits at a limit is called off", &[(TABLE, &["DeleteItem"])]);
    done(world, "manage-tasks", &format!("/v1/tasks/{}/retry", waiting[0]), json!({})).await;
    got(world, "query-tasks", "/v1/tasks?status=queued").await;
    got(world, "query-tasks", "/v1/queues/limited").await;
    world.calls.latest();
    // A worker is lost, and its place with it.
    world.clock.advance(seconds(120));
    round(world).await;
    took(
        world,
        "reap-stale-workers",
        "a lost place is free",
        &[(TABLE, &["Query", "UpdateItem"]), (INDEX, &["Query"])],
    );
    given(world, "w", "limited").await;

    owned(world).await;
    rated(world).await;

    // What waits at a limit that is taken away is let go of.
    world.calls.latest();
    done(world, "manage-tasks", "/v1/limits/clear", json!({"on": "queue/limited/key/*"})).await;
    took(world, "manage-tasks", "a limit is taken away", &[(TABLE, &["DeleteItem", "Query", "UpdateItem"])]);
    for limit in got(world, "manage-tasks", "/v1/limits").await["items"].as_array().unwrap() {
        done(world, "manage-tasks", "/v1/limits/clear", json!({"on": limit["on"]})).await;
    }
    while !given(world, "w", "limited").await.is_empty() {}
    // Nothing is limited any more, and claims are told so.
    for _ in 0..4 {
        world.clock.advance(seconds(300));
        round(world).await;
    }
    given(world, "w", "limited").await;
}

/// A project's owner, whose limit holds over its projects, also in queues that come later.
async fn owned(world: &World) {
    world.calls.latest();
    done(world, "manage-tasks", "/v1/projects/film/owner", json!({"owner": "acme"})).await;
    took(world, "manage-tasks", "a project's owner", &[(TABLE, &["GetItem", "PutItem", "UpdateItem"])]);
    set(world, json!({"on": "owner/acme", "max_running": 1})).await;
    world.calls.latest();
    let film = json!({"project": "film"});
    let mut ids = Vec::new();
    for queue in ["owned", "owned", "owned too"] {
        ids.push(task(world, &queue.replace(' ', "-"), film.clone()).await);
    }
    took(world, "create-task", "a queue that limits may concern", &[(TABLE, &["GetItem", "UpdateItem"])]);
    assert_eq!(given(world, "w", "owned").await.len(), 1);
    assert_eq!(given(world, "w", "owned-too").await.len(), 0);
    let held = got(world, "query-tasks", "/v1/tasks?status=running").await["items"].clone();
    for one in held.as_array().unwrap().iter().filter(|one| ids.iter().any(|id| one["id"] == **id)) {
        ends(world, one["id"].as_str().unwrap(), "release", json!({"delay_seconds": 3_600})).await;
    }
    given(world, "w", "owned-too").await;
    got(world, "manage-tasks", "/v1/projects").await;
}

/// A rate: a place comes with time.
async fn rated(world: &World) {
    let rate = json!({"starts": 1, "seconds": 10});
    set(world, json!({"on": "queue/rated/key/*", "rate": rate})).await;
    set(world, json!({"on": "queue/rated", "rate": {"starts": 60, "seconds": 60, "burst": 9}})).await;
    for _ in 0..4 {
        task(world, "rated", json!({"concurrency_key": "r"})).await;
    }
    assert_eq!(given(world, "w", "rated").await.len(), 1);
    assert_eq!(given(world, "w", "rated").await.len(), 0);
    world.clock.advance(seconds(20));
    world.calls.latest();
    let started = given(world, "w", "rated").await;
    assert_eq!(started.len(), 1);
    took(world, "claim-task", "a rate has more to start", &[(TABLE, &["Query", "UpdateItem", "DeleteItem"])]);
    world.clock.advance(seconds(20));
    let next = json!({"claim": {"worker_id": "w", "queues": ["rated"]}});
    ends(world, &started[0], "complete", next).await;
    // The list tells of one that waits no longer: its process has not lived to take it out.
    let gone = "01980a6e-5b7c-7cc3-98c4-dc0c0c073994";
    let place = format!("rated#a#default#2#000000000000000#{gone}#0");
    let texts = [("tk", gone), ("qu", "rated"), ("ty", "a"), ("pj", "default")];
    let keys = [("pk", "H#queue/rated/key/r"), ("sk", &*place)];
    world.put(&[&keys[..], &texts].concat(), &[("pr", 2)]).await;
    world.clock.advance(seconds(20));
    world.calls.latest();
    round(world).await;
    round(world).await;
    let wanted = [(TABLE, &["Query", "UpdateItem", "DeleteItem"][..]), (INDEX, &["Query"])];
    took(world, "reap-stale-workers", "a rate that nobody claims by has more to start", &wanted);
}
