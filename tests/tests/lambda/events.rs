//! The named events of `events/` that come from queues, the stream and the schedule: each is taken by its function.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use baton_http::App;
use baton_http::auth::ALERT_RULES;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::world::{TASK_EVENTS, World, again, invoke, seconds, send};

/// The task that the events speak of.
const TASK: &str = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";

fn events(prefix: &str) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut events: Vec<(String, Value)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .map(|path| {
            let event = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), event)
        })
        .collect();
    events.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!events.is_empty(), "no events {prefix}");
    events
}

/// A world in which the events make sense: the task is there, and its worker holds it.
async fn world() -> World {
    let world = World::new().await;
    let task = json!({"id": TASK, "type": "render", "queue": "gpu"});
    assert_eq!(send(&world.function("create-task"), "POST", "/v1/tasks", task).await.0, 201);
    let claim = json!({"worker_id": "gpu-7", "queues": ["gpu"]});
    let (_, answer) = send(&world.function("claim-task"), "POST", "/v1/claims", claim).await;
    assert_eq!(answer["tasks"][0]["id"], TASK);
    world
}

#[tokio::test]
async fn each_queued_message_is_taken_by_its_function() {
    for (name, event) in events("sqs-") {
        let world = world().await;
        let function = match name.split('-').nth(1).unwrap() {
            "submissions" => "create-task",
            "completions" => "complete-task",
            other => panic!("what handles {other}?"),
        };
        assert_eq!(again(&invoke(&world.function(function), &event).await), Vec::<String>::new(), "{name}");
        assert_eq!(world.queues.visible(crate::world::SUBMISSIONS_DEAD), [], "{name}");
        assert_eq!(world.queues.visible(crate::world::COMPLETIONS_DEAD), [], "{name}");
    }
}

