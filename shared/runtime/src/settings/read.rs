//! Reads merged settings key by key, so that one error names every key that does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use baton_model::{Expected, GroupName};
use config::{Config, Value, ValueKind};

use super::SettingError;
use super::layers::parse_toml;
use crate::nearest::nearest;

/// The merged layers while they are being read. What does not fit is noted, and a default stands in for it.
pub(super) struct Reader<'a> {
    root: &'a Value,
    /// What stands before each key where it is told.
    prefix: String,
    /// The keys that were read; every other one is unknown.
    known: BTreeSet<&'static str>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        Self::within(&config.cache, String::new())
    }

    /// A reader of a part, whose keys are told with `prefix` before them.
    pub(super) fn within(root: &'a Value, prefix: String) -> Self {
        Self { root, prefix, known: BTreeSet::new(), errors: Vec::new() }
    }

    /// Takes over what did not fit in a part.
    pub(super) fn absorb(&mut self, errors: Vec<SettingError>) {
        self.errors.extend(errors);
    }

    /// What did not fit, unknown keys included.
    pub(super) fn finish(mut self) -> Vec<SettingError> {
        let mut unknown = Vec::new();
        find_unknown("", self.root, &self.known, &mut unknown);
        for error in &mut unknown {
            error.key.insert_str(0, &self.prefix);
        }
        self.errors.extend(unknown);
        self.errors
    }

    /// Notes that a key, though readable, does not fit with the rest.
    pub(super) fn refuse(&mut self, key: &'static str, problem: Expected) {
        let origin = self.value(key).and_then(|value| value.origin().map(str::to_owned));
        self.errors.push(SettingError { key: format!("{}{key}", self.prefix), problem, origin });
    }

    /// The value of a dotted key, with its origin, which [`Config::get`] would drop.
    fn value(&self, key: &str) -> Option<&'a Value> {
        key.split('.').try_fold(self.root, |value, name| match &value.kind {
            ValueKind::Table(table) => table.get(name),
            _ => None,
        })
    }

    /// Whether a key was found not to fit.
    pub(super) fn refused(&self, key: &str) -> bool {
        self.errors.iter().any(|error| error.key.strip_prefix(&self.prefix) == Some(key))
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&ValueKind) -> Result<T, Expected>,
    ) -> Option<T> {
        self.known.insert(key);
        let read = match self.value(key) {
            Some(value) => read(&value.kind),
            None => Err(Expected::new("a value", "nothing")),
        };
        read.map_err(|problem| self.refuse(key, problem)).ok()
    }

    /// A number within bounds, in some unit.
    pub(super) fn number(&mut self, key: &'static str, unit: &str, bounds: RangeInclusive<f64>) -> f64 {
        let read = |kind: &ValueKind| {
            let number = match kind {
                ValueKind::I64(n) => Some(*n as f64),
                ValueKind::U64(n) => Some(*n as f64),
                ValueKind::Float(n) => Some(*n),
                ValueKind::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.filter(|number| bounds.contains(number)).ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                Expected::new(format!("a number of {unit} from {least} to {most}"), describe(kind))
            })
        };
        self.read(key, read).unwrap_or(*bounds.start())
    }

    /// A number within bounds, in some unit; none if the setting is an empty text. The outer `None` means that it does not fit.
    pub(super) fn optional_number(
        &mut self,
        key: &'static str,
        unit: &str,
        bounds: RangeInclusive<f64>,
    ) -> Option<Option<f64>> {
        let is_empty =
            |value: &Value| matches!(&value.kind, ValueKind::String(text) if text.trim().is_empty());
        if self.value(key).is_some_and(is_empty) {
            self.known.insert(key);
            return Some(None);
        }
        let number = self.number(key, unit, bounds);
        (!self.refused(key)).then_some(Some(number))
    }

    /// A duration given in seconds.
    pub(super) fn seconds(&mut self, key: &'static str, bounds: RangeInclusive<f64>) -> Duration {
        Duration::from_secs_f64(self.number(key, "seconds", bounds))
    }

    /// A whole number within bounds.
    pub(super) fn whole(&mut self, key: &'static str, unit: &str, bounds: RangeInclusive<u32>) -> u32 {
        let read = |kind: &ValueKind| {
            let number = match kind {
                ValueKind::I64(n) => u32::try_from(*n).ok(),
                ValueKind::U64(n) => u32::try_from(*n).ok(),
                ValueKind::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.filter(|number| bounds.contains(number)).ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                Expected::new(format!("a whole number of {unit} from {least} to {most}"), describe(kind))
            })
        };
        self.read(key, read).unwrap_or(*bounds.start())
    }

    /// Whether something is wanted.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let read = |kind: &ValueKind| match kind {
            ValueKind::Boolean(flag) => Ok(*flag),
            ValueKind::String(text) if text.trim() == "true" => Ok(true),
            ValueKind::String(text) if text.trim() == "false" => Ok(false),
            other => Err(Expected::new("true or false", describe(other))),
        };
        self.read(key, read).unwrap_or(false)
    }

    /// Text that a type reads.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Option<T> {
        self.read(key, |kind| match kind {
            ValueKind::String(text) => read(text.trim()),
            other => Err(Expected::new("text in quotes", describe(other))),
        })
    }

    /// The parts of a list; none if it is not given, or is no list.
    pub(super) fn elements(&mut self, key: &'static str, expected: &str) -> Option<&'a [Value]> {
        self.known.insert(key);
        let value = self.value(key)?;
        let ValueKind::Array(elements) = &value.kind else {
            self.refuse(key, Expected::new(expected, describe(&value.kind)));
            return None;
        };
        Some(elements)
    }

    /// The sections of a list, each read over its defaults and told by its name, which no two have.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        what: &str,
        (defaults, most): (&str, usize),
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(elements) = self.elements(key, &format!("{what}, each under a line [[{key}]]")) else {
            return Vec::new();
        };
        // The built-in files are read by tests, too.
        let defaults = parse_toml("the defaults", defaults).map(|layer| layer.values()).unwrap_or_default();
        let (mut found, mut names, mut errors) = (Vec::new(), BTreeSet::new(), Vec::new());
        if elements.len() > most {
            let problem = Expected::new(format!("at most {most} of {what}"), elements.len().to_string());
            self.refuse(key, problem);
        }
        for (at, element) in elements.iter().take(most).enumerate() {
            let place = format!("{key}[{}]", at + 1);
            let origin = element.origin().map(str::to_owned);
            let ValueKind::Table(table) = &element.kind else {
                let problem =
                    Expected::new(format!("a section under a line [[{key}]]"), describe(&element.kind));
                errors.push(SettingError { key: place, problem, origin });
                continue;
            };
            let mut merged = defaults.clone();
            merged.extend(table.iter().map(|(key, value)| (key.clone(), value.clone())));
            let merged = Value::new(None, ValueKind::Table(merged));
            let named = match table.get("name").map(|name| &name.kind) {
                Some(ValueKind::String(name)) => name.parse::<GroupName>().ok(),
                _ => None,
            };
            let prefix = named.as_ref().map_or(place, |name| format!("{key}.{name}"));
            let mut reader = Reader::within(&merged, format!("{prefix}."));
            let one = read(&mut reader);
            if let Some(name) = named.filter(|name| !names.insert(name.clone())) {
                reader.refuse("name", Expected::text("a name that no other one has", name.as_str()));
            }
            let wrong = reader.finish();
            found.extend(one.filter(|_| wrong.is_empty()));
            errors.extend(wrong);
        }
        self.absorb(errors);
        found
    }

    /// A list of texts; a text is a list of one.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, Expected>,
    ) -> Option<Vec<T>> {
        self.read(key, |kind| match kind {
            ValueKind::String(text) => Ok(vec![read(text)?]),
            ValueKind::Array(elements) => {
                let text = |element: &Value| match &element.kind {
                    ValueKind::String(text) => read(text),
                    other => Err(Expected::new("text in quotes", describe(other))),
                };
                elements.iter().map(text).collect()
            }
            other => Err(Expected::new(expected, describe(other))),
        })
    }

    /// Names with texts, up to so many of them.
    pub(super) fn pairs(
        &mut self,
        key: &'static str,
        most: usize,
        check: impl Fn(&str, &str) -> Result<(), Expected>,
    ) -> Option<BTreeMap<String, String>> {
        self.read(key, |kind| {
            let ValueKind::Table(table) = kind else {
                return Err(Expected::new("names with texts, such as { A = \"b\" }", describe(kind)));
            };
            if table.len() > most {
                return Err(Expected::new(format!("at most {most} of them"), table.len().to_string()));
            }
            let pair = |(name, value): (&String, &Value)| {
                let ValueKind::String(text) = &value.kind else {
                    return Err(Expected::new(format!("text in quotes as {name}"), describe(&value.kind)));
                };
                check(name, text)?;
                Ok((name.clone(), text.clone()))
            };
            table.iter().map(pair).collect()
        })
    }
}

