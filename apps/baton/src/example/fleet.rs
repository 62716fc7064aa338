//! The example's processes: a server and two workers.

use std::ffi::OsString;

use baton_client::Client;
use baton_model::{TaskId, WorkerId};

use crate::example::{Places, QUEUE};
use crate::exit::Failure;
use crate::process::{Process, ServerProcess};

/// The worker that is killed.
pub(crate) const VICTIM: &str = "painter-1";
const SURVIVOR: &str = "painter-2";

/// Quick to notice a dead worker, so that the example need not wait a minute for it.
const SETTINGS: [(&str, &str); 4] = [
    ("BATON_LEASES_HEARTBEAT_TIMEOUT_SECONDS", "3"),
    ("BATON_LEASES_HEARTBEAT_INTERVAL_SECONDS", "1"),
    ("BATON_LEASES_FORGET_GRACE_SECONDS", "2"),
    ("BATON_REAPER_INTERVAL_SECONDS", "1"),
];

pub(crate) struct Fleet {
    server: ServerProcess,
    workers: Vec<Process>,
    pub(crate) client: Client,
}

/// A worker that was killed, and what it was doing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Killed {
    pub(crate) worker: WorkerId,
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    pub(crate) scene: String,
}

impl Fleet {
    pub(crate) async fn start(places: &Places) -> Result<Self, Failure> {
        let server = ServerProcess::start(&places.database, &SETTINGS, &places.server_log()).await?;
        let client = Client::new(&server.url)?;
        Ok(Self { server, workers: Vec::new(), client })
    }

    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// Starts the workers.
    pub(crate) fn hire(&mut self, places: &Places) -> Result<(), Failure> {
        let myself = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
        for name in [VICTIM, SURVIVOR] {
            let mut arguments: Vec<OsString> =
                ["worker", "run", "--server", self.url(), "--queue", QUEUE, "--id", name, "--"]
                    .map(Into::into)
                    .into();
            arguments.push(myself.clone().into_os_string());
            // Without a pace, an optimised build would be done before there is anything to see.
            arguments.extend(["render-scene", "--pace", "20ms"].map(Into::into));
            self.workers.push(Process::start(&arguments, &[], &places.root.join(format!("{name}.log")))?);
        }
        Ok(())
    }

    /// Stops the victim in its tracks, so that it sends nothing more.
    pub(crate) fn hold_victim(&self) -> Result<(), Failure> {
        self.workers.first().map_or(Ok(()), Process::hold)
    }

    /// Lets the victim go on.
    pub(crate) fn let_victim_go(&self) -> Result<(), Failure> {
        self.workers.first().map_or(Ok(()), Process::let_go)
    }

    /// Kills the victim as a power cut would.
    pub(crate) async fn kill_victim(&mut self) -> Result<(), Failure> {
        self.workers.remove(0).kill().await.map(drop)
    }

    /// Ends what still runs.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        for worker in &mut self.workers {
            worker.end().await?;
        }
        self.server.process.end().await.map(drop)
    }
}
