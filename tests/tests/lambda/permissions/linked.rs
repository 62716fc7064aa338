//! Tasks that wait for others: what their creation, the ends of what they wait for and operators ask for.

use serde_json::{Value, json};

use super::{INDEX, TABLE, claim, created, done, end, ended_by_one_that_dies, got, large, took};
use crate::world::{World, again, invoke, seconds};

/// A graph of one that exists, and of three that come with it: the first waits for the old one, the second for both, the third
/// for none.
async fn graph(world: &World, old: &str, choice: &str) -> Vec<String> {
    let tasks = json!([
        {"type": "b", "queue": "linked", "ref": "b", "depends_on": [old, "d"], "if_dependency_fails": choice},
        {"type": "c", "queue": "linked", "depends_on": ["b"]},
        {"type": "d", "queue": "linked", "ref": "d", "params": {"blob": large()}},
    ]);
    let answer = done(world, "create-task", "/v1/tasks/batch", json!({ "tasks": tasks })).await;
    let items = answer["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["task"]["id"].as_str().unwrap().to_owned()).collect()
}

/// Ends the next task of the queue.
async fn ended_next(world: &World, how: &str, more: Value) -> String {
    let claimed = claim(world, json!({"worker_id": "w", "queues": ["linked"]})).await["tasks"][0].clone();
    let id = claimed["id"].as_str().unwrap().to_owned();
    world.calls.latest();
    done(world, "complete-task", &format!("/v1/tasks/{id}/{how}"), end(&claimed["attempt"], more)).await;
    id
}

pub(super) async fn linked(world: &World) {
    let old = created(world, json!({"type": "a", "queue": "linked"})).await;
    world.calls.latest();
    graph(world, &old, "cancel").await;
    let wanted = [(TABLE, &["BatchGetItem", "BatchWriteItem", "PutItem", "UpdateItem", "GetItem"][..])];
    took(world, "create-task", "a graph, its index, and a flag of what it waits for", &wanted);
    ended_next(world, "complete", json!({"result": {"blob": large()}})).await;
    took(world, "complete-task", "the end of what others wait for", &[(TABLE, &["Query", "BatchGetItem"])]);
    ended_next(world, "complete", json!({})).await;
    took(world, "complete-task", "a task that is let go of", &[(TABLE, &["Query", "UpdateItem"])]);
    claim(world, json!({"worker_id": "w", "queues": ["linked"]})).await;
    took(world, "claim-task", "a task with its inputs", &[(TABLE, &["BatchGetItem"])]);

    // One that has failed already ends what is made to wait for it.
    let failed = created(world, json!({"type": "a", "queue": "linked"})).await;
    let failure = json!({"error": {"message": large()}, "retryable": false});
    assert_eq!(ended_next(world, "fail", failure.clone()).await, failed);
    world.calls.latest();
    let ids = graph(world, &failed, "fail").await;
    took(world, "create-task", "a graph whose beginning has failed", &[(TABLE, &["Query", "UpdateItem"])]);
    let retry = json!({"with_dependants": true});
    done(world, "manage-tasks", &format!("/v1/tasks/{failed}/retry"), retry.clone()).await;
    let wanted = [(TABLE, &["GetItem", "Query", "BatchGetItem", "UpdateItem"][..])];
    took(world, "manage-tasks", "a retry with all that ended by it", &wanted);
    got(world, "query-tasks", &format!("/v1/tasks/{}/graph", ids[0])).await;
    took(world, "query-tasks", "a graph", &[(TABLE, &["Query", "BatchGetItem"])]);
    let why = got(world, "query-tasks", &format!("/v1/tasks/{}/why", ids[0])).await;
    assert_eq!(why["reasons"][0]["reason"], "blocked", "{why}");
    took(world, "query-tasks", "why a task waits", &[(TABLE, &["GetItem", "Query", "BatchGetItem"])]);
    got(world, "query-tasks", "/v1/tasks?status=blocked").await;
    took(world, "query-tasks", "blocked tasks", &[(INDEX, &["Query"])]);
    done(world, "manage-tasks", &format!("/v1/tasks/{failed}/cancel"), retry).await;
    took(world, "manage-tasks", "a call-off with all that waits", &[(TABLE, &["Query", "UpdateItem"])]);

    // What a worker loses for good ends what waits for it; blocked tasks are looked at.
    let round = json!({"source": "aws.scheduler"});
    let reaper = world.function("reap-stale-workers");
    invoke(&reaper, &round).await;
    let dies = created(world, json!({"type": "a", "queue": "dies", "max_attempts": 1})).await;
    let waits = created(world, json!({"type": "a", "depends_on": [dies]})).await;
    claim(world, json!({"worker_id": "dies", "queues": ["dies"]})).await;
    world.clock.advance(seconds(61));
    world.calls.latest();
    invoke(&reaper, &round).await;
    let wanted = [(TABLE, &["Query", "BatchGetItem", "UpdateItem", "GetItem"][..]), (INDEX, &["Query"])];
    took(world, "reap-stale-workers", "a loss that others wait for, and a look at blocked tasks", &wanted);
    assert_eq!(got(world, "query-tasks", &format!("/v1/tasks/{waits}")).await["task"]["status"], "cancelled");

    a_process_dies(world).await;
    after_completed_ones(world).await;

    // What was kept for others is given an end once all of them have ended.
    let last = created(world, json!({"type": "a", "queue": "linked", "params": {"blob": large()}})).await;
    let waits = created(world, json!({"type": "a", "queue": "later", "depends_on": [last]})).await;
    while asked(world, "linked").await > 0 {}
    let body = json!({"worker_id": "w", "attempt": 1, "result": {"blob": large()}});
    done(world, "complete-task", &format!("/v1/tasks/{last}/complete"), body).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{waits}/cancel"), json!({})).await;
    world.calls.latest();
    // One whose creation came to nothing has left its entry.
    let never = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    world.put(&[("pk", &format!("E#{last}")), ("sk", never)], &[("at", 0)]).await;
    // A dependant might be on its way for an hour.
    for _ in 0..40 {
        world.clock.advance(seconds(240));
        invoke(&reaper, &round).await;
    }
    let wanted = [(TABLE, &["Query", "BatchGetItem", "UpdateItem", "DeleteItem"][..])];
    took(world, "reap-stale-workers", "tasks that are kept for others no longer", &wanted);
}

/// What is completed, and its output, has its end taken off for whoever depends on it, and for whoever does again.
async fn after_completed_ones(world: &World) {
    for id in ["01980a6e-5b7c-7cc3-98c4-dc0c0c073991", "6f1c1b3a-5b7c-4cc3-98c4-dc0c0c073992"] {
        created(world, json!({"id": id, "type": "a", "queue": "before", "params": {"blob": large()}})).await;
        claim(world, json!({"worker_id": "w", "queues": ["before"]})).await;
        let body = json!({"worker_id": "w", "attempt": 1, "result": {"blob": large()}});
        done(world, "complete-task", &format!("/v1/tasks/{id}/complete"), body).await;
        world.calls.latest();
        let after = created(world, json!({"type": "a", "queue": "after", "depends_on": [id]})).await;
        took(world, "create-task", "a task after a completed one", &[(TABLE, &["UpdateItem", "Query"])]);
        done(world, "manage-tasks", &format!("/v1/tasks/{after}/cancel"), json!({})).await;
        world.calls.latest();
        done(world, "manage-tasks", &format!("/v1/tasks/{after}/retry"), json!({})).await;
        took(world, "manage-tasks", "a retry after a completed one", &[(TABLE, &["UpdateItem", "Query"])]);
        assert_eq!(asked(world, "after").await, 1);
        let body = json!({"worker_id": "w", "attempt": 1});
        world.calls.latest();
        done(world, "complete-task", &format!("/v1/tasks/{after}/complete"), body).await;
        took(
            world,
            "complete-task",
            "the end of a task's entries with what it waited for",
            &[(TABLE, &["UpdateItem"])],
        );
    }
}

/// How many tasks a claim brings.
async fn asked(world: &World, queue: &str) -> usize {
    let body = json!({"worker_id": "w", "queues": [queue], "max_tasks": 9, "capacity": 100});
    let answer = done(world, "claim-task", "/v1/claims", body).await;
    answer["tasks"].as_array().unwrap().len()
}

/// The process that ends a task does not live to let go of what waits for it.
async fn a_process_dies(world: &World) {
    let first = created(world, json!({"type": "a", "queue": "dying"})).await;
    let second = created(world, json!({"type": "a", "queue": "released", "depends_on": [first]})).await;
    claim(world, json!({"worker_id": "w", "queues": ["dying"]})).await;
    let told = ended_by_one_that_dies(world, &first, "complete", json!({})).await;
    let status =
        async || got(world, "query-tasks", &format!("/v1/tasks/{second}")).await["task"]["status"].clone();
    assert_eq!(status().await, "blocked");
    // Somebody waits for it.
    assert_eq!(asked(world, "released").await, 0);
    world.calls.latest();
    let relay = world.function("relay-events");
    assert_eq!(again(&invoke(&relay, &told).await), Vec::<String>::new());
    let wanted =
        [(TABLE, &["GetItem", "Query", "BatchGetItem", "UpdateItem"][..]), ("sqs Ready", &["SendMessage"])];
    took(world, "relay-events", "what waits for a task whose end is told", &wanted);
    assert_eq!(status().await, "queued");
    invoke(&relay, &told).await;
    let history = got(world, "query-tasks", &format!("/v1/tasks/{second}/history")).await;
    assert_eq!(history["items"].as_array().unwrap().len(), 2, "it is let go of once");
}
