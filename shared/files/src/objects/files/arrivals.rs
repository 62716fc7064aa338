//! What comes and goes by addresses of the place itself: large files, which a process does not carry.
//!
//! What is put at such an address lies apart, under the name that it is to have and a number. To take it in is to copy it, within the place,
//! to where no address leads, to look through the copy, and to put its name. Whatever breaks off in between, it is taken in anew: it goes
//! only once its name stands. Who puts another file under the name writes with it what had arrived for it, and removes that behind it; so what
//! still lies there, and is not named by what stands, is newer, which is looked at before the name is written.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use baton_model::Timestamp;
use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Attribute, ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest as _, Sha256};

use super::paths::{below_name, folder_of, of_name, parts_of};
use super::{Entry, ObjectFiles, TRIES};
use crate::digest::hex;
use crate::objects::Shown;
use crate::{Arrived, Bounds, FileError, FileName, Part, SNIFFED, StoredFile, Upload, Wanted, sniff};

/// Where uploads lie that were not taken in yet.
const UPLOADS: &str = "uploads";

/// How many uploads a file that is put names as those whose place it takes.
const OVER: usize = 100;

/// What became of a name that an upload was to have.
enum Named {
    /// It leads to the upload, and no longer to this.
    Here(Option<Entry>),
    /// Another process has taken the same upload in.
    Before(StoredFile),
    /// Another file has taken its place, or nobody wants it any more.
    Never,
}

/// What room there is for an upload.
struct Room {
    /// How many bytes it may have.
    bytes: u64,
    /// Whether others have copied an upload of its name and have not said yet what becomes of it.
    is_copied: bool,
}

/// A copy that is removed if whoever makes it and looks through it is cut off. What is copied after that is left for a walk.
struct Copied {
    store: Arc<dyn ObjectStore>,
    at: Option<Path>,
}

impl Copied {
    /// Who made it says what becomes of it.
    fn let_go(mut self) {
        self.at = None;
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let (Some(at), Ok(runtime)) = (self.at.take(), tokio::runtime::Handle::try_current()) else { return };
        let store = Arc::clone(&self.store);
        runtime.spawn(async move {
            match store.delete(&at).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%at, %error, "the copy of an upload that was cut off is left for a walk")
                }
            }
        });
    }
}

/// A browser saves it in any case: an address of the place cannot say that its kind is not to be guessed (`nosniff`).
fn saved_as(name: &FileName) -> String {
    let mut disposition = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.last().bytes() {
        // RFC 8187 §3.2.1.
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            disposition.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(disposition, "%{byte:02X}");
        }
    }
    disposition
}

/// By which an object is known to be the same, in a list as in an answer of its own.
fn version(meta: &ObjectMeta) -> String {
    match &meta.e_tag {
        Some(tag) => tag.trim_matches('"').to_owned(),
        None => format!("{}-{}", meta.last_modified.timestamp_millis(), meta.size),
    }
}

impl ObjectFiles {
    /// Where an upload lies.
    pub(super) fn upload_at(&self, upload: &Upload) -> Result<Path, FileError> {
        below_name(UPLOADS, &upload.name, &upload.written()).map_err(|error| self.failed(error))
    }

    pub(super) async fn address_of(
        &self,
        file: &StoredFile,
        part: &Part,
        time: Duration,
    ) -> Result<Option<String>, FileError> {
        let Some(direct) = &self.direct else { return Ok(None) };
        let range = part.of(file.size)?;
        if range.end - range.start <= direct.through {
            return Ok(None);
        }
        let entry = self.known(&file.name).await?;
        let at = entry.bytes().map_err(|error| self.failed(error))?;
        let shown =
            Shown { content_type: entry.file.content_type.clone(), disposition: saved_as(&entry.file.name) };
        let signed = direct.addresses.get(at.as_ref(), &shown, time).await;
        signed.map(Some).map_err(|error| self.failed(error))
    }

    pub(super) async fn address_for(
        &self,
        upload: &Upload,
        time: Duration,
    ) -> Result<Option<String>, FileError> {
        let Some(direct) = &self.direct else { return Ok(None) };
        let at = self.upload_at(upload)?;
        let signed = direct.addresses.put(at.as_ref(), time).await;
        signed.map(Some).map_err(|error| self.failed(error))
    }

