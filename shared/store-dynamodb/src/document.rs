//! Small documents that servers keep for themselves, each an item: by kind and name. What the time line tells of them is kept nowhere, as
//! a table has no order of all that happens.
//!
//! Which kinds there are is written down in one item before there is a document of one: moves go by it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use baton_model::Timestamp;
use baton_store::transfer::{
    DocumentRecord, Holding, ImportError, NAMED, Verdict, document_onto, document_sum,
};
use baton_store::{Document, DocumentChange, DocumentChanges, DocumentStore, Hold, StoreError};

use crate::DynamoStore;
use crate::attr::{Fields, Item, key, s, texts};
use crate::db::Query;
use crate::error::{TransactError, WriteError, contended};
use crate::expression::Expression;
use crate::keys;
use crate::queue::unconditional;
use crate::store::Inner;
use crate::transact::MOST;

/// The attribute where the kinds stand.
const KINDS: &str = "dk";

/// The sum of what a document said when it was taken in from another store. Whoever writes it anew leaves it out.
const TAKEN: &str = "sm";

/// A document that is to be changed.
struct Slot {
    place: Item,
    /// What it says then; nothing if it is gone.
    value: Option<String>,
    /// What it has to say before, if that matters; nothing if it is not to be there.
    was: Option<Option<String>>,
}

impl Slot {
    fn condition(&self) -> Expression {
        let still = Expression::new();
        match &self.was {
            Some(was) => still.when_still("tx", was.as_ref().map(s)),
            None => still,
        }
    }

    /// The item that says it.
    fn item(&self, value: &str) -> Item {
        let mut item = self.place.clone();
        item.insert("tx".to_owned(), s(value));
        item
    }

    /// Goes by what a document says whose condition did not hold; says whether it is to be written all the same. What says already what it
    /// is to say was written by a first sending of the same.
    fn meets(&mut self, standing: Option<&Item>) -> Result<bool, StoreError> {
        let standing = standing.map(|item| Fields(item).text("tx")).transpose()?;
        let says = self.value.is_some() && standing == self.value.as_deref();
        let is_new = says && self.was.as_ref().is_some_and(|was| *was != self.value);
        if is_new {
            self.was = Some(self.value.clone());
        }
        Ok(is_new)
    }
}

pub(crate) fn place(kind: &str, name: &str) -> Item {
    key(&keys::documents(kind), name)
}

#[async_trait]
impl DocumentStore for DynamoStore {
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, StoreError> {
        self.inner.documents(kind, after, limit as usize).await
    }

    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError> {
        self.inner.count_documents(kind).await
    }

    async fn document(&self, kind: &str, name: &str) -> Result<Option<String>, StoreError> {
        let item = self.inner.db.get(place(kind, name)).await?;
        item.as_ref().map(|item| Fields(item).text("tx").map(str::to_owned)).transpose()
    }

    async fn change_documents(&self, changes: DocumentChanges) -> Result<bool, StoreError> {
        self.inner.change_documents(changes.changes).await
    }

    async fn hold(
        &self,
        what: &str,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Hold, StoreError> {
        self.inner.hold(what, holder, now, until).await
    }

    async fn end_hold(&self, what: &str, holder: &str) -> Result<(), StoreError> {
        self.inner.end_hold(what, holder).await
    }
}

impl Inner {
    async fn documents(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        let mut found: Vec<Document> = Vec::new();
        while found.len() < limit {
            let behind = found.last().map(|last| last.name.as_str()).or(after);
            let (page, more) = self.documents_behind(kind, behind, limit - found.len()).await?;
            found.extend(page);
            if !more {
                break;
            }
        }
        Ok(found)
    }

