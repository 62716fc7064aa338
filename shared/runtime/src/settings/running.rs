//! Settings that may change while a server runs: which they are, what fits, and how those that the store keeps become a layer
//! between the defaults and the file.
//!
//! What a value may be is asked of the very reading of settings, so that no bound stands in two places.

use std::fmt;
use std::sync::LazyLock;

use baton_model::config::VALUE_BYTES;
use baton_model::{Expected, StoredSetting, StoredSettings};
use config::{Config, Map, Value, ValueKind};

use super::changeable::RUNNING;
use super::explain::{plain, value_of, words_of};
use super::layers::{Layer, Layers, keys_of, parse_toml};
use super::{DEFAULTS, Settings, SettingsError, read_all};
use crate::nearest::nearest;

/// Where the value of a setting comes from; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerName {
    /// The defaults.
    Default,
    /// The store, where it was set while servers ran.
    Store,
    /// The file of settings.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl LayerName {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Store => "store",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }

    /// The layer that a value's origin names, as [`super::layers`] words them.
    fn of(origin: Option<&str>) -> Self {
        let begins = |with: &str| origin.is_some_and(|origin| origin.starts_with(with));
        match () {
            () if begins("the flag ") => Self::Flag,
            () if begins("the environment ") => Self::Environment,
            () if begins("the file ") => Self::File,
            () if begins(STORE) => Self::Store,
            () => Self::Default,
        }
    }
}

/// How the origin of a value begins that the store keeps.
const STORE: &str = "the store";

/// A setting that may change while a server runs, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningSetting {
    /// Its dotted key.
    pub key: &'static str,
    /// The value that is in force, as text.
    pub value: String,
    /// The layer that sets it.
    pub layer: LayerName,
    /// The same in words; none for a default.
    pub origin: Option<String>,
    /// Its value if nobody sets it.
    pub default: String,
    /// What it is a number of; empty for text.
    pub unit: &'static str,
    /// What a value may be.
    pub expects: String,
    /// What it does.
    pub what: String,
    /// What the store keeps, in force or not.
    pub stored: Option<StoredSetting>,
    /// Why what the store keeps is not in force; none if it is, or if there is nothing.
    pub not_in_force: Option<String>,
}

/// A setting that the store keeps and that is passed over, as it can be made nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Why.
    pub why: String,
}

/// What does not fit of a setting that is to be set while servers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Its key.
    Key(Expected),
    /// Its value.
    Value(Expected),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Key(problem) | Self::Value(problem)) = self;
        problem.fmt(f)
    }
}

/// The setting of this key that may change while a server runs.
///
/// # Errors
/// If there is none, or it is read at the start only.
pub fn running_key(key: &str) -> Result<&'static str, Misfit> {
    if let Some((known, _)) = RUNNING.iter().find(|(known, _)| *known == key) {
        return Ok(known);
    }
    let shown = Expected::text("", key).got;
    let all = parse_toml("the defaults", DEFAULTS).map(|defaults| keys_of(&defaults)).unwrap_or_default();
    if all.iter().any(|known| known == key) {
        let variable = format!("BATON_{}", key.replace(['.', '-'], "_").to_ascii_uppercase());
        return Err(Misfit::Key(Expected::new(
            "a setting that may change while servers run",
            format!(
                "{shown}, which is read at the start only: set it in the file of settings, or by {variable}, and start the server anew"
            ),
        )));
    }
    let keys = || RUNNING.iter().map(|(known, _)| *known);
    let meant = nearest(key, keys()).map(|meant| format!("; the nearest is {meant}")).unwrap_or_default();
    let expected = format!("one of {}", keys().collect::<Vec<_>>().join(", "));
    Err(Misfit::Key(Expected::new(expected, format!("{shown}, which is no setting{meant}"))))
}

