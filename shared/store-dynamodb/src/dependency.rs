//! Tasks that wait for others. An edge lies with the task that waits (`dp`); what lies with the dependency is an index of its
//! dependants (a partition of small items), and a mark on its own item (`kept.rs`) that says to look there: so a task that
//! nobody waits for costs nothing more.
//!
//! A blocked task is made in steps, each of which may be done again: the items of the index, and the marks of what was there
//! before; then the tasks, all blocked, in one transaction; then a look at what they depend on, so that what has ended by then is
//! taken for met, or for failed. Whatever ends after that look finds the mark, as that it is absent is a condition of its
//! write, and the dependant in the index. What a process does not live to do, the table's stream does ([`Inner::released_by`]),
//! and [`Inner::mend`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use baton_model::dependency::outlook;
use baton_model::transition::{Command, Refusal};
use baton_model::{
    Dependency, FirstFailure, IfDependencyFails, Outlook, ProjectId, State, Task, TaskId, TaskSpec,
    TaskState, Timestamp,
};
use baton_store::batch::{self, Item as Kind};
use baton_store::{Cancel, Cursor, Input, ItemRefusal, Linked, Mend, Mended, Retry, StoreError};

use crate::attr::{Fields, Item, key, time};
use crate::codes::Code as _;
use crate::db::{Query, Range};
use crate::generation::StoredGeneration;
use crate::kept::{MARK, dependant};
use crate::keys;
use crate::row::Stored;
use crate::store::Inner;
use crate::stream::Record;
use crate::transition::Outcome;

/// How many tasks the process that ends one lets go of itself; the rest is left to [`Inner::mend`].
const HINT: usize = 1_000;

/// How many tasks one record of the stream lets go of that whoever ended the task has not: as many as a function does within its
/// time.
const RELAYED: usize = 1_000;

/// What became of a blocked task.
enum Settled {
    Unblocked,
    /// It ended, and others may wait for it.
    Ended(Box<Stored>),
}

impl Inner {
    /// The refusals of the tasks of a batch that depend on what they cannot depend on.
    pub(crate) async fn dependency_refusals(
        &self,
        specs: &[TaskSpec],
        kinds: &[Kind],
        gone: &BTreeSet<TaskId>,
    ) -> Result<BTreeMap<usize, ItemRefusal>, StoreError> {
        let mut ids: BTreeSet<TaskId> = specs.iter().flat_map(|spec| &spec.depends_on).copied().collect();
        ids.retain(|id| !gone.contains(id));
        for (spec, _) in specs.iter().zip(kinds).filter(|(_, kind)| **kind == Kind::New) {
            // That is not there yet.
            ids.remove(&spec.id);
        }
        let found = self.tasks_by_id(ids).await?;
        let mut projects: HashMap<TaskId, ProjectId> = HashMap::new();
        for (id, stored) in found {
            projects.insert(id, stored.project.clone());
        }
        Ok(batch::refusals(specs, kinds, |id| projects.get(&id).cloned()))
    }

    /// These tasks as of now, those that exist.
    pub(crate) async fn tasks_by_id(
        &self,
        ids: BTreeSet<TaskId>,
    ) -> Result<HashMap<TaskId, Stored>, StoreError> {
        let keys: Vec<Item> = ids.into_iter().map(|id| self.task_key(id)).collect();
        let mut found = HashMap::new();
        for item in self.db.get_all(keys).await? {
            let stored = Stored::read(&item)?;
            if !stored.purged {
                found.insert(stored.head.id, stored);
            }
        }
        Ok(found)
    }

    /// Writes the index of the dependants of what these tasks wait for. It comes before them, so that whoever looks for a
    /// dependant that is there finds it; one that never comes to be is passed over.
    pub(crate) async fn index_dependants(
        &self,
        edges: Vec<(TaskId, TaskId)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let entry = |(dependency, dependant): (TaskId, TaskId)| {
            let mut entry = key(&keys::dependants(dependency), &dependant.to_string());
            entry.insert("at".to_owned(), time(now));
            entry
        };
        self.db.put_all(edges.into_iter().map(entry).collect()).await
    }