pub(super) fn describe(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => Expected::text("", text).got,
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        other => other.to_string(),
    }
}

fn find_unknown(path: &str, value: &Value, known: &BTreeSet<&'static str>, found: &mut Vec<SettingError>) {
    let ValueKind::Table(table) = &value.kind else { return };
    let mut names: Vec<_> = table.iter().collect();
    names.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in names {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let within = format!("{key}.");
        let section: Vec<&str> = known.iter().filter(|known| known.starts_with(&within)).copied().collect();
        if !section.is_empty() && matches!(value.kind, ValueKind::Table(_)) {
            find_unknown(&key, value, known, found);
        } else if !known.contains(key.as_str()) {
            let siblings: Vec<&str> = match path {
                "" => known.iter().filter_map(|key| key.split('.').next()).collect(),
                _ => {
                    let within = known.iter().filter_map(|key| key.strip_prefix(path)?.strip_prefix('.'));
                    within.filter_map(|key| key.split('.').next()).collect()
                }
            };
            let siblings: BTreeSet<&str> = siblings.into_iter().collect();
            let siblings: Vec<&str> = siblings.into_iter().collect();
            let expected = if section.is_empty() {
                format!("one of {}", siblings.join(", "))
            } else {
                format!("a section with {}", section.join(", "))
            };
            let got = format!("an unknown key {}", Expected::text("", &key).got);
            let meant = nearest(name, siblings).map(|meant| match path {
                "" => meant.to_owned(),
                path => format!("{path}.{meant}"),
            });
            let got = match meant.filter(|_| section.is_empty()) {
                Some(meant) => format!("{got}; the nearest is {meant}"),
                None => got,
            };
            let problem = Expected::new(expected, got);
            found.push(SettingError { key, problem, origin: value.origin().map(str::to_owned) });
        }
    }
}
