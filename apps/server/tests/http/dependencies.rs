//! Tasks that wait for others, over HTTP.

use serde_json::{Value, json};

use crate::world::World;

/// Claims one task and completes it with this output.
async fn complete_next(world: &World, output: Value) -> Value {
    let claimed = world.post("/v1/claims", json!({"worker_id": "w1"})).await.json()["tasks"][0].clone();
    let mut body = output;
    body["worker_id"] = json!("w1");
    body["attempt"] = claimed["attempt"].clone();
    let id = claimed["id"].as_str().unwrap();
    assert_eq!(world.post(&format!("/v1/tasks/{id}/complete"), body).await.status, 200);
    claimed
}

/// Creates a batch that must be taken; the ids of its tasks.
async fn batch(world: &World, tasks: Value) -> Vec<String> {
    let answer = world.post("/v1/tasks/batch", json!({"tasks": tasks})).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["task"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_graph_is_created_by_its_refs_and_brings_its_inputs_along() {
    let world = World::new();
    let ids = batch(
        &world,
        json!([
            {"type": "stitch", "ref": "film", "depends_on": ["left", "right"]},
            {"type": "segment", "ref": "left"},
            {"type": "segment", "ref": "right", "depends_on": ["left"]},
        ]),
    )
    .await;
    assert_eq!(world.task(&ids[0]).await["task"]["status"], "blocked");
    assert_eq!(world.task(&ids[0]).await["task"]["depends_on"], json!([ids[1], ids[2]]));
    let first = complete_next(&world, json!({"location": "s3://left", "result": {"frames": 7}})).await;
    assert_eq!((&first["id"], &first["inputs"]), (&json!(ids[1]), &Value::Null));
    let large = "x".repeat(2_000);
    complete_next(&world, json!({"location": "s3://right", "kind": "video/mp4", "result": large})).await;
    let last = complete_next(&world, json!({})).await;
    assert_eq!(last["id"], json!(ids[0]));
    let inputs = &last["inputs"];
    assert_eq!(inputs[0]["task_id"], json!(ids[1]));
    assert_eq!(inputs[0]["generation"]["result"], json!({"frames": 7}));
    assert_eq!(inputs[1]["generation"]["location"], "s3://right");
    assert_eq!(inputs[1]["generation"]["omitted"], json!(["result"]));
    assert_eq!((&inputs[1]["type"], &inputs[1]["state"]), (&json!("segment"), &json!("completed")));
}

#[tokio::test]
async fn what_a_task_cannot_depend_on_is_refused_by_its_field() {
    let world = World::new();
    let nowhere = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let film = world.create(json!({"type": "a", "project": "film"})).await;
    for id in [nowhere, film.as_str()] {
        let task = json!({"type": "a", "depends_on": [id]});
        let problem = world.post("/v1/tasks", task.clone()).await.problem(409, "dependency_refused");
        assert_eq!(problem["errors"][0]["field"], "depends_on[0]");
        let tasks = json!({"tasks": [{"type": "a"}, task]});
        let problem = world.post("/v1/tasks/batch", tasks.clone()).await.problem(409, "batch_refused");
        assert_eq!(problem["errors"][0]["field"], "tasks[1].depends_on[0]");
        let mut each = tasks;
        each["atomic"] = json!(false);
        let answer = world.post("/v1/tasks/batch", each).await.json();
        assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1), &json!(1)));
        assert_eq!(answer["items"][1]["problem"]["code"], "dependency_refused");
    }
    for (body, field, told) in [
        (
            json!([{"type": "a", "ref": "x", "depends_on": ["y"]}, {"type": "a", "ref": "y", "depends_on": ["x"]}]),
            "tasks[0].depends_on",
            "x → y → x",
        ),
        (json!([{"type": "a", "depends_on": ["nobody"]}]), "tasks[0].depends_on[0]", "\"nobody\""),
        (json!([{"type": "a", "ref": "x"}, {"type": "a", "ref": "x"}]), "tasks[1].ref", "\"x\""),
        (json!([{"type": "a", "depends_on": [nowhere, nowhere]}]), "tasks[0].depends_on", "twice"),
        (
            json!([{"type": "a", "if_dependency_fails": "explode"}]),
            "tasks[0].if_dependency_fails",
            "\"explode\"",
        ),
    ] {
        let problem =
            world.post("/v1/tasks/batch", json!({"tasks": body})).await.problem(422, "invalid_fields");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        assert!(problem["errors"][0]["got"].as_str().unwrap().contains(told), "{problem}");
    }
    let problem =
        world.post("/v1/tasks", json!({"type": "a", "ref": "x"})).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["field"], "ref");
    let apart =
        json!({"atomic": false, "tasks": [{"type": "a", "ref": "x"}, {"type": "a", "depends_on": ["x"]}]});
    let problem = world.post("/v1/tasks/batch", apart).await.problem(422, "invalid_fields");
    assert_eq!(problem["errors"][0]["field"], "atomic");
}

