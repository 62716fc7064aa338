//! A worker that drains while a claim of it is on its way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_api::fleet::WorkerView;
use baton_api::manage::ActionRequest;
use baton_model::EventKind::{Claimed, Released};
use baton_model::{Directive, Status, WorkerStatus};

use crate::support::{Road, World, ended, until};

#[tokio::test]
async fn a_claim_that_is_heard_after_the_drain_leaves_no_task_with_a_worker_that_has_ended() {
    let world = World::new().await;
    world.road(Road::FirstClaimLate);
    let (stop, worker) = world.worker(1);
    let held = until("a claim is on its way", async || world.gate.held.lock().unwrap().take()).await;
    // So that no other is held up.
    world.road(Road::Open);
    let id = world.create("exit 1").await;
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.released), (0, 1));
    world.gate.hear_claim.notify_one();
    held.await.unwrap();
    let task = world.becomes(id, Status::Queued).await;
    assert_eq!((task.task.attempts_used, world.history(id).await), (0, vec![Claimed, Released]));
}

async fn direct(world: &World, directive: Directive) -> WorkerView {
    let action = ActionRequest { by: Some("ada".parse().unwrap()), reason: Some("a new card".to_owned()) };
    world.client.direct(&"w".parse().unwrap(), directive, &action).await.unwrap()
}

#[tokio::test]
async fn a_drain_that_was_heard_is_called_off_and_the_worker_goes_on_claiming() {
    let world = World::new().await;
    let first = world.create(&world.waiting("a", "true")).await;
    let (stop, worker) = world.worker(2);
    world.started("a").await;
    direct(&world, Directive::Drain).await;
    world.beaten(2).await;
    let claims = world.gate.claims.load(Ordering::SeqCst);
    let second = world.create("true").await;
    world.beaten(2).await;
    assert_eq!(world.task(second).await.task.status, Status::Queued, "it claims nothing while it drains");
    assert_eq!(world.gate.claims.load(Ordering::SeqCst), claims);
    let life = world.client.worker(&"w".parse().unwrap()).await.unwrap().life.unwrap();
    assert_eq!((&*life.state, &*life.why), ("draining", "it was asked to drain by ada: a new card"));
    assert!(life.since.is_some());
    let told = direct(&world, Directive::Run).await;
    assert_eq!((told.ended_at, told.directed), (None, None));
    world.becomes(second, Status::Completed).await;
    world.go_on();
    world.becomes(first, Status::Completed).await;
    let life = world.client.worker(&"w".parse().unwrap()).await.unwrap().life.unwrap();
    assert_eq!((&*life.state, &*life.why), ("active", "it beats"));
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.completed), (2, 2));
}

#[tokio::test]
async fn an_end_that_is_called_off_before_the_server_hears_of_it_does_not_happen() {
    for asked in [Directive::Drain, Directive::Stop] {
        let world = World::new().await;
        world.road(Road::FirstGoodbyeLate);
        let (stop, worker) = world.worker(1);
        world.beaten(2).await;
        direct(&world, asked).await;
        until("it says that it ends", async || {
            (world.gate.goodbyes.load(Ordering::SeqCst) == 1).then_some(())
        })
        .await;
        let told = direct(&world, Directive::Run).await;
        assert_eq!(told.ended_at, None, "it is in time");
        world.gate.hear_goodbye.notify_one();
        let task = world.create("true").await;
        world.becomes(task, Status::Completed).await;
        let known = world.client.worker(&"w".parse().unwrap()).await.unwrap();
        assert_eq!((known.status, known.ended_at), (WorkerStatus::Active, None));
        stop.drain();
        assert_eq!(ended(worker).await.completed, 1);
    }
}

#[tokio::test]
async fn an_end_that_is_called_off_before_it_is_said_is_not_said() {
    let world = World::new().await;
    let (stop, worker) = world.worker(1);
    world.beaten(2).await;
    // With nothing more to run, it looks for what it may have been given without its knowing.
    world.road(Road::LooksLate);
    direct(&world, Directive::Drain).await;
    until("it looks", async || (world.gate.looks.load(Ordering::SeqCst) >= 1).then_some(())).await;
    direct(&world, Directive::Run).await;
    world.beaten(2).await;
    world.road(Road::Open);
    world.gate.hear_look.notify_one();
    let task = world.create("true").await;
    world.becomes(task, Status::Completed).await;
    assert_eq!(world.gate.goodbyes.load(Ordering::SeqCst), 0);
    stop.drain();
    assert_eq!(ended(worker).await.completed, 1);
}

