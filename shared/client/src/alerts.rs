//! Alerts and webhooks.

use baton_api::alert::{AlertView, AlertsView, SetAlert};
use baton_api::manage::ActionRequest;
use baton_api::webhook::{
    MessageView, RedeliverRequest, SetWebhook, WebhookDetailView, WebhookView, WebhooksView,
};
use baton_model::GroupName;

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// All rules of alerts, and how they stand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alerts(&self) -> Result<AlertsView, ClientError> {
        self.call(Call::get("/v1/alerts")).await
    }

    /// One rule, and how it stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn alert(&self, name: &GroupName) -> Result<AlertView, ClientError> {
        self.call(Call::get(format!("/v1/alerts/{name}"))).await
    }

    /// Sets a rule.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_alert(&self, name: &GroupName, set: &SetAlert) -> Result<AlertView, ClientError> {
        self.call(Call::put(format!("/v1/alerts/{name}"), set)).await
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_alert(&self, name: &GroupName) -> Result<AlertView, ClientError> {
        self.call(Call::delete(format!("/v1/alerts/{name}"))).await
    }

    /// All webhooks, and how they stand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn webhooks(&self) -> Result<WebhooksView, ClientError> {
        self.call(Call::get("/v1/webhooks")).await
    }

    /// One webhook with its messages.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn webhook(&self, name: &GroupName) -> Result<WebhookDetailView, ClientError> {
        self.call(Call::get(format!("/v1/webhooks/{name}"))).await
    }

    /// Sets a webhook. If its secret is made, that is in the answer and nowhere else; if the answer is lost, set a secret of your own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_webhook(&self, name: &GroupName, set: &SetWebhook) -> Result<WebhookView, ClientError> {
        // Sent again, it would keep the secret that it has made, and not tell it.
        let is_whole = set.secret.is_some();
        self.call(Call::put(format!("/v1/webhooks/{name}"), set).repeatable(is_whole)).await
    }

    /// Takes a webhook away, with what waits for it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_webhook(&self, name: &GroupName) -> Result<WebhookView, ClientError> {
        self.call(Call::delete(format!("/v1/webhooks/{name}"))).await
    }

    /// Takes up a webhook that was given up.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enable_webhook(
        &self,
        name: &GroupName,
        action: &ActionRequest,
    ) -> Result<WebhookView, ClientError> {
        self.call(Call::post(format!("/v1/webhooks/{name}/enable"), action).repeatable(true)).await
    }

    /// Sends a message anew.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn redeliver(
        &self,
        name: &GroupName,
        message: &RedeliverRequest,
    ) -> Result<MessageView, ClientError> {
        self.call(Call::post(format!("/v1/webhooks/{name}/redeliver"), message)).await
    }

    /// Sends a message that says nothing, to see whether it comes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn test_webhook(
        &self,
        name: &GroupName,
        action: &ActionRequest,
    ) -> Result<MessageView, ClientError> {
        self.call(Call::post(format!("/v1/webhooks/{name}/test"), action)).await
    }
}
