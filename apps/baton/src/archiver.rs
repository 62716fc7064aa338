//! What a server archives finished tasks with.

use std::sync::Arc;

use baton_archive::ObjectArchive;
use baton_files::Objects;
use baton_runtime::Settings;
use baton_store::Archiver;

use crate::exit::Failure;
use crate::store::Store;

/// What archives the finished tasks of a store, if that is wanted.
pub(crate) fn archiver(settings: &Settings, store: &Store) -> Result<Option<Archiver>, Failure> {
    let Some(place) = &settings.archive else { return Ok(None) };
    let Some(store) = store.archived() else {
        return Err(Failure::usage(format!(
            "archive.url: expected no archive with {}, got {place}: DynamoDB removes finished tasks by itself, before anybody \
             could archive them; set retention.finished_days = 0 to keep them, or keep tasks in SQLite",
            settings.store.location
        )));
    };
    let archive = ObjectArchive::new(Objects::open(place).map_err(cannot_open)?);
    Ok(Some(Archiver { store, archive: Arc::new(archive) }))
}

/// That the place of an archive cannot be opened.
pub(crate) fn cannot_open(error: baton_files::OpenError) -> Failure {
    Failure::failed(format!("archive.url: {}", baton_model::with_causes(&error)))
}
