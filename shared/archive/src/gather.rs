//! Making one file of a day's parts.

use std::collections::BTreeMap;

use baton_store::ArchiveError;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};

use crate::{ObjectArchive, PARTS, file_at};

/// How many bytes go in one part of an upload, and how many of these are under way at once: all of a file that is in memory.
const UPLOADED: usize = 8 << 20;
const UPLOADS_AT_ONCE: usize = 2;

impl ObjectArchive {
    /// Gathers the days before `before`; says how many files were made anew. A day that cannot be gathered holds up no other.
    pub(crate) async fn gather_all(&self, before: &str) -> Result<u64, ArchiveError> {
        let mut days: BTreeMap<(String, String), Vec<Path>> = BTreeMap::new();
        let mut found = self.objects.list(Some(&Path::from(PARTS)));
        while let Some(object) = found.next().await {
            let at = object.map_err(|error| self.failed(error))?.location;
            let Some((project, day)) = day_of_part(&at) else { continue };
            if day.as_str() < before {
                days.entry((project, day)).or_default().push(at);
            }
        }
        let (mut gathered, mut failed) = (0, None);
        for ((project, day), mut parts) in days {
            parts.sort_unstable();
            match self.gather_day(&file_at(&project, &day), &parts).await {
                Ok(()) => gathered += 1,
                Err(error) => failed = failed.or(Some(self.failed(error))),
            }
        }
        failed.map_or(Ok(gathered), Err)
    }

    /// Makes a day's file anew, of what it was and its parts, and removes these once it is there.
    async fn gather_day(&self, file: &Path, parts: &[Path]) -> Result<(), object_store::Error> {
        let upload = self.objects.put_multipart(file).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, UPLOADED);
        for at in std::iter::once(file).chain(parts) {
            if let Err(error) = self.copy(at, at == file, &mut upload).await {
                upload.abort().await?;
                return Err(error);
            }
        }
        upload.finish().await?;
        for part in parts {
            self.objects.delete(part).await?;
        }
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

/// The project and the day of a part; none if it is something else.
pub(crate) fn day_of_part(at: &Path) -> Option<(String, String)> {
    let mut parts = at.as_ref().split('/').skip(1);
    let (project, day, name) = (parts.next()?, parts.next()?, parts.next()?);
    name.ends_with(".jsonl").then(|| (project.to_owned(), day.to_owned()))
}
