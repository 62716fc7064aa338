//! Requests to DynamoDB: one function for each kind, with retries where these are safe, and a count of what each costs.
//!
//! Every write of this store is a condition on what was read, a put of content under its own digest, or the removal of
//! what is past its keeping; so each may be sent again when its answer was lost. What a second sending of the same
//! write looks like to a condition is told by the write's own mark (see `transition`).

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity,
    ReturnValue, ReturnValuesOnConditionCheckFailure, Select, WriteRequest,
};
use baton_store::{Commits, StoreError};

use crate::aside::Aside;
use crate::attr::{Item, s};
use crate::error::{Fate, WriteError, fate, store_error};
use crate::expression::Expression;
use crate::meter::{Meter, Request};
use crate::random::Random;

/// The name of the table's one index.
pub(crate) const INDEX: &str = "state";

/// How often a request is sent before its failure is told.
pub(crate) const TRIES: u32 = 6;

/// The first pause between two tries; each further one is twice as long, less up to half of it.
const PAUSE: Duration = Duration::from_millis(20);

/// How many keys one request for several items may name.
pub(crate) const BATCH_GET: usize = 100;

/// How many items one request may write without conditions.
const BATCH_WRITE: usize = 25;

/// Which sort keys of a partition a query reads.
#[derive(Clone, Debug)]
pub(crate) enum Range {
    All,
    Below(String),
    AtLeast(String),
    /// From the first, included, to the second, included.
    Within(String, String),
}

/// A query of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) index: bool,
    pub(crate) partition: String,
    pub(crate) range: Range,
    pub(crate) forward: bool,
    pub(crate) limit: Option<i32>,
    pub(crate) consistent: bool,
    /// Count only.
    pub(crate) count: bool,
    pub(crate) filter: Option<Expression>,
    pub(crate) start: Option<Item>,
}

impl Query {
    /// All of a partition of the table, as of now.
    pub(crate) fn table(partition: impl Into<String>) -> Self {
        Self {
            index: false,
            partition: partition.into(),
            range: Range::All,
            forward: true,
            limit: None,
            consistent: true,
            count: false,
            filter: None,
            start: None,
        }
    }

    /// All of a partition of the index, which may trail behind the table.
    pub(crate) fn index(partition: impl Into<String>) -> Self {
        Self { index: true, consistent: false, ..Self::table(partition) }
    }
}

/// What one page of a query gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) items: Vec<Item>,
    pub(crate) count: u64,
    /// How many were looked at, whether or not they fit the filter.
    pub(crate) scanned: u64,
    /// Where the next page begins.
    pub(crate) next: Option<Item>,
}

/// The table, and how to speak to it.
pub(crate) struct Db {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) random: Arc<Mutex<Random>>,
    pub(crate) meter: Option<Arc<dyn Meter>>,
    /// What was passed over.
    pub(crate) aside: Aside,
    /// What is counted of its transactions.
    pub(crate) commits: Arc<Commits>,
}

impl Db {
    /// A number that no other command draws.
    pub(crate) fn draw(&self) -> u64 {
        // The numbers are no worse for a thread that panicked while it drew one.
        self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
    }

    /// Whether requests ask what they cost.
    fn capacity(&self) -> Option<ReturnConsumedCapacity> {
        self.meter.is_some().then_some(ReturnConsumedCapacity::Indexes)
    }

    pub(crate) fn note(
        &self,
        operation: &'static str,
        writes: bool,
        items: usize,
        used: &[ConsumedCapacity],
    ) {
        if let Some(meter) = &self.meter {
            meter.record(Request::new(operation, writes, items, used));
        }
    }

    pub(crate) async fn pause(&self, tried: u32) {
        let whole = PAUSE * 2_u32.saturating_pow(tried);
        let part = (self.draw() % 1_000) as f64 / 2_000.0;
        tokio::time::sleep(whole.mul_f64(1.0 - part)).await;
    }

