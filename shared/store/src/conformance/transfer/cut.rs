//! A target of a move that breaks off in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use baton_model::Timestamp;

use crate::transfer::{Holding, ImportError, Record, Verdict};
use crate::{Count, Cursor, Page, StoreError, Transfer};

/// A target that breaks off after so many writes, the last one half done.
pub(crate) struct Cut {
    target: Arc<dyn Transfer>,
    left: AtomicU32,
    /// Whether it breaks off at the first log line besides, which comes after all tasks.
    at_logs: bool,
}

impl Cut {
    /// Breaks off after `left` writes.
    pub(crate) fn after(left: u32, target: &Arc<dyn Transfer>) -> Self {
        Self { target: Arc::clone(target), left: AtomicU32::new(left), at_logs: false }
    }

    /// Breaks off at the first log line.
    pub(crate) fn at_logs(target: &Arc<dyn Transfer>) -> Self {
        Self { at_logs: true, ..Self::after(u32::MAX, target) }
    }

    fn cut(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

fn broken() -> StoreError {
    StoreError::Unknown("cut off".into())
}

#[async_trait]
impl Transfer for Cut {
    async fn export(
        &self,
        now: Timestamp,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Record>, StoreError> {
        self.target.export(now, after, limit).await
    }

    async fn import(&self, mut records: Vec<Record>) -> Result<Vec<Verdict>, ImportError> {
        let logs = records.iter().any(|record| matches!(record, Record::Log(_)));
        if self.cut() || (self.at_logs && logs) {
            records.truncate(records.len() / 2);
            self.target.import(records).await?;
            return Err(broken().into());
        }
        self.target.import(records).await
    }

    /// Two writes, as some stores have it: the second one breaks off before it is known how far it has come.
    async fn import_page(
        &self,
        mut records: Vec<Record>,
        checkpoint: String,
    ) -> Result<Vec<Verdict>, ImportError> {
        let logs = records.iter().any(|record| matches!(record, Record::Log(_)));
        if self.cut() || (self.at_logs && logs) {
            records.truncate(records.len() / 2);
            self.target.import(records).await?;
            return Err(broken().into());
        }
        if self.cut() {
            self.target.import(records).await?;
            return Err(broken().into());
        }
        self.target.import_page(records, checkpoint).await
    }

    async fn begin_anew(&self) -> Result<(), StoreError> {
        self.target.begin_anew().await
    }

    fn lacks(&self) -> &'static [&'static str] {
        self.target.lacks()
    }

    fn keeps_places(&self) -> bool {
        self.target.keeps_places()
    }

    async fn holdings(&self) -> Result<Vec<Holding>, StoreError> {
        self.target.holdings().await
    }

    async fn set_counts(&self, counts: Vec<Count>) -> Result<(), StoreError> {
        self.target.set_counts(counts).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.target.checkpoint().await
    }

    async fn set_checkpoint(&self, checkpoint: String) -> Result<(), StoreError> {
        if self.cut() { Err(broken()) } else { self.target.set_checkpoint(checkpoint).await }
    }
}
