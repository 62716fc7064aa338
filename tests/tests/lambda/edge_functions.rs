//! The generation platform's clients behind API Gateway: what they ask of the function `edge-functions`, each time of another copy of
//! it, and what becomes of it in the table.

use baton_model::{Scope, TokenSecret};
use baton_runtime::Clock as _;
use baton_store::{AuditFilter, AuditStore, PageRequest, TokenStore};
use baton_store_dynamodb::table::KeptBy;
use serde_json::{Value, json};

use crate::world::{World, admin, bearer, invoke, messages, request, seconds, send, token, vouched};

/// A project of the tests.
const PROJECT: &str = "51c00000-0000-4000-8000-000000000001";

/// A task's id by a number.
pub(crate) fn id(number: u32) -> String {
    format!("8b6e0000-0000-4000-8000-{number:012}")
}

/// A request as API Gateway hands it over, with these headers.
fn asked(method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let mut event = request(method, path, body);
    let context = event["requestContext"].as_object_mut().unwrap();
    context.remove("authorizer");
    let family = path.split('/').nth(1).unwrap();
    event["routeKey"] = json!(format!("ANY /{family}/v1/{{proxy+}}"));
    event["headers"]["host"] = json!("tasks.example");
    event["headers"]["x-forwarded-proto"] = json!("https");
    for (name, value) in headers {
        event["headers"][*name] = json!(value);
    }
    event
}

/// What a fresh copy of the function answers: the status and the body.
async fn answered(world: &World, event: &Value) -> (u64, String) {
    // On the heap: a test that asks often is otherwise more than a thread's stack holds.
    let host = world.function("edge-functions");
    let answer = Box::pin(invoke(&host, event)).await;
    (answer["statusCode"].as_u64().unwrap(), answer["body"].as_str().unwrap().to_owned())
}

/// A request with the operator's key.
pub(crate) async fn ask(world: &World, method: &str, path: &str, body: Value) -> (u64, Value) {
    let key = bearer(&admin().1);
    let preferred = [("authorization", key.as_str()), ("prefer", "return=representation,count=exact")];
    let event = asked(method, path, &preferred, &body);
    let (status, text) = Box::pin(answered(world, &event)).await;
    let told = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(json!(text)) };
    (status, told)
}

/// Calls a function that is to succeed.
pub(crate) async fn called(world: &World, name: &str, body: Value) -> Value {
    let (status, told) = ask(world, "POST", &format!("/functions/v1/{name}"), body.clone()).await;
    assert_eq!(status, 200, "{name} {body}: {told}");
    told
}

pub(crate) async fn create(world: &World, number: u32, more: Value) {
    let mut body = json!({"task_id": id(number), "task_type": "t", "params": {}, "project_id": PROJECT});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    called(world, "create-task", body).await;
}

/// Claims a task, which is to be this one.
pub(crate) async fn claim(world: &World, worker: &str, number: u32) {
    let told = called(world, "claim-next-task", json!({"worker_id": worker, "run_type": "gpu"})).await;
    assert_eq!(told["task_id"], id(number), "{told}");
}

async fn status(world: &World, number: u32) -> Value {
    called(world, "get-task-status", json!({"task_id": id(number)})).await["status"].clone()
}

