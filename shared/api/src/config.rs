//! What `manage-tasks` is asked and answers of settings that change while servers run.

use baton_model::{Expected, Label, PastSetting, StoredSetting, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fields::{Fields, ReadFields, describe, parsed, text};
use crate::text::NOTE_CHARS;

/// Sets a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SetSetting {
    /// Its value: a number or text, as the settings' file has it.
    pub value: String,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why; up to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A number or text, as text.
fn scalar(raw: &RawValue) -> Result<String, Expected> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str(json).map_err(|_| Expected::new("a number or text", describe(raw)))
        }
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => Ok(json.to_owned()),
        _ => Err(Expected::new("a number or text", describe(raw))),
    }
}

impl ReadFields for SetSetting {
    type Limits = ();

    fn read(f: &mut Fields<'_>, (): &()) -> Option<Self> {
        let value = f.required("value", scalar);
        let by = f.optional("by", parsed);
        let reason = f.optional("reason", text(1..=NOTE_CHARS));
        Some(Self { value: value?, by: by?, reason: reason? })
    }
}

/// A setting that may change while a server runs, as it stands at the server that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Setting)]
pub struct SettingView {
    /// Its key, such as `log.level`.
    pub key: String,
    /// The value that is in force.
    pub value: String,
    /// The layer that sets it: `default`, `store`, `file`, `environment` or `flag`; a later one wins.
    pub layer: String,
    /// The same in words; left out for a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value if nobody sets it.
    pub default: String,
    /// What it is a number of; left out for text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What a value may be.
    pub expects: String,
    /// What it does.
    pub what: String,
    /// What the store keeps, in force or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredSettingView>,
    /// Why what the store keeps is not in force; left out if it is, or if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_in_force: Option<String>,
}

/// A setting as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StoredSetting)]
pub struct StoredSettingView {
    /// Its value.
    pub value: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub set_at: Timestamp,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub set_by: Option<Label>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<StoredSetting> for StoredSettingView {
    fn from(StoredSetting { value, set_at, set_by, reason }: StoredSetting) -> Self {
        Self { value, set_at, set_by, reason }
    }
}

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PastSetting)]
pub struct PastSettingView {
    /// What the store kept before; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it keeps since; left out if it was unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub by: Option<Label>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<PastSetting> for PastSettingView {
    fn from(PastSetting { key: _, from, to, at, by, reason }: PastSetting) -> Self {
        Self { from, to, at, by, reason }
    }
}

/// A setting with its latest changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SettingDetail)]
pub struct SettingDetailView {
    /// The setting.
    pub setting: SettingView,
    /// Those of its changes that are remembered, the last one first.
    pub history: Vec<PastSettingView>,
}

/// A setting that the store keeps and that the server passes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PassedOverSetting)]
pub struct PassedOverView {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Why it is passed over.
    pub why: String,
}

/// The settings that may change while a server runs, as they stand at the server that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RunningConfig)]
pub struct ConfigView {
    /// How many changes the store has had.
    pub version: u64,
    /// The settings.
    pub items: Vec<SettingView>,
    /// What the store keeps besides and this server can make nothing of.
    pub passed_over: Vec<PassedOverView>,
}

/// What a change has made of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SettingChange)]
pub struct SettingChangeView {
    /// Its key.
    pub key: String,
    /// What the store kept before; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it keeps now; left out if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many changes the store has had.
    pub version: u64,
    /// The setting as it stands since; left out if this server does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<SettingView>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_or_text() {
        for (json, value) in [
            (r#"{"value":30}"#, "30"),
            (r#"{"value":0.5,"by":"ada","reason":"calm"}"#, "0.5"),
            (r#"{"value":"info,baton_http=debug"}"#, "info,baton_http=debug"),
            (r#"{"value":true}"#, "true"),
        ] {
            assert_eq!(SetSetting::from_json(json, &()).unwrap().value, value, "{json}");
        }
        for json in
            ["{}", r#"{"value":null}"#, r#"{"value":[1]}"#, r#"{"value":{}}"#, r#"{"value":1,"key":"x"}"#]
        {
            assert!(SetSetting::from_json(json, &()).is_err(), "{json}");
        }
        let sent = SetSetting { value: "30".to_owned(), by: None, reason: None };
        assert_eq!(serde_json::to_string(&sent).unwrap(), r#"{"value":"30"}"#);
    }
}
