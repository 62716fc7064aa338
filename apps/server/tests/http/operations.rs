//! What operators do and see.

use std::time::Duration;

use baton_reap_stale_workers::{Round, reap_within};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_task_is_cancelled_and_retried() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    let path = format!("/v1/tasks/{id}");
    let answer = world.post(&format!("{path}/cancel"), json!({"by": "ana", "reason": "not needed"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(world.act(&format!("{path}/cancel")).await.json()["status"], "cancelled", "once more");
    let answer = world.post(&format!("{path}/retry"), json!({"delay_seconds": 5})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("created")));
    world.act(&format!("{path}/retry")).await.problem(409, "transition_refused");
    let history = world.get(&format!("{path}/history")).await.json();
    let events = history["items"].as_array().unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "cancelled", "retried"]);
    assert_eq!((&events[1]["by"], &events[1]["reason"]), (&json!("ana"), &json!("not needed")));
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[tokio::test]
async fn a_finished_task_is_not_cancelled_and_a_completed_one_not_retried() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    world.act(&format!("/v1/tasks/{id}/retry")).await.problem(409, "transition_refused");
    let done = json!({"worker_id": "w", "attempt": 1});
    assert_eq!(world.post(&format!("/v1/tasks/{id}/complete"), done).await.status, 200);
    world.act(&format!("/v1/tasks/{id}/cancel")).await.problem(409, "transition_refused");
    let problem = world.act(&format!("/v1/tasks/{id}/retry")).await.problem(409, "transition_refused");
    assert!(problem["detail"].as_str().unwrap().ends_with("create a new task to do the work once more"));
}

#[tokio::test]
async fn actions_on_what_is_not_there_say_so() {
    let world = World::new();
    let id = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    for action in ["cancel", "retry"] {
        world.act(&format!("/v1/tasks/{id}/{action}")).await.problem(404, "task_not_found");
        assert_eq!(world.act(&format!("/v1/tasks/nine/{action}")).await.wrong_fields(), ["id"]);
        let wrong = world.post(&format!("/v1/tasks/{id}/{action}"), json!({"by": "", "because": "x"})).await;
        assert_eq!(wrong.wrong_fields(), ["by", "because"]);
    }
    for action in ["drain", "stop", "run"] {
        world.act(&format!("/v1/workers/w/{action}")).await.problem(404, "worker_not_found");
        assert_eq!(world.act(&format!("/v1/workers/a%2Fb/{action}")).await.wrong_fields(), ["worker"]);
    }
    for action in ["pause", "resume"] {
        assert_eq!(world.act(&format!("/v1/queues/../{action}")).await.wrong_fields(), ["queue"]);
        assert_eq!(world.act(&format!("/v1/queues/%00/{action}")).await.wrong_fields(), ["queue"]);
    }
    world.get(&format!("/v1/tasks/{id}")).await.problem(404, "task_not_found");
    world.get(&format!("/v1/tasks/{id}/history")).await.problem(404, "task_not_found");
    world.get(&format!("/v1/generations/{id}")).await.problem(404, "generation_not_found");
    world.get("/v1/workers/w").await.problem(404, "worker_not_found");
    world.get("/v1/queues/q").await.problem(404, "queue_not_found");
}

#[tokio::test]
async fn a_paused_queue_keeps_its_tasks_until_it_is_resumed() {
    let world = World::new();
    let paused = world.act("/v1/queues/default/pause").await;
    assert_eq!((paused.status.as_u16(), &paused.json()["paused"]), (200, &json!(true)));
    world.create(json!({"type": "a"})).await;
    let answer = world.post("/v1/claims", json!({"worker_id": "w"})).await.json();
    assert_eq!(answer["nothing"]["reason"], "paused");
    let resumed = world.post("/v1/queues/default/resume", json!({"by": "ana"})).await.json();
    assert_eq!((&resumed["paused"], &resumed["queued"]), (&json!(false), &json!(1)));
    world.claim("w").await;
}

