//! Where a task stands in its producer's trace: kept as it came, and of no consequence.

use std::time::Duration;

use baton_model::{Task, TaskSpec, Trace};

use super::kit::*;

/// A trace with a state, or without one.
pub(super) fn trace(n: u8, state: Option<&str>) -> Trace {
    let text = format!("00-0af7651916cd43dd8448eb211c8031{n:02x}-b7ad6b7169203331-01");
    let text = state.map_or_else(|| text.clone(), |state| format!("{text} {state}"));
    text.parse().expect("it is well-formed")
}

fn traced(spec: TaskSpec, trace: Trace) -> TaskSpec {
    TaskSpec { trace: Some(trace), ..spec }
}

/// The traces of tasks, in the order of their ids.
fn told(tasks: &[Task]) -> Vec<Option<Trace>> {
    let mut all: Vec<_> = tasks.iter().map(|task| (task.head.id, task.trace.clone())).collect();
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, trace)| trace).collect()
}

/// A task's trace is told with it wherever the task is: when it is read, listed and claimed, in each attempt, after a restart, and once it
/// has ended; also beside params that are large. A task without one has none.
pub async fn a_trace_is_told_and_stays(mut b: Bench) {
    let (plain, stated) = (trace(1, None), trace(2, Some("vendor=a b,other@x=1")));
    let large = json(&format!("\"{}\"", "p".repeat(3_000)));
    let specs = vec![
        traced(b.spec("render"), plain.clone()),
        traced(TaskSpec { params: large, ..b.spec("render") }, stated.clone()),
        b.spec("render"),
    ];
    let wanted = [Some(plain), Some(stated), None];
    let ids = b.create_all(at(0), specs).await;
    let held = b.claim(claim("w", at(1)).max(3)).await;
    assert_eq!(told(&held), wanted);
    let retry_after = Some(Duration::ZERO);
    for task in &held {
        b.store().fail(crate::Fail { retry_after, ..failing(at(2), task) }).await.expect("it is taken");
    }
    b.reopen().await;
    let again = b.claim(claim("w", at(3)).max(3)).await;
    assert_eq!(told(&again), wanted);
    for task in &again {
        b.complete(at(4), task).await;
    }
    for (id, wanted) in ids.into_iter().zip(wanted) {
        assert_eq!(b.store().task(id).await.expect("it is known").task.trace, wanted);
    }
    b.check(at(5)).await;
}

/// A request that is sent again has a span of its own: a chosen id with the same content and another trace is the same task, which keeps
/// the trace that it was created with.
pub async fn another_trace_makes_no_other_task(b: Bench) {
    let spec = b.spec("render").chosen();
    let first = traced(spec.clone(), trace(1, Some("a=1")));
    let id = b.create(at(0), first.clone()).await;
    for again in [traced(spec.clone(), trace(2, None)), spec] {
        let answer = b.send(creation(at(1), vec![again])).await.expect("it is answered");
        assert!(
            matches!(&answer.items[..], [Ok(accepted)] if accepted.id == id && !accepted.new),
            "{answer:?}"
        );
    }
    assert_eq!(b.store().task(id).await.expect("it is known").task.trace, first.trace);
    b.check(at(2)).await;
}
