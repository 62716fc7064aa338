//! Transactions: several writes, or none.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    Delete, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use baton_model::Digest;
use baton_store::StoreError;

use crate::attr::Item;
use crate::db::{Db, TRIES, unbuilt};
use crate::error::{Fate, TransactError, fate, fate_of_code, store_error};
use crate::expression::Expression;

/// The most writes of one transaction.
pub(crate) const MOST: usize = 100;

const WHAT: &str = "a transaction";

impl Db {
    /// A change of an item on a condition, as a part of a transaction.
    pub(crate) fn update_write(
        &self,
        key: Item,
        change: &Expression,
    ) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(change.update())
            .set_condition_expression(change.condition())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().update(update.build().map_err(unbuilt)?).build())
    }

    /// An item that is put on a condition, as a part of a transaction.
    pub(crate) fn put_write(
        &self,
        item: Item,
        condition: &Expression,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(put.build().map_err(unbuilt)?).build())
    }

    /// The removal of an item on a condition, as a part of a transaction.
    pub(crate) fn delete_write(
        &self,
        key: Item,
        condition: &Expression,
    ) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key))
            .set_condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values());
        Ok(TransactWriteItem::builder().delete(delete.build().map_err(unbuilt)?).build())
    }

    /// Writes all of these or none. `name` names this very transaction, so that DynamoDB answers its second sending as
    /// the first.
    pub(crate) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
        name: &str,
    ) -> Result<(), TransactError> {
        self.transact_telling(writes, name).await.map_err(|(error, _)| error)
    }

    /// The same. With an error comes which of the writes can never be done as they are, as one would make its item too
    /// large; none if that is not told.
    pub(crate) async fn transact_telling(
        &self,
        writes: Vec<TransactWriteItem>,
        name: &str,
    ) -> Result<(), (TransactError, Vec<bool>)> {
        // Tokens are known in the whole account.
        let mut token = token(&format!("{}#{name}", self.table));
        let mut ambiguous = false;
        let mut tried = 0;
        loop {
            let capacity = self.meter.is_some().then_some(ReturnConsumedCapacity::Indexes);
            let ask = self.client.transact_write_items().set_transact_items(Some(writes.clone()));
            let ask = ask.client_request_token(&token).set_return_consumed_capacity(capacity);
            let began = std::time::Instant::now();
            let error = match ask.send().await {
                Ok(answer) => {
                    self.commits.count(writes.len(), began.elapsed());
                    let used = answer.consumed_capacity.unwrap_or_default();
                    self.note("TransactWriteItems", true, writes.len(), &used);
                    return Ok(());
                }
                Err(error) => error,
            };
            let mut fate = fate(&error);
            let mut impossible = Vec::new();
            if let SdkError::ServiceError(service) = &error
                && let TransactWriteItemsError::TransactionCanceledException(cancelled) = service.err()
            {
                let reasons = cancelled.cancellation_reasons();
                let code =
                    |reason: &aws_sdk_dynamodb::types::CancellationReason| reason.code().map(str::to_owned);
                let failed = |code: &Option<String>| code.as_deref() == Some("ConditionalCheckFailed");
                if reasons.iter().map(code).any(|code| failed(&code)) {
                    self.note_refused("TransactWriteItems");
                    let told = reasons.iter().map(|reason| (failed(&code(reason)), reason.item.clone()));
                    return Err((TransactError::Conditions(told.collect()), Vec::new()));
                }
                impossible = reasons.iter().map(|reason| reason.code() == Some("ValidationError")).collect();
                let hurdles: Vec<_> = reasons.iter().filter_map(code).filter(|code| code != "None").collect();
                if !hurdles.is_empty() && hurdles.iter().all(|code| fate_of_code(code) == Fate::NotDone) {
                    fate = Fate::NotDone;
                }
            }
            if error.code() == Some("IdempotentParameterMismatchException") && !ambiguous {
                // Another has used the token, which only equal seeds can bring about: nothing was done.
                token = self::token(&format!("{token}#{}", self.draw()));
                fate = Fate::NotDone;
            }
            ambiguous |= fate == Fate::Unknown;
            tried += 1;
            if fate == Fate::Refused || tried == TRIES {
                let failed = match (fate, ambiguous) {
                    (Fate::NotDone, false) => StoreError::Unavailable(Box::new(error)),
                    _ => store_error(WHAT, error, ambiguous),
                };
                return Err((TransactError::Failed(failed), impossible));
            }
            self.pause(tried - 1).await;
        }
    }
}

/// A request token: at most 36 characters.
fn token(of: &str) -> String {
    Digest::of_bytes(of.as_bytes()).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
