//! What is connected with a task by dependencies: all that it waits for, and all that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_model::dependency::order;
use baton_model::{Generation, IfDependencyFails, ProjectId, QueueName, State, TaskId, TaskType, Timestamp};

use crate::query::Cursor;
use crate::{StoreError, TaskStore};

/// A task as a graph shows it, with its edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Linked {
    /// The task.
    pub id: TaskId,
    /// Its project, which all of a graph share.
    pub project: ProjectId,
    /// Its queue.
    pub queue: QueueName,
    /// Its type.
    pub task_type: TaskType,
    /// Its state.
    pub state: State,
    /// How often it has been claimed.
    pub attempt: u32,
    /// From when on it may be claimed.
    pub run_after: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its latest attempt was claimed, if one was.
    pub claimed_at: Option<Timestamp>,
    /// When it finished; none while it is not.
    pub finished_at: Option<Timestamp>,
    /// What it depends on.
    pub depends_on: Vec<TaskId>,
    /// What becomes of it if one of these fails.
    pub if_dependency_fails: IfDependencyFails,
    /// What depends on it, the first [`Linked::DEPENDANTS`].
    pub dependants: Vec<TaskId>,
    /// Whether more depend on it.
    pub more_dependants: bool,
}

impl Linked {
    /// How many dependants are given with a task.
    pub const DEPENDANTS: usize = baton_model::limits::GRAPH_TASKS;
}

/// What a dependency has put out, as it comes along with a task that is claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The dependency.
    pub task: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// Its state.
    pub state: State,
    /// Its generation, if it is completed. Metadata and result are there if they have no more than
    /// [`baton_model::limits::INPUT_BYTES`].
    pub generation: Option<Generation>,
    /// What was left out of it.
    pub omitted: Omitted,
}

/// Which parts of an output are too large to come along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    /// The metadata.
    pub metadata: bool,
    /// The result.
    pub result: bool,
}

impl Input {
    /// Of a dependency without a generation.
    pub fn of(task: TaskId, task_type: TaskType, state: State) -> Self {
        Self { task, task_type, state, generation: None, omitted: Omitted::default() }
    }
}

/// Looks at some blocked tasks, and lets go of those that need not wait any longer: for what a process did not live to do, and for
/// what came from another store.
#[derive(Clone, Debug)]
pub struct Mend {
    /// The time.
    pub now: Timestamp,
    /// How many blocked tasks to look at, about.
    pub limit: u32,
    /// Where the look before has ended; none for the beginning.
    pub after: Option<Cursor>,
}

/// The answer to [`Mend`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Tasks that came into their queues.
    pub unblocked: u64,
    /// Tasks that ended because a dependency had not completed.
    pub ended: u64,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// All that a task waits for and all that waits for it, however far, the nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The tasks; the one that was asked for is the first.
    pub tasks: Vec<Linked>,
    /// Whether there are more than are shown.
    pub more: bool,
    /// The tasks that the time goes by, the first one first: see [`Graph::of`].
    pub critical_path: Vec<TaskId>,
    /// For how long they have been at it: from the creation of the first to the end of the last, or to now.
    pub age: Duration,
}

impl Graph {
    /// Reads the graph around a task, up to `most` tasks, as far as `shown` says. Its tasks are not read at one moment.
    ///
    /// # Errors
    /// [`StoreError::TaskNotFound`] of the task itself.
    pub async fn around(
        store: &dyn TaskStore,
        id: TaskId,
        most: usize,
        shown: impl Fn(&Linked) -> bool,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut seen = BTreeSet::from([id]);
        let mut tasks: Vec<Linked> = Vec::new();
        let mut more = false;
        // Upwards only what a task waits for is followed, downwards only what waits for it: else a task that many share
        // would bring all of them along.
        let mut next = BTreeMap::from([(id, (true, true))]);
        while !next.is_empty() {
            let ways = std::mem::take(&mut next);
            for linked in store.linked(ways.keys().copied().collect()).await?.into_iter().filter(&shown) {
                let (up, down) = ways.get(&linked.id).copied().unwrap_or_default();
                more |= down && linked.more_dependants;
                let ups = linked.depends_on.iter().filter(|_| up).map(|id| (*id, (true, false)));
                let downs = linked.dependants.iter().filter(|_| down).map(|id| (*id, (false, true)));
                for (id, way) in ups.chain(downs) {
                    if seen.contains(&id) {
                        continue;
                    }
                    if seen.len() >= most {
                        more = true;
                        break;
                    }
                    seen.insert(id);
                    next.insert(id, way);
                }
                tasks.push(linked);
            }
        }
        if tasks.is_empty() {
            return Err(StoreError::TaskNotFound(id));
        }
        Ok(Self::of(tasks, more, now))
    }

    /// The graph of these tasks. Its critical path ends with the task that ended last, or of those that have not ended the one
    /// whose path has begun first, and goes back from each task to the dependency that it waited for longest: the one that
    /// ended last, where one that has not ended is later than any that has.
    pub fn of(tasks: Vec<Linked>, more: bool, now: Timestamp) -> Self {
        let places: BTreeMap<TaskId, usize> = tasks.iter().map(|task| task.id).zip(0..).collect();
        let edges: Vec<Vec<usize>> = tasks
            .iter()
            .map(|task| task.depends_on.iter().filter_map(|id| places.get(id).copied()).collect())
            .collect();
        // When each task's path begins, and the task before it there.
        let mut begins: Vec<(Timestamp, Option<usize>)> =
            tasks.iter().map(|task| (task.created_at, None)).collect();
        // Tasks that are not read at one moment may not be without a circle, if ids were used again: each is a path of its own then.
        for place in order(&edges).unwrap_or_default() {
            let before = edges[place].iter().copied().max_by_key(|one| {
                let end = tasks[*one].finished_at.unwrap_or(Timestamp::MAX);
                (end, std::cmp::Reverse(begins[*one].0), tasks[*one].id)
            });
            if let Some(before) = before {
                begins[place] = (begins[before].0, Some(before));
            }
        }
        let waited_for: BTreeSet<TaskId> = tasks
            .iter()
            .filter(|one| one.finished_at.is_none())
            .flat_map(|one| &one.depends_on)
            .copied()
            .collect();
        let last = (0..tasks.len()).max_by_key(|place| {
            let end = tasks[*place].finished_at.unwrap_or(Timestamp::MAX);
            let is_last = !waited_for.contains(&tasks[*place].id);
            (end, is_last, std::cmp::Reverse(begins[*place].0), tasks[*place].id)
        });
        let path: Vec<usize> = std::iter::successors(last, |place| begins[*place].1).collect();
        let begin = path.last().map_or(now, |first| tasks[*first].created_at);
        let end = last.and_then(|last| tasks[last].finished_at).unwrap_or(now);
        let critical_path = path.into_iter().rev().map(|place| tasks[place].id).collect();
        let age = end.since(begin);
        Self { tasks, more, critical_path, age }
    }
}
