//! Settings of a store that fails.

use async_trait::async_trait;
use baton_model::StoredSettings;

use super::{Call, Faulty};
use crate::{ConfigStore, Keeping, SetSetting, SettingsChanged, StoreError};

#[async_trait]
impl ConfigStore for Faulty {
    async fn set_setting(&self, set: SetSetting) -> Result<SettingsChanged, StoreError> {
        self.call("set_setting", Call::Repeatable, || self.inner.set_setting(set.clone())).await
    }

    async fn settings(&self) -> Result<StoredSettings, StoreError> {
        self.call("settings", Call::Point, || self.inner.settings()).await
    }

    fn keep(&self, keeping: Keeping) {
        self.inner.keep(keeping);
    }
}
