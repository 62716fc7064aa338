//! What the handlers of the dialect share, and how they look tasks up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_http::{ApiError, App, Caller};
use baton_model::{ProjectId, Task, TaskId, TaskState, TaskType, Timestamp, limits};
use baton_runtime::settings::EdgeSettings;
use baton_store::{Page, PageRequest, StoreError, TaskDetail, TaskFilter};

use crate::shelf::Shelf;
use crate::types::Types;

/// How long it is believed whose the projects are.
const OWNERS_FOR: Duration = Duration::from_secs(10);
/// How many tasks that run have their latest words kept.
const WORDS_KEPT: usize = 10_000;
/// How many tasks are looked through for those that belong to another one, or fit a filter that the store does not know.
pub(crate) const LOOKED_THROUGH: usize = 10_000;

/// What the handlers share. Copies share the same parts.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) app: App,
    pub(crate) settings: EdgeSettings,
    pub(crate) types: Types,
    pub(crate) shelf: Arc<dyn Shelf>,
    /// The types that are known to be exempt from the caps; none before the limits were looked at.
    pub(crate) exempt: tokio::sync::Mutex<Option<BTreeSet<TaskType>>>,
    owners: Mutex<Owners>,
    /// What tasks that run were last said to have put out, with their attempts: a hint for whoever looks on, and lost with the process.
    said: Mutex<BTreeMap<TaskId, (u32, String)>>,
}

#[derive(Default)]
struct Owners {
    read_at: Option<Timestamp>,
    of: BTreeMap<ProjectId, String>,
}

impl Deref for Edge {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Edge {
    pub(crate) fn new(app: App, settings: EdgeSettings, shelf: Arc<dyn Shelf>) -> Self {
        let types = Types::of(&settings);
        Self(Arc::new(Parts {
            app,
            types,
            settings,
            shelf,
            exempt: tokio::sync::Mutex::default(),
            owners: Mutex::default(),
            said: Mutex::default(),
        }))
    }

    /// A task that the caller sees.
    pub(crate) async fn task(&self, caller: &Caller, id: TaskId) -> Result<Option<TaskDetail>, ApiError> {
        match self.app.store.task(id).await {
            Ok(detail) if caller.sees(&detail.task) => Ok(Some(detail)),
            Ok(_) | Err(StoreError::TaskNotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose a project is: its owner, and where it has none its own name, as the first part of a file's path needs one.
    pub(crate) async fn user_of(&self, project: &ProjectId) -> Result<String, ApiError> {
        let now = self.app.now();
        let known = {
            let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners
                .read_at
                .filter(|at| *at <= now && now.since(*at) < OWNERS_FOR)
                .map(|_| owners.of.get(project).cloned())
        };
        let owner = match known {
            Some(owner) => owner,
            None => self.read_owners(now).await?.get(project).cloned(),
        };
        Ok(owner.unwrap_or_else(|| project.to_string()))
    }

    async fn read_owners(&self, now: Timestamp) -> Result<BTreeMap<ProjectId, String>, ApiError> {
        let mut of = BTreeMap::new();
        let mut request = PageRequest::first(limits::PAGE);
        loop {
            let page = self.app.store.owned_projects(request).await?;
            of.extend(page.items.into_iter().map(|one| (one.project, one.owner.to_string())));
            match page.next {
                Some(next) => request = PageRequest { after: Some(next), ..PageRequest::first(limits::PAGE) },
                None => break,
            }
        }
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        *owners = Owners { read_at: Some(now), of: of.clone() };
        Ok(of)
    }

    /// Tasks by a filter that the caller sees, the newest first; up to [`LOOKED_THROUGH`] are looked through, and `keep` says which
    /// of them are wanted.
    pub(crate) async fn tasks(
        &self,
        caller: &Caller,
        mut filter: TaskFilter,
        most: usize,
        keep: impl Fn(&Task) -> bool,
    ) -> Result<Vec<Task>, ApiError> {
        caller.narrow(&mut filter.project, &mut filter.queue)?;
        let mut found = Vec::new();
        let (mut looked, mut after) = (0, None);
        while looked < LOOKED_THROUGH && found.len() < most {
            let request = PageRequest { after, ..PageRequest::first(limits::PAGE) };
            let Page { items, next } = self.app.store.tasks(filter.clone(), request).await?;
            looked += items.len();
            found.extend(items.into_iter().filter(|task| caller.sees(task) && keep(task)));
            after = next;
            if after.is_none() {
                break;
            }
        }
        found.truncate(most);
        Ok(found)
    }

    /// Keeps what a task that runs is said to have put out.
    pub(crate) fn say(&self, task: &Task, words: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= WORDS_KEPT && !said.contains_key(&task.head.id) {
            said.pop_first();
        }
        said.insert(task.head.id, (task.head.attempt, words));
    }

    /// What a task that runs was last said to have put out.
    pub(crate) fn said(&self, task: &Task) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempt, words) = said.get(&task.head.id)?;
        let runs = matches!(task.head.state, TaskState::Running(_)) && *attempt == task.head.attempt;
        runs.then(|| words.clone())
    }

    /// Forgets what was said of a task that has ended.
    pub(crate) fn hush(&self, task: TaskId) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}
