//! A supervisor as the settings say, for `baton serve` and `baton fleet run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_api::supervised::{GroupView, SupervisedView};
use baton_fleet::{Common, Fleet, FleetError, FleetOptions, GroupReport, Order, WorkerReport};
use baton_http::fleet::Asked;
use baton_model::{GroupName, WorkerId};
use baton_runtime::settings::{LogFormat, StoreLocation};
use baton_runtime::telemetry::LogGuard;
use baton_runtime::{Ids as _, RandomIds, Settings, SystemClock};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::exit::Failure;
use crate::layers::{Flag, load};
use crate::worker_run::host;

/// Where the locks of names lie beside a store, unless the settings name a folder.
pub(crate) fn folder_beside(location: &StoreLocation) -> PathBuf {
    match location {
        StoreLocation::Sqlite(path) => {
            let mut folder = path.as_os_str().to_owned();
            folder.push("-fleet");
            folder.into()
        }
        StoreLocation::Dynamodb(_) => "baton-fleet".into(),
    }
}

/// Starts the settings' groups against a server. `token_file` is what the command line names.
pub(crate) fn start(
    settings: &Settings,
    server: String,
    token_file: Option<&Path>,
    folder: PathBuf,
    logs: &LogGuard,
) -> Result<Fleet, Failure> {
    let name = settings.fleet.name.clone().unwrap_or_else(host);
    if let Err(problem) = format!("{name}-{}-1000", "x".repeat(48)).parse::<WorkerId>() {
        return Err(Failure::usage(format!(
            "the host's name makes no worker's name: {problem}; set fleet.name"
        )));
    }
    let myself = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
    // Workers may run in another folder.
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::usage(format!("fleet.token_file: {error}")))
    };
    let token_file = settings.fleet.token_file.as_deref().or(token_file).map(absolute).transpose()?;
    if let Some(file) = &token_file
        && let Err(error) = std::fs::metadata(file)
    {
        let file = file.display();
        return Err(Failure::usage(format!(
            "fleet.token_file: expected a file with a token, got {file}: {error}"
        )));
    }
    // For people on this terminal, though workers write into a pipe.
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let format = match settings.log.format {
        LogFormat::Auto if terminal => "text",
        LogFormat::Text => "text",
        LogFormat::Auto | LogFormat::Json => "json",
    };
    let environment = [
        ("BATON_LOG_FORMAT", format.to_owned()),
        ("BATON_LOG_LEVEL", settings.log.level.to_string()),
        // Their lines come here, and go where these go: one process writes to a file.
        ("BATON_LOG_FILE", String::new()),
        ("BATON_LOG_DIRECTORY", String::new()),
    ];
    let writers = logs.writers();
    let options = FleetOptions {
        common: Common {
            program: vec![myself.into_os_string()],
            server,
            name,
            token_file,
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        },
        folder: settings.fleet.folder.clone().unwrap_or(folder),
        // What nobody reads is dropped and counted there.
        lines: Arc::new(move |line| {
            writers.iter().for_each(|writer| drop(std::io::Write::write_all(&mut &*writer, line)));
        }),
        clock: Arc::new(SystemClock),
        seed: RandomIds.uuid().as_u64_pair().1,
    };
    Fleet::start(options, settings.workers.clone()).map_err(failure)
}

fn failure(error: FleetError) -> Failure {
    match error {
        FleetError::Groups(_) => Failure::Usage(error.to_string()),
        error => Failure::failed(error.to_string()),
    }
}

/// How the settings are read again.
#[derive(Clone)]
pub(crate) struct Reload {
    pub(crate) file: Option<PathBuf>,
    pub(crate) flags: Vec<Flag>,
}

impl Reload {
    /// Reads the settings, and has the groups be as they say; if they do not fit, all is as before.
    pub(crate) async fn run(&self, fleet: &Fleet) {
        let settings = match load(self.file.clone(), self.flags.clone()) {
            Ok(settings) => settings,
            Err(Failure::Usage(error) | Failure::Failed(error)) => {
                return tracing::error!(
                    error,
                    "the settings cannot be read again; the workers are as before"
                );
            }
            Err(_) => return,
        };
        match fleet.reload(settings.workers).await {
            Ok(changes) => tracing::info!(
                added = names(&changes.added),
                changed = names(&changes.changed),
                removed = names(&changes.removed),
                "the groups of workers were read again; all other settings hold from the next start on"
            ),
            Err(error) => {
                tracing::error!(%error, "the groups of workers cannot be as the settings say; they are as before")
            }
        }
    }
}

fn names(groups: &[GroupName]) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}

/// A supervisor as a server's routes know it.
pub(crate) struct Workers(pub(crate) Fleet);

impl baton_http::fleet::Fleet for Workers {
    fn groups(&self) -> BoxFuture<'_, Vec<GroupView>> {
        async { self.0.report().await.groups.into_iter().map(group).collect() }.boxed()
    }

    fn ask<'a>(&'a self, name: &'a GroupName, asked: Asked) -> BoxFuture<'a, Option<GroupView>> {
        let order = match asked {
            Asked::Start => Order::Start,
            Asked::Stop => Order::Stop,
            Asked::Restart { rolling } => Order::Restart { rolling },
            Asked::Scale(count) => Order::Scale(count),
        };
        async move { self.0.order(name, order).await.map(group) }.boxed()
    }
}

fn group(report: GroupReport) -> GroupView {
    let counts = report.counts;
    GroupView {
        name: report.name,
        status: report.status.to_owned(),
        count: report.wanted,
        active: counts.active,
        idle: counts.idle,
        busy: counts.busy,
        failed: counts.failed,
        restarts: counts.restarts,
        command: report.command,
        workers: report.workers.into_iter().map(worker).collect(),
    }
}

fn worker(report: WorkerReport) -> SupervisedView {
    SupervisedView {
        id: report.id,
        state: report.state.to_owned(),
        since: report.since,
        pid: report.process,
        running: report.running,
        tasks: report.tasks,
        memory_bytes: report.memory_bytes,
        restarts: report.restarts,
        starts_at: report.starts_at,
        waits_for: report.waits_for,
        last_exit: report.last_exit,
        last_output: report.last_output,
    }
}