#[tokio::test]
async fn who_paused_a_queue_and_why_is_kept_without_tokens() {
    let world = World::new();
    world.create(json!({"type": "a", "queue": "images"})).await;
    let said = json!({"by": "ada", "reason": "the disk is full"});
    let pause = json!({"since": "2026-02-02T02:40:00.000Z", "by": "ada", "reason": "the disk is full"});
    let paused = world.post("/v1/queues/images/pause", said).await.json();
    assert_eq!((&paused["pause"], &paused["used"]), (&pause, &json!(true)));
    world.advance(Duration::from_secs(60));
    for shown in [
        world.get("/v1/queues/images").await.json(),
        world.get("/v1/queues").await.json()["items"][0].clone(),
        world.get("/v1/stats").await.json()["queues"][0].clone(),
    ] {
        assert_eq!(shown["pause"], pause, "{shown}");
    }
    let resumed = world.post("/v1/queues/images/resume", json!({"by": "bob", "reason": "a new disk"})).await;
    assert_eq!((resumed.status.as_u16(), resumed.json().get("pause")), (200, None));

    let audit = world.get("/v1/audit").await.json();
    let told: Vec<_> = audit["items"].as_array().unwrap().iter().collect();
    let of =
        |entry: &serde_json::Value| ["action", "by", "reason", "outcome"].map(|field| entry[field].clone());
    assert_eq!(of(told[0]), [json!("resume_queue"), json!("bob"), json!("a new disk"), json!(200)]);
    assert_eq!(of(told[1]), [json!("pause_queue"), json!("ada"), json!("the disk is full"), json!(200)]);
}

#[tokio::test]
async fn the_audit_log_tells_who_asked_and_why_also_of_what_was_refused() {
    let world = World::new();
    let said = json!({"by": "ada", "reason": "in the way"});
    let unknown = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    for path in [format!("/v1/tasks/{unknown}/cancel"), format!("/v1/tasks/{unknown}/retry")] {
        world.post(&path, said.clone()).await.problem(404, "task_not_found");
    }
    world.post("/v1/workers/w/drain", said).await.problem(404, "worker_not_found");
    for entry in world.get("/v1/audit").await.json()["items"].as_array().unwrap() {
        assert_eq!((&entry["by"], &entry["reason"]), (&json!("ada"), &json!("in the way")), "{entry}");
        assert_eq!(entry["outcome"], 404);
    }
}

#[tokio::test]
async fn a_queue_of_a_misspelt_name_is_listed_until_it_is_resumed() {
    let world = World::new();
    let paused = world.act("/v1/queues/imagse/pause").await.json();
    assert_eq!((&paused["paused"], &paused["used"]), (&json!(true), &json!(false)));
    assert_eq!(world.get("/v1/queues").await.json()["items"][0]["name"], "imagse");
    for _ in 0..2 {
        let resumed = world.act("/v1/queues/imagse/resume").await;
        assert_eq!((resumed.status.as_u16(), &resumed.json()["used"]), (200, &json!(false)));
        assert_eq!(world.get("/v1/queues").await.json()["items"], json!([]));
    }
    world.get("/v1/queues/imagse").await.problem(404, "queue_not_found");
}

