//! Endings of several attempts in one request: each with its own outcome, and a claim after them.

use baton_model::transition::Refusal;
use baton_model::{Ended, Fence, State, Task};

use super::kit::*;
use super::limits::{limit, most};
use crate::{
    ClaimAnswer, Complete, Completion, EndAnswer, EndedAs, Ending, Fail, Nothing, Release, StoreError,
};

/// How many endings one request may bring.
const MANY: usize = 1_000;

/// The completion among the outcomes, at a place.
fn completion(answer: &EndAnswer, place: usize) -> &Completion {
    match &answer.items[place] {
        Ok(EndedAs::Completed(completion)) => completion,
        other => panic!("expected a completion at {place}, got {other:?}"),
    }
}

/// The refusal among the outcomes, at a place.
fn refused(answer: &EndAnswer, place: usize) -> Refusal {
    match &answer.items[place] {
        Err(StoreError::Refused { refusal, .. }) => refusal.clone(),
        other => panic!("expected a refusal at {place}, got {other:?}"),
    }
}

/// The task that went back, at a place, and whether it had before.
fn back(answer: &EndAnswer, place: usize) -> (&Task, bool) {
    match &answer.items[place] {
        Ok(EndedAs::Back(back)) => (&back.task, back.repeated),
        other => panic!("expected a task that went back at {place}, got {other:?}"),
    }
}

/// So many tasks that one worker runs.
async fn held(b: &Bench, tasks: usize) -> Vec<Task> {
    b.create_plain(at(0), tasks).await;
    let held = b.claim(claim("w1", at(0)).max(u32::try_from(tasks).unwrap()).cap(2_000)).await;
    assert_eq!(held.len(), tasks);
    held
}

async fn end(b: &Bench, endings: Vec<Ending>, next: Option<crate::Claim>) -> EndAnswer {
    let count = endings.len();
    let answer = b.store().end(endings, next).await.expect("endings are taken");
    assert_eq!(answer.items.len(), count, "an outcome for each");
    answer
}

/// Completions, failures and releases in one request do what each does alone, and are answered in their order; those that
/// are refused, by another worker's name, an old attempt or an unknown task, leave the others alone.
pub async fn endings_have_each_their_own_outcome(b: Bench) {
    let tasks = held(&b, 6).await;
    b.release(releasing(at(1), &tasks[4])).await;
    let other = Fence { worker: name("w2"), ..fence(&tasks[1]) };
    let unknown = b.task_id();
    let endings = vec![
        Ending::Complete(b.completion(at(2), &tasks[0])),
        Ending::Complete(Complete { fence: other, ..b.completion(at(2), &tasks[1]) }),
        Ending::Fail(Fail { retry_after: Some(secs(7)), ..failing(at(2), &tasks[2]) }),
        Ending::Fail(Fail { task: unknown, ..failing(at(2), &tasks[2]) }),
        Ending::Release(Release { delay: secs(5), ..releasing(at(2), &tasks[3]) }),
        Ending::Complete(b.completion(at(2), &tasks[4])),
        Ending::Fail(Fail { retryable: false, ..failing(at(2), &tasks[5]) }),
    ];
    let Ending::Complete(Complete { generation, .. }) = endings[0] else { panic!("the first completes") };
    let answer = end(&b, endings, None).await;
    assert!(answer.next.is_none());

    let completed = completion(&answer, 0);
    assert_eq!((completed.generation.id, completed.repeated), (generation, false));
    assert_eq!(b.task(tasks[0].head.id).await.generation.as_ref(), Some(&completed.generation));
    assert_eq!(refused(&answer, 1), Refusal::WrongWorker { attempt: 1 });
    assert_eq!(b.task(tasks[1].head.id).await.task, tasks[1], "a refusal writes nothing");
    let (failed, repeated) = back(&answer, 2);
    assert_eq!((failed.head.run_after, failed.head.attempts_used(), repeated), (at(9), 1, false));
    assert_eq!(&b.task(tasks[2].head.id).await.task, failed);
    assert!(matches!(&answer.items[3], Err(StoreError::TaskNotFound(id)) if *id == unknown));
    let (released, _) = back(&answer, 4);
    assert_eq!((released.head.run_after, released.head.attempts_used()), (at(7), 0));
    assert_eq!(refused(&answer, 5), Refusal::LeaseLost { state: State::Queued, how: Ended::Released });
    assert_eq!(back(&answer, 6).0.head.state.state(), State::Failed);
    assert_eq!(b.worker("w1").await.active, 1, "the one whose completion was refused");
    b.check(at(3)).await;
}

