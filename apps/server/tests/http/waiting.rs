//! Claims that wait for work.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::World;

/// Less than the time after which a waiting claim looks by itself, so that only a ring can have woken it.
const SOON: Duration = Duration::from_secs(4);

fn waits(world: &Arc<World>, claim: Value) -> JoinHandle<Value> {
    let world = Arc::clone(world);
    tokio::spawn(async move { world.post("/v1/claims", claim).await.json() })
}

/// Until so many claims stand in the line.
async fn standing(world: &World, count: usize) {
    let all = async {
        while world.app.doorbell.waiting() != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), all).await.expect("claims wait");
}

async fn soon(claim: JoinHandle<Value>) -> Value {
    timeout(SOON, claim).await.expect("the claim was woken").unwrap()
}

#[tokio::test]
async fn a_waiting_claim_is_woken_by_a_new_task() {
    let world = Arc::new(World::new());
    let claim = waits(&world, json!({"worker_id": "w", "wait_seconds": 20, "types": ["a"]}));
    standing(&world, 1).await;
    world.create(json!({"type": "b"})).await;
    let id = world.create(json!({"type": "a"})).await;
    assert_eq!(soon(claim).await["tasks"][0]["id"], id);
    assert_eq!(world.app.doorbell.waiting(), 0);
}

#[tokio::test]
async fn a_waiting_claim_is_woken_by_whatever_makes_a_task_ready() {
    let world = Arc::new(World::new());
    let claim = |worker: &str| json!({"worker_id": worker, "wait_seconds": 20});

    let first = waits(&world, claim("a"));
    standing(&world, 1).await;
    world.post("/v1/tasks/batch", json!({"tasks": [{"type": "x"}]})).await;
    let id = soon(first).await["tasks"][0]["id"].as_str().unwrap().to_owned();

    for (attempt, (action, more)) in (1..).zip([
        ("release", json!({})),
        ("fail", json!({"error": {"message": "no"}, "retry_after_seconds": 0})),
    ]) {
        let next = waits(&world, claim("a"));
        standing(&world, 1).await;
        let mut body = more;
        body["worker_id"] = json!("a");
        body["attempt"] = json!(attempt);
        assert_eq!(world.post(&format!("/v1/tasks/{id}/{action}"), body).await.status, 200, "{action}");
        assert_eq!(soon(next).await["tasks"][0]["id"], id, "{action}");
    }

    let next = waits(&world, claim("b"));
    standing(&world, 1).await;
    world.advance(Duration::from_secs(100));
    world.act("/v1/reap").await;
    // A task that was taken back rests for its backoff; the claim learns that it is scheduled.
    world.advance(Duration::from_secs(100));
    assert_eq!(timeout(2 * SOON, next).await.expect("looked again").unwrap()["tasks"][0]["id"], id);

    world.act("/v1/queues/default/pause").await;
    world.create(json!({"type": "x"})).await;
    let next = waits(&world, claim("b"));
    standing(&world, 1).await;
    world.act("/v1/queues/default/resume").await;
    assert!(soon(next).await["tasks"][0].is_object());
}

#[tokio::test]
async fn a_named_claim_that_waited_gets_its_leases_again() {
    let world = Arc::new(World::new());
    let body = json!({"worker_id": "w", "wait_seconds": 20, "request_id": "r-1"});
    let claim = waits(&world, body.clone());
    standing(&world, 1).await;
    let id = world.create(json!({"type": "a"})).await;
    world.create(json!({"type": "a"})).await;
    assert_eq!(soon(claim).await["tasks"][0]["id"], id);
    let again = soon(waits(&world, body)).await;
    assert_eq!((&again["tasks"][0]["id"], &again["tasks"][0]["attempt"]), (&json!(id), &json!(1)));
}

#[tokio::test]
async fn a_claim_at_its_cap_waits_until_its_worker_finishes_something() {
    let world = Arc::new(World::new());
    let first = world.create(json!({"type": "a"})).await;
    let second = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let claim = waits(&world, json!({"worker_id": "w", "capacity": 1, "wait_seconds": 20}));
    standing(&world, 1).await;
    world.post(&format!("/v1/tasks/{first}/complete"), json!({"worker_id": "w", "attempt": 1})).await;
    assert_eq!(soon(claim).await["tasks"][0]["id"], second);
}