#[tokio::test]
async fn the_order_of_a_queue_is_stated_whole_shown_with_it_and_audited() {
    let world = World::new();
    world.create(json!({"type": "a", "queue": "images"})).await;
    assert_eq!(world.get("/v1/queues/images").await.json().get("order"), None, "the usual order");
    let path = "/v1/queues/images/order";
    let fair = json!({"fair": "project", "age_after_seconds": 600, "by": "ada", "reason": "take turns"});
    let change = world.post(path, fair).await;
    let both = json!({"fair": "project", "age_after_seconds": 600});
    assert_eq!(
        (change.status.as_u16(), change.json()),
        (200, json!({"queue": "images", "from": {}, "to": both}))
    );
    for shown in [
        world.get("/v1/queues/images").await.json(),
        world.get("/v1/queues").await.json()["items"][0].clone(),
        world.get("/v1/stats").await.json()["queues"][0].clone(),
        world.post("/v1/queues/images/pause", json!({})).await.json(),
        world.act("/v1/queues/images/resume").await.json(),
    ] {
        assert_eq!(shown["order"], both, "{shown}");
    }
    // What is left out is off.
    let change = world.post(path, json!({"fair": "key", "by": "bob"})).await.json();
    assert_eq!(change, json!({"queue": "images", "from": both, "to": {"fair": "key"}}));
    let change = world.post(path, json!({"fair": null, "age_after_seconds": 1})).await.json();
    assert_eq!((&change["from"], &change["to"]), (&json!({"fair": "key"}), &json!({"age_after_seconds": 1})));
    world.post(path, json!({})).await;
    assert_eq!(world.post(path, json!({})).await.json()["to"], json!({}), "once more");
    assert_eq!(world.get("/v1/queues/images").await.json().get("order"), None);

    let audit = world.get("/v1/audit?action=order_queue").await.json();
    let entries = audit["items"].as_array().unwrap().iter().rev();
    let told: Vec<_> = entries
        .map(|entry| {
            let change = &entry["change"];
            json!([entry["target"], entry["by"], entry["reason"], change["from"], change["to"]])
        })
        .collect();
    let both = "fair by project; a priority higher after each 600 s";
    assert_eq!(
        told,
        [
            json!([path, "ada", "take turns", null, both]),
            json!([path, "bob", null, both, "fair by key"]),
            json!([path, null, null, "fair by key", "a priority higher after each 1 s"]),
            json!([path, null, null, "a priority higher after each 1 s", null]),
            json!([path, null, null, null, null]),
        ]
    );
}

#[tokio::test]
async fn claims_go_by_the_order_of_a_queue_from_the_next_one_on() {
    let world = World::new();
    for (project, priority) in
        [("film", "normal"), ("film", "normal"), ("film", "normal"), ("game", "normal")]
    {
        world.create(json!({"type": "a", "project": project, "priority": priority})).await;
        world.advance(Duration::from_secs(1));
    }
    let claimed = async |worker: &str| world.claim(worker).await["project"].clone();
    assert_eq!(claimed("w1").await, "film");
    world.post("/v1/queues/default/order", json!({"fair": "project"})).await;
    assert_eq!(claimed("w2").await, "game", "of film one runs");
    assert_eq!(claimed("w3").await, "film");
    // A task that has waited for long enough goes before a later one of a higher priority.
    world.create(json!({"type": "a", "project": "film", "priority": "low"})).await;
    world.post("/v1/queues/default/order", json!({"age_after_seconds": 30})).await;
    world.advance(Duration::from_secs(90));
    world.create(json!({"type": "a", "project": "late", "priority": "high"})).await;
    assert_eq!(claimed("w4").await, "film");
    let low = world.claim("w5").await;
    assert_eq!((&low["priority"], &low["project"]), (&json!("low"), &json!("film")));
    assert_eq!(claimed("w6").await, "late");
}

#[tokio::test]
async fn an_order_that_does_not_fit_is_refused_by_its_field_and_changes_nothing() {
    let world = World::new();
    let path = "/v1/queues/images/order";
    for (body, field, told) in [
        (json!({"fair": "queue"}), "fair", "expected project or key, got \"queue\""),
        (json!({"fair": true}), "fair", "expected project or key, got true"),
        (
            json!({"age_after_seconds": 0}),
            "age_after_seconds",
            "expected a whole number from 1 to 2592000, got 0",
        ),
        (
            json!({"age_after_seconds": "10m"}),
            "age_after_seconds",
            "expected a whole number from 1 to 2592000, got \"10m\"",
        ),
        (json!({"by": ""}), "by", "got \"\""),
        (json!({"age": 600}), "age", "expected no such field"),
    ] {
        let answer = world.post(path, body.clone()).await;
        let problem = answer.problem(422, "invalid_fields");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("{field}: ")) && detail.contains(told), "{body}: {detail}");
    }
    let both = json!({"fair": 1, "age_after_seconds": -1, "reason": ""});
    let wrong = world.post(path, both).await.wrong_fields();
    assert_eq!(wrong, ["fair", "age_after_seconds", "reason"]);
    // A whole order must be stated: no body is none.
    world.act(path).await.problem(400, "malformed_json");
    assert_eq!(world.post("/v1/queues/%00/order", json!({})).await.wrong_fields(), ["queue"]);
    world.get("/v1/queues/images").await.problem(404, "queue_not_found");
}