#[tokio::test]
async fn the_authorizer_lets_its_event_through_and_the_requests_carry_what_it_says() {
    let world = world().await;
    for (name, event) in events("authorizer-") {
        let verdict = invoke(&world.function("authorize"), &event).await;
        assert_eq!(verdict["isAuthorized"], true, "{name}");
        let told: Value = serde_json::from_str(verdict["context"]["token"].as_str().unwrap()).unwrap();
        for (name, event) in events("http-") {
            let carried = event["requestContext"]["authorizer"]["lambda"]["token"].as_str().unwrap();
            let carried: Value = serde_json::from_str(carried).unwrap();
            for (field, value) in carried.as_object().unwrap() {
                assert_eq!(&told[field], value, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn the_scheduled_event_leads_to_a_round_of_the_reaper() {
    for (_, event) in events("schedule-") {
        assert_eq!(event["source"], "aws.scheduler");
        let world = world().await;
        let reap = world.function("reap-stale-workers");
        assert_eq!(invoke(&reap, &event).await["taken"], 0, "it begins to hear");
        world.clock.advance(seconds(61));
        let answer = invoke(&reap, &event).await;
        assert_eq!(
            answer,
            json!({"taken": 1, "expired": 0, "workers_lost": 1, "created": 0,
            "schedules_missed": 0, "removed": 0, "more": false})
        );
    }
}

#[tokio::test]
async fn the_platforms_requests_are_answered_in_its_words() {
    let world = world().await;
    for (name, event) in events("edge-") {
        let expected = match name.as_str() {
            // The task is there, and it is Baton's own; nobody waits in the platform's queue.
            "edge-claim-next-task" => 204,
            "edge-update-task-status" => 409,
            "edge-put-object" => 501,
            _ => 200,
        };
        let answer = invoke(&world.function("edge-functions"), &event).await;
        assert_eq!(answer["statusCode"], expected, "{name}: {answer}");
    }
}

#[tokio::test]
async fn the_scheduled_event_of_alerts_leads_to_a_look() {
    for (name, event) in events("alerts-") {
        let world = world().await;
        let function = world.function("manage-alerts");
        let rule = json!({"kind": "workers_lost"});
        assert_eq!(send(&function, "PUT", "/v1/alerts/lost", rule).await.0, 200);
        assert_eq!(invoke(&function, &event).await, json!({"held": true, "more": false}), "{name}");
    }
}

#[tokio::test]
async fn the_records_of_the_stream_are_relayed() {
    for (name, event) in events("stream-") {
        let world = world().await;
        assert_eq!(
            again(&invoke(&world.function("relay-events"), &event).await),
            Vec::<String>::new(),
            "{name}"
        );
        let told: Vec<Value> = world
            .queues
            .visible(TASK_EVENTS)
            .iter()
            .map(|message| serde_json::from_str::<Value>(&message.body).unwrap()["type"].clone())
            .collect();
        assert_eq!(told, ["baton.task.created", "baton.task.claimed", "baton.task.completed"], "{name}");
    }
}

/// Each event, with the function that takes it.
pub(crate) fn fixtures() -> Vec<(&'static str, Value)> {
    let of_routes = taken();
    let mut fixtures = Vec::new();
    for (name, event) in events("") {
        let function = match name.split('-').next().unwrap() {
            "http" => {
                let (method, path) = event["routeKey"].as_str().unwrap().split_once(' ').unwrap();
                let takes = |(of, with, _): &&(String, String, &str)| of == path && with == method;
                of_routes.iter().find(takes).unwrap().2
            }
            "edge" => "edge-functions",
            "sqs" if name.contains("submissions") => "create-task",
            "sqs" => "complete-task",
            "schedule" => "reap-stale-workers",
            "alerts" => "manage-alerts",
            "stream" => "relay-events",
            "authorizer" => "authorize",
            other => panic!("what takes {other}?"),
        };
        fixtures.push((function, event));
    }
    fixtures
}

/// Each route's path and method, with the function that takes it.
fn taken() -> BTreeSet<(String, String, &'static str)> {
    let routers: [(&str, OpenApiRouter<App>); 8] = [
        ("create-task", baton_create_task::router()),
        ("claim-task", baton_claim_task::router()),
        ("complete-task", baton_complete_task::router()),
        ("heartbeat-worker", baton_heartbeat_worker::router()),
        ("reap-stale-workers", baton_reap_stale_workers::router()),
        ("query-tasks", baton_query_tasks::router()),
        ("manage-tasks", baton_manage_tasks::router()),
        ("manage-tokens", baton_manage_tokens::router()),
    ];
    // Each of the dialect's routes has its rule.
    let spoken = baton_dialect_edge_functions::RULES.iter();
    let mut taken: BTreeSet<_> =
        spoken.map(|rule| (rule.path.to_owned(), rule.method.to_owned(), "edge-functions")).collect();
    // Of those that are in no document, too.
    let undocumented = ALERT_RULES.iter();
    taken.extend(undocumented.map(|rule| (rule.path.to_owned(), rule.method.to_owned(), "manage-alerts")));
    for (function, mut router) in routers {
        let document = serde_json::to_value(router.to_openapi()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                taken.insert((path.clone(), method.to_uppercase(), function));
            }
        }
    }
    taken
}

#[test]
fn cargo_lambda_routes_each_request_to_the_function_that_takes_it() {
    let taken: BTreeSet<_> =
        taken().into_iter().map(|(path, method, function)| (path, method, function.to_owned())).collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut routed = BTreeSet::new();
    for (path, route) in metadata["metadata"]["lambda"]["watch"]["router"].as_object().unwrap() {
        let whole = [json!({ "function": route })];
        for one in route.as_array().map_or(&whole[..], Vec::as_slice) {
            let function = one["function"].as_str().unwrap();
            let methods: Vec<String> = match one["method"].as_str() {
                Some(method) => vec![method.to_owned()],
                // A path of one function alone: whatever method it has.
                None => {
                    taken.iter().filter(|(of, ..)| of == path).map(|(_, method, _)| method.clone()).collect()
                }
            };
            routed.extend(methods.into_iter().map(|method| (path.clone(), method, function.to_owned())));
        }
    }
    assert_eq!(routed, taken);
}
