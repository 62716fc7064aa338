//! Settings that change while servers run.

use baton_api::config::{ConfigView, SetSetting, SettingChangeView, SettingDetailView};
use baton_api::manage::ActionRequest;

use crate::call::Call;
use crate::{Client, ClientError};

impl Client {
    /// The settings that may change while servers run, as they stand at the server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn config(&self) -> Result<ConfigView, ClientError> {
        self.call(Call::get("/v1/config")).await
    }

    /// One of them, with its latest changes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn setting(&self, key: &str) -> Result<SettingDetailView, ClientError> {
        self.call(Call::get(path(key))).await
    }

    /// Sets one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_setting(&self, key: &str, set: &SetSetting) -> Result<SettingChangeView, ClientError> {
        self.call(Call::put(path(key), set).repeatable(true)).await
    }

    /// Unsets one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn unset_setting(
        &self,
        key: &str,
        action: &ActionRequest,
    ) -> Result<SettingChangeView, ClientError> {
        self.call(Call::delete_with(path(key), action).repeatable(true)).await
    }
}

/// The path of a setting, whatever was typed as its key.
fn path(key: &str) -> String {
    let encoded: String = key
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    // A path of dots alone would be taken for a step up.
    let encoded = if encoded.trim_matches('.').is_empty() { "%20".to_owned() } else { encoded };
    format!("/v1/config/{encoded}")
}
