//! Why a claim of a queue with limits is given nothing. It also makes good what others did not live to do: a task that waits at a
//! limit which has room for it is let go.

use baton_model::{LimitOn, Priority, Timestamp};
use baton_store::{ClaimAnswer, Nothing, StoreError};

use super::within::Judge;
use crate::claim::Entered;
use crate::db::{Query, Range};
use crate::keys;
use crate::look::narrowed;
use crate::queue::StoredQueue;
use crate::row::Stored;
use crate::store::Inner;

/// How many tasks that wait at limits are looked at in each place where they lie.
const LOOKED_AT: i32 = 64;

impl Inner {
    /// Looks for the first of the tasks that wait at limits and that a claim could be given, and notes why it is not. True: it could
    /// be given it by now, so that it is to look again.
    pub(crate) async fn may_look_again(
        &self,
        claim: &Entered<'_>,
        queues: &[&StoredQueue],
        answer: &ClaimAnswer,
    ) -> Result<bool, StoreError> {
        let passed_over = claim.limits.passed_over_at();
        let finds_nothing = match answer {
            ClaimAnswer::Nothing(Nothing::NoneQueued | Nothing::Scheduled { .. }) => true,
            // Else what stands at one limit would hide what was forgotten at another.
            ClaimAnswer::Nothing(Nothing::AtLimit { .. }) => !passed_over.is_empty(),
            _ => false,
        };
        if !finds_nothing {
            return Ok(false);
        }
        if self.has_room_by_now(claim, &passed_over).await? {
            return Ok(true);
        }
        for queue in queues {
            // Where none ever waited of a priority, none was put aside.
            let used = |priority: &Priority| queue.lanes.iter().any(|(one, _)| one == priority);
            for partition in Priority::ALL.into_iter().filter(used).flat_map(|one| queue.put_aside_of(one)) {
                let found = self.first_put_aside(claim, partition).await?;
                if let Some((task, judge)) = found {
                    return self.judge_put_aside(claim, &task, &judge).await;
                }
            }
        }
        Ok(false)
    }

    /// Whether a limit has room whose tasks the claim has passed over. While it had them in hand, no other claim of this process
    /// saw them: who was woken for the free place may have found nothing.
    async fn has_room_by_now(
        &self,
        claim: &Entered<'_>,
        passed_over: &[LimitOn],
    ) -> Result<bool, StoreError> {
        if passed_over.is_empty() {
            return Ok(false);
        }
        let standings = self.standings(passed_over).await?;
        let mut has_room = false;
        for on in passed_over {
            let rules = claim.limits.book.rules_of(on);
            let counts = standings.get(on).map(|standing| standing.counts_by(rules)).unwrap_or_default();
            if rules.is_none_or(|rules| rules.free(counts, claim.now) > 0) {
                claim.limits.reconsider(on);
                has_room = true;
            }
        }
        Ok(has_room)
    }

    async fn first_put_aside<'a>(
        &self,
        claim: &'a Entered<'_>,
        partition: String,
    ) -> Result<Option<(Stored, Judge<'a>)>, StoreError> {
        let later = Timestamp::from_millis(claim.now.as_millis().saturating_add(1));
        let query = Query {
            range: Range::Below(keys::sortable(later)),
            filter: narrowed(claim),
            limit: Some(LOOKED_AT),
            ..Query::index(partition)
        };
        for item in self.db.query(&query).await?.items {
            let Some(entry) = self.db.read_one(&item, Stored::read) else { continue };
            let Some(task) = self.find(entry.head.id).await? else { continue };
            let waits = task.rest()?.waits.as_ref();
            let is_wanted = claim.warm.takes(task.rest()?.affinity.as_ref());
            if is_wanted && waits.is_some_and(|waits| waits.is_aside) {
                let judge = self.judge_of(claim, [&task]).await?;
                return Ok(Some((task, judge)));
            }
        }
        Ok(None)
    }

    async fn judge_put_aside(
        &self,
        claim: &Entered<'_>,
        task: &Stored,
        judge: &Judge<'_>,
    ) -> Result<bool, StoreError> {
        match judge.stop(task)? {
            Some(stop) => {
                let standing = judge.standing(&stop.on);
                if stop.next_at.is_none() && self.verify(&stop.on, &standing, claim.now).await? {
                    return Ok(true);
                }
                claim.limits.stop(&stop.on, stop.next_at);
                Ok(false)
            }
            None => {
                let Some(waits) = &task.rest()?.waits else { return Ok(false) };
                Ok(self.let_go_at(&waits.on, true, claim.now).await? > 0)
            }
        }
    }
}
