//! The rounds of the reaper: the note that one leaves for the next, and what is to be dated anew after the clock was set back.

use baton_model::task::redated;
use baton_model::{RoundNote, State, Timestamp};
use baton_store::{Ready, Redate, Redated, StoreError};

use crate::attr::{Fields, json, n, s, time};
use crate::db::{Query, Range};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::queue::unconditional;
use crate::row::Stored;
use crate::store::Inner;

impl Inner {
    /// The note of the last round.
    pub(crate) async fn last_round(&self) -> Result<Option<RoundNote>, StoreError> {
        let item = self.db.get(keys::meta("round")).await?;
        item.as_ref().map_or(Ok(None), |item| Fields(item).maybe_json("tx"))
    }

    pub(crate) async fn note_round(&self, note: &RoundNote) -> Result<(), StoreError> {
        let update = Expression::new().set("tx", s(json("the note of a round", note)?));
        unconditional(self.db.update(keys::meta("round"), &update).await).map(drop)
    }

    /// Dates tasks and workers by the clock as it is. It reads all that waits for later, as the time of its latest change
    /// is in no key; a clock is seldom set back.
    pub(crate) async fn redate(&self, redate: &Redate) -> Result<Redated, StoreError> {
        let mut report = Redated { workers: self.redate_workers(redate).await?, ..Redated::default() };
        self.redate_rates(&redate.watch).await?;
        let now = redate.watch.now.as_millis();
        let later = keys::sortable(Timestamp::from_millis(now.saturating_add(1)));
        for queue in self.all_queues().await? {
            for partition in queue.partitions() {
                let range = Range::AtLeast(later.clone());
                let mut query = Query { range, ..Query::index(partition) };
                loop {
                    let page = self.db.query(&query).await?;
                    for item in &page.items {
                        let Some(entry) = self.db.read_one(item, Stored::read) else { continue };
                        let what = format!("task {}", entry.head.id);
                        let dated = self.db.unless_damaged(&what, self.redate_task(&entry, redate).await)?;
                        report.tasks += u64::from(dated == Some(true));
                        if report.tasks >= u64::from(redate.limit) {
                            return Ok(Redated { more: true, ..report });
                        }
                    }
                    match page.next {
                        None => break,
                        next => query.start = next,
                    }
                }
            }
        }
        Ok(report)
    }

    /// Dates a task that waits, as an entry of the index tells of it; says whether it was to be.
    async fn redate_task(&self, entry: &Stored, Redate { watch, .. }: &Redate) -> Result<bool, StoreError> {
        // What an entry tells is enough to leave most of them: whose time may be right, or was reckoned since.
        let lies_back = entry.head.run_after < entry.changed_at();
        if entry.head.events == 1 && entry.head.run_after > entry.created_at || lies_back {
            return Ok(false);
        }
        let Some(stored) = self.find(entry.head.id).await? else { return Ok(false) };
        let (head, rest) = (&stored.head, stored.rest()?);
        let run_after = redated(head, stored.created_at, rest.updated_at, watch);
        let Some(run_after) = run_after.filter(|_| head.state.state() == State::Queued) else {
            return Ok(false);
        };
        let update = Expression::new()
            .when("ev", "=", n(head.events))
            .when("ca", "=", time(stored.created_at))
            .when("ra", "=", time(head.run_after))
            .set("ra", time(run_after))
            .set("is", s(keys::waiting_place(&baton_model::Head { run_after, ..head.clone() })));
        match self.db.update(self.task_key(head.id), &update).await {
            Ok(_) => {}
            // Somebody was faster.
            Err(WriteError::Condition(_)) => return Ok(false),
            Err(WriteError::Failed(error)) => return Err(error),
        }
        self.doorbell.ring(Ready {
            queue: stored.queue.clone(),
            task_type: Some(stored.task_type.clone()),
            count: 1,
            run_after,
        });
        Ok(true)
    }

    async fn redate_workers(&self, Redate { watch, .. }: &Redate) -> Result<u64, StoreError> {
        let mut dated = 0;
        for before in self.all_workers().await? {
            let mut after = before.clone();
            after.seen_at = watch.dated(before.seen_at);
            after.worker.started_at = watch.dated(before.worker.started_at);
            after.worker.last_beat_at = before.worker.last_beat_at.map(|at| watch.dated(at));
            after.worker.ended_at = before.worker.ended_at.map(|at| watch.dated(at));
            // One that beats meanwhile is dated by that.
            dated += u64::from(after != before && self.save_worker(Some(&before), &after).await?);
        }
        Ok(dated)
    }
}
