//! Affinity over HTTP: what tasks want to be warm, and what claims make of what is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

fn ids(answer: &Value) -> Vec<&str> {
    answer["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

/// Tasks created a second apart with these affinities; none where it is null.
async fn create(world: &World, affinities: &[Value]) -> Vec<String> {
    let mut ids = Vec::new();
    for affinity in affinities {
        ids.push(world.create(json!({"type": "paint", "affinity": affinity})).await);
        world.advance(Duration::from_secs(1));
    }
    ids
}

async fn claim(world: &World, fields: Value) -> Value {
    let mut claim = json!({"worker_id": "w"});
    claim.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = world.post("/v1/claims", claim).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn an_affinity_is_shown_with_its_task_wherever_tasks_are() {
    let world = World::new();
    let id = world.create(json!({"type": "paint", "affinity": "sdxl/fp16"})).await;
    let batch = json!({"tasks": [{"type": "paint", "affinity": "flux"}, {"type": "paint"}]});
    assert_eq!(world.post("/v1/tasks/batch", batch).await.status, 201);
    assert_eq!(world.task(&id).await["task"]["affinity"], "sdxl/fp16");
    let listed = world.get("/v1/tasks").await.json()["items"].clone();
    let mut shown: Vec<_> =
        listed.as_array().unwrap().iter().filter_map(|task| task.get("affinity")).collect();
    shown.sort_by_key(|one| one.to_string());
    assert_eq!(shown, [&json!("flux"), &json!("sdxl/fp16")], "one has none");
    let claimed = claim(&world, json!({"warm": ["sdxl/fp16"], "affinity": "only"})).await;
    assert_eq!((ids(&claimed), &claimed["tasks"][0]["affinity"]), (vec![&*id], &json!("sdxl/fp16")));
}

#[tokio::test]
async fn a_claim_takes_what_is_warm_first_or_only_or_does_not_care() {
    let world = World::new();
    let all =
        create(&world, &[json!(null), json!("flux"), json!("sdxl"), json!("sdxl"), json!("sdxl")]).await;
    let prefers = json!({"warm": ["sdxl", "sdxl"], "affinity": "prefer", "pass_over_seconds": 60});
    assert_eq!(ids(&claim(&world, prefers.clone()).await), [&all[2]]);
    let only = json!({"warm": ["sdxl"], "affinity": "only"});
    assert_eq!(ids(&claim(&world, only.clone()).await), [&all[3]]);
    world.advance(Duration::from_secs(56));
    assert_eq!(ids(&claim(&world, prefers).await), [&all[0]], "it has been passed over for a minute");
    assert_eq!(ids(&claim(&world, json!({"warm": ["sdxl"]})).await), [&all[1]], "any, if nothing is said");

    let first = claim(&world, only.clone()).await;
    assert_eq!(ids(&first), [&all[4]]);
    let next = create(&world, &[json!(null), json!("sdxl")]).await;
    let mut along = json!({"worker_id": "w", "attempt": 1, "claim": only});
    along["claim"]["worker_id"] = json!("w");
    let done = world.post(&format!("/v1/tasks/{}/complete", all[4]), along.clone()).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(ids(&done.json()["next"]), [&next[1]], "also along with a completion");
    let done = world.post(&format!("/v1/tasks/{}/complete", next[1]), along).await.json();
    assert_eq!(done["next"]["nothing"]["reason"], "not_warm", "{done}");
}

#[tokio::test]
async fn a_claim_that_nothing_is_warm_for_says_so_and_so_does_the_task() {
    let world = World::new();
    let id = create(&world, &[json!("flux")]).await.remove(0);
    let told = claim(&world, json!({"warm": ["sdxl"], "affinity": "only", "types": ["paint"]})).await;
    let nothing = json!({
        "reason": "not_warm",
        "message": "tasks wait of type paint in queue default, and none of them is for what the worker has warm",
    });
    assert_eq!(told, json!({"tasks": [], "nothing": nothing}));
    let why = world.get(&format!("/v1/tasks/{id}/why")).await.json();
    let reason = &why["reasons"][0];
    assert_eq!((&reason["reason"], &why["affinity"]), (&json!("no_worker"), &json!("flux")), "{why}");
    assert_eq!(reason["message"], "no live worker takes type paint of queue default with affinity flux");
    assert_eq!(ids(&claim(&world, json!({"affinity": "prefer"})).await), [&id], "nothing is warm yet");
}

#[tokio::test]
async fn a_waiting_claim_that_wants_only_what_is_warm_leaves_the_others_to_those_behind_it() {
    let world = World::new();
    let wait = |worker: &str, fields: Value| {
        let mut claim = json!({"worker_id": worker, "wait_seconds": 20});
        claim.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        world.post("/v1/claims", claim)
    };
    let begun = std::time::Instant::now();
    let first = wait("w1", json!({"warm": ["sdxl"], "affinity": "only"}));
    let behind = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        wait("w2", json!({})).await
    };
    let create = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let cold = world.create(json!({"type": "paint", "affinity": "flux"})).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        (cold, world.create(json!({"type": "paint", "affinity": "sdxl"})).await)
    };
    let (first, behind, (cold, warm)) = tokio::join!(first, behind, create);
    assert_eq!((ids(&first.json()), ids(&behind.json())), (vec![&*warm], vec![&*cold]));
    // Without the wake being handed on, the one behind would look again five seconds later.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_field() {
    let world = World::new();
    for (claim, wrong) in [
        (json!({"affinity": "only"}), vec!["warm"]),
        (json!({"affinity": "only", "warm": []}), vec!["warm"]),
        (json!({"affinity": "sometimes"}), vec!["affinity"]),
        (
            json!({"warm": [""], "affinity": "prefer", "pass_over_seconds": -1}),
            vec!["warm", "pass_over_seconds"],
        ),
        (json!({"warm": ["sdxl"], "pass_over_seconds": 9}), vec!["pass_over_seconds"]),
        (json!({"warm": ["sdxl"], "affinity": "only", "pass_over_seconds": 9}), vec!["pass_over_seconds"]),
    ] {
        let mut body = claim.clone();
        body["worker_id"] = json!("w");
        assert_eq!(world.post("/v1/claims", body.clone()).await.wrong_fields(), wrong, "{claim}");
        let complete = json!({"worker_id": "w", "attempt": 1, "claim": body});
        let path = "/v1/tasks/01980a6e-5b7c-7cc3-98c4-dc0c0c07398f/complete";
        let wrong: Vec<String> = wrong.iter().map(|field| format!("claim.{field}")).collect();
        assert_eq!(world.post(path, complete).await.wrong_fields(), wrong, "{claim}");
    }
    for affinity in [json!("*"), json!(""), json!("x".repeat(257)), json!(7)] {
        let task = json!({"type": "paint", "affinity": affinity});
        assert_eq!(world.post("/v1/tasks", task.clone()).await.wrong_fields(), ["affinity"]);
        let batch = json!({"tasks": [task]});
        let refused = world.post("/v1/tasks/batch", batch).await.json();
        assert!(refused.to_string().contains("tasks[0].affinity"), "{refused}");
    }
}