/// Looks whether a setting may be set so while servers run.
///
/// # Errors
/// What does not fit.
pub fn check_running(key: &str, value: &str) -> Result<&'static str, Misfit> {
    let key = running_key(key)?;
    if value.len() > VALUE_BYTES {
        let got = format!("{} bytes", value.len());
        return Err(Misfit::Value(Expected::new(format!("at most {VALUE_BYTES} bytes"), got)));
    }
    match misfit(key, value) {
        None => Ok(key),
        Some(problem) => Err(Misfit::Value(problem)),
    }
}

/// What does not fit of a value, by itself.
fn misfit(key: &str, value: &str) -> Option<Expected> {
    let layer = Layer::of([(key.to_owned(), typed(value, STORE))]);
    let read = Layers::default().merged(layer).and_then(|config| read_all(&config));
    match read {
        Err(SettingsError::Invalid(errors)) => {
            errors.into_iter().find(|error| error.key == key).map(|error| error.problem)
        }
        Ok(_) | Err(SettingsError::File { .. }) => None,
    }
}

/// A text as a value of the type that it looks like.
fn typed(text: &str, origin: &str) -> Value {
    let trimmed = text.trim();
    let whole = trimmed.parse().ok().map(ValueKind::I64);
    let kind = whole
        .or_else(|| trimmed.parse().ok().filter(|n: &f64| n.is_finite()).map(ValueKind::Float))
        .unwrap_or_else(|| ValueKind::String(trimmed.to_owned()));
    Value::new(Some(&origin.to_owned()), kind)
}

/// Where a value that the store keeps is said to be from.
fn origin_of(stored: &StoredSetting) -> String {
    match &stored.set_by {
        Some(by) => format!("{STORE}, set by {by} at {}", stored.set_at),
        None => format!("{STORE}, set at {}", stored.set_at),
    }
}

impl Settings {
    /// The same settings over what the store keeps, which is between the defaults and the file; and what is passed over of it.
    #[must_use]
    pub fn with_stored(&self, stored: &StoredSettings) -> (Self, Vec<PassedOver>) {
        let (mut values, mut passed_over) = (Map::new(), Vec::new());
        for (key, one) in &stored.values {
            match check_running(key, &one.value) {
                Ok(key) => drop(values.insert(key.to_owned(), typed(&one.value, &origin_of(one)))),
                Err(misfit) => passed_over.push(PassedOver {
                    key: key.clone(),
                    value: one.value.clone(),
                    why: misfit.to_string(),
                }),
            }
        }
        // Each fits by itself, and none is held against another; were it not so, all are as they were without them.
        let read = |values| self.layers.merged(Layer::of(values)).and_then(|config| read_all(&config));
        let whole = read(values).or_else(|_| read(Map::new())).unwrap_or_else(|_| self.clone());
        let (file, layers) = (self.file.clone(), self.layers.clone());
        (Self { file, layers, passed_over: self.passed_over.clone(), ..whole }, passed_over)
    }

    /// The settings that may change while a server runs, as they stand, with what `stored` keeps of them.
    pub fn running(&self, stored: &StoredSettings) -> Vec<RunningSetting> {
        let one = |told: &Told| {
            let (layer, origin) = self.layer_of(told.key);
            let stored = stored.values.get(told.key).cloned();
            let not_in_force = stored.as_ref().and_then(|stored| self.not_in_force(told.key, stored));
            RunningSetting {
                key: told.key,
                value: shown(&self.merged.0, told.key),
                layer,
                origin,
                default: told.default.clone(),
                unit: told.unit,
                expects: told.expects.clone(),
                what: told.what.clone(),
                stored,
                not_in_force,
            }
        };
        TOLD.iter().map(one).collect()
    }

    /// The values of the settings that may change while a server runs, each with its layer.
    pub fn running_values(&self) -> impl Iterator<Item = (&'static str, String, LayerName)> {
        RUNNING.iter().map(|(key, _)| (*key, shown(&self.merged.0, key), self.layer_of(key).0))
    }

