//! Whether somebody waits for tasks of a queue: told by who claims and finds nothing, and asked by who would ring for a new
//! task. A ring is a message, which is paid for, and of no use while all workers have more to do than they can.
//!
//! Both are hints. Who claims says so once in [`TOLD`] and is believed for [`BELIEVED`]; who rings looks again after
//! [`LOOKED`]. A claim that has begun to wait since then misses a ring, and finds the task when it looks by itself.
//! `docs/decisions/0021-rings-for-those-who-wait.md` has the figures.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_model::{QueueName, Timestamp};
use baton_store::{ClaimAnswer, Nothing, StoreError};

use crate::attr::{Fields, n, time};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;

/// How long it is believed that somebody waits.
const BELIEVED: Duration = Duration::from_secs(300);

/// After how long a process says so again.
const TOLD: Duration = Duration::from_secs(150);

/// How long it is believed that nobody waits: a process that makes many tasks a second looks once.
const LOOKED: Duration = Duration::from_secs(1);

/// Of how many queues a process remembers what it has told or seen. Then all is forgotten, and told and read again.
const QUEUES: usize = 1_000;

/// The attribute that says until when somebody waits.
const UNTIL: &str = "un";

/// What a process has told and seen of queues.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    /// When it told last that somebody waits.
    told: Mutex<HashMap<QueueName, Timestamp>>,
    /// When it looked last, and until when somebody waits.
    seen: Mutex<HashMap<QueueName, (Timestamp, Timestamp)>>,
}

fn locked<T>(mutex: &Mutex<HashMap<QueueName, T>>) -> MutexGuard<'_, HashMap<QueueName, T>> {
    // What is in it is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<T>(all: &Mutex<HashMap<QueueName, T>>, queue: &QueueName, what: T) {
    let mut all = locked(all);
    if all.len() >= QUEUES && !all.contains_key(queue) {
        all.clear();
    }
    all.insert(queue.clone(), what);
}

/// Whether less than a while has passed between two times, whichever comes first: a clock may be set back.
fn within(one: Timestamp, other: Timestamp, length: Duration) -> bool {
    one.since(other).max(other.since(one)) < length
}

/// Whether who is answered so waits for tasks that others make.
fn waits(answer: &ClaimAnswer) -> bool {
    let ClaimAnswer::Nothing(nothing) = answer else { return false };
    matches!(
        nothing,
        Nothing::NoneQueued | Nothing::NotWarm | Nothing::Scheduled { .. } | Nothing::Paused { .. }
    )
}

impl Inner {
    /// Tells that somebody waits for tasks of queues, if a claim's answer says so. What fails delays a claim and no more.
    pub(crate) async fn tell_waiting(&self, queues: &[QueueName], answer: &ClaimAnswer, now: Timestamp) {
        if !self.options.tells_waiting || !waits(answer) {
            return;
        }
        for queue in queues {
            if locked(&self.waited.told).get(queue).is_some_and(|told| within(*told, now, TOLD)) {
                continue;
            }
            let until = now.plus(BELIEVED);
            let update = Expression::new()
                .when_absent_or(UNTIL, "<", time(until))
                .set(UNTIL, time(until))
                .set("xp", n(until.as_millis() / 1_000));
            match self.db.update_unseen(keys::waited(queue), &update).await {
                // Another has told of a later time.
                Ok(()) | Err(WriteError::Condition(_)) => keep(&self.waited.told, queue, now),
                Err(WriteError::Failed(error)) => {
                    tracing::warn!(%queue, error = error.report(), "it could not be told that a claim waits; it may wait longer");
                }
            }
        }
    }

    /// Whether somebody waits for tasks of a queue, as was told a moment ago.
    pub(crate) async fn is_waited_for(&self, queue: &QueueName, now: Timestamp) -> Result<bool, StoreError> {
        let seen = locked(&self.waited.seen).get(queue).copied();
        if let Some((looked, until)) = seen
            && (until > now || within(looked, now, LOOKED))
        {
            return Ok(until > now);
        }
        let item = self.db.get_lately(keys::waited(queue)).await?;
        let until = item.as_ref().map_or(Ok(None), |item| Fields(item).maybe_time(UNTIL))?;
        let until = until.unwrap_or(Timestamp::from_millis(0));
        keep(&self.waited.seen, queue, (now, until));
        Ok(until > now)
    }
}
