//! The places that a task holds while it waits for its next attempt: as it goes to another queue, and as it is put back after its end.

use baton_model::{LimitOn, QueueName, Shared, TaskId, TaskState, Timestamp, holds_place};
use baton_store::StoreError;

use super::standing::lasting;
use crate::attr::texts;
use crate::row::Stored;
use crate::store::Inner;

impl Inner {
    /// Has a task hold its place in the queue that it is about to go to, where limits say so. It may be one more than there are: what has
    /// begun keeps its place. Until the task is there, it does not count ([`super::standing::may_hold`]).
    pub(crate) async fn hold_places_in(
        &self,
        task: &Stored,
        queue: &QueueName,
        now: Timestamp,
    ) -> Result<Vec<LimitOn>, StoreError> {
        // Most have never been tried: for them nothing is asked.
        if !holds_place(&task.head) {
            return Ok(Vec::new());
        }
        let book = self.fresh_book().await?;
        let there = Shared { queue, ..task.shared()? };
        let falls = book.of(there).into_iter();
        let held = falls.filter(|(on, rules)| on.takes_holding() && rules.holds_retries);
        let held: Vec<LimitOn> = held.map(|(on, _)| on).collect();
        for on in &held {
            let change = lasting(on, now).add("hd", texts([task.head.id.to_string()]));
            self.change_standing(on, &change).await?;
        }
        Ok(held)
    }

    /// Has a task that waits again hold the places that it had before its end, where limits say so. What fails is made good when the
    /// limit is counted anew.
    pub(super) async fn hold_places_again(&self, before: &Stored, after: &Stored) {
        let waited_or_ran = matches!(before.head.state, TaskState::Queued | TaskState::Running(_));
        if waited_or_ran || !holds_place(&after.head) {
            return;
        }
        if let Err(error) = Box::pin(self.count_now(after.head.id)).await {
            tracing::warn!(task = %after.head.id, error = error.report(),
                "a task that waits again may hold no place of its limits; those behind it may pass");
        }
    }

    /// Gives back the places of a task that has not gone there.
    pub(crate) async fn give_back_places(&self, task: TaskId, places: &[LimitOn], now: Timestamp) {
        for on in places {
            let change = lasting(on, now).take_out("hd", texts([task.to_string()]));
            let given_back = self.change_standing(on, &change).await;
            self.told(on, given_back);
        }
    }
}
