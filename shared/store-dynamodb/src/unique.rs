//! Unique keys.
//!
//! An item says who was given a key last; whether that task holds it still, its own item says. So the write that ends a task frees
//! its key, and whoever creates a task or has one live again writes the key's item in the same transaction, on the condition that it
//! is as it was when its holder was looked at. Each such write leaves a mark of its own, by which that is told. Removing the item
//! of a key whose task has ended only tidies up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::TransactWriteItem;
use baton_model::transition::{Decision, decide};
use baton_model::{ProjectId, QueueName, State, Task, TaskId, TaskSpec, Timestamp, Unique};
use baton_store::unique::{First, after_firsts, firsts, held_by};
use baton_store::{Accepted, Create, Retry, StoreError};

use crate::attr::{Fields, Item, key, n, s, time};
use crate::error::{TransactError, WriteError, contended, damaged};
use crate::expression::Expression;
use crate::row::Stored;
use crate::store::Inner;
use crate::transition::{Outcome, ROUNDS, is_marked};

/// How long DynamoDB keeps the item of a key after a time has freed it, in seconds: clocks differ.
const KEPT_S: i64 = 3_600;

/// A key as it was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The mark of its item, if there is one.
    mark: Option<u64>,
    /// Who holds it.
    holder: Option<Stored>,
}

/// What becomes of a batch by its unique keys.
pub(crate) struct Kept<'a> {
    /// The tasks, with the holders of keys in the place of those that are not created.
    pub(crate) specs: Cow<'a, [TaskSpec]>,
    /// Who holds the keys of those that are not created.
    pub(crate) firsts: BTreeMap<usize, First>,
    /// The keys of those that are, as they were found.
    pub(crate) seen: BTreeMap<usize, Seen>,
}

/// A key that a task asks for.
type Key<'a> = (&'a ProjectId, &'a QueueName, &'a Unique);

const SORT: &str = "UK";

fn partition((project, queue, unique): Key<'_>) -> String {
    format!("UK#{project}#{queue}#{}", unique.key)
}

fn key_of(spec: &TaskSpec) -> Option<Key<'_>> {
    Some((&spec.project, &spec.queue, spec.unique.as_ref()?))
}

fn key_item(of: Key<'_>) -> Item {
    key(&partition(of), SORT)
}

/// The item of a key that a task holds from an event of its own on.
fn held_item(of: Key<'_>, (id, created_at, event): (TaskId, Timestamp, u32), mark: u64) -> Item {
    let (.., unique) = of;
    let mut item = key_item(of);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("tk", s(id.to_string()));
    put("ca", time(created_at));
    put("ev", n(event));
    put("nc", n(mark));
    if let Some(free_at) = unique.free_at(created_at) {
        put("xp", n(free_at.as_millis() / 1_000 + KEPT_S));
    }
    item
}

impl Seen {
    /// The task that holds it, unless it is this one.
    pub(crate) fn other_holder(&self, id: TaskId) -> Option<TaskId> {
        self.holder.as_ref().map(|holder| holder.head.id).filter(|holder| *holder != id)
    }

    /// The condition that the key is as it was found.
    fn still(&self) -> Expression {
        Expression::new().when_still("nc", self.mark.map(n))
    }
}

