//! Processes on one table whose clocks differ.

use baton_model::{LossReason, Priority, RunAfter, Running, Task, TaskId, TaskSpec, Timestamp, Watch};
use baton_store::{Beat, Claim, ClaimAnswer, Create, Reap, Taken, TaskStore};
use baton_store_dynamodb::faults::{Fault, Faults};
use baton_store_dynamodb::{DynamoStore, Options};

use crate::engine::Engine;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn spec(number: u64, priority: Priority, due: Timestamp) -> TaskSpec {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&(1_800_000_000_000_u64 + number).to_be_bytes()[2..]);
    (id[6], id[8], id[15]) = (0x70, 0x80, number as u8);
    TaskSpec {
        priority,
        run_after: RunAfter::At(due),
        ..TaskSpec::new(TaskId::from_bytes(id), "render".parse().unwrap())
    }
}

fn claim(now: Timestamp, request: Option<&str>) -> Claim {
    Claim { request: request.map(|key| key.parse().unwrap()), ..Claim::new("w1".parse().unwrap(), now) }
}

fn leased(answer: ClaimAnswer) -> Vec<Task> {
    match answer {
        ClaimAnswer::Leased(tasks) => tasks,
        ClaimAnswer::Nothing(why) => panic!("expected a task, got {why:?}"),
    }
}

/// A process on the engine's table, and what goes wrong on its way to it.
async fn process(engine: &Engine, seed: u64) -> (DynamoStore, Faults) {
    engine.failing(seed, 0, Options::seeded(seed)).await
}

async fn create(store: &DynamoStore, tasks: Vec<TaskSpec>) {
    let create = Create { now: at(0), tasks, atomic: false, idempotency: None, by: None };
    store.create(create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_claim_that_two_processes_hear_gets_one_set_of_tasks_though_their_clocks_differ() {
    for behind in [500, 3_000, 60_000] {
        let engine = Engine::start().await;
        let ((ahead, faults), (late, _)) = (process(&engine, 1).await, process(&engine, 2).await);
        // The first is due by the clock that is ahead only, the second by both.
        let first = spec(1, Priority::Critical, at(100_000 - behind / 2));
        let second = spec(2, Priority::Normal, at(0));
        let wanted = first.id;
        create(&ahead, vec![first, second]).await;
        // It has written down what it is about to take, and its writes of that are on their way for ever.
        for _ in 0..6 {
            faults.order("UpdateItem", Fault::LostRequest);
        }
        assert!(ahead.claim(claim(at(100_000), Some("r1"))).await.is_err());
        let heard = leased(late.claim(claim(at(100_000 - behind), Some("r1"))).await.unwrap());
        let again = leased(ahead.claim(claim(at(100_001), Some("r1"))).await.unwrap());
        for tasks in [heard, again] {
            assert_eq!(tasks.iter().map(|task| task.head.id).collect::<Vec<_>>(), [wanted], "{behind}");
        }
    }
}

/// What a reaper takes back, by its clock, which has heard workers for ever.
async fn taken(reaper: &DynamoStore, now: Timestamp) -> Vec<Taken> {
    let reap = Reap { watch: Watch::at(now), limit: 100, worker: None, queue: None };
    reaper.reap(reap).await.unwrap().taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_beats_is_heard_however_far_the_clock_is_off_that_hears_it() {
    for off in [-3_600_000, -60_000, -30_000, 30_000, 60_000, 3_600_000] {
        let engine = Engine::start().await;
        let ((hearing, _), (reaper, _)) = (process(&engine, 1).await, process(&engine, 2).await);
        create(&hearing, vec![spec(1, Priority::Normal, at(-7_200_000))]).await;
        let beat = |now: i64, running: &[&Task]| {
            let listed =
                |task: &&Task| Running { task: task.head.id, attempt: 1, progress: None, message: None };
            Beat {
                running: Some(running.iter().map(listed).collect()),
                ..Beat::new("w1".parse().unwrap(), at(now + off))
            }
        };
        hearing.heartbeat(beat(0, &[])).await.unwrap();
        assert_eq!(taken(&reaper, at(1_000)).await, []);
        let held = leased(hearing.claim(claim(at(2_000 + off), None)).await.unwrap()).remove(0);
        let mut now = 3_000;
        while now < 200_000 {
            hearing.heartbeat(beat(now, &[&held])).await.unwrap();
            for later in [1_000, 10_000, 19_000] {
                assert_eq!(taken(&reaper, at(now + later)).await, [], "{off}: {later} ms after a beat");
            }
            now += 20_000;
        }
        // It falls silent. The reaper has seen its last heartbeat a second later at most.
        let last = now - 20_000;
        assert_eq!(taken(&reaper, at(last + 60_000)).await, [], "{off}");
        let lost = taken(&reaper, at(last + 61_001)).await;
        assert_eq!(
            lost.iter().map(|one| one.reason).collect::<Vec<_>>(),
            [LossReason::HeartbeatMissed],
            "{off}"
        );
    }
}