    /// Some documents of a kind by name, behind a name if one is given: at most so many, and no more than one request gives. And whether
    /// there may be more.
    pub(crate) async fn documents_behind(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Document>, bool), StoreError> {
        let (start, most) = (after.map(|after| place(kind, after)), i32::try_from(limit).unwrap_or(i32::MAX));
        let query = Query { limit: Some(most), start, ..Query::table(keys::documents(kind)) };
        let page = self.db.query(&query).await?;
        let mut found = Vec::with_capacity(page.items.len());
        for item in &page.items {
            let fields = Fields(item);
            let (name, value) = (fields.text("sk")?.to_owned(), fields.text("tx")?.to_owned());
            found.push(Document { name, value });
        }
        // A page without documents is the last one: each that is looked at is given.
        let more = page.next.is_some() && !found.is_empty();
        Ok((found, more))
    }

    async fn count_documents(&self, kind: &str) -> Result<u64, StoreError> {
        let all = Query { count: true, ..Query::table(keys::documents(kind)) };
        Ok(self.db.query_whole(all).await?.count)
    }

    /// The kinds of which there is a document, or was one, by name.
    pub(crate) async fn document_kinds(&self) -> Result<Vec<String>, StoreError> {
        let Some(item) = self.db.get(keys::document_kinds()).await? else { return Ok(Vec::new()) };
        let mut kinds = Fields(&item).set_of_texts(KINDS)?.to_vec();
        kinds.sort_unstable();
        Ok(kinds)
    }

    /// Makes a kind known to moves before there is a document of it. Written once by each process for each kind.
    async fn know_kind(&self, kind: &str) -> Result<(), StoreError> {
        if self.notes.knows_kind(kind) {
            return Ok(());
        }
        let update = Expression::new().add(KINDS, texts([kind.to_owned()]));
        unconditional(self.db.update(keys::document_kinds(), &update).await)?;
        self.notes.note_kind(kind);
        Ok(())
    }