impl Inner {
    /// Keys as they are now, by the places of what asks for them. A key is read before its holder: so a holder that has ended by
    /// then is none, and what becomes of its key after that shows as another mark.
    async fn see_keys(
        &self,
        asked: impl Iterator<Item = (usize, Key<'_>)>,
        now: Timestamp,
    ) -> Result<BTreeMap<usize, Seen>, StoreError> {
        let asked: BTreeMap<usize, String> = asked.map(|(place, key)| (place, partition(key))).collect();
        let partitions: BTreeSet<&String> = asked.values().collect();
        let items = self.db.get_all(partitions.into_iter().map(|pk| key(pk, SORT)).collect()).await?;
        let mut given = HashMap::new();
        for item in &items {
            let fields = Fields(item);
            let id: TaskId =
                fields.text("tk")?.parse().map_err(|_| damaged("expected a task's id in a unique key"))?;
            given.insert(fields.text("pk")?, (id, fields.time("ca")?, fields.number::<u64>("nc")?));
        }
        let holders = self.tasks_by_id(given.values().map(|(id, ..)| *id).collect()).await?;
        let seen = |asked: &String| {
            let Some((id, since, mark)) = given.get(asked.as_str()) else { return Seen::default() };
            // The task that had it may be gone, and another one of its id be there; or it has gone to another queue, with its key.
            let is_its = |stored: &&Stored| {
                let own = held(stored, now).map(|unique| partition((&stored.project, &stored.queue, unique)));
                stored.created_at == *since && own.as_ref() == Some(asked)
            };
            Seen { mark: Some(*mark), holder: holders.get(id).filter(is_its).cloned() }
        };
        Ok(asked.into_iter().map(|(place, partition)| (place, seen(&partition))).collect())
    }

    /// Leaves out the new tasks of a batch whose keys others hold.
    pub(crate) async fn keep_unique<'a>(
        &self,
        create: &'a Create,
        is_new: impl Fn(usize) -> bool,
    ) -> Result<Kept<'a>, StoreError> {
        let new = create.tasks.iter().enumerate().filter(|(place, _)| is_new(*place));
        let asked = new.filter_map(|(place, spec)| Some((place, key_of(spec)?)));
        let mut seen = self.see_keys(asked, create.now).await?;
        if seen.is_empty() {
            return Ok(Kept { specs: Cow::Borrowed(&create.tasks), firsts: BTreeMap::new(), seen });
        }
        let holder = |place: usize| -> Option<Accepted> {
            let stored = seen.get(&place)?.holder.as_ref()?;
            Some(held_by(&stored.head, stored.created_at, create.now))
        };
        let firsts = firsts(&create.tasks, is_new, holder);
        let specs = Cow::Owned(after_firsts(&create.tasks, &firsts));
        seen.retain(|place, _| !firsts.contains_key(place));
        Ok(Kept { specs, firsts, seen })
    }

    /// Gives a new task its key, if that is as it was found.
    pub(crate) fn hold_write(
        &self,
        spec: &TaskSpec,
        seen: &Seen,
        created_at: Timestamp,
        mark: u64,
    ) -> Result<Option<TransactWriteItem>, StoreError> {
        let Some(of) = key_of(spec) else { return Ok(None) };
        let item = held_item(of, (spec.id, created_at, 1), mark);
        self.db.put_write(item, &seen.still()).map(Some)
    }

    /// Puts a finished task back, with its key if it had one; gives the state that it came to.
    pub(crate) async fn put_back(
        &self,
        mut before: Stored,
        retry: &Retry,
        outlook: baton_model::Outlook,
        with: Option<TaskId>,
    ) -> Result<State, StoreError> {
        let id = before.head.id;
        let Some(unique) = before.rest()?.unique.clone().filter(Unique::follows_state) else {
            let command = retry.command(outlook, None, with);
            return match self.apply_to(before, &command, retry.now).await? {
                Outcome::Applied(after) | Outcome::Repeated(after) => Ok(after.head.state.state()),
            };
        };
        for _ in 0..ROUNDS {
            let (project, queue) = (before.project.clone(), before.queue.clone());
            let of = (&project, &queue, &unique);
            let seen = self.see_keys([(0, of)].into_iter(), retry.now).await?.remove(&0).unwrap_or_default();
            let holder = seen.other_holder(id);
            let command = retry.command(outlook, holder, with);
            let change = match decide(&before.head, &command, retry.now) {
                Err(refusal) => return Err(StoreError::Refused { task: id, refusal }),
                Ok(Decision::Repeat) => return Ok(before.head.state.state()),
                Ok(Decision::Apply(change)) => change,
            };
            self.undate_what_is_apart(&before).await?;
            let mark = self.mark(&(&command, retry.now));
            let update = self.update_of(&before, &change, retry.now, mark).await?;
            let item = held_item(of, (id, before.created_at, change.head.events), mark);
            let writes = vec![
                self.db.update_write(self.task_key(id), &update)?,
                self.db.put_write(item, &seen.still())?,
            ];
            let is_written = match self.db.transact(writes, &format!("retry#{id}#{mark}")).await {
                Ok(()) => true,
                Err(TransactError::Failed(error)) => return Err(error),
                Err(TransactError::Conditions(told)) => {
                    let standing = told.iter().filter_map(|(_, item)| item.as_ref());
                    let marked = standing.map(|item| is_marked(item, mark));
                    marked.collect::<Result<Vec<_>, StoreError>>()?.contains(&true)
                }
            };
            if is_written {
                let after = Stored { head: change.head, ends: None, ..before.clone() };
                self.changed(&before, &after, retry.now);
                self.leave(&before, &after, retry.now).await;
                self.note_in_batch(&after, before.head.state.state(), retry.now).await;
                return Ok(after.head.state.state());
            }
            before = self.known(id).await?;
        }
        Err(contended("the task's unique key"))
    }

    /// What a change of its queue asks of the key that a task holds: that it is free there, as it was found.
    pub(crate) async fn see_key_in(
        &self,
        stored: &Stored,
        queue: &QueueName,
        now: Timestamp,
    ) -> Result<Option<Seen>, StoreError> {
        let Some(unique) = held(stored, now) else { return Ok(None) };
        let of = (&stored.project, queue, unique);
        let seen = self.see_keys([(0, of)].into_iter(), now).await?.remove(&0);
        Ok(Some(seen.unwrap_or_default()))
    }

    /// Has a task hold its key in another queue from an event of its own on, if the key is as it was found there.
    pub(crate) fn take_key_write(
        &self,
        stored: &Stored,
        (queue, seen): (&QueueName, &Seen),
        event: u32,
        mark: u64,
    ) -> Result<Option<TransactWriteItem>, StoreError> {
        let Some(unique) = &stored.rest()?.unique else { return Ok(None) };
        let item =
            held_item((&stored.project, queue, unique), (stored.head.id, stored.created_at, event), mark);
        self.db.put_write(item, &seen.still()).map(Some)
    }

    /// Removes the item of a key that a task has taken along to another queue; its write has freed it.
    pub(crate) async fn tidy_key_left(&self, before: &Stored) {
        if let Some(unique) = before.rest.as_ref().and_then(|rest| rest.unique.as_ref()) {
            self.forget_key(before, unique).await;
        }
    }

    /// Removes the item of a key whose task has ended. The end itself has freed it: what could not be removed is told to the log,
    /// and stays until the key is used again.
    pub(crate) async fn tidy_key(&self, ended: &Stored) {
        let Some(rest) = ended.rest.as_ref() else { return };
        if let Some(unique) = rest.unique.as_ref().filter(|unique| unique.follows_state()) {
            self.forget_key(ended, unique).await;
        }
    }

    async fn forget_key(&self, ended: &Stored, unique: &Unique) {
        // Not of a task that holds it again: its retry, or its return to the queue, has written an event of a higher number.
        let its_own = Expression::new()
            .when("tk", "=", s(ended.head.id.to_string()))
            .when("ca", "=", time(ended.created_at))
            .when("ev", "<=", n(ended.head.events));
        let key = key_item((&ended.project, &ended.queue, unique));
        if let Err(WriteError::Failed(error)) = self.db.delete(key, &its_own).await {
            tracing::warn!(
                task_id = %ended.head.id,
                error = error.report(),
                "the item of a unique key that its task holds no longer stays in the table"
            );
        }
    }

    /// Gives a task that comes from another store its key, unless a later one has come before it.
    pub(crate) async fn import_unique(&self, task: &Task) -> Result<(), StoreError> {
        let Some(unique) = &task.unique else { return Ok(()) };
        let of = (&task.project, &task.queue, unique);
        let (id, created_at) = (task.head.id, task.created_at);
        if unique.follows_state() && task.head.state.state().is_final() {
            let its_own = Expression::new().when("tk", "=", s(id.to_string()));
            return match self.db.delete(key_item(of), &its_own).await {
                Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
                Err(WriteError::Failed(error)) => Err(error),
            };
        }
        let mark = self.mark(&(id, task.head.events));
        let item = held_item(of, (id, created_at, task.head.events), mark);
        let no_later = Expression::new().when_absent_or("ca", "<=", time(created_at));
        match self.db.put(item, no_later).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}

/// The key that a task holds.
fn held(stored: &Stored, now: Timestamp) -> Option<&Unique> {
    let holds = |unique: &&Unique| unique.holds(stored.head.state.state(), stored.created_at, now);
    stored.rest.as_ref()?.unique.as_ref().filter(holds)
}
