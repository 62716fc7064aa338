//! Several attempts that end by one request, as callers meet it.

use serde_json::{Value, json};

use crate::world::{Answer, World};

/// A task that a world was given under this number.
fn id(number: u32) -> String {
    format!("01980a6e-5b7c-7cc3-98c4-{number:012x}")
}

/// A world with so many tasks that a worker runs, each claimed once.
async fn running(world: &World, tasks: u32) {
    for number in 0..tasks {
        world.create(json!({"id": id(number), "type": "render", "max_attempts": 2})).await;
        assert_eq!(world.claim("w").await["id"], id(number));
    }
}

/// What may be said of one attempt, right and wrong: the route that says it alone, its task and its body.
fn ends() -> Vec<(&'static str, String, Value)> {
    let by = |worker: &str, attempt: u32| json!({"worker_id": worker, "attempt": attempt});
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    let failure = || with(by("w", 1), "error", json!({"message": "out of memory", "code": "oom"}));
    vec![
        ("complete", id(0), with(by("w", 1), "result", json!({"width": 320}))),
        ("complete", id(1), by("other", 1)),
        ("complete", id(1), by("w", 2)),
        ("fail", id(1), with(failure(), "retry_after_seconds", json!(60))),
        ("fail", id(2), with(failure(), "retryable", json!(false))),
        ("release", id(3), with(by("w", 1), "delay_seconds", json!(5))),
        ("release", id(0), by("w", 1)),
        ("complete", id(0), with(by("w", 1), "result", json!({"width": 640}))),
        ("complete", id(0), with(by("w", 1), "result", json!({"width": 320}))),
        ("fail", id(1), failure()),
        ("complete", id(77), by("w", 1)),
        ("complete", "no-id".to_owned(), by("w", 1)),
        ("complete", id(4), json!({"worker_id": "w", "attempt": 0, "colour": "red"})),
        ("fail", id(4), by("w", 1)),
        ("release", id(4), with(by("w", 1), "delay_seconds", json!(-1))),
        ("complete", id(5), by("w", 1)),
    ]
}

/// The end as one of several.
fn ending((how, task, body): &(&str, String, Value)) -> Value {
    let name = match *how {
        "complete" => "completion",
        "fail" => "failure",
        how => how,
    };
    json!({"task_id": task, name: body})
}

