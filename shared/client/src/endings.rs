//! Several attempts that end by one request.

use baton_api::ending::{EndingsRequest, EndingsView};

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// Ends 1 to 1,000 attempts; the answer tells what became of each. The same ends sent again are answered as the first time;
    /// a claim that comes along is repeated freely only if it has a `request_id`. What the answer says could not be done now is
    /// the caller's to send again.
    ///
    /// # Errors
    /// [`ClientError`]; a server that is older than this route answers with 404 ([`ClientError::is_unknown_route`]).
    pub async fn end(&self, endings: &EndingsRequest) -> Result<EndingsView, ClientError> {
        let safe = endings.claim.as_ref().is_none_or(|claim| claim.request_id.is_some());
        self.call(Call::post("/v1/endings", endings).repeatable(safe)).await
    }
}
