//! Time, as functions know it: by the note of the reaper's last round.

use baton_lambda::Host;
use baton_runtime::Clock;
use serde_json::{Value, json};

use crate::world::{World, invoke, seconds, send};

struct Fleet {
    world: World,
    reap: Host,
    beat: Host,
}

impl Fleet {
    async fn new() -> Self {
        let world = World::new().await;
        let (reap, beat) = (world.function("reap-stale-workers"), world.function("heartbeat-worker"));
        Self { world, reap, beat }
    }

    /// A task that a worker has claimed, as its heartbeat lists it.
    async fn claimed(&self, worker: &str) -> String {
        let task = json!({"type": "a", "queue": worker});
        let (_, created) = send(&self.world.function("create-task"), "POST", "/v1/tasks", task).await;
        let claim = json!({"worker_id": worker, "queues": [worker]});
        let (_, answer) = send(&self.world.function("claim-task"), "POST", "/v1/claims", claim).await;
        assert_eq!(answer["tasks"][0]["id"], created["id"], "{answer}");
        created["id"].as_str().unwrap().to_owned()
    }

    async fn beat(&self, worker: &str, task: &str) {
        let path = format!("/v1/workers/{worker}/heartbeat");
        let beat = json!({"running": [{"task_id": task, "attempt": 1}]});
        assert_eq!(send(&self.beat, "POST", &path, beat).await.0, 200);
    }

    async fn complete(&self, worker: &str, task: &str) -> u64 {
        let path = format!("/v1/tasks/{task}/complete");
        let done = json!({"worker_id": worker, "attempt": 1});
        send(&self.world.function("complete-task"), "POST", &path, done).await.0
    }

    async fn round(&self) -> Value {
        invoke(&self.reap, &json!({"source": "aws.scheduler"})).await
    }

    /// Minutes in which these workers beat; how many tasks the rounds took back.
    async fn minutes(&self, count: u64, beating: &[(&str, &str)]) -> u64 {
        let mut taken = 0;
        for _ in 0..count {
            self.world.clock.advance(seconds(60));
            for (worker, task) in beating {
                self.beat(worker, task).await;
            }
            taken += self.round().await["taken"].as_u64().unwrap();
        }
        taken
    }

    /// Has time go on evenly until the reaper believes it.
    async fn believed(&self) {
        for _ in 0..3 {
            self.round().await;
            self.world.clock.advance(seconds(1_800));
        }
        self.round().await;
    }
}

#[tokio::test]
async fn one_round_by_a_clock_far_ahead_removes_nothing_and_takes_nothing_back() {
    let fleet = Fleet::new().await;
    fleet.believed().await;
    let (done, running) = (fleet.claimed("w1").await, fleet.claimed("w2").await);
    assert_eq!(fleet.complete("w1", &done).await, 200);
    assert_eq!(fleet.minutes(3, &[("w2", &running)]).await, 0);
    let right = fleet.world.clock.now();
    fleet.world.clock.set(right.plus(seconds(35 * 86_400)));
    let nothing = json!({"taken": 0, "expired": 0, "workers_lost": 0, "created": 0, "schedules_missed": 0,
        "removed": 0, "more": false});
    assert_eq!(fleet.round().await, nothing);
    fleet.world.clock.set(right.plus(seconds(3)));
    assert_eq!(fleet.minutes(3, &[("w2", &running)]).await, 0);
    let query = fleet.world.function("query-tasks");
    assert_eq!(send(&query, "GET", &format!("/v1/tasks/{done}"), Value::Null).await.0, 200);
    assert_eq!(fleet.complete("w2", &running).await, 200);

    // What is past its keeping goes once the time has gone on evenly.
    fleet.world.clock.advance(seconds(35 * 86_400));
    assert_eq!(fleet.round().await, nothing);
    fleet.world.clock.advance(seconds(3_599));
    assert_eq!(fleet.round().await["removed"], 0);
    fleet.world.clock.advance(seconds(1));
    assert!(fleet.round().await["removed"].as_u64().unwrap() >= 2);
}

#[tokio::test]
async fn after_a_gap_between_rounds_workers_speak_before_anything_is_taken_back() {
    let fleet = Fleet::new().await;
    let (live, dead) = (fleet.claimed("w1").await, fleet.claimed("w2").await);
    fleet.round().await;
    assert_eq!(fleet.minutes(2, &[("w1", &live), ("w2", &dead)]).await, 0);
    // The table is out of reach for ten minutes.
    fleet.world.clock.advance(seconds(600));
    assert_eq!(fleet.round().await["taken"], 0);
    let (status, answer) = send(&fleet.reap, "POST", "/v1/reap", json!({})).await;
    assert_eq!((status, answer), (200, json!({"taken": [], "more": false})), "on request, too");
    fleet.beat("w1", &live).await;
    assert_eq!(fleet.minutes(1, &[("w1", &live)]).await, 0);
    assert_eq!(fleet.minutes(1, &[("w1", &live)]).await, 1, "the one that did not speak");
    assert_eq!(fleet.complete("w1", &live).await, 200);
    assert_eq!(fleet.complete("w2", &dead).await, 409);
}

#[tokio::test]
async fn while_no_heartbeat_at_all_comes_through_nothing_is_taken_back_for_some_minutes() {
    let fleet = Fleet::new().await;
    let (live, dead) = (fleet.claimed("w1").await, fleet.claimed("w2").await);
    fleet.round().await;
    assert_eq!(fleet.minutes(2, &[("w1", &live), ("w2", &dead)]).await, 0);
    // The API is out of reach for four minutes, and the reaper is not.
    assert_eq!(fleet.minutes(4, &[]).await, 0);
    fleet.beat("w1", &live).await;
    let (_, answer) = send(&fleet.reap, "POST", "/v1/reap", json!({})).await;
    assert_eq!(answer["taken"][0]["task_id"], dead.as_str(), "one is heard, and the other is gone");
    assert_eq!(fleet.complete("w1", &live).await, 200);
    let other = fleet.claimed("w1").await;
    fleet.beat("w1", &other).await;
    assert_eq!(fleet.minutes(6, &[]).await, 0);
    assert_eq!(fleet.minutes(1, &[]).await, 1, "a fleet that is gone is not waited for for ever");
}

#[tokio::test]
async fn a_reaper_whose_clock_was_set_back_has_tasks_be_due_that_were_due() {
    let fleet = Fleet::new().await;
    fleet.round().await;
    let right = fleet.world.clock.now();
    fleet.world.clock.set(right.plus(seconds(10 * 365 * 86_400)));
    let task = json!({"type": "a", "queue": "w1"});
    send(&fleet.world.function("create-task"), "POST", "/v1/tasks", task).await;
    fleet.round().await;
    fleet.world.clock.set(right.plus(seconds(60)));
    let claim = json!({"worker_id": "w1", "queues": ["w1"]});
    let (_, answer) = send(&fleet.world.function("claim-task"), "POST", "/v1/claims", claim.clone()).await;
    assert_eq!(answer["nothing"]["reason"], "scheduled", "{answer}");
    fleet.round().await;
    let (_, answer) = send(&fleet.world.function("claim-task"), "POST", "/v1/claims", claim).await;
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(1), "{answer}");
}