#[tokio::test]
async fn a_queue_that_no_task_has_named_is_listed_as_long_as_it_has_an_order_of_its_own() {
    let world = World::new();
    world.post("/v1/queues/imagse/order", json!({"fair": "key"})).await;
    let listed = world.get("/v1/queues").await.json()["items"].clone();
    assert_eq!((&listed[0]["name"], &listed[0]["used"]), (&json!("imagse"), &json!(false)));
    for action in ["pause", "resume"] {
        let queue = world.act(&format!("/v1/queues/imagse/{action}")).await.json();
        assert_eq!(queue["order"], json!({"fair": "key"}), "{queue}");
    }
    assert_eq!(world.get("/v1/queues").await.json()["items"][0]["order"], json!({"fair": "key"}));
    let change = world.post("/v1/queues/imagse/order", json!({})).await.json();
    assert_eq!((&change["from"], &change["to"]), (&json!({"fair": "key"}), &json!({})));
    assert_eq!(world.get("/v1/queues").await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_operator_bound_to_a_queue_orders_that_one_and_one_bound_to_a_project_none() {
    let world = World::with(&[("tokens.required", "always")]);
    let fair = json!({"fair": "project"});
    let gpu = world.with_token(json!({"scopes": ["operator"], "queues": ["gpu"]})).await;
    let change = gpu.post("/v1/queues/gpu/order", fair.clone()).await;
    assert_eq!((change.status.as_u16(), &change.json()["to"]), (200, &fair));
    gpu.post("/v1/queues/cpu/order", fair.clone()).await.problem(403, "outside_grant");
    let film = world.with_token(json!({"scopes": ["operator"], "project": "film"})).await;
    film.post("/v1/queues/gpu/order", json!({})).await.problem(403, "outside_grant");
    assert_eq!(gpu.get("/v1/queues/gpu").await.json()["order"], fair);
}

#[tokio::test]
async fn workers_are_directed_and_shown() {
    let world = World::new();
    world.post("/v1/workers/w/heartbeat", json!({})).await;
    for (action, status) in [("drain", "draining"), ("stop", "stopping"), ("run", "active")] {
        let worker = world.act(&format!("/v1/workers/w/{action}")).await.json();
        assert_eq!((&worker["status"], &worker["directive"]), (&json!(status), &json!(action)));
    }
    world.advance(Duration::from_secs(61));
    let workers = world.get("/v1/workers").await.json();
    assert_eq!((&workers["items"][0]["id"], &workers["items"][0]["status"]), (&json!("w"), &json!("lost")));
}

#[tokio::test]
async fn a_worker_that_says_that_it_ends_is_gone_and_alarms_nobody() {
    let world = World::new();
    for worker in ["ended", "dead"] {
        world.create(json!({"type": "a"})).await;
        world.claim(worker).await;
    }
    let silent = world.get("/v1/stats").await.json()["workers"].clone();
    assert_eq!(silent, json!({"alive": 0, "busy": 0, "idle": 0, "silent": 2, "lost": 0, "gone": 0}));
    world.post("/v1/workers/dead/heartbeat", json!({})).await;
    world.post("/v1/workers/ended/heartbeat", json!({"ending": true})).await;
    world.advance(Duration::from_secs(61));
    let told = world.get("/v1/workers/ended").await.json();
    assert_eq!((&told["status"], &told["ended_at"]), (&json!("gone"), &json!("2026-02-02T02:40:00.000Z")));
    let counts = world.get("/v1/stats").await.json()["workers"].clone();
    assert_eq!(counts, json!({"alive": 0, "busy": 0, "idle": 0, "silent": 0, "lost": 1, "gone": 1}));
    let round = reap_within(&world.app, Duration::from_secs(60)).await.unwrap();
    assert_eq!((round.taken, round.workers_lost), (2, 1), "what both held, and the one that was lost");
    let wrong = world.post("/v1/workers/ended/heartbeat", json!({"ending": 1})).await;
    assert_eq!(wrong.wrong_fields(), ["ending"]);
}

#[tokio::test]
async fn what_a_lost_worker_held_is_taken_back() {
    let world = World::new();
    let kept = world.create(json!({"type": "a"})).await;
    world.claim("alive").await;
    let lost = world.create(json!({"type": "a"})).await;
    world.claim("dead").await;
    world.advance(Duration::from_secs(50));
    world.post("/v1/workers/alive/heartbeat", json!({"running": [{"task_id": kept, "attempt": 1}]})).await;
    assert_eq!(world.act("/v1/reap").await.json(), json!({"taken": [], "more": false}));
    world.advance(Duration::from_secs(20));
    let other = world.post("/v1/reap", json!({"worker_id": "alive", "limit": 10})).await.json();
    assert_eq!(other["taken"], json!([]));
    let answer = world.post("/v1/reap", json!({"queue": "default"})).await.json();
    let taken = json!({"task_id": lost, "attempt": 1, "worker_id": "dead", "reason": "heartbeat_missed", "to": "queued"});
    assert_eq!(answer, json!({"taken": [taken], "more": false}));
    assert_eq!(world.task(&kept).await["task"]["status"], "running");
    let late = json!({"worker_id": "dead", "attempt": 1});
    world.post(&format!("/v1/tasks/{lost}/complete"), late).await.problem(409, "lease_lost");
    assert_eq!(
        world.post("/v1/reap", json!({"limit": 0, "worker": 1})).await.wrong_fields(),
        ["limit", "worker"]
    );
}

#[tokio::test]
async fn a_round_of_the_reaper_takes_all_back_and_removes_what_is_over() {
    let world = World::new();
    // More than a few batches.
    let tasks = vec![json!({"type": "a", "max_attempts": 1}); 750];
    for _ in 0..2 {
        assert_eq!(world.post("/v1/tasks/batch", json!({"tasks": tasks})).await.status, 201);
    }
    for claim in 0..15 {
        let worker = ["dead", "gone"][claim % 2];
        world.post("/v1/claims", json!({"worker_id": worker, "max_tasks": 100})).await;
    }
    // The first round begins to hear, and to believe the clock.
    assert_eq!(reap_within(&world.app, Duration::from_secs(60)).await.unwrap(), Round::default());
    world.advance(Duration::from_secs(61));
    let round = reap_within(&world.app, Duration::from_secs(60)).await.unwrap();
    assert_eq!(round, Round { taken: 1_500, workers_lost: 2, ..Round::default() });
    assert_eq!(world.get("/v1/stats").await.json()["states"]["failed"], 1_500);
    let budget = Duration::from_secs(60);
    world.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(reap_within(&world.app, budget).await.unwrap(), Round::default(), "a time that has jumped");
    world.advance(Duration::from_secs(3_600));
    let round = reap_within(&world.app, budget).await.unwrap();
    assert_eq!((round.taken, round.more), (0, false));
    assert!(round.removed >= 1_500, "{round:?}");
    assert_eq!(world.get("/v1/tasks").await.json()["items"], json!([]));
    let none = reap_within(&world.app, Duration::ZERO).await.unwrap();
    assert!(none.more, "no time, so there may be more");
}
