//! Moving: reading out what the table holds (`export.rs`, `settings.rs`), and taking in what another store has read out (`import.rs`).

mod export;
mod import;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use baton_model::{BulkState, QueueName, Timestamp, limits};
use baton_store::transfer::{DurationsRecord, Holding, ImportError, NAMED, Record, TIMELINE, Verdict};
use baton_store::{BulkStore as _, Count, Cursor, Page, PageRequest, StoreError, Transfer};
use futures::StreamExt;
use futures::future::try_join_all;

use crate::DynamoStore;
use crate::attr::{Fields, Item, s};
use crate::error::damaged;
use crate::expression::Expression;
use crate::keys;
use crate::queue::unconditional;

use export::Place;
use import::days_of;
pub(crate) use import::days_of_task;

/// How many records are read or written at the same time.
const AT_ONCE: usize = 16;

#[async_trait]
impl Transfer for DynamoStore {
    async fn export(
        &self,
        now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.inner.export(now, Place::parse(after.as_ref())?, limit as usize).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        // Before anything lies in them, and once for all of the records: most are of the same few days.
        let days: BTreeSet<_> = records.iter().flat_map(days_of).collect();
        let notes = &self.inner.notes;
        try_join_all(days.into_iter().map(|(kind, day)| notes.know_past_day(&self.inner.db, kind, day)))
            .await?;
        // Tokens are counted in one item, for which those that are made at once would contend.
        let counted = records.iter().any(|record| matches!(record, Record::Token(_)));
        let at_once = if counted { 1 } else { AT_ONCE };
        // Tasks come with the time of their creation, by which statistics would take them for counted.
        let tasks = records.iter().any(|record| matches!(record, Record::Task(_)));
        if tasks {
            self.inner.date_later().await?;
        }
        let epoch = if tasks { self.inner.db.epochs().await?.latest() } else { None };
        let imports: Vec<_> = records.into_iter().map(|record| self.inner.import(record, epoch)).collect();
        let outcomes: Vec<_> = futures::stream::iter(imports).buffered(at_once).collect().await;
        outcomes.into_iter().collect()
    }

    async fn begin_anew(&self) -> Result<(), StoreError> {
        self.inner.remove_copies().await
    }

    fn lacks(&self) -> &'static [&'static str] {
        // There is no order of events.
        &[TIMELINE]
    }

    fn keeps_places(&self) -> bool {
        // A page of a list ends at a key, of one of so many partitions as this table has.
        false
    }

    async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        let (mut open, mut ended, mut names) = (0, 0, Vec::new());
        let mut page = PageRequest::first(limits::PAGE);
        loop {
            let found = self.bulks(page).await?;
            for bulk in found.items {
                if bulk.state != BulkState::Running {
                    ended += 1;
                    continue;
                }
                open += 1;
                if names.len() < NAMED {
                    names.push(bulk.id.to_string());
                }
            }
            match found.next {
                Some(next) => page = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
                None => break,
            }
        }
        let mut found = Vec::from(Holding::of_bulks((open, names), ended));
        found.extend(self.inner.document_holdings().await?);
        Ok(found)
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.inner.set_counts(counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        let item = self.inner.db.get(keys::meta("transfer")).await?;
        item.as_ref().map(|item| Fields(item).text("t").map(str::to_owned)).transpose()
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        let mut item = keys::meta("transfer");
        item.insert("t".to_owned(), s(checkpoint));
        unconditional(self.inner.db.put(item, Expression::new()).await)
    }
}

/// An hour of a queue's durations, from the items that hold parts of it.
fn durations(queue: &QueueName, hour: i64, parts: &[Item]) -> Result<DurationsRecord, StoreError> {
    let (mut wait, mut run, mut failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for part in parts {
        let fields = Fields(part);
        for name in part.keys().filter(|name| !matches!(name.as_str(), "pk" | "sk" | "xp" | "nc")) {
            let bucket: Option<i64> = name.get(1..).and_then(|digits| digits.parse().ok());
            let bucket = bucket.ok_or_else(|| damaged(format!("expected a duration, got {name}")))?;
            let buckets = match name.chars().next() {
                Some('w') => &mut wait,
                Some('f') => &mut failed,
                _ => &mut run,
            };
            *buckets.entry(bucket).or_default() += fields.number::<u64>(name)?;
        }
    }
    let (wait, run) = (wait.into_iter().collect(), run.into_iter().collect());
    Ok(DurationsRecord { queue: queue.clone(), hour, wait, run, failed: failed.into_iter().collect() })
}

/// The sort key of a page's entry, or nothing.
fn key_of(item: Option<&Item>) -> &str {
    item.map_or("", |item| crate::descent::key_of(item, false))
}
