//! `baton serve`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use baton_files::{Files, ObjectFiles, Objects};
use baton_fleet::Fleet;
use baton_model::Place;
use baton_runtime::settings::{DialectSettings, FilePlace, StoreLocation};
use baton_runtime::telemetry::LogGuard;
use baton_runtime::{LocalDoorbell, RandomIds, Settings, WatchedClock, telemetry};
use baton_server::{Beside, Server, StartError};
use clap::Args;

use crate::archiver::archiver;
use crate::context::Context;
use crate::exit::Failure;
use crate::export_otlp as export;
use crate::fleet::{self, Reload, Workers};
use crate::layers::{Flag, flag, load, tell_passed_over};
use crate::signals::{Asked, Signals};
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
Groups of workers in the file, [[workers]], are started with the server and
watched: docs/fleet.md.
SIGTERM or Ctrl-C: has its workers, if it has some, finish what they run;
answers what it has accepted, ends. SIGHUP: the same without workers; with
some, reads their groups again, and touches only those that are otherwise.")]
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

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let place =
            [flag("--listen", "server.listen", self.listen), flag("--store", "store.url", self.store)];
        let on = |name: String| flag("--dialect", &format!("dialects.{name}.on"), Some("true".to_owned()));
        let flags: Vec<Flag> = place.into_iter().chain(self.dialect.into_iter().map(on)).collect();
        let settings = load(self.config.clone(), flags.clone())?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        if let Some(file) = &settings.file {
            tracing::info!(file = %file.display(), "settings are read from a file");
        }
        tell_passed_over(&settings);
        let reload = Reload { file: self.config, flags };
        let exporter = export::of_server();
        let served = serve(context, &settings, &logs, &reload, &exporter).await;
        export::finish(exporter).await;
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
        // The platform's clients always had a place for theirs.
        (FilePlace::Beside, StoreLocation::Dynamodb(_)) if settings.dialects.edge_functions.place.on => {
            let folder = std::path::absolute(&settings.dialects.edge_functions.files);
            Place::Folder(
                folder.map_err(|error| Failure::failed(format!("dialects.edge-functions.files: {error}")))?,
            )
        }
        (FilePlace::Beside, StoreLocation::Dynamodb(_)) | (FilePlace::Nowhere, _) => return Ok(None),
    };
    let objects = Objects::open(&place);
    let objects = objects
        .map_err(|error| Failure::failed(format!("files.url: {}", baton_model::with_causes(&error))))?;
    Ok(Some(Arc::new(ObjectFiles::new(objects))))
}

/// The workers that the server starts with itself, if it is to.
fn workers(settings: &Settings, addr: SocketAddr, logs: &LogGuard) -> Result<Option<Fleet>, Failure> {
    if settings.workers.is_empty() || !settings.fleet.with_server {
        return Ok(None);
    }
    let has_token = ["BATON_TOKEN", "BATON_TOKEN_FILE"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if settings.tokens.required && settings.fleet.token_file.is_none() && !has_token {
        return Err(Failure::usage(
            "fleet.token_file: expected a file with a token of scope worker, as requests to this server need one, got nothing; \
             make one: baton token create --name fleet --scope worker",
        ));
    }
    // Those on this machine do not go by the addresses of others.
    let ip = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let server = format!("http://{}", SocketAddr::new(ip, addr.port()));
    let folder = fleet::folder_beside(&settings.store.location);
    fleet::start(settings, server, None, folder, logs).map(Some)
}

async fn serve(
    context: &Context,
    settings: &Settings,
    logs: &LogGuard,
    reload: &Reload,
    exporter: &export::Exporter,
) -> Result<(), Failure> {
    // Signals that come while it starts are not lost.
    let mut signals = Signals::listen()?;

    let (clock, ids) = (Arc::new(WatchedClock::new()), Arc::new(RandomIds));
    let doorbell = LocalDoorbell::new(clock.clone());
    let listening = Server::listen(settings).await.map_err(|error| match error {
        StartError::NoKeda => Failure::usage(error.to_string()),
        error => Failure::failed(error.to_string().replace("with server.listen", "with --listen")),
    })?;
    let store = Store::open(settings, Arc::clone(&doorbell) as _).await?;
    // They wait at the address, which is taken, until it is served.
    let workers = workers(settings, listening.addr(), logs)?;
    let known = workers.clone().map(|fleet| Arc::new(Workers(fleet)) as Arc<dyn baton_http::fleet::Fleet>);
    let beside = Beside {
        archiver: archiver(settings, &store).await?,
        files: files(settings)?,
        fleet: known,
        listener: export::listener(exporter),
    };
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
        if let Some(addr) = running.keda() {
            ready["keda"] = addr.to_string().into();
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
        if let Some(addr) = running.keda() {
            context.out.note(&format!("KEDA's external scaler is served on {addr}"));
        }
    }

    let stop = running.stop();
    let mut ended = std::pin::pin!(running.ended());
    let mut draining = false;
    let answered = loop {
        tokio::select! {
            answered = &mut ended => break answered,
            asked = signals.next() => match (&workers, asked) {
                (None, _) => { stop.begin(); break ended.await }
                (Some(fleet), Asked::HangUp) if !draining => reload.run(fleet).await,
                (Some(_), Asked::HangUp) => {}
                (Some(fleet), _) if draining => fleet.hasten(),
                (Some(fleet), _) => {
                    tracing::info!("the workers finish what they run, and end; once more to have them give it back");
                    draining = true;
                    fleet.drain();
                }
            },
            // Only then, as they tell the server how it went.
            () = has_ended(workers.as_ref()), if draining => { stop.begin(); break ended.await }
            gone = store.gone() => {
                stop.begin();
                ended.await;
                let gone = gone.report();
                tracing::error!(error = gone, "the server has ended, as its task store is gone");
                return Err(Failure::failed(gone));
            }
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

async fn has_ended(workers: Option<&Fleet>) {
    match workers {
        Some(fleet) => fleet.ended().await,
        None => std::future::pending().await,
    }
}
