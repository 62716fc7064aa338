//! `baton serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_runtime::settings::{Durability, LogSettings, StoreLocation};
use baton_runtime::{LocalDoorbell, RandomIds, Settings, SettingsError, Sources, SystemClock, telemetry};
use baton_server::Server;
use baton_store_sqlite::{Options, SqliteStore};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::exit::Failure;

#[derive(Args)]
#[command(after_help = "Examples:
  baton serve
  baton serve --listen 127.0.0.1:8000 --store sqlite:/var/lib/baton/baton.db
  baton serve -o json    prints its url and pid once it is ready

Settings come from the defaults, the file of --config, the environment
(BATON_SERVER_LISTEN, BATON_LOG_LEVEL and so on) and these flags; the last
that names one wins. SIGTERM or Ctrl-C: answers what it has accepted, ends.")]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where tasks are kept: sqlite: and the path of the database file.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A file of settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The settings of the environment alone that say what is logged, and how.
pub(crate) fn log_settings() -> Result<LogSettings, Failure> {
    let mut sources = Sources::from_environment();
    sources.environment.retain(|(name, _)| name.starts_with("BATON_LOG_"));
    Ok(Settings::load(&sources).map_err(settings_failure)?.log)
}

fn settings_failure(error: SettingsError) -> Failure {
    Failure::Usage(error.to_string())
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let settings = Settings::load(&self.sources()).map_err(settings_failure)?;
        let logs = telemetry::start(&settings.log).map_err(|error| Failure::failed(error.to_string()))?;
        let served = serve(context, &settings).await;
        drop(logs);
        served
    }

    fn sources(self) -> Sources {
        let mut sources = Sources { file: self.config, ..Sources::from_environment() };
        let flag = |flag: &str, key: &str, value: Option<String>| {
            value.map(|value| (flag.to_owned(), key.to_owned(), value))
        };
        sources.flags.extend(flag("--listen", "server.listen", self.listen));
        sources.flags.extend(flag("--store", "store.url", self.store));
        sources
    }
}

async fn serve(context: &Context, settings: &Settings) -> Result<(), Failure> {
    // Signals that come while it starts are not lost.
    let wrong = |error| Failure::failed(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;

    let path = match &settings.store.location {
        StoreLocation::Sqlite(path) => path,
        StoreLocation::Dynamodb(table) => {
            return Err(Failure::Usage(format!(
                "store.url: expected sqlite: and the path of a file, got dynamodb:{table}, which the functions on AWS \
                 Lambda serve; name a file with --store"
            )));
        }
    };
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let doorbell = LocalDoorbell::new(clock.clone());
    let store = open(path, settings, &doorbell)?;
    let running = Server::start(settings, Arc::new(store), doorbell, clock, ids)
        .await
        .map_err(|error| Failure::failed(error.to_string().replace("with server.listen", "with --listen")))?;

    let url = format!("http://{}", running.addr());
    if context.out.is_json() {
        let ready = serde_json::json!({ "url": url, "pid": std::process::id(), "store": path });
        context.out.json_line(&ready)?;
    } else {
        context.out.note(&format!("baton serves on {url}, tasks are in {}", path.display()));
    }

    let stop = running.stop();
    let mut ended = std::pin::pin!(running.ended());
    let answered = tokio::select! {
        answered = &mut ended => answered,
        _ = terminate.recv() => { stop.begin(); ended.await }
        _ = interrupt.recv() => { stop.begin(); ended.await }
    };
    if answered {
        Ok(())
    } else {
        Err(Failure::failed("some requests were broken off at the end of the grace"))
    }
}

fn open(path: &Path, settings: &Settings, doorbell: &Arc<LocalDoorbell>) -> Result<SqliteStore, Failure> {
    let durability = match settings.store.durability {
        Durability::Full => baton_store_sqlite::Durability::Full,
        Durability::Normal => baton_store_sqlite::Durability::Normal,
    };
    let options = Options {
        policy: settings.leases,
        durability,
        max_bytes: settings.store.max_bytes,
        ..Options::default()
    };
    SqliteStore::open(path, options, Arc::clone(doorbell) as _).map_err(|error| {
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            told = format!("{told}: {inner}");
            cause = inner.source();
        }
        Failure::failed(format!("cannot open {}: {told}", path.display()))
    })
}
