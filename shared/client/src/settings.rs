//! What operators set for many tasks: defaults of queues, limits, schedules and supplies.

use baton_api::defaults::{DefaultsChangeView, DefaultsRequest};
use baton_api::limit::{ClearLimit, LimitChangeView, LimitView, ProjectView, SetLimit, SetOwner};
use baton_api::manage::ActionRequest;
use baton_api::schedule::{ScheduleAction, ScheduleView, SetSchedule};
use baton_api::supply::{SetSupply, SupplyView};
use baton_api::task::Page;
use baton_model::{ProjectId, QueueName, ScheduleName};

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// Changes what a queue gives to tasks that do not say; what the request leaves out stays as it is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_queue_defaults(
        &self,
        queue: &QueueName,
        defaults: &DefaultsRequest,
    ) -> Result<DefaultsChangeView, ClientError> {
        self.call(Call::patch(format!("/v1/queues/{queue}/defaults"), defaults).repeatable(true)).await
    }

    /// Sets a limit.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_limit(&self, limit: &SetLimit) -> Result<LimitChangeView, ClientError> {
        self.call(Call::post("/v1/limits", limit).repeatable(true)).await
    }

    /// Takes a limit away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear_limit(&self, limit: &ClearLimit) -> Result<LimitChangeView, ClientError> {
        self.call(Call::post("/v1/limits/clear", limit).repeatable(true)).await
    }

    /// Limits, by what they hold for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn limits(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<LimitView>, ClientError> {
        self.call(Call::get("/v1/limits").query("cursor", cursor).query("limit", limit)).await
    }

    /// Says whose a project is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_owner(&self, project: &ProjectId, owner: &SetOwner) -> Result<ProjectView, ClientError> {
        self.call(Call::post(format!("/v1/projects/{project}/owner"), owner).repeatable(true)).await
    }

    /// Projects that have an owner, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn projects(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<ProjectView>, ClientError> {
        self.call(Call::get("/v1/projects").query("cursor", cursor).query("limit", limit)).await
    }

    /// Sets a schedule.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_schedule(&self, schedule: &SetSchedule) -> Result<ScheduleView, ClientError> {
        self.call(Call::post("/v1/schedules", schedule).repeatable(true)).await
    }

    /// Schedules, by project and name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn schedules(
        &self,
        project: Option<&ProjectId>,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<ScheduleView>, ClientError> {
        let call = Call::get("/v1/schedules").query("project", project).query("cursor", cursor);
        self.call(call.query("limit", limit)).await
    }

    /// One schedule, with so many of its next times.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn schedule(
        &self,
        name: &ScheduleName,
        project: Option<&ProjectId>,
        next: Option<u32>,
    ) -> Result<ScheduleView, ClientError> {
        let call = Call::get(format!("/v1/schedules/{name}")).query("project", project);
        self.call(call.query("next", next)).await
    }

    /// Has a schedule create nothing for now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pause_schedule(
        &self,
        name: &ScheduleName,
        action: &ScheduleAction,
    ) -> Result<ScheduleView, ClientError> {
        self.call(Call::post(format!("/v1/schedules/{name}/pause"), action).repeatable(true)).await
    }

    /// Has a paused schedule go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_schedule(
        &self,
        name: &ScheduleName,
        action: &ScheduleAction,
    ) -> Result<ScheduleView, ClientError> {
        self.call(Call::post(format!("/v1/schedules/{name}/resume"), action).repeatable(true)).await
    }

    /// Deletes a schedule; the answer is the schedule as it was.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_schedule(
        &self,
        name: &ScheduleName,
        action: &ScheduleAction,
    ) -> Result<ScheduleView, ClientError> {
        self.call(Call::post(format!("/v1/schedules/{name}/delete"), action)).await
    }

    /// Sets the supply of a queue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_supply(&self, queue: &QueueName, supply: &SetSupply) -> Result<SupplyView, ClientError> {
        self.call(Call::post(format!("/v1/queues/{queue}/supply"), supply).repeatable(true)).await
    }

    /// The supply of a queue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn supply(&self, queue: &QueueName) -> Result<SupplyView, ClientError> {
        self.call(Call::get(format!("/v1/queues/{queue}/supply"))).await
    }

    /// Supplies, by queue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn supplies(
        &self,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<SupplyView>, ClientError> {
        self.call(Call::get("/v1/supplies").query("cursor", cursor).query("limit", limit)).await
    }

    /// Takes a queue's supply away; the answer is the supply as it was.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unset_supply(
        &self,
        queue: &QueueName,
        action: &ActionRequest,
    ) -> Result<SupplyView, ClientError> {
        self.call(Call::post(format!("/v1/queues/{queue}/supply/unset"), action)).await
    }
}
