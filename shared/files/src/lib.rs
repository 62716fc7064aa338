//! Files that tasks take and leave: their names, what is kept of them, and where they lie.
//!
//! Bytes never go through the task store. A file is named by its project and a path, is shown once it is whole, and never changes: to put
//! another one under its name is to put another file in its place, in one step. [`Files`] is what handlers and dialects work with; the
//! feature `objects` has it over `object_store`.

mod name;
#[cfg(feature = "objects")]
mod objects;
mod sign;
mod sniff;

use std::ops::Range;

use async_trait::async_trait;
use baton_model::{ProjectId, TaskId, Timestamp};
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use name::{FileName, PATH_BYTES};
#[cfg(feature = "objects")]
pub use objects::{ObjectFiles, Objects, OpenError};
pub use sign::{Key, Method, Presigned, SignatureProblem};
pub use sniff::{OTHER, SNIFFED, is_inert, sniff};

/// Where a failure came from, kept for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A file's bytes as they come or go. An error of a caller's stream is why nothing more came.
pub type ByteStream = BoxStream<'static, Result<Bytes, Cause>>;

/// What is kept of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name.
    pub name: FileName,
    /// How many bytes it has.
    pub size: u64,
    /// The SHA-256 of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// What it is, by its own first bytes.
    pub content_type: String,
    /// When it was whole.
    pub created_at: Timestamp,
    /// The task that it belongs to: it is kept as long as that one is. One that belongs to none goes after a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

impl StoredFile {
    /// By which a caller knows that a file is still the one that it has.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.sha256)
    }
}

/// A file to be put.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its name; what lies there is replaced once this one is whole.
    pub name: FileName,
    /// The time.
    pub now: Timestamp,
    /// A fresh number, under which its bytes lie.
    pub id: u128,
    /// What its sender says that it is. Its first bytes go before that.
    pub content_type: Option<String>,
    /// The task that it belongs to.
    pub task: Option<TaskId>,
    /// How much may be put.
    pub bounds: Bounds,
}

/// How much may be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// The most bytes of all files of a project; none for as many as come.
    pub project_bytes: Option<u64>,
}

/// A file as it is read.
pub struct Content {
    /// What is kept of it.
    pub file: StoredFile,
    /// Which of its bytes follow.
    pub range: Range<u64>,
    /// These.
    pub bytes: ByteStream,
}

/// Which bytes of a file are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// These, as far as there are so many; it must begin within the file.
    Bounded(Range<u64>),
    /// From this one on.
    From(u64),
    /// So many at its end.
    Last(u64),
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePage {
    /// The files by name.
    pub items: Vec<StoredFile>,
    /// The name behind which the next page begins; none at the end.
    pub next: Option<String>,
}

/// What a sweep has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Bytes that had no name: of uploads that were cut off, or replaced.
    pub nameless: u64,
}

/// Why something could not be done with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none of this name.
    #[error("there is no file {0}")]
    NotFound(FileName),
    /// It is larger than a file may be.
    #[error("expected a file of at most {most} bytes, got more")]
    TooLarge {
        /// The most bytes.
        most: u64,
    },
    /// Its project has no room left for it.
    #[error("project {project} may hold {most} bytes of files, and has no room left for this one")]
    OverQuota {
        /// The project.
        project: ProjectId,
        /// The most bytes.
        most: u64,
    },
    /// What is asked for lies behind its end.
    #[error("expected a range that begins within the file, which has {size} bytes")]
    OutOfRange {
        /// How many bytes it has.
        size: u64,
    },
    /// Its sender has not sent it to its end; nothing was kept.
    #[error("the upload ended before it was whole")]
    CutOff(#[source] Cause),
    /// The place where files lie failed; nothing was changed.
    #[error("files cannot be read or written at {place}")]
    Unavailable {
        /// The place.
        place: String,
        /// Why.
        #[source]
        cause: Cause,
    },
}

/// Where files lie.
#[async_trait]
pub trait Files: Send + Sync {
    /// Takes a file in as it comes, with no more of it in memory than some parts. When this returns, it is durably there, whole, under its
    /// name. Dropped or failed in between, what lay there before is what lies there.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], [`FileError::OverQuota`], [`FileError::CutOff`] and [`FileError::Unavailable`].
    async fn put(&self, put: Put, bytes: ByteStream) -> Result<StoredFile, FileError>;

    /// What is kept of a file.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Unavailable`].
    async fn head(&self, name: &FileName) -> Result<StoredFile, FileError>;

    /// A file, or a part of it.
    ///
    /// # Errors
    /// As [`Files::head`], and [`FileError::OutOfRange`].
    async fn get(&self, name: &FileName, part: Part) -> Result<Content, FileError>;

    /// Removes a file. One that is not there is as it is asked to be.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn remove(&self, name: &FileName) -> Result<(), FileError>;

    /// Removes a file if it is still as it was seen: the same, and of the same task. Says whether it was. One that was put or given to a
    /// task meanwhile stays.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn remove_unchanged(&self, file: &StoredFile) -> Result<bool, FileError>;

    /// The files of a project whose paths begin with `prefix`, by their names, behind the path `after`.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn list(
        &self,
        project: &ProjectId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FilePage, FileError>;

    /// Has a file belong to a task, so that it is kept as long as that one is. One that belongs to another is left to it.
    ///
    /// # Errors
    /// As [`Files::head`].
    async fn adopt(&self, name: &FileName, task: TaskId) -> Result<StoredFile, FileError>;

    /// How many bytes the files of a project have. What other processes put may be seen a minute later.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn usage(&self, project: &ProjectId) -> Result<u64, FileError>;

    /// All files that were whole before `before`, some at a time: those behind the name that the last call has given.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn older(
        &self,
        before: Timestamp,
        after: Option<FileName>,
        limit: usize,
    ) -> Result<(Vec<StoredFile>, Option<FileName>), FileError>;

    /// Removes bytes without a name that came before `before`; says how many objects they were.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn sweep_nameless(&self, before: Timestamp) -> Result<u64, FileError>;

    /// The key that presigned addresses are signed with, the same for all servers of these files.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn key(&self) -> Result<Key, FileError>;
}
