//! Bulk commands.

use std::time::Duration;

use axum::body::Body;
use baton_model::Fingerprint;
use baton_runtime::Shutdown;
use baton_store::{Idempotency, KeepKey};
use http::Request;
use serde_json::{Value, json};

use crate::world::{Answer, World};

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

#[tokio::test]
async fn a_dry_run_of_ids_counts_those_that_there_are_and_that_it_may_be_done_to() {
    let world = World::with(&[("tokens.required", "always")]);
    let root = world.with_token(json!({"scopes": ["operator"]})).await;
    let film = world.with_token(json!({"scopes": ["operator"], "project": "film"})).await;
    let of = |project: &str| json!({"type": "a", "project": project});
    let waits = root.create(of("film")).await;
    let ended = root.create(of("film")).await;
    assert_eq!(root.act(&format!("/v1/tasks/{ended}/cancel")).await.status, 200);
    let foreign = root.create(of("game")).await;
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let matches = async |caller: &World, action: &str| {
        let mut body = json!({"do": action, "ids": [waits, waits, ended, foreign, unknown], "dry_run": true});
        if action == "change" {
            body["with"] = json!({"priority": "high"});
        }
        caller.post("/v1/tasks/bulk", body).await.json()
    };
    for (caller, action, count) in [
        (&film, "cancel", 1),
        (&film, "change", 1),
        (&film, "retry", 1),
        (&film, "delete", 1),
        (&root, "cancel", 2),
        (&root, "retry", 1),
    ] {
        assert_eq!(matches(caller, action).await, json!({"matches": count}), "{action}");
    }
    assert_eq!(root.get("/v1/bulk").await.json()["items"], json!([]), "nothing was made");
}

#[tokio::test]
async fn a_count_that_has_stopped_tells_about_how_many_there_are_if_the_statistics_know() {
    let world = World::new();
    for _ in 0..11 {
        create_many(&world, 1_000, &json!({"type": "a", "queue": "gpu"})).await;
    }
    create_many(&world, 5, &json!({"type": "b", "queue": "cpu"})).await;
    let counted = async |filter: Value| {
        let body = json!({"do": "cancel", "filter": filter, "dry_run": true});
        let count = world.post("/v1/tasks/bulk", body).await.json();
        assert_eq!(count["more"], true, "{count}");
        assert!(count["matches"].as_u64().unwrap() < 11_000, "{count}");
        count["about"].clone()
    };
    assert_eq!(counted(json!({"queue": "gpu"})).await, 11_000);
    assert_eq!(counted(json!({"queue": "gpu", "status": ["queued"]})).await, 11_000);
    assert_eq!(counted(json!({"queue": "gpu", "type": "a"})).await, 11_000);
    assert_eq!(counted(json!({"status": ["blocked", "created", "queued", "retry"]})).await, 11_005);
    assert_eq!(counted(json!({"queue": "gpu", "project": "default"})).await, Value::Null);
}

async fn keyed(caller: &World, key: &str, body: &Value) -> Answer {
    let request = Request::post("/v1/tasks/bulk").header("content-type", "application/json");
    caller.send(request.header("idempotency-key", key).body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_command_that_is_sent_again_under_its_key_is_the_one_that_was_made() {
    let world = World::new();
    let id = world.create(json!({"type": "a", "queue": "gpu"})).await;
    let cancel = format!("/v1/tasks/{id}/cancel");
    assert_eq!(world.act(&cancel).await.status, 200);
    let retry = json!({"do": "retry", "filter": {"queue": "gpu"}, "by": "ana"});
    let first = keyed(&world, "night-7", &retry).await;
    assert_eq!((first.status.as_u16(), &first.json()["changed"]), (200, &json!(1)), "{}", first.text());
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(world.act(&cancel).await.status, 200);
    world.advance(Duration::from_secs(3_600));
    let again =
        keyed(&world, "night-7", &json!({"by": "ana", "filter": {"queue": "gpu"}, "do": "retry"})).await;
    assert_eq!((again.status, again.json()), (first.status, first.json()));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(world.task(&id).await["task"]["status"], "cancelled", "it was put back once");
    assert_eq!(world.get("/v1/bulk").await.json()["items"], json!([first.json()]));

    let other = json!({"do": "retry", "filter": {"queue": "cpu"}, "by": "ana"});
    keyed(&world, "night-7", &other).await.problem(409, "idempotency_conflict");
    assert_eq!(keyed(&world, "a b", &retry).await.wrong_fields(), ["Idempotency-Key (header)"]);
    // A dry run neither spends a key nor asks for one.
    let mut dry = other.clone();
    dry["dry_run"] = json!(true);
    assert_eq!(keyed(&world, "night-7", &dry).await.json(), json!({"matches": 0}));
    let second = keyed(&world, "night-8", &retry).await.json();
    assert_eq!((&second["changed"], second["id"] == first.json()["id"]), (&json!(1), false));
    let newest = world.get("/v1/bulk").await.json()["items"].clone();
    assert_eq!(newest, json!([second, first.json()]));
}

#[tokio::test]
async fn a_command_whose_first_request_died_with_its_key_is_made_by_the_second() {
    let world = World::new();
    let early = world.create(json!({"type": "a", "queue": "gpu"})).await;
    let cancel = json!({"do": "cancel", "filter": {"queue": "gpu"}});
    let id = world.app.ids.bulk();
    let idempotency =
        Idempotency { key: "POST /v1/tasks/bulk k".to_owned(), fingerprint: Fingerprint::of(&cancel) };
    let keep = KeepKey { now: world.app.now(), idempotency, id: *id.as_bytes() };
    world.app.store.keep_key(keep).await.unwrap();
    world.advance(Duration::from_secs(60));
    let late = world.create(json!({"type": "a", "queue": "gpu"})).await;
    let made = keyed(&world, "k", &cancel).await.json();
    assert_eq!((&made["id"], &made["changed"]), (&json!(id.to_string()), &json!(1)));
    for (task, status) in [(&early, "cancelled"), (&late, "queued")] {
        assert_eq!(world.task(task).await["task"]["status"], status, "{made}");
    }
}

#[tokio::test]
async fn one_key_of_two_tenants_names_two_commands() {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = |project: &'static str| json!({"scopes": ["operator"], "project": project});
    let film = world.with_token(operator("film")).await;
    let game = world.with_token(operator("game")).await;
    let (own, foreign) = (film.create(json!({"type": "a"})).await, game.create(json!({"type": "a"})).await);
    let cancel = json!({"do": "cancel", "filter": {"type": "a"}});
    let of_film = keyed(&film, "k", &cancel).await.json();
    assert_eq!(of_film["changed"], 1);
    assert_eq!(game.task(&foreign).await["task"]["status"], "queued");
    let of_game = keyed(&game, "k", &cancel).await;
    assert!(!of_game.headers.contains_key("idempotency-replayed"), "{}", of_game.text());
    assert_ne!(of_game.json()["id"], of_film["id"]);
    for task in [film.task(&own).await, game.task(&foreign).await] {
        assert_eq!(task["task"]["status"], "cancelled");
    }
    // Another token of the same bounds goes on where the first one was.
    let heir = world.with_token(operator("film")).await;
    assert_eq!(keyed(&heir, "k", &cancel).await.json(), of_film);
}
