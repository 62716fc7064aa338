//! Bulk commands: what the requests ask for that make them, and the reaper's rounds that go on with them.

use baton_model::{Bulk, BulkAction, BulkFilter, BulkId, BulkTasks, Priority, Status, TaskChange};
use baton_runtime::Clock as _;
use serde_json::{Value, json};

use super::limited::{given, round, task};
use super::{INDEX, TABLE, done, got, large, took};
use crate::world::{World, invoke, request};

/// Who carries a command out.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Request,
    Round,
}

impl By {
    const fn function(self) -> &'static str {
        match self {
            Self::Request => "manage-tasks",
            Self::Round => "reap-stale-workers",
        }
    }

    /// Does something to all tasks of a queue that are of these statuses.
    async fn does(self, world: &World, action: BulkAction, queue: &str, statuses: &[Status]) {
        world.calls.latest();
        match self {
            Self::Request => {
                let mut body = json!({"do": action.as_str(), "filter": {"queue": queue}});
                if !statuses.is_empty() {
                    body["filter"]["status"] = statuses.iter().map(|status| status.as_str()).collect();
                }
                if let BulkAction::Change(to) = &action {
                    // A priority and a queue are asked for as they are kept.
                    body["with"] = serde_json::to_value(to).unwrap();
                }
                let bulk = done(world, "manage-tasks", "/v1/tasks/bulk", body.clone()).await;
                assert_eq!(bulk["state"], "done", "{bulk}");
                body["dry_run"] = json!(true);
                done(world, "manage-tasks", "/v1/tasks/bulk", body).await;
            }
            Self::Round => {
                let filter = BulkFilter {
                    queue: Some(queue.parse().unwrap()),
                    statuses: statuses.to_vec(),
                    ..BulkFilter::default()
                };
                let id = BulkId::from_bytes([7; 16]);
                let bulk = Bulk::new(id, world.clock.now(), action, BulkTasks::Filter(filter));
                let (id, record) = (id.to_string(), serde_json::to_string(&bulk).unwrap());
                let texts = [("pk", "BC"), ("sk", &id), ("tx", &record), ("ip", "BC"), ("is", &id)];
                world.put(&texts, &[("vn", 0)]).await;
                round(world).await;
            }
        }
    }
}

async fn by(world: &World, by: By, queue: &str) {
    let unique =
        json!({"unique": {"key": queue}, "expires_after_seconds": 6_000, "params": {"blob": large()}});
    task(world, queue, unique).await;
    let odd = if by == By::Request {
        "6f1c1b3a-5b7c-4cc3-98c4-dc0c0c074994"
    } else {
        "6f1c1b3a-5b7c-4cc3-98c4-dc0c0c075995"
    };
    let first = task(world, queue, json!({"id": odd})).await;
    task(world, queue, json!({"depends_on": [first], "if_dependency_fails": "run"})).await;
    done(
        world,
        "manage-tasks",
        "/v1/limits",
        json!({"on": format!("queue/{queue}/key/*"), "max_running": 1}),
    )
    .await;
    for _ in 0..3 {
        task(world, queue, json!({"concurrency_key": "k", "params": {"blob": large()}})).await;
    }
    given(world, "w", queue).await;
    let high = TaskChange { priority: Some(Priority::High), ..TaskChange::default() };
    by.does(world, BulkAction::Change(high), queue, &[]).await;
    took(world, by.function(), "tasks that are changed", &[(TABLE, &["GetItem", "PutItem", "UpdateItem"])]);
    let to_queue = |name: &str| {
        let queue = Some(name.parse().unwrap());
        BulkAction::Change(TaskChange { queue, ..TaskChange::default() })
    };
    task(world, queue, json!({"unique": {"key": format!("{queue} goes")}})).await;
    let away = format!("{queue}-away");
    by.does(world, to_queue(&away), queue, &[]).await;
    took(
        world,
        by.function(),
        "tasks that go to another queue",
        &[(TABLE, &["GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem"])],
    );
    by.does(world, to_queue(queue), &away, &[]).await;
    by.does(world, BulkAction::Cancel, queue, &[]).await;
    took(
        world,
        by.function(),
        "tasks that are called off",
        &[(TABLE, &["DeleteItem", "Query"]), (INDEX, &["Query"])],
    );
    by.does(world, BulkAction::Retry, queue, &[]).await;
    by.does(world, BulkAction::Cancel, queue, &Status::ALL).await;
    given(world, "w", queue).await;
    by.does(world, BulkAction::Delete, queue, &Status::ALL).await;
    took(world, by.function(), "tasks that are removed", &[(TABLE, &["UpdateItem", "Query"])]);
}

pub(super) async fn bulk(world: &World) {
    by(world, By::Request, "by-request").await;
    by(world, By::Round, "by-round").await;
    let function = "manage-tasks";
    let id = task(world, "named", json!({})).await;
    let by_id = json!({"do": "cancel", "ids": [id], "dry_run": true});
    assert_eq!(done(world, function, "/v1/tasks/bulk", by_id).await, json!({"matches": 1}));
    world.calls.latest();
    let mut keyed = request("POST", "/v1/tasks/bulk", &json!({"do": "retry", "ids": [id]}));
    keyed["headers"]["idempotency-key"] = json!("once");
    for _ in 0..2 {
        let answer = invoke(&world.function(function), &keyed).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
    }
    took(world, function, "the key of a command", &[(TABLE, &["GetItem", "PutItem"])]);
    let made = done(world, function, "/v1/tasks/bulk", json!({"do": "cancel", "ids": [id]})).await;
    let path = format!("/v1/bulk/{}", made["id"].as_str().unwrap());
    assert_eq!(got(world, function, &path).await["changed"], json!(1));
    got(world, function, "/v1/bulk").await;
    done(world, function, &format!("{path}/abort"), Value::Null).await;
    for limit in got(world, function, "/v1/limits").await["items"].as_array().unwrap() {
        done(world, function, "/v1/limits/clear", json!({"on": limit["on"]})).await;
    }
}