    pub(super) async fn all_arrived(
        &self,
        name: Option<&FileName>,
        most: usize,
    ) -> Result<Vec<Arrived>, FileError> {
        if self.direct.is_none() {
            return Ok(Vec::new());
        }
        let folder = match name {
            Some(name) => of_name(UPLOADS, name).map_err(|error| self.failed(error))?,
            None => Path::from(UPLOADS),
        };
        let found: Vec<ObjectMeta> = self
            .store
            .list(Some(&folder))
            .take(most)
            .try_collect()
            .await
            .map_err(|error| self.failed(error))?;
        let mut arrived: Vec<Arrived> = found.iter().filter_map(read).collect();
        arrived.sort_unstable_by(|a, b| {
            (&a.upload.name, a.at, a.upload.id).cmp(&(&b.upload.name, b.at, b.upload.id))
        });
        Ok(arrived)
    }

    /// Removes what has arrived under a name.
    pub(super) async fn drop_arrived(&self, name: &FileName) -> Result<(), FileError> {
        if self.direct.is_none() {
            return Ok(());
        }
        let folder = of_name(UPLOADS, name).map_err(|error| self.failed(error))?;
        let mut found = self.store.list(Some(&folder));
        while let Some(object) = found.next().await {
            self.delete(&object.map_err(|error| self.failed(error))?.location).await?;
        }
        Ok(())
    }

    /// What has arrived under a name, which a file that is put takes the place of: what cannot be named with it goes at once.
    pub(super) async fn arrived_before(&self, name: &FileName) -> Result<Vec<Arrived>, FileError> {
        let mut before = Vec::new();
        if self.direct.is_none() {
            return Ok(before);
        }
        let folder = of_name(UPLOADS, name).map_err(|error| self.failed(error))?;
        let mut found = self.store.list(Some(&folder));
        while let Some(object) = found.next().await {
            let object = object.map_err(|error| self.failed(error))?;
            match read(&object) {
                Some(arrived) if before.len() < OVER => before.push(arrived),
                _ => self.delete(&object.location).await?,
            }
        }
        Ok(before)
    }

    /// Removes uploads whose place another file has taken.
    pub(super) async fn drop_replaced(&self, before: &[Arrived]) {
        for arrived in before {
            match self.upload_at(&arrived.upload) {
                Ok(from) => self.drop_taken(&from, arrived).await,
                Err(error) => {
                    tracing::warn!(file = %arrived.upload.name, %error, "an upload that was replaced is left")
                }
            }
        }
    }

    pub(super) async fn fit_arrived(&self, arrived: &Arrived, bounds: Bounds) -> Result<(), FileError> {
        let (name, from) = (&arrived.upload.name, self.upload_at(&arrived.upload)?);
        let standing = self.entry(name).await?;
        if standing.as_ref().is_some_and(|entry| is_of(entry, arrived) || is_over(entry, arrived)) {
            return Ok(());
        }
        self.fit(&from, arrived, arrived.size, bounds, standing.as_ref()).await?;
        Ok(())
    }

    /// How many bytes an upload of this size may have. One that has more is removed.
    async fn fit(
        &self,
        from: &Path,
        arrived: &Arrived,
        size: u64,
        bounds: Bounds,
        standing: Option<&Entry>,
    ) -> Result<u64, FileError> {
        let name = &arrived.upload.name;
        let room = self.room_of_upload(name, size, bounds, standing).await?;
        let Some(refused) = refusal(name, size, bounds, room.bytes) else { return Ok(room.bytes) };
        // Whoever has copied it meanwhile has found room for it.
        if !(room.is_copied && matches!(refused, FileError::OverQuota { .. })) {
            self.delete(from).await?;
        }
        Err(refused)
    }

