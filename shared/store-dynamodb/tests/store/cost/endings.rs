//! What it costs to end several attempts by one request: what it costs to end each alone, but for what is read together.

use std::sync::Arc;

use baton_model::Task;
use baton_store::{Claim, ClaimAnswer, EndAnswer, Ending, TaskStore};
use baton_store_dynamodb::{DynamoStore, Meter, Options};

use crate::bench::{Bench, claim};

/// How many attempts end together.
const TOGETHER: u32 = 100;

async fn held(b: &mut Bench) -> Vec<Task> {
    b.create(TOGETHER as usize, 200).await;
    let ask = Claim { max_tasks: TOGETHER, cap: 1_000, ..claim("worker-1") };
    let ClaimAnswer::Leased(tasks) = b.store.claim(ask).await.unwrap() else { panic!("expected tasks") };
    assert_eq!(tasks.len(), TOGETHER as usize);
    tasks
}

fn endings(b: &mut Bench, held: &[Task]) -> Vec<Ending> {
    held.iter().map(|task| Ending::Complete(b.completion(task, 200))).collect()
}

async fn end(store: &DynamoStore, endings: Vec<Ending>, next: Option<Claim>) -> EndAnswer {
    let answer = store.end(endings, next).await.unwrap();
    assert!(answer.items.iter().all(Result::is_ok), "{answer:?}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_in_batches_cost_no_more_units_than_alone_and_are_read_together() {
    let mut b = Bench::open().await;
    let meter: Arc<dyn Meter> = b.heard.clone();
    let other = b.engine.store(Options { meter: Some(meter), ..Options::seeded(2) }).await;
    let tasks = held(&mut b).await;
    let ends = endings(&mut b, &tasks);
    b.heard.take();
    end(&b.store, ends, None).await;
    b.note("end 100 attempts, the first of a process on a day");

    let tasks = held(&mut b).await;
    let ends = endings(&mut b, &tasks);
    b.heard.take();
    end(&b.store, ends, None).await;
    let cost = b.note("end 100 attempts, completed with 200 B each");
    assert!(cost.write <= 500.0 && cost.read <= 0.0 && cost.requests <= 100, "{cost:?}");

    let tasks = held(&mut b).await;
    let ends = endings(&mut b, &tasks[..50]);
    end(&other, ends, None).await;
    let ends = endings(&mut b, &tasks[50..]);
    b.heard.take();
    end(&other, ends, None).await;
    let cost = b.note("end 50 attempts, of tasks that another process gave out");
    assert!(cost.write <= 250.0 && cost.read <= 25.0 && cost.requests <= 51, "{cost:?}");

    let tasks = held(&mut b).await;
    b.create(TOGETHER as usize, 200).await;
    let next = Claim { max_tasks: TOGETHER, cap: TOGETHER, ..claim("worker-1") };
    let ends = endings(&mut b, &tasks);
    end(&other, Vec::new(), Some(Claim { cap: 0, ..next.clone() })).await;
    b.heard.take();
    let answer = end(&other, ends, Some(next)).await;
    let Some(Ok(ClaimAnswer::Leased(next))) = answer.next else { panic!("expected the next tasks") };
    assert_eq!(next.len(), TOGETHER as usize);
    let cost = b.note("end 100 attempts, of another process, with a claim for the next 100");
    assert!(cost.write <= 800.0 && cost.requests <= 210, "{cost:?}");
    // One end alone reads its own.
    let ends = endings(&mut b, &next[..1]);
    b.heard.take();
    end(&b.store, ends, None).await;
    let cost = b.note("end one attempt, of a task that another process gave out");
    assert!(cost.write <= 5.0 && cost.requests <= 2, "{cost:?}");
    b.print();
    b.documented();
}
