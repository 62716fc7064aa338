//! Striking off lanes that nobody puts tasks into any more, so that claims of all need not ask them for ever.
//!
//! A claim of all that meets many lanes has those watched which it finds empty; hours later one that finds them empty again
//! takes them out of the queue's record. Whoever is about to put a task into a lane has said so in the record before
//! (`Inner::lane_for`), which ends the lane's watch, and does not rely on that for longer than ten minutes. So no lane is
//! struck off that somebody may still put a task into, as long as clocks differ by less than the hours between.

use std::collections::BTreeMap;

use baton_model::{Priority, QueueName, Timestamp};
use baton_store::StoreError;

use crate::attr::{s, texts, time};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::lane::{FEW, Lane, name_of};
use crate::queue::StoredQueue;
use crate::store::Inner;

/// How long a lane is watched before it is struck off, in milliseconds.
const WATCH_MS: u64 = 3 * 3_600_000;

/// How many lanes are watched at a time: less than a KB of the record.
const WATCHED: usize = 40;

/// One of so many claims tidies, so that those at once do not all write the same.
const SELDOM: u64 = 8;

/// The lanes of which a claim of all has found shards empty, and how many.
pub(crate) type Empty = BTreeMap<(QueueName, Priority, Lane), u64>;

/// The lanes of a queue that are watched, by their names, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) lanes: Vec<String>,
    pub(crate) since: Timestamp,
}

impl Inner {
    /// Watches or strikes off lanes that a claim of all has found empty. It is no part of the claim: what fails is told to the
    /// log, and done by a later one.
    pub(crate) async fn tidy(&self, queues: &[&StoredQueue], empty: &Empty, now: Timestamp) {
        if empty.len() <= FEW || !self.db.draw().is_multiple_of(SELDOM) {
            return;
        }
        for queue in queues {
            let whole =
                empty.iter().filter(|((name, ..), shards)| *name == queue.name && **shards == queue.shards);
            // The common lane is named elsewhere, and is one.
            let lanes = whole
                .map(|((_, priority, lane), _)| (*priority, *lane))
                .filter(|(_, lane)| *lane != Lane::Common);
            let names: Vec<_> = lanes.map(|(priority, lane)| name_of(priority, lane)).collect();
            if let Err(error) = self.tidy_queue(queue, names, now).await {
                tracing::warn!(queue = %queue.name, %error, "empty lanes of a queue could not be struck off");
            }
        }
    }

    async fn tidy_queue(
        &self,
        queue: &StoredQueue,
        mut empty: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(change) = (match &queue.watched {
            Some(watched) if now.as_millis().abs_diff(watched.since.as_millis()) < WATCH_MS => None,
            Some(watched) if watched.since < now => {
                empty.retain(|name| watched.lanes.contains(name));
                let watch = Expression::new().when("wt", "=", time(watched.since)).remove("wt");
                // None of them has been taken out of the watch since.
                let watch = empty.iter().fold(watch, |watch, name| watch.when_with("wl", s(name)));
                Some(match empty.is_empty() {
                    true => watch.remove("wl"),
                    false => watch.take_out("wl", texts(watched.lanes.clone())).take_out("ln", texts(empty)),
                })
            }
            other => {
                empty.truncate(WATCHED);
                let before = other.as_ref().map(|watched| time(watched.since));
                let watch = Expression::new().when_still("wt", before).set("wt", time(now));
                (!empty.is_empty()).then(|| watch.set("wl", texts(empty)))
            }
        }) else {
            return Ok(());
        };
        match self.db.update(keys::queue(&queue.name), &change).await {
            // Refused: another was faster, or a lane is in use again.
            Ok(_) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }
}
