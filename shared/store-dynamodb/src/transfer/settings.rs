//! Reading out what lies under a name in a partition of its own: limits, owners, batches, schedules, supplies,
//! documents and bulk commands.
//!
//! Nothing damaged is passed over here, and whether there is more is what the table says: a page may end by its bytes before it is full.

use baton_store::transfer::{DocumentRecord, Record};
use baton_store::{Document, StoreError};

use super::export::Place;
use crate::attr::{Fields, Item};
use crate::bulk;
use crate::db::{Query, Range};
use crate::limit::{LIMITS, OWNERS, SETTINGS, read_limit, read_owned};
use crate::planned::Planned;
use crate::schedule::StoredSchedule;
use crate::store::Inner;
use crate::supply::StoredSupply;

/// The beginning and the end of all sort keys.
const ALL: (&str, &str) = ("", "~");

impl Inner {
    pub(super) async fn export_limits(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, SETTINGS, LIMITS, limit).await?;
        let records = items.iter().map(|item| read_limit(item).map(Record::Limit));
        Ok((records.collect::<Result<_, _>>()?, more))
    }

    pub(super) async fn export_owned(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, SETTINGS, OWNERS, limit).await?;
        let records = items.iter().map(|item| read_owned(item).map(Record::Owned));
        Ok((records.collect::<Result<_, _>>()?, more))
    }

    pub(super) async fn export_batches(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, crate::batches::RECORDS, ALL, limit).await?;
        let batches = self.batches_of(&items).await?;
        Ok((batches.into_iter().map(|batch| Record::Batch(Box::new(batch))).collect(), more))
    }

    pub(super) async fn export_schedules(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, StoredSchedule::STATES, ALL, limit).await?;
        let found: Vec<StoredSchedule> = self.db.planned_whole(&items).await?;
        Ok((found.into_iter().map(|stored| Record::Schedule(Box::new(stored.schedule))).collect(), more))
    }

    pub(super) async fn export_supplies(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, StoredSupply::STATES, ALL, limit).await?;
        let found: Vec<StoredSupply> = self.db.planned_whole(&items).await?;
        Ok((found.into_iter().map(|stored| Record::Supply(Box::new(stored.supply))).collect(), more))
    }

    pub(super) async fn export_bulks(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let (items, more) = self.behind(place, bulk::RECORDS, ALL, limit).await?;
        let records = items.iter().map(|item| bulk::read(item).map(Box::new).map(Record::Bulk));
        Ok((records.collect::<Result<_, _>>()?, more))
    }

    /// Documents of one kind, behind a place that is a kind and a name.
    pub(super) async fn export_documents(
        &self,
        place: &mut Place,
        limit: usize,
    ) -> Result<(Vec<Record>, bool), StoreError> {
        let kinds = self.document_kinds().await?;
        // A kind has no space in it.
        let (at, after) = place.after.split_once(' ').unwrap_or((place.after.as_str(), ""));
        let Some(turn) = kinds.iter().position(|kind| kind.as_str() >= at) else {
            return Ok((Vec::new(), false));
        };
        let kind = &kinds[turn];
        let behind = Some(after).filter(|after| kind == at && !after.is_empty());
        let (found, more) = self.documents_behind(kind, behind, limit).await?;
        let next = match found.last() {
            Some(last) if more => Some(format!("{kind} {}", last.name)),
            _ => kinds.get(turn + 1).cloned(),
        };
        let is_more = next.is_some();
        place.after = next.unwrap_or_default();
        let record = |Document { name, value }| DocumentRecord { kind: kind.clone(), name, value };
        Ok((found.into_iter().map(record).map(Record::Document).collect(), is_more))
    }

    /// Items of a partition behind a place, which goes behind them; and whether there may be more.
    async fn behind(
        &self,
        place: &mut Place,
        partition: &str,
        (from, to): (&str, &str),
        limit: usize,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let start = match place.after.as_str() {
            "" => from.to_owned(),
            // A place of a version that left out what such names begin with.
            after if !after.starts_with(from) => format!("{from}{after}\u{1}"),
            after => format!("{after}\u{1}"),
        };
        let range = Range::Within(start.max(" ".to_owned()), to.to_owned());
        let most = u32::try_from(limit).unwrap_or(u32::MAX);
        let (items, next) = self.page_of(Query { range, ..Query::table(partition) }, most, "sk").await?;
        if let Some(last) = items.last() {
            place.after = Fields(last).text("sk")?.to_owned();
        }
        Ok((items, next.is_some()))
    }
}
