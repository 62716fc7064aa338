//! How long ready tasks wait: one look at the head of each place where tasks wait, half a read unit each, besides the
//! records of the queues.

use baton_model::{QueueName, Timestamp};
use baton_store::{StoreError, Waiting};
use futures::{StreamExt, TryStreamExt};

use crate::db::Query;
use crate::row::Stored;
use crate::store::Inner;

/// How many places are looked at at the same time.
const AT_ONCE: usize = 16;

impl Inner {
    pub(crate) async fn waiting(&self, now: Timestamp) -> Result<Waiting, StoreError> {
        let mut places = Vec::new();
        for queue in self.all_queues().await? {
            places.extend(queue.partitions().into_iter().map(|partition| (queue.name.clone(), partition)));
        }
        let (places, unseen) = Waiting::in_turn(places, now);
        let looks = places.into_iter().map(|(queue, partition)| async move {
            let since = self.first_ready(&partition, now).await?;
            Ok::<(QueueName, Option<Timestamp>), StoreError>((queue, since))
        });
        let waiting = Waiting { longest: None, unseen };
        futures::stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_fold(waiting, |waiting, (queue, since)| async move { Ok(waiting.and(&queue, since, now)) })
            .await
    }

    /// Since when the first task of a place has been ready; none if none is.
    pub(crate) async fn first_ready(
        &self,
        partition: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let first = self.db.query(&Query { limit: Some(1), ..Query::index(partition) }).await?;
        let first = first.items.first().and_then(|item| self.db.read_one(item, Stored::read));
        // A task may have been due before it was created; it has been ready from then on only.
        let ready = first.filter(|task| task.head.run_after <= now);
        Ok(ready.map(|task| task.head.run_after.max(task.created_at)))
    }
}
