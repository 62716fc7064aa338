//! Tasks that DynamoDB removes by itself leave the counts that processes keep: nobody hears of a removal there. So each end is
//! counted under the day on which the task is to go, and when that day is over the reaper takes its number off the counts. What
//! the stream counts needs none of this: a removal is a record.
//!
//! Rejected: to count what has ended by days alone, whose items DynamoDB would remove by itself. Statistics of 10,000 queues
//! would then be 3,200 requests and not 100.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use baton_model::{QueueName, Timestamp};
use baton_store::{ErrorKind, StoreError};

use crate::attr::{Fields, Item, key, n};
use crate::db::{Db, Query, Range, unbuilt};
use crate::error::TransactError;
use crate::expression::Expression;
use crate::keys::{self, DAY_MS};
use crate::stats::{ADDS, COUNTS, remove_zeros};

/// How many days a day's number is kept if nobody takes it off the counts, as where the stream has come to keep them.
const KEPT_DAYS: i64 = 60;

/// The day of a second.
pub(crate) fn day_of(second: i64) -> i64 {
    second.div_euclid(DAY_MS / 1_000)
}

/// The sort key of the ends of a day.
pub(super) fn sort_key(day: i64) -> String {
    format!("E{day:06}")
}

/// The day of such a sort key.
pub(super) fn day_of_sort(sort: &str) -> Option<i64> {
    sort.strip_prefix('E')?.parse().ok()
}

/// The second from which DynamoDB removes the ends of a day.
pub(super) fn kept_until(day: i64) -> i64 {
    (day + KEPT_DAYS) * DAY_MS / 1_000
}

impl Db {
    /// Takes the tasks off a queue's counts whose day of removal was over at a time.
    pub(crate) async fn settle_ended(&self, queue: &QueueName, now: Timestamp) -> Result<(), StoreError> {
        let today = now.as_millis() / DAY_MS;
        let range = Range::Within(sort_key(0), sort_key(today - 1));
        let found = self.query_whole(Query { range, ..Query::table(keys::statistics(queue)) }).await?;
        for item in &found.items {
            match self.settle_day(queue, item).await {
                Ok(()) => {}
                // Numbers that are damaged, or counts that are full, hold nothing else up.
                Err(error) if error.kind() == ErrorKind::Internal => {
                    let sort = item.get("sk").and_then(|sort| sort.as_s().ok()).map_or("E", String::as_str);
                    self.leave_uncounted(&keys::statistics(queue), sort, &error);
                }
                Err(error) => return Err(error),
            }
        }
        if !found.items.is_empty()
            && let Some(counts) = self.get(key(&keys::statistics(queue), COUNTS)).await?
        {
            remove_zeros(self, queue, COUNTS, &counts).await;
        }
        Ok(())
    }

    async fn settle_day(&self, queue: &QueueName, day: &Item) -> Result<(), StoreError> {
        let (fields, partition) = (Fields(day), keys::statistics(queue));
        let sort = fields.text("sk")?;
        let names: Vec<_> = day.keys().filter(|name| name.contains(':')).collect();
        for names in names.chunks(ADDS / 2) {
            let (mut counts, mut taken) = (Expression::new(), Expression::new());
            for name in names {
                let number: i64 = fields.number(name)?;
                counts = counts.add(name, n(-number));
                taken = taken.when(name, "=", n(number)).remove(name);
            }
            let write = |sort: &str, change: &Expression| {
                let update = Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(key(&partition, sort)))
                    .update_expression(change.update())
                    .set_condition_expression(change.condition())
                    .set_expression_attribute_names(change.names())
                    .set_expression_attribute_values(change.values());
                let update = update.build().map_err(unbuilt)?;
                Ok::<_, StoreError>(TransactWriteItem::builder().update(update).build())
            };
            let writes = vec![write(COUNTS, &counts)?, write(sort, &taken)?];
            match self.transact(writes, &format!("ended#{partition}#{sort}#{}", self.draw())).await {
                // Another process was faster, or still adds to it: the rest is the next round's.
                Ok(()) | Err(TransactError::Conditions(_)) => {}
                Err(TransactError::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }
}
