//! Batches, and what queues give to tasks that do not say. Who ends the last task of a batch creates what follows it, whoever that is.

use serde_json::{Value, json};

use super::limited::{ends, given, round};
use super::{INDEX, TABLE, done, got, large, took};
use crate::world::{World, invoke, request, seconds};

/// Hands in a batch that is followed by a task in a queue of its own, with all that a new task may need to be written.
async fn hand_in(world: &World, queue: &str, on: &str, tasks: Value) -> (String, Vec<String>) {
    let follows = format!("after-{queue}");
    let task = json!({"type": "report", "queue": follows, "params": {"text": large()}, "expires_after_seconds": 6_000});
    let batch = json!({"name": queue, "then": {"on": on, "task": task}});
    let answer = done(world, "create-task", "/v1/tasks/batch", json!({"batch": batch, "tasks": tasks})).await;
    let items = answer["items"].as_array().unwrap();
    let ids = items.iter().map(|item| item["task"]["id"].as_str().unwrap().to_owned()).collect();
    (answer["batch_id"].as_str().unwrap().to_owned(), ids)
}

/// The batch was followed by a task, which this function has created.
async fn followed(world: &World, function: &'static str, what: &str, batch: &str) {
    took(world, function, what, &[(TABLE, &["GetItem", "PutItem", "Query", "UpdateItem"])]);
    let shown = got(world, "query-tasks", &format!("/v1/batches/{batch}")).await;
    assert!(shown["then"]["task_id"].is_string(), "{what}: {shown}");
}

fn one(queue: &str) -> Value {
    json!([{"type": "a", "queue": queue}])
}

pub(super) async fn batched(world: &World) {
    let defaults = json!({"max_attempts": 2, "retention_seconds": 60});
    let path = "/v1/queues/given/defaults";
    for body in [defaults, json!({"max_attempts": null, "retention_seconds": null})] {
        let event = request("PATCH", path, &body);
        assert_eq!(invoke(&world.function("manage-tasks"), &event).await["statusCode"], 200);
    }
    let (batch, ids) = hand_in(world, "by-completion", "ended", one("by-completion")).await;
    given(world, "w", "by-completion").await;
    ends(world, &ids[0], "complete", json!({})).await;
    followed(world, "complete-task", "the last task of a batch is completed", &batch).await;

    let two = json!([{"type": "a", "queue": "by-failure", "ref": "a"}, {"type": "b", "queue": "by-failure", "depends_on": ["a"]}]);
    let (batch, ids) = hand_in(world, "by-failure", "failed", two).await;
    given(world, "w", "by-failure").await;
    ends(world, &ids[0], "fail", json!({"error": {"message": "no"}, "retryable": false})).await;
    followed(world, "complete-task", "the first task of a batch fails", &batch).await;

    let (batch, ids) = hand_in(world, "by-cancel", "ended", one("by-cancel")).await;
    world.calls.latest();
    done(world, "manage-tasks", &format!("/v1/tasks/{}/cancel", ids[0]), json!({})).await;
    followed(world, "manage-tasks", "the last task of a batch is called off", &batch).await;
    done(world, "manage-tasks", &format!("/v1/tasks/{}/retry", ids[0]), json!({})).await;

    let soon = |queue: &str| json!([{"type": "a", "queue": queue, "expires_after_seconds": 1}]);
    let (batch, _) = hand_in(world, "by-claim", "ended", soon("by-claim")).await;
    world.clock.advance(seconds(2));
    world.calls.latest();
    given(world, "w", "by-claim").await;
    followed(world, "claim-task", "a claim finds that the last task of a batch has expired", &batch).await;

    let (batch, _) = hand_in(world, "by-round", "ended", soon("by-round")).await;
    world.clock.advance(seconds(2));
    world.calls.latest();
    round(world).await;
    followed(world, "reap-stale-workers", "a round finds that the last task of a batch has expired", &batch)
        .await;

    let open = json!({"batch": {"seal": false}, "tasks": one("by-seal")});
    let answer = done(world, "create-task", "/v1/tasks/batch", open).await;
    let path = format!("/v1/batches/{}", answer["batch_id"].as_str().unwrap());
    round(world).await;
    took(world, "reap-stale-workers", "a round looks at the tasks of batches", &[(INDEX, &["Query"])]);
    done(world, "create-task", &format!("{path}/seal"), json!({})).await;
    got(world, "query-tasks", &path).await;
    got(world, "query-tasks", "/v1/batches").await;
    // One that is refused whole leaves nothing.
    let clash = json!([{"id": "01980a6e-5b7c-7cc3-98c4-dc0c0c0739f1", "type": "a"}, {"id": "01980a6e-5b7c-7cc3-98c4-dc0c0c0739f1", "type": "b"}]);
    let event = request("POST", "/v1/tasks/batch", &json!({"batch": {}, "tasks": clash}));
    world.calls.latest();
    assert_eq!(invoke(&world.function("create-task"), &event).await["statusCode"], 409);
    took(world, "create-task", "a batch that is refused", &[(TABLE, &["DeleteItem", "UpdateItem"])]);
}
