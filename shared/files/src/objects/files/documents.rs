//! Documents of names, gone through by those who look at many: one that is damaged stops none of them.

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::paths::MARK;
use super::{Entry, ObjectFiles};
use crate::FileError;

/// How many documents of names are read at once.
pub(super) const AT_ONCE: usize = 16;

/// What lies where the document of a name is looked for.
pub(super) enum Document {
    /// Nothing.
    None,
    /// Something that is no such document, which was logged.
    Damaged,
    /// What is kept of a file.
    Of(Box<Entry>),
}

impl ObjectFiles {
    /// What lies there, for those who go through many names, whom one that is damaged does not stop.
    pub(super) async fn document(&self, at: &Path) -> Result<Document, FileError> {
        let Some((text, _)) = self.read(at).await? else { return Ok(Document::None) };
        Ok(match serde_json::from_slice(&text) {
            Ok(entry) => Document::Of(Box::new(entry)),
            Err(error) => {
                tracing::error!(%at, place = %self.place, %error, "the document of a file's name cannot be read; it is passed by, and its bytes stay");
                Document::Damaged
            }
        })
    }

    /// All documents of names below a folder, by their paths in it.
    pub(super) async fn names(&self, folder: Path) -> Result<Vec<Path>, FileError> {
        let found = self.store.list(Some(&folder)).map_ok(|object| object.location);
        let mut found: Vec<Path> = found.try_collect().await.map_err(|error| self.failed(error))?;
        found.retain(|at| at.as_ref().ends_with(MARK));
        Ok(found)
    }

    /// Reads documents of names; those that have gone meanwhile are left out, and so are those that cannot be read, of which the paths are told.
    pub(super) async fn entries(&self, at: Vec<Path>) -> Result<(Vec<Entry>, Vec<Path>), FileError> {
        let read = futures::stream::iter(at).map(|at| async move {
            let found = self.document(&at).await?;
            Ok::<_, FileError>((at, found))
        });
        let mut read = read.buffered(AT_ONCE);
        let (mut entries, mut damaged) = (Vec::new(), Vec::new());
        while let Some(one) = read.next().await {
            match one? {
                (_, Document::Of(entry)) => entries.push(*entry),
                (at, Document::Damaged) => damaged.push(at),
                (_, Document::None) => {}
            }
        }
        Ok((entries, damaged))
    }
}