    /// Why what the store keeps of a setting is not in force; none if it is.
    pub fn not_in_force(&self, key: &str, stored: &StoredSetting) -> Option<String> {
        let why = match check_running(key, &stored.value) {
            Err(misfit) => misfit.to_string(),
            Ok(key) => match self.layer_of(key) {
                (layer, Some(origin)) if layer > LayerName::Store => {
                    format!("{origin} sets {}", shown(&self.merged.0, key))
                }
                _ => return None,
            },
        };
        Some(format!("in the store: {}, not in force: {why}", stored.value))
    }

    /// The layer that sets a setting, and the same in words; none for a default.
    fn layer_of(&self, key: &str) -> (LayerName, Option<String>) {
        let origin = value_of(&self.merged.0, key).and_then(|value| value.origin());
        let layer = LayerName::of(origin);
        (layer, origin.filter(|_| layer != LayerName::Default).map(str::to_owned))
    }
}

fn shown(config: &Config, key: &str) -> String {
    value_of(config, key).map(plain).unwrap_or_default()
}

/// What is told of each setting, however it stands.
struct Told {
    key: &'static str,
    unit: &'static str,
    default: String,
    expects: String,
    what: String,
}

/// Made once: each reading of all settings takes about a millisecond, and there is one for each of these.
static TOLD: LazyLock<Vec<Told>> = LazyLock::new(|| {
    let words = words_of(DEFAULTS);
    let defaults = Layers::default().merged(Layer::of([])).unwrap_or_default();
    let told = |(key, unit): &(&'static str, &'static str)| Told {
        key,
        unit,
        default: shown(&defaults, key),
        // No value is this, so that the reading says what would be one.
        expects: misfit(key, "?").map(|problem| problem.expected).unwrap_or_default(),
        what: words.iter().find(|(of, _)| of == key).map(|(_, what)| what.clone()).unwrap_or_default(),
    };
    RUNNING.iter().map(told).collect()
});

#[cfg(test)]
mod tests {
    use baton_model::Timestamp;
    use baton_model::schedule::Said;

    use super::super::Sources;
    use super::*;

    fn stored(values: &[(&str, &str)]) -> StoredSettings {
        let said = Said { now: Timestamp::from_millis(0), by: Some("ada".parse().unwrap()), reason: None };
        let set =
            |settings: StoredSettings, (key, value): &(&str, &str)| settings.changed(key, Some(value), &said);
        values.iter().fold(StoredSettings::default(), set)
    }