/// Endings that are sent again, with ids for generations that are fresh, are answered as the first time, and write nothing.
pub async fn endings_sent_again_are_answered_as_the_first(b: Bench) {
    let tasks = held(&b, 3).await;
    let endings = |now| {
        vec![
            Ending::Complete(b.completion(now, &tasks[0])),
            Ending::Fail(failing(now, &tasks[1])),
            Ending::Release(Release { delay: secs(50), ..releasing(now, &tasks[2]) }),
        ]
    };
    let first = end(&b, endings(at(1)), None).await;
    let mut before = Vec::new();
    for task in &tasks {
        before.push(b.task(task.head.id).await);
    }
    let again = end(&b, endings(at(2)), None).await;
    assert_eq!(completion(&again, 0).generation, completion(&first, 0).generation);
    assert!(completion(&again, 0).repeated);
    for place in 1..3 {
        assert_eq!(back(&again, place), (back(&first, place).0, true));
    }
    for (task, before) in tasks.iter().zip(before) {
        assert_eq!(b.task(task.head.id).await, before);
    }
    b.check(at(3)).await;
}

/// Of two endings of one attempt in one request the second finds what the first has left: the same is a repetition, another
/// one is refused.
pub async fn a_task_that_ends_twice_in_one_request_ends_by_the_first(b: Bench) {
    let tasks = held(&b, 3).await;
    let endings = vec![
        Ending::Complete(b.completion(at(1), &tasks[0])),
        Ending::Fail(failing(at(1), &tasks[1])),
        Ending::Fail(failing(at(1), &tasks[0])),
        Ending::Complete(b.completion(at(1), &tasks[1])),
        Ending::Complete(b.completion(at(1), &tasks[2])),
        Ending::Complete(b.completion(at(1), &tasks[2])),
    ];
    let answer = end(&b, endings, None).await;
    assert!(!completion(&answer, 0).repeated);
    let completed = Refusal::LeaseLost { state: State::Completed, how: Ended::Completed };
    assert_eq!(refused(&answer, 2), completed);
    assert_eq!(back(&answer, 1).0.head.state.state(), State::Queued);
    assert_eq!(refused(&answer, 3), Refusal::LeaseLost { state: State::Queued, how: Ended::Failed });
    assert_eq!(completion(&answer, 5).generation, completion(&answer, 4).generation);
    assert!(completion(&answer, 5).repeated);
    b.check(at(2)).await;
}

/// A task that waits for others is let go of when the last of them is completed, also where one request completes them all.
pub async fn endings_let_go_of_those_that_wait(b: Bench) {
    let tasks = held(&b, 2).await;
    let depends_on = tasks.iter().map(|task| task.head.id).collect();
    let waits = b.create(at(1), baton_model::TaskSpec { depends_on, ..b.spec("bake") }).await;
    assert_eq!(b.state(waits).await, State::Blocked);
    let endings = tasks.iter().map(|task| Ending::Complete(b.completion(at(2), task))).collect();
    end(&b, endings, None).await;
    b.follow(at(3)).await;
    assert_eq!(b.claim_one(claim("w1", at(3))).await.head.id, waits);
    b.check(at(4)).await;
}

/// The claim that comes with endings takes the places which they have freed: of limits, and within the worker's cap.
pub async fn what_endings_free_is_taken_by_their_claim(b: Bench) {
    limit(&*b.store(), at(0), "project/film", most(3)).await;
    let specs = (0..7).map(|_| b.spec("render").project("film")).collect();
    let ids = b.create_all(at(0), specs).await;
    let ask = |seconds: u64| claim("w1", at(seconds)).max(5).cap(3);
    let tasks = b.claim(ask(1)).await;
    assert_eq!(ids_of(&tasks), ids[..3]);
    let endings = vec![
        Ending::Complete(b.completion(at(2), &tasks[0])),
        Ending::Fail(Fail { retry_after: Some(secs(900)), ..failing(at(2), &tasks[1]) }),
        Ending::Release(Release { delay: secs(900), ..releasing(at(2), &tasks[2]) }),
    ];
    let answer = end(&b, endings, Some(ask(2))).await;
    let next = leased(answer.next.unwrap());
    assert_eq!(ids_of(&next), ids[3..6]);
    let endings = next.iter().map(|task| Ending::Complete(b.completion(at(3), task))).collect();
    let answer = end(&b, endings, Some(ask(3))).await;
    assert_eq!(ids_of(&leased(answer.next.unwrap())), ids[6..]);
    b.check(at(4)).await;
}

