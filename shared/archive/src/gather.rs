//! Making one file of a day's parts.
//!
//! Two processes may gather at once, and each removes the parts that it has copied. So neither may write over what the other has written:
//! a late one would leave a file without tasks whose parts are gone. In a bucket a day's file is written in one request, on the condition that
//! it still is what was copied; what is too large for that (an upload in parts takes no condition) is written under a name of its own, and
//! over nothing. A folder knows no such condition (`object_store` has it for none), and its callers see to it that one gathers at a time.

use std::collections::BTreeMap;

use baton_files::sha256;
use baton_model::Place;
use baton_store::ArchiveError;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion, WriteMultipart,
};

use crate::{ObjectArchive, PARTS, TASKS, file_at};

/// How many bytes a day's file has at most that is written in one request: all of them are in memory. A round on AWS gathers no more
/// (`functions/reap-stale-workers`).
const WHOLE: u64 = 64 << 20;

/// How many bytes go in one part of an upload, and how many of these are under way at once: all of a file that is in memory.
const UPLOADED: usize = 8 << 20;
const UPLOADS_AT_ONCE: usize = 2;

/// The parts of a day of a project, and how many bytes they have.
#[derive(Default)]
struct Day {
    parts: Vec<Path>,
    bytes: u64,
}

impl ObjectArchive {
    /// Gathers the days before `before` that have no more bytes than `most`, the smallest first; says how many files were made anew. A day
    /// that cannot be gathered holds up no other.
    pub(crate) async fn gather_all(&self, before: &str, most: Option<u64>) -> Result<u64, ArchiveError> {
        let mut days: BTreeMap<(String, String), Day> = BTreeMap::new();
        let mut found = self.objects.list(Some(&Path::from(PARTS)));
        while let Some(object) = found.next().await {
            let object = object.map_err(|error| self.failed(error))?;
            let Some((project, day)) = day_of_part(&object.location) else { continue };
            if day.as_str() < before {
                let day = days.entry((project, day)).or_default();
                day.bytes += object.size;
                day.parts.push(object.location);
            }
        }
        let mut days: Vec<_> = days.into_iter().collect();
        days.sort_by_key(|(_, day)| day.bytes);
        let (mut gathered, mut failed) = (0, None);
        for ((project, day), parts) in days {
            match self.gather_day(&project, &day, parts, most).await {
                Ok(is_gathered) => gathered += u64::from(is_gathered),
                Err(error) => failed = failed.or(Some(self.failed(error))),
            }
        }
        failed.map_or(Ok(gathered), Err)
    }

    /// Gathers a day, and removes its parts once their bytes are elsewhere; says whether it did.
    async fn gather_day(
        &self,
        project: &str,
        day: &str,
        Day { mut parts, bytes }: Day,
        most: Option<u64>,
    ) -> Result<bool, object_store::Error> {
        parts.sort_unstable();
        let file = file_at(project, day);
        // What the file has is copied, too.
        if let Some(most) = most
            && (bytes > most || bytes + self.size_of(&file).await? > most)
        {
            tracing::debug!(project, day, bytes, "a day of the archive stays in parts, as it is too large");
            return Ok(false);
        }
        if matches!(self.place, Place::Folder(_)) {
            let whole: Vec<&Path> = std::iter::once(&file).chain(&parts).collect();
            self.upload(&file, &whole).await?;
        } else {
            self.gather_in_bucket(&file, &beside(project, day, &parts), &parts, bytes).await?;
        }
        for part in &parts {
            self.objects.delete(part).await?;
        }
        Ok(true)
    }

    /// How many bytes an object has; none if it is not there.
    async fn size_of(&self, at: &Path) -> Result<u64, object_store::Error> {
        match self.objects.head(at).await {
            Ok(found) => Ok(found.size),
            Err(object_store::Error::NotFound { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Has the bytes of a day's parts in its file, or in one beside it if that is too large to be written on a condition.
    ///
    /// # Errors
    /// Also if another one has written the file meanwhile.
    async fn gather_in_bucket(
        &self,
        file: &Path,
        beside: &Path,
        parts: &[Path],
        bytes: u64,
    ) -> Result<(), object_store::Error> {
        let known = match self.objects.get(file).await {
            Ok(known) => Some(known),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let whole = bytes.saturating_add(known.as_ref().map_or(0, |known| known.meta.size));
        if whole > WHOLE {
            // Nobody asks for more of it.
            drop(known);
            let parts: Vec<&Path> = parts.iter().collect();
            return self.upload(beside, &parts).await;
        }
        let mut lines = Vec::with_capacity(usize::try_from(whole).unwrap_or_default());
        let mode = match known {
            None => PutMode::Create,
            Some(known) => {
                let (e_tag, version) = (known.meta.e_tag.clone(), known.meta.version.clone());
                append(known, &mut lines).await?;
                PutMode::Update(UpdateVersion { e_tag, version })
            }
        };
        for part in parts {
            append(self.objects.get(part).await?, &mut lines).await?;
        }
        self.objects.put_opts(file, lines.into(), PutOptions::from(mode)).await?;
        Ok(())
    }

    /// Makes an object of what others have, one behind the other. The object itself may be the first of them, and need not be there.
    async fn upload(&self, to: &Path, from: &[&Path]) -> Result<(), object_store::Error> {
        let upload = self.objects.put_multipart(to).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, UPLOADED);
        for &at in from {
            if let Err(error) = self.copy(at, at == to, &mut upload).await {
                upload.abort().await?;
                return Err(error);
            }
        }
        upload.finish().await?;
        Ok(())
    }

    /// Copies an object behind what there is of another. A day's file need not be there.
    async fn copy(
        &self,
        at: &Path,
        may_lack: bool,
        upload: &mut WriteMultipart,
    ) -> Result<(), object_store::Error> {
        let found = match self.objects.get(at).await {
            Err(object_store::Error::NotFound { .. }) if may_lack => return Ok(()),
            found => found?,
        };
        let mut bytes = found.into_stream();
        while let Some(some) = bytes.try_next().await? {
            upload.wait_for_capacity(UPLOADS_AT_ONCE).await?;
            upload.put(some);
        }
        Ok(())
    }
}

/// Where parts of a day go that its file does not take: `tasks/{project}/{day}/{name}.jsonl`. The name says which parts they are. Parts
/// never change: whoever writes this object writes the same.
fn beside(project: &str, day: &str, parts: &[Path]) -> Path {
    let names: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    let name = sha256(names.join("\n").as_bytes());
    Path::from_iter([TASKS, project, day, &format!("{name}.jsonl")])
}

/// Adds what an object has.
async fn append(found: GetResult, lines: &mut Vec<u8>) -> Result<(), object_store::Error> {
    let mut bytes = found.into_stream();
    while let Some(some) = bytes.try_next().await? {
        lines.extend_from_slice(&some);
    }
    Ok(())
}

/// The project and the day of a part; none if it is something else.
pub(crate) fn day_of_part(at: &Path) -> Option<(String, String)> {
    let mut parts = at.as_ref().split('/').skip(1);
    let (project, day, name) = (parts.next()?, parts.next()?, parts.next()?);
    name.ends_with(".jsonl").then(|| (project.to_owned(), day.to_owned()))
}