    async fn change_documents(&self, changes: Vec<DocumentChange>) -> Result<bool, StoreError> {
        for change in &changes {
            if let DocumentChange::Put { kind, .. } | DocumentChange::Replace { kind, .. } = change {
                self.know_kind(kind).await?;
            }
        }
        // A transaction has each item once: what is said last of one stands, at the place of what was said first.
        let (mut places, mut all) = (BTreeMap::new(), Vec::<Slot>::new());
        for change in changes {
            let (kind, name, value, was) = match change {
                DocumentChange::Put { kind, name, value } => (kind, name, Some(value), None),
                DocumentChange::Replace { kind, name, was, value } => (kind, name, Some(value), Some(was)),
                DocumentChange::Remove { kind, name } => (kind, name, None, None),
            };
            let at = *places.entry((kind.clone(), name.clone())).or_insert(all.len());
            match all.get_mut(at) {
                Some(slot) => {
                    slot.value = value;
                    slot.was = slot.was.take().or(was);
                }
                None => all.push(Slot { place: place(&kind, &name), value, was }),
            }
        }
        if all.len() == 1
            && let Some(slot) = all.pop()
        {
            return self.change_document(slot).await;
        }
        // What comes first is what others are told by, and the last to be written; what has a condition is the first.
        all.sort_by_key(|slot| slot.was.is_some());
        for part in all.chunks_mut(MOST).rev() {
            if !self.change_part(part).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Changes one document, at half of what a transaction costs.
    async fn change_document(&self, mut slot: Slot) -> Result<bool, StoreError> {
        loop {
            let written = match &slot.value {
                Some(value) => self.db.put(slot.item(value), slot.condition()).await,
                None => self.db.delete(slot.place.clone(), &slot.condition()).await,
            };
            match written {
                Ok(()) => return Ok(true),
                Err(WriteError::Condition(standing)) => {
                    if !slot.meets(standing.as_ref())? {
                        return Ok(false);
                    }
                }
                Err(WriteError::Failed(error)) => return Err(error),
            }
        }
    }

    /// Changes as many documents as fit a transaction; says whether all conditions held.
    async fn change_part(&self, part: &mut [Slot]) -> Result<bool, StoreError> {
        loop {
            let mut writes = Vec::with_capacity(part.len());
            for slot in &*part {
                writes.push(match &slot.value {
                    Some(value) => self.db.put_write(slot.item(value), &slot.condition())?,
                    None => self.db.delete_write(slot.place.clone(), &slot.condition())?,
                });
            }
            match self.db.transact(writes, &format!("documents#{}", self.db.draw())).await {
                Ok(()) => return Ok(true),
                Err(TransactError::Conditions(told)) => {
                    if !told.iter().any(|(failed, _)| *failed) {
                        return Ok(false);
                    }
                    for (slot, (_, standing)) in part.iter_mut().zip(told).filter(|(_, (failed, _))| *failed)
                    {
                        if !slot.meets(standing.as_ref())? {
                            return Ok(false);
                        }
                    }
                }
                Err(TransactError::Failed(error)) => return Err(error),
            }
        }
    }

    /// Takes in a document of another store. What it said then is noted with it: by that, one is known that was written here since.
    pub(crate) async fn import_document(&self, record: &DocumentRecord) -> Result<Verdict, ImportError> {
        let DocumentRecord { kind, name, value } = record;
        let mut item = place(kind, name);
        let before = self.db.get(item.clone()).await?;
        let (mut standing, mut taken) = (None, None);
        if let Some(before) = &before {
            let fields = Fields(before);
            (standing, taken) = (Some(fields.text("tx")?), fields.maybe_text(TAKEN)?);
        }
        let verdict = document_onto(record, standing, |sum| taken == Some(sum))?;
        if verdict == Verdict::Same {
            return Ok(verdict);
        }
        self.know_kind(kind).await?;
        item.insert("tx".to_owned(), s(value));
        item.insert(TAKEN.to_owned(), s(document_sum(value)));
        let unchanged = match standing {
            None => Expression::new().when_absent("pk"),
            // Who has written it since has left the sum out.
            Some(_) => Expression::new().when_still(TAKEN, taken.map(s)),
        };
        match self.db.put(item, unchanged).await {
            Ok(()) => Ok(verdict),
            // The first sending of this very write went through, and its answer was lost.
            Err(WriteError::Condition(Some(item))) if Fields(&item).text("tx")? == value.as_str() => {
                Ok(verdict)
            }
            Err(WriteError::Condition(_)) => Err(contended("the document").into()),
            Err(WriteError::Failed(error)) => Err(error.into()),
        }
    }

    /// Removes those documents that say what they said when they were taken in.
    pub(crate) async fn remove_copies(&self) -> Result<(), StoreError> {
        for kind in self.document_kinds().await? {
            let mut start = None;
            loop {
                let page = self.db.query(&Query { start, ..Query::table(keys::documents(&kind)) }).await?;
                for item in &page.items {
                    let fields = Fields(item);
                    let sum = document_sum(fields.text("tx")?);
                    if fields.maybe_text(TAKEN)? != Some(sum.as_str()) {
                        continue;
                    }
                    let unchanged = Expression::new().when(TAKEN, "=", s(sum));
                    match self.db.delete(place(&kind, fields.text("sk")?), &unchanged).await {
                        // What was written meanwhile is no copy.
                        Ok(()) | Err(WriteError::Condition(_)) => {}
                        Err(WriteError::Failed(error)) => return Err(error),
                    }
                }
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What there is of documents, for who cannot take them: each kind by count, and by names where people have given them.
    pub(crate) async fn document_holdings(&self) -> Result<Vec<Holding>, StoreError> {
        let mut found = Vec::new();
        for kind in self.document_kinds().await? {
            let records = self.count_documents(&kind).await?;
            let named = match Holding::tells_names(&kind) {
                true => self.documents(&kind, None, NAMED).await?,
                false => Vec::new(),
            };
            let names = named.into_iter().map(|document| document.name).collect();
            found.push(Holding::of_documents(&kind, records, names));
        }
        Ok(found)
    }
}
