//! What surrounds the handlers: panics, deadlines, failures of the store, events of the wrong shape.

use std::time::Instant;

use baton_http::App;
use baton_lambda::Invocation;
use baton_lambda::{Function, Host};
use baton_model::Timestamp;
use baton_runtime::Clock;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::world::{World, again, invocation, invoke, messages, request, seconds, send};

fn panicking() -> OpenApiRouter<App> {
    async fn panics() {
        panic!("as a test asks");
    }
    OpenApiRouter::default().route("/livez", axum::routing::get(panics))
}

#[tokio::test]
async fn a_panic_fails_one_request_or_one_message_and_the_next_is_served() {
    let world = World::new().await;
    let function = Function::new("create-task", panicking).messages(
        |queues| queues.submissions_dead.clone(),
        |app, message| async move {
            assert!(message.body.contains("type"), "as a test asks");
            baton_create_task::submit(&app, &message).await
        },
    );
    let host = world.host(function);
    let (status, problem) = send(&host, "GET", "/livez", Value::Null).await;
    assert_eq!((status, &problem["code"]), (500, &json!("internal")));
    let event = messages(&[("bad".into(), "{}".into()), ("good".into(), json!({"type": "a"}).to_string())]);
    assert_eq!(again(&invoke(&host, &event).await), ["bad"]);
    assert_eq!(send(&host, "GET", "/nowhere", Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_claim_is_answered_before_its_function_is_killed() {
    let world = World::new().await;
    let claim = world.function("claim-task");
    let event = request("POST", "/v1/claims", &json!({"worker_id": "w", "wait_seconds": 20}));
    let deadline = Some(world.clock.now().plus(seconds(1)));
    let began = Instant::now();
    let invocation = Invocation { deadline, ..invocation("lambda-1") };
    let answer = claim.handle(&event.to_string(), &invocation).await.unwrap();
    assert_eq!(serde_json::to_value(answer).unwrap()["statusCode"], 408);
    assert!(began.elapsed() < seconds(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_deadline_of_1970_is_none() {
    let world = World::new().await;
    let event = request("POST", "/v1/tasks", &json!({"type": "a"}));
    let invocation = Invocation { deadline: Some(Timestamp::from_millis(0)), ..invocation("lambda-1") };
    let answer = world.function("create-task").handle(&event.to_string(), &invocation).await.unwrap();
    assert_eq!(serde_json::to_value(answer).unwrap()["statusCode"], 201);
}

#[tokio::test]
async fn an_event_of_another_shape_fails_with_what_was_expected() {
    let world = World::new().await;
    let create = world.function("create-task");
    for (event, told) in [
        (json!({}), "expected an event that create-task takes, got an event of another shape"),
        (json!({"Records": [{"eventSource": "aws:dynamodb"}]}), "got records of a stream"),
        (json!({"Records": [{"eventSource": "aws:s3"}]}), "expected records of aws:sqs or aws:dynamodb"),
    ] {
        let error = create.handle(&event.to_string(), &invocation("lambda-1")).await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_tried_again_by_the_next_event() {
    let world = World::new().await;
    let clock = std::sync::Arc::clone(&world.clock) as std::sync::Arc<dyn Clock>;
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&tries);
    let opening = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Box::pin(async { Err(baton_store::StoreError::Unavailable("no way through".into())) }) as _
    };
    let host = Host::new(Function::new("query-tasks", baton_query_tasks::router), clock, Box::new(opening))
        .metrics_to(|_| {});
    for tried in 1..=2 {
        let (status, problem) = send(&host, "GET", "/v1/tasks", Value::Null).await;
        assert_eq!((status, &problem["code"]), (503, &json!("storage_unavailable")));
        assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), tried);
    }
}

#[tokio::test]
async fn an_answer_has_the_id_that_the_access_log_has_unless_its_caller_named_one() {
    let world = World::new().await;
    let create = world.function("create-task");
    let mut event = request("POST", "/v1/tasks", &json!({"type": "a"}));
    assert_eq!(invoke(&create, &event).await["headers"]["x-request-id"], "lambda-1");
    event["requestContext"]["requestId"] = json!("JKJaXmPLvHcESHA=");
    assert_eq!(invoke(&create, &event).await["headers"]["x-request-id"], "JKJaXmPLvHcESHA");
    event["headers"]["x-request-id"] = json!("mine");
    assert_eq!(invoke(&create, &event).await["headers"]["x-request-id"], "mine");
}

#[tokio::test]
async fn the_reaper_tells_how_many_machines_each_pool_should_have() {
    let world = World::new().await;
    *world.pools.lock().unwrap() =
        json!([{"name": "gpu", "queues": ["a", "b"], "most": 5, "tasks_per_machine": 2}, {"name": "cpu", "queues": ["c"]}])
            .to_string();
    let (create, reap) = (world.function("create-task"), world.function("reap-stale-workers"));
    let round = json!({"source": "aws.scheduler"});
    let told = |world: &World| {
        let lines = world.metrics.lock().unwrap().clone();
        let of_pools = lines.into_iter().filter(|line| line["Pool"].is_string());
        of_pools.map(|line| json!([line["Table"], line["Pool"], line["WantedMachines"]])).collect::<Vec<_>>()
    };
    invoke(&reap, &round).await;
    assert_eq!(told(&world), [json!(["baton-tasks", "cpu", 0.0]), json!(["baton-tasks", "gpu", 0.0])]);
    for queue in ["a", "a", "b"] {
        send(&create, "POST", "/v1/tasks", json!({"type": "a", "queue": queue})).await;
    }
    invoke(&reap, &round).await;
    assert_eq!(told(&world)[2..], [json!(["baton-tasks", "cpu", 0.0]), json!(["baton-tasks", "gpu", 2.0])]);
}

#[tokio::test]
async fn the_reaper_tells_what_alarms_listen_to_also_if_there_is_nothing() {
    let world = World::new().await;
    let (create, reap) = (world.function("create-task"), world.function("reap-stale-workers"));
    let round = json!({"source": "aws.scheduler"});
    invoke(&reap, &round).await;
    for queue in ["a", "b"] {
        send(&create, "POST", "/v1/tasks", json!({"type": "a", "queue": queue})).await;
        world.clock.advance(seconds(10));
    }
    send(&world.function("claim-task"), "POST", "/v1/claims", json!({"worker_id": "w", "queues": ["a"]}))
        .await;
    world.clock.advance(seconds(80));
    invoke(&reap, &round).await;
    let told = world.metrics.lock().unwrap().clone();
    let told: Vec<_> = told.iter().filter(|line| line["Route"] == "schedule").collect();
    let values = |place: usize| {
        let line = told[place];
        let declared = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&line["Table"], &declared["Dimensions"]), (&json!("baton-tasks"), &json!([["Table"]])));
        (line["OldestReadySeconds"].as_f64().unwrap(), line["WorkersLost"].as_f64().unwrap())
    };
    assert_eq!(values(0), (0.0, 0.0));
    assert_eq!(values(1), (90.0, 1.0), "before the round, which makes a task of `a` ready again");

    // Once the time is believed. Nothing removes what has ended in this engine, so that the probe of the first round stays.
    for _ in 0..4 {
        world.clock.advance(seconds(1_800));
        invoke(&reap, &round).await;
    }
    let told = world.metrics.lock().unwrap().clone();
    let overdue: Vec<_> = told.iter().filter_map(|line| line["OldestOverdueSeconds"].as_f64()).collect();
    assert!(overdue.len() >= 2 && overdue[0] == 0.0 && overdue[1] >= 1_799.0, "{overdue:?}");
}

#[tokio::test]
async fn an_invocation_tells_what_it_did_as_far_as_aws_does_not_count_it() {
    let world = World::new().await;
    let (create, query) = (world.function("create-task"), world.function("query-tasks"));
    send(&query, "GET", "/v1/tasks", Value::Null).await;
    assert_eq!(world.metrics.lock().unwrap().len(), 0, "Lambda counts invocations");
    let letters = messages(&[("m".into(), "{".into()), ("n".into(), json!({"type": "a"}).to_string())]);
    invoke(&create, &letters).await;
    let told = world.metrics.lock().unwrap().clone();
    let metric = |place: usize, name: &str| told[place].get(name).and_then(Value::as_u64);
    assert_eq!((&told[0]["Function"], &told[0]["Route"]), (&json!("create-task"), &json!("queue")));
    assert_eq!((metric(0, "DeadLettered"), metric(0, "Errors")), (Some(1), None));
}

#[tokio::test]
async fn what_is_damaged_is_a_metric_of_the_table_whichever_function_meets_it() {
    let world = World::new().await;
    let (create, query) = (world.function("create-task"), world.function("query-tasks"));
    for _ in 0..2 {
        send(&create, "POST", "/v1/tasks", json!({"type": "a"})).await;
    }
    let damaged = || {
        let told = world.metrics.lock().unwrap().last().cloned().unwrap_or_default();
        let declared = told["_aws"]["CloudWatchMetrics"].as_array().and_then(|all| all.last().cloned());
        (told["DamagedItems"].as_f64(), declared.unwrap_or_default()["Dimensions"].clone())
    };
    let (_, listed) = send(&query, "GET", "/v1/tasks", Value::Null).await;
    assert_eq!((listed["items"].as_array().unwrap().len(), damaged().0), (2, None));
    world.spoil(listed["items"][0]["id"].as_str().unwrap(), "st").await;
    let (_, listed) = send(&query, "GET", "/v1/tasks", Value::Null).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(damaged(), (Some(1.0), json!([["Table"]])));
}
