//! Settings that are changed while servers run: what is kept of them, and that no change loses another.

use baton_model::StoredSettings;
use baton_model::config::{HISTORY, HISTORY_BYTES, VALUE_BYTES};
use baton_model::schedule::Said;

use super::kit::*;
use crate::faulty::Faulty;
use crate::{ConfigStore, SetSetting, SettingsChanged, Store};

fn setting(seconds: u64, key: &str, to: Option<&str>) -> SetSetting {
    let said = Said { now: at(seconds), by: Some(name("ada")), reason: Some("nights".to_owned()) };
    SetSetting { key: key.to_owned(), to: to.map(str::to_owned), said }
}

/// Sets a setting, or unsets it.
pub(super) async fn set(store: &dyn Store, seconds: u64, key: &str, to: Option<&str>) -> SettingsChanged {
    store.set_setting(setting(seconds, key, to)).await.expect("the setting is taken")
}

async fn settings(b: &Bench) -> StoredSettings {
    b.store().settings().await.expect("the settings are read")
}

/// A setting comes back as it was set, with who set it, when and why; the same again changes nothing, and unset it is gone.
pub async fn a_setting_is_kept_as_it_was_set(b: Bench) {
    assert_eq!(settings(&b).await, StoredSettings::default());
    let first = set(&*b.store(), 1, "log.level", Some("debug")).await;
    assert_eq!((first.from, first.to.version), (StoredSettings::default(), 1));
    let stored = settings(&b).await;
    assert_eq!(stored, first.to);
    let kept = &stored.values["log.level"];
    assert_eq!((kept.value.as_str(), kept.set_at, &kept.set_by), ("debug", at(1), &Some(name("ada"))));
    assert_eq!(kept.reason.as_deref(), Some("nights"));
    let again = set(&*b.store(), 2, "log.level", Some("debug")).await;
    assert_eq!(again, SettingsChanged { from: stored.clone(), to: stored });
    let gone = set(&*b.store(), 3, "log.level", None).await;
    assert_eq!((gone.to.version, gone.to.values.len()), (2, 0));
    assert_eq!(settings(&b).await, gone.to);
    let again = set(&*b.store(), 4, "log.level", None).await;
    assert_eq!(again.from, again.to);
}

/// Each change tells in the history what it was before, the last one last; old ones go, so that it is bounded.
pub async fn a_settings_history_tells_what_it_was_and_is_bounded(b: Bench) {
    for (second, value) in [(1, "1"), (2, "2"), (3, "3")] {
        set(&*b.store(), second, "reaper.interval_seconds", Some(value)).await;
    }
    set(&*b.store(), 4, "reaper.interval_seconds", None).await;
    let stored = settings(&b).await;
    let told: Vec<_> = stored.history.iter().map(|past| (past.from.as_deref(), past.to.as_deref())).collect();
    let (one, two, three) = (Some("1"), Some("2"), Some("3"));
    assert_eq!(told, [(None, one), (one, two), (two, three), (three, None)]);
    assert!(stored.history.iter().all(|past| past.by == Some(name("ada")) && past.reason.is_some()));
    let long = "v".repeat(VALUE_BYTES);
    for second in 5..5 + HISTORY as u64 {
        let value = if second % 2 == 0 { long.as_str() } else { "short" };
        set(&*b.store(), second, "log.level", Some(value)).await;
    }
    let stored = settings(&b).await;
    assert_eq!(stored.version, 4 + HISTORY as u64);
    assert!(stored.history.len() < HISTORY && stored.bytes() < HISTORY_BYTES + 2 * VALUE_BYTES);
    assert_eq!(stored.history.back().map(|past| past.at), Some(at(4 + HISTORY as u64)));
}

/// A setting that this version does not know, or a value that does not fit, is kept as it is: a newer version may have set it.
pub async fn a_setting_of_a_newer_version_is_kept(mut b: Bench) {
    set(&*b.store(), 1, "a-newer.key", Some("ü \"quoted\"\n")).await;
    set(&*b.store(), 2, "log.level", Some("louder")).await;
    b.reopen().await;
    let changed = set(&*b.store(), 3, "leases.worker_cap", Some("7")).await;
    assert_eq!(changed.to.values["a-newer.key"].value, "ü \"quoted\"\n");
    assert_eq!(changed.to.values["log.level"].value, "louder");
    assert_eq!(settings(&b).await, changed.to);
}

/// What is set outlives the process that has set it.
pub async fn settings_outlive_their_process(mut b: Bench) {
    set(&*b.store(), 1, "log.level", Some("debug")).await;
    set(&*b.store(), 2, "retention.log_hours", Some("12")).await;
    let before = settings(&b).await;
    b.reopen().await;
    assert_eq!(settings(&b).await, before);
}

/// Of changes at once none loses another: each setting is as one of those who changed it has said, and each change is counted.
pub async fn changes_of_settings_at_once_lose_nothing(b: Bench) {
    let changes = (0..8).map(|n: u64| {
        let store = b.store();
        tokio::spawn(async move {
            let (key, value) = (format!("key.{}", n % 3), n.to_string());
            set(&*store, n, &key, Some(&value)).await
        })
    });
    for change in changes.collect::<Vec<_>>() {
        let SettingsChanged { from, to } = change.await.expect("nobody panics");
        assert_eq!(to.version, from.version + 1);
    }
    let stored = settings(&b).await;
    assert_eq!((stored.version, stored.values.len(), stored.history.len()), (8, 3, 8));
    let mut values = std::collections::BTreeMap::new();
    for past in &stored.history {
        assert_eq!(
            values.insert(past.key.clone(), past.to.clone()).flatten(),
            past.from,
            "each follows the one before"
        );
    }
    for (key, stored) in &stored.values {
        assert_eq!(values[key].as_ref(), Some(&stored.value));
    }
}

/// Over a store that fails, what is said to be set is set, and what is sent again changes nothing.
pub async fn a_setting_is_set_over_a_store_that_fails(b: Bench) {
    for seed in 0..20 {
        let faulty = Faulty::new(b.store(), seed, 3);
        let value = seed.to_string();
        let mut answered = None;
        for _ in 0..200 {
            if let Ok(changed) = faulty.set_setting(setting(seed, "leases.worker_cap", Some(&value))).await {
                answered = Some(changed);
                break;
            }
        }
        let answered = answered.expect("some call comes through");
        assert_eq!(answered.to.values["leases.worker_cap"].value, value);
        assert_eq!(settings(&b).await, answered.to);
        assert_eq!(answered.to.version, seed + 1, "set once, however often it was sent");
    }
}