#[tokio::test]
async fn a_graph_is_shown_with_its_critical_path() {
    let world = World::new();
    let ids = batch(
        &world,
        json!([
            {"type": "first", "ref": "a"},
            {"type": "second", "ref": "b", "depends_on": ["a"]},
            {"type": "aside", "ref": "c"},
            {"type": "last", "ref": "d", "depends_on": ["b", "c"]},
            {"type": "alone", "ref": "e"},
        ]),
    )
    .await;
    let graph = world.get(&format!("/v1/tasks/{}/graph", ids[1])).await.json();
    let nodes: Vec<&str> =
        graph["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap()).collect();
    assert_eq!(nodes[0], ids[1]);
    assert_eq!(nodes.len(), 3, "what waits for it and what it waits for, and no other: {graph}");
    assert!(graph["edges"].as_array().unwrap().contains(&json!({"from": ids[0], "to": ids[1]})));
    assert_eq!(graph["critical_path"]["tasks"], json!([ids[0], ids[1], ids[3]]));
    assert_eq!(graph["more"], json!(false));
    world.get("/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/graph").await.problem(404, "task_not_found");
}

#[tokio::test]
async fn a_cancellation_and_a_retry_take_the_dependants_along() {
    let world = World::new();
    let ids = batch(
        &world,
        json!([
            {"type": "a", "ref": "a"},
            {"type": "b", "ref": "b", "depends_on": ["a"], "if_dependency_fails": "run"},
            {"type": "c", "depends_on": ["b"]},
        ]),
    )
    .await;
    let status = async |id: &str| world.task(id).await["task"]["status"].clone();
    let path = format!("/v1/tasks/{}/cancel", ids[0]);
    assert_eq!(world.post(&path, json!({"with_dependants": true, "reason": "no"})).await.status, 200);
    for id in &ids {
        assert_eq!(status(id).await, "cancelled");
    }
    let ids = batch(&world, json!([{"type": "a", "ref": "a"}, {"type": "b", "depends_on": ["a"]}])).await;
    world.post(&format!("/v1/tasks/{}/cancel", ids[0]), json!({})).await;
    let dependant = world.task(&ids[1]).await;
    assert_eq!(dependant["task"]["error"]["code"], "dependency_failed");
    assert_eq!(dependant["history"][1]["dependency"], json!(ids[0]));
    let alone = world.post(&format!("/v1/tasks/{}/retry", ids[1]), json!({})).await;
    alone.problem(409, "transition_refused");
    let retried = world.post(&format!("/v1/tasks/{}/retry", ids[0]), json!({"with_dependants": true})).await;
    assert_eq!(retried.json()["status"], "queued");
    assert_eq!(status(&ids[1]).await, "blocked");
    let listed = world.get("/v1/tasks?status=blocked").await.json();
    assert_eq!(listed["items"][0]["id"], json!(ids[1]));
}

#[tokio::test]
async fn a_token_reaches_no_task_of_another_by_a_dependency() {
    let world = World::with(&[("tokens.required", "always")]);
    let all = world.with_token(json!({})).await;
    let gpu = world.with_token(json!({"name": "gpu", "project": "film", "queues": ["gpu"]})).await;
    let hidden = all.create(json!({"type": "a", "project": "film", "queue": "cpu"})).await;
    let own = gpu.create(json!({"type": "a"})).await;
    let refused = gpu.post("/v1/tasks", json!({"type": "b", "depends_on": [hidden]})).await;
    refused.problem(409, "dependency_refused");
    let tasks = json!({"tasks": [{"type": "b", "depends_on": [own]}, {"type": "b", "depends_on": [hidden]}]});
    let problem = gpu.post("/v1/tasks/batch", tasks.clone()).await.problem(409, "batch_refused");
    assert_eq!(problem["errors"][0]["field"], "tasks[1].depends_on[0]");
    let mut each = tasks;
    each["atomic"] = json!(false);
    let answer = gpu.post("/v1/tasks/batch", each).await.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(1), &json!(1)));
    // Its graph leaves out what the token does not see, and what it does not see is not cancelled by it.
    let beyond = json!({"type": "c", "project": "film", "queue": "cpu", "depends_on": [own]});
    let beyond = all.create(beyond).await;
    let graph = gpu.get(&format!("/v1/tasks/{own}/graph")).await;
    assert!(!graph.text().contains(&beyond), "{}", graph.text());
    let cancel = gpu.post(&format!("/v1/tasks/{own}/cancel"), json!({"with_dependants": true})).await;
    assert_eq!(cancel.problem(422, "invalid_fields")["errors"][0]["field"], "with_dependants");
    gpu.get(&format!("/v1/tasks/{hidden}/graph")).await.problem(404, "task_not_found");
    assert_eq!(gpu.task(&own).await["task"]["status"], "queued");
    // Nor is it put back by it.
    gpu.post(&format!("/v1/tasks/{own}/cancel"), json!({})).await;
    let retry = gpu.post(&format!("/v1/tasks/{own}/retry"), json!({"with_dependants": true})).await;
    assert_eq!(retry.problem(422, "invalid_fields")["errors"][0]["field"], "with_dependants");
    assert_eq!(gpu.task(&own).await["task"]["status"], "cancelled");
    assert_eq!(all.task(&beyond).await["task"]["status"], "cancelled");
}
