//! The queue `completions`.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use crate::world::{COMPLETIONS_DEAD, World, again, invoke, messages, send};

/// Creates tasks and has a worker claim them; their ids.
async fn claimed(world: &World, tasks: usize) -> Vec<String> {
    let (create, claim) = (world.function("create-task"), world.function("claim-task"));
    let mut ids = Vec::new();
    while ids.len() < tasks {
        let several = (tasks - ids.len()).min(25);
        let batch: Vec<Value> = (0..several).map(|_| json!({"type": "render"})).collect();
        let (status, answer) =
            send(&create, "POST", "/v1/tasks/batch", json!({"tasks": batch, "atomic": false})).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(several)), "{answer}");
        let request = json!({"worker_id": "w", "max_tasks": several, "capacity": 10_000});
        let (_, answer) = send(&claim, "POST", "/v1/claims", request).await;
        let tasks = answer["tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), several);
        ids.extend(tasks.iter().map(|task| task["id"].as_str().unwrap().to_owned()));
    }
    ids
}

fn completion(task: &str, attempt: u32) -> String {
    let location = format!("s3://renders/{task}.png");
    json!({"task_id": task, "completion": {"worker_id": "w", "attempt": attempt, "location": location}})
        .to_string()
}

/// Ways in which a message can never succeed, with the codes of their reasons.
fn poison(kind: usize, task: &str) -> (String, &'static str) {
    let other = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    match kind % 6 {
        0 => ("{\"task_id\":".to_owned(), "malformed_json"),
        1 => (json!({"task_id": task}).to_string(), "invalid_fields"),
        2 => (completion(other, 1), "task_not_found"),
        3 => (completion(task, 2), "stale_attempt"),
        4 => (completion(task, 1).replace("\"w\"", "\"thief\""), "wrong_worker"),
        _ => (completion(task, 1).replace("attempt", "atempt"), "invalid_fields"),
    }
}

/// How many completions are sent: few in the gate, `BATON_TEST_COMPLETIONS=10000` for the bar.
fn completions(few: usize) -> usize {
    std::env::var("BATON_TEST_COMPLETIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(few)
}

#[tokio::test]
async fn of_many_completions_each_good_one_is_applied_once_and_each_poisoned_one_is_kept_with_its_reason() {
    each_good_one_is_applied_once(World::new().await, completions(200)).await;
}

#[tokio::test]
async fn so_it_is_with_a_file_as_the_store() {
    each_good_one_is_applied_once(World::on_file().await, completions(500)).await;
}

async fn each_good_one_is_applied_once(world: World, number: usize) {
    let tasks = claimed(&world, number).await;
    let mut sent: Vec<(String, String)> = Vec::new();
    let mut poisoned: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        sent.push((format!("good-{place}"), completion(task, 1)));
        if place % 7 == 0 {
            // Delivered twice by the queue, and sent twice by its worker.
            sent.push((format!("good-{place}"), completion(task, 1)));
            sent.push((format!("again-{place}"), completion(task, 1)));
        }
        if place % 100 == 0 {
            for kind in 0..6 {
                let id = format!("poison-{place}-{kind}");
                let (body, code) = poison(kind, task);
                poisoned.insert(id.clone(), (body.clone(), code));
                sent.push((id, body));
            }
        }
    }
    sent.shuffle(&mut StdRng::seed_from_u64(7));
    // Three processes of the function, each with batches of its own, at once.
    let hosts = [(); 3].map(|()| world.function("complete-task"));
    for round in sent.chunks(30) {
        let invoked = hosts.iter().zip(round.chunks(10)).map(async |(host, batch)| {
            assert_eq!(again(&invoke(host, &messages(batch)).await), Vec::<String>::new());
        });
        futures::future::join_all(invoked).await;
    }

    let query = world.function("query-tasks");
    let mut generations = BTreeSet::new();
    for task in &tasks {
        let (status, detail) = send(&query, "GET", &format!("/v1/tasks/{task}"), Value::Null).await;
        assert_eq!((status, &detail["task"]["status"]), (200, &json!("completed")), "{detail}");
        assert_eq!(detail["generation"]["location"], format!("s3://renders/{task}.png"));
        generations.insert(detail["generation"]["id"].as_str().unwrap().to_owned());
        let completed =
            detail["history"].as_array().unwrap().iter().filter(|event| event["kind"] == "completed");
        assert_eq!(completed.count(), 1);
    }
    let mut stored = 0;
    let mut path = "/v1/generations?limit=500".to_owned();
    loop {
        let (_, page) = send(&query, "GET", &path, Value::Null).await;
        stored += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            None => break,
            Some(next) => path = format!("/v1/generations?limit=500&cursor={next}"),
        }
    }
    assert_eq!((generations.len(), stored), (tasks.len(), tasks.len()), "one generation a task");

    let dead = world.queues.visible(COMPLETIONS_DEAD);
    assert_eq!(dead.len(), poisoned.len());
    for letter in dead {
        let (body, code) = &poisoned[&letter.attributes["baton-message-id"]];
        // A task that was completed before its poison came is not running for the thief either.
        assert_eq!((&letter.body, letter.attributes["baton-reason-code"].as_str()), (body, *code));
        assert!(letter.attributes["baton-reason"].contains("; ") || *code == "invalid_fields");
    }
}

