//! The workers that a server supervises.

use baton_api::manage::ActionRequest;
use baton_api::supervised::{GroupView, GroupsView, RestartRequest, ScaleRequest};
use baton_model::GroupName;

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// The groups of workers that the server supervises, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn groups(&self) -> Result<GroupsView, ClientError> {
        self.call(Call::get("/v1/fleet")).await
    }

    /// Starts all workers of a group that do not run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_group(
        &self,
        group: &GroupName,
        action: &ActionRequest,
    ) -> Result<GroupView, ClientError> {
        self.call(Call::post(format!("/v1/fleet/{group}/start"), action).repeatable(true)).await
    }

    /// Ends all workers of a group.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stop_group(
        &self,
        group: &GroupName,
        action: &ActionRequest,
    ) -> Result<GroupView, ClientError> {
        self.call(Call::post(format!("/v1/fleet/{group}/stop"), action).repeatable(true)).await
    }

    /// Starts all workers of a group anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn restart_group(
        &self,
        group: &GroupName,
        request: &RestartRequest,
    ) -> Result<GroupView, ClientError> {
        // Twice is not once: each restart is another.
        self.call(Call::post(format!("/v1/fleet/{group}/restart"), request)).await
    }

    /// Sets how many workers a group has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn scale_group(
        &self,
        group: &GroupName,
        request: &ScaleRequest,
    ) -> Result<GroupView, ClientError> {
        self.call(Call::post(format!("/v1/fleet/{group}/scale"), request).repeatable(true)).await
    }
}
