//! Going down many partitions at once: what lies in them, from the highest sort key of all to the lowest.

use baton_store::StoreError;

use crate::attr::Item;
use crate::db::{Db, Query, Range};

/// A partition on the way down.
struct Lane {
    partition: String,
    /// Items that were fetched and not yet given, the lowest key first.
    fetched: Vec<Item>,
    /// The key that the next chunk lies below; none at the partition's beginning.
    below: Option<Option<String>>,
}

impl Lane {
    fn next_key(&self, index: bool) -> Option<&str> {
        self.fetched.last().map(|item| key_of(item, index))
    }
}

/// What lies in groups of partitions: one group after the other, each merged by sort key from the highest down.
pub(crate) struct Descent<'a> {
    db: &'a Db,
    /// Whether the partitions are the index's.
    index: bool,
    /// Groups that are still to be gone down, the next one last.
    ahead: Vec<Vec<String>>,
    lanes: Vec<Lane>,
    /// Only keys below this are wanted of the first group.
    below: Option<String>,
    chunk: i32,
}

impl<'a> Descent<'a> {
    /// Down partitions of the table, the next group last. `chunk`: how many items one request reads of a partition.
    pub(crate) fn of_table(db: &'a Db, ahead: Vec<Vec<String>>, below: Option<String>, chunk: i32) -> Self {
        Self { db, index: false, ahead, lanes: Vec::new(), below, chunk }
    }

    /// Down partitions of the index, all at once.
    pub(crate) fn of_index(db: &'a Db, partitions: Vec<String>, below: Option<String>, chunk: i32) -> Self {
        Self { db, index: true, ahead: vec![partitions], lanes: Vec::new(), below, chunk }
    }

    /// The next item down.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, StoreError> {
        loop {
            self.fetch().await?;
            let index = self.index;
            let with_items = self.lanes.iter_mut().filter(|lane| !lane.fetched.is_empty());
            let highest = with_items.max_by(|one, other| one.next_key(index).cmp(&other.next_key(index)));
            if let Some(lane) = highest {
                return Ok(lane.fetched.pop());
            }
            let Some(partitions) = self.ahead.pop() else { return Ok(None) };
            let below = self.below.take();
            let lane = |partition| Lane { partition, fetched: Vec::new(), below: Some(below.clone()) };
            self.lanes = partitions.into_iter().map(lane).collect();
        }
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let (db, index, chunk) = (self.db, self.index, self.chunk);
        let empty = self.lanes.iter_mut().filter(|lane| lane.fetched.is_empty());
        let fetches = empty.filter_map(|lane| {
            let below = lane.below.take()?;
            let range = below.map_or(Range::All, Range::Below);
            let limit = Some(chunk);
            // Lists may trail, which halves their cost.
            let consistent = false;
            let whole = Query { index, ..Query::table(&lane.partition) };
            let query = Query { range, forward: false, limit, consistent, ..whole };
            Some(async move {
                let page = db.query(&query).await?;
                lane.below = match page.next {
                    Some(_) => page.items.last().map(|item| Some(key_of(item, index).to_owned())),
                    None => None,
                };
                lane.fetched = page.items;
                lane.fetched.reverse();
                Ok::<_, StoreError>(())
            })
        });
        futures::future::try_join_all(fetches).await?;
        Ok(())
    }
}

/// An item's sort key, in the table or in the index.
pub(crate) fn key_of(item: &Item, index: bool) -> &str {
    let name = if index { "is" } else { "sk" };
    item.get(name).and_then(|key| key.as_s().ok()).map_or("", String::as_str)
}
