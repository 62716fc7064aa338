//! Counts made anew from the tasks that a store holds.

use std::collections::BTreeMap;

use baton_model::Timestamp;

use super::{Record, Transfer};
use crate::error::StoreError;
use crate::query::Count;

/// How many records are read at once.
const PAGE: u32 = 500;

/// Reads a store, and puts the counts of what it holds in the place of those that statistics are read from. Nobody else may change the
/// store meanwhile.
///
/// # Errors
/// The store's own failures.
pub async fn recount(store: &dyn Transfer, now: Timestamp) -> Result<(), StoreError> {
    let (mut counts, mut after) = (BTreeMap::new(), None);
    loop {
        let page = store.export(now, after, PAGE).await?;
        for record in page.items {
            if let Record::Task(record) = record {
                let task = record.task;
                *counts.entry((task.queue, task.task_type, task.head.state.state())).or_insert(0) += 1;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let counts = counts.into_iter().map(|((queue, task_type, state), tasks)| Count {
        queue,
        task_type: Some(task_type),
        state,
        tasks,
    });
    store.set_counts(counts.collect()).await
}
