//! The workers that a server supervises, for those who serve routes about them.

use baton_api::supervised::GroupView;
use baton_model::GroupName;
use futures::future::BoxFuture;

/// What can be asked of a group of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Start all workers that do not run.
    Start,
    /// End all, and start none.
    Stop,
    /// Start all anew.
    Restart {
        /// One after the other.
        rolling: bool,
    },
    /// Have so many.
    Scale(u32),
}

/// Groups of workers that are supervised beside the server.
pub trait Fleet: Send + Sync {
    /// How all groups are, by name.
    fn groups(&self) -> BoxFuture<'_, Vec<GroupView>>;

    /// Asks something of a group; the answer is how it is then. None if there is no such group.
    fn ask<'a>(&'a self, group: &'a GroupName, asked: Asked) -> BoxFuture<'a, Option<GroupView>>;
}
