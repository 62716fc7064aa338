//! Looks through all bytes, some at a time, by whom several processes may take turns: functions, which live for moments.

use std::time::Duration;

use baton_model::{Place, Timestamp};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutPayload};

use super::ObjectFiles;
use super::documents::{AT_ONCE, Document};
use super::paths::parts_of;
use crate::{FileError, StoredFile, Walked};

/// Where it is noted how far they have come.
const NOTE: &str = "walk";

/// Where it is noted until when somebody goes about a round.
const ROUND: &str = "round";

/// A time further away than this was noted by a clock that was set back since: no process lives for so long.
const LONGEST_ROUND: Duration = Duration::from_secs(3_600);

/// What an object among the bytes is.
enum Seen {
    /// A file that is old.
    Old(Box<StoredFile>),
    /// It had no name, and was removed.
    Nameless,
    /// It stays, and nobody need know of it.
    Other,
}

impl ObjectFiles {
    pub(super) async fn walk_bytes(
        &self,
        before: Timestamp,
        after: Option<String>,
        most: usize,
    ) -> Result<Walked, FileError> {
        let folder = Path::from("bytes");
        let found = match after {
            None => self.store.list(Some(&folder)),
            Some(after) => {
                let after = Path::parse(after).map_err(|error| self.failed(error))?;
                self.store.list_with_offset(Some(&folder), &after)
            }
        };
        // A bucket lists by name, so that the next look may go on behind the last; a folder does not, and is looked through at once.
        let most = if matches!(self.place, Place::Bucket { .. }) { most } else { usize::MAX };
        let found: Vec<ObjectMeta> =
            found.take(most).try_collect().await.map_err(|error| self.failed(error))?;
        let next = found.last().filter(|_| found.len() == most).map(|last| last.location.to_string());
        let is_old = |object: &ObjectMeta| object.last_modified.timestamp_millis() < before.as_millis();
        let old: Vec<ObjectMeta> = found.into_iter().filter(is_old).collect();
        let looks = futures::stream::iter(old).map(|object| self.see(object.location, before));
        let mut seen = looks.buffered(AT_ONCE);
        let mut walked = Walked { next, ..Walked::default() };
        while let Some(one) = seen.next().await {
            match one? {
                Seen::Old(file) => walked.old.push(*file),
                Seen::Nameless => walked.nameless += 1,
                Seen::Other => {}
            }
        }
        Ok(walked)
    }

    async fn see(&self, at: Path, before: Timestamp) -> Result<Seen, FileError> {
        // What a server has put does not say its name where it lies; a server's sweep looks at that.
        let Some((name, id)) = parts_of("bytes", &at) else { return Ok(Seen::Other) };
        match self.document(&self.at(&name)?).await? {
            Document::Of(entry) if entry.by_name && entry.id == id => {
                Ok(match entry.file.created_at < before {
                    true => Seen::Old(Box::new(entry.file)),
                    false => Seen::Other,
                })
            }
            Document::Damaged => Ok(Seen::Other),
            Document::Of(_) | Document::None => {
                self.delete(&at).await?;
                Ok(Seen::Nameless)
            }
        }
    }

    pub(super) async fn read_note(&self) -> Result<Option<String>, FileError> {
        let Some((bytes, _)) = self.read(&Path::from(NOTE)).await? else { return Ok(None) };
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|error| self.failed(error))
    }

    pub(super) async fn write_note(&self, note: &str) -> Result<(), FileError> {
        let note = PutPayload::from(note.as_bytes().to_vec());
        self.store.put(&Path::from(NOTE), note).await.map_err(|error| self.failed(error))?;
        Ok(())
    }

    pub(super) async fn take_round(&self, now: Timestamp, until: Timestamp) -> Result<bool, FileError> {
        let at = Path::from(ROUND);
        let standing = self.read(&at).await?;
        let taken = standing.as_ref().and_then(|(text, _)| millis(text));
        if taken.is_some_and(|taken| taken > now && taken <= now.plus(LONGEST_ROUND)) {
            return Ok(false);
        }
        let text = PutPayload::from(until.as_millis().to_string().into_bytes());
        self.write_name(&at, text, standing.map(|(_, version)| version)).await
    }

    pub(super) async fn give_round_back(&self, until: Timestamp) -> Result<(), FileError> {
        let at = Path::from(ROUND);
        let Some((text, version)) = self.read(&at).await? else { return Ok(()) };
        if millis(&text) == Some(until) {
            // Whoever has taken it meanwhile has it.
            self.write_name(&at, PutPayload::from_static(b"0"), Some(version)).await?;
        }
        Ok(())
    }
}

/// A time that was noted; none if it is something else.
fn millis(text: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_millis(std::str::from_utf8(text).ok()?.parse().ok()?))
}
