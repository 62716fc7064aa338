//! How many machines should run workers.

use baton_api::scaling::ScalingView;

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// How many machines each pool of the server's settings should have, how many it has, and why.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn scaling(&self) -> Result<ScalingView, ClientError> {
        self.call(Call::get("/v1/scaling")).await
    }
}
