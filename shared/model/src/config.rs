//! Settings that were changed while servers ran: what a store keeps of them, with who changed what, when, and what it was.
//!
//! All are one record, so that a change is one commit, and a look at all of them one read. What a key means and which values fit is
//! not known here: one that a newer version has set is kept as it is.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::Label;
use crate::schedule::Said;
use crate::time::Timestamp;

/// How many changes are remembered at most.
pub const HISTORY: usize = 100;

/// How many bytes of changes are remembered at most: each look at the settings reads them, too.
pub const HISTORY_BYTES: usize = 16 * 1024;

/// How many bytes a value may have.
pub const VALUE_BYTES: usize = 1_000;

/// The settings of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSettings {
    /// How many changes there were.
    pub version: u64,
    /// What is set, by its key.
    #[serde(default)]
    pub values: BTreeMap<String, StoredSetting>,
    /// The latest changes, the last one last.
    #[serde(default)]
    pub history: VecDeque<PastSetting>,
}

/// A setting as it is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSetting {
    /// Its value, as text.
    pub value: String,
    /// Since when.
    pub set_at: Timestamp,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<Label>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastSetting {
    /// Its key.
    pub key: String,
    /// What it was; none if it was not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it became; none if it was unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When.
    pub at: Timestamp,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Label>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl StoredSettings {
    /// Whether nothing was ever set.
    pub fn is_none(&self) -> bool {
        self.version == 0
    }

    /// What becomes of them as one is set, or unset. What is so already changes nothing.
    #[must_use]
    pub fn changed(&self, key: &str, to: Option<&str>, said: &Said) -> Self {
        let from = self.values.get(key).map(|stored| stored.value.as_str());
        let mut changed = self.clone();
        if from == to {
            return changed;
        }
        changed.version += 1;
        changed.history.push_back(PastSetting {
            key: key.to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            at: said.now,
            by: said.by.clone(),
            reason: said.reason.clone(),
        });
        match to {
            Some(value) => {
                let (set_by, reason) = (said.by.clone(), said.reason.clone());
                let stored = StoredSetting { value: value.to_owned(), set_at: said.now, set_by, reason };
                changed.values.insert(key.to_owned(), stored);
            }
            None => drop(changed.values.remove(key)),
        }
        let mut bytes: usize = changed.history.iter().map(PastSetting::bytes).sum();
        // The last change is remembered in any case.
        while changed.history.len() > 1 && (changed.history.len() > HISTORY || bytes > HISTORY_BYTES) {
            bytes -= changed.history.pop_front().map_or(0, |oldest| oldest.bytes());
        }
        changed
    }

    /// The changes of a setting that are remembered, the last one first.
    pub fn history_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a PastSetting> {
        self.history.iter().rev().filter(move |past| past.key == key)
    }

    /// About how many bytes they are.
    pub fn bytes(&self) -> usize {
        let values = self.values.iter().map(|(key, stored)| key.len() + stored.value.len() + 100);
        values.chain(self.history.iter().map(PastSetting::bytes)).sum()
    }
}

impl PastSetting {
    /// About how many bytes it has as JSON.
    fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let by = self.by.as_ref().map_or(0, |by| by.as_str().len());
        self.key.len() + text(&self.from) + text(&self.to) + by + text(&self.reason) + 80
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(at: i64) -> Said {
        Said { now: Timestamp::from_millis(at), by: Some("ada".parse().unwrap()), reason: None }
    }

    #[test]
    fn a_change_tells_what_it_was_and_what_is_so_already_changes_nothing() {
        let none = StoredSettings::default();
        let set = none.changed("log.level", Some("debug"), &said(1));
        assert_eq!((set.version, set.values["log.level"].value.as_str()), (1, "debug"));
        assert_eq!(set.changed("log.level", Some("debug"), &said(2)), set);
        let again = set.changed("log.level", Some("info"), &said(2));
        assert_eq!(again.history[1].from.as_deref(), Some("debug"));
        let unset = again.changed("log.level", None, &said(3));
        assert_eq!((unset.version, unset.values.len(), unset.history.len()), (3, 0, 3));
        assert_eq!(unset.changed("log.level", None, &said(4)), unset);
        assert_eq!(unset.history_of("log.level").next().unwrap().at, Timestamp::from_millis(3));
        assert_eq!(unset.history_of("log").count(), 0);
    }

    #[test]
    fn what_a_newer_version_writes_besides_is_passed_over() {
        let json = r#"{"version":3,"values":{"new.key":{"value":"x","set_at":"2026-02-02T02:40:00.000Z","colour":1}},"more":[]}"#;
        let read: StoredSettings = serde_json::from_str(json).unwrap();
        assert_eq!((read.version, read.values["new.key"].value.as_str()), (3, "x"));
    }

    proptest! {
        #[test]
        fn the_history_is_bounded_and_leads_to_what_is_set(
            changes in prop::collection::vec((0_usize..4, prop::option::of(0_usize..3), 0_usize..1_000), 0..300),
        ) {
            let mut settings = StoredSettings::default();
            for (key, value, reason) in changes {
                let value = value.map(|n| "v".repeat(n * 400 + 1));
                let said = Said { reason: Some("r".repeat(reason)), ..said(1) };
                let key = format!("key.{key}");
                let before = settings.clone();
                settings = settings.changed(&key, value.as_deref(), &said);
                prop_assert_eq!(settings.values.get(&key).map(|stored| &stored.value), value.as_ref());
                if settings != before {
                    let last = settings.history.back().unwrap();
                    prop_assert_eq!((&last.key, &last.to), (&key, &value));
                    prop_assert_eq!(settings.version, before.version + 1);
                }
                let bytes: usize = settings.history.iter().map(PastSetting::bytes).sum();
                prop_assert!(settings.history.len() <= HISTORY && bytes <= HISTORY_BYTES);
            }
            let json = serde_json::to_string(&settings).unwrap();
            prop_assert_eq!(serde_json::from_str::<StoredSettings>(&json).unwrap(), settings);
        }
    }
}
