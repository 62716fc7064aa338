//! Limits that tasks share, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_limit_is_set_listed_and_taken_away() {
    let world = World::new();
    let set = json!({"on": "queue/default/key/*", "max_running": 1, "exempt_types": ["wait"],
        "holds_retries": true, "by": "ada", "reason": "one at a time"});
    let change = world.post("/v1/limits", set).await.json();
    assert_eq!(change.get("from"), None);
    let stands = &change["to"];
    assert_eq!((&stands["on"], &stands["max_running"]), (&json!("queue/default/key/*"), &json!(1)));
    assert_eq!((&stands["changed_by"], &stands["reason"]), (&json!("ada"), &json!("one at a time")));
    let again = json!({"on": "queue/default/key/*", "rate": {"starts": 6, "seconds": 60}, "max_running": 2});
    let change = world.post("/v1/limits", again).await.json();
    assert_eq!(change["from"]["holds_retries"], true);
    assert_eq!(change["to"]["rate"], json!({"starts": 6, "seconds": 60, "burst": 1}));

    for _ in 0..2 {
        world.create(json!({"type": "a", "concurrency_key": "x"})).await;
    }
    let claim = json!({"worker_id": "w", "max_tasks": 2});
    let tasks = world.post("/v1/claims", claim.clone()).await.json()["tasks"].clone();
    assert_eq!((tasks.as_array().unwrap().len(), &tasks[0]["concurrency_key"]), (1, &json!("x")));
    let nothing = world.post("/v1/claims", claim.clone()).await.json()["nothing"].clone();
    assert_eq!((&nothing["reason"], &nothing["limit"]), (&json!("at_limit"), &json!("queue/default/key/x")));
    assert!(nothing["next_at"].is_string() && nothing["message"].as_str().unwrap().contains("key/x"));
    world.advance(Duration::from_secs(10));
    assert_eq!(world.post("/v1/claims", claim).await.json()["tasks"].as_array().unwrap().len(), 1);

    let set = json!({"on": "queue/default/key/x", "max_running": 3});
    world.post("/v1/limits", set).await;
    let listed = world.get("/v1/limits").await.json()["items"].clone();
    let told: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (&one["on"], one.get("running"))).collect();
    let (each, one) = (json!("queue/default/key/*"), json!("queue/default/key/x"));
    assert_eq!(told, [(&each, None), (&one, Some(&json!(2)))]);
    let gone = world.post("/v1/limits/clear", json!({"on": "queue/default/key/x"})).await.json();
    assert_eq!((&gone["from"]["max_running"], gone.get("to")), (&json!(3), None));
}

#[tokio::test]
async fn each_change_of_a_limit_is_in_the_audit_log_with_what_it_was_and_is() {
    let world = World::new();
    for most in [5, 9] {
        world.post("/v1/limits", json!({"on": "project/film", "max_running": most, "by": "ada"})).await;
    }
    world.post("/v1/limits/clear", json!({"on": "project/film", "by": "bob"})).await;
    world.post("/v1/projects/film/owner", json!({"owner": "acme"})).await;
    world.act("/v1/projects/film/owner").await;
    let entries = world.get("/v1/audit").await.json()["items"].clone();
    let told: Vec<Value> = entries
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| json!([entry["action"], entry["by"], entry["change"]["from"], entry["change"]["to"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["set_limit", "ada", null, "project/film: at most 5 run"]),
            json!(["set_limit", "ada", "project/film: at most 5 run", "project/film: at most 9 run"]),
            json!(["clear_limit", "bob", "project/film: at most 9 run", null]),
            json!(["set_owner", null, null, "acme"]),
            json!(["set_owner", null, "acme", null]),
        ]
    );
}

#[tokio::test]
async fn what_a_limit_cannot_say_is_refused_by_its_field() {
    let world = World::new();
    for (body, wrong) in [
        (json!({}), vec!["on", "max_running"]),
        (json!({"on": "queue", "max_running": 1}), vec!["on"]),
        (json!({"on": "queue/a b", "max_running": 1}), vec!["on"]),
        (json!({"on": "worker/w", "max_running": 1}), vec!["on"]),
        (json!({"on": "queue/a", "max_running": -1}), vec!["max_running"]),
        (json!({"on": "queue/a", "max_running": 10_001}), vec!["max_running"]),
        (json!({"on": "project/a", "rate": {"starts": 1, "seconds": 1}}), vec!["rate"]),
        (
            json!({"on": "queue/a", "rate": {"starts": 0, "burst": 0}}),
            vec!["rate.starts", "rate.seconds", "rate.burst"],
        ),
        (json!({"on": "queue/a", "max_running": 1, "holds_retries": true}), vec!["holds_retries"]),
        (
            json!({"on": "queue/a/key/*", "rate": {"starts": 1, "seconds": 1}, "holds_retries": true}),
            vec!["holds_retries"],
        ),
        (
            json!({"on": "queue/a", "max_running": 1, "exempt_types": ["a b"], "x": 1}),
            vec!["exempt_types", "x"],
        ),
    ] {
        assert_eq!(world.post("/v1/limits", body.clone()).await.wrong_fields(), wrong, "{body}");
    }
    assert_eq!(world.post("/v1/limits/clear", json!({"on": "*"})).await.wrong_fields(), ["on"]);
    assert_eq!(world.post("/v1/projects/film/owner", json!({"owner": "*"})).await.wrong_fields(), ["owner"]);
    let task = json!({"type": "a", "concurrency_key": "*"});
    assert_eq!(world.post("/v1/tasks", task).await.wrong_fields(), ["concurrency_key"]);
    assert_eq!(world.get("/v1/limits").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_waiting_claim_gets_the_task_whose_place_becomes_free() {
    let world = World::new();
    world.post("/v1/limits", json!({"on": "project/*", "max_running": 1})).await;
    for _ in 0..2 {
        world.create(json!({"type": "a"})).await;
    }
    let first = world.claim("w1").await["id"].as_str().unwrap().to_owned();
    let claim = json!({"worker_id": "w2", "wait_seconds": 20});
    let complete = async {
        // The claim has found nothing by then, and waits.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let done = json!({"worker_id": "w1", "attempt": 1});
        assert_eq!(world.post(&format!("/v1/tasks/{first}/complete"), done).await.status, 200);
        std::time::Instant::now()
    };
    let (answer, freed) = tokio::join!(world.post("/v1/claims", claim), complete);
    assert_eq!(answer.json()["tasks"].as_array().unwrap().len(), 1);
    // Without a ring it would look again five seconds later.
    assert!(freed.elapsed() < Duration::from_secs(4), "{:?}", freed.elapsed());
}
