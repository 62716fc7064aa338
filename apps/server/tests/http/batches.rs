//! Batches over HTTP: handed in, told of, sealed, and followed by a task.

use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn hand_in(world: &World, batch: Value, tasks: Value) -> Answer {
    world.post("/v1/tasks/batch", json!({"batch": batch, "tasks": tasks})).await
}

fn id_of(answer: &Value) -> String {
    answer["batch_id"].as_str().unwrap().to_owned()
}

async fn complete(world: &World, worker: &str, task: &Value) {
    let path = format!("/v1/tasks/{}/complete", task["id"].as_str().unwrap());
    assert_eq!(world.post(&path, json!({"worker_id": worker, "attempt": task["attempt"]})).await.status, 200);
}

#[tokio::test]
async fn a_batch_tells_how_far_it_is_and_is_followed_by_a_task() {
    let world = World::new();
    let then =
        json!({"on": "ended", "task": {"type": "report", "queue": "reports", "params": {"to": "ada"}}});
    let batch = json!({"name": "frames", "then": then});
    let answer = hand_in(&world, batch, json!([{"type": "render"}, {"type": "render"}])).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = id_of(&answer.json());
    let path = format!("/v1/batches/{id}");
    let shown = world.get(&path).await.json();
    assert_eq!(
        (&shown["name"], &shown["state"], &shown["tasks"]),
        (&json!("frames"), &json!("running"), &json!(2))
    );
    assert_eq!(shown["doing"], json!({"blocked": 0, "queued": 2, "running": 0}));
    assert_eq!(shown["then"], json!({"on": "ended", "type": "report", "queue": "reports"}));

    let first = world.claim("w1").await;
    assert_eq!(first["batch_id"], id.as_str());
    complete(&world, "w1", &first).await;
    let second = world.claim("w1").await;
    let failure =
        json!({"worker_id": "w1", "attempt": 1, "retryable": false, "error": {"message": "no light"}});
    world.post(&format!("/v1/tasks/{}/fail", second["id"].as_str().unwrap()), failure).await;
    let shown = world.get(&path).await.json();
    assert_eq!(
        (&shown["state"], &shown["unfinished"], shown.get("doing")),
        (&json!("failed"), &json!(0), None)
    );
    assert_eq!(shown["first_failures"][0]["task_id"], second["id"]);
    assert_eq!(shown["first_failures"][0]["error"]["message"], "no light");
    let then = shown["then"]["task_id"].as_str().unwrap();
    let task = world.task(then).await["task"].clone();
    assert_eq!((&task["params"]["to"], &task["params"]["batch"]["failed"]), (&json!("ada"), &json!(1)));
    assert_eq!(task["queue"], "reports");
    let listed = world.get("/v1/batches").await.json();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["completed"]), (&json!(id), &json!(1)));
}

#[tokio::test]
async fn a_big_batch_is_handed_in_by_several_requests_and_sealed() {
    let world = World::new();
    let id = "01980a6e-5b7c-7cc3-98c4-dc0c0c0739ba";
    let more = || hand_in(&world, json!({"id": id, "seal": false}), json!([{"type": "render"}]));
    for tasks in 1..=2 {
        assert_eq!(more().await.status, 201);
        let shown = world.get(&format!("/v1/batches/{id}")).await.json();
        assert_eq!((&shown["state"], &shown["tasks"]), (&json!("open"), &json!(tasks)));
    }
    let sealed = world.post(&format!("/v1/batches/{id}/seal"), json!({})).await.json();
    assert_eq!((&sealed["state"], &sealed["tasks"]), (&json!("running"), &json!(2)));
    more().await.problem(409, "batch_sealed");
    hand_in(&world, json!({"id": id, "name": "other"}), json!([{"type": "render"}]))
        .await
        .problem(409, "batch_conflict");
    world.get("/v1/batches/01980a6e-5b7c-7cc3-98c4-dc0c0c0739bb").await.problem(404, "batch_not_found");
}

#[tokio::test]
async fn the_same_request_is_the_same_batch() {
    let world = World::new();
    let send = async || {
        let body = json!({"batch": {"name": "frames"}, "tasks": [{"type": "render"}]});
        let request = http::Request::post("/v1/tasks/batch")
            .header("content-type", "application/json")
            .header("idempotency-key", "night-7")
            .body(axum::body::Body::from(body.to_string()));
        world.send(request.unwrap()).await.json()
    };
    let (first, again) = (send().await, send().await);
    assert_eq!(first, again);
    assert_eq!(world.get(&format!("/v1/batches/{}", id_of(&first))).await.json()["tasks"], 1);
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_by_its_field_and_leaves_nothing() {
    let world = World::new();
    let task = || json!([{"type": "render"}]);
    for (batch, tasks, field) in [
        (json!({"id": "x"}), task(), "batch.id"),
        (json!({"seal": 1}), task(), "batch.seal"),
        (json!({"color": "red"}), task(), "batch.color"),
        (json!({"then": {"on": "ended"}}), task(), "batch.then.task"),
        (json!({"then": {"on": "soon", "task": {"type": "a"}}}), task(), "batch.then.on"),
        (json!({"then": {"task": {"type": "a", "unique": {"key": "k"}}}}), task(), "batch.then.task.unique"),
        (json!({"then": {"task": {"type": "a", "params": 7}}}), task(), "batch.then.task.params"),
        (json!({"project": "film"}), json!([{"type": "a", "project": "game"}]), "tasks[0].project"),
    ] {
        let problem = hand_in(&world, batch.clone(), tasks).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field, "{batch}: {problem}");
    }
    assert_eq!(world.get("/v1/batches").await.json()["items"], json!([]));
    assert_eq!(world.get("/v1/tasks").await.json()["items"], json!([]));
    let shown = hand_in(&world, json!({"project": "film"}), task()).await.json();
    let made = shown["items"][0]["task"]["id"].as_str().unwrap().to_owned();
    assert_eq!(world.task(&made).await["task"]["project"], "film", "its tasks are of its project");
}

#[tokio::test]
async fn a_tenant_sees_its_own_batches_and_a_token_of_queues_none() {
    let world = World::with(&[("tokens.required", "always")]);
    let film = world.with_token(json!({"project": "film"})).await;
    let game = world.with_token(json!({"project": "game"})).await;
    let queues = world.with_token(json!({"queues": ["default"]})).await;
    let id = id_of(&hand_in(&film, json!({"seal": false}), json!([{"type": "render"}])).await.json());
    let path = format!("/v1/batches/{id}");
    assert_eq!(film.get(&path).await.json()["project"], "film");
    assert_eq!(film.get("/v1/batches").await.json()["items"].as_array().unwrap().len(), 1);
    game.get(&path).await.problem(404, "batch_not_found");
    game.post(&format!("{path}/seal"), json!({})).await.problem(404, "batch_not_found");
    assert_eq!(game.get("/v1/batches").await.json()["items"], json!([]));
    game.get("/v1/batches?project=film").await.problem(403, "outside_grant");
    hand_in(&game, json!({"id": id}), json!([{"type": "render"}])).await.problem(409, "batch_conflict");
    hand_in(&game, json!({"project": "film"}), json!([{"type": "render"}]))
        .await
        .problem(403, "outside_grant");
    for answer in [
        queues.get(&path).await,
        queues.get("/v1/batches").await,
        hand_in(&queues, json!({}), json!([{"type": "render"}])).await,
    ] {
        answer.problem(403, "outside_grant");
    }
    let outside = json!({"then": {"task": {"type": "report", "queue": "reports"}}});
    assert_eq!(hand_in(&film, outside, json!([{"type": "render"}])).await.status, 201);
}