    /// Sends a request until it is answered, refused, or has been tried often enough.
    async fn send<T, E, R, F, A>(&self, what: &'static str, ask: F) -> Result<T, Given<E, R>>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, SdkError<E, R>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let mut ambiguous = false;
        let mut tried = 0;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let fate = fate(&error);
            ambiguous |= fate == Fate::Unknown;
            tried += 1;
            if fate == Fate::Refused || tried == TRIES {
                return Err(Given { error, ambiguous, what });
            }
            tracing::debug!(what, tried, ?fate, "DynamoDB did not answer a request; trying again");
            self.pause(tried - 1).await;
        }
    }

    /// One item, as of now.
    pub(crate) async fn get(&self, key: Item) -> Result<Option<Item>, StoreError> {
        self.get_as(key, true).await
    }

    /// One item, as it was a moment ago, at half the price.
    pub(crate) async fn get_lately(&self, key: Item) -> Result<Option<Item>, StoreError> {
        self.get_as(key, false).await
    }

    async fn get_as(&self, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        let ask = || {
            let get = self.client.get_item().table_name(&self.table).set_key(Some(key.clone()));
            get.consistent_read(consistent).set_return_consumed_capacity(self.capacity()).send()
        };
        let answer = self.send("reading an item", ask).await?;
        self.note("GetItem", false, 1, answer.consumed_capacity.as_slice());
        Ok(answer.item)
    }

    /// Several items, as of now, in no order; those that do not exist are left out. Keys must be distinct.
    pub(crate) async fn get_all(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        self.get_batches(keys, true).await
    }

    /// Several items, as they were a moment ago, which costs half.
    pub(crate) async fn get_all_lately(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        self.get_batches(keys, false).await
    }

    async fn get_batches(&self, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(BATCH_GET) {
            let mut open = chunk.to_vec();
            let mut tried = 0;
            while !open.is_empty() {
                let ask = || {
                    let keys =
                        KeysAndAttributes::builder().set_keys(Some(open.clone())).consistent_read(consistent);
                    let wanted = keys.build().map(|keys| HashMap::from([(self.table.clone(), keys)]));
                    let get = self.client.batch_get_item().set_request_items(wanted.ok());
                    get.set_return_consumed_capacity(self.capacity()).send()
                };
                let answer = self.send("reading items", ask).await?;
                let used = answer.consumed_capacity.unwrap_or_default();
                self.note("BatchGetItem", false, open.len(), &used);
                items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
                let left = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
                let before = open.len();
                open = left.map(|left| left.keys).unwrap_or_default();
                if !open.is_empty() {
                    tried = if open.len() < before { 0 } else { tried + 1 };
                    if tried == TRIES {
                        return Err(StoreError::Unavailable(
                            "DynamoDB left keys of a read unprocessed".into(),
                        ));
                    }
                    self.pause(tried).await;
                }
            }
        }
        Ok(items)
    }

    /// Writes an item on a condition. Nothing is returned, as all of it is known.
    pub(crate) async fn put(&self, item: Item, condition: Expression) -> Result<(), WriteError> {
        let ask = || {
            self.client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.clone()))
                .set_condition_expression(condition.condition())
                .set_expression_attribute_names(condition.names())
                .set_expression_attribute_values(condition.values())
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .set_return_consumed_capacity(self.capacity())
                .send()
        };
        match self.send("writing an item", ask).await {
            Ok(answer) => {
                self.note("PutItem", true, 1, answer.consumed_capacity.as_slice());
                Ok(())
            }
            Err(given) => {
                use aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException;
                match given.error.as_service_error() {
                    Some(ConditionalCheckFailedException(refused)) => {
                        self.note_refused("PutItem");
                        Err(WriteError::Condition(refused.item.clone()))
                    }
                    _ => Err(WriteError::Failed(given.into())),
                }
            }
        }
    }

    /// Changes an item on a condition; the answer is the whole item after it.
    pub(crate) async fn update(&self, key: Item, change: &Expression) -> Result<Item, WriteError> {
        self.change(key, change, true).await
    }

    /// Changes an item on a condition, and is told nothing of it: for who may write one attribute of an item only, as a
    /// role's condition on attributes holds for those that are returned, too (`infra/template.yaml`).
    pub(crate) async fn update_unseen(&self, key: Item, change: &Expression) -> Result<(), WriteError> {
        self.change(key, change, false).await.map(drop)
    }

    async fn change(&self, key: Item, change: &Expression, told: bool) -> Result<Item, WriteError> {
        use ReturnValuesOnConditionCheckFailure as OnFailure;
        let (returned, on_failure) = if told {
            (ReturnValue::AllNew, OnFailure::AllOld)
        } else {
            (ReturnValue::None, OnFailure::None)
        };
        let ask = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .update_expression(change.update())
                .set_condition_expression(change.condition())
                .set_expression_attribute_names(change.names())
                .set_expression_attribute_values(change.values())
                .return_values(returned.clone())
                .return_values_on_condition_check_failure(on_failure.clone())
                .set_return_consumed_capacity(self.capacity())
                .send()
        };
        match self.send("changing an item", ask).await {
            Ok(answer) => {
                self.note("UpdateItem", true, 1, answer.consumed_capacity.as_slice());
                Ok(answer.attributes.unwrap_or_default())
            }
            Err(given) => {
                use aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException;
                match given.error.as_service_error() {
                    Some(ConditionalCheckFailedException(refused)) => {
                        self.note_refused("UpdateItem");
                        Err(WriteError::Condition(refused.item.clone()))
                    }
                    _ => Err(WriteError::Failed(given.into())),
                }
            }
        }
    }

    /// Removes an item on a condition.
    pub(crate) async fn delete(&self, key: Item, condition: &Expression) -> Result<(), WriteError> {
        let ask = || {
            self.client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .set_condition_expression(condition.condition())
                .set_expression_attribute_names(condition.names())
                .set_expression_attribute_values(condition.values())
                .set_return_consumed_capacity(self.capacity())
                .send()
        };
        match self.send("removing an item", ask).await {
            Ok(answer) => {
                self.note("DeleteItem", true, 1, answer.consumed_capacity.as_slice());
                Ok(())
            }
            Err(given) => {
                use aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException;
                match given.error.as_service_error() {
                    Some(ConditionalCheckFailedException(refused)) => {
                        self.note_refused("DeleteItem");
                        Err(WriteError::Condition(refused.item.clone()))
                    }
                    _ => Err(WriteError::Failed(given.into())),
                }
            }
        }
    }

    /// A refused conditional write is billed as one that went through.
    pub(crate) fn note_refused(&self, operation: &'static str) {
        if let Some(meter) = &self.meter {
            meter.record(Request::refused(operation));
        }
    }

    /// Writes items whose keys name their content, or which nobody changes.
    pub(crate) async fn put_all(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let puts = items.into_iter().map(|item| {
            let put = PutRequest::builder().set_item(Some(item)).build();
            put.map(|put| WriteRequest::builder().put_request(put).build())
        });
        self.write_all(puts.collect::<Result<_, _>>().map_err(unbuilt)?).await
    }

    /// Removes items without condition.
    pub(crate) async fn delete_all(&self, keys: Vec<Item>) -> Result<(), StoreError> {
        let deletes = keys.into_iter().map(|key| {
            let delete = DeleteRequest::builder().set_key(Some(key)).build();
            delete.map(|delete| WriteRequest::builder().delete_request(delete).build())
        });
        self.write_all(deletes.collect::<Result<_, _>>().map_err(unbuilt)?).await
    }

    async fn write_all(&self, writes: Vec<WriteRequest>) -> Result<(), StoreError> {
        let mut done = 0;
        for chunk in writes.chunks(BATCH_WRITE) {
            let mut open = chunk.to_vec();
            let mut tried = 0;
            while !open.is_empty() {
                let ask = || {
                    let write = self.client.batch_write_item().request_items(&self.table, open.clone());
                    write.set_return_consumed_capacity(self.capacity()).send()
                };
                let answer = match self.send("writing items", ask).await {
                    Ok(answer) => answer,
                    // What went before stands: it is not so that nothing was changed.
                    Err(given) => return Err(given.into_store(done > 0)),
                };
                let used = answer.consumed_capacity.unwrap_or_default();
                self.note("BatchWriteItem", true, open.len(), &used);
                let before = open.len();
                open = answer.unprocessed_items.unwrap_or_default().remove(&self.table).unwrap_or_default();
                done += before - open.len();
                if !open.is_empty() {
                    tried = if open.len() < before { 0 } else { tried + 1 };
                    if tried == TRIES {
                        let cause = "DynamoDB left items of a write unprocessed".into();
                        return Err(if done > 0 {
                            StoreError::Unknown(cause)
                        } else {
                            StoreError::Unavailable(cause)
                        });
                    }
                    self.pause(tried).await;
                }
            }
        }
        Ok(())
    }

    /// One page of a query.
    pub(crate) async fn query(&self, query: &Query) -> Result<Found, StoreError> {
        let (pk, sk) = if query.index { ("ip", "is") } else { ("pk", "sk") };
        let filter = query.filter.clone().unwrap_or_default();
        let mut names = filter.names().unwrap_or_default();
        let mut values = filter.values().unwrap_or_default();
        names.insert("#p".to_owned(), pk.to_owned());
        values.insert(":p".to_owned(), s(&query.partition));
        let mut bound = |name: &str, key: &str| {
            values.insert(name.to_owned(), s(key));
        };
        let condition = match &query.range {
            Range::All => "#p = :p",
            Range::Below(key) => {
                bound(":a", key);
                "#p = :p AND #s < :a"
            }
            Range::AtLeast(key) => {
                bound(":a", key);
                "#p = :p AND #s >= :a"
            }
            Range::Within(first, last) => {
                bound(":a", first);
                bound(":b", last);
                "#p = :p AND #s BETWEEN :a AND :b"
            }
        };
        if !matches!(query.range, Range::All) {
            names.insert("#s".to_owned(), sk.to_owned());
        }
        let ask = || {
            let mut ask = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression(condition)
                .set_expression_attribute_names(Some(names.clone()))
                .set_expression_attribute_values(Some(values.clone()))
                .set_filter_expression(filter.condition())
                .scan_index_forward(query.forward)
                .set_limit(query.limit)
                .set_exclusive_start_key(query.start.clone())
                .set_return_consumed_capacity(self.capacity());
            if query.index {
                ask = ask.index_name(INDEX);
            } else {
                ask = ask.consistent_read(query.consistent);
            }
            if query.count {
                ask = ask.select(Select::Count);
            }
            ask.send()
        };
        let answer = self.send("a query", ask).await?;
        self.note(
            "Query",
            false,
            usize::try_from(answer.scanned_count).unwrap_or(0),
            answer.consumed_capacity.as_slice(),
        );
        Ok(Found {
            count: u64::try_from(answer.count).unwrap_or(0),
            scanned: u64::try_from(answer.scanned_count).unwrap_or(0),
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }

    /// Every page of a query, put together. For partitions whose size has a bound.
    pub(crate) async fn query_whole(&self, mut query: Query) -> Result<Found, StoreError> {
        let mut all = Found::default();
        loop {
            let page = self.query(&query).await?;
            all.count += page.count;
            all.scanned += page.scanned;
            all.items.extend(page.items);
            match page.next {
                None => return Ok(all),
                next => query.start = next,
            }
        }
    }
}

/// A request that was given up on.
pub(crate) struct Given<E, R> {
    error: SdkError<E, R>,
    ambiguous: bool,
    what: &'static str,
}

impl<E, R> Given<E, R>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn into_store(self, ambiguous: bool) -> StoreError {
        store_error(self.what, self.error, self.ambiguous || ambiguous)
    }
}

impl<E, R> From<Given<E, R>> for StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(given: Given<E, R>) -> Self {
        given.into_store(false)
    }
}

pub(crate) fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Internal { what: "a request to DynamoDB lacks a part".to_owned(), cause: Some(error.into()) }
}

/// A list attribute.
pub(crate) fn list(values: impl Iterator<Item = AttributeValue>) -> AttributeValue {
    AttributeValue::L(values.collect())
}

/// A set of numbers.
pub(crate) fn numbers(values: impl IntoIterator<Item = i64>) -> AttributeValue {
    AttributeValue::Ns(values.into_iter().map(|number| number.to_string()).collect())
}
