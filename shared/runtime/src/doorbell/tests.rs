use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use baton_model::Timestamp;

use super::*;
use crate::clock::ManualClock;

struct Door {
    clock: Arc<ManualClock>,
    bell: Arc<LocalDoorbell>,
}

fn door() -> Door {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    Door { bell: LocalDoorbell::new(Arc::clone(&clock) as Arc<dyn Clock>), clock }
}

impl Door {
    /// A claim that has joined, looked, and found nothing.
    fn waits(&self, worker: &str, types: &[&str]) -> Waiting {
        let types: Vec<TaskType> = types.iter().map(|name| name.parse().unwrap()).collect();
        let waiting = self.bell.wait(&worker.parse().unwrap(), &[QueueName::default()], &types);
        waiting.listen();
        waiting.settle();
        waiting
    }

    fn ring(&self, task_type: Option<&str>, count: u32) {
        self.bell.ring(Ready {
            queue: QueueName::default(),
            task_type: task_type.map(|name| name.parse().unwrap()),
            count,
            run_after: self.clock.now(),
        });
    }
}

fn rung(waiting: &Waiting) -> bool {
    pin!(waiting.rung()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_ring_wakes_as_many_as_it_has_tasks_and_the_longest_waiting_first() {
    let door = door();
    let line = [door.waits("a", &[]), door.waits("b", &["x"]), door.waits("c", &[]), door.waits("d", &[])];
    door.ring(Some("x"), 2);
    assert_eq!(line.each_ref().map(rung), [true, true, false, false]);
    door.ring(Some("x"), 1);
    assert_eq!(line.each_ref().map(rung), [false, false, true, false]);
}

#[test]
fn a_ring_passes_by_those_who_want_other_types_or_queues() {
    let door = door();
    let other = door.waits("a", &["y"]);
    let elsewhere = door.bell.wait(&"b".parse().unwrap(), &["gpu".parse().unwrap()], &[]);
    elsewhere.listen();
    let right = door.waits("c", &["x", "z"]);
    door.ring(Some("x"), 5);
    assert_eq!([rung(&other), rung(&elsewhere), rung(&right)], [false, false, true]);
}

#[test]
fn a_ring_for_later_or_for_any_type_wakes_all_whom_it_concerns() {
    let door = door();
    let line = [door.waits("a", &["x"]), door.waits("b", &["y"]), door.waits("c", &[])];
    let run_after = door.clock.now().plus(Duration::from_secs(1));
    let task_type = Some("x".parse().unwrap());
    door.bell.ring(Ready { queue: QueueName::default(), task_type, count: 1, run_after });
    assert_eq!(line.each_ref().map(rung), [true, false, true]);
    line.iter().for_each(Waiting::listen);
    door.ring(None, 1);
    assert_eq!(line.each_ref().map(rung), [true, true, true]);
}

#[test]
fn a_ring_during_the_look_is_heard_after_it() {
    let door = door();
    let waiting = door.bell.wait(&"a".parse().unwrap(), &[QueueName::default()], &[]);
    waiting.listen();
    door.ring(Some("x"), 1);
    waiting.settle();
    assert!(rung(&waiting));
}

#[test]
fn a_woken_claim_that_goes_away_passes_the_wake_on() {
    let door = door();
    let (first, second, third) = (door.waits("a", &[]), door.waits("b", &["y"]), door.waits("c", &[]));
    door.ring(Some("x"), 1);
    drop(first);
    assert_eq!([rung(&second), rung(&third)], [false, true]);
}

#[test]
fn a_claim_that_goes_away_in_the_middle_of_its_look_passes_the_wake_on() {
    let door = door();
    let (first, second) = (door.waits("a", &[]), door.waits("b", &[]));
    door.ring(Some("x"), 1);
    first.listen();
    drop(first);
    assert!(rung(&second));
}

#[test]
fn a_claim_that_was_rung_while_it_took_an_earlier_task_passes_the_wake_on() {
    let door = door();
    let (first, second) = (door.waits("a", &[]), door.waits("b", &[]));
    first.listen();
    door.ring(Some("x"), 1);
    // Its look finds a task from before the ring, so the ring's own task is left for the next.
    first.settle();
    drop(first);
    assert!(rung(&second));
}

#[test]
fn a_claim_that_has_used_its_wake_passes_nothing_on() {
    let door = door();
    let (first, second) = (door.waits("a", &[]), door.waits("b", &[]));
    door.ring(Some("x"), 1);
    first.listen();
    first.settle();
    drop(first);
    assert!(!rung(&second));
}

#[test]
fn a_claim_at_its_cap_stands_aside_until_its_worker_is_rung() {
    let door = door();
    let (full, other) = (door.waits("a", &[]), door.waits("b", &[]));
    door.ring(Some("x"), 1);
    assert!(rung(&full));
    full.listen();
    full.stand_aside();
    assert!(rung(&other), "the wake went on");
    door.ring(Some("x"), 1);
    assert!(!rung(&full));
    door.bell.ring_worker(&"a".parse().unwrap());
    assert!(rung(&full));
}

#[test]
fn whoever_leaves_is_forgotten() {
    let door = door();
    drop([door.waits("a", &["x"]), door.waits("b", &[])]);
    let line = door.bell.line();
    assert!(line.waiters.is_empty() && line.lanes.is_empty() && line.workers.is_empty());
}

/// Producers put tasks into a counter and ring; claims look, take at most one, and wait otherwise; some go away at
/// random moments. At the end no task may be left while a claim sleeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_task_is_left_while_a_claim_sleeps() {
    use std::sync::atomic::{AtomicI64, Ordering};

    const TASKS: i64 = 5_000;
    let door = door();
    let ready = Arc::new(AtomicI64::new(0));
    let taken = Arc::new(AtomicI64::new(0));
    let take = |ready: &AtomicI64| {
        ready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then_some(n - 1)).is_ok()
    };
    let mut claims = Vec::new();
    for worker in 0..16_u32 {
        let (bell, ready, taken) = (Arc::clone(&door.bell), Arc::clone(&ready), Arc::clone(&taken));
        claims.push(tokio::spawn(async move {
            let name: WorkerId = format!("w{worker}").parse().unwrap();
            let mut turn = 0_u32;
            loop {
                let waiting = bell.wait(&name, &[QueueName::default()], &[]);
                loop {
                    turn += 1;
                    waiting.listen();
                    if worker % 4 == 0 && turn.is_multiple_of(3) {
                        tokio::task::yield_now().await;
                        break; // Hangs up between wake and look.
                    }
                    let took = take(&ready);
                    waiting.settle();
                    if took {
                        taken.fetch_add(1, Ordering::SeqCst);
                        break;
                    }
                    waiting.rung().await;
                }
            }
        }));
    }
    for _ in 0..TASKS {
        ready.fetch_add(1, Ordering::SeqCst);
        door.ring(Some("x"), 1);
        tokio::task::yield_now().await;
    }
    let all_taken = async {
        while taken.load(Ordering::SeqCst) < TASKS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), all_taken).await;
    claims.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(in_time.is_ok(), "{} of {TASKS} taken", taken.load(Ordering::SeqCst));
}

