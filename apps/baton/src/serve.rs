//! `baton serve`.

use std::path::PathBuf;
use std::sync::Arc;

use baton_files::{Files, ObjectFiles, Objects};
use baton_model::Place;
use baton_runtime::settings::{DialectSettings, FilePlace, StoreLocation};
use baton_runtime::{LocalDoorbell, RandomIds, Settings, SettingsError, Sources, WatchedClock, telemetry};
use baton_server::{Beside, Server};
use clap::Args;

use crate::archiver::archiver;
use crate::context::Context;
use crate::exit::Failure;
use crate::signals::Signals;
use crate::store::Store;

#[derive(Args)]
#[command(after_help = "Examples:
  baton serve
  baton serve --listen 127.0.0.1:8000 --store sqlite:/var/lib/baton/baton.db
  baton serve --store dynamodb:baton    made by `baton table create`
  baton serve -o json    prints its url and pid once it is ready
  baton serve --dialect assistant    answers that system's old clients, too

Settings come from the defaults, a file, the environment (BATON_SERVER_LISTEN,
BATON_LOG_LEVEL and so on) and these flags; the last that names one wins. The
file is that of --config, else of BATON_CONFIG, else baton.toml in the working
directory; BATON_CONFIG= (empty) wants none.
SIGTERM, SIGHUP or Ctrl-C: answers what it has accepted, ends.")]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where tasks are kept: sqlite: and the path of the database file, or dynamodb: and the name of a table.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Answers another system's requests in its words, beside Baton's own or at an address that the settings name; repeat
    /// it for several: assistant, drift, edge-functions, orchestrator, task-table.
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    dialect: Vec<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The name of a dialect that there is.
fn dialect(name: &str) -> Result<String, String> {
    let names = DialectSettings::default().places().map(|(name, _)| name);
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("expected one of {}, got {name:?}", names.join(", ")))
}

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

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let place =
            [flag("--listen", "server.listen", self.listen), flag("--store", "store.url", self.store)];
        let on = |name: String| flag("--dialect", &format!("dialects.{name}.on"), Some("true".to_owned()));
        let flags = place.into_iter().chain(self.dialect.into_iter().map(on));
        let settings = load(self.config, flags)?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        if let Some(file) = &settings.file {
            tracing::info!(file = %file.display(), "settings are read from a file");
        }
        tell_passed_over(&settings);
        let served = serve(context, &settings).await;
        drop(logs);
        served
    }
}

/// The place for files, if there is to be one.
fn files(settings: &Settings) -> Result<Option<Arc<dyn Files>>, Failure> {
    let place = match (&settings.files.place, &settings.store.location) {
        (FilePlace::At(place), _) => place.clone(),
        (FilePlace::Beside, StoreLocation::Sqlite(path)) => {
            let mut folder = path.as_os_str().to_owned();
            folder.push("-files");
            let folder = std::path::absolute(folder);
            Place::Folder(folder.map_err(|error| Failure::failed(format!("files.url: {error}")))?)
        }
        (FilePlace::Beside, StoreLocation::Dynamodb(_)) | (FilePlace::Nowhere, _) => return Ok(None),
    };
    let objects = Objects::open(&place);
    let objects = objects
        .map_err(|error| Failure::failed(format!("files.url: {}", baton_model::with_causes(&error))))?;
    Ok(Some(Arc::new(ObjectFiles::new(objects))))
}

async fn serve(context: &Context, settings: &Settings) -> Result<(), Failure> {
    // Signals that come while it starts are not lost.
    let mut signals = Signals::listen()?;

    let (clock, ids) = (Arc::new(WatchedClock::new()), Arc::new(RandomIds));
    let doorbell = LocalDoorbell::new(clock.clone());
    let listening = Server::listen(settings)
        .await
        .map_err(|error| Failure::failed(error.to_string().replace("with server.listen", "with --listen")))?;
    let store = Store::open(settings, Arc::clone(&doorbell) as _).await?;
    let beside = Beside { archiver: archiver(settings, &store)?, files: files(settings)? };
    let running = Server::serve(listening, settings, store.shared(), doorbell, clock, ids, beside)
        .await
        .map_err(|error| Failure::failed(error.to_string()))?;

    let url = format!("http://{}", running.addr());
    let place = match &settings.store.location {
        StoreLocation::Sqlite(path) => path.display().to_string(),
        StoreLocation::Dynamodb(table) => format!("the table {table}"),
    };
    if context.out.is_json() {
        let store = settings.store.location.to_string();
        let dialects: serde_json::Map<String, serde_json::Value> = running
            .dialects()
            .iter()
            .map(|(name, addr)| ((*name).to_owned(), format!("http://{addr}").into()))
            .collect();
        let mut ready = serde_json::json!({ "url": url, "pid": std::process::id(), "store": store });
        if !dialects.is_empty() {
            ready["dialects"] = dialects.into();
        }
        match context.out.json_line(&ready) {
            // It was started to serve, and not to be read.
            Err(Failure::Unread) => {
                tracing::warn!("nobody reads the line that says that the server is ready")
            }
            told => told?,
        }
    } else {
        context.out.note(&format!("baton serves on {url}, tasks are in {place}"));
        for (name, addr) in running.dialects() {
            context.out.note(&format!("the dialect {name} is spoken on http://{addr}"));
        }
    }

    let stop = running.stop();
    let mut ended = std::pin::pin!(running.ended());
    let answered = tokio::select! {
        answered = &mut ended => answered,
        _ = signals.next() => { stop.begin(); ended.await }
        gone = store.gone() => {
            stop.begin();
            ended.await;
            let gone = gone.report();
            tracing::error!(error = gone, "the server has ended, as its task store is gone");
            return Err(Failure::failed(gone));
        }
    };
    store.close().await.map_err(|error| {
        let error = error.report();
        Failure::failed(format!("all tasks are kept, but the last counts could not be written: {error}"))
    })?;
    if answered {
        Ok(())
    } else {
        Err(Failure::failed("some requests were broken off at the end of the grace"))
    }
}