/// The claim stands by itself: endings that are refused do not keep it from its tasks, one that is refused undoes no ending,
/// and one that finds nothing says why.
pub async fn the_claim_that_comes_with_endings_stands_by_itself(b: Bench) {
    let late = b.running_by(at(0), claim("w1", at(0)).session(session(1)), b.spec("render")).await;
    let other = Fence { worker: name("w2"), ..fence(&late) };
    let waiting = b.create_plain(at(0), 1).await;
    let ask = |start| claim("w1", at(2)).session(session(start));
    let foreign = Ending::Complete(Complete { fence: other, ..b.completion(at(2), &late) });
    let answer = end(&b, vec![foreign], Some(ask(1))).await;
    assert_eq!(refused(&answer, 0), Refusal::WrongWorker { attempt: 1 });
    let next = leased(answer.next.unwrap());
    assert_eq!(ids_of(&next), waiting);

    b.beat(beat("w1", at(3)).session(session(2))).await;
    let answer = end(&b, vec![Ending::Complete(b.completion(at(3), &next[0]))], Some(ask(1))).await;
    assert!(!completion(&answer, 0).repeated);
    assert_err!(answer.next.unwrap(), StoreError::SessionSuperseded { .. });
    assert_eq!(b.state(next[0].head.id).await, State::Completed);

    let answer = end(&b, Vec::new(), Some(ask(2))).await;
    assert_eq!(answer.next.unwrap().unwrap(), ClaimAnswer::Nothing(Nothing::NoneQueued));
    b.check(at(4)).await;
}

/// Endings that are sent again with their claim get, by its request key, the leases of the first time.
pub async fn endings_sent_again_repeat_their_claim(b: Bench) {
    let tasks = held(&b, 2).await;
    b.create_plain(at(0), 5).await;
    let endings: Vec<_> = tasks.iter().map(|task| Ending::Complete(b.completion(at(1), task))).collect();
    let next = claim("w1", at(1)).max(2).key("r1");
    let first = end(&b, endings.clone(), Some(next.clone())).await;
    let again = end(&b, endings, Some(next)).await;
    assert_eq!(held_set(&leased(again.next.unwrap())), held_set(&leased(first.next.unwrap())));
    assert_eq!(b.worker("w1").await.active, 2);
    b.check(at(2)).await;
}

/// A thousand ends are taken by one request, of a hundred attempts ten times each, and a hundred tasks come along.
pub async fn a_thousand_ends_are_taken_by_one_request(b: Bench) {
    let tasks = held(&b, MANY / 10).await;
    b.create_plain(at(1), 100).await;
    let ending = |place: usize| match &tasks[place % tasks.len()] {
        task if place % tasks.len() == 50 => Ending::Fail(Fail { retryable: false, ..failing(at(2), task) }),
        task => Ending::Complete(b.completion(at(2), task)),
    };
    let answer = end(&b, (0..MANY).map(ending).collect(), Some(claim("w1", at(2)).max(100).cap(100))).await;
    for place in 0..MANY {
        let (task, repeats) = (&tasks[place % tasks.len()], place >= tasks.len());
        if place % tasks.len() == 50 {
            assert_eq!((back(&answer, place).0.head.id, back(&answer, place).1), (task.head.id, repeats));
        } else {
            let completion = completion(&answer, place);
            assert_eq!((completion.generation.task, completion.repeated), (task.head.id, repeats));
        }
    }
    assert_eq!(leased(answer.next.unwrap()).len(), 100);
    assert_eq!(b.worker("w1").await.active, 100);
    b.check(at(3)).await;
}

/// Requests that end the same attempts at the same time take each once.
pub async fn endings_at_once_take_each_attempt_once(b: Bench) {
    let tasks = held(&b, 20).await;
    let mut sent = tokio::task::JoinSet::new();
    for turn in 0..4 {
        let mut endings: Vec<_> =
            tasks.iter().map(|task| Ending::Complete(b.completion(at(1), task))).collect();
        endings.rotate_left(5 * turn);
        let store = b.store();
        sent.spawn(async move { store.end(endings, None).await.expect("endings are taken") });
    }
    let mut taken = Vec::new();
    while let Some(answer) = sent.join_next().await {
        for item in answer.unwrap().items {
            match item {
                Ok(EndedAs::Completed(Completion { generation, repeated: false, .. })) => {
                    taken.push(generation)
                }
                Ok(EndedAs::Completed(Completion { repeated: true, .. })) => {}
                other => panic!("expected a completion, got {other:?}"),
            }
        }
    }
    taken.sort_by_key(|generation| generation.task);
    assert_eq!(
        taken.iter().map(|generation| generation.task).collect::<Vec<_>>(),
        ids_of(&tasks),
        "each once, in the order of their ids"
    );
    for generation in taken {
        assert_eq!(b.task(generation.task).await.generation, Some(generation));
    }
    b.check(at(2)).await;
}
