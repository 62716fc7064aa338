//! What the reaper does for limits, round by round: it makes good what a process did not live to do.

use baton_model::{LimitOn, Timestamp};
use baton_store::StoreError;

use super::standing::{KEPT_S, lasting};
use super::{lock, name_of, version_key};
use crate::attr::{Fields, n};
use crate::error::WriteError;
use crate::expression::Expression;
use crate::keys;
use crate::store::Inner;

/// How long after a change what runs is counted again: a claim that went by what was set before takes nothing any more by then,
/// and the index shows what it took.
const COUNTED_AGAIN: std::time::Duration = std::time::Duration::from_secs(600);

/// How many limits that are waited at one round looks at; the next one goes on behind them.
const MOST: i32 = 100;

impl Inner {
    /// Counts what runs against limits that were changed of late, and lets those go that wait at limits which have room. Where
    /// nothing was ever limited, it costs half a read unit.
    pub(crate) async fn tend_limits(&self, now: Timestamp) -> Result<(), StoreError> {
        let Some(item) = self.db.get_lately(version_key()).await? else { return Ok(()) };
        let changed_at = Fields(&item).maybe_time("ct")?;
        let is_young = changed_at.is_some_and(|at| at > now || now.since(at) < COUNTED_AGAIN);
        let book = self.fresh_book().await?;
        if is_young {
            self.count_anew(&|_| true).await?;
        }
        let behind = lock(&self.limits.tended).clone();
        let mut waited_at = self.waited_at(Some((&behind, MOST))).await?;
        let more = waited_at.len() >= usize::try_from(MOST).unwrap_or(usize::MAX);
        *lock(&self.limits.tended) =
            waited_at.last().filter(|_| more).map(|(on, _)| name_of(on)).unwrap_or_default();
        if waited_at.is_empty() && !behind.is_empty() {
            waited_at = self.waited_at(Some(("", MOST))).await?;
        }
        let nobody_waits = waited_at.is_empty();
        for (on, standing) in waited_at {
            if standing.ends.is_none_or(|ends| ends - now.as_millis() / 1_000 < KEPT_S / 2) {
                // Somebody has waited for long, and goes on waiting.
                self.change_standing(&on, &lasting(&on, now)).await?;
            }
            if matches!(on, LimitOn::Turn(..)) {
                if standing.leases.is_empty() {
                    self.nobody_waits_at(&on, &standing).await?;
                } else {
                    self.hold_against_tasks(&on, &standing, now).await?;
                }
            } else if !self.hold_against_tasks(&on, &standing, now).await? {
                self.let_go_of(&on, &standing, true, now).await?;
            }
        }
        if book.is_empty() && nobody_waits && !is_young {
            self.forget_limits(Fields(&item).number("v")?).await?;
        }
        Ok(())
    }

    /// Has claims of queues that nothing limits any more ask for nothing.
    async fn forget_limits(&self, version: u64) -> Result<(), StoreError> {
        for queue in self.all_queues().await? {
            let Some(told) = queue.limits.filter(|told| *told <= version) else { continue };
            let forget = Expression::new().when("lm", "=", n(told)).remove("lm");
            match self.db.update(keys::queue(&queue.name), &forget).await {
                // Refused: something is limited again.
                Ok(_) | Err(WriteError::Condition(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