    /// How much room there is for an upload of this size. It takes the place of all that lies in the folder of its name: what stands, and copies
    /// that others make of it at the same moment. So these are not counted where there would be too little.
    async fn room_of_upload(
        &self,
        name: &FileName,
        size: u64,
        bounds: Bounds,
        standing: Option<&Entry>,
    ) -> Result<Room, FileError> {
        let Some(most) = bounds.project_bytes else { return Ok(Room { bytes: u64::MAX, is_copied: false }) };
        let (project, stands) = (name.project(), standing.map_or(0, |entry| entry.file.size));
        if let Some(used) = self.usage.of(project) {
            let bytes = most.saturating_sub(used.saturating_sub(stands));
            if size <= bytes {
                return Ok(Room { bytes, is_copied: false });
            }
        }
        let own = of_name("bytes", name).map_err(|error| self.failed(error))?;
        let standing_at = standing.map(Entry::bytes).transpose().map_err(|error| self.failed(error))?;
        let (mut used, mut others, mut is_copied) = (0_u64, 0_u64, false);
        let mut found = self.store.list(Some(&folder_of("bytes", project)));
        while let Some(object) = found.next().await {
            let object = object.map_err(|error| self.failed(error))?;
            used = used.saturating_add(object.size);
            if standing_at.as_ref() == Some(&object.location) {
                continue;
            }
            if object.location.prefix_matches(&own) {
                is_copied = true;
            } else {
                others = others.saturating_add(object.size);
            }
        }
        self.usage.counted(project, used);
        Ok(Room { bytes: most.saturating_sub(others), is_copied })
    }

    pub(super) async fn take_arrived(
        &self,
        arrived: &Arrived,
        id: u128,
        bounds: Bounds,
        wanted: &dyn Wanted,
    ) -> Result<Option<StoredFile>, FileError> {
        let (name, from) = (&arrived.upload.name, self.upload_at(&arrived.upload)?);
        let standing = self.entry(name).await?;
        if let Some(same) = standing.as_ref().filter(|entry| is_of(entry, arrived)) {
            // A process has put its name, and got no further.
            self.drop_taken(&from, arrived).await;
            return Ok(Some(same.file.clone()));
        }
        if standing.as_ref().is_some_and(|entry| is_over(entry, arrived)) {
            self.drop_taken(&from, arrived).await;
            return Ok(None);
        }
        let Some(meta) = self.meta(&from).await? else { return Ok(None) };
        let room = self.fit(&from, arrived, meta.size, bounds, standing.as_ref()).await?;
        let id = format!("{id:032x}");
        let to = below_name("bytes", name, &id).map_err(|error| self.failed(error))?;
        let copied = Copied { store: Arc::clone(&self.store), at: Some(to.clone()) };
        match self.store.copy(&from, &to).await {
            Ok(()) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        }
        let looked = self.look_through(&to, arrived, bounds, room).await;
        copied.let_go();
        let file = match looked {
            Ok(file) => file,
            Err(error) => {
                if let Err(error) = self.delete(&to).await {
                    tracing::warn!(file = %name, %error, "the copy of an upload that was not taken in is left for a sweep");
                }
                return Err(error);
            }
        };
        let entry = Entry { file, id, by_name: true, upload: Some(arrived.mark()), over: Vec::new() };
        self.usage.changed(name.project(), entry.file.size, 0);
        match self.name_arrived(&entry, &from, arrived, wanted).await {
            Ok(Named::Here(replaced)) => {
                if let Some(replaced) = replaced {
                    self.forget(&replaced).await;
                }
                self.drop_taken(&from, arrived).await;
                Ok(Some(entry.file))
            }
            Ok(Named::Before(file)) => {
                self.forget(&entry).await;
                Ok(Some(file))
            }
            Ok(Named::Never) => {
                self.forget(&entry).await;
                Ok(None)
            }
            Err(error @ FileError::Unasked(_)) => {
                self.forget(&entry).await;
                Err(error)
            }
            // It may be written all the same: whether its bytes have a name, a walk will see.
            Err(error) => Err(error),
        }
    }

