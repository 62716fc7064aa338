//! A migration: copies page by page, keeps in the target how far it has come, and compares both sides at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_model::{QueueName, State, TaskType, Timestamp};
use serde::{Deserialize, Serialize};

use super::{ImportError, Record, Refusal, Tally, Transfer, Verdict};
use crate::error::StoreError;
use crate::query::{Count, Cursor};

/// What is to be moved, and how.
#[derive(Clone, Copy)]
pub struct Migration<'a> {
    /// Where it is read from; nobody may change it meanwhile.
    pub source: &'a dyn Transfer,
    /// Where it is taken in; at first it must be empty.
    pub target: &'a dyn Transfer,
    /// The source's name, by which a migration that goes on knows it again.
    pub name: &'a str,
    /// How many records go in one page; 1 or more.
    pub page: u32,
    /// How long both stores keep log lines.
    pub keep_logs: Duration,
    /// Tells the time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Records copied, also by earlier runs.
    Copied(u64),
    /// Records of the source read again, to compare.
    ReadSource(u64),
    /// Records of the target read, to compare.
    ReadTarget(u64),
}

/// What a migration has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it went on where an earlier run had stopped.
    pub resumed: bool,
    /// Whether an earlier run had done all of it, so that this one has only compared.
    pub done_before: bool,
    /// Records that were new in the target, in this run.
    pub new: u64,
    /// Records that took the place of an earlier version.
    pub later: u64,
    /// Records that were there already.
    pub same: u64,
    /// Both sides by group: tasks by state, and the rest by kind. Durations are copied, and not compared.
    pub groups: BTreeMap<String, Compared>,
}

/// One group on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// What the source holds.
    pub source: Tally,
    /// What the target holds.
    pub target: Tally,
}

impl Compared {
    /// Whether both sides hold the same.
    pub fn agrees(&self) -> bool {
        self.source == self.target
    }
}

/// Why a migration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The target holds something that did not come by this migration.
    #[error("expected an empty target to begin with, got {0} in it; name another target")]
    NotEmpty(String),
    /// The target is being filled from another source.
    #[error(
        "expected the source {expected}, from which this target was filled so far, got {got}; name that one, or another target"
    )]
    OtherSource {
        /// The source that it was filled from.
        expected: String,
        /// The source named now.
        got: String,
    },
    /// A record could not be taken in because of what stands in the target.
    #[error("the target refuses {0}")]
    Refused(#[from] Refusal),
    /// Both sides were read, and do not hold the same.
    #[error("source and target differ")]
    Differs(Box<Outcome>),
    /// The source failed.
    #[error("the source: {0}")]
    Source(#[source] StoreError),
    /// The target failed.
    #[error("the target: {0}")]
    Target(#[source] StoreError),
    /// The checkpoint in the target cannot be read.
    #[error(
        "expected the target's note of how far its migration has come, got another text; use the baton that began it"
    )]
    Checkpoint,
}

impl From<ImportError> for MigrationError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Refused(refusal) => Self::Refused(refusal),
            ImportError::Store(error) => Self::Target(error),
        }
    }
}

/// What is kept in the target.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    source: String,
    stage: Stage,
    copied: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// All before the cursor is copied.
    Copying { after: Option<String> },
    /// All is copied, and not yet compared.
    Copied,
    /// All is copied, and both sides were the same.
    Done,
}

/// One side as it was read.
#[derive(Default)]
struct Side {
    groups: BTreeMap<&'static str, Tally>,
    counts: BTreeMap<(QueueName, TaskType, State), u64>,
}

