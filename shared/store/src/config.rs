//! Settings that are changed while servers run.

use std::time::Duration;

use async_trait::async_trait;
use baton_model::StoredSettings;
use baton_model::schedule::Said;

use crate::StoreError;

/// Sets a setting, or unsets it.
#[derive(Clone, Debug)]
pub struct SetSetting {
    /// Its key.
    pub key: String,
    /// Its value; none to unset it.
    pub to: Option<String>,
    /// Who says so, when and why.
    pub said: Said,
}

/// How long what is over is kept, for a store that dates what it writes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Finished tasks; none for ever.
    pub finished: Option<Duration>,
    /// The workers' log lines.
    pub logs: Duration,
}

/// What a change has made of the settings: as they were, and as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsChanged {
    /// Before.
    pub from: StoredSettings,
    /// Since.
    pub to: StoredSettings,
}

/// Settings that are changed while servers run.
#[async_trait]
pub trait ConfigStore: Send + Sync {
    /// Changes one setting by [`StoredSettings::changed`]. Of two changes of one setting at once, the later commit wins, and the
    /// history tells of both; changes of different settings lose nothing of each other.
    ///
    /// # Errors
    /// The store's own failures.
    async fn set_setting(&self, set: SetSetting) -> Result<SettingsChanged, StoreError>;

    /// All that is set, with the latest changes; every change that was answered before is in it.
    ///
    /// # Errors
    /// The store's own failures.
    async fn settings(&self) -> Result<StoredSettings, StoreError>;

    /// From now on, what this process writes is kept so long, where the store dates it by itself
    /// ([`removes_by_itself`](crate::Capabilities::removes_by_itself)); others are told with each purge.
    fn keep(&self, keeping: Keeping) {
        let _ = keeping;
    }
}
