//! What Baton's clients of AWS have in common: one HTTP client with *ring* for TLS, shared by all clients of a process;
//! region and credentials by the standard settings of AWS (feature `environment`); and SQS (feature `queues`), for the
//! functions on Lambda and for workers whose outcomes go through a queue. DynamoDB is `baton-store-dynamodb`'s alone.

#[cfg(feature = "environment")]
pub mod environment;
mod http;
#[cfg(feature = "queues")]
pub mod letters;
#[cfg(feature = "queues")]
pub mod queues;

/// The AWS SDK's crate of SQS, in the version that [`queues`] is made with.
#[cfg(feature = "queues")]
pub use aws_sdk_sqs;

pub use http::{Roots, http_client, http_client_with};
