//! Creating tasks over HTTP.

use crate::world::{self, World};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

const ID: &str = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";

#[tokio::test]
async fn a_task_is_created_as_asked() {
    let world = World::new();
    let task = json!({
        "type": "resize", "queue": "gpu", "project": "site", "priority": "high", "params": {"width": 7, "a": [1.50]},
        "description": "A picture", "domain": "Über", "drift_score": 0.25, "assigned_by": "ana",
        "max_attempts": 5, "timeout_seconds": 1.5, "backoff": {"base_seconds": 2, "jitter": 0},
    });
    let answer = world.post("/v1/tasks", task).await;
    assert_eq!(answer.status, 201);
    let created = answer.json();
    assert_eq!(created["status"], "queued");
    let shown = world.task(created["id"].as_str().unwrap()).await;
    for (field, value) in [
        ("type", json!("resize")),
        ("queue", json!("gpu")),
        ("project", json!("site")),
        ("priority", json!("high")),
        ("params", json!({"width": 7, "a": [1.5]})),
        ("description", json!("A picture")),
        ("domain", json!("Über")),
        ("drift_score", json!(0.25)),
        ("assigned_by", json!("ana")),
        ("max_attempts", json!(5)),
        ("timeout_seconds", json!(1.5)),
        ("attempt", json!(0)),
        ("status", json!("queued")),
    ] {
        assert_eq!(shown["task"][field], value, "{field}");
    }
    assert_eq!(shown["history"].as_array().unwrap().len(), 1);
    assert_eq!(shown["history"][0]["kind"], "created");
}

