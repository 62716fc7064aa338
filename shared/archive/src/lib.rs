//! The archive of finished tasks: JSON lines in a place for objects, one file a day and project.
//!
//! An object cannot be appended to. So each step writes a part of its own, `parts/{project}/{day}/{name}.jsonl`, and once no more is to be
//! expected of a day, its parts are gathered into `tasks/{project}/{day}.jsonl`, or beside it (`tasks/{project}/{day}/{name}.jsonl`) where
//! that would be too large for a bucket to write on a condition. The day is the one on which the task ended. Parts are
//! removed after the file is whole, and readers look at parts before files: so at any moment a reader finds each task, perhaps twice.
//! `docs/decisions/0034-archived-before-removed.md` has the reasons.

mod gather;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use baton_files::Objects;
use baton_model::{Place, ProjectId, Timestamp};
use baton_store::transfer::TaskRecord;
use baton_store::{Archive, ArchiveError};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};

pub use read::{Filter, Latest, Records};

/// How many files are written at once.
const AT_ONCE: usize = 8;

/// The folder of what is gathered.
const TASKS: &str = "tasks";

/// The folder of what is not gathered yet.
const PARTS: &str = "parts";

/// An archive in a place for objects.
#[derive(Clone, Debug)]
pub struct ObjectArchive {
    objects: Arc<dyn ObjectStore>,
    place: Place,
}

/// The day of a task's end, such as `2026-11-28`.
pub fn day_of(record: &TaskRecord) -> String {
    day(record.task.finished_at.unwrap_or(record.task.updated_at))
}

/// The day in UTC that a time is on.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take("2026-11-28".len()).collect()
}

fn part_at(project: &ProjectId, day: &str, name: &str) -> Path {
    Path::from_iter([PARTS, project.as_str(), day, name])
}

fn file_at(project: &str, day: &str) -> Path {
    Path::from_iter([TASKS, project, &format!("{day}.jsonl")])
}

impl ObjectArchive {
    /// The archive that lies at a place.
    pub fn new(objects: Objects) -> Self {
        Self { objects: objects.store, place: objects.place }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn failed(&self, cause: impl Into<baton_store::error::Cause>) -> ArchiveError {
        ArchiveError { place: self.place.to_string(), cause: cause.into() }
    }
}

#[async_trait]
impl Archive for ObjectArchive {
    async fn keep(&self, tasks: &[TaskRecord], now: Timestamp) -> Result<(), ArchiveError> {
        let mut parts: BTreeMap<(ProjectId, String), (String, Vec<u8>)> = BTreeMap::new();
        for record in tasks {
            // No other part has this name: it would have been written in the same millisecond, and begun with the same task.
            let name = || format!("{}-{}.jsonl", now.as_millis(), record.task.head.id);
            let part = (record.task.project.clone(), day_of(record));
            let (_, lines) = parts.entry(part).or_insert_with(|| (name(), Vec::new()));
            serde_json::to_writer(&mut *lines, record).map_err(|error| self.failed(error))?;
            lines.push(b'\n');
        }
        // Never in the place of another: what was written is what tasks were removed for.
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let written = parts.into_iter().map(|((project, day), (name, lines))| {
            let create = create.clone();
            async move { self.objects.put_opts(&part_at(&project, &day, &name), lines.into(), create).await }
        });
        let written = futures::stream::iter(written).buffer_unordered(AT_ONCE);
        written.try_for_each(|_| async { Ok(()) }).await.map_err(|error| self.failed(error))
    }

    async fn gather(&self, before: Timestamp, most: Option<u64>) -> Result<u64, ArchiveError> {
        self.gather_all(&day(before), most).await
    }
}
