//! A migration: copies page by page, keeps in the target how far it has come, and compares both sides at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use baton_model::{QueueName, State, TaskType, Timestamp};
use futures::future::join;
use serde::{Deserialize, Serialize};

use super::{
    BULK, Holding, ImportError, NOTICES, Record, Refusal, TIMELINE, Tally, Transfer, Verdict, moved,
};
use crate::error::StoreError;
use crate::query::{Count, Cursor, Page};

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

/// What a migration leaves behind, as one of the two stores has no place for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// What it is.
    pub holding: Holding,
    /// Whether it is the target that has no place for it; else the source does not read it out.
    pub by_target: bool,
}

/// How far a migration has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something stays behind; told at the start of each run, before anything is copied.
    LeftBehind(LeftBehind),
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
    /// What stays behind.
    pub left_behind: Vec<LeftBehind>,
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
    /// An earlier version has begun it, whose tasks have other places in the target.
    #[error(
        "expected a migration that gives tasks the places that they have in the source, got one that an earlier version of baton has \
         begun, which did not; finish it with that version, or name an empty target"
    )]
    BegunOtherwise,
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
    /// What is copied: [`COPIES`], or less if an earlier version has begun it.
    #[serde(default)]
    copies: u32,
}

/// From 1 on, bulk commands, documents and the time line are, and tasks have their places; from 2 on, bulk commands also where their lists
/// are in another order.
const COPIES: u32 = 2;

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
        let mut outcome = Outcome { left_behind: self.left_behind().await?, ..Outcome::default() };
        for left in &outcome.left_behind {
            tell(Progress::LeftBehind(left.clone()));
        }
        let mut checkpoint = self.begin(&mut outcome).await?;
        if outcome.resumed && checkpoint.stage == (Stage::Copying { after: None }) {
            self.target.begin_anew().await.map_err(MigrationError::Target)?;
        }
        if let Stage::Copying { after } = &checkpoint.stage {
            let mut page = self.page_behind(after.clone().map(Cursor)).await;
            loop {
                let Page { items, next } = page.map_err(MigrationError::Source)?;
                checkpoint.copied += items.len() as u64;
                checkpoint.stage = match &next {
                    Some(Cursor(next)) => Stage::Copying { after: Some(next.clone()) },
                    None => Stage::Copied,
                };
                let import = self.target.import_page(items, text_of(&checkpoint)?);
                // The next page is read while this one is taken in.
                let (verdicts, read) = match next {
                    Some(next) => {
                        let (read, verdicts) = join(self.page_behind(Some(next)), import).await;
                        (verdicts?, Some(read))
                    }
                    None => (import.await?, None),
                };
                for verdict in verdicts {
                    match verdict {
                        Verdict::New => outcome.new += 1,
                        Verdict::Later => outcome.later += 1,
                        Verdict::Same => outcome.same += 1,
                    }
                }
                tell(Progress::Copied(checkpoint.copied));
                match read {
                    Some(read) => page = read,
                    None => break,
                }
            }
        }
        self.compare(&mut outcome, checkpoint.copies, &mut tell).await?;
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

    /// What one of the two stores has no place for.
    async fn left_behind(&self) -> Result<Vec<LeftBehind>, MigrationError> {
        let holdings = self.source.holdings().await.map_err(MigrationError::Source)?;
        let left = holdings.into_iter().filter(|holding| holding.records > 0 && self.leaves(holding.group));
        Ok(left
            .map(|holding| LeftBehind { by_target: self.target.lacks().contains(&holding.group), holding })
            .collect())
    }

    fn leaves(&self, group: &str) -> bool {
        self.source.lacks().contains(&group) || self.target.lacks().contains(&group)
    }

    /// A page of what is to be copied.
    async fn page_behind(&self, after: Option<Cursor>) -> Result<Page<Record>, StoreError> {
        let mut page = self.source.export((self.clock)(), after, self.page).await?;
        page.items = page.items.into_iter().filter_map(|record| self.moved(record)).collect();
        Ok(page)
    }

    fn moved(&self, record: Record) -> Option<Record> {
        moved(record, self.source, self.target)
    }

    fn keeps_places(&self) -> bool {
        super::keep_places(self.source, self.target)
    }

    /// From which version on ([`COPIES`]) a group is copied.
    fn copied_since(&self, group: &str) -> u32 {
        match group {
            BULK if !self.keeps_places() => 2,
            BULK | NOTICES | TIMELINE => 1,
            _ => 0,
        }
    }

    /// Where to go on.
    async fn begin(&self, outcome: &mut Outcome) -> Result<Checkpoint, MigrationError> {
        let kept = self.target.checkpoint().await.map_err(MigrationError::Target)?;
        if let Some(text) = kept {
            let mut checkpoint: Checkpoint =
                serde_json::from_str(&text).map_err(|_| MigrationError::Checkpoint)?;
            if checkpoint.source != self.name {
                let got = self.name.to_owned();
                return Err(MigrationError::OtherSource { expected: checkpoint.source, got });
            }
            if checkpoint.copies < COPIES && checkpoint.stage != Stage::Done {
                // Its tasks have other places, by which bulk commands and the time line would be wrong.
                if checkpoint.copies == 0 && self.keeps_places() {
                    return Err(MigrationError::BegunOtherwise);
                }
                // It has gone past what is copied since.
                let is_more =
                    |group: &&str| !self.leaves(group) && self.copied_since(group) > checkpoint.copies;
                if [BULK, NOTICES, TIMELINE].iter().any(is_more) {
                    checkpoint.stage = Stage::Copying { after: None };
                    checkpoint.copied = 0;
                }
                checkpoint.copies = COPIES;
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
        let checkpoint = Checkpoint { source: self.name.to_owned(), stage, copied: 0, copies: COPIES };
        self.keep(&checkpoint).await?;
        Ok(checkpoint)
    }

    async fn keep(&self, checkpoint: &Checkpoint) -> Result<(), MigrationError> {
        self.target.set_checkpoint(text_of(checkpoint)?).await.map_err(MigrationError::Target)
    }

    /// Reads both sides whole, and makes the target's counts anew from what was read.
    async fn compare(
        &self,
        outcome: &mut Outcome,
        copies: u32,
        tell: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), MigrationError> {
        let now = (self.clock)();
        let tell = Mutex::new(tell);
        let told = |progress: Progress| {
            // Nobody panics while telling.
            if let Ok(mut tell) = tell.lock() {
                (*tell)(progress);
            }
        };
        let compares = |group: &str| !self.leaves(group) && copies >= self.copied_since(group);
        let of_source = |record| self.moved(record).filter(|record| compares(record.group()));
        let of_target = |record: Record| Some(record).filter(|record| compares(record.group()));
        // Both at once: each is read by a thread of its own.
        let (source, target) = join(
            self.read(self.source, now, &of_source, |read| told(Progress::ReadSource(read))),
            self.read(self.target, now, &of_target, |read| told(Progress::ReadTarget(read))),
        )
        .await;
        let source = source.map_err(MigrationError::Source)?;
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
        compared: &(impl Fn(Record) -> Option<Record> + Sync),
        tell: impl Fn(u64) + Send,
    ) -> Result<Side, StoreError> {
        let mut side = Side::default();
        for state in State::ALL {
            side.groups.insert(state.as_str(), Tally::default());
        }
        let mut read = 0;
        let mut page = store.export(now, None, self.page).await;
        loop {
            let Page { items, next } = page?;
            read += items.len() as u64;
            let items = items.into_iter().filter_map(compared);
            let add = async { side.add(items, |record| record.checksum(now, self.keep_logs)) };
            let Some(next) = next else {
                add.await;
                tell(read);
                return Ok(side);
            };
            // The next page is read while this one is summed up.
            (page, ()) = join(store.export(now, Some(next), self.page), add).await;
            tell(read);
        }
    }
}

impl Side {
    fn add(&mut self, records: impl Iterator<Item = Record>, checksum: impl Fn(&Record) -> Option<u128>) {
        for record in records {
            if let Some(checksum) = checksum(&record) {
                self.groups.entry(record.group()).or_default().add(checksum);
            }
            if let Record::Task(record) = record {
                let task = &record.task;
                let key = (task.queue.clone(), task.task_type.clone(), task.head.state.state());
                *self.counts.entry(key).or_default() += 1;
            }
        }
    }
}

fn text_of(checkpoint: &Checkpoint) -> Result<String, MigrationError> {
    serde_json::to_string(checkpoint).map_err(|_| MigrationError::Checkpoint)
}
