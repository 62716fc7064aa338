//! Files over a place for objects.

mod arrivals;
mod documents;
mod paths;
mod walks;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_model::{Place, ProjectId, TaskId, Timestamp};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
    WriteMultipart,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::paths::{below_name, bytes_at, folder_of, name_at, name_of};
use super::turns::Turns;
use super::usage::Usage;
use super::{Addresses, Objects};
use crate::digest::hex;
use crate::{
    Arrived, Bounds, ByteStream, Cause, Content, FileError, FileName, FilePage, Files, Key, Part, Put,
    SNIFFED, StoredFile, Upload, Walked, Wanted, sniff,
};

/// How many bytes go in one part of an upload, and how many parts are under way at once: all that an upload has in memory.
const PART: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;

/// How often a name is read anew that another process has changed between the look and the write.
const TRIES: usize = 8;

/// Where the key of presigned addresses lies.
const KEY: &str = "key";

/// Files over a place for objects.
///
/// What stands under a name is read and changed under a lock of this process, so that none of its changes undoes another. Of several
/// processes on one place, such as servers of one bucket:
/// - A name that is put or given to a task is written on the condition that it still is what was read (`If-Match`, `If-None-Match`), where
///   the place has such conditions. A folder has only the latter: of two processes that replace one name at the same moment, the bytes of
///   the one are left for a sweep; of one that replaces a file and one that gives it to a task, the later is what stands.
/// - Nothing that is removed is removed on a condition, as `object_store` has none: a file that another process puts under a name between
///   this one's look and its removal, which are milliseconds apart, is removed with it.
pub struct ObjectFiles {
    store: Arc<dyn ObjectStore>,
    place: Place,
    usage: Usage,
    turns: Turns,
    direct: Option<Direct>,
}

/// Addresses of the place itself, by which large files come and go.
struct Direct {
    addresses: Arc<dyn Addresses>,
    /// How many bytes go through this process at most.
    through: u64,
}

/// The document of a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    file: StoredFile,
    /// The number under which its bytes lie.
    id: String,
    /// Whether they lie in a folder of its name, by which they are known to have one without a look at all names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_name: bool,
    /// The upload that it was, if it was put at an address of the place itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
    /// The uploads that had arrived under its name before it was put, and that it has taken the place of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    over: Vec<String>,
}

impl Entry {
    /// Where its bytes lie.
    fn bytes(&self) -> Result<Path, object_store::path::Error> {
        let name = &self.file.name;
        if self.by_name {
            below_name("bytes", name, &self.id)
        } else {
            Ok(bytes_at(name.project(), &self.id))
        }
    }
}

/// What stands under a name, and by which its place knows that it is still that.
struct Standing {
    entry: Entry,
    version: UpdateVersion,
}

impl ObjectFiles {
    /// The files that lie at a place.
    pub fn new(objects: Objects) -> Self {
        let Objects { store, place } = objects;
        Self { store, place, usage: Usage::default(), turns: Turns::default(), direct: None }
    }

    /// The same, of which what has more than `through` bytes is fetched and put by addresses of the place itself.
    pub fn addressed(objects: Objects, addresses: Arc<dyn Addresses>, through: u64) -> Self {
        Self { direct: Some(Direct { addresses, through }), ..Self::new(objects) }
    }

    fn failed(&self, cause: impl Into<Cause>) -> FileError {
        FileError::Unavailable { place: self.place.to_string(), cause: cause.into() }
    }

