//! Addresses of a place itself, which somebody without its credentials may use for a while.

use std::time::Duration;

use async_trait::async_trait;

use crate::Cause;

/// What is said of bytes to whoever fetches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What they are.
    pub content_type: String,
    /// What a browser does with them.
    pub disposition: String,
}

/// Who signs addresses of a place.
#[async_trait]
pub trait Addresses: Send + Sync {
    /// An address from which an object can be fetched for so long, and what is said of it then.
    ///
    /// # Errors
    /// Why it cannot be signed.
    async fn get(&self, object: &str, shown: &Shown, time: Duration) -> Result<String, Cause>;

    /// An address where an object may be put for so long.
    ///
    /// # Errors
    /// Why it cannot be signed.
    async fn put(&self, object: &str, time: Duration) -> Result<String, Cause>;
}
