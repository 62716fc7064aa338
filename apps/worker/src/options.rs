//! What a worker is told at its start, and what it tells at its end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_client::{ClientError, ReadyQueue};
use baton_model::{QueueName, SessionId, TaskType, Warm, WorkerId, limits};
use baton_runtime::{Clock, Ids, Spans};

use crate::detour::Detour;
use crate::life::Pulse;

/// What a worker is told at its start.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Its name. Two workers of one name at once would take each other's place again and again.
    pub id: WorkerId,
    /// The queues to take from, 1 to 32; if empty, those that its token is bound to, or else the default queue.
    pub queues: Vec<QueueName>,
    /// The types to take; all if empty.
    pub types: Vec<TaskType>,
    /// What it has warm, and what it makes of that. If it prefers what is warm and names nothing, the affinities of the tasks that it
    /// ran last count as warm.
    pub warm: Warm,
    /// How many tasks it runs at once, 1 to 10,000.
    pub concurrency: u32,
    /// The program to run for each task, and its arguments.
    pub command: Vec<OsString>,
    /// A program that calls [`crate::guard`] on its standard input: it ends the commands if this worker is killed.
    /// Without one, commands outlive a worker that is killed by SIGKILL.
    pub guard: Option<Vec<OsString>>,
    /// Whether the process is this worker's alone, with no other worker and no other child processes in it. It then adopts
    /// and collects what its commands leave behind when they end, and nothing that they have started hides from it.
    pub alone: bool,
    /// Words about the worker, such as its host, to be shown to operators.
    pub labels: BTreeMap<String, String>,
    /// How long a claim waits for work; at most 20 s.
    pub wait: Duration,
    /// Where claims wait for work; at the server without one.
    pub ready: Option<Arc<dyn ReadyQueue>>,
    /// How long a command has between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long a task rests that its command gave back by exit code 75.
    pub release_delay: Duration,
    /// How long the worker goes on once the server has come to refuse its token, before it ends.
    pub denied_patience: Duration,
    /// The folder in which each attempt has one of its own for what its program leaves, which is handed in with its completion; without
    /// one, programs hand in none. Several workers may have the same.
    pub outputs: Option<PathBuf>,
    /// Where outcomes go while the server is out of reach; without one they wait for it.
    pub detour: Option<Arc<dyn Detour>>,
    /// Who is told that this process lives.
    pub pulse: Option<Pulse>,
    /// Where the spans of what it does are recorded; none if nobody listens.
    pub spans: Option<Arc<Spans>>,
    /// The time, for the log lines' sake.
    pub clock: Arc<dyn Clock>,
    /// Where the name of this start comes from.
    pub ids: Arc<dyn Ids>,
}

impl WorkerOptions {
    /// A worker of this name that runs `command` for each task of the default queue, one at a time.
    pub fn new(id: WorkerId, command: Vec<OsString>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self {
            id,
            queues: Vec::new(),
            types: Vec::new(),
            warm: Warm::default(),
            concurrency: 1,
            command,
            guard: None,
            alone: false,
            labels: BTreeMap::new(),
            wait: limits::CLAIM_WAIT,
            ready: None,
            grace: Duration::from_secs(5),
            release_delay: Duration::from_secs(10),
            denied_patience: Duration::from_secs(600),
            outputs: None,
            detour: None,
            pulse: None,
            spans: None,
            clock,
            ids,
        }
    }

    pub(crate) fn check(&self) -> Result<(), WorkerError> {
        let Some(program) = self.command.first() else {
            return Err(WorkerError::Command { program: String::new(), reason: "none was given".to_owned() });
        };
        if find(Path::new(program)).is_none() {
            let reason = "no such program can be executed; check its path and permissions".to_owned();
            return Err(WorkerError::Command { program: program.to_string_lossy().into_owned(), reason });
        }
        Ok(())
    }
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("id", &self.id)
            .field("queues", &self.queues)
            .field("types", &self.types)
            .field("concurrency", &self.concurrency)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// Finds a program as `execvp` does.
fn find(program: &Path) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return executable(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| executable(file))
}

/// What became of all that a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tasks claimed.
    pub claimed: u64,
    /// Tasks completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Tasks given back.
    pub released: u64,
    /// Attempts that the server took away: cancelled, or their lease lost.
    pub lost: u64,
    /// Outcomes that went by the detour. Those that the server has answered for since are counted above, too.
    pub detoured: u64,
    /// Of these, those that it has not answered for.
    pub unconfirmed: u64,
    /// Outcomes that could not be delivered before the worker had to end; each was logged as an error.
    pub undelivered: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} claimed, {} completed, {} failed, {} released, {} lost, {} undelivered",
            self.claimed, self.completed, self.failed, self.released, self.lost, self.undelivered
        )?;
        match (self.detoured, self.unconfirmed) {
            (0, _) => Ok(()),
            (detoured, 0) => write!(f, ", {detoured} by the detour"),
            (detoured, unconfirmed) => {
                write!(f, ", {detoured} by the detour ({unconfirmed} not confirmed yet)")
            }
        }
    }
}

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its command cannot be run.
    #[error("expected a command to run for each task, got {program:?}: {reason}")]
    Command {
        /// The program.
        program: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Its folder for outputs cannot be used.
    #[error(
        "expected a folder that can be written for outputs, got {folder}: {cause}; make it, or name another"
    )]
    Outputs {
        /// The folder.
        folder: String,
        /// What is wrong with it.
        cause: std::io::Error,
    },
    /// Its guard cannot be run.
    #[error("the worker's guard could not be started")]
    Guard(#[source] std::io::Error),
    /// The server refuses its requests, and would again.
    #[error("the server refuses this worker's requests: {0}")]
    Refused(#[source] ClientError),
    /// Another start of the same worker has taken its place.
    #[error(
        "another start of worker {worker} has taken the place of this one (session {session}); \
         give each worker an id of its own, or leave --id out"
    )]
    Superseded {
        /// The worker.
        worker: WorkerId,
        /// This start of it.
        session: SessionId,
    },
}