#[tokio::test]
async fn failures_and_releases_come_through_the_queue_too() {
    let world = World::new().await;
    let tasks = claimed(&world, 2).await;
    let event = messages(&[
        (
            "f".to_owned(),
            json!({"task_id": tasks[0], "failure": {"worker_id": "w", "attempt": 1, "retryable": false,
                "error": {"message": "no GPU"}}})
            .to_string(),
        ),
        (
            "r".to_owned(),
            json!({"task_id": tasks[1], "release": {"worker_id": "w", "attempt": 1, "reason": "drained"}})
                .to_string(),
        ),
    ]);
    let complete = world.function("complete-task");
    for _ in 0..2 {
        assert_eq!(again(&invoke(&complete, &event).await), Vec::<String>::new());
    }
    assert_eq!(world.queues.visible(COMPLETIONS_DEAD), []);
    let query = world.function("query-tasks");
    for (task, status) in tasks.iter().zip(["failed", "queued"]) {
        let (_, detail) = send(&query, "GET", &format!("/v1/tasks/{task}"), Value::Null).await;
        assert_eq!(detail["task"]["status"], *status, "{detail}");
    }
}

#[tokio::test]
async fn a_failure_that_comes_again_after_the_next_attempt_began_is_done_and_another_is_a_dead_letter() {
    let world = World::new().await;
    let task = claimed(&world, 1).await.remove(0);
    let failure = |worker: &str| {
        json!({"task_id": task, "failure": {"worker_id": worker, "attempt": 1, "retry_after_seconds": 0,
            "error": {"message": "no GPU"}}})
        .to_string()
    };
    let (complete, claim) = (world.function("complete-task"), world.function("claim-task"));
    let event = messages(&[("f".to_owned(), failure("w"))]);
    assert_eq!(again(&invoke(&complete, &event).await), Vec::<String>::new());
    let (_, answer) = send(&claim, "POST", "/v1/claims", json!({"worker_id": "v"})).await;
    assert_eq!((&answer["tasks"][0]["id"], &answer["tasks"][0]["attempt"]), (&json!(task), &json!(2)));

    let late = messages(&[("f".to_owned(), failure("w")), ("other".to_owned(), failure("thief"))]);
    assert_eq!(again(&invoke(&complete, &late).await), Vec::<String>::new());
    let dead = world.queues.visible(COMPLETIONS_DEAD);
    let told = dead.iter().map(|letter| &letter.attributes);
    let told: Vec<_> =
        told.map(|about| (&*about["baton-message-id"], &*about["baton-reason-code"])).collect();
    assert_eq!(told, [("other", "stale_attempt")]);
}

#[tokio::test]
async fn a_claim_along_with_a_queued_completion_is_refused_as_nobody_would_hear_of_its_tasks() {
    let world = World::new().await;
    let tasks = claimed(&world, 1).await;
    let mut body: Value = serde_json::from_str(&completion(&tasks[0], 1)).unwrap();
    body["completion"]["claim"] = json!({"worker_id": "w"});
    let complete = world.function("complete-task");
    assert_eq!(
        again(&invoke(&complete, &messages(&[("m".into(), body.to_string())])).await),
        Vec::<String>::new()
    );
    let dead = world.queues.visible(COMPLETIONS_DEAD);
    assert!(dead[0].attributes["baton-reason"].contains("completion.claim"), "{dead:?}");
}
