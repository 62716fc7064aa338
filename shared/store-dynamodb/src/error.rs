//! What DynamoDB's errors mean to a caller.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use baton_store::StoreError;

use crate::attr::Item;

/// Whether a request that failed may be sent again, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not carried out: throttled, or in conflict with another that runs.
    NotDone,
    /// It may have been carried out: the answer was lost.
    Unknown,
    /// It was refused, and would be again.
    Refused,
}

/// Says what became of a request that failed.
pub(crate) fn fate<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Fate {
    match error {
        SdkError::ConstructionFailure(_) => Fate::Refused,
        // Some dispatches fail before anything is sent; which, cannot be told for sure. Also one that is said to be the caller's
        // fault may be a connection whose runtime has ended while the request was on its way.
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) | SdkError::DispatchFailure(_) => {
            Fate::Unknown
        }
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => fate_of_code(code),
            None => Fate::Unknown,
        },
        _ => Fate::Unknown,
    }
}

/// Says what became of a request by the error code that came back.
pub(crate) fn fate_of_code(code: &str) -> Fate {
    match code {
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "ThrottlingException"
        | "ThrottlingError"
        | "RequestLimitExceeded"
        | "TransactionConflictException"
        | "TransactionConflict"
        | "ReplicatedWriteConflictException" => Fate::NotDone,
        "InternalServerError"
        | "InternalServerErrorException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "TransactionInProgressException" => Fate::Unknown,
        _ => Fate::Refused,
    }
}

/// What a request that failed for good means. `ambiguous`: some try of it may have been carried out.
pub(crate) fn store_error<E, R>(what: &'static str, error: SdkError<E, R>, ambiguous: bool) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let fate = fate(&error);
    let code = match &error {
        SdkError::ServiceError(service) => service.err().code().map(str::to_owned),
        _ => None,
    };
    let cause: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
    match (fate, ambiguous) {
        (Fate::Unknown, _) | (_, true) => StoreError::Unknown(cause),
        (Fate::NotDone, false) => StoreError::Unavailable(cause),
        (Fate::Refused, false) => {
            let what = match code.as_deref() {
                Some("ResourceNotFoundException") => {
                    format!(
                        "{what}: expected the table and its index to exist; create them with `baton table create`"
                    )
                }
                Some(code) => format!("{what}: DynamoDB refused it as {code}"),
                None => format!("{what}: the request could not be made"),
            };
            StoreError::Internal { what, cause: Some(cause) }
        }
    }
}

/// How a write did not go through.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Its condition did not hold; the item as it stands, if there is one.
    Condition(Option<Item>),
    /// The store failed.
    Failed(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// How a transaction did not go through.
#[derive(Debug)]
pub(crate) enum TransactError {
    /// Conditions did not hold: for each write, whether it was its own, and its item as it stands.
    Conditions(Vec<(bool, Option<Item>)>),
    /// The store failed.
    Failed(StoreError),
}

/// Says that something stored cannot be read.
pub(crate) fn corrupt(
    what: impl Into<String>,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Corrupt { what: what.into(), cause: Some(cause.into()) }
}

/// Says that something stored makes no sense.
pub(crate) fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { what: what.into(), cause: None }
}

/// Says that the store gave up on something that others kept changing under it; nothing was changed.
pub(crate) fn contended(what: &'static str) -> StoreError {
    StoreError::Unavailable(format!("{what} was changed by others at every try").into())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::GetItemError;
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    #[test]
    fn of_a_request_that_was_not_answered_nothing_is_known_whoever_is_to_blame() {
        for failure in [ConnectorError::user("gone".into()), ConnectorError::io("reset".into())] {
            let error: SdkError<GetItemError, ()> = SdkError::dispatch_failure(failure);
            assert_eq!(fate(&error), Fate::Unknown);
        }
    }
}
