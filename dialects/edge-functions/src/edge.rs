//! What the handlers of the dialect share, and how they look tasks up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_http::{ApiError, App, Caller};
use baton_model::{Payload, ProjectId, Task, TaskId, TaskState, TaskType, Timestamp, TokenId, limits};
use baton_runtime::settings::EdgeSettings;
use baton_store::{Cursor, Page, PageRequest, StoreError, TaskDetail, TaskFilter};

use crate::old_shelf::OldShelf;
use crate::types::Types;

/// How long it is believed whose the projects are.
const OWNERS_FOR: Duration = Duration::from_secs(10);
/// How many tasks that run have their latest words kept.
const WORDS_KEPT: usize = 10_000;
/// How many tasks are looked through for those that belong to another one, or fit a filter that the store does not know.
pub(crate) const LOOKED_THROUGH: usize = 10_000;
/// How many of these are held at once.
const PIECE: u32 = 100;
/// What calls are limited by.
const MINUTE: Duration = Duration::from_secs(60);

/// What the handlers share. Copies share the same parts.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) app: App,
    pub(crate) settings: EdgeSettings,
    pub(crate) types: Types,
    pub(crate) old_shelf: OldShelf,
    /// The types that are known to be exempt from the caps; none before the limits were looked at.
    pub(crate) exempt: tokio::sync::Mutex<Option<BTreeSet<TaskType>>>,
    owners: Mutex<Owners>,
    /// What was last said of tasks that run: a hint for whoever looks on, and lost with the process.
    said: Mutex<BTreeMap<TaskId, Words>>,
    /// How often an attempt was answered once more to the worker that holds it.
    repeats: Mutex<BTreeMap<TaskId, (u32, u32)>>,
    /// How often tokens with bounds have called the functions that have limits.
    calls: Mutex<BTreeMap<(TokenId, &'static str), Calls>>,
}

/// The latest words on an attempt that runs.
#[derive(Clone, Default)]
pub(crate) struct Words {
    attempt: u32,
    /// When something was last said.
    pub(crate) at: Timestamp,
    /// When it was last said to be in progress, which begins its time anew.
    pub(crate) started: Option<Timestamp>,
    /// What it is said to have put out.
    pub(crate) output: Option<String>,
    /// What it is said to have found.
    pub(crate) result: Option<Payload>,
}

/// How often a token has called a function since the beginning of a minute.
struct Calls {
    since: Timestamp,
    times: u32,
}

/// The tasks of a list that a caller sees, the newest first, as they are read piece by piece.
pub(crate) struct Pieces {
    filter: TaskFilter,
    after: Option<Cursor>,
    looked: usize,
    is_over: bool,
}

impl Pieces {
    /// Whether there are tasks that are not looked through.
    pub(crate) fn are_cut(&self) -> bool {
        !self.is_over && self.looked >= LOOKED_THROUGH
    }
}

#[derive(Default)]
struct Owners {
    read_at: Option<Timestamp>,
    of: BTreeMap<ProjectId, String>,
}

/// A name as one part of a path.
fn as_part(name: &str) -> String {
    name.replace('/', "_")
}

