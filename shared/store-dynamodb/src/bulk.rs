//! The records of bulk commands. They lie in one partition by their ids, as there are few; those that go on are in the index, and
//! DynamoDB removes the others at their end.

use async_trait::async_trait;
use baton_model::{Bulk, BulkId};
use baton_store::transfer::{ImportError, Verdict, bulk_onto};
use baton_store::{BulkStore, Cursor, Page, PageRequest, StoreError};

use crate::DynamoStore;
use crate::attr::{Fields, Item, json, key, n, s};
use crate::db::{Query, Range};
use crate::ends::{ENDS, end_of};
use crate::error::{WriteError, contended, damaged};
use crate::expression::Expression;
use crate::store::Inner;

/// The partition of the records.
pub(crate) const RECORDS: &str = "BC";

/// The partition of the index where those lie that go on.
const OPEN: &str = "BC";

fn key_of(id: BulkId) -> Item {
    key(RECORDS, &id.to_string())
}

pub(crate) fn read(item: &Item) -> Result<Bulk, StoreError> {
    Fields(item).maybe_json("tx")?.ok_or_else(|| damaged("expected the record of a bulk command"))
}

fn item_of(bulk: &Bulk) -> Result<Item, StoreError> {
    let mut item = key_of(bulk.id);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("tx", s(json("a bulk command", bulk)?));
    put("vn", n(bulk.version));
    match bulk.ended_at {
        Some(at) => drop(put(ENDS, n(end_of(at, Bulk::KEPT)))),
        None => {
            put("ip", s(OPEN));
            put("is", s(bulk.id.to_string()));
        }
    }
    Ok(item)
}

#[async_trait]
impl BulkStore for DynamoStore {
    async fn create_bulk(&self, bulk: Bulk) -> Result<(), StoreError> {
        self.inner.create_bulk(&bulk).await
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.inner.bulk(id).await
    }

    async fn put_bulk(&self, bulk: Bulk) -> Result<bool, StoreError> {
        self.inner.put_bulk(&bulk).await
    }

    async fn bulks(&self, page: PageRequest) -> Result<Page<Bulk>, StoreError> {
        self.inner.bulks(&page).await
    }

    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError> {
        self.inner.open_bulks().await
    }
}

impl Inner {
    async fn create_bulk(&self, bulk: &Bulk) -> Result<(), StoreError> {
        match self.db.put(item_of(bulk)?, Expression::new().when_absent("pk")).await {
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    async fn bulk(&self, id: BulkId) -> Result<Option<Bulk>, StoreError> {
        self.db.get(key_of(id)).await?.as_ref().map(read).transpose()
    }

    /// Takes in a record that another store has read out.
    pub(crate) async fn import_bulk(&self, record: &Bulk) -> Result<Verdict, ImportError> {
        let standing = self.bulk(record.id).await?;
        let verdict = bulk_onto(record, standing.as_ref())?;
        if verdict == Verdict::Same {
            return Ok(verdict);
        }
        let as_read = match standing {
            None => Expression::new().when_absent("pk"),
            Some(standing) => Expression::new().when("vn", "=", n(standing.version)),
        };
        match self.db.put(item_of(record)?, as_read).await {
            Ok(()) => Ok(verdict),
            Err(WriteError::Condition(Some(item))) if read(&item)? == *record => Ok(verdict),
            Err(WriteError::Condition(_)) => Err(contended("the bulk command").into()),
            Err(WriteError::Failed(error)) => Err(error.into()),
        }
    }

    async fn put_bulk(&self, bulk: &Bulk) -> Result<bool, StoreError> {
        let before = Expression::new().when("vn", "=", n(bulk.version.saturating_sub(1)));
        match self.db.put(item_of(bulk)?, before).await {
            Ok(()) => Ok(true),
            // Its answer was lost, perhaps.
            Err(WriteError::Condition(Some(item))) => Ok(read(&item)? == *bulk),
            Err(WriteError::Condition(None)) => Ok(false),
            Err(WriteError::Failed(error)) => Err(error),
        }
    }

    async fn bulks(&self, request: &PageRequest) -> Result<Page<Bulk>, StoreError> {
        let range = match &request.after {
            None => Range::All,
            Some(Cursor(text)) => {
                Range::Below(text.parse::<BulkId>().map_err(|_| StoreError::BadCursor)?.to_string())
            }
        };
        let limit = i32::try_from(request.limit).unwrap_or(i32::MAX);
        let query = Query { range, forward: false, limit: Some(limit), ..Query::table(RECORDS) };
        let found = self.db.query(&query).await?;
        let items = found.items.iter().filter_map(|item| self.db.read_one(item, read)).collect::<Vec<_>>();
        let full = found.items.len() >= request.limit as usize;
        // One that is damaged is passed over, and ends no list.
        let last = found.items.last().filter(|_| full);
        let next = last.map(|item| Fields(item).text("sk").map(|id| Cursor(id.to_owned()))).transpose()?;
        Ok(Page { items, next })
    }

    async fn open_bulks(&self) -> Result<Vec<BulkId>, StoreError> {
        let found = self.db.query(&Query { limit: Some(100), ..Query::index(OPEN) }).await?;
        let id = |item: &Item| {
            let text = Fields(item).text("sk")?.to_owned();
            text.parse::<BulkId>().map_err(|_| damaged(format!("expected a bulk command's id, got {text}")))
        };
        Ok(found.items.iter().filter_map(|item| self.db.read_one(item, id)).collect())
    }
}
