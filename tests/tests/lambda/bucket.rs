//! A bucket of files: a folder stands for it, in which what is put at an address of the bucket appears whole, as in S3; and the record of what
//! functions ask of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_files::{
    Addresses, Arrived, Bounds, ByteStream, Cause, Content, FileError, FileName, FilePage, Files, Key, Part,
    Put, Shown, StoredFile, Upload, Walked, Wanted,
};
use baton_model::{ProjectId, TaskId, Timestamp};

use crate::calls::Recorder;

/// What addresses of the bucket begin with.
pub(crate) const AT: &str = "https://bucket.test/";

/// Signs addresses by its word alone.
pub(crate) struct Bucket;

#[async_trait]
impl Addresses for Bucket {
    async fn get(&self, object: &str, shown: &Shown, time: Duration) -> Result<String, Cause> {
        let Shown { content_type, disposition } = shown;
        Ok(format!("{AT}{object}?get={}&type={content_type}&as={disposition}", time.as_secs()))
    }

    async fn put(&self, object: &str, time: Duration) -> Result<String, Cause> {
        Ok(format!("{AT}{object}?put={}", time.as_secs()))
    }
}

/// The object that an address of the bucket is of.
pub(crate) fn object(url: &str) -> &str {
    url.strip_prefix(AT).unwrap().split('?').next().unwrap()
}

/// Puts a file at an address of the bucket, past all functions.
pub(crate) fn put_at(folder: &Path, url: &str, bytes: &[u8]) {
    let place = folder.join(object(url));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    let half = tempfile::NamedTempFile::new_in(folder).unwrap();
    std::fs::write(half.path(), bytes).unwrap();
    half.persist(place).unwrap();
}

/// Files, and the record of what one function asks of the bucket that they lie in.
pub(crate) struct RecordedFiles {
    files: Arc<dyn Files>,
    recorder: Recorder,
}

impl RecordedFiles {
    pub(crate) fn new(files: Arc<dyn Files>, recorder: Recorder) -> Self {
        Self { files, recorder }
    }

    /// Each an action and where, such as `GetObject names/* bytes/*`.
    fn asks(&self, asked: &[&str]) {
        for one in asked {
            let words: Vec<&str> = one.split(' ').collect();
            self.recorder.s3_below("FilesBucket", words[0], &words[1..]);
        }
    }
}

#[async_trait]
impl Files for RecordedFiles {
    async fn put(&self, put: Put, bytes: ByteStream) -> Result<StoredFile, FileError> {
        // In parts, which are taken back if it is cut off; what it replaces is removed, and what has arrived for it.
        self.asks(&[
            "ListBucket",
            "GetObject names/* uploads/*",
            "PutObject names/* bytes/*",
            "AbortMultipartUpload bytes/*",
            "DeleteObject bytes/* uploads/*",
        ]);
        self.files.put(put, bytes).await
    }

    async fn head(&self, name: &FileName) -> Result<StoredFile, FileError> {
        self.asks(&["GetObject names/*"]);
        self.files.head(name).await
    }

    async fn get(&self, name: &FileName, part: Part) -> Result<Content, FileError> {
        self.asks(&["GetObject names/* bytes/*"]);
        self.files.get(name, part).await
    }

    async fn remove(&self, name: &FileName) -> Result<(), FileError> {
        self.asks(&["ListBucket", "GetObject names/*", "DeleteObject names/* bytes/* uploads/*"]);
        self.files.remove(name).await
    }

    async fn remove_unchanged(&self, file: &StoredFile) -> Result<bool, FileError> {
        self.asks(&["GetObject names/*", "DeleteObject names/* bytes/*"]);
        self.files.remove_unchanged(file).await
    }

    async fn list(
        &self,
        project: &ProjectId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FilePage, FileError> {
        self.asks(&["ListBucket", "GetObject names/*"]);
        self.files.list(project, prefix, after, limit).await
    }

    async fn adopt(&self, name: &FileName, task: TaskId) -> Result<StoredFile, FileError> {
        self.asks(&["GetObject names/*", "PutObject names/*"]);
        self.files.adopt(name, task).await
    }

    async fn usage(&self, project: &ProjectId) -> Result<u64, FileError> {
        self.asks(&["ListBucket"]);
        self.files.usage(project).await
    }

    async fn older(
        &self,
        before: Timestamp,
        after: Option<FileName>,
        limit: usize,
    ) -> Result<(Vec<StoredFile>, Option<FileName>), FileError> {
        self.asks(&["ListBucket", "GetObject names/*"]);
        self.files.older(before, after, limit).await
    }

    async fn sweep_nameless(&self, before: Timestamp) -> Result<u64, FileError> {
        self.asks(&["ListBucket", "GetObject names/*", "DeleteObject bytes/*"]);
        self.files.sweep_nameless(before).await
    }

    async fn key(&self) -> Result<Key, FileError> {
        self.asks(&["GetObject key", "PutObject key"]);
        self.files.key().await
    }

    async fn fetched_at(
        &self,
        file: &StoredFile,
        part: &Part,
        time: Duration,
    ) -> Result<Option<String>, FileError> {
        // Who has the address does what its signer may.
        self.asks(&["GetObject names/* bytes/*"]);
        self.files.fetched_at(file, part, time).await
    }

    async fn put_at(&self, upload: &Upload, time: Duration) -> Result<Option<String>, FileError> {
        self.asks(&["PutObject uploads/*"]);
        self.files.put_at(upload, time).await
    }

    async fn arrived(&self, name: Option<&FileName>, most: usize) -> Result<Vec<Arrived>, FileError> {
        self.asks(&["ListBucket"]);
        self.files.arrived(name, most).await
    }

    async fn fits(&self, arrived: &Arrived, bounds: Bounds) -> Result<(), FileError> {
        self.asks(&["ListBucket", "GetObject names/*", "DeleteObject uploads/*"]);
        self.files.fits(arrived, bounds).await
    }

    async fn take_in(
        &self,
        arrived: &Arrived,
        id: u128,
        bounds: Bounds,
        wanted: &dyn Wanted,
    ) -> Result<Option<StoredFile>, FileError> {
        // A copy within the bucket is read and written.
        self.asks(&[
            "ListBucket",
            "GetObject names/* bytes/* uploads/*",
            "PutObject names/* bytes/*",
            "DeleteObject bytes/* uploads/*",
        ]);
        self.files.take_in(arrived, id, bounds, wanted).await
    }

    async fn turn_away(&self, arrived: &Arrived) -> Result<(), FileError> {
        self.asks(&["DeleteObject uploads/*"]);
        self.files.turn_away(arrived).await
    }

    async fn walk(&self, before: Timestamp, after: Option<String>, most: usize) -> Result<Walked, FileError> {
        self.asks(&["ListBucket", "GetObject names/*", "DeleteObject bytes/*"]);
        self.files.walk(before, after, most).await
    }

    async fn note(&self) -> Result<Option<String>, FileError> {
        self.asks(&["GetObject walk"]);
        self.files.note().await
    }

    async fn keep_note(&self, note: &str) -> Result<(), FileError> {
        self.asks(&["PutObject walk"]);
        self.files.keep_note(note).await
    }

    async fn begin_round(&self, now: Timestamp, until: Timestamp) -> Result<bool, FileError> {
        self.asks(&["GetObject round", "PutObject round"]);
        self.files.begin_round(now, until).await
    }

    async fn end_round(&self, until: Timestamp) -> Result<(), FileError> {
        self.asks(&["GetObject round", "PutObject round"]);
        self.files.end_round(until).await
    }
}
