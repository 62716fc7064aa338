//! Settings.

use async_trait::async_trait;
use baton_model::StoredSettings;

use super::Oracle;
use crate::{ConfigStore, SetSetting, SettingsChanged, StoreError};

#[async_trait]
impl ConfigStore for Oracle {
    async fn set_setting(&self, set: SetSetting) -> Result<SettingsChanged, StoreError> {
        let mut inner = self.lock();
        let from = inner.settings.clone();
        inner.settings = from.changed(&set.key, set.to.as_deref(), &set.said);
        Ok(SettingsChanged { from, to: inner.settings.clone() })
    }

    async fn settings(&self) -> Result<StoredSettings, StoreError> {
        Ok(self.lock().settings.clone())
    }
}
