//! Lists of what lies by id in a fixed number of partitions, the newest first: tokens and the audit log.

use baton_store::{Cursor, Page, PageRequest, StoreError};
use futures::future::try_join_all;

use crate::attr::{Fields, Item};
use crate::db::{Query, Range};
use crate::expression::Expression;
use crate::store::Inner;

/// The most items that one page looks at, of all partitions together.
const LOOKS: usize = 5_000;

/// Before and behind every id, as texts.
const LEAST: &str = "0";
const MOST: &str = "g";

/// What of the partitions is wanted.
pub(crate) struct Wanted {
    pub(crate) partitions: Vec<String>,
    /// Only what lies at this key or above.
    pub(crate) from: Option<String>,
    /// Only what lies below this key.
    pub(crate) below: Option<String>,
    pub(crate) filter: Option<Expression>,
    /// As of now, at twice the price.
    pub(crate) consistent: bool,
}

impl Inner {
    /// One page. Each partition is read down to some key; what lies above the highest of these is complete, and may be
    /// given.
    pub(crate) async fn newest<T>(
        &self,
        wanted: Wanted,
        request: &PageRequest,
        read: impl Fn(&Item) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let first = wanted.from.unwrap_or_else(|| LEAST.to_owned());
        let last = wanted.below.unwrap_or_else(|| MOST.to_owned());
        if first > last {
            return Ok(Page { items: Vec::new(), next: None });
        }
        // The bound itself may be among them.
        let room = request.limit as usize + 2;
        let looks = if wanted.filter.is_some() { LOOKS / wanted.partitions.len().max(1) } else { room };
        let queries = wanted.partitions.into_iter().map(|partition| {
            let query = Query {
                range: Range::Within(first.clone(), last.clone()),
                forward: false,
                limit: i32::try_from(looks).ok(),
                consistent: wanted.consistent,
                filter: wanted.filter.clone(),
                ..Query::table(partition)
            };
            async move { self.db.query(&query).await }
        });
        let mut found: Vec<(String, Item)> = Vec::new();
        let mut complete_from: Option<String> = None;
        for page in try_join_all(queries).await? {
            for item in page.items {
                let key = Fields(&item).text("sk")?.to_owned();
                if key < last {
                    found.push((key, item));
                }
            }
            if let Some(next) = page.next {
                complete_from = complete_from.max(Some(Fields(&next).text("sk")?.to_owned()));
            }
        }
        if let Some(floor) = &complete_from {
            found.retain(|(key, _)| key >= floor);
        }
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        let full = found.len() > request.limit as usize;
        found.truncate(request.limit as usize);
        let next = if full { found.last().map(|(key, _)| key.clone()) } else { complete_from };
        let items = found.iter().filter_map(|(_, item)| self.db.read_one(item, &read)).collect();
        Ok(Page { items, next: next.map(Cursor) })
    }
}