#[tokio::test]
async fn a_task_for_later_shows_as_created() {
    let world = World::new();
    let answer = world.post("/v1/tasks", json!({"type": "a", "delay_seconds": 60})).await.json();
    assert_eq!(answer["status"], "created");
    let answer =
        world.post("/v1/tasks", json!({"type": "a", "run_after": "2030-01-01T00:00:00Z"})).await.json();
    assert_eq!(
        (&answer["status"], &answer["run_after"]),
        (&json!("created"), &json!("2030-01-01T00:00:00.000Z"))
    );
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = World::new();
    let task = json!({
        "id": "x", "queue": "a b", "priority": "urgent", "params": 1e3, "description": 7, "domain": "", "colour": 1,
        "drift_score": "0", "max_attempts": 0, "timeout_seconds": -1, "run_after": "soon", "delay_seconds": 1,
        "backoff": {"factor": 0.5, "x": 1},
    });
    let mut fields = world.post("/v1/tasks", task).await.wrong_fields();
    fields.sort();
    let mut expected = [
        "backoff.factor",
        "backoff.x",
        "colour",
        "delay_seconds",
        "description",
        "domain",
        "drift_score",
        "id",
        "max_attempts",
        "priority",
        "queue",
        "run_after",
        "timeout_seconds",
        "type",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    let stats = world.get("/v1/stats").await.json();
    assert_eq!(stats["states"]["waiting"], 0, "nothing was created");
}

async fn keyed(world: &World, path: &str, key: &str, body: Value) -> world::Answer {
    let request =
        Request::post(path).header("content-type", "application/json").header("idempotency-key", key);
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_repeated_request_creates_nothing_and_answers_the_same() {
    let world = World::new();
    let first =
        keyed(&world, "/v1/tasks", "order-17", json!({"type": "a", "params": {"x": 1, "y": 2}})).await;
    world.advance(std::time::Duration::from_secs(3_600));
    let again =
        keyed(&world, "/v1/tasks", "order-17", json!({"params": {"y": 2, "x": 1}, "type": "a"})).await;
    assert_eq!((first.status, again.status), (http::StatusCode::CREATED, http::StatusCode::CREATED));
    assert_eq!(first.text(), again.text());
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    keyed(&world, "/v1/tasks", "order-17", json!({"type": "b"})).await.problem(409, "idempotency_conflict");
    // Another route does not share the key.
    let batch = keyed(&world, "/v1/tasks/batch", "order-17", json!({"tasks": [{"type": "b"}]})).await;
    assert_eq!(batch.status, 201);
    assert_eq!(world.get("/v1/stats").await.json()["states"]["waiting"], 2);
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_refused() {
    let world = World::new();
    for key in ["", "a b", "a/b", &"x".repeat(129)] {
        let fields = keyed(&world, "/v1/tasks", key, json!({"type": "a"})).await.wrong_fields();
        assert_eq!(fields, ["Idempotency-Key (header)"], "{key:?}");
    }
    let twice = Request::post("/v1/tasks").header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(world.send(twice.body(Body::empty()).unwrap()).await.status, 422);
}

#[tokio::test]
async fn a_chosen_id_counts_once() {
    let world = World::new();
    let first = world.post("/v1/tasks", json!({"id": ID, "type": "a"})).await;
    let again = world.post("/v1/tasks", json!({"id": ID, "type": "a"})).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.text(), again.text());
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let problem =
        world.post("/v1/tasks", json!({"id": ID, "type": "b"})).await.problem(409, "task_id_conflict");
    assert_eq!(problem["errors"][0]["field"], "id");
}

#[tokio::test]
async fn numbers_beyond_64_bits_are_told_apart_by_id_key_and_completion() {
    const WEI: [&str; 2] = ["10000000000000000000000000000001", "10000000000000000000000000000002"];
    let world = World::new();
    let chosen = |wei: &str| format!(r#"{{"id":"{ID}","type":"pay","params":{{"wei":{wei}}}}}"#);
    assert_eq!(world.post_text("/v1/tasks", chosen(WEI[0])).await.status, 201);
    world.post_text("/v1/tasks", chosen(WEI[1])).await.problem(409, "task_id_conflict");
    let again = world.post_text("/v1/tasks", chosen("10000000000000000000000000000001.0")).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");

    for (path, body) in [
        ("/v1/tasks", r#"{"type":"pay","queue":"other","params":{"wei":WEI}}"#),
        ("/v1/tasks/batch", r#"{"tasks":[{"type":"pay","queue":"other","params":{"wei":WEI}}]}"#),
    ] {
        let send = async |wei: &str| {
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.header("idempotency-key", "pay-1");
            world.send(request.body(Body::from(body.replace("WEI", wei))).unwrap()).await
        };
        assert_eq!(send(WEI[0]).await.status, 201);
        send(WEI[1]).await.problem(409, "idempotency_conflict");
        assert_eq!(send(WEI[0]).await.headers["idempotency-replayed"], "true");
    }

    world.claim("w").await;
    let path = format!("/v1/tasks/{ID}/complete");
    let complete = |wei: &str| format!(r#"{{"worker_id":"w","attempt":1,"result":{{"wei":{wei}}}}}"#);
    assert_eq!(world.post_text(&path, complete(WEI[0])).await.status, 200);
    world.post_text(&path, complete(WEI[1])).await.problem(409, "completed_differently");
    assert_eq!(world.post_text(&path, complete(WEI[0])).await.status, 200);
    let shown = world.get(&format!("/v1/tasks/{ID}")).await.text();
    assert_eq!(shown.matches(WEI[0]).count(), 2, "kept to the last digit: {shown}");
}

#[tokio::test]
async fn an_atomic_batch_is_created_whole_or_not_at_all() {
    let world = World::new();
    world.create(json!({"id": ID, "type": "a"})).await;
    let wrong = json!({"tasks": [{"type": "a"}, {"type": "a", "priority": "urgent"}, {"x": 1}, 7]});
    let fields = world.post("/v1/tasks/batch", wrong).await.wrong_fields();
    assert_eq!(fields, ["tasks[1].priority", "tasks[2].type", "tasks[2].x", "tasks[3]"]);
    let taken = json!({"tasks": [{"type": "a"}, {"id": ID, "type": "b"}]});
    let problem = world.post("/v1/tasks/batch", taken).await.problem(409, "batch_refused");
    assert_eq!(problem["errors"][0]["field"], "tasks[1].id");
    assert_eq!(world.get("/v1/stats").await.json()["states"]["waiting"], 1);

    let good = world.post("/v1/tasks/batch", json!({"tasks": [{"type": "a"}, {"type": "b"}]})).await;
    assert_eq!(good.status, 201);
    let good = good.json();
    assert_eq!((&good["accepted"], &good["refused"]), (&json!(2), &json!(0)));
    assert_eq!(good["items"][1]["index"], 1);
    assert_eq!(world.task(good["items"][1]["task"]["id"].as_str().unwrap()).await["task"]["type"], "b");
}

#[tokio::test]
async fn a_batch_that_is_not_atomic_tells_of_each_task_in_order() {
    let world = World::new();
    world.create(json!({"id": ID, "type": "a"})).await;
    let tasks =
        json!([{"type": "a"}, {"typ": "a"}, {"id": ID, "type": "b"}, {"id": ID, "type": "a"}, {"type": "c"}]);
    let answer = world.post("/v1/tasks/batch", json!({"atomic": false, "tasks": tasks})).await;
    assert_eq!(answer.status, 200);
    let answer = answer.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(3), &json!(2)), "{answer}");
    let codes: Vec<_> =
        (0..5).map(|i| answer["items"][i]["problem"]["code"].as_str().unwrap_or("-")).collect();
    assert_eq!(codes, ["-", "invalid_fields", "task_id_conflict", "-", "-"]);
    let errors = &answer["items"][1]["problem"]["errors"];
    assert_eq!((&errors[0]["field"], &errors[1]["field"]), (&json!("tasks[1].type"), &json!("tasks[1].typ")));
    assert_eq!(answer["items"][3]["task"]["id"], ID);
    assert_eq!(world.get("/v1/stats").await.json()["states"]["waiting"], 3);
}

#[tokio::test]
async fn a_batch_that_is_repeated_answers_the_same() {
    let world = World::new();
    let body = json!({"atomic": false, "tasks": [{"type": "a"}, {"typ": "a"}, {"type": "b"}]});
    let first = keyed(&world, "/v1/tasks/batch", "k", body.clone()).await;
    let again = keyed(&world, "/v1/tasks/batch", "k", body).await;
    assert_eq!(first.text(), again.text());
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(world.get("/v1/stats").await.json()["states"]["waiting"], 2);
}

#[tokio::test]
async fn a_batch_has_1_to_1000_tasks() {
    let world = World::new();
    let of = |n: usize| json!({"tasks": vec![json!({"type": "a"}); n]});
    assert_eq!(world.post("/v1/tasks/batch", of(0)).await.wrong_fields(), ["tasks"]);
    assert_eq!(world.post("/v1/tasks/batch", of(1_001)).await.wrong_fields(), ["tasks"]);
    assert_eq!(world.post("/v1/tasks/batch", of(1_000)).await.json()["accepted"], 1_000);
    assert_eq!(world.post("/v1/tasks/batch", json!({"atomic": 1})).await.wrong_fields().len(), 2);
}
