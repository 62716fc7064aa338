//! The settings that a command goes by: of which layers they are made.

use std::path::PathBuf;

use baton_runtime::{Settings, SettingsError, Sources};

use crate::exit::Failure;

/// The settings that variables with these beginnings and these flags make; those of a server are not a worker's.
pub(crate) fn only(variables: &[&str], flags: impl IntoIterator<Item = Flag>) -> Result<Settings, Failure> {
    let mut sources = Sources { flags: flags.into_iter().flatten().collect(), ..Sources::from_environment() };
    sources.environment.retain(|(name, _)| variables.iter().any(|beginning| name.starts_with(beginning)));
    Settings::load(&sources).map_err(settings_failure)
}

fn settings_failure(error: SettingsError) -> Failure {
    Failure::Usage(error.to_string())
}

/// A flag that sets a setting, if it is given: its name, the setting's key, the value.
pub(crate) type Flag = Option<(String, String, String)>;

pub(crate) fn flag(flag: &str, key: &str, value: Option<String>) -> Flag {
    value.map(|value| (flag.to_owned(), key.to_owned(), value))
}

/// The settings of all layers: the defaults, a file, the environment, flags.
pub(crate) fn load(
    file: Option<PathBuf>,
    flags: impl IntoIterator<Item = Flag>,
) -> Result<Settings, Failure> {
    let flags = flags.into_iter().flatten().collect();
    let file = file.or_else(found_file);
    let sources = Sources { file, flags, ..Sources::from_environment() };
    Settings::load(&sources).map_err(settings_failure)
}

/// Says in one line of the log which variables were passed over.
pub(crate) fn tell_passed_over(settings: &Settings) {
    if !settings.passed_over.is_empty() {
        let variables = settings.passed_over.join(", ");
        tracing::info!(variables, "passed over what Kubernetes sets for its services: it sets nothing here");
    }
}

/// The file of settings, if the command line names none: that of BATON_CONFIG, or baton.toml in the working directory.
/// `BATON_CONFIG=` wants no file at all.
fn found_file() -> Option<PathBuf> {
    match std::env::var_os("BATON_CONFIG") {
        Some(file) => Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty()),
        None => Some(PathBuf::from("baton.toml")).filter(|file| file.exists()),
    }
}