#[test]
fn who_wants_to_hear_of_the_first_waiting_claim_does() {
    let door = door();
    let mut hears = pin!(door.bell.someone_waits());
    let mut context = Context::from_waker(Waker::noop());
    assert!(hears.as_mut().poll(&mut context).is_pending());
    let _waiting = door.waits("a", &[]);
    assert!(hears.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_ring_concerns_those_who_would_be_woken_by_it() {
    let door = door();
    let (queue, x, y) = (QueueName::default(), "x".parse().unwrap(), "y".parse().unwrap());
    assert!(!door.bell.concerns(&queue, None));
    let waiting = door.waits("a", &["x"]);
    assert!(door.bell.concerns(&queue, None) && door.bell.concerns(&queue, Some(&x)));
    assert!(!door.bell.concerns(&queue, Some(&y)));
    assert!(!door.bell.concerns(&"gpu".parse().unwrap(), None));
    waiting.stand_aside();
    assert!(!door.bell.concerns(&queue, Some(&x)));
}

#[test]
fn a_wake_that_was_not_for_its_claim_goes_to_those_behind_it_and_no_further() {
    let door = door();
    let line = [door.waits("a", &[]), door.waits("b", &["x"]), door.waits("c", &["y"]), door.waits("d", &[])];
    door.ring(Some("x"), 1);
    let mut woken = Vec::new();
    // Each claim looks for a project that has no task: the wake visits each that takes the type once, and ends.
    while let Some(place) = line.iter().position(rung) {
        woken.push(place);
        line[place].listen();
        line[place].pass_by();
    }
    assert_eq!(woken, [0, 1, 3]);
    // All still listen.
    door.ring(Some("y"), 4);
    assert_eq!(line.each_ref().map(rung), [true, false, true, true]);
}

#[test]
fn a_claim_that_was_not_rung_has_no_wake_to_hand_on() {
    let door = door();
    let (first, second) = (door.waits("a", &[]), door.waits("b", &[]));
    first.listen();
    first.pass_by();
    assert!(!rung(&first) && !rung(&second));
}
