//! What the generation platform's clients ask of `edge-functions`: tasks of their own, and tasks that others have made for their queues,
//! which may be of a batch, under a unique key, for a while, or in turns.

use serde_json::{Value, json};

use super::{INDEX, READY, TABLE, created, done, got, large, on_heap, took};
use crate::edge_functions::{ask, called, claim, create, id};
use crate::world::{World, seconds};

const FUNCTION: &str = "edge-functions";

/// A task of the platform's queue that Baton's own route has made.
async fn made(world: &World, more: Value) -> String {
    let mut task = json!({"type": "a", "queue": "gpu", "params": {"blob": large()}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    created(world, task).await
}

/// Claims whatever comes next; its id.
async fn next(world: &World, worker: &str) -> Option<String> {
    let body = json!({"worker_id": worker, "run_type": "gpu"});
    let (_, told) = on_heap(|| ask(world, "POST", "/functions/v1/claim-next-task", body)).await;
    told["task_id"].as_str().map(str::to_owned)
}

async fn ends(world: &World, id: &str, word: &str) {
    let body = json!({"task_id": id, "status": word, "error_details": large(), "output_location": "https://x/a.png"});
    called(world, "update-task-status", body).await;
}

/// Two requests for one task at once, of which one has written params that nobody will name.
async fn raced(world: &World) {
    let made = |more: &str| json!({"params": {"blob": format!("{}{more}", large())}});
    for number in 100..120 {
        tokio::join!(create(world, number, made("a")), create(world, number, made("b")));
        ends(world, &id(number), "Cancelled").await;
        if world.calls.has(FUNCTION, "Table", "dynamodb:BatchWriteItem") {
            return;
        }
    }
    panic!("no request came in between");
}

/// Ends all that waits and all that runs.
async fn drained(world: &World) {
    for status in ["In+Progress", "Queued"] {
        let (_, rows) =
            ask(world, "GET", &format!("/rest/v1/tasks?select=id&status=eq.{status}"), Value::Null).await;
        for row in rows.as_array().unwrap() {
            let body = json!({"task_id": row["id"], "status": "Cancelled"});
            ask(world, "POST", "/functions/v1/update-task-status", body).await;
        }
    }
}

pub(super) async fn edge(world: &World) {
    on_heap(|| raced(world)).await;
    world.calls.latest();
    create(world, 1, json!({"params": {"blob": large()}, "idempotency_key": "k"})).await;
    took(
        world,
        FUNCTION,
        "a key, a cap, and a task with its params apart",
        &[(TABLE, &["GetItem", "PutItem", "UpdateItem"])],
    );
    let key = json!({"task_type": "t", "params": {}, "project_id": "film", "idempotency_key": "k"});
    called(world, "create-task", key).await;
    world.calls.latest();
    claim(world, "w1", 1).await;
    took(
        world,
        FUNCTION,
        "a claim under a cap",
        &[(TABLE, &["BatchGetItem", "UpdateItem", "Query"]), (INDEX, &["Query"])],
    );
    on_heap(|| reads(world)).await;
    world.calls.latest();
    called(world, "complete_task", json!({"task_id": id(1), "output_location": "https://x/a.png"})).await;
    took(world, FUNCTION, "a completion", &[(TABLE, &["GetItem", "PutItem", "UpdateItem"])]);

    // What was given back rings for who waits, and its message is kept apart; a crash gives back as well.
    create(world, 2, json!({"params": {"blob": large()}})).await;
    claim(world, "w1", 2).await;
    assert_eq!(next(world, "w2").await, None);
    world.calls.latest();
    ends(world, &id(2), "Queued").await;
    took(world, FUNCTION, "a task that is put back", &[(TABLE, &["PutItem"]), (READY, &["SendMessage"])]);
    world.clock.advance(seconds(60));
    on_heap(|| beats(world)).await;
    on_heap(|| reads(world)).await;
    on_heap(|| linked(world)).await;
    on_heap(|| of_others(world)).await;
    on_heap(|| in_turns(world)).await;
    on_heap(|| rows(world)).await;
}

/// What it asks where the stream keeps the statistics: what is counted trails, and it looks for itself.
pub(super) async fn edge_counted(world: &World) {
    create(world, 1, json!({})).await;
    claim(world, "w1", 1).await;
    on_heap(|| reads(world)).await;
    ends(world, &id(1), "Complete").await;
}

async fn beats(world: &World) {
    let path = "/rest/v1/rpc/func_worker_heartbeat_with_logs";
    for word in ["active", "crashed"] {
        if word == "crashed" {
            claim(world, "w1", 2).await;
        }
        let logs = json!([{"level": "INFO", "message": large(), "task_id": id(2)}]);
        let body = json!({"worker_id_param": "w1", "status_param": word, "logs_param": logs, "vram_total_mb_param": 1});
        world.calls.latest();
        assert_eq!(ask(world, "POST", path, body).await.0, 200);
        took(world, FUNCTION, "a heartbeat with lines", &[(TABLE, &["BatchWriteItem", "UpdateItem"])]);
    }
    called(world, "update-worker-model", json!({"worker_id": "w1", "current_model": "m"})).await;
    let logs = json!({"logs": [{"source_type": "orchestrator_gpu", "source_id": "o", "log_level": "INFO", "message": "m"}]});
    assert_eq!(ask(world, "POST", "/rest/v1/rpc/func_insert_logs_batch", logs).await.0, 200);
}

/// An orchestrator and its children: they end together.
async fn linked(world: &World) {
    let details = json!({"orchestrator_details": {"num_new_segments_to_generate": 1}});
    create(world, 11, json!({"task_type": "travel_orchestrator", "params": details})).await;
    let child = json!({"orchestrator_task_id_ref": id(11), "blob": large()});
    create(world, 12, json!({"task_type": "travel_segment", "params": child})).await;
    create(world, 13, json!({"params": child, "dependant_on": [id(12)]})).await;
    create(world, 14, json!({"params": {"blob": large()}, "dependant_on": [id(12), id(2)]})).await;
    while next(world, "w3").await.is_some() {}
    world.calls.latest();
    called(world, "get-orchestrator-children", json!({"orchestrator_task_id": id(11)})).await;
    called(world, "get-predecessor-output", json!({"task_id": id(14)})).await;
    ends(world, &id(12), "Failed").await;
    took(
        world,
        FUNCTION,
        "a task that others wait for, and its orchestrator",
        &[(TABLE, &["Query", "UpdateItem", "BatchGetItem"])],
    );
    create(world, 15, json!({"dependant_on": [id(12)]})).await;
    // After several that run, and after several that are done.
    for number in [16, 17] {
        create(world, number, json!({})).await;
    }
    create(world, 18, json!({"dependant_on": [id(16), id(17)]})).await;
    while let Some(given) = next(world, "w3").await {
        ends(world, &given, "Complete").await;
    }
    create(world, 19, json!({"dependant_on": [id(16), id(17)]})).await;
}

/// Tasks with all that Baton's own routes can give them.
async fn of_others(world: &World) {
    let more = json!({"unique": {"key": "one"}, "expires_after_seconds": 6_000, "max_attempts": 3});
    for word in ["Complete", "Failed", "Cancelled"] {
        let first = made(world, more.clone()).await;
        made(world, json!({"depends_on": [first], "unique": {"key": "two"}, "expires_after_seconds": 6_000}))
            .await;
        while next(world, "w4").await.is_some_and(|given| given != first) {}
        ends(world, &first, word).await;
        if word != "Complete" {
            // An operator's retry takes its key again.
            let reset = json!({"status": "Queued", "error_message": "once more"});
            assert_eq!(ask(world, "PATCH", &format!("/rest/v1/tasks?id=eq.{first}"), reset).await.0, 200);
            ends(world, &first, "Cancelled").await;
        }
        while let Some(given) = next(world, "w4").await {
            ends(world, &given, "Complete").await;
        }
    }
    for word in ["Complete", "Failed", "Cancelled", "expires"] {
        let queue = format!("after-{word}").to_lowercase();
        let follows = json!({"type": "report", "queue": queue, "params": {"text": large()}, "expires_after_seconds": 6_000});
        let task =
            json!({"type": "a", "queue": "gpu", "expires_after_seconds": 2, "params": {"blob": large()}});
        let batch = json!({"name": word, "then": {"on": "ended", "task": follows}});
        let answer =
            done(world, "create-task", "/v1/tasks/batch", json!({"batch": batch, "tasks": [task]})).await;
        let one = answer["items"][0]["task"]["id"].as_str().unwrap().to_owned();
        if word == "expires" {
            world.clock.advance(seconds(3));
            while next(world, "w5").await.is_some() {}
        } else {
            while next(world, "w5").await.is_some_and(|given| given != one) {}
            ends(world, &one, word).await;
        }
        let shown =
            got(world, "query-tasks", &format!("/v1/batches/{}", answer["batch_id"].as_str().unwrap())).await;
        assert!(shown["then"]["task_id"].is_string(), "{word}: {shown}");
    }
}

/// Limits that are full, a queue in turns, and a task that ends its workers.
async fn in_turns(world: &World) {
    while let Some(given) = next(world, "w7").await {
        ends(world, &given, "Complete").await;
    }
    done(
        world,
        "manage-tasks",
        "/v1/limits",
        json!({"on": "queue/gpu/key/*", "max_running": 1, "holds_retries": true}),
    )
    .await;
    done(
        world,
        "manage-tasks",
        "/v1/limits",
        json!({"on": "queue/gpu", "rate": {"starts": 60, "seconds": 60, "burst": 5}}),
    )
    .await;
    let keyed = json!({"concurrency_key": "k", "expires_after_seconds": 6_000});
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(made(world, keyed.clone()).await);
    }
    let held = next(world, "w7").await.unwrap();
    world.calls.latest();
    assert_eq!(next(world, "w8").await, None);
    took(world, FUNCTION, "tasks are put aside", &[(TABLE, &["PutItem", "UpdateItem"])]);
    called(world, "task-counts", json!({"run_type": "gpu", "include_active": true})).await;
    ids.retain(|one| *one != held);
    ends(world, &ids[0], "Cancelled").await;
    let reset = json!({"status": "Queued", "error_message": "once more"});
    assert_eq!(ask(world, "PATCH", &format!("/rest/v1/tasks?id=eq.{}", ids[0]), reset).await.0, 200);
    ends(world, &held, "Queued").await;
    world.clock.advance(seconds(60));
    world.calls.latest();
    let held = next(world, "w7").await.unwrap();
    ends(world, &held, "Complete").await;
    took(world, FUNCTION, "a place is free", &[(TABLE, &["Query", "UpdateItem", "DeleteItem"])]);
    world.clock.advance(seconds(20));
    while let Some(given) = next(world, "w7").await {
        ends(world, &given, "Failed").await;
        world.clock.advance(seconds(20));
    }
    done(world, "manage-tasks", "/v1/queues/gpu/order", json!({"fair": "project", "age_after_seconds": 60}))
        .await;
    for project in ["film", "film", "game"] {
        made(world, json!({"project": project})).await;
    }
    world.calls.latest();
    while let Some(given) = next(world, "w9").await {
        ends(world, &given, "Complete").await;
    }
    took(world, FUNCTION, "turns", &[(TABLE, &["UpdateItem"])]);
    done(world, "manage-tasks", "/v1/queues/gpu/order", json!({})).await;
    done(world, "manage-tasks", "/v1/queues/gpu/pause", json!({})).await;
    assert_eq!(next(world, "w9").await, None);
    done(world, "manage-tasks", "/v1/queues/gpu/resume", json!({})).await;
    on_heap(|| alone(world)).await;
}

/// A task that has ended two workers is given out alone.
async fn alone(world: &World) {
    on_heap(|| drained(world)).await;
    for limit in got(world, "manage-tasks", "/v1/limits").await["items"].as_array().unwrap() {
        done(world, "manage-tasks", "/v1/limits/clear", json!({"on": limit["on"]})).await;
    }
    for _ in 0..2 {
        made(world, json!({"max_attempts": 100})).await;
    }
    let round = json!({"source": "aws.scheduler"});
    let reaper = world.function("reap-stale-workers");
    crate::world::invoke(&reaper, &round).await;
    for _ in 0..2 {
        let both = json!({"worker_id": "dies", "queues": ["gpu"], "max_tasks": 2});
        let given = done(world, "claim-task", "/v1/claims", both).await;
        assert_eq!(given["tasks"].as_array().map(Vec::len), Some(2), "{given}");
        let mut taken = 0;
        while taken < 2 {
            world.clock.advance(seconds(61));
            taken += crate::world::invoke(&reaper, &round).await["taken"].as_u64().unwrap();
        }
    }
    world.clock.advance(seconds(11));
    let busy = json!({"worker_id": "w10", "queues": ["others"], "lease_seconds": 86_000});
    created(world, json!({"type": "a", "queue": "others"})).await;
    done(world, "claim-task", "/v1/claims", busy).await;
    assert_eq!(next(world, "w10").await, None, "a worker makes room");
    world.clock.advance(seconds(100));
    assert_eq!(next(world, "w10").await, None, "it says so again");
    let running = got(world, "query-tasks", "/v1/tasks?status=running&queue=others").await;
    let body = json!({"worker_id": "w10", "attempt": 1});
    let path = format!("/v1/tasks/{}/complete", running["items"][0]["id"].as_str().unwrap());
    done(world, "complete-task", &path, body).await;
    world.calls.latest();
    assert!(next(world, "w10").await.is_some());
    took(world, FUNCTION, "it leaves its place", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
    // A worker that was last heard of hours ago.
    world.clock.advance(seconds(3 * 3_600));
    next(world, "w10").await;
}

async fn reads(world: &World) {
    for status in ["Queued", "In Progress", "Complete", "Failed", "Cancelled"] {
        let path = format!("/rest/v1/tasks?select=*&status=eq.{}", status.replace(' ', "+"));
        assert_eq!(ask(world, "GET", &path, Value::Null).await.0, 200);
    }
    for path in [
        "/rest/v1/tasks?select=*",
        "/rest/v1/tasks?select=count&limit=1",
        "/rest/v1/tasks?select=*&worker_id=eq.w1",
        "/rest/v1/workers?select=*",
        "/rest/v1/system_logs?select=*&log_level=eq.INFO",
        "/rest/v1/system_logs?select=*&source_id=eq.w1",
        "/rest/v1/generations?select=*",
        "/rest/v1/orchestrator_status?select=*",
        "/rest/v1/active_workers_health?select=*",
    ] {
        assert_eq!(ask(world, "GET", path, Value::Null).await.0, 200, "{path}");
    }
    let counts = json!({"run_type": null, "include_active": true});
    called(world, "task-counts", counts).await;
    called(world, "get-task-output", json!({"task_id": id(1)})).await;
    called(world, "get-completed-segments", json!({"run_id": "r"})).await;
    called(world, "tasks-list", json!({"projectId": "film", "status": []})).await;
    let dry = json!({"worker_id": "w1", "run_type": "gpu", "dry_run": true});
    ask(world, "POST", "/functions/v1/claim-next-task", dry).await;
}

/// Rows that are written: of workers and tasks.
async fn rows(world: &World) {
    world.calls.latest();
    let row =
        json!({"id": "row-1", "instance_type": "gpu", "status": "spawning", "metadata": {"runpod_id": "p"}});
    assert_eq!(ask(world, "POST", "/rest/v1/workers?on_conflict=id", row).await.0, 201);
    for worker in ["row-1", "w1"] {
        let body = json!({"status": "terminating", "metadata": {"blob": large()}});
        let (status, told) = ask(world, "PATCH", &format!("/rest/v1/workers?id=eq.{worker}"), body).await;
        assert!(status < 500, "{told}");
    }
    took(world, FUNCTION, "rows of workers, recorded", &[(TABLE, &["PutItem", "UpdateItem"])]);
    create(world, 31, json!({"params": {"blob": large()}})).await;
    create(world, 32, json!({"params": {"blob": large()}, "dependant_on": [id(31)]})).await;
    for number in [32, 31, 1] {
        world.calls.latest();
        let (status, told) =
            ask(world, "DELETE", &format!("/rest/v1/tasks?id=eq.{}", id(number)), Value::Null).await;
        assert_eq!(status, 200, "{told}");
        took(world, FUNCTION, "a row that is removed", &[(TABLE, &["UpdateItem"])]);
    }
}
