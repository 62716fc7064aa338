//! Items that cannot be read or written, and are passed over so that they hold up nothing else.
//!
//! Whoever reads many items at once (a claim's lane, the reaper's suspects, a list) leaves out the one that is damaged: its
//! task waits until somebody looks, and all others go on. Whoever reads one item by its key, and whoever moves a
//! store, fails: there is nothing else that could go on, and a copy that lacks something must not look whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_store::{ErrorKind, StoreError};
use tokio::time::Instant;

use crate::attr::Item;
use crate::db::Db;

/// How often the log says the same of an item: claims would say it a hundred times a second.
const AGAIN: Duration = Duration::from_secs(60);

/// How many items are remembered as told of.
const REMEMBERED: usize = 1_000;

/// What was passed over since it was last asked, for metrics and their alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// How often an item that is damaged was left out of what was read.
    pub damaged: u64,
    /// How many items of counts could not be written.
    pub uncounted: u64,
}

/// What was passed over.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    damaged: AtomicU64,
    uncounted: AtomicU64,
    told: Mutex<HashMap<String, Instant>>,
}

impl Aside {
    pub(crate) fn take(&self) -> PassedOver {
        PassedOver {
            damaged: self.damaged.swap(0, Ordering::Relaxed),
            uncounted: self.uncounted.swap(0, Ordering::Relaxed),
        }
    }

    /// Whether the log is to tell of an item now.
    fn is_news(&self, item: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.get(item).is_some_and(|at| now.duration_since(*at) < AGAIN) {
            return false;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(item.to_owned(), now);
        true
    }
}

fn name_of(item: &Item) -> String {
    let part = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
    format!("{} {}", part("pk"), part("sk"))
}

impl Db {
    /// Reads one of many items; none if it is damaged, which the log and a metric say.
    pub(crate) fn read_one<T>(
        &self,
        item: &Item,
        read: impl FnOnce(&Item) -> Result<T, StoreError>,
    ) -> Option<T> {
        match read(item) {
            Ok(found) => Some(found),
            Err(error) => {
                self.pass_over(&name_of(item), &error);
                None
            }
        }
    }

    /// What was read of one of many things; none if that is damaged, which the log and a metric say.
    pub(crate) fn unless_damaged<T>(
        &self,
        what: &str,
        read: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Err(error) if error.kind() == ErrorKind::Internal => {
                self.pass_over(what, &error);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Says that an item is damaged and was left out.
    pub(crate) fn pass_over(&self, item: &str, error: &StoreError) {
        self.aside.damaged.fetch_add(1, Ordering::Relaxed);
        if self.aside.is_news(item) {
            let error = error.report();
            tracing::error!(
                item,
                error,
                "an item of the table is damaged and is passed over; see docs/dynamodb.md"
            );
        }
    }

    /// Says that an item of counts cannot be written, and that what it was to count is left out.
    pub(crate) fn leave_uncounted(&self, partition: &str, sort: &str, error: &StoreError) {
        self.aside.uncounted.fetch_add(1, Ordering::Relaxed);
        let item = format!("{partition} {sort}");
        if self.aside.is_news(&item) {
            let error = error.report();
            tracing::error!(
                item,
                error,
                "an item of counts cannot be written, so that what it was to count is left out; once it can be, make the \
                 counts anew with `baton table rebuild-statistics`"
            );
        }
    }
}
