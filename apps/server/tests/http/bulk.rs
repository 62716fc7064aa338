//! Bulk commands.

use std::time::Duration;

use baton_runtime::Shutdown;
use serde_json::{Value, json};

use crate::world::World;

async fn create_many(world: &World, count: usize, of: &Value) -> Vec<String> {
    let answer = world.post("/v1/tasks/batch", json!({"tasks": vec![of; count]})).await.json();
    let items = answer["items"].as_array().unwrap();
    items.iter().map(|item| item["task"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_tasks_of_a_filter_are_cancelled_and_their_histories_name_the_command() {
    let world = World::new();
    let ids = create_many(&world, 120, &json!({"type": "a", "queue": "gpu"})).await;
    let other = world.create(json!({"type": "a", "queue": "cpu"})).await;
    let body = json!({"do": "cancel", "filter": {"queue": "gpu"}, "by": "ana", "reason": "wrong scene"});
    let mut dry = body.clone();
    dry["dry_run"] = json!(true);
    assert_eq!(world.post("/v1/tasks/bulk", dry).await.json(), json!({"matches": 120}));
    assert_eq!(world.get("/v1/bulk").await.json()["items"], json!([]), "nothing was made");
    let bulk = world.post("/v1/tasks/bulk", body).await.json();
    let id = bulk["id"].as_str().unwrap().to_owned();
    let stop = Shutdown::new();
    let going = tokio::spawn(baton_reap_stale_workers::run_bulk(world.app.clone(), stop.clone()));
    let done = loop {
        let bulk = world.get(&format!("/v1/bulk/{id}")).await.json();
        if bulk["state"] != "running" {
            break bulk;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stop.begin();
    going.await.unwrap();
    assert_eq!(
        (&done["state"], &done["looked_at"], &done["changed"]),
        (&json!("done"), &json!(120), &json!(120))
    );
    assert_eq!((&done["do"], &done["by"]), (&json!("cancel"), &json!("ana")));
    for task in [&ids[0], &ids[119]] {
        let shown = world.task(task).await;
        assert_eq!(shown["task"]["status"], "cancelled");
        let event = &shown["history"][1];
        assert_eq!(event["by"], "ana");
        assert_eq!(event["reason"], format!("bulk command {id}: wrong scene"));
    }
    assert_eq!(world.task(&other).await["task"]["status"], "queued");
    assert_eq!(world.get("/v1/bulk").await.json()["items"][0], done);
    // One that has ended stays as it is.
    assert_eq!(world.act(&format!("/v1/bulk/{id}/abort")).await.json(), done);
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    world.get(&format!("/v1/bulk/{unknown}")).await.problem(404, "bulk_not_found");
    world.act(&format!("/v1/bulk/{unknown}/abort")).await.problem(404, "bulk_not_found");
}

#[tokio::test]
async fn tasks_are_changed_by_their_ids() {
    let world = World::new();
    let ids = create_many(&world, 3, &json!({"type": "a"})).await;
    let body = json!({"do": "change", "with": {"priority": "high"}, "ids": [ids[0], ids[2]]});
    let bulk = world.post("/v1/tasks/bulk", body).await.json();
    assert_eq!((&bulk["state"], &bulk["changed"], &bulk["ids"]), (&json!("done"), &json!(2), &json!(2)));
    assert_eq!(bulk["with"], json!({"priority": "high"}));
    for (id, priority) in ids.iter().zip(["high", "normal", "high"]) {
        assert_eq!(world.task(id).await["task"]["priority"], priority);
    }
}

#[tokio::test]
async fn an_empty_filter_is_refused_with_what_to_name() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    for body in [json!({"do": "cancel", "filter": {}}), json!({"do": "cancel"})] {
        let answer = world.post("/v1/tasks/bulk", body).await;
        assert_eq!(answer.wrong_fields(), ["filter"]);
    }
    assert_eq!(world.task(&id).await["task"]["status"], "queued");
}

#[tokio::test]
async fn a_bound_caller_reaches_its_own_tasks_and_sees_its_own_commands() {
    let world = World::with(&[("tokens.required", "always")]);
    let root = world.with_token(json!({"scopes": ["operator"]})).await;
    let film = world.with_token(json!({"scopes": ["operator"], "project": "film"})).await;
    let gpu = world.with_token(json!({"scopes": ["operator"], "queues": ["gpu"]})).await;
    let producer = world.with_token(json!({"scopes": ["producer"]})).await;
    let of = |project: &str, queue: &str| json!({"type": "a", "project": project, "queue": queue});
    let own = root.create(of("film", "gpu")).await;
    let foreign = root.create(of("game", "gpu")).await;
    let elsewhere = root.create(of("game", "cpu")).await;
    let all = json!({"do": "cancel", "filter": {"type": "a"}});
    producer.post("/v1/tasks/bulk", all.clone()).await.problem(403, "scope_missing");
    let named = json!({"do": "cancel", "filter": {"project": "game"}});
    film.post("/v1/tasks/bulk", named).await.problem(403, "outside_grant");
    let mut dry = all.clone();
    dry["dry_run"] = json!(true);
    assert_eq!(gpu.post("/v1/tasks/bulk", dry).await.json()["matches"], 2);
    let bulk = film.post("/v1/tasks/bulk", all.clone()).await.json();
    assert_eq!(bulk["changed"], 1);
    let by_ids = json!({"do": "cancel", "ids": [foreign]});
    assert_eq!(film.post("/v1/tasks/bulk", by_ids).await.json()["skipped"], json!({"gone": 1}));
    for (id, status) in [(&own, "cancelled"), (&foreign, "queued"), (&elsewhere, "queued")] {
        assert_eq!(root.task(id).await["task"]["status"], status);
    }
    let path = format!("/v1/bulk/{}", bulk["id"].as_str().unwrap());
    assert_eq!(film.get(&path).await.json(), bulk);
    gpu.get(&path).await.problem(404, "bulk_not_found");
    gpu.act(&format!("{path}/abort")).await.problem(404, "bulk_not_found");
    assert_eq!(gpu.get("/v1/bulk").await.json()["items"], json!([]));
    assert_eq!(root.get("/v1/bulk").await.json()["items"].as_array().unwrap().len(), 2);
    let audit = root.get("/v1/audit?action=bulk_tasks").await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 4);
    let told = format!("bulk command {} (cancel)", bulk["id"].as_str().unwrap());
    let changes: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|entry| entry["change"]["to"].clone()).collect();
    assert!(changes.contains(&json!(told)), "{changes:?}");
}