/// What Baton itself has of a task's record.
async fn generations(world: &World, number: u32) -> Vec<Value> {
    let path = format!("/v1/generations?task_id={}", id(number));
    let (_, found) = send(&world.function("query-tasks"), "GET", &path, Value::Null).await;
    found["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn both_names_and_the_status_write_the_record_once_and_a_repetition_changes_nothing() {
    let world = World::new().await;
    for (number, name) in [(1, "complete_task"), (2, "complete-task"), (3, "update-task-status")] {
        create(&world, number, json!({})).await;
        claim(&world, "w1", number).await;
        let location = format!("https://cdn.example/{number}.mp4");
        let body = json!({"task_id": id(number), "output_location": location, "status": "Complete"});
        let ask = || called(&world, name, body.clone());
        // As a client whose first answer was lost, while the first request still runs.
        let (first, second) = tokio::join!(ask(), ask());
        let third = ask().await;
        for told in [&first, &second, &third] {
            assert_eq!(told["success"], true, "{name}: {told}");
        }
        assert_eq!(first["public_url"], third["public_url"], "{name}");
        assert_eq!(status(&world, number).await, "Complete");
        let found = generations(&world, number).await;
        assert_eq!((found.len(), &found[0]["location"]), (1, &json!(location)), "{name}");
    }
}

#[tokio::test]
async fn a_task_is_created_claimed_counted_read_put_back_and_done_by_copies_that_share_the_table_alone() {
    // As the template's table has it: what is counted trails behind, and is no reason to claim nothing.
    let world = World::with_statistics(KeptBy::Stream).await;
    create(&world, 1, json!({"params": {"prompt": "a boat"}})).await;
    let again =
        json!({"task_id": id(1), "task_type": "t", "params": {"prompt": "a boat"}, "project_id": PROJECT});
    assert_eq!(called(&world, "create-task", again).await["deduplicated"], true);
    world.clock.advance(seconds(1));
    create(&world, 2, json!({"dependant_on": [id(1)]})).await;
    let counts = json!({"run_type": "gpu", "include_active": true});
    let counted = async || called(&world, "task-counts", counts.clone()).await["totals"].clone();
    let totals = counted().await;
    assert_eq!((&totals["queued_only"], &totals["active_only"]), (&json!(1), &json!(0)), "{totals}");
    claim(&world, "w1", 1).await;
    let nothing = json!({"worker_id": "w2", "run_type": "gpu"});
    assert_eq!(ask(&world, "POST", "/functions/v1/claim-next-task", nothing).await, (204, Value::Null));
    let totals = counted().await;
    assert_eq!((&totals["queued_only"], &totals["active_only"]), (&json!(0), &json!(1)), "{totals}");
    let (_, rows) =
        ask(&world, "GET", "/rest/v1/tasks?select=id,status,worker_id&order=created_at.asc", Value::Null)
            .await;
    let expected = json!([
        {"id": id(1), "status": "In Progress", "worker_id": "w1"},
        {"id": id(2), "status": "Queued", "worker_id": null},
    ]);
    assert_eq!(rows, expected);
    let (_, mine) = ask(
        &world,
        "GET",
        "/rest/v1/tasks?select=id&worker_id=eq.w1&status=eq.In+Progress&limit=1",
        Value::Null,
    )
    .await;
    assert_eq!(mine, json!([{"id": id(1)}]));

    let back = json!({"task_id": id(1), "status": "Queued", "attempts": 1, "error_details": "no memory", "clear_worker": true});
    called(&world, "update-task-status", back).await;
    let told = called(&world, "claim-next-task", json!({"worker_id": "w2", "run_type": "gpu"})).await;
    assert_eq!((&told["task_id"], &told["attempts"]), (&json!(id(1)), &json!(1)));
    let late = json!({"task_id": id(1), "status": "Queued", "attempts": 1, "clear_worker": true});
    assert_eq!(
        ask(&world, "POST", "/functions/v1/update-task-status", late).await.0,
        409,
        "its first worker is late"
    );
    called(&world, "complete_task", json!({"task_id": id(1), "output_location": "https://x/a.mp4"})).await;
    let before = called(&world, "get-predecessor-output", json!({"task_id": id(2)})).await;
    assert_eq!(
        (&before["output_location"], &before["all_complete"]),
        (&json!("https://x/a.mp4"), &json!(true))
    );
    claim(&world, "w2", 2).await;
    let failed = json!({"task_id": id(2), "status": "Failed", "error_details": "no"});
    called(&world, "update-task-status", failed).await;
    assert_eq!(status(&world, 2).await, "Failed");
    let reset = json!({"status": "Queued", "worker_id": null, "error_message": "once more"});
    let (_, rows) = ask(&world, "PATCH", &format!("/rest/v1/tasks?id=eq.{}", id(2)), reset).await;
    assert_eq!(rows[0]["status"], "Queued", "{rows}");
    let entries =
        world.store().await.audit(AuditFilter::default(), PageRequest::first(10)).await.unwrap().items;
    assert_eq!(
        entries.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["edge_functions.update"]
    );
    assert_eq!(entries[0].token, Some(admin().0.id));
}

#[tokio::test]
async fn an_orchestrator_ends_with_its_last_child_whichever_copy_hears_of_it() {
    let world = World::new().await;
    let details = json!({"orchestrator_details": {"num_new_segments_to_generate": 2}});
    create(&world, 1, json!({"task_type": "travel_orchestrator", "params": details})).await;
    claim(&world, "w1", 1).await;
    for number in [2, 3] {
        let params = json!({"orchestrator_task_id_ref": id(1), "segment_index": number});
        create(&world, number, json!({"task_type": "travel_segment", "params": params})).await;
        claim(&world, &format!("w{number}"), number).await;
    }
    let done = |number: u32| {
        called(
            &world,
            "complete_task",
            json!({"task_id": id(number), "output_location": format!("https://x/{number}.mp4")}),
        )
    };
    tokio::join!(done(2), done(3));
    let told = called(&world, "get-orchestrator-children", json!({"orchestrator_task_id": id(1)})).await;
    assert_eq!(told["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(status(&world, 1).await, "Complete");
    assert_eq!(generations(&world, 1).await.len(), 1);
}

#[tokio::test]
async fn a_crashed_worker_gives_its_task_back_at_once_and_its_lines_are_kept() {
    let world = World::new().await;
    create(&world, 1, json!({})).await;
    claim(&world, "w1", 1).await;
    let beat = |status: &str| {
        json!({"worker_id_param": "w1", "vram_total_mb_param": 24_576, "vram_used_mb_param": 1, "status_param": status,
            "logs_param": [{"timestamp": "2026-02-02T02:40:00Z", "level": "INFO", "message": status}]})
    };
    let key = admin().1.reveal();
    for (word, requeued) in [("active", 0), ("crashed", 1)] {
        // With the key as `apikey` alone, as curl sends it.
        let path = "/rest/v1/rpc/func_worker_heartbeat_with_logs";
        let (status, text) = answered(&world, &asked("POST", path, &[("apikey", &key)], &beat(word))).await;
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &told["success"], &told["crash_requeued_tasks"]),
            (200, &json!(true), &json!(requeued)),
            "{told}"
        );
        world.clock.advance(seconds(1));
    }
    assert_eq!(status(&world, 1).await, "Queued");
    let (_, rows) = ask(
        &world,
        "GET",
        "/rest/v1/system_logs?select=message&source_id=eq.w1&order=timestamp.asc",
        Value::Null,
    )
    .await;
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
}

#[tokio::test]
async fn callers_are_known_by_their_keys_and_refused_in_the_platforms_words() {
    let world = World::new().await;
    let create = json!({"task_type": "t", "params": {}, "project_id": PROJECT});
    let wrong = bearer(&TokenSecret::new(admin().0.id, [8; TokenSecret::BYTES]));
    for (key, expected) in [(None, 401), (Some(wrong.as_str()), 403)] {
        let headers: Vec<(&str, &str)> = key.map(|key| ("authorization", key)).into_iter().collect();
        for (path, body, code) in [
            ("/functions/v1/create-task", &create, "authentication_failed"),
            ("/rest/v1/tasks", &create, "42501"),
            ("/functions/v1/claim-next-task", &json!({"worker_id": "w"}), ""),
        ] {
            let (status, text) = answered(&world, &asked("POST", path, &headers, body)).await;
            assert_eq!(status, expected, "{path}: {text}");
            assert!(text.contains(code) && text.starts_with('{') != code.is_empty(), "{path}: {text}");
        }
    }
    // Nobody vouches for a caller here, whatever stands in the event.
    let mut event = asked("POST", "/functions/v1/create-task", &[], &create);
    event["requestContext"]["authorizer"] = json!({"lambda": vouched(&admin().0)});
    assert_eq!(answered(&world, &event).await.0, 401);
    assert!(world.items().await.keys().all(|(pk, _)| !pk.starts_with("T#")), "nothing was created");

    // A key of another system, which was taken over; its use is noted before the answer.
    let key = "an-old.service-key.of-another-system";
    let body = json!({"name": "old", "scopes": ["producer", "worker"], "secret": key});
    let (made, token) = send(&world.function("manage-tokens"), "POST", "/v1/tokens", body).await;
    assert_eq!(made, 201, "{token}");
    let event = asked("POST", "/functions/v1/create_task", &[("apikey", key)], &create);
    assert_eq!(answered(&world, &event).await.0, 200);
    let stored =
        world.store().await.token(token["token"]["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(stored.unwrap().token.last_used_at, Some(world.clock.now()));
    // A producer's key claims nothing.
    let (producer, secret) = self::token(baton_model::TokenId::from_bytes([9; 16]), "p", Scope::Producer);
    world.keep((producer, secret.clone())).await;
    let key = bearer(&secret);
    let event = asked(
        "POST",
        "/functions/v1/claim-next-task",
        &[("authorization", &key)],
        &json!({"worker_id": "w"}),
    );
    assert_eq!(answered(&world, &event).await.0, 403);
}

#[tokio::test]
async fn what_is_open_is_open_and_other_methods_and_paths_are_refused_as_the_platform_does() {
    let world = World::new().await;
    let host = world.function("edge-functions");
    let preflight = invoke(&host, &asked("OPTIONS", "/functions/v1/create-task", &[], &json!({}))).await;
    assert_eq!(
        (&preflight["statusCode"], &preflight["headers"]["access-control-allow-origin"]),
        (&json!(200), &json!("*"))
    );
    for (method, path, expected) in [
        ("GET", "/functions/v1/create-task", 405),
        ("POST", "/functions/v1/unknown", 404),
        ("GET", "/rest/v1/unknown", 404),
    ] {
        assert_eq!(ask(&world, method, path, json!({})).await.0, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn files_are_refused_with_what_to_do_instead_and_the_task_is_left_as_it_was() {
    let world = World::new().await;
    create(&world, 1, json!({})).await;
    claim(&world, "w1", 1).await;
    let body = json!({"task_id": id(1), "file_data": "aGVsbG8=", "filename": "out.mp4"});
    let upload = json!({"task_id": id(1), "filename": "out.mp4", "content_type": "video/mp4"});
    for (method, path, body) in [
        ("POST", "/functions/v1/complete_task", body),
        ("POST", "/functions/v1/complete_task", json!({"task_id": id(1), "storage_path": "u/a.mp4"})),
        ("POST", "/functions/v1/generate-upload-url", upload),
        ("POST", "/storage/v1/object/image_uploads/a.png", json!("bytes")),
        ("GET", "/storage/v1/object/public/image_uploads/a.png", Value::Null),
    ] {
        let (status, told) = ask(&world, method, path, body).await;
        assert_eq!((status, &told["error"]), (501, &json!("NotImplemented")), "{path}: {told}");
        assert!(told["message"].as_str().unwrap().contains("output_location"), "{told}");
    }
    assert_eq!(status(&world, 1).await, "In Progress");
}

#[tokio::test]
async fn what_it_makes_is_told_and_counted_as_what_other_functions_make() {
    let world = World::new().await;
    // Somebody waits for tasks of the queue: what is made for it rings.
    let waits = json!({"worker_id": "idle", "queues": ["gpu"]});
    send(&world.function("claim-task"), "POST", "/v1/claims", waits).await;
    create(&world, 1, json!({})).await;
    let rings = world.queues.visible(crate::world::READY);
    assert_eq!(rings.len(), 1, "{rings:?}");
    let (_, queue) = send(&world.function("query-tasks"), "GET", "/v1/queues/gpu", Value::Null).await;
    assert_eq!(queue["queued"], 1, "{queue}");
    // It takes no other trigger.
    let host = world.function("edge-functions");
    let event = messages(&[("m".into(), "{}".into())]).to_string();
    assert!(host.handle(&event, &crate::world::invocation("i")).await.is_err());
}
