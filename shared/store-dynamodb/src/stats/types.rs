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
use std::sync::{Mutex, PoisonError};

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

/// What is known of a queue's named types in an epoch.
#[derive(Debug, Default)]
struct Known {
    named: HashSet<TaskType>,
    read: bool,
    /// How many transactions have changed the queue's counts since zeros were looked for.
    changes: u32,
}

/// After how many transactions a process looks for counts that are zero. A look is 4 reads, and a transaction at least 6 write
/// units: less than a hundredth of the cost.
const LOOK_AFTER: u32 = 64;

impl Known {
    fn of(item: Option<&Item>) -> Result<Self, StoreError> {
        let names = item.map_or(Ok(&[][..]), |item| Fields(item).set_of_texts(NAMED))?;
        Ok(Self {
            named: names.iter().map(|name| TaskType::from_stored(name.as_str())).collect(),
            read: true,
            changes: 0,
        })
    }

    fn is_full(&self) -> bool {
        self.named.len() >= Stats::TYPES
    }
}

/// What a process knows of the named types.
#[derive(Debug, Default)]
pub(crate) struct Types(Mutex<HashMap<(QueueName, u32), Known>>);

impl Types {
    /// Whether it is time to look for counts of a queue that are zero, now that they were changed once more.
    pub(crate) fn is_time_to_tidy(&self, queue: &QueueName, epoch: u32) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(&(queue.clone(), epoch)) else { return false };
        known.changes += 1;
        let is_time = known.changes >= LOOK_AFTER;
        if is_time {
            known.changes = 0;
        }
        is_time
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
        let item = keys::named_types(queue, epoch);
        for _ in 0..ROUNDS {
            let (known, new) = {
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let known = all.entry(place.clone()).or_default();
                let new: Vec<_> = types.iter().filter(|one| !known.named.contains(*one)).cloned().collect();
                if new.is_empty() || known.is_full() {
                    return Ok(types.iter().filter(|one| known.named.contains(*one)).cloned().collect());
                }
                (known.read.then_some(known.named.len()), new)
            };
            let seen = match known {
                None => Known::of(db.get(item.clone()).await?.as_ref())?,
                Some(known) => {
                    // As many as there is room for; which of them does not matter, as it holds for ever.
                    let new: Vec<_> = new.into_iter().take(Stats::TYPES - known).collect();
                    let most = Stats::TYPES - new.len();
                    let update = Expression::new()
                        .when_set_within(NAMED, n(most))
                        .add(NAMED, texts(new.iter().map(TaskType::to_string)));
                    match db.update(item.clone(), &update).await {
                        Ok(item) => Known::of(Some(&item))?,
                        Err(WriteError::Condition(item)) => Known::of(item.as_ref())?,
                        Err(WriteError::Failed(error)) => return Err(error),
                    }
                }
            };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), seen);
        }
        Err(contended("the named types of a queue"))
    }
}
