//! Reading an archive: each task once, as it was last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use baton_model::{ProjectId, TaskId};
use baton_store::ArchiveError;
use baton_store::transfer::TaskRecord;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{ObjectArchive, PARTS, TASKS};

/// Which tasks are asked for: those that fit every field that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// That ended on this day or later, such as `2026-11-28`.
    pub from: Option<String>,
    /// That ended on this day or earlier.
    pub until: Option<String>,
    /// These; all if empty.
    pub tasks: Vec<TaskId>,
}

impl Filter {
    fn has_day(&self, day: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= day)
            && self.until.as_deref().is_none_or(|until| day <= until)
    }

    fn has(&self, task: &TaskId) -> bool {
        self.tasks.is_empty() || self.tasks.contains(task)
    }
}

/// Which line of each task is the one that counts: of several, the one with the longest history.
#[derive(Debug, Default)]
pub struct Latest {
    events: HashMap<TaskId, u32>,
}

impl Latest {
    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.events.len()
    }

    fn note(&mut self, record: &TaskRecord) {
        let events = record.task.head.events;
        let known = self.events.entry(record.task.head.id).or_default();
        *known = events.max(*known);
    }

    /// Whether this line is the one, the first time that it comes.
    fn take(&mut self, record: &TaskRecord) -> bool {
        match self.events.entry(record.task.head.id) {
            Entry::Occupied(known) if *known.get() == record.task.head.events => {
                known.remove();
                true
            }
            Entry::Occupied(_) | Entry::Vacant(_) => false,
        }
    }
}

/// Archived tasks as they are read.
pub type Records<'a> = BoxStream<'a, Result<TaskRecord, ArchiveError>>;

impl ObjectArchive {
    /// Looks through the archive for the tasks that are asked for. It takes some 50 bytes of memory for each.
    ///
    /// # Errors
    /// If the archive cannot be read, or holds a line that is no task.
    pub async fn find(&self, filter: &Filter) -> Result<Latest, ArchiveError> {
        let mut latest = Latest::default();
        let mut lines = self.lines(filter);
        while let Some(record) = lines.try_next().await? {
            latest.note(&record);
        }
        Ok(latest)
    }

    /// The tasks that were found, each once.
    pub fn read<'a>(&'a self, filter: &'a Filter, mut latest: Latest) -> Records<'a> {
        let lines = self.lines(filter);
        lines.try_filter(move |record| futures::future::ready(latest.take(record))).boxed()
    }

    /// All lines that are asked for. Parts come first, and files are looked for after them: what is gathered meanwhile is in a file.
    fn lines<'a>(&'a self, filter: &'a Filter) -> Records<'a> {
        futures::stream::iter([PARTS, TASKS])
            .then(move |folder| self.objects_of(folder, filter))
            .map_ok(|found| futures::stream::iter(found.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |at| self.lines_of(at))
            .try_flatten()
            .try_filter(|record| futures::future::ready(filter.has(&record.task.head.id)))
            .boxed()
    }

    /// The objects of a folder that may hold what is asked for.
    async fn objects_of(&self, folder: &str, filter: &Filter) -> Result<Vec<Path>, ArchiveError> {
        let mut folder = Path::from(folder);
        if let Some(project) = &filter.project {
            folder = folder.join(project.as_str());
        }
        let found = self.objects.list(Some(&folder)).map_ok(|object| object.location);
        let found: Result<Vec<Path>, _> = found.try_collect().await;
        let mut found = found.map_err(|error| self.failed(error))?;
        found.retain(|at| day_of_object(at).is_some_and(|day| filter.has_day(day)));
        found.sort_unstable();
        Ok(found)
    }

    /// The tasks of one object. A part that has gone was gathered meanwhile.
    fn lines_of(&self, at: Path) -> Records<'_> {
        let opened = async move {
            match self.objects.get(&at).await {
                Ok(found) => Ok(found.into_stream()),
                Err(object_store::Error::NotFound { .. }) => Ok(futures::stream::empty().boxed()),
                Err(error) => Err(self.failed(error)),
            }
        };
        let lines = futures::stream::once(opened).map_ok(|bytes| {
            lines(bytes).map(|line| match line {
                Ok(line) => serde_json::from_slice(&line).map_err(|error| self.failed(error)),
                Err(error) => Err(self.failed(error)),
            })
        });
        lines.try_flatten().boxed()
    }
}

/// The day that an object is of: `parts/{project}/{day}/{name}.jsonl`, `tasks/{project}/{day}.jsonl` or
/// `tasks/{project}/{day}/{name}.jsonl`.
fn day_of_object(at: &Path) -> Option<&str> {
    let mut parts = at.as_ref().split('/');
    let folder = parts.next()?;
    let (day, name) = (parts.nth(1)?, parts.next());
    match (folder, name) {
        (PARTS | TASKS, Some(name)) if name.ends_with(".jsonl") => Some(day),
        (TASKS, None) => day.strip_suffix(".jsonl"),
        _ => None,
    }
}

/// The lines of an object, as its bytes come.
fn lines(
    bytes: impl Stream<Item = Result<Bytes, object_store::Error>> + Unpin,
) -> impl Stream<Item = Result<Bytes, object_store::Error>> {
    futures::stream::try_unfold((bytes, BytesMut::new()), |(mut bytes, mut open)| async move {
        let mut looked = 0;
        loop {
            if let Some(end) = open[looked..].iter().position(|byte| *byte == b'\n') {
                let line = open.split_to(looked + end + 1).freeze();
                return Ok(Some((line, (bytes, open))));
            }
            looked = open.len();
            match bytes.try_next().await? {
                Some(some) => open.extend_from_slice(&some),
                // A part is written whole, with the end of its last line.
                None if open.is_empty() => return Ok(None),
                None => return Ok(Some((open.split().freeze(), (bytes, open)))),
            }
        }
    })
}
