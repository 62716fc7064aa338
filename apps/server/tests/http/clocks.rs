//! A server whose clock is set, and one that was away.

use std::sync::Arc;
use std::time::Duration;

use baton_http::App;
use baton_model::Timestamp;
use baton_reap_stale_workers::{Round, begin, reap_within, run_reaper};
use baton_runtime::{Clock, Shutdown};
use serde_json::{Value, json};

use crate::world::World;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const TEN_YEARS: i64 = 3_652 * DAY;

fn secs(n: i64) -> Duration {
    Duration::from_secs(n.unsigned_abs())
}

/// Sets a world's clock by seconds.
fn set(world: &World, by: i64) {
    let now = world.clock.now().as_millis();
    world.clock.set(Timestamp::from_millis(now + by * 1_000));
}

async fn round(app: &App) -> Round {
    reap_within(app, Duration::from_secs(60)).await.unwrap()
}

/// A world that begins as servers do, and whose time has gone on evenly for long enough to be believed.
async fn begun() -> World {
    begun_in(World::new()).await
}

async fn begun_in(world: World) -> World {
    begin(&world.app).await;
    for _ in 0..=6 {
        round(&world.app).await;
        world.advance(secs(601));
    }
    round(&world.app).await;
    world
}

async fn beat(world: &World, worker: &str, running: &[&str]) {
    let running: Vec<Value> = running.iter().map(|id| json!({"task_id": id, "attempt": 1})).collect();
    let answer = world.post(&format!("/v1/workers/{worker}/heartbeat"), json!({"running": running})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["lost"]), (200, &json!([])), "{}", answer.text());
}

async fn complete(world: &World, worker: &str, id: &str) -> u16 {
    let done = json!({"worker_id": worker, "attempt": 1});
    world.post(&format!("/v1/tasks/{id}/complete"), done).await.status.as_u16()
}

/// Has time pass with a round every five seconds, in which these workers beat every twenty; what was taken back.
async fn pass(world: &World, seconds: u64, beating: &[(&str, &str)]) -> u64 {
    let mut taken = 0;
    for second in (5..=seconds).step_by(5) {
        world.advance(secs(5));
        if second % 20 == 0 {
            for (worker, task) in beating {
                beat(world, worker, &[task]).await;
            }
        }
        taken += round(&world.app).await.taken;
    }
    taken
}

#[tokio::test]
async fn a_server_that_was_down_hears_its_workers_before_it_takes_anything_back() {
    let world = begun().await;
    let mut tasks = Vec::new();
    for worker in ["live", "late", "dead"] {
        let task = json!({"type": "a", "queue": worker, "timeout_seconds": 3_000});
        tasks.push(world.create(task).await);
        let claim = json!({"worker_id": worker, "queues": [worker]});
        assert_eq!(
            world.post("/v1/claims", claim).await.json()["tasks"][0]["id"],
            tasks[tasks.len() - 1].as_str()
        );
    }
    let [live, late, dead] = &tasks[..] else { panic!("three") };
    assert_eq!(pass(&world, 60, &[("live", live), ("late", late), ("dead", dead)]).await, 0);
    for down in [100, 900, 2 * DAY] {
        world.advance(secs(down));
        let world = world.restarted().await;
        assert_eq!(round(&world.app).await.taken, 0, "{down}");
        assert_eq!(world.act("/v1/reap").await.json(), json!({"taken": [], "more": false}), "{down}");
        assert_eq!(pass(&world, 55, &[("live", live), ("late", late)]).await, 0, "{down}");
        beat(&world, "dead", &[dead]).await;
    }
    let world = world.restarted().await;
    assert_eq!(complete(&world, "late", late).await, 200, "what was finished meanwhile is taken");
    assert_eq!(pass(&world, 65, &[("live", live)]).await, 1);
    assert_eq!(complete(&world, "dead", dead).await, 409);
    assert_eq!(complete(&world, "live", live).await, 200);
}

#[tokio::test]
async fn a_clock_far_ahead_for_a_moment_removes_nothing() {
    let world = begun().await;
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let logs = json!({"logs": [{"message": "kept"}]});
    world.post("/v1/workers/w/heartbeat", logs).await;
    assert_eq!(complete(&world, "w", &id).await, 200);
    let (token, _) = world.token(json!({"name": "ended", "expires_in_seconds": 60})).await;
    let kept = async || {
        let logs = world.get("/v1/logs").await.json()["items"].as_array().unwrap().len();
        let workers = world.get("/v1/workers").await.json()["items"].as_array().unwrap().len();
        let token = world.app.store.token(token).await.unwrap().is_some();
        (world.get(&format!("/v1/tasks/{id}")).await.status.as_u16(), logs, workers, token)
    };
    round(&world.app).await;
    for by in [35 * DAY, 500 * DAY, TEN_YEARS, 2 * HOUR] {
        set(&world, by);
        for _ in 0..2 {
            assert_eq!(round(&world.app).await, Round::default(), "{by}");
            world.advance(secs(1));
        }
        set(&world, -by);
        assert_eq!(round(&world.app).await.removed, 0, "{by}");
        assert_eq!(kept().await, (200, 1, 1, true), "{by}");
    }
    // Nor is a start believed whose clock is far ahead of the last server's.
    set(&world, 500 * DAY);
    let restarted = world.restarted().await;
    assert_eq!(round(&restarted.app).await.removed, 0);
    assert_eq!(kept().await, (200, 1, 1, true));
    restarted.advance(secs(HOUR));
    assert!(round(&restarted.app).await.removed >= 4, "a time that goes on for an hour is");
    assert_eq!(kept().await, (404, 0, 0, false));
}

