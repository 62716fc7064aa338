//! Setting limits and owners, and what is told of them.

use async_trait::async_trait;
use baton_model::{Label, Limit, LimitOn, LimitRules, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Page, PageRequest, StoreError};

/// Sets a limit, or takes it away.
#[derive(Clone, Debug)]
pub struct SetLimit {
    /// The time.
    pub now: Timestamp,
    /// What it holds for.
    pub on: LimitOn,
    /// What it is to say; none for no limit.
    pub rules: Option<LimitRules>,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// What a change has changed: what stood before it, and what stands since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<T> {
    /// Before.
    pub from: Option<T>,
    /// Since.
    pub to: Option<T>,
}

/// Says whose a project is.
#[derive(Clone, Debug)]
pub struct SetOwner {
    /// The time.
    pub now: Timestamp,
    /// The project.
    pub project: ProjectId,
    /// Its owner; none for nobody's.
    pub owner: Option<Label>,
    /// Who, if they said.
    pub by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// A project that has an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedProject {
    /// The project.
    pub project: ProjectId,
    /// Whose it is.
    pub owner: Label,
    /// Who said so last, if they said.
    pub changed_by: Option<Label>,
    /// Why, if they said.
    pub reason: Option<String>,
    /// When.
    pub changed_at: Timestamp,
}

/// A limit as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// The limit.
    pub limit: Limit,
    /// How many leases are under it; none of a limit for each, which has no leases of its own.
    pub running: Option<u32>,
    /// How many tasks hold a place of it while they wait for their next attempt; none of a limit for each.
    pub held: Option<u32>,
}

impl LimitStatus {
    /// Whether all its places are taken.
    pub fn is_full(&self) -> bool {
        let taken = self.running.unwrap_or_default() + self.held.unwrap_or_default();
        self.limit.rules.max_running.is_some_and(|most| taken >= most)
    }
}

/// Limits of how many tasks run at once and how many start in a while, and whose the projects are. They may be changed while
/// everything runs; a task that runs goes on running.
///
/// What counts against a limit is the set of leases under it, and no number that is kept. A claim passes over a task whose
/// limits do not let it start: it stays queued, in its place, costs no attempt, and holds up nobody behind it.
#[async_trait]
pub trait LimitStore: Send + Sync {
    /// Sets a limit, or takes it away. The next claim goes by it.
    ///
    /// # Errors
    /// [`StoreError::TooManyLimits`], and the store's own failures.
    async fn set_limit(&self, set: SetLimit) -> Result<Changed<Limit>, StoreError>;

    /// Limits by the text of what they hold for.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn limits(&self, page: PageRequest) -> Result<Page<LimitStatus>, StoreError>;

    /// Says whose a project is. The next claim goes by it.
    ///
    /// # Errors
    /// [`StoreError::TooManyLimits`], and the store's own failures.
    async fn set_owner(&self, set: SetOwner) -> Result<Changed<OwnedProject>, StoreError>;

    /// Projects that have an owner, by name.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    async fn owned_projects(&self, page: PageRequest) -> Result<Page<OwnedProject>, StoreError>;
}