impl Deref for Edge {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Edge {
    pub(crate) fn new(app: App, settings: EdgeSettings) -> Self {
        let types = Types::of(&settings);
        let old_shelf = OldShelf::new(&settings.files);
        Self(Arc::new(Parts {
            app,
            types,
            settings,
            old_shelf,
            exempt: tokio::sync::Mutex::default(),
            owners: Mutex::default(),
            said: Mutex::default(),
            repeats: Mutex::default(),
            calls: Mutex::default(),
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
    pub(crate) async fn user_of(&self, project: &ProjectId) -> Result<String, StoreError> {
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

    /// What stands for the user of a project in the paths of its files.
    pub(crate) async fn folder_of(&self, project: &ProjectId) -> Result<String, StoreError> {
        Ok(as_part(&self.user_of(project).await?))
    }

    /// Whether this part of a path stands for the user of a project, or did before the project had an owner.
    pub(crate) async fn is_folder_of(&self, part: &str, project: &ProjectId) -> Result<bool, StoreError> {
        Ok(part == as_part(project.as_str()) || part == self.folder_of(project).await?)
    }

    async fn read_owners(&self, now: Timestamp) -> Result<BTreeMap<ProjectId, String>, StoreError> {
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
        filter: TaskFilter,
        most: usize,
        keep: impl Fn(&Task) -> bool,
    ) -> Result<Vec<Task>, ApiError> {
        let mut pieces = self.pieces(caller, filter)?;
        let mut found = Vec::new();
        while found.len() < most
            && let Some(piece) = self.piece(caller, &mut pieces).await?
        {
            found.extend(piece.into_iter().filter(|task| keep(task)));
        }
        found.truncate(most);
        Ok(found)
    }

    /// The same of all tasks of a filter, without their params and errors, so that many of them take little room.
    pub(crate) async fn light_tasks(
        &self,
        caller: &Caller,
        filter: TaskFilter,
        most: usize,
    ) -> Result<Vec<Task>, ApiError> {
        let mut pieces = self.pieces(caller, filter)?;
        let empty = Payload::from_value(&serde_json::json!({}));
        let mut found = Vec::new();
        while found.len() < most
            && let Some(piece) = self.piece(caller, &mut pieces).await?
        {
            found.extend(piece.into_iter().map(|task| Task { params: empty.clone(), error: None, ..task }));
        }
        found.truncate(most);
        Ok(found)
    }

    /// Begins to read the tasks of a filter that the caller sees.
    pub(crate) fn pieces(&self, caller: &Caller, mut filter: TaskFilter) -> Result<Pieces, ApiError> {
        caller.narrow(&mut filter.project, &mut filter.queue)?;
        Ok(Pieces { filter, after: None, looked: 0, is_over: false })
    }

    /// The next of them; none when all, or [`LOOKED_THROUGH`] of all callers' tasks, were read.
    pub(crate) async fn piece(
        &self,
        caller: &Caller,
        pieces: &mut Pieces,
    ) -> Result<Option<Vec<Task>>, ApiError> {
        if pieces.is_over || pieces.looked >= LOOKED_THROUGH {
            return Ok(None);
        }
        let request = PageRequest { after: pieces.after.take(), ..PageRequest::first(PIECE) };
        let Page { mut items, next } = self.app.store.tasks(pieces.filter.clone(), request).await?;
        pieces.looked += items.len();
        pieces.is_over = next.is_none();
        pieces.after = next;
        items.retain(|task| caller.sees(task));
        Ok(Some(items))
    }

    /// Keeps the word that a task runs, and what it is said to have put out.
    pub(crate) fn say(&self, task: &Task, output: Option<String>) {
        self.note(task, |words| {
            words.started = Some(words.at);
            words.output = output.or(words.output.take());
        });
    }

    /// Keeps what a task that runs is said to have found, until its record is written.
    pub(crate) fn say_result(&self, task: &Task, result: Option<Payload>) {
        self.note(task, |words| words.result = result);
    }

    fn note(&self, task: &Task, change: impl FnOnce(&mut Words)) {
        let (at, attempt) = (self.app.now(), task.head.attempt);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= WORDS_KEPT && !said.contains_key(&task.head.id) {
            said.pop_first();
        }
        let before = said.remove(&task.head.id).filter(|words| words.attempt == attempt);
        let mut words = Words { attempt, at, ..before.unwrap_or_default() };
        change(&mut words);
        said.insert(task.head.id, words);
    }

    /// What was last said of a task that runs.
    pub(crate) fn said(&self, task: &Task) -> Option<Words> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let words = said.get(&task.head.id)?;
        let runs = matches!(task.head.state, TaskState::Running(_)) && words.attempt == task.head.attempt;
        runs.then(|| words.clone())
    }

    /// Counts a call of a function that so many are allowed of in a minute; if it is one too many, says for how long to wait.
    pub(crate) fn counts(&self, token: TokenId, function: &'static str, most: u32) -> Option<Duration> {
        let now = self.app.now();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // Also what is of later, as after a clock was set back.
        calls.retain(|_, calls| calls.since <= now && now.since(calls.since) < MINUTE);
        let calls = calls.entry((token, function)).or_insert(Calls { since: now, times: 0 });
        if calls.times >= most {
            return Some(MINUTE.saturating_sub(now.since(calls.since)));
        }
        calls.times += 1;
        None
    }

    /// How often the attempt of a task was answered once more, this time included.
    pub(crate) fn repeated(&self, task: &Task) -> u32 {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if repeats.len() >= WORDS_KEPT && !repeats.contains_key(&task.head.id) {
            repeats.pop_first();
        }
        let (attempt, times) = repeats.entry(task.head.id).or_default();
        if *attempt != task.head.attempt {
            (*attempt, *times) = (task.head.attempt, 0);
        }
        *times += 1;
        *times
    }

    /// Forgets what was said of a task that has ended.
    pub(crate) fn hush(&self, task: TaskId) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }
}
