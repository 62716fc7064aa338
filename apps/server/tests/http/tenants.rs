//! Two tenants on one server: nothing of one reaches the other.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{Answer, World};

/// Stands in everything that belongs to the first tenant.
const MARK: &str = "only-for-film";

/// Less than the time after which a waiting claim looks by itself.
const SOON: Duration = Duration::from_secs(4);

/// A server with the tokens of two projects; each may do all that a bound token may.
struct Tenants {
    all: World,
    film: World,
    game: World,
}

impl Tenants {
    async fn new() -> Self {
        let world = World::with(&[("tokens.required", "always")]);
        let bound = |project: &str| json!({"name": project, "project": project});
        Self {
            all: world.with_token(json!({})).await,
            film: world.with_token(bound("film")).await,
            game: world.with_token(bound("game")).await,
        }
    }
}

fn marked() -> Value {
    json!({"type": "render", "params": {"mark": MARK}, "description": MARK, "domain": MARK})
}

#[tokio::test]
async fn no_answer_to_one_tenant_shows_what_is_of_another() {
    let Tenants { all, film, game } = Tenants::new().await;
    // Everything that the film has: a waiting task, a running one with progress, a failed and a completed one.
    let waiting = film.create(json!({"type": "later", "params": MARK, "delay_seconds": 60})).await;
    let failed = film.create(marked()).await;
    film.claim("film-1").await;
    let failure =
        json!({"worker_id": "film-1", "attempt": 1, "retryable": false, "error": {"message": MARK}});
    assert_eq!(film.post(&format!("/v1/tasks/{failed}/fail"), failure).await.status, 200);
    let done = film.create(marked()).await;
    film.claim("film-1").await;
    let output = json!({"worker_id": "film-1", "attempt": 1, "result": {"mark": MARK}, "location": MARK});
    let completed = film.post(&format!("/v1/tasks/{done}/complete"), output.clone()).await.json();
    let generation = completed["generation_id"].as_str().unwrap().to_owned();
    let running = film.create(marked()).await;
    let claim = json!({"worker_id": "film-1", "request_id": "c-1", "types": ["render"]});
    assert_eq!(film.post("/v1/claims", claim.clone()).await.json()["tasks"][0]["id"], running);
    let beat = json!({
        "running": [{"task_id": running, "attempt": 1, "progress": 0.5, "message": MARK}], "labels": {"a": MARK},
        "logs": [{"message": MARK, "task_id": running}]
    });
    assert_eq!(film.post("/v1/workers/film-1/heartbeat", beat).await.status, 200);
    let own = game.create(json!({"type": "render"})).await;

    let mut answers: Vec<(String, Answer)> = Vec::new();
    for task in [&waiting, &failed, &done, &running] {
        for path in [
            format!("/v1/tasks/{task}"),
            format!("/v1/tasks/{task}/history"),
            format!("/v1/tasks/{task}/graph"),
            format!("/v1/tasks/{task}/why"),
        ] {
            let answer = game.get(&path).await;
            answer.problem(404, "task_not_found");
            answers.push((path, answer));
        }
        let fence = json!({"worker_id": "film-1", "attempt": 1});
        let mut claiming = fence.clone();
        claiming["claim"] = json!({"worker_id": "film-1"});
        for (action, body) in [
            ("cancel", json!({})),
            ("retry", json!({})),
            ("complete", output.clone()),
            ("complete", claiming),
            ("fail", json!({"worker_id": "film-1", "attempt": 1, "error": {"message": "no"}})),
            ("release", fence),
        ] {
            let path = format!("/v1/tasks/{task}/{action}");
            let answer = game.post(&path, body).await;
            answer.problem(404, "task_not_found");
            answers.push((path, answer));
        }
    }
    let path = format!("/v1/generations/{generation}");
    let answer = game.get(&path).await;
    answer.problem(404, "generation_not_found");
    answers.push((path, answer));
    for path in [
        "/v1/tasks",
        "/v1/tasks?status=running",
        "/v1/tasks?limit=1",
        "/v1/tasks?worker=film-1",
        "/v1/generations",
        "/v1/tasks?project=film",
        "/v1/generations?project=film",
        "/v1/queues",
        "/v1/queues/default",
        "/v1/stats",
        "/v1/logs",
        "/v1/timeline",
        "/v1/timeline?project=film",
        "/v1/timeline?worker=film-1",
        "/v1/events?after=0&wait=0s",
        "/v1/events?after=0&wait=0s&worker=film-1",
        "/v1/workers",
        "/v1/workers/film-1",
        "/v1/audit",
        "/v1/tokens",
    ] {
        answers.push((path.to_owned(), game.get(path).await));
    }
    answers.push(("ids".to_owned(), game.get(&format!("/v1/task-ids?prefix={}", &running[..8])).await));
    // The name of the other's worker, and of its claim.
    let replay = game.post("/v1/claims", claim).await;
    replay.problem(409, "worker_of_other");
    answers.push(("replay".to_owned(), replay));
    let beat = json!({"running": [{"task_id": running, "attempt": 1}]});
    let answer = game.post("/v1/workers/film-1/heartbeat", beat).await;
    answer.problem(409, "worker_of_other");
    answers.push(("beat".to_owned(), answer));
    // A worker of its own that claims to run what it has only heard of.
    let heard: Vec<Value> =
        [&waiting, &failed, &done, &running, &"01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".to_owned()]
            .iter()
            .map(|task| json!({"task_id": task, "attempt": 1}))
            .collect();
    let answer = game.post("/v1/workers/game-1/heartbeat", json!({"running": heard})).await;
    let lost = answer.json()["lost"].as_array().unwrap().clone();
    assert!(lost.len() == 5 && lost.iter().all(|lost| lost["reason"] == "unknown_task"), "{lost:?}");
    let answer = game.post("/v1/claims", json!({"worker_id": "game-1", "max_tasks": 9})).await;
    let tasks = answer.json()["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.iter().map(|task| task["id"].as_str().unwrap()).collect::<Vec<_>>(), [own.as_str()]);
    answers.push(("claim".to_owned(), answer));

    for (path, answer) in &answers {
        let text = answer.text();
        assert!(!text.contains(MARK), "{path}: {text}");
        // A name is repeated to who has asked for it, as unknown.
        let found = answer.status == 200;
        for id in [&waiting, &failed, &done, &running, &generation, "film-1"] {
            assert!(!(found && text.contains(id)), "{path}: {text}");
        }
    }
    // What is outside looks exactly as what is nowhere.
    let nowhere = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
    let told = async |id: &str| {
        let problem = game.get(&format!("/v1/tasks/{id}")).await.problem(404, "task_not_found");
        problem["detail"].as_str().unwrap().replace(id, "ID")
    };
    assert_eq!(told(&running).await, told(nowhere).await);

    // Nothing of the film has changed, and it sees all of its own.
    assert_eq!(film.task(&running).await["task"]["status"], "running");
    assert_eq!(film.task(&failed).await["task"]["status"], "failed");
    assert_eq!(film.get("/v1/tasks").await.json()["items"].as_array().unwrap().len(), 4);
    assert_eq!(film.get(&format!("/v1/generations/{generation}")).await.status, 200);
    let ids = film.get(&format!("/v1/task-ids?prefix={}", &running[..8])).await.json();
    assert_eq!(ids["ids"].as_array().unwrap().len(), 4);
    let worker = film.get("/v1/workers/film-1").await.json();
    assert_eq!(worker["tasks"][0]["task_id"], running);
    assert_eq!(all.get("/v1/tasks").await.json()["items"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn what_a_bound_producer_makes_belongs_to_its_project() {
    let Tenants { all, film, .. } = Tenants::new().await;
    let task = film.create(json!({"type": "a"})).await;
    assert_eq!(all.task(&task).await["task"]["project"], "film");
    let problem =
        film.post("/v1/tasks", json!({"type": "a", "project": "game"})).await.problem(403, "outside_grant");
    assert_eq!(problem["errors"][0], json!({"field": "project", "expected": "film", "got": "game"}));

    let batch = json!({"tasks": [{"type": "a"}, {"type": "b", "project": "film"}, {"type": "c"},
        {"type": "d", "project": "game"}]});
    let problem = film.post("/v1/tasks/batch", batch.clone()).await.problem(403, "outside_grant");
    assert_eq!(problem["errors"][0]["field"], "tasks[3].project");
    assert_eq!(film.get("/v1/tasks").await.json()["items"].as_array().unwrap().len(), 1);
    let mut each = batch;
    each["atomic"] = json!(false);
    let answer = film.post("/v1/tasks/batch", each).await.json();
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(3), &json!(1)));
    assert_eq!(answer["items"][3]["problem"]["code"], "outside_grant");
    assert_eq!(answer["items"][3]["problem"]["errors"][0]["field"], "tasks[3].project");
}

#[tokio::test]
async fn the_keys_of_one_tenant_are_not_those_of_another() {
    let Tenants { all, film, game } = Tenants::new().await;
    let send = async |caller: &World, path: &str, body: Value| {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.header("idempotency-key", "k-1").body(Body::from(body.to_string())).unwrap();
        let answer = caller.send(request).await;
        (answer.headers.contains_key("idempotency-replayed"), answer.status.as_u16(), answer.text())
    };
    for (path, body) in
        [("/v1/tasks", json!({"type": "a"})), ("/v1/tasks/batch", json!({"tasks": [{"type": "a"}]}))]
    {
        let (first, again) = (send(&film, path, body.clone()).await, send(&film, path, body.clone()).await);
        assert_eq!((first.0, again.0), (false, true));
        assert_eq!(first.2, again.2);
        let other = send(&game, path, body.clone()).await;
        assert_eq!((other.0, other.1), (false, 201), "{}", other.2);
        // Nor is a key spent for the others.
        assert_eq!(send(&game, path, json!({"type": "b", "tasks": [{"type": "b"}]})).await.1, 422);
        assert_eq!(send(&all, path, body).await.1, 201);
    }
}

#[tokio::test]
async fn tokens_of_one_project_share_its_workers_and_its_keys() {
    let world = World::with(&[("tokens.required", "always")]);
    let token = || world.with_token(json!({"project": "film", "scopes": ["producer", "worker"]}));
    let (old, new) = (token().await, token().await);
    let id = old.create(json!({"type": "a"})).await;
    old.claim("w").await;
    let done = json!({"worker_id": "w", "attempt": 1});
    assert_eq!(new.post(&format!("/v1/tasks/{id}/complete"), done.clone()).await.status, 200);
    assert_eq!(old.post(&format!("/v1/tasks/{id}/complete"), done).await.status, 200);
}

#[tokio::test]
async fn a_claim_of_the_same_name_shows_no_task_of_other_queues() {
    let world = World::with(&[("tokens.required", "always")]);
    let bound = |queue: &str| json!({"project": "film", "queues": [queue], "scopes": ["producer", "worker"]});
    let (cpu, gpu) = (world.with_token(bound("cpu")).await, world.with_token(bound("gpu")).await);
    let task = gpu.create(json!({"type": "a", "params": MARK})).await;
    let claim = |queue: &str| json!({"worker_id": "w", "request_id": "c-1", "queues": [queue]});
    assert_eq!(gpu.post("/v1/claims", claim("gpu")).await.json()["tasks"][0]["id"], task);
    assert_eq!(gpu.post("/v1/claims", claim("gpu")).await.json()["tasks"][0]["id"], task);
    let replayed = cpu.post("/v1/claims", claim("cpu")).await;
    assert_eq!(replayed.json()["tasks"], json!([]), "{}", replayed.text());
    assert_eq!(replayed.json()["nothing"]["reason"], "request_spent");
    let other = cpu.create(json!({"type": "a"})).await;
    cpu.post("/v1/claims", json!({"worker_id": "w"})).await;
    let fused = json!({"worker_id": "w", "attempt": 1, "claim": claim("cpu")});
    let answer = cpu.post(&format!("/v1/tasks/{other}/complete"), fused).await.json();
    assert_eq!(answer["next"]["tasks"], json!([]), "{answer}");
}

/// A worker of each kind of bounds runs a task of project film in queue gpu; tokens of all other bounds, some of which see
/// the task, know its name, its attempt and its claim.
#[tokio::test]
async fn no_bound_token_ends_the_leases_of_anothers_worker_by_its_name() {
    let world = World::with(&[("tokens.required", "always")]);
    let bounds = [
        json!({}),
        json!({"project": "film"}),
        json!({"queues": ["gpu"]}),
        json!({"queues": ["cpu", "gpu"]}),
        json!({"project": "game"}),
        json!({"project": "game", "queues": ["gpu"]}),
    ];
    let mut tokens = Vec::new();
    for bounds in &bounds {
        tokens.push(world.with_token(bounds.clone()).await);
    }
    let all = &tokens[0];
    for (at, owner) in tokens.iter().enumerate().take(4) {
        let name = format!("w{at}");
        let task = all.create(json!({"type": "a", "project": "film", "queue": "gpu"})).await;
        let session = "01980a6e-5b7c-7cc3-98c4-dc0c0c07398f";
        let claim = json!({"worker_id": name, "queues": ["gpu"], "session_id": session, "request_id": "c-1"});
        assert_eq!(owner.post("/v1/claims", claim.clone()).await.json()["tasks"][0]["id"], task);
        let running = json!([{"task_id": task, "attempt": 1}]);
        let path = format!("/v1/workers/{name}/heartbeat");
        let beat = json!({"session_id": session, "running": running, "labels": {"mark": MARK}});
        assert_eq!(owner.post(&path, beat.clone()).await.status, 200);
        let before = all.get(&format!("/v1/workers/{name}")).await.json();
        for (other, caller) in tokens.iter().enumerate().skip(1).filter(|(other, _)| *other != at) {
            let shown = format!("{} by {}", bounds[at], bounds[other]);
            let mut anew = beat.clone();
            anew["session_id"] = json!("01980a6e-5b7c-7cc3-98c4-dc0c0c073990");
            let empty = json!({"session_id": session, "running": []});
            for beat in [beat.clone(), anew, empty] {
                caller.post(&path, beat).await.problem(409, "worker_of_other");
            }
            caller.post("/v1/claims", claim.clone()).await.problem(409, "worker_of_other");
            let fence = json!({"worker_id": name, "attempt": 1});
            let failure = json!({"worker_id": name, "attempt": 1, "error": {"message": "no"}});
            for (action, body) in [("complete", fence.clone()), ("release", fence), ("fail", failure)] {
                let answer = caller.post(&format!("/v1/tasks/{task}/{action}"), body).await.json();
                let code = if other < 4 { "worker_of_other" } else { "task_not_found" };
                assert_eq!(answer["code"], code, "{shown}: {action}");
            }
            caller.get(&format!("/v1/workers/{name}")).await.problem(404, "worker_not_found");
        }
        assert_eq!(all.get(&format!("/v1/workers/{name}")).await.json(), before);
        all.act("/v1/reap").await;
        let done = json!({"worker_id": name, "attempt": 1});
        let answer = owner.post(&format!("/v1/tasks/{task}/complete"), done).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn the_log_of_a_task_takes_no_lines_of_those_who_do_not_see_it() {
    let Tenants { all, film, game } = Tenants::new().await;
    let (task, own) = (film.create(marked()).await, game.create(json!({"type": "a"})).await);
    let line = |task: &str| json!({"message": "m", "task_id": task});
    let beat = json!({"logs": [line(&task), line(&own), line(&task)]});
    assert_eq!(game.post("/v1/workers/game-1/heartbeat", beat).await.status, 200);
    let lines = async |filter: &str| {
        all.get(&format!("/v1/logs?{filter}")).await.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(lines(&format!("task_id={task}")).await, 0);
    assert_eq!(lines(&format!("task_id={own}")).await, 1);
    assert_eq!(lines("worker=game-1").await, 3);
}

#[tokio::test]
async fn a_completion_may_claim_within_the_bounds_alone() {
    let world = World::with(&[("tokens.required", "always")]);
    let gpu = world.with_token(json!({"queues": ["gpu"]})).await;
    let task = gpu.create(json!({"type": "a"})).await;
    gpu.post("/v1/claims", json!({"worker_id": "w"})).await;
    let path = format!("/v1/tasks/{task}/complete");
    let reaching =
        json!({"worker_id": "w", "attempt": 1, "claim": {"worker_id": "w", "queues": ["gpu", "cpu"]}});
    let problem = gpu.post(&path, reaching).await.problem(403, "outside_grant");
    assert_eq!(problem["errors"][0]["field"], "queues[1]");
    assert_eq!(gpu.task(&task).await["task"]["status"], "running");
    let next = gpu.create(json!({"type": "a"})).await;
    let within = json!({"worker_id": "w", "attempt": 1, "claim": {"worker_id": "w"}});
    assert_eq!(gpu.post(&path, within).await.json()["next"]["tasks"][0]["id"], next);
}

fn waits(caller: &World, claim: Value) -> JoinHandle<Value> {
    let caller = caller.clone();
    tokio::spawn(async move { caller.post("/v1/claims", claim).await.json() })
}

async fn standing(world: &World, count: usize) {
    let all = async {
        while world.app.doorbell.waiting() != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), all).await.expect("claims wait");
}

#[tokio::test]
async fn a_waiting_claim_of_one_tenant_does_not_keep_tasks_from_another() {
    let tenants = Arc::new(Tenants::new().await);
    let Tenants { all, film, game } = &*tenants;
    let claim = |worker: &str| json!({"worker_id": worker, "wait_seconds": 20});
    // The longest waiting is rung first, and finds nothing that is its own.
    let first = waits(film, claim("film-1"));
    standing(all, 1).await;
    let second = waits(film, claim("film-2"));
    standing(all, 2).await;
    let third = waits(game, claim("game-1"));
    standing(all, 3).await;
    let fourth = waits(all, claim("all-1"));
    standing(all, 4).await;

    let soon = async |claim: JoinHandle<Value>| timeout(SOON, claim).await.expect("it was woken").unwrap();
    let id = game.create(json!({"type": "a"})).await;
    assert_eq!(soon(third).await["tasks"][0]["id"], id);
    // One of a third project goes to who sees all.
    let id = all.create(json!({"type": "a", "project": "song"})).await;
    assert_eq!(soon(fourth).await["tasks"][0]["id"], id);
    // Those who were passed by still listen.
    let id = film.create(json!({"type": "a"})).await;
    assert_eq!(soon(first).await["tasks"][0]["id"], id);
    let id = film.create(json!({"type": "a"})).await;
    assert_eq!(soon(second).await["tasks"][0]["id"], id);
}

#[tokio::test]
async fn a_claim_whose_token_ends_while_it_waits_gets_no_task() {
    let world = World::with(&[("tokens.required", "always")]);
    let operator = world.with_token(json!({})).await;
    let (id, secret) = world.token(json!({"scopes": ["worker"]})).await;
    let revoked = world.presenting(&format!("Bearer {}", secret.reveal()));
    let expiring = world.with_token(json!({"scopes": ["worker"], "expires_in_seconds": 5})).await;
    let claim = |worker: &str| json!({"worker_id": worker, "wait_seconds": 20});
    let mut waiting = Vec::new();
    for (count, (caller, worker)) in
        [(&revoked, "a"), (&expiring, "b"), (&operator, "c")].into_iter().enumerate()
    {
        waiting.push(waits(caller, claim(worker)));
        standing(&world, count + 1).await;
    }
    operator.act(&format!("/v1/tokens/{id}/revoke")).await;
    world.advance(Duration::from_secs(5));
    let task = operator.create(json!({"type": "a"})).await;
    let mut answers = Vec::new();
    for claim in waiting {
        answers.push(timeout(SOON, claim).await.expect("it was woken").unwrap());
    }
    assert_eq!((&answers[0]["code"], &answers[1]["code"]), (&json!("unauthorized"), &json!("unauthorized")));
    assert_eq!(answers[2]["tasks"][0]["id"], task);
}

#[tokio::test]
async fn a_heartbeat_tells_a_bound_worker_of_tasks_outside_its_queues_what_it_tells_of_unknown_ones() {
    let world = World::with(&[("tokens.required", "always")]);
    let all = world.with_token(json!({})).await;
    let gpu = world.with_token(json!({"scopes": ["worker"], "queues": ["gpu"]})).await;
    let mut heard = Vec::new();
    // The name is the bound token's; one without bounds may use it, too.
    gpu.post("/v1/workers/w/heartbeat", json!({})).await;
    // Called off under the worker, completed by it, and never begun; then one of its own queue, called off.
    for (queue, end) in
        [("cpu", Some("cancel")), ("cpu", Some("complete")), ("cpu", None), ("gpu", Some("cancel"))]
    {
        let id = all.create(json!({"type": "a", "queue": queue})).await;
        if let Some(end) = end {
            let claim = json!({"worker_id": "w", "queues": [queue]});
            assert_eq!(all.post("/v1/claims", claim).await.json()["tasks"][0]["id"], id.as_str());
            let fence = json!({"worker_id": "w", "attempt": 1});
            let body = if end == "cancel" { json!({}) } else { fence };
            assert_eq!(all.post(&format!("/v1/tasks/{id}/{end}"), body).await.status, 200);
        }
        heard.push(id);
    }
    heard.push("01980a6e-5b7c-7cc3-98c4-dc0c0c07398f".to_owned());
    let running: Vec<_> = heard.iter().map(|task| json!({"task_id": task, "attempt": 1})).collect();
    let told = async |asking: &World| {
        let answer = asking.post("/v1/workers/w/heartbeat", json!({"running": running})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let lost = answer.json()["lost"].as_array().unwrap().clone();
        assert_eq!(lost.iter().map(|one| one["task_id"].as_str().unwrap()).collect::<Vec<_>>(), heard);
        lost.iter().map(|one| one["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let unknown = "unknown_task";
    assert_eq!(told(&all).await, ["cancelled", "ended", "not_held", "cancelled", unknown]);
    assert_eq!(told(&gpu).await, [unknown, unknown, unknown, "cancelled", unknown]);
}
