//! What a server archives finished tasks with.

use std::sync::Arc;

use baton_archive::ObjectArchive;
use baton_files::Objects;
use baton_runtime::Settings;
use baton_store::Archiver;

use crate::exit::Failure;
use crate::store::Store;

/// What archives the finished tasks of a store, if that is wanted.
pub(crate) async fn archiver(settings: &Settings, store: &Store) -> Result<Option<Archiver>, Failure> {
    let Some(place) = &settings.archive else {
        store.tell_of_missing_archiver();
        return Ok(None);
    };
    let archive = ObjectArchive::new(Objects::open(place).map_err(cannot_open)?);
    // Not before the archive can be opened: from then on nothing goes that is not written.
    store.begin_archiving().await?;
    Ok(Some(Archiver { store: store.archived(), archive: Arc::new(archive) }))
}

/// That the place of an archive cannot be opened.
pub(crate) fn cannot_open(error: baton_files::OpenError) -> Failure {
    Failure::failed(format!("archive.url: {}", baton_model::with_causes(&error)))
}
