//! The layers of settings: where values come from, each with its origin.

use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::kubernetes::is_of_service;
use super::{DEFAULTS, SettingsError};

/// Where settings come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// The environment: those variables count whose name begins with `BATON_` and a section's name.
    pub environment: Vec<(String, String)>,
    /// The command line: a flag such as `--listen`, the key that it sets, and its value.
    pub flags: Vec<(String, String, String)>,
}

impl Sources {
    /// The process's environment, with a file and flags still to be named.
    pub fn from_environment() -> Self {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self { environment: environment.collect(), ..Self::default() }
    }
}

/// One layer: values by dotted key, each with where it came from.
#[derive(Clone, Debug)]
pub(super) struct Layer(Map<String, Value>);

/// The layers but for the defaults, the lowest first, as they were read at the start.
#[derive(Clone, Default)]
pub(super) struct Layers {
    pub(super) file: Option<Layer>,
    pub(super) environment: Option<Layer>,
    pub(super) flags: Option<Layer>,
}

/// They hold secrets, and are not shown as they are.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layers(..)")
    }
}

impl Layers {
    /// The layers over each other, with what the store keeps between the defaults and the file.
    pub(super) fn merged(&self, stored: Layer) -> Result<Config, SettingsError> {
        let mut builder =
            Config::builder().add_source(parse_toml("the defaults", DEFAULTS)?).add_source(stored);
        for layer in [&self.file, &self.environment, &self.flags].into_iter().flatten() {
            builder = builder.add_source(layer.clone());
        }
        let failed = |error| SettingsError::File { what: "the settings".to_owned(), cause: Box::new(error) };
        builder.build().map_err(failed)
    }
}

impl Layer {
    /// A layer of these values, by dotted key.
    pub(super) fn of(values: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self(values.into_iter().collect())
    }

    pub(super) fn values(self) -> Map<String, Value> {
        self.0
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

pub(super) fn parse_toml(origin: &str, text: &str) -> Result<Layer, SettingsError> {
    let origin = origin.to_owned();
    match FileFormat::Toml.parse(Some(&origin), text) {
        Ok(values) => Ok(Layer(values)),
        Err(cause) => Err(SettingsError::File { what: origin, cause }),
    }
}

pub(super) fn read_file(path: &Path) -> Result<Layer, SettingsError> {
    let origin = format!("the file {}", path.display());
    match std::fs::read_to_string(path) {
        // Editors of Windows put a byte order mark before the text.
        Ok(text) => parse_toml(&origin, text.strip_prefix('\u{feff}').unwrap_or(&text)),
        Err(cause) => Err(SettingsError::File { what: origin, cause: Box::new(cause) }),
    }
}

/// The dotted keys of the defaults, which are all that exist.
pub(super) fn keys_of(defaults: &Layer) -> Vec<String> {
    let mut keys = Vec::new();
    gather_keys("", &defaults.0, &mut keys);
    keys
}

fn gather_keys(path: &str, table: &Map<String, Value>, keys: &mut Vec<String>) {
    for (name, value) in table {
        match &value.kind {
            ValueKind::Table(section) => gather_keys(&format!("{path}{name}."), section, keys),
            _ => keys.push(format!("{path}{name}")),
        }
    }
}

/// Lists of sections that the environment may set, too, as JSON: functions have no file.
const LISTS: &[&str] = &["scaling"];

/// A list in JSON as a value; text that is none is kept as it is, to be refused.
fn list(origin: &str, text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(json) => of_json(origin, json),
        Err(_) => Value::new(Some(&origin.to_owned()), text),
    }
}

fn of_json(origin: &str, json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(flag) => ValueKind::Boolean(flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ValueKind::I64(whole),
            (None, number) => ValueKind::Float(number.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => ValueKind::String(text),
        serde_json::Value::Array(parts) => {
            ValueKind::Array(parts.into_iter().map(|part| of_json(origin, part)).collect())
        }
        serde_json::Value::Object(fields) => {
            ValueKind::Table(fields.into_iter().map(|(name, value)| (name, of_json(origin, value))).collect())
        }
    };
    Value::new(Some(&origin.to_owned()), kind)
}

/// The layer of the environment, and the variables that were passed over as Kubernetes' own.
pub(super) fn environment_layer(keys: &[String], environment: &[(String, String)]) -> (Layer, Vec<String>) {
    let mut values = Map::new();
    let mut passed_over = Vec::new();
    for (variable, value) in environment {
        let Some(name) = variable.strip_prefix("BATON_").map(str::to_ascii_lowercase) else { continue };
        if LISTS.contains(&name.as_str()) {
            if !value.trim().is_empty() {
                values.insert(name, list(&format!("the environment variable {variable}"), value));
            }
            continue;
        }
        let known = keys.iter().find(|key| key.replace(['.', '-'], "_") == name).cloned();
        // A variable of a known section that fits no key is kept, to be refused as unknown.
        let of_section = || {
            let (section, rest) = name.split_once('_')?;
            let is_section = keys.iter().any(|key| key.split_once('.').is_some_and(|(of, _)| of == section));
            is_section.then(|| format!("{section}.{rest}"))
        };
        let Some(key) = known.clone().or_else(of_section) else { continue };
        if known.is_none() && is_of_service(variable, value) {
            passed_over.push(variable.clone());
            continue;
        }
        let origin = format!("the environment variable {variable}");
        values.insert(key, Value::new(Some(&origin), value.as_str()));
    }
    (Layer(values), passed_over)
}

pub(super) fn flag_layer(flags: &[(String, String, String)]) -> Layer {
    let values = flags.iter().map(|(flag, key, value)| {
        let origin = format!("the flag {flag}");
        (key.clone(), Value::new(Some(&origin), value.as_str()))
    });
    Layer(values.collect())
}