#[tokio::test]
async fn a_first_start_with_a_clock_far_ahead_removes_nothing_of_an_older_server() {
    let world = World::new();
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    assert_eq!(complete(&world, "w", &id).await, 200);
    // A server of before there were notes.
    world.advance(secs(60 * DAY));
    begin(&world.app).await;
    assert_eq!(round(&world.app).await.removed, 0);
    world.advance(secs(HOUR));
    assert!(round(&world.app).await.removed > 0);
}

#[tokio::test]
async fn a_server_that_stood_still_hears_its_workers_first() {
    let world = begun_in(World::with(&[("reaper.interval_seconds", "0.05")])).await;
    let id = world.create(json!({"type": "a"})).await;
    world.claim("w").await;
    let shutdown = Shutdown::new();
    let reaper = tokio::spawn(run_reaper(world.app.clone(), shutdown.clone()));
    let rounds = async |world: &World| {
        let now = world.clock.now();
        while world.app.store.last_round().await.unwrap().is_none_or(|note| note.at < now) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    world.app.timekeeper.runs();
    world.advance(secs(300));
    rounds(&world).await;
    assert_eq!(world.task(&id).await["task"]["status"], "running");
    // It runs on, a little at a time, and the worker says nothing.
    for _ in 0..30 {
        world.advance(secs(5));
        world.app.timekeeper.runs();
    }
    // Not by the note of a round, which is not written at each.
    let taken_back = async {
        while world.task(&id).await["task"]["status"] == "running" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken_back).await.expect("taken back in time");
    assert_eq!(world.task(&id).await["task"]["status"], "queued");
    shutdown.begin();
    reaper.await.unwrap();
}

/// Workers and a producer at work while the clock is set and the reaper makes its rounds: nobody loses anything, nothing
/// stays behind, and the one worker that dies loses its task in time.
async fn work_while_it_is_set(by: &[i64]) {
    const TASKS: usize = 120;
    let world = begun().await;
    let dead = world.create(json!({"type": "a", "queue": "dead"})).await;
    world.post("/v1/claims", json!({"worker_id": "dead", "queues": ["dead"]})).await;
    beat(&world, "dead", &[&dead]).await;
    let tasks = vec![json!({"type": "a", "max_attempts": 1, "timeout_seconds": 900}); TASKS / 2];
    let batch = async |world: &World| {
        let answer = world.post("/v1/tasks/batch", json!({"tasks": tasks})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    batch(&world).await;
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let worker = |name: String, world: World, done: Arc<std::sync::atomic::AtomicUsize>| async move {
        let mut held: Vec<String> = Vec::new();
        while done.load(std::sync::atomic::Ordering::SeqCst) < TASKS {
            let claim = json!({"worker_id": name, "max_tasks": 1});
            let claimed = world.post("/v1/claims", claim).await.json();
            held.extend(claimed["tasks"][0]["id"].as_str().map(str::to_owned));
            let listed: Vec<&str> = held.iter().map(String::as_str).collect();
            beat(&world, &name, &listed).await;
            // Two stay with it for a while, so that it always has some when the clock is set.
            if held.len() > 2 || claimed["tasks"] == json!([]) && !held.is_empty() {
                let id = held.remove(0);
                assert_eq!(complete(&world, &name, &id).await, 200);
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
        }
    };
    let workers: Vec<_> =
        (0..4).map(|n| tokio::spawn(worker(format!("w{n}"), world.clone(), Arc::clone(&done)))).collect();
    let (mut taken, mut turn, mut made) = (0, 0_usize, false);
    while done.load(std::sync::atomic::Ordering::SeqCst) < TASKS {
        if turn % 4 == 3
            && let Some(by) = by.get(turn / 4)
        {
            set(&world, *by);
        }
        if turn >= 4 * by.len() && !made {
            batch(&world).await;
            made = true;
        }
        world.advance(secs(1));
        taken += round(&world.app).await.taken;
        turn += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(made, "the clock was set while there was work");
    taken += pass(&world, 65, &[]).await;
    assert_eq!(taken, 1, "the dead one's");
    assert_eq!(world.task(&dead).await["task"]["status"], "queued");
    let states = world.get("/v1/stats").await.json()["states"].clone();
    assert_eq!((&states["completed"], &states["failed"]), (&json!(TASKS), &json!(0)), "{states}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_while_the_clock_is_set_by_half_a_minute() {
    work_while_it_is_set(&[30, -30, -30]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_while_the_clock_is_set_by_an_hour() {
    work_while_it_is_set(&[HOUR, -HOUR, -HOUR]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_while_the_clock_is_set_by_ten_years() {
    work_while_it_is_set(&[TEN_YEARS, -TEN_YEARS, -TEN_YEARS]).await;
}
