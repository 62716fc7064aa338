//! How much of a project's room is taken: counted from what lies there, and carried on by what this process puts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_model::ProjectId;

/// For how long a count is carried on before it is made anew: others may have put and removed files.
const COUNTED_FOR: Duration = Duration::from_secs(60);

/// The most projects that are remembered.
const PROJECTS: usize = 10_000;

/// What is known of projects.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<HashMap<ProjectId, (u64, Instant)>>);

impl Usage {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<ProjectId, (u64, Instant)>) -> T) -> T {
        // What is in it is whole after each statement.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many bytes a project has, if that was counted lately.
    pub(super) fn of(&self, project: &ProjectId) -> Option<u64> {
        self.with(|known| {
            known.get(project).filter(|(_, at)| at.elapsed() < COUNTED_FOR).map(|(bytes, _)| *bytes)
        })
    }

    /// Remembers a count.
    pub(super) fn counted(&self, project: &ProjectId, bytes: u64) {
        self.with(|known| {
            if known.len() >= PROJECTS {
                known.clear();
            }
            known.insert(project.clone(), (bytes, Instant::now()));
        });
    }

    /// Notes that files of a project have become larger or smaller.
    pub(super) fn changed(&self, project: &ProjectId, more: u64, less: u64) {
        self.with(|known| {
            if let Some((bytes, _)) = known.get_mut(project) {
                *bytes = bytes.saturating_add(more).saturating_sub(less);
            }
        });
    }
}