    /// What precedes the creation of tasks that wait for others, some of which come `within` the same batch: that they can be
    /// found from what they depend on, and that this is kept for them. Says which dependencies are gone.
    pub(crate) async fn before_creation(
        &self,
        specs: &[&TaskSpec],
        within: &BTreeSet<TaskId>,
        dependencies: &BTreeSet<TaskId>,
        now: Timestamp,
    ) -> Result<BTreeSet<TaskId>, StoreError> {
        let mut edges = Vec::new();
        for spec in specs {
            edges.extend(spec.depends_on.iter().map(|one| (*one, spec.id)));
        }
        self.index_dependants(edges, now).await?;
        let (inside, outside): (BTreeSet<_>, BTreeSet<_>) =
            dependencies.iter().copied().partition(|id| within.contains(id));
        self.list_kept(inside, now).await?;
        self.keep_all(outside, now).await
    }

    /// What follows the creation of tasks that wait for others: what they depend on may have ended before. That cannot be where all
    /// of it came `within` the same batch. What fails of it is mended later.
    pub(crate) async fn after_creation(
        &self,
        specs: &[&TaskSpec],
        within: &BTreeSet<TaskId>,
        now: Timestamp,
    ) {
        let is_after_others = |spec: &&&TaskSpec| spec.depends_on.iter().any(|id| !within.contains(id));
        let specs: Vec<_> = specs.iter().filter(is_after_others).collect();
        if specs.is_empty() {
            return;
        }
        let follow = async {
            for spec in specs {
                if let Some(stored) = self.find(spec.id).await?
                    && let Some(Settled::Ended(ended)) = self.judge(stored, now).await?
                {
                    self.let_go(&ended, now, HINT).await?;
                }
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = Box::pin(follow).await {
            tracing::warn!(
                error = error.report(),
                "tasks that wait for others will be looked at by the reaper"
            );
        }
    }

    /// What the dependencies of a finished task mean to it that is about to live again: they are kept for it from here on.
    async fn outlook_again(&self, stored: &Stored, now: Timestamp) -> Result<Outlook, StoreError> {
        let (id, depends_on) = (stored.head.id, &stored.rest()?.depends_on);
        self.index_dependants(depends_on.iter().map(|one| (*one, id)).collect(), now).await?;
        let gone = self.keep_all(depends_on.iter().copied().collect(), now).await?;
        self.outlook_of(stored, &gone).await
    }

    /// What the dependencies of a task mean to it, some of which are known to be gone.
    async fn outlook_of(&self, stored: &Stored, gone: &BTreeSet<TaskId>) -> Result<Outlook, StoreError> {
        let rest = stored.rest()?;
        if rest.depends_on.is_empty() {
            return Ok(Outlook::Met);
        }
        let left = rest.depends_on.iter().copied().filter(|id| !gone.contains(id));
        let found = self.tasks_by_id(left.collect()).await?;
        let mut dependencies = Vec::with_capacity(rest.depends_on.len());
        for id in &rest.depends_on {
            let standing = found.get(id);
            let state = standing.map(|one| one.head.state.state());
            let first = match (standing, state) {
                (Some(standing), Some(state @ (State::Failed | State::Cancelled))) => {
                    let error = self.error_of(standing).await?;
                    Some(FirstFailure::of(*id, state, error.as_ref()))
                }
                _ => None,
            };
            dependencies.push(Dependency { task: *id, state, first });
        }
        Ok(outlook(rest.if_dependency_fails, dependencies))
    }

    async fn error_of(&self, stored: &Stored) -> Result<Option<baton_model::Failure>, StoreError> {
        match stored.rest()?.error_at {
            Some(seq) => Ok(self.db.event_detail(&stored.kept()?, seq).await?.error),
            None => Ok(None),
        }
    }

    /// Does what the dependencies of a blocked task ask for.
    async fn judge(&self, stored: Stored, now: Timestamp) -> Result<Option<Settled>, StoreError> {
        if stored.head.state != TaskState::Blocked {
            return Ok(None);
        }
        let command = match self.outlook_of(&stored, &BTreeSet::new()).await? {
            Outlook::Unmet => return Ok(None),
            Outlook::Met => Command::Unblock,
            Outlook::Failed(first) => {
                let fails = stored.rest()?.if_dependency_fails == IfDependencyFails::Fail;
                Command::DependencyFailed { first, fails }
            }
        };
        match self.apply_to(stored, &command, now).await {
            Ok(Outcome::Applied(after)) if after.is_final() => Ok(Some(Settled::Ended(after))),
            Ok(Outcome::Applied(_)) => Ok(Some(Settled::Unblocked)),
            // Another was faster.
            Ok(Outcome::Repeated(_))
            | Err(
                StoreError::Refused { refusal: Refusal::NotBlocked { .. }, .. } | StoreError::TaskNotFound(_),
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has those follow that wait for a task which has ended: a hint, as whatever fails of it is mended later.
    pub(crate) async fn follow(&self, after: &Stored, now: Timestamp) {
        if !after.waited_for || !after.is_final() {
            return;
        }
        if let Err(error) = Box::pin(self.let_go(after, now, HINT)).await {
            let task = tracing::field::display(after.head.id);
            tracing::warn!(
                task_id = task,
                error = error.report(),
                "what waits for a task that has ended will be looked at by the reaper"
            );
        }
    }

    /// Does what a record of the stream asks for: if it is of the end of a task that others wait for, has these follow; if it is of
    /// a task that has come to wait, looks at what that waits for. This is what makes sure of both: who wrote the record may not
    /// have lived to.
    ///
    /// # Errors
    /// The store's: the record is to come again.
    pub(crate) async fn released_by(&self, record: &str, now: Timestamp) -> Result<(), StoreError> {
        // Most have neither, and are read no further.
        if !["dp", MARK].iter().any(|name| record.contains(&format!("\"{name}\""))) {
            return Ok(());
        }
        let Some(Record { partition, was, is: Some(is), .. }) = Record::read(record)? else {
            return Ok(());
        };
        if keys::is_tick(&partition) {
            return Ok(());
        }
        let state = |item: &Item| State::of(Fields(item).number("st")?);
        let (was, is, read) = (was.as_ref().map(state).transpose()?, state(&is)?, Stored::read(&is)?);
        if was == Some(is) || was.is_some_and(State::is_final) && is.is_final() {
            return Ok(());
        }
        // As it stands by now: it may have been let go of, or live again.
        let id = read.head.id;
        if is == State::Blocked {
            if let Some(stored) = self.find(id).await?
                && let Some(Settled::Ended(ended)) = self.judge(stored, now).await?
            {
                self.let_go(&ended, now, RELAYED).await?;
            }
        } else if is.is_final()
            && read.waited_for
            && let Some(task) = self.find(id).await?
            && task.waited_for
            && task.is_final()
        {
            self.let_go(&task, now, RELAYED).await?;
        }
        Ok(())
    }

    /// Lets go of, or ends, up to so many of the tasks that wait for one, and for those that end by it.
    async fn let_go(&self, ended: &Stored, now: Timestamp, most: usize) -> Result<(), StoreError> {
        let mut left = most;
        let mut next = vec![ended.head.id];
        while let Some(id) = next.pop() {
            for stored in self.dependants_of(id).await? {
                if stored.head.state != TaskState::Blocked {
                    continue;
                }
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                if let Some(Settled::Ended(ended)) = self.judge(stored, now).await?
                    && ended.waited_for
                {
                    next.push(ended.head.id);
                }
            }
        }
        Ok(())
    }

    /// The ids of the tasks that wait for one, or have waited for it.
    async fn dependant_ids(&self, id: TaskId, most: Option<i32>) -> Result<Vec<TaskId>, StoreError> {
        let query = Query { limit: most, ..Query::table(keys::dependants(id)) };
        let found = match most {
            Some(_) => self.db.query(&query).await?,
            None => self.db.query_whole(query).await?,
        };
        found.items.iter().map(dependant).collect()
    }

    /// The tasks that wait for one, or have waited for it, in the order of their ids.
    async fn dependants_of(&self, id: TaskId) -> Result<Vec<Stored>, StoreError> {
        let ids = self.dependant_ids(id, None).await?;
        let mut found = self.tasks_by_id(ids.iter().copied().collect()).await?;
        let mut dependants: Vec<_> = ids.into_iter().filter_map(|id| found.remove(&id)).collect();
        // One whose creation was refused, or another of its id.
        dependants.retain(|one| one.depends_on(id));
        Ok(dependants)
    }

    /// Cancels a task, with its unfinished dependants first if that is asked for, the furthest first.
    pub(crate) async fn cancel(&self, cancel: &Cancel) -> Result<Task, StoreError> {
        if cancel.with_dependants {
            let stored = self.known(cancel.task).await?;
            if !matches!(stored.head.state.state(), State::Completed | State::Failed) {
                for id in self.unfinished_dependants(&stored).await? {
                    match self.apply(id, &cancel.command(Some(cancel.task)), cancel.now).await {
                        Ok(_) | Err(StoreError::Refused { .. } | StoreError::TaskNotFound(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.end(cancel.task, &cancel.command(None), cancel.now).await.map(|answer| answer.task)
    }

    /// The unfinished tasks that wait for one, however far, each after all that wait for it.
    async fn unfinished_dependants(&self, of: &Stored) -> Result<Vec<TaskId>, StoreError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        let mut stack = vec![(of.head.id, self.unfinished(of).await?)];
        while let Some((id, left)) = stack.last_mut() {
            match left.pop() {
                Some(next) if seen.insert(next.head.id) => {
                    let below = self.unfinished(&next).await?;
                    stack.push((next.head.id, below));
                }
                Some(_) => {}
                None => {
                    order.push(*id);
                    stack.pop();
                }
            }
        }
        // The task itself is the last.
        order.pop();
        Ok(order)
    }

    pub(crate) async fn unfinished(&self, of: &Stored) -> Result<Vec<Stored>, StoreError> {
        if !of.waited_for {
            return Ok(Vec::new());
        }
        let mut found = self.dependants_of(of.head.id).await?;
        found.retain(|stored| !stored.is_final());
        Ok(found)
    }

    /// Retries a task, with those that ended because it did not complete if that is asked for.
    pub(crate) async fn retry(&self, retry: &Retry) -> Result<Task, StoreError> {
        let before = self.known(retry.task).await?;
        if !retry.with_dependants || before.is_final() {
            let outlook = match before.is_final() {
                true => self.outlook_again(&before, retry.now).await?,
                // It is refused.
                false => Outlook::Met,
            };
            let after = self.put_back(before, retry, outlook, None).await?;
            // Its dependency may have ended since it was looked at.
            if after == State::Blocked {
                self.look_again(retry.task, retry.now).await?;
            }
        }
        let mut next = vec![retry.task];
        while retry.with_dependants
            && let Some(id) = next.pop()
        {
            for stored in self.dependants_of(id).await? {
                if !stored.is_final() || FirstFailure::named(self.error_of(&stored).await?.as_ref()).is_none()
                {
                    continue;
                }
                let (dependant, outlook) = (stored.head.id, self.outlook_again(&stored, retry.now).await?);
                if matches!(outlook, Outlook::Failed(_)) {
                    continue;
                }
                match self.put_back(stored, retry, outlook, Some(retry.task)).await {
                    Ok(_) => {
                        self.look_again(dependant, retry.now).await?;
                        next.push(dependant);
                    }
                    // Another was faster.
                    Err(StoreError::Refused { .. } | StoreError::TaskNotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let stored = self.known(retry.task).await?;
        self.db.known_task(stored).await
    }

    /// Looks at a blocked task after it was put back.
    async fn look_again(&self, id: TaskId, now: Timestamp) -> Result<(), StoreError> {
        if let Some(stored) = self.find(id).await?
            && let Some(Settled::Ended(ended)) = self.judge(stored, now).await?
        {
            self.follow(&ended, now).await;
        }
        Ok(())
    }

    /// Looks at some blocked tasks, and does again what follows their creation and the ends of their dependencies.
    pub(crate) async fn mend(&self, mend: &Mend) -> Result<Mended, StoreError> {
        let (part, below) = match &mend.after {
            None => (0, None),
            Some(Cursor(text)) => {
                let (part, sort) = text.split_once(' ').ok_or(StoreError::BadCursor)?;
                let part = part.parse().map_err(|_| StoreError::BadCursor)?;
                (part, Some(sort.to_owned()).filter(|sort| !sort.is_empty()))
            }
        };
        let partition = keys::blocked(part);
        let range = match below {
            Some(below) => Range::Below(below),
            None => Range::All,
        };
        let limit = i32::try_from(mend.limit).ok();
        let query = Query { range, forward: false, limit, ..Query::index(partition) };
        let page = self.db.query(&query).await?;
        let mut report = Mended::default();
        let mut last = None;
        for item in &page.items {
            last = Fields(item).maybe_text("is")?;
            self.mend_one(Stored::read(item)?.head.id, mend.now, &mut report).await?;
        }
        // One partition a call, so that a table without such tasks is asked for little.
        report.next = match (page.next, last) {
            (Some(_), Some(last)) => Some(Cursor(format!("{part} {last}"))),
            _ if part + 1 < self.spread => Some(Cursor(format!("{} ", part + 1))),
            _ => None,
        };
        Ok(report)
    }

    async fn mend_one(&self, id: TaskId, now: Timestamp, report: &mut Mended) -> Result<(), StoreError> {
        let Some(stored) = self.find(id).await?.filter(|one| one.head.state == TaskState::Blocked) else {
            return Ok(());
        };
        let depends_on = stored.rest()?.depends_on.iter().copied().collect();
        let standing = self.tasks_by_id(depends_on).await?;
        // Before the look: what ends after it hears of this one.
        let unmarked = standing.values().filter(|one| !one.waited_for).map(|one| one.head.id);
        self.keep_all(unmarked.collect(), now).await?;
        match self.judge(stored, now).await? {
            None => {}
            Some(Settled::Unblocked) => report.unblocked += 1,
            Some(Settled::Ended(ended)) => {
                report.ended += 1;
                self.follow(&ended, now).await;
            }
        }
        Ok(())
    }

    /// Tasks with their edges.
    pub(crate) async fn linked(&self, ids: &[TaskId]) -> Result<Vec<Linked>, StoreError> {
        let mut found = self.tasks_by_id(ids.iter().copied().collect()).await?;
        let mut named = HashMap::new();
        for id in ids {
            let most = i32::try_from(Linked::DEPENDANTS + 1).ok();
            named.insert(*id, self.dependant_ids(*id, most).await?);
        }
        let dependants = self.tasks_by_id(named.values().flatten().copied().collect()).await?;
        let mut linked = Vec::new();
        for id in ids {
            let Some(stored) = found.remove(id) else { continue };
            let mut of_it = named.remove(id).unwrap_or_default();
            let more_dependants = of_it.len() > Linked::DEPENDANTS;
            of_it.truncate(Linked::DEPENDANTS);
            // Some are entries of tasks whose creation was refused, or have another task under their id.
            of_it.retain(|one| dependants.get(one).is_some_and(|one| one.depends_on(*id)));
            let rest = stored.rest()?;
            linked.push(Linked {
                id: *id,
                project: stored.project.clone(),
                queue: stored.queue.clone(),
                task_type: stored.task_type.clone(),
                state: stored.head.state.state(),
                attempt: stored.head.attempt,
                run_after: stored.head.run_after,
                created_at: stored.created_at,
                claimed_at: stored.claimed_at,
                finished_at: stored.is_final().then_some(rest.updated_at),
                depends_on: rest.depends_on.clone(),
                if_dependency_fails: rest.if_dependency_fails,
                dependants: of_it,
                more_dependants,
            });
        }
        Ok(linked)
    }

    /// What tasks have put out, as far as it lies with the generations' own items.
    pub(crate) async fn inputs(&self, ids: &[TaskId]) -> Result<Vec<Input>, StoreError> {
        let mut found = self.tasks_by_id(ids.iter().copied().collect()).await?;
        let generation_of = |stored: &Stored| match stored.head.state {
            TaskState::Completed { generation, .. } => Some(generation),
            _ => None,
        };
        let wanted: BTreeSet<_> = found.values().filter_map(generation_of).collect();
        let keys = wanted.into_iter().map(|id| self.generation_key(id)).collect();
        let mut generations = HashMap::new();
        for item in self.db.get_all(keys).await? {
            let stored = StoredGeneration::read(&item)?;
            generations.insert(stored.plain().task, stored);
        }
        let mut inputs = Vec::new();
        for id in ids {
            let Some(stored) = found.remove(id) else { continue };
            let state = stored.head.state.state();
            let mut input = Input::of(*id, stored.task_type, state);
            if let Some(generation) = generations.remove(id) {
                let (generation, omitted) = generation.small()?;
                (input.generation, input.omitted) = (Some(generation), omitted);
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    /// Brings in line what is kept of a task's edges when it comes from another store; says whether others depend on it.
    pub(crate) async fn import_edges(&self, task: &Task) -> Result<bool, StoreError> {
        let id = task.head.id;
        let edges = task.depends_on.iter().map(|one| (*one, id)).collect();
        self.index_dependants(edges, task.updated_at).await?;
        let depended_on = !self.dependant_ids(id, Some(1)).await?.is_empty();
        if depended_on {
            self.list_kept([id], task.updated_at).await?;
        }
        Ok(depended_on)
    }

    /// Keeps what an imported task depends on; what comes later finds it by itself.
    pub(crate) async fn keep_imported(&self, task: &Task) -> Result<(), StoreError> {
        if task.head.state.state().is_final() {
            return Ok(());
        }
        let depends_on = task.depends_on.iter().copied().collect();
        self.keep_all(depends_on, task.updated_at).await.map(drop)
    }
}
