//! What this process knows of clients beyond the store: when each last spoke, and which tasks it was given and has not ended.
//!
//! A client keys what it runs by the task's id, so that a task that it was given must not come to it again, also if its lease was
//! lost meanwhile. All of this is a help to clients and no truth: it is gone with the process, and tasks and leases are the store's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{TaskId, Timestamp, WorkerId};

/// How long a client runs a task before it calls it off by itself, and a minute for its word to come.
pub(crate) const CLIENT_RUNS: Duration = Duration::from_secs(31 * 60);
/// How many tasks are remembered of a client, the latest.
const TASKS: usize = 1_000;
/// How many clients there are before those are forgotten that have not spoken for so long.
const CLIENTS: usize = 10_000;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(86_400);

/// All clients that have spoken.
#[derive(Debug, Default)]
pub(crate) struct Present(Mutex<BTreeMap<WorkerId, Known>>);

#[derive(Debug, Default)]
struct Known {
    spoke_at: Timestamp,
    /// When it was given what it has not ended.
    given: BTreeMap<TaskId, Timestamp>,
    is_watched: bool,
}

impl Present {
    fn known(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client has spoken; says when it did before.
    pub(crate) fn speaks(&self, client: &WorkerId, now: Timestamp) -> Option<Timestamp> {
        let mut known = self.known();
        if known.len() >= CLIENTS && !known.contains_key(client) {
            known.retain(|_, one| one.is_watched || now.since(one.spoke_at) < FORGOTTEN_AFTER);
        }
        match known.entry(client.clone()) {
            Entry::Vacant(place) => {
                place.insert(Known { spoke_at: now, ..Known::default() });
                None
            }
            Entry::Occupied(mut one) => Some(std::mem::replace(&mut one.get_mut().spoke_at, now)),
        }
    }

    /// Notes when a client spoke to an earlier process, if it has not spoken to this one.
    pub(crate) fn spoke(&self, client: &WorkerId, at: Timestamp) {
        self.known().entry(client.clone()).or_insert_with(|| Known { spoke_at: at, ..Known::default() });
    }

    /// When a client last spoke.
    pub(crate) fn spoke_at(&self, client: &WorkerId) -> Option<Timestamp> {
        self.known().get(client).map(|one| one.spoke_at)
    }

    /// Notes that a client is given a task; says whether it is new to it. What it was given too long ago to be running is.
    pub(crate) fn gives(&self, client: &WorkerId, task: TaskId, now: Timestamp) -> bool {
        let mut known = self.known();
        let given = &mut known.entry(client.clone()).or_default().given;
        given.retain(|_, at| now.since(*at) < CLIENT_RUNS);
        if given.len() >= TASKS {
            given.pop_first();
        }
        match given.entry(task) {
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Notes that a client has told the end of a task, or was never told of it.
    pub(crate) fn ends(&self, client: &WorkerId, task: TaskId) {
        if let Some(one) = self.known().get_mut(client) {
            one.given.remove(&task);
        }
    }

    /// Notes that a client has started anew and runs nothing.
    pub(crate) fn begins(&self, client: &WorkerId) {
        if let Some(one) = self.known().get_mut(client) {
            one.given.clear();
        }
    }

    /// Takes the watch over a client, if nobody has it.
    pub(crate) fn watch(&self, client: &WorkerId) -> bool {
        let mut known = self.known();
        !std::mem::replace(&mut known.entry(client.clone()).or_default().is_watched, true)
    }

    /// Gives the watch over a client up.
    pub(crate) fn unwatch(&self, client: &WorkerId) {
        if let Some(one) = self.known().get_mut(client) {
            one.is_watched = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_new_to_a_client_until_it_has_ended_it_or_started_anew() {
        let present = Present::default();
        let (one, other): (WorkerId, WorkerId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let task = TaskId::from_bytes([7; 16]);
        let now = Timestamp::from_millis(1_000_000);
        let gives = |client: &WorkerId| present.gives(client, task, now);
        assert!(gives(&one) && gives(&other));
        assert!(!gives(&one));
        present.ends(&one, task);
        assert!(gives(&one) && !gives(&other));
        present.begins(&other);
        assert!(gives(&other));
    }

    #[test]
    fn a_task_is_new_again_once_its_client_cannot_be_running_it() {
        let present = Present::default();
        let client: WorkerId = "a".parse().unwrap();
        let task = TaskId::from_bytes([7; 16]);
        let at = |seconds| Timestamp::from_millis(1_000_000).plus(Duration::from_secs(seconds));
        assert!(present.gives(&client, task, at(0)));
        assert!(!present.gives(&client, task, at(1_859)), "asking does not make it younger");
        assert!(present.gives(&client, task, at(1_860)));
    }

    #[test]
    fn what_a_client_said_itself_counts_before_what_is_read_of_it() {
        let present = Present::default();
        let client: WorkerId = "a".parse().unwrap();
        let at = Timestamp::from_millis;
        present.spoke(&client, at(5));
        assert_eq!(present.speaks(&client, at(9)), Some(at(5)));
        present.spoke(&client, at(7));
        assert_eq!(present.spoke_at(&client), Some(at(9)));
    }

    #[test]
    fn one_at_a_time_watches_a_client() {
        let present = Present::default();
        let client: WorkerId = "a".parse().unwrap();
        assert!(present.watch(&client) && !present.watch(&client));
        present.unwatch(&client);
        assert!(present.watch(&client));
    }
}