#[tokio::test]
async fn a_claim_at_its_cap_does_not_keep_tasks_from_others() {
    let world = Arc::new(World::new());
    world.create(json!({"type": "a"})).await;
    world.claim("full").await;
    let full = waits(&world, json!({"worker_id": "full", "capacity": 1, "wait_seconds": 20}));
    standing(&world, 1).await;
    let free = waits(&world, json!({"worker_id": "free", "wait_seconds": 20}));
    standing(&world, 2).await;
    let id = world.create(json!({"type": "a"})).await;
    assert_eq!(soon(free).await["tasks"][0]["id"], id);
    full.abort();
}

#[tokio::test]
async fn a_waiting_claim_hears_at_once_that_its_worker_is_to_drain() {
    let world = Arc::new(World::new());
    let claim = waits(&world, json!({"worker_id": "w", "wait_seconds": 20}));
    standing(&world, 1).await;
    let drained = async {
        // The worker is known as soon as its claim has looked.
        while world.act("/v1/workers/w/drain").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, drained).await.unwrap();
    assert_eq!(soon(claim).await["nothing"]["reason"], "directed");
}

#[tokio::test]
async fn a_claim_that_has_waited_in_vain_says_why() {
    let world = Arc::new(World::new());
    let answer = soon(waits(&world, json!({"worker_id": "w", "wait_seconds": 0.1}))).await;
    assert_eq!((&answer["tasks"], &answer["nothing"]["reason"]), (&json!([]), &json!("none_queued")));
}

#[tokio::test]
async fn a_scheduled_task_is_claimed_when_it_is_due() {
    let world = Arc::new(World::new());
    let id = world.create(json!({"type": "a", "delay_seconds": 0.5})).await;
    let claim = waits(&world, json!({"worker_id": "w", "wait_seconds": 20}));
    standing(&world, 1).await;
    world.advance(Duration::from_millis(500));
    assert_eq!(soon(claim).await["tasks"][0]["id"], id);
}

#[tokio::test]
async fn a_waiting_claim_learns_of_a_task_that_is_due_sooner() {
    let world = Arc::new(World::new());
    world.create(json!({"type": "a", "delay_seconds": 3_600})).await;
    let claim = waits(&world, json!({"worker_id": "w", "wait_seconds": 20}));
    standing(&world, 1).await;
    let id = world.create(json!({"type": "a", "delay_seconds": 0.2})).await;
    world.advance(Duration::from_millis(200));
    assert_eq!(soon(claim).await["tasks"][0]["id"], id);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_strands_no_task() {
    let world = Arc::new(World::new());
    let gone = waits(&world, json!({"worker_id": "gone", "wait_seconds": 20}));
    standing(&world, 1).await;
    let stays = waits(&world, json!({"worker_id": "stays", "wait_seconds": 20}));
    standing(&world, 2).await;
    gone.abort();
    standing(&world, 1).await;
    let id = world.create(json!({"type": "a"})).await;
    assert_eq!(soon(stays).await["tasks"][0]["id"], id);
}

#[tokio::test]
async fn stopping_answers_waiting_claims_at_once() {
    let world = Arc::new(World::new());
    let claims: Vec<_> =
        (0..20).map(|n| waits(&world, json!({"worker_id": format!("w{n}"), "wait_seconds": 20}))).collect();
    standing(&world, 20).await;
    world.app.shutdown.begin();
    for claim in claims {
        assert_eq!(soon(claim).await["nothing"]["reason"], "none_queued");
    }
}

/// Tasks are created while claims come, wait and hang up at any moment. In the end no task waits while a claim does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_task_waits_while_a_claim_does() {
    const TASKS: usize = 400;
    let world = Arc::new(World::new());
    let mut claims = Vec::new();
    for worker in 0..12_u64 {
        let world = Arc::clone(&world);
        claims.push(tokio::spawn(async move {
            let claim = json!({"worker_id": format!("w{worker}"), "wait_seconds": 20, "capacity": 10_000});
            for turn in 0_u64.. {
                let answer = world.post("/v1/claims", claim.clone());
                if worker % 3 == 0 {
                    // Hangs up after a while that differs from turn to turn.
                    let patience = Duration::from_micros((turn * 7_919 + worker * 104_729) % 4_000);
                    let _ = timeout(patience, answer).await;
                } else {
                    answer.await;
                }
            }
        }));
    }
    for task in 0..TASKS {
        world.create(json!({"type": "a"})).await;
        if task % 7 == 0 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
    let all_claimed = async {
        while world.get("/v1/stats").await.json()["states"]["running"] != TASKS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(SOON, all_claimed).await;
    claims.iter().for_each(JoinHandle::abort);
    assert!(in_time.is_ok(), "{}", world.get("/v1/stats").await.json()["states"]);
}
