//! Files that tasks take and leave: their names, what is kept of them, and where they lie.
//!
//! Bytes never go through the task store. A file is named by its project and a path, is shown once it is whole, and never changes: to put
//! another one under its name is to put another file in its place, in one step. [`Files`] is what handlers and dialects work with; the
//! feature `objects` has it over `object_store`.

mod digest;
mod name;
#[cfg(feature = "objects")]
mod objects;
mod sign;
mod sniff;
mod upload;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{ProjectId, TaskId, Timestamp};
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use digest::{sha256, sha256_of};
pub use name::{FileName, PATH_BYTES};
#[cfg(feature = "objects")]
pub use objects::{Addresses, ObjectFiles, Objects, OpenError, Shown};
#[cfg(feature = "s3")]
pub use objects::{THROUGH_LAMBDA, in_bucket};
pub use sign::{Key, Method, Presigned, SignatureProblem};
pub use sniff::{OTHER, SNIFFED, is_inert, sniff};
pub use upload::{Arrived, Upload, Wanted};

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
    /// Until when it is kept in any case, whether it belongs to a task or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
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
    /// Until when it is kept in any case.
    pub kept_until: Option<Timestamp>,
    /// Whether it is refused where another lies under its name.
    pub only_new: bool,
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

/// What a look at some of all bytes has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Files that were whole before the time that was asked about.
    pub old: Vec<StoredFile>,
    /// How many bytes without a name were removed.
    pub nameless: u64,
    /// Where the next look goes on; none at the end.
    pub next: Option<String>,
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
    /// One lies under its name, and is not to be replaced.
    #[error("there is a file {0} already")]
    Exists(FileName),
    /// Its sender has not sent it to its end; nothing was kept.
    #[error("the upload ended before it was whole")]
    CutOff(#[source] Cause),
    /// Whether a file is still wanted cannot be told; nothing was changed.
    #[error("whether the upload is still wanted cannot be told")]
    Unasked(#[source] Cause),
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
    /// [`FileError::TooLarge`], [`FileError::OverQuota`], [`FileError::Exists`], [`FileError::CutOff`] and [`FileError::Unavailable`].
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

    // What follows is of places that are spoken to past this process, as functions on AWS do, which carry no large bodies. Other places
    // have no such addresses, and nothing arrives there.

    /// An address of the place itself from which this part of a file can be fetched for so long; none if its bytes are to go through this
    /// process.
    ///
    /// # Errors
    /// [`FileError::Unavailable`], [`FileError::OutOfRange`].
    async fn fetched_at(
        &self,
        _file: &StoredFile,
        _part: &Part,
        _time: Duration,
    ) -> Result<Option<String>, FileError> {
        Ok(None)
    }

    /// An address of the place itself where a file may be put for so long; none if its bytes are to go through this process. What is put
    /// there arrives, and is seen under its name once it was taken in.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn put_at(&self, _upload: &Upload, _time: Duration) -> Result<Option<String>, FileError> {
        Ok(None)
    }

    /// What has arrived under a name and was not taken in yet, or under any name: at most so many, the oldest of each name first.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn arrived(&self, _name: Option<&FileName>, _most: usize) -> Result<Vec<Arrived>, FileError> {
        Ok(Vec::new())
    }

    /// Looks whether what has arrived is within the bounds, before anything goes that it is to take the place of.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] and [`FileError::OverQuota`], after which it is gone, unless another takes it in at the moment;
    /// [`FileError::Unavailable`].
    async fn fits(&self, _arrived: &Arrived, _bounds: Bounds) -> Result<(), FileError> {
        Ok(())
    }

    /// Takes in what has arrived, in the place of what lies under its name; its bytes lie under the fresh number `id` from then on, where
    /// no address leads that could change them. None if it is there no more: another has taken its place, or it was turned away, as it is
    /// if it is not wanted any more once it was looked through.
    ///
    /// # Errors
    /// As [`Files::fits`], and [`FileError::Unasked`].
    async fn take_in(
        &self,
        _arrived: &Arrived,
        _id: u128,
        _bounds: Bounds,
        _wanted: &dyn Wanted,
    ) -> Result<Option<StoredFile>, FileError> {
        Ok(None)
    }

    /// Removes what has arrived, without a look at it.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn turn_away(&self, _arrived: &Arrived) -> Result<(), FileError> {
        Ok(())
    }

    /// Looks through some of all bytes, behind where the last look has ended: removes those that came before `before` and have no name, and
    /// says which files are as old. However many there are, no more than `most` are known at once.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn walk(
        &self,
        _before: Timestamp,
        _after: Option<String>,
        _most: usize,
    ) -> Result<Walked, FileError> {
        Ok(Walked::default())
    }

    /// What was noted of such looks, for the process that goes on with them.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn note(&self) -> Result<Option<String>, FileError> {
        Ok(None)
    }

    /// Notes something of such looks.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn keep_note(&self, _note: &str) -> Result<(), FileError> {
        Ok(())
    }

    /// Begins a round of such looks, which lasts until then at most; no if another goes about one.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn begin_round(&self, _now: Timestamp, _until: Timestamp) -> Result<bool, FileError> {
        Ok(true)
    }

    /// Ends the round that was begun to last until then.
    ///
    /// # Errors
    /// [`FileError::Unavailable`].
    async fn end_round(&self, _until: Timestamp) -> Result<(), FileError> {
        Ok(())
    }
}