    fn of<'a>(all: &'a [RunningSetting], key: &str) -> &'a RunningSetting {
        all.iter().find(|one| one.key == key).unwrap()
    }

    #[test]
    fn each_has_its_words_its_default_and_what_it_expects_in_its_unit() {
        let all = Settings::defaults().unwrap().running(&StoredSettings::default());
        assert_eq!(all.len(), RUNNING.len());
        for one in &all {
            assert!(one.expects.contains(one.unit) && !one.expects.is_empty(), "{one:?}");
            assert!(one.what.len() > 5 && !one.default.is_empty(), "{one:?}");
            assert_eq!((&one.value, one.layer, &one.origin), (&one.default, LayerName::Default, &None));
            assert_eq!(check_running(one.key, &one.default), Ok(one.key), "a default fits");
        }
        assert_eq!(of(&all, "limits.params_bytes").expects, "a whole number of bytes from 1024 to 16777216");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        for (key, value, told) in [
            ("limits.params_bytes", "5", "expected a whole number of bytes from 1024 to 16777216, got 5"),
            (
                "limits.params_bytes",
                "many",
                "expected a whole number of bytes from 1024 to 16777216, got \"many\"",
            ),
            (
                "reaper.interval_seconds",
                "1e9",
                "expected a number of seconds from 0.05 to 3600, got 1000000000",
            ),
            ("reaper.interval_seconds", "NaN", "expected a number of seconds from 0.05 to 3600, got \"NaN\""),
            ("log.level", "louder", "expected error, warn, info, debug or trace, or by module such as"),
            ("log.level", "", "expected error, warn, info"),
            (
                "store.url",
                "sqlite:x.db",
                "which is read at the start only: set it in the file of settings, or by BATON_STORE_URL",
            ),
            ("dialects.edge-functions.on", "true", "BATON_DIALECTS_EDGE_FUNCTIONS_ON"),
            ("log.levl", "info", "got \"log.levl\", which is no setting; the nearest is log.level"),
            ("workers", "x", "which is no setting"),
        ] {
            let misfit = check_running(key, value).unwrap_err().to_string();
            assert!(misfit.contains(told), "{key} = {value}: {misfit}");
        }
        assert!(check_running("log.level", &"info,".repeat(300)).is_err());
        for (key, value) in [
            ("log.level", "info,baton_http=debug"),
            ("reaper.interval_seconds", " 0.5 "),
            ("retention.finished_days", "0"),
        ] {
            assert_eq!(check_running(key, value), Ok(key));
        }
    }

    #[test]
    fn the_store_is_over_the_defaults_and_under_all_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[leases]\nworker_cap = 7\n").unwrap();
        let sources = Sources {
            file: Some(file.path().to_owned()),
            environment: vec![("BATON_REAPER_INTERVAL_SECONDS".to_owned(), "10".to_owned())],
            flags: vec![("--set".to_owned(), "limits.params_bytes".to_owned(), "2048".to_owned())],
        };
        let settings = Settings::load(&sources).unwrap();
        let set = stored(&[
            ("leases.worker_cap", "8"),
            ("limits.params_bytes", "4096"),
            ("reaper.interval_seconds", "30"),
            ("retention.log_hours", "12"),
            ("log.level", "debug"),
        ]);
        let (settings, passed_over) = settings.with_stored(&set);
        assert_eq!(passed_over, []);
        assert_eq!((settings.worker_cap, settings.limits.params_bytes), (7, 2_048));
        assert_eq!((settings.reaper_interval.as_secs(), settings.retention.logs.as_secs()), (10, 12 * 3_600));
        let all = settings.running(&set);
        let told = |key| (of(&all, key).layer, of(&all, key).not_in_force.clone());
        let not = |told: &str| Some(told.to_owned());
        assert_eq!(told("retention.log_hours"), (LayerName::Store, None));
        assert_eq!(
            told("reaper.interval_seconds"),
            (
                LayerName::Environment,
                not(
                    "in the store: 30, not in force: the environment variable BATON_REAPER_INTERVAL_SECONDS sets 10"
                )
            )
        );
        assert_eq!(
            told("limits.params_bytes"),
            (LayerName::Flag, not("in the store: 4096, not in force: the flag --set sets 2048"))
        );
        assert_eq!(told("leases.worker_cap").0, LayerName::File);
        assert_eq!(of(&all, "log.level").value, "debug");
        assert_eq!(
            of(&all, "log.level").origin.as_deref(),
            Some("the store, set by ada at 1970-01-01T00:00:00.000Z")
        );
        let explained = settings.explain();
        let level = explained.iter().find(|one| one.key == "log.level").unwrap();
        assert!(level.origin.as_deref().unwrap().starts_with("the store, set by ada"), "{level:?}");
        // What is unset goes back to what is under it.
        let (settings, _) = settings.with_stored(&StoredSettings::default());
        assert_eq!((settings.worker_cap, settings.retention.logs.as_secs()), (7, 48 * 3_600));
    }

    #[test]
    fn what_a_newer_version_has_set_is_passed_over_and_harms_nothing() {
        let set = stored(&[
            ("a-newer.key", "1"),
            ("log.level", "louder"),
            ("store.url", "sqlite:x"),
            ("leases.worker_cap", "9"),
        ]);
        let (settings, passed_over) = Settings::defaults().unwrap().with_stored(&set);
        let keys: Vec<_> = passed_over.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["a-newer.key", "log.level", "store.url"]);
        assert_eq!(settings.worker_cap, 9);
        let level = of(&settings.running(&set), "log.level").clone();
        assert_eq!((level.layer, level.value.as_str()), (LayerName::Default, "info"));
        assert!(
            level
                .not_in_force
                .unwrap()
                .starts_with("in the store: louder, not in force: expected error, warn")
        );
    }
}
