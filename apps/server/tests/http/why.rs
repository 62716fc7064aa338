//! Why tasks wait, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

async fn why(world: &World, id: &str) -> Value {
    let answer = world.get(&format!("/v1/tasks/{id}/why")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn words(why: &Value) -> Vec<&str> {
    why["reasons"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect()
}

async fn nothing(world: &World, claim: Value) -> Value {
    world.post("/v1/claims", claim).await.json()["nothing"].clone()
}

#[tokio::test]
async fn every_reason_is_told_in_its_order_and_goes_when_it_is_lifted() {
    let world = World::new();
    let first = world.create(json!({"type": "render", "queue": "first"})).await;
    let holder = world.create(json!({"type": "render", "queue": "images"})).await;
    world.post("/v1/limits", json!({"on": "queue/images", "max_running": 1})).await;
    let claim = json!({"worker_id": "w1", "queues": ["images"], "types": ["render"], "lease_seconds": 9_000});
    assert_eq!(world.post("/v1/claims", claim).await.json()["tasks"][0]["id"], json!(holder));
    world.create(json!({"type": "bake", "queue": "images", "priority": "high"})).await;
    let id = world
        .create(json!({"type": "bake", "queue": "images", "depends_on": [first], "delay_seconds": 600}))
        .await;
    let pause = json!({"by": "ada", "reason": "new drivers"});
    assert_eq!(world.post("/v1/queues/images/pause", pause).await.status, 200);

    let told = why(&world, &id).await;
    assert_eq!(words(&told), ["blocked", "scheduled", "paused", "at_limit", "no_worker"]);
    assert_eq!(
        (&told["task_id"], &told["status"], &told["waits"]),
        (&json!(id), &json!("blocked"), &json!(true))
    );
    let reasons = &told["reasons"];
    assert_eq!(reasons[0]["waits_for"], json!([{"task_id": first, "status": "queued"}]));
    assert!(reasons[1]["next_at"].is_string());
    let pause = &reasons[2]["pause"];
    assert_eq!((&pause["by"], &pause["reason"]), (&json!("ada"), &json!("new drivers")));
    assert!(pause["since"].is_string());
    let limit = &reasons[3];
    let told = (&limit["limit"], &limit["max_running"], &limit["taken"]);
    assert_eq!(told, (&json!("queue/images"), &json!(1), &json!(1)));
    assert_eq!(limit["holders"], json!([{"task_id": holder, "worker_id": "w1"}]));
    assert_eq!(reasons[4].get("worker_id"), None, "nobody has taken this type");
    assert!(reasons.as_array().unwrap().iter().all(|one| one["message"].is_string()));

    // What a claim that finds nothing says goes by the same words.
    let claim = |worker: &str, queue: &str| json!({"worker_id": worker, "queues": [queue]});
    assert_eq!(nothing(&world, claim("w2", "images")).await["reason"], "paused");
    world.act("/v1/queues/images/resume").await;
    assert_eq!(nothing(&world, claim("w2", "images")).await["reason"], "at_limit");
    let done = world.post("/v1/claims", claim("w2", "first")).await.json()["tasks"][0].clone();
    assert_eq!(done["id"], json!(first));
    let complete = json!({"worker_id": "w2", "attempt": 1});
    assert_eq!(world.post(&format!("/v1/tasks/{first}/complete"), complete).await.status, 200);
    let told = why(&world, &id).await;
    assert_eq!(words(&told), ["scheduled", "at_limit", "behind"]);
    assert_eq!((&told["reasons"][2]["ahead"], &told["reasons"][2]["keeps"]), (&json!(1), &json!(false)));

    world.advance(Duration::from_secs(700));
    world.post("/v1/limits/clear", json!({"on": "queue/images"})).await;
    world.post("/v1/claims", claim("w2", "images")).await;
    let told = why(&world, &id).await;
    assert_eq!((words(&told), &told["status"]), (vec![], &json!("queued")));
    assert!(told["message"].as_str().unwrap().contains("it is next"), "{told}");
    assert_eq!(world.post("/v1/claims", claim("w2", "images")).await.json()["tasks"][0]["id"], json!(id));
    let told = why(&world, &id).await;
    let runs = (&told["status"], &told["worker_id"], &told["waits"], &told["reasons"]);
    assert_eq!(runs, (&json!("running"), &json!("w2"), &json!(false), &json!([])));
    world.get("/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/why").await.problem(404, "task_not_found");
}

#[tokio::test]
async fn a_bound_token_is_told_nothing_of_other_projects() {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = world.with_token(json!({"name": "operator", "scopes": ["operator"]})).await;
    let film =
        world.with_token(json!({"name": "film", "scopes": ["producer", "worker"], "project": "film"})).await;
    for project in ["film", "game", "film"] {
        operator.create(json!({"type": "render", "project": project, "priority": "high"})).await;
    }
    operator.post("/v1/limits", json!({"on": "queue/default", "max_running": 2})).await;
    let claim = json!({"worker_id": "secret-1", "max_tasks": 2, "lease_seconds": 9_000});
    let held = operator.post("/v1/claims", claim).await.json()["tasks"].clone();
    let of = |project: &str| {
        let tasks = held.as_array().unwrap();
        tasks.iter().find(|task| task["project"] == project).unwrap()["id"].clone()
    };
    operator.create(json!({"type": "render", "project": "game", "priority": "high"})).await;
    let id = film.create(json!({"type": "bake"})).await;
    operator.post("/v1/queues/default/pause", json!({"by": "ada", "reason": "game is too loud"})).await;
    let stop = operator.act("/v1/workers/secret-1/stop").await;
    assert_eq!(stop.status, 200, "{}", stop.text());

    let all = why(&operator, &id).await;
    assert_eq!(words(&all), ["paused", "at_limit", "no_worker", "behind"]);
    assert_eq!(all["reasons"][1]["holders"].as_array().unwrap().len(), 2);
    let last = &all["reasons"][2];
    assert_eq!((&last["worker_id"], &last["worker_status"]), (&json!("secret-1"), &json!("silent")));
    assert_eq!(all["reasons"][3]["ahead"], json!(2));

    let told = why(&film, &id).await;
    assert_eq!(words(&told), words(&all));
    let text = told.to_string();
    let game = of("game");
    for secret in [game.as_str().unwrap(), "ada", "too loud", "\"ahead\""] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let limit = &told["reasons"][1];
    assert_eq!(limit["holders"], json!([{"task_id": of("film"), "worker_id": "secret-1"}]));
    assert_eq!((&limit["more"], &limit["limit"]), (&json!(true), &json!("queue/default")));
    let last = &told["reasons"][2];
    assert!(last["last_heard_at"].is_string() && last.get("worker_id").is_none(), "{last}");

    // A task of another project is not there, as for all else that is asked of it.
    let theirs = operator.create(json!({"type": "render", "project": "game"})).await;
    film.get(&format!("/v1/tasks/{theirs}/why")).await.problem(404, "task_not_found");
    let queues = world.with_token(json!({"name": "gpu", "scopes": ["producer"], "queues": ["gpu"]})).await;
    queues.get(&format!("/v1/tasks/{id}/why")).await.problem(404, "task_not_found");
}