impl Migration<'_> {
    /// Copies what is not copied yet, and compares. May be dropped at any point and run again, from any machine.
    ///
    /// # Errors
    /// What stands in the way; what was copied stays, and the next run goes on from there. After
    /// [`MigrationError::Differs`] the next run copies anew, and takes over what the source has changed.
    pub async fn run(&self, mut tell: impl FnMut(Progress) + Send) -> Result<Outcome, MigrationError> {
        let mut outcome = Outcome::default();
        let mut checkpoint = self.begin(&mut outcome).await?;
        while let Stage::Copying { after } = &checkpoint.stage {
            let after = after.clone().map(Cursor);
            let page =
                self.source.export((self.clock)(), after, self.page).await.map_err(MigrationError::Source)?;
            checkpoint.copied += page.items.len() as u64;
            for verdict in self.target.import(page.items).await? {
                match verdict {
                    Verdict::New => outcome.new += 1,
                    Verdict::Later => outcome.later += 1,
                    Verdict::Same => outcome.same += 1,
                }
            }
            checkpoint.stage = match page.next {
                Some(Cursor(next)) => Stage::Copying { after: Some(next) },
                None => Stage::Copied,
            };
            self.keep(&checkpoint).await?;
            tell(Progress::Copied(checkpoint.copied));
        }
        self.compare(&mut outcome, &mut tell).await?;
        let agrees = outcome.groups.values().all(Compared::agrees);
        if !agrees && !outcome.done_before {
            checkpoint.stage = Stage::Copying { after: None };
            checkpoint.copied = 0;
            self.keep(&checkpoint).await?;
        }
        if !agrees {
            return Err(MigrationError::Differs(Box::new(outcome)));
        }
        if !outcome.done_before {
            checkpoint.stage = Stage::Done;
            self.keep(&checkpoint).await?;
        }
        Ok(outcome)
    }

    /// Where to go on.
    async fn begin(&self, outcome: &mut Outcome) -> Result<Checkpoint, MigrationError> {
        let kept = self.target.checkpoint().await.map_err(MigrationError::Target)?;
        if let Some(text) = kept {
            let checkpoint: Checkpoint =
                serde_json::from_str(&text).map_err(|_| MigrationError::Checkpoint)?;
            if checkpoint.source != self.name {
                let got = self.name.to_owned();
                return Err(MigrationError::OtherSource { expected: checkpoint.source, got });
            }
            outcome.resumed = true;
            outcome.done_before = checkpoint.stage == Stage::Done;
            return Ok(checkpoint);
        }
        let mut after = None;
        loop {
            let page = self.target.export((self.clock)(), after, 1).await.map_err(MigrationError::Target)?;
            if let Some(record) = page.items.first() {
                return Err(MigrationError::NotEmpty(record.name()));
            }
            match page.next {
                None => break,
                next => after = next,
            }
        }
        let stage = Stage::Copying { after: None };
        let checkpoint = Checkpoint { source: self.name.to_owned(), stage, copied: 0 };
        self.keep(&checkpoint).await?;
        Ok(checkpoint)
    }

    async fn keep(&self, checkpoint: &Checkpoint) -> Result<(), MigrationError> {
        let text = serde_json::to_string(checkpoint).map_err(|_| MigrationError::Checkpoint)?;
        self.target.set_checkpoint(text).await.map_err(MigrationError::Target)
    }

    /// Reads both sides whole, and makes the target's counts anew from what was read.
    async fn compare(
        &self,
        outcome: &mut Outcome,
        tell: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), MigrationError> {
        let now = (self.clock)();
        let source = self.read(self.source, now, |read| tell(Progress::ReadSource(read))).await;
        let source = source.map_err(MigrationError::Source)?;
        let target = self.read(self.target, now, |read| tell(Progress::ReadTarget(read))).await;
        let target = target.map_err(MigrationError::Target)?;
        // A store that was taken into use keeps its own.
        if !outcome.done_before {
            let counts = target.counts.into_iter().map(|((queue, task_type, state), tasks)| Count {
                queue,
                task_type: Some(task_type),
                state,
                tasks,
            });
            self.target.set_counts(counts.collect()).await.map_err(MigrationError::Target)?;
        }
        for (group, tally) in source.groups {
            outcome.groups.entry(group.to_owned()).or_default().source = tally;
        }
        for (group, tally) in target.groups {
            outcome.groups.entry(group.to_owned()).or_default().target = tally;
        }
        Ok(())
    }

    async fn read(
        &self,
        store: &dyn Transfer,
        now: Timestamp,
        mut tell: impl FnMut(u64) + Send,
    ) -> Result<Side, StoreError> {
        let mut side = Side::default();
        for state in State::ALL {
            side.groups.insert(state.as_str(), Tally::default());
        }
        let (mut after, mut read) = (None, 0);
        loop {
            let page = store.export(now, after, self.page).await?;
            read += page.items.len() as u64;
            for record in &page.items {
                if let Some(checksum) = record.checksum(now, self.keep_logs) {
                    side.groups.entry(record.group()).or_default().add(checksum);
                }
                if let Record::Task(record) = record {
                    let task = &record.task;
                    let key = (task.queue.clone(), task.task_type.clone(), task.head.state.state());
                    *side.counts.entry(key).or_default() += 1;
                }
            }
            tell(read);
            match page.next {
                None => return Ok(side),
                next => after = next,
            }
        }
    }
}