#[tokio::test]
async fn a_worker_whose_end_the_server_has_heard_ends_whatever_it_is_told_while_it_ships_its_last_lines() {
    let world = World::new().await;
    // More lines than one heartbeat takes along.
    let lines = "i=0; while [ $i -lt 700 ]; do echo \"line $i\" >&2; i=$((i+1)); done";
    let task = world.create(&world.waiting("a", lines)).await;
    // Claims tell it to drain, of the other slot or with the completion.
    let (_, worker) = world.worker(2);
    world.started("a").await;
    world.road(Road::SecondGoodbyeLate);
    direct(&world, Directive::Drain).await;
    world.go_on();
    world.becomes(task, Status::Completed).await;
    until("it says a second time that it ends", async || {
        (world.gate.goodbyes.load(Ordering::SeqCst) >= 2).then_some(())
    })
    .await;
    assert!(direct(&world, Directive::Run).await.ended_at.is_some(), "it is too late");
    world.gate.hear_goodbye.notify_one();
    assert_eq!(ended(worker).await.completed, 1);
}

#[tokio::test]
async fn what_comes_after_the_end_is_told_so() {
    let world = World::new().await;
    let (_, worker) = world.worker(1);
    world.beaten(2).await;
    direct(&world, Directive::Drain).await;
    ended(worker).await;
    let told = direct(&world, Directive::Run).await;
    assert_eq!(told.status, WorkerStatus::Gone);
    assert!(told.ended_at.is_some());
}

#[tokio::test]
async fn a_stop_that_is_called_off_costs_what_was_given_back_and_not_the_worker() {
    let world = World::new().await;
    // It ignores SIGTERM for a moment, so that the stop takes its time.
    let script = world.waiting("a", "true").replacen("touch", "trap 'sleep 3; exit 1' TERM; touch", 1);
    let task = world.create(&script).await;
    let (stop, worker) = world.worker(1);
    world.started("a").await;
    direct(&world, Directive::Stop).await;
    world.beaten(2).await;
    direct(&world, Directive::Run).await;
    world.go_on();
    let task = world.becomes(task, Status::Completed).await;
    assert_eq!(
        (task.task.attempt, task.task.attempts_used),
        (2, 1),
        "the first was given back, and does not count"
    );
    stop.drain();
    let summary = ended(worker).await;
    assert_eq!((summary.claimed, summary.released, summary.completed), (2, 1, 1));
}

#[tokio::test]
async fn a_stop_after_one_that_was_called_off_has_a_patience_of_its_own() {
    let world = World::new().await;
    let task = world.create(&world.waiting("a", "true")).await;
    let (_, worker) = world.worker_with(1, |options| options.detour = None);
    world.started("a").await;
    world.road(Road::EndsCut);
    let tries = || world.gate.ends.load(Ordering::SeqCst) + world.gate.endings.load(Ordering::SeqCst);
    let tried_again = async || {
        let before = tries();
        until("it has tried again to give the task back", async || (tries() > before).then_some(())).await;
    };
    direct(&world, Directive::Stop).await;
    tried_again().await;
    direct(&world, Directive::Run).await;
    // Longer than a worker that stops would try.
    tokio::time::sleep(Duration::from_secs(6)).await;
    direct(&world, Directive::Stop).await;
    world.beaten(2).await;
    tried_again().await;
    world.road(Road::Open);
    let summary = ended(worker).await;
    assert_eq!((summary.released, summary.undelivered), (1, 0));
    assert_eq!(world.history(task).await, [Claimed, Released]);
}

#[tokio::test]
async fn what_was_told_to_the_worker_itself_no_operator_calls_off() {
    let world = World::new().await;
    let task = world.create(&world.waiting("a", "true")).await;
    let (stop, worker) = world.worker(1);
    world.started("a").await;
    direct(&world, Directive::Drain).await;
    world.beaten(2).await;
    stop.drain();
    direct(&world, Directive::Run).await;
    world.beaten(2).await;
    world.go_on();
    assert_eq!(ended(worker).await.completed, 1);
    world.becomes(task, Status::Completed).await;
}