    /// What is known of a copy, read from its first byte to its last.
    async fn look_through(
        &self,
        at: &Path,
        arrived: &Arrived,
        bounds: Bounds,
        room: u64,
    ) -> Result<StoredFile, FileError> {
        let name = &arrived.upload.name;
        let found = self.store.get(at).await.map_err(|error| self.failed(error))?;
        let said = found.attributes.get(&Attribute::ContentType);
        let said = said.map(|kind| AsRef::<str>::as_ref(kind).to_owned());
        let mut bytes = found.into_stream();
        let (mut hash, mut size, mut beginning) = (Sha256::new(), 0_u64, BytesMut::new());
        while let Some(some) = bytes.next().await {
            let some = some.map_err(|error| self.failed(error))?;
            size += some.len() as u64;
            // Another may have been put at the same address since its size was looked at.
            if let Some(refused) = refusal(name, size, bounds, room) {
                return Err(refused);
            }
            if beginning.len() < SNIFFED {
                beginning.extend_from_slice(&some[..some.len().min(SNIFFED - beginning.len())]);
            }
            hash.update(&some);
        }
        Ok(StoredFile {
            name: name.clone(),
            size,
            sha256: hex(hash.finalize().iter()),
            content_type: sniff(&beginning, said.as_deref()).to_owned(),
            created_at: arrived.at,
            task: name.task(),
            kept_until: arrived.upload.kept_until,
        })
    }

    /// Has the name of an upload lead to its copy, as long as the upload is there and wanted: to copy it may have taken minutes.
    async fn name_arrived(
        &self,
        entry: &Entry,
        from: &Path,
        arrived: &Arrived,
        wanted: &dyn Wanted,
    ) -> Result<Named, FileError> {
        let at = self.at(&entry.file.name)?;
        let text = serde_json::to_vec(entry).map_err(|error| self.failed(error))?;
        let _turn = self.turns.of(&entry.file.name).await;
        for _ in 0..TRIES {
            let standing = self.standing(&at).await?;
            if let Some(same) = standing.as_ref().filter(|standing| is_of(&standing.entry, arrived)) {
                return Ok(Named::Before(same.entry.file.clone()));
            }
            let is_replaced = standing.as_ref().is_some_and(|standing| is_over(&standing.entry, arrived));
            if is_replaced || self.meta(from).await?.is_none() {
                return Ok(Named::Never);
            }
            if !wanted.is_wanted(arrived).await.map_err(FileError::Unasked)? {
                self.drop_taken(from, arrived).await;
                return Ok(Named::Never);
            }
            let (replaced, read) =
                standing.map_or((None, None), |found| (Some(found.entry), Some(found.version)));
            if self.write_name(&at, text.clone().into(), read).await? {
                return Ok(Named::Here(replaced));
            }
        }
        Err(self.failed("others go on putting files under this name"))
    }

    /// Removes an upload that was taken in, unless another was put at its address since.
    async fn drop_taken(&self, from: &Path, arrived: &Arrived) {
        let dropped = match self.meta(from).await {
            Ok(Some(meta)) if version(&meta) == arrived.version => self.delete(from).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            tracing::warn!(file = %arrived.upload.name, %error, "an upload that was taken in is left, and removed when it is met again");
        }
    }

    async fn meta(&self, at: &Path) -> Result<Option<ObjectMeta>, FileError> {
        match self.store.head(at).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }
}

/// Whether a file is the one that an upload was.
fn is_of(entry: &Entry, arrived: &Arrived) -> bool {
    entry.upload.as_deref() == Some(arrived.mark().as_str())
}

/// Whether a file was put in the place of an upload.
fn is_over(entry: &Entry, arrived: &Arrived) -> bool {
    entry.over.contains(&arrived.met())
}

/// Why a file of this size is not kept.
fn refusal(name: &FileName, size: u64, bounds: Bounds, room: u64) -> Option<FileError> {
    if size > bounds.file_bytes {
        return Some(FileError::TooLarge { most: bounds.file_bytes });
    }
    let most = bounds.project_bytes.unwrap_or(room);
    (size > room).then(|| FileError::OverQuota { project: name.project().clone(), most })
}

/// An upload as it is listed; none if nothing of ours has been put there.
fn read(meta: &ObjectMeta) -> Option<Arrived> {
    let Some(upload) =
        parts_of(UPLOADS, &meta.location).and_then(|(name, written)| Upload::read(name, &written))
    else {
        tracing::warn!(at = %meta.location, "what lies among the uploads is none that an address was signed for");
        return None;
    };
    let at = Timestamp::from_millis(meta.last_modified.timestamp_millis());
    Some(Arrived { upload, at, size: meta.size, version: version(meta) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_gives_is_saved_under_its_name() {
        let name: FileName = "p/a/ü \"b\".html".parse().unwrap();
        assert_eq!(saved_as(&name), "attachment; filename*=UTF-8''%C3%BC%20%22b%22.html");
    }
}
