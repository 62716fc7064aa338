//! What lies in many partitions behind a key, from there up: for walks through all of a table.

use baton_store::StoreError;
use futures::future::try_join_all;

use crate::attr::Item;
use crate::db::{Query, Range};
use crate::descent::key_of;
use crate::store::Inner;

/// Items of several partitions, merged by their sort keys.
pub(crate) struct Merged {
    pub(crate) items: Vec<Item>,
    /// Whether there is more behind the last.
    pub(crate) more: bool,
}

impl Inner {
    /// The items of these partitions behind a key, about as many as asked for.
    pub(crate) async fn merged(
        &self,
        index: bool,
        partitions: Vec<String>,
        after: &str,
        limit: usize,
    ) -> Result<Merged, StoreError> {
        let chunk = i32::try_from(limit * 2 / partitions.len().max(1) + 3).unwrap_or(250).min(250);
        let lanes = try_join_all(partitions.iter().map(|partition| {
            // The least text behind a key is the key with a zero character.
            let range = if after.is_empty() { Range::All } else { Range::AtLeast(format!("{after}\0")) };
            let all = if index { Query::index(partition) } else { Query::table(partition) };
            let query = Query { range, limit: Some(chunk), ..all };
            async move { self.db.query(&query).await }
        }));
        let sort = |item: &Item| key_of(item, index).to_owned();
        let (mut items, mut bound) = (Vec::new(), None::<String>);
        for lane in lanes.await? {
            if lane.next.is_some()
                && let Some(last) = lane.items.last().map(sort)
                && bound.as_ref().is_none_or(|bound| last < *bound)
            {
                bound = Some(last);
            }
            items.extend(lane.items);
        }
        items.sort_by_cached_key(sort);
        let fetched = items.len();
        if let Some(bound) = &bound {
            items.retain(|item| key_of(item, index) <= bound.as_str());
        }
        items.truncate(limit);
        let more = bound.is_some() || items.len() < fetched;
        Ok(Merged { items, more })
    }
}
