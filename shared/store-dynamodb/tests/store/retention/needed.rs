//! What unfinished tasks depend on stays, with its output, and goes once they have ended.

use baton_store::{DependencyProblem, ItemRefusal};

use super::*;

impl Bench {
    /// Creates a task that depends on another.
    async fn after(&self, seconds: u64, id: [u8; 16], on: TaskId) -> Result<TaskId, ItemRefusal> {
        let task = TaskSpec { depends_on: vec![on], ..spec(id, 10) };
        let answer = self.store.create(creation(seconds, vec![task])).await.unwrap();
        answer.items[0].clone().map(|accepted| accepted.id)
    }

    /// A completed task of which each part lies by itself.
    async fn done(&self, seconds: u64, id: [u8; 16]) -> TaskId {
        let id = self.create(seconds, id, 5_000).await;
        let task = self.claimed(seconds).await;
        assert_eq!(task.head.id, id);
        self.complete(seconds, &task, 5_000).await;
        id
    }

    /// How many items there are of a task, its generation and what they keep apart, and how many of them have an end.
    async fn ended_of(&self, first: TaskId) -> (usize, usize) {
        let (task, generation) = (first.to_string(), generation_of(first).to_string());
        let mine = |item: &&Item| {
            [&task, &generation].iter().any(|id| {
                item["sk"].as_s().unwrap() == *id || *item["pk"].as_s().unwrap() == format!("P#{id}")
            })
        };
        let lying = self.lying().await;
        let lying: Vec<_> = lying.iter().filter(mine).collect();
        (lying.len(), lying.iter().filter(|item| ends(item).is_some()).count())
    }

    /// Purges of some hours, each of which looks at some of what is kept.
    async fn purges(&self, seconds: u64) {
        for minute in 61..361 {
            self.purge(seconds + minute * 60).await;
        }
    }

    /// How many items there are of some kinds.
    async fn count(&self, letters: &str) -> usize {
        self.engine.items().await.iter().filter(|item| letters.contains(letter(item))).count()
    }
}

fn generation_of(task: TaskId) -> GenerationId {
    GenerationId::from_bytes(timed(1_000_000 + u64::from(task.as_bytes()[15])))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_unfinished_task_depends_on_has_no_end_until_that_one_has_ended() {
    let b = Bench::open().await;
    let first = b.done(0, timed(1)).await;
    assert_eq!(b.ended_of(first).await, (4, 4));
    let second = b.after(DAY, timed(2), first).await.unwrap();
    assert_eq!(b.ended_of(first).await, (4, 0));
    b.purges(40 * DAY).await;
    b.engine.pass(at(41 * DAY)).await;
    assert_eq!(b.ended_of(first).await, (4, 0), "and none is given while the other is unfinished");
    let inputs = b.store.inputs(vec![first]).await.unwrap();
    assert_eq!(inputs[0].generation.as_ref().unwrap().id, generation_of(first));

    let task = b.claimed(42 * DAY).await;
    assert_eq!(task.head.id, second);
    b.complete(42 * DAY, &task, 10).await;
    b.purges(42 * DAY).await;
    assert_eq!(b.ended_of(first).await, (4, 4));
    b.engine.pass(at(43 * DAY)).await;
    assert_eq!(b.ended_of(first).await, (0, 0), "it was past its keeping");
    assert!(b.store.task(second).await.is_ok(), "this one is not");
    b.engine.pass(at(73 * DAY)).await;
    assert_eq!(b.count("TXGYPEU").await, 0, "nothing is left of either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_others_wait_for_ends_without_an_end() {
    let b = Bench::open().await;
    let first = b.create(0, timed(1), 5_000).await;
    let second = b.after(1, timed(2), first).await.unwrap();
    let task = b.claimed(2).await;
    b.complete(2, &task, 5_000).await;
    assert_eq!(b.ended_of(first).await, (4, 0));
    b.cancel(3, second).await;
    b.purges(DAY).await;
    assert_eq!(b.ended_of(first).await, (4, 4));
    b.engine.pass(at(30 * DAY - 60)).await;
    assert_eq!(b.ended_of(first).await, (4, 4), "it is kept from its own end");
    b.engine.pass(at(30 * DAY + 60)).await;
    assert_eq!(b.ended_of(first).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_retried_task_depends_on_is_kept_again() {
    let b = Bench::open().await;
    let first = b.done(0, timed(1)).await;
    let second = b.after(1, timed(2), first).await.unwrap();
    b.cancel(2, second).await;
    b.purges(DAY).await;
    assert_eq!(b.ended_of(first).await, (4, 4));
    assert_eq!(b.count("U").await, 0);
    b.retry(2 * DAY, second).await;
    assert_eq!(b.ended_of(first).await, (4, 0));
    b.purges(100 * DAY).await;
    b.engine.pass(at(101 * DAY)).await;
    assert_eq!(b.ended_of(first).await, (4, 0));
    b.cancel(102 * DAY, second).await;
    b.purges(102 * DAY).await;
    b.engine.pass(at(133 * DAY)).await;
    assert_eq!(b.count("TXGYPEU").await, 0);
}

/// DynamoDB removes a task and its generation one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_has_gone_in_part_is_one_that_is_gone() {
    let b = Bench::open().await;
    let first = b.done(0, timed(1)).await;
    b.engine.remove_ended(at(31 * DAY), |item| letter(item) == 'G').await;
    let id = first;
    let unknown = ItemRefusal::Dependency { place: 0, id, problem: DependencyProblem::Unknown };
    assert_eq!(b.after(31 * DAY, timed(2), first).await, Err(unknown));
    b.purges(31 * DAY).await;
    b.engine.pass(at(32 * DAY)).await;
    assert_eq!(b.count("TXGYPEU").await, 0, "the rest goes, too");
}

/// Of a creation that came to nothing, nothing stays that says that others depend on a task.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_not_kept_for_one_that_was_never_created() {
    let engine = Engine::start().await;
    let keep_finished = Some(Duration::from_secs(30 * DAY));
    let options = Options { keep_finished, ..Options::seeded(1) };
    let (store, faults) = engine.failing(1, 6, options).await;
    let b = Bench { engine, store, heard: Arc::new(Heard::default()) };
    let first = b.done(0, timed(1)).await;
    for _ in 0..6 {
        faults.order("TransactWriteItems", baton_store_dynamodb::faults::Fault::LostRequest);
    }
    let task = TaskSpec { depends_on: vec![first], ..spec(timed(2), 10) };
    let error = b.store.create(creation(1, vec![task])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
    assert_eq!((b.ended_of(first).await, b.count("EU").await), ((4, 0), 2));
    b.purges(DAY).await;
    b.engine.pass(at(31 * DAY)).await;
    assert_eq!(b.count("TXGYPEU").await, 0);
}