    async fn read(&self, at: &Path) -> Result<Option<(Bytes, UpdateVersion)>, FileError> {
        match self.store.get(at).await {
            Ok(found) => {
                let version =
                    UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                let bytes = found.bytes().await.map_err(|error| self.failed(error))?;
                Ok(Some((bytes, version)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn standing(&self, at: &Path) -> Result<Option<Standing>, FileError> {
        let Some((text, version)) = self.read(at).await? else { return Ok(None) };
        let entry = serde_json::from_slice(&text).map_err(|error| self.failed(error))?;
        Ok(Some(Standing { entry, version }))
    }

    async fn entry(&self, name: &FileName) -> Result<Option<Entry>, FileError> {
        self.entry_at(&self.at(name)?).await
    }

    async fn entry_at(&self, at: &Path) -> Result<Option<Entry>, FileError> {
        Ok(self.standing(at).await?.map(|standing| standing.entry))
    }

    fn at(&self, name: &FileName) -> Result<Path, FileError> {
        name_at(name).map_err(|error| self.failed(error))
    }

    async fn known(&self, name: &FileName) -> Result<Entry, FileError> {
        self.entry(name).await?.ok_or_else(|| FileError::NotFound(name.clone()))
    }

    /// Has what `next` makes of what stands under a name stand there, in one step; nothing is changed where it makes nothing of it.
    /// Answers what stood there.
    async fn change(
        &self,
        name: &FileName,
        next: impl Fn(Option<&Entry>) -> Option<Entry> + Send,
    ) -> Result<Option<Entry>, FileError> {
        let at = self.at(name)?;
        let _turn = self.turns.of(name).await;
        for _ in 0..TRIES {
            let standing = self.standing(&at).await?;
            let Some(entry) = next(standing.as_ref().map(|standing| &standing.entry)) else {
                return Ok(standing.map(|standing| standing.entry));
            };
            let text = serde_json::to_vec(&entry).map_err(|error| self.failed(error))?;
            let (entry, version) =
                standing.map_or((None, None), |found| (Some(found.entry), Some(found.version)));
            if self.write_name(&at, text.into(), version).await? {
                return Ok(entry);
            }
        }
        Err(self.failed("others go on putting files under this name"))
    }

    /// Writes the document of a name if there still is what was read, or nothing; says whether it was.
    async fn write_name(
        &self,
        at: &Path,
        text: PutPayload,
        read: Option<UpdateVersion>,
    ) -> Result<bool, FileError> {
        use object_store::Error;
        let mode = read.map_or(PutMode::Create, PutMode::Update);
        let written =
            self.store.put_opts(at, text.clone(), PutOptions { mode, ..PutOptions::default() }).await;
        match written {
            Ok(_) => return Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {
                return Ok(false);
            }
            // A folder replaces without conditions, and some file systems have no links, by which it makes what is not there.
            Err(_) if matches!(self.place, Place::Folder(_)) => {}
            Err(Error::NotImplemented { .. }) => {}
            Err(error) => return Err(self.failed(error)),
        }
        self.store.put(at, text).await.map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// Removes what stands under a name, if it is to go; says whether it was.
    async fn remove_if(
        &self,
        name: &FileName,
        goes: impl Fn(&StoredFile) -> bool + Send,
    ) -> Result<bool, FileError> {
        let at = self.at(name)?;
        let turn = self.turns.of(name).await;
        let Some(entry) = self.entry_at(&at).await?.filter(|entry| goes(&entry.file)) else {
            return Ok(false);
        };
        self.delete(&at).await?;
        drop(turn);
        self.forget(&entry).await;
        Ok(true)
    }

    /// Removes an object; one that is not there is as it should be.
    async fn delete(&self, at: &Path) -> Result<(), FileError> {
        match self.store.delete(at).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Removes bytes that no name leads to any more. What cannot be removed now, a sweep does.
    async fn forget(&self, entry: &Entry) {
        let (project, size) = (entry.file.name.project(), entry.file.size);
        let gone = match entry.bytes() {
            Ok(at) => self.delete(&at).await,
            Err(error) => Err(self.failed(error)),
        };
        match gone {
            Ok(()) => self.usage.changed(project, 0, size),
            Err(error) => {
                tracing::warn!(file = %entry.file.name, %error, "the bytes of a file that was replaced or removed are left for a sweep");
            }
        }
    }

    /// Writes what comes, and says what it was.
    async fn write(
        &self,
        put: &Put,
        at: &Path,
        bytes: ByteStream,
        room: u64,
    ) -> Result<StoredFile, FileError> {
        let upload = self.store.put_multipart(at).await.map_err(|error| self.failed(error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let taken = self.take(put, &mut upload, bytes, room).await;
        match taken {
            Ok(file) => {
                upload.finish().await.map_err(|error| self.failed(error))?;
                Ok(file)
            }
            Err(error) => {
                // What was written of it has no name; if it cannot be taken away, a sweep does so.
                if let Err(error) = upload.abort().await {
                    tracing::warn!(file = %put.name, %error, "what came of an upload that failed is left for a sweep");
                }
                Err(error)
            }
        }
    }

    async fn take(
        &self,
        put: &Put,
        upload: &mut WriteMultipart,
        mut bytes: ByteStream,
        room: u64,
    ) -> Result<StoredFile, FileError> {
        let (mut hash, mut size, mut beginning) = (Sha256::new(), 0_u64, BytesMut::new());
        while let Some(some) = bytes.next().await {
            let some = some.map_err(FileError::CutOff)?;
            size += some.len() as u64;
            if size > put.bounds.file_bytes {
                return Err(FileError::TooLarge { most: put.bounds.file_bytes });
            }
            if size > room {
                let (project, most) = (put.name.project().clone(), put.bounds.project_bytes.unwrap_or(room));
                return Err(FileError::OverQuota { project, most });
            }
            if beginning.len() < SNIFFED {
                beginning.extend_from_slice(&some[..some.len().min(SNIFFED - beginning.len())]);
            }
            hash.update(&some);
            upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(|error| self.failed(error))?;
            upload.put(some);
        }
        Ok(StoredFile {
            name: put.name.clone(),
            size,
            sha256: hex(hash.finalize().iter()),
            content_type: sniff(&beginning, put.content_type.as_deref()).to_owned(),
            created_at: put.now,
            task: put.task,
            kept_until: put.kept_until,
        })
    }

    /// How many bytes a project may still put, a file that is replaced not counted.
    async fn room(
        &self,
        project: &ProjectId,
        bounds: Bounds,
        standing: Option<&Entry>,
    ) -> Result<u64, FileError> {
        let Some(most) = bounds.project_bytes else { return Ok(u64::MAX) };
        let used = self.usage(project).await?;
        Ok(most.saturating_sub(used.saturating_sub(standing.map_or(0, |entry| entry.file.size))))
    }
}

#[async_trait]
impl Files for ObjectFiles {
    async fn put(&self, put: Put, bytes: ByteStream) -> Result<StoredFile, FileError> {
        let standing = self.entry(&put.name).await?;
        if put.only_new && standing.is_some() {
            return Err(FileError::Exists(put.name));
        }
        let room = self.room(put.name.project(), put.bounds, standing.as_ref()).await?;
        let (id, by_name) = (format!("{:032x}", put.id), self.direct.is_some());
        let place = match by_name {
            true => below_name("bytes", &put.name, &id).map_err(|error| self.failed(error))?,
            false => bytes_at(put.name.project(), &id),
        };
        let file = self.write(&put, &place, bytes, room).await?;
        // What has arrived under its name before is replaced by it, too. It says so, and has it go only once it stands.
        let before = match put.only_new {
            true => Vec::new(),
            false => self.arrived_before(&put.name).await?,
        };
        let over = before.iter().map(Arrived::met).collect();
        let entry = Entry { file, id, by_name, upload: None, over };
        // Its bytes may have come for minutes: what it replaces is what stands there now.
        let may_stand = |standing: Option<&Entry>| !put.only_new || standing.is_none();
        let replaced = self.change(&put.name, |standing| may_stand(standing).then(|| entry.clone())).await?;
        self.usage.changed(put.name.project(), entry.file.size, 0);
        if !may_stand(replaced.as_ref()) {
            self.forget(&entry).await;
            return Err(FileError::Exists(put.name));
        }
        if let Some(replaced) = replaced.filter(|replaced| replaced.id != entry.id) {
            self.forget(&replaced).await;
        }
        self.drop_replaced(&before).await;
        Ok(entry.file)
    }

    async fn head(&self, name: &FileName) -> Result<StoredFile, FileError> {
        Ok(self.known(name).await?.file)
    }

    async fn get(&self, name: &FileName, part: Part) -> Result<Content, FileError> {
        // Another may be put in its place between the two looks.
        for _ in 0..3 {
            let entry = self.known(name).await?;
            let range = part.of(entry.file.size)?;
            if range.is_empty() {
                return Ok(Content { file: entry.file, range, bytes: futures::stream::empty().boxed() });
            }
            let wanted = GetRange::Bounded(range.clone());
            let options = GetOptions { range: Some(wanted), ..GetOptions::default() };
            let at = entry.bytes().map_err(|error| self.failed(error))?;
            match self.store.get_opts(&at, options).await {
                Ok(found) => {
                    let bytes = found.into_stream().map_err(|error| Box::new(error) as Cause).boxed();
                    return Ok(Content { file: entry.file, range, bytes });
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(FileError::NotFound(name.clone()))
    }

    async fn remove(&self, name: &FileName) -> Result<(), FileError> {
        self.drop_arrived(name).await?;
        self.remove_if(name, |_| true).await?;
        Ok(())
    }

    async fn remove_unchanged(&self, file: &StoredFile) -> Result<bool, FileError> {
        self.remove_if(&file.name, |standing| standing == file).await
    }

    async fn list(
        &self,
        project: &ProjectId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FilePage, FileError> {
        // Whole folders of the prefix lead to where it is looked; what is behind the last `/` may be the beginning of a name.
        let folders = prefix.rsplit_once('/').map_or("", |(folders, _)| folders);
        let parts =
            ["names", project.as_str()].into_iter().chain(folders.split('/').filter(|part| !part.is_empty()));
        // Where a document lies says its name: only those of the page are read.
        let found = self.names(Path::from_iter(parts)).await?;
        let mut found: Vec<(FileName, Path)> =
            found.into_iter().filter_map(|at| Some((name_of(&at)?, at))).collect();
        found.retain(|(name, _)| {
            let path = name.path();
            path.starts_with(prefix) && after.is_none_or(|after| path > after)
        });
        found.sort_unstable();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(last, _)| last.path().to_owned());
        let (entries, _) = self.entries(found.into_iter().map(|(_, at)| at).collect()).await?;
        Ok(FilePage { items: entries.into_iter().map(|entry| entry.file).collect(), next })
    }

    async fn adopt(&self, name: &FileName, task: TaskId) -> Result<StoredFile, FileError> {
        let taken = |entry: &Entry| Entry {
            file: StoredFile { task: Some(task), ..entry.file.clone() },
            ..entry.clone()
        };
        let free = |entry: Option<&Entry>| entry.filter(|entry| entry.file.task.is_none()).map(taken);
        let before = self.change(name, free).await?.ok_or_else(|| FileError::NotFound(name.clone()))?;
        Ok(free(Some(&before)).unwrap_or(before).file)
    }

    async fn usage(&self, project: &ProjectId) -> Result<u64, FileError> {
        if let Some(bytes) = self.usage.of(project) {
            return Ok(bytes);
        }
        let sizes = self.store.list(Some(&folder_of("bytes", project))).map_ok(|object| object.size);
        let bytes = sizes.try_fold(0_u64, |sum, size| async move { Ok(sum.saturating_add(size)) }).await;
        let bytes = bytes.map_err(|error| self.failed(error))?;
        self.usage.counted(project, bytes);
        Ok(bytes)
    }

    async fn older(
        &self,
        before: Timestamp,
        after: Option<FileName>,
        limit: usize,
    ) -> Result<(Vec<StoredFile>, Option<FileName>), FileError> {
        let mut at = self.names(Path::from("names")).await?;
        at.retain(|at| name_of(at).is_some());
        at.sort_unstable();
        if let Some(after) = &after {
            let after = self.at(after)?;
            at.retain(|at| *at > after);
        }
        let more = at.len() > limit;
        at.truncate(limit);
        let next = at.last().filter(|_| more).and_then(name_of);
        let (found, _) = self.entries(at).await?;
        let old = found.into_iter().map(|entry| entry.file).filter(|file| file.created_at < before);
        Ok((old.collect(), next))
    }

    async fn sweep_nameless(&self, before: Timestamp) -> Result<u64, FileError> {
        let (named, damaged) = self.entries(self.names(Path::from("names")).await?).await?;
        // Which bytes a damaged one leads to is not known: its whole project is passed by.
        let project = |at: &Path| at.parts().nth(1).map(|part| part.as_ref().to_owned());
        let passed_by: std::collections::HashSet<Option<String>> = damaged.iter().map(project).collect();
        let named: std::collections::HashSet<Path> = named
            .iter()
            .map(|entry| entry.bytes().map_err(|error| self.failed(error)))
            .collect::<Result<_, FileError>>()?;
        let mut found = self.store.list(Some(&Path::from("bytes")));
        let mut removed = 0;
        while let Some(object) = found.next().await {
            let object = object.map_err(|error| self.failed(error))?;
            if object.last_modified.timestamp_millis() < before.as_millis()
                && !named.contains(&object.location)
                && !passed_by.contains(&project(&object.location))
            {
                self.delete(&object.location).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn key(&self) -> Result<Key, FileError> {
        let at = Path::from(KEY);
        let mut known = self.read(&at).await?;
        if known.is_none() {
            let mut fresh = [0; 32];
            getrandom::fill(&mut fresh).map_err(|error| self.failed(error))?;
            let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(&at, PutPayload::from(fresh.to_vec()), create).await {
                // Another was faster: its key is as good.
                Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.failed(error)),
            }
            known = self.read(&at).await?;
        }
        let bytes = known.map(|(bytes, _)| bytes).unwrap_or_default();
        let bytes =
            <[u8; 32]>::try_from(bytes.as_ref()).map_err(|_| self.failed("the key has not 32 bytes"))?;
        Ok(Key::new(bytes))
    }

    async fn fetched_at(
        &self,
        file: &StoredFile,
        part: &Part,
        time: Duration,
    ) -> Result<Option<String>, FileError> {
        self.address_of(file, part, time).await
    }

    async fn put_at(&self, upload: &Upload, time: Duration) -> Result<Option<String>, FileError> {
        self.address_for(upload, time).await
    }

    async fn arrived(&self, name: Option<&FileName>, most: usize) -> Result<Vec<Arrived>, FileError> {
        self.all_arrived(name, most).await
    }

    async fn fits(&self, arrived: &Arrived, bounds: Bounds) -> Result<(), FileError> {
        self.fit_arrived(arrived, bounds).await
    }

    async fn take_in(
        &self,
        arrived: &Arrived,
        id: u128,
        bounds: Bounds,
        wanted: &dyn Wanted,
    ) -> Result<Option<StoredFile>, FileError> {
        self.take_arrived(arrived, id, bounds, wanted).await
    }

    async fn turn_away(&self, arrived: &Arrived) -> Result<(), FileError> {
        self.delete(&self.upload_at(&arrived.upload)?).await
    }

    async fn walk(&self, before: Timestamp, after: Option<String>, most: usize) -> Result<Walked, FileError> {
        self.walk_bytes(before, after, most).await
    }

    async fn note(&self) -> Result<Option<String>, FileError> {
        self.read_note().await
    }

    async fn keep_note(&self, note: &str) -> Result<(), FileError> {
        self.write_note(note).await
    }

    async fn begin_round(&self, now: Timestamp, until: Timestamp) -> Result<bool, FileError> {
        self.take_round(now, until).await
    }

    async fn end_round(&self, until: Timestamp) -> Result<(), FileError> {
        self.give_round_back(until).await
    }
}

impl Part {
    /// Which bytes these are of a file of this size.
    fn of(&self, size: u64) -> Result<Range<u64>, FileError> {
        let out = FileError::OutOfRange { size };
        match self {
            Self::Whole => Ok(0..size),
            Self::Bounded(range) if range.start < size && range.start < range.end => {
                Ok(range.start..range.end.min(size))
            }
            Self::From(first) if *first < size => Ok(*first..size),
            Self::Last(count) if *count > 0 && size > 0 => Ok(size.saturating_sub(*count)..size),
            Self::Bounded(_) | Self::From(_) | Self::Last(_) => Err(out),
        }
    }
}