async fn end(world: &World, body: Value) -> Value {
    let answer = world.post("/v1/endings", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What of an answer is the same alone and with others: not the id of a request or of a generation, and a field by its own name.
fn alike(mut answer: Value, path: &str) -> Value {
    for name in ["request_id", "generation_id"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    let mut text = answer.to_string();
    if let Some((before, id)) = text.split_once("generation ") {
        text = format!("{before}{}", &id[36..]);
    }
    let fields = text.replace(&format!("{path}completion."), "").replace(&format!("{path}failure."), "");
    serde_json::from_str(&fields.replace(&format!("{path}release."), "").replace(path, "")).unwrap()
}

#[tokio::test]
async fn each_end_is_answered_as_its_own_route_would() {
    let (alone, together) = (World::new(), World::new());
    running(&alone, 6).await;
    running(&together, 6).await;
    let all: Vec<Value> = ends().iter().map(ending).collect();
    let answer = end(&together, json!({"endings": all})).await;
    let mut taken = 0;
    for (index, (how, task, body)) in ends().into_iter().enumerate() {
        let single = alone.post(&format!("/v1/tasks/{task}/{how}"), body).await;
        let item = &answer["items"][index];
        assert_eq!(item["index"], index);
        let kind = match (single.status.is_success(), how) {
            (false, _) => "problem",
            (true, "complete") => "completed",
            (true, _) => "ended",
        };
        assert_eq!(item.as_object().unwrap().len(), 2, "{item}");
        taken += u32::from(single.status.is_success());
        let path = format!("endings[{index}].");
        if task == "no-id" {
            // A path has no field.
            assert_eq!(item["problem"]["errors"][0]["field"], format!("{path}task_id"));
            continue;
        }
        assert_eq!(alike(item[kind].clone(), &path), alike(single.json(), &path), "{how} {task}");
    }
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(taken), &json!(16 - taken)));
    assert!(taken >= 6, "{answer}");
    for number in 0..6 {
        let state = |task: Value| (task["task"]["status"].clone(), task["generation"]["result"].clone());
        assert_eq!(state(together.task(&id(number)).await), state(alone.task(&id(number)).await));
    }
}

#[tokio::test]
async fn the_whole_request_may_be_sent_again() {
    let world = World::new();
    running(&world, 3).await;
    for number in 10..14 {
        world.create(json!({"id": id(number), "type": "render"})).await;
    }
    let ends: Vec<Value> = ends()
        .iter()
        .enumerate()
        .filter(|(at, _)| [0, 1, 3, 4].contains(at))
        .map(|(_, one)| ending(one))
        .collect();
    let claim = json!({"worker_id": "w", "max_tasks": 3, "request_id": "r-1"});
    let body = json!({"endings": ends, "claim": claim});
    let first = end(&world, body.clone()).await;
    let next: Vec<&Value> =
        first["next"]["tasks"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
    assert_eq!(next, [&json!(id(10)), &json!(id(11)), &json!(id(12))]);
    let again = end(&world, body).await;
    assert_eq!(again, first);
    assert_eq!(world.get("/v1/workers/w").await.json()["active"], 3);
}

/// Holds that an answer tells of a claim which was refused for its name.
fn misnamed(answer: &Value) {
    assert!(answer.get("next").is_none(), "{answer}");
    let problem = &answer["next_problem"];
    assert_eq!((&problem["status"], &problem["code"]), (&json!(422), &json!("invalid_fields")));
    assert_eq!(problem["errors"][0]["field"], "claim.request_id");
}

#[tokio::test]
async fn a_completion_names_its_claim_and_no_other_may_have_that_name() {
    let world = World::new();
    running(&world, 1).await;
    for number in 10..13 {
        world.create(json!({"id": id(number), "type": "render"})).await;
    }
    let own = json!({"worker_id": "w", "max_tasks": 2, "request_id": format!("{}@1", id(0))});
    let others = json!({"worker_id": "w", "request_id": format!("{}@2", id(0))});
    let (path, end) = (format!("/v1/tasks/{}/complete", id(0)), json!({"worker_id": "w", "attempt": 1}));
    let with = |claim: &Value| {
        let mut body = end.clone();
        body["claim"] = claim.clone();
        body
    };
    assert_eq!(world.post("/v1/claims", own.clone()).await.wrong_fields(), ["request_id"]);
    assert_eq!(world.task(&id(0)).await["task"]["status"], "running");

    let first = world.post(&path, with(&own)).await.json();
    let next: Vec<&Value> =
        first["next"]["tasks"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
    assert_eq!(next, [&json!(id(10)), &json!(id(11))]);
    assert_eq!(world.post(&path, with(&own)).await.json(), first);
    let again = world.post(&path, with(&others)).await.json();
    assert_eq!(again["generation_id"], first["generation_id"]);
    misnamed(&again);
    assert_eq!(world.get("/v1/workers/w").await.json()["active"], 2);
}

#[tokio::test]
async fn an_end_is_taken_whatever_name_its_claim_has() {
    let world = World::new();
    running(&world, 2).await;
    world.create(json!({"id": id(10), "type": "render"})).await;
    let end = json!({"worker_id": "w", "attempt": 1});
    let own = |number: u32| json!({"worker_id": "w", "request_id": format!("{}@1", id(number))});
    let mut alone = end.clone();
    alone["claim"] = own(1);
    let answer = world.post(&format!("/v1/tasks/{}/complete", id(0)), alone).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    misnamed(&answer.json());
    assert_eq!(world.task(&id(0)).await["task"]["status"], "completed");
    let together = json!({"endings": [{"task_id": id(1), "completion": end}], "claim": own(1)});
    let answer = world.post("/v1/endings", together).await.json();
    assert_eq!(answer["accepted"], 1);
    misnamed(&answer);
    assert_eq!(world.task(&id(1)).await["task"]["status"], "completed");
    assert_eq!(world.get("/v1/workers/w").await.json()["active"], 0);
}

#[tokio::test]
async fn what_is_wrong_with_the_whole_request_is_refused_and_does_nothing() {
    let world = World::new();
    running(&world, 1).await;
    let good = || ending(&ends()[0]);
    let refused = async |body: Value| world.post("/v1/endings", body).await.wrong_fields();
    assert_eq!(refused(json!({})).await, ["endings"]);
    assert_eq!(refused(json!({"endings": []})).await, ["endings"]);
    assert_eq!(refused(json!({"endings": vec![good(); 1_001]})).await, ["endings"]);
    assert_eq!(refused(json!({"endings": [good()], "atomic": true})).await, ["atomic"]);
    for (field, value) in [("max_tasks", 0), ("wait_seconds", 5)] {
        let mut claim = json!({"worker_id": "w"});
        claim[field] = json!(value);
        let fields = refused(json!({"endings": [good()], "claim": claim})).await;
        assert_eq!(fields, [format!("claim.{field}")]);
    }
    world.post_text("/v1/endings", r#"{"endings": ["#).await.problem(400, "malformed_json");
    assert_eq!(world.task(&id(0)).await["task"]["status"], "running");
    // An end with a claim of its own, and one that says two things, are wrong alone.
    let mut claims = good();
    claims["completion"]["claim"] = json!({"worker_id": "w"});
    let mut both = good();
    both["release"] = json!({"worker_id": "w", "attempt": 1});
    let answer = end(&world, json!({"endings": [claims, both, 7, good()]})).await;
    let field = |index: usize| answer["items"][index]["problem"]["errors"][0]["field"].clone();
    assert_eq!(field(0), "endings[0].completion.claim");
    assert_eq!(field(1), "endings[1].completion");
    assert_eq!(field(2), "endings[2]");
    assert_eq!(answer["items"][3]["completed"]["status"], "completed");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_its_size_and_does_nothing() {
    let world = World::with(&[("limits.batch_bytes", "65536")]);
    running(&world, 1).await;
    let large = json!({"worker_id": "w", "attempt": 1, "result": "x".repeat(70_000)});
    let ending = json!({"task_id": id(0), "completion": large});
    let problem =
        world.post("/v1/endings", json!({"endings": [ending]})).await.problem(413, "payload_too_large");
    assert!(problem["detail"].as_str().unwrap().contains("65536"), "{problem}");
    assert_eq!(world.task(&id(0)).await["task"]["status"], "running");
}

#[tokio::test]
async fn a_thousand_ends_fit_into_one_request() {
    let world = World::new();
    running(&world, 20).await;
    let ending = |number: u32| json!({"task_id": id(number % 25), "completion": {"worker_id": "w", "attempt": 1, "location": "x".repeat(500)}});
    let answer = end(&world, json!({"endings": (0..1_000).map(ending).collect::<Vec<_>>()})).await;
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(800), &json!(200)));
}

#[tokio::test]
async fn a_bound_caller_ends_what_is_its_own_and_its_claim_is_judged_by_itself() {
    let world = World::with(&[("tokens.required", "always")]);
    let film =
        world.with_token(json!({"scopes": ["worker", "producer"], "project": "film", "queues": ["a"]})).await;
    let game = world.with_token(json!({"scopes": ["worker", "producer"], "project": "game"})).await;
    let own = film.create(json!({"type": "render", "queue": "a"})).await;
    let next = film.create(json!({"type": "render", "queue": "a"})).await;
    let other = game.create(json!({"type": "render"})).await;
    let claimed = |answer: Answer| answer.json()["tasks"][0]["id"].clone();
    let claim = json!({"worker_id": "f", "queues": ["a"]});
    assert_eq!(claimed(film.post("/v1/claims", claim.clone()).await), own);
    assert_eq!(claimed(game.post("/v1/claims", json!({"worker_id": "g"})).await), other);
    let completion = |task: &str, worker: &str| json!({"task_id": task, "completion": {"worker_id": worker, "attempt": 1}});
    let endings = [completion(&other, "g"), completion(&own, "f")];
    let beyond = json!({"worker_id": "f", "queues": ["b"]});
    let answer = end(&film, json!({"endings": endings, "claim": beyond})).await;
    assert_eq!(answer["items"][0]["problem"]["code"], "task_not_found");
    assert_eq!(answer["items"][1]["completed"]["task_id"], own);
    assert_eq!(answer["next_problem"]["code"], "outside_grant");
    assert_eq!(game.task(&other).await["task"]["status"], "running");
    let answer = end(&film, json!({"endings": endings, "claim": claim})).await;
    assert_eq!(answer["next"]["tasks"][0]["id"], next);
}
