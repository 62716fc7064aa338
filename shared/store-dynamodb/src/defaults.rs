//! What queues give to tasks that do not say. It lies in the queue's record, which claims read anyway; so a process that claims from a
//! queue knows it, and one that only creates tasks in it reads it once in a while.

use std::borrow::Cow;
use std::time::Duration;

use baton_model::{QueueDefaults, QueueName, TaskSpec, Timestamp};
use baton_store::{DEFAULTS_SETTLE, SetDefaults, StoreError};

use crate::attr::{Fields, json, s, time};
use crate::error::{WriteError, contended};
use crate::expression::Expression;
use crate::keys;
use crate::queue::StoredQueue;
use crate::store::Inner;
use crate::transition::ROUNDS;

/// The attribute with a queue's defaults, if it has any.
pub(crate) const DEFAULTS: &str = "qd";

/// How long a process goes by what it has read of a queue: no longer than a change may take to be heard of.
pub(crate) const KNOWN: Duration = DEFAULTS_SETTLE;

impl Inner {
    /// A task with what its queue gives it.
    pub(crate) async fn filled<'a>(&self, spec: &'a TaskSpec) -> Result<Cow<'a, TaskSpec>, StoreError> {
        let defaults = self.defaults_of(&spec.queue).await?;
        if defaults.is_none() {
            return Ok(Cow::Borrowed(spec));
        }
        let mut spec = spec.clone();
        defaults.fill(&mut spec);
        Ok(Cow::Owned(spec))
    }

    async fn defaults_of(&self, queue: &QueueName) -> Result<QueueDefaults, StoreError> {
        if let Some(known) = self.notes.defaults(queue) {
            return Ok(known);
        }
        let item = self.db.get_lately(keys::queue(queue)).await?;
        let defaults = item.as_ref().map(StoredQueue::read).transpose()?.map(|queue| queue.defaults);
        let defaults = defaults.unwrap_or_default();
        self.notes.note_defaults(queue, defaults);
        Ok(defaults)
    }

    /// Changes what a queue gives.
    pub(crate) async fn set_defaults(
        &self,
        set: &SetDefaults,
    ) -> Result<(QueueDefaults, QueueDefaults), StoreError> {
        let key = || keys::queue(&set.queue);
        for _ in 0..ROUNDS {
            let item = self.db.get(key()).await?;
            let written = item.as_ref().map(|item| Fields(item).maybe_text(DEFAULTS)).transpose()?.flatten();
            let from = item.as_ref().map(StoredQueue::read).transpose()?.map(|queue| queue.defaults);
            let from = from.unwrap_or_default();
            let to = set.change.onto(from);
            if from != to {
                let update = defaults_update(to, set.now)?.when_still(DEFAULTS, written.map(s));
                match self.db.update(key(), &update).await {
                    Ok(_) => {}
                    Err(WriteError::Condition(_)) => continue,
                    Err(WriteError::Failed(error)) => return Err(error),
                }
            }
            self.notes.note_defaults(&set.queue, to);
            if to.is_none() {
                self.forget_unused(&set.queue).await?;
            }
            return Ok((from, to));
        }
        Err(contended("the queue"))
    }
}

/// The update of a queue's record that has it give this.
pub(crate) fn defaults_update(to: QueueDefaults, now: Timestamp) -> Result<Expression, StoreError> {
    let text = (!to.is_none()).then(|| json("a queue's defaults", &to)).transpose()?;
    Ok(Expression::new().set_if_absent("ca", time(now)).put(DEFAULTS, text.map(s)))
}
