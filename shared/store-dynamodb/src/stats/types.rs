//! Which types of a queue are counted under their own names.
//!
//! A queue's counts lie in one item for each part, and an item holds 400 KB: some 3,100 long names. So only the first
//! [`Stats::TYPES`] types of a queue are counted by name, and all others together. Which are named is written in an item beside
//! the counts, one for each epoch, in which a name is added and never removed: every process decides the same about a
//! type for ever, so that a task is taken off where it was added. A rebuild begins a new epoch, and names anew.
//!
//! Why not give the room of a type that is gone to another? Tasks of the other type are counted among the rest by then, and would
//! be taken off under a name that they were never added to. `docs/decisions/0015-counted-types.md` has what else was rejected.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_model::{QueueName, TaskType};
use baton_store::{Stats, StoreError};

use crate::attr::{Fields, Item, n, texts};
use crate::db::Db;
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::keys;
use crate::transition::ROUNDS;

/// The attribute that holds the names.
const NAMED: &str = "t";

/// The number that stands for an epoch where the processes count.
pub(crate) const OF_PROCESSES: u32 = 0;

/// After how many transactions a process looks for counts that are zero. A look is 4 reads, and a transaction at least 6 write
/// units: less than a hundredth of the cost.
const LOOK_AFTER: u32 = 64;

/// Of how many queues and epochs it is remembered which types are named: up to 64 MB. Then all are forgotten, and read again.
const QUEUES: usize = 1_000;

/// What is known of a queue's named types in an epoch.
#[derive(Debug)]
struct Known {
    named: HashSet<TaskType>,
    /// How many transactions have changed the queue's counts since zeros were looked for.
    changes: u32,
}

impl Known {
    /// Those of these types that are counted by name; none if that is still to be found out, as some might be given one.
    fn of(&self, types: &BTreeSet<TaskType>) -> Option<HashSet<TaskType>> {
        let named: HashSet<_> = types.iter().filter(|one| self.named.contains(*one)).cloned().collect();
        (named.len() == types.len() || self.named.len() >= Stats::TYPES).then_some(named)
    }
}

/// What a process knows of the named types.
#[derive(Debug, Default)]
pub(crate) struct Types(Mutex<HashMap<(QueueName, u32), Known>>);

fn names(item: Option<&Item>) -> Result<HashSet<TaskType>, StoreError> {
    let names = item.map_or(Ok(&[][..]), |item| Fields(item).set_of_texts(NAMED))?;
    Ok(names.iter().map(|name| TaskType::from_stored(name.as_str())).collect())
}

impl Types {
    fn lock(&self) -> MutexGuard<'_, HashMap<(QueueName, u32), Known>> {
        // What is in it is whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to look for counts of a queue that are zero, now that they were changed once more.
    pub(crate) fn is_time_to_tidy(&self, queue: &QueueName, epoch: u32) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&(queue.clone(), epoch)) else { return false };
        known.changes = (known.changes + 1) % LOOK_AFTER;
        known.changes == 0
    }

    /// Notes which types are named.
    fn note(&self, place: &(QueueName, u32), named: HashSet<TaskType>) {
        let mut all = self.lock();
        if all.len() >= QUEUES && !all.contains_key(place) {
            all.clear();
        }
        match all.get_mut(place) {
            Some(known) => known.named = named,
            None => _ = all.insert(place.clone(), Known { named, changes: 0 }),
        }
    }

    /// Those of these types of a queue that are counted by name. A type that is new is given a name of its own while there is
    /// room. What a process has seen once costs nothing again.
    pub(crate) async fn named(
        &self,
        db: &Db,
        queue: &QueueName,
        epoch: u32,
        types: &BTreeSet<TaskType>,
    ) -> Result<HashSet<TaskType>, StoreError> {
        let place = (queue.clone(), epoch);
        if types.is_empty() {
            return Ok(HashSet::new());
        }
        if let Some(named) = self.lock().get(&place).and_then(|known| known.of(types)) {
            return Ok(named);
        }
        let item = keys::named_types(queue, epoch);
        let mut all = names(db.get(item.clone()).await?.as_ref())?;
        for _ in 0..ROUNDS {
            let known = Known { named: all, changes: 0 };
            if let Some(named) = known.of(types) {
                self.note(&place, known.named);
                return Ok(named);
            }
            // As many as there is room for; which of them does not matter, as it holds for ever.
            let room = Stats::TYPES - known.named.len();
            let new: Vec<_> = types
                .iter()
                .filter(|one| !known.named.contains(*one))
                .take(room)
                .map(TaskType::to_string)
                .collect();
            let most = Stats::TYPES - new.len();
            let update = Expression::new().when_set_within(NAMED, n(most)).add(NAMED, texts(new));
            all = match db.update(item.clone(), &update).await {
                Ok(item) => names(Some(&item))?,
                Err(WriteError::Condition(item)) => names(item.as_ref())?,
                Err(WriteError::Failed(error)) => return Err(error),
            };
        }
        Err(contended("the named types of a queue"))
    }
}
