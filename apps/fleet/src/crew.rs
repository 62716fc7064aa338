//! The processes of all groups: started, told what is decided, and remembered for a while when they have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_model::{GroupName, WorkerId};
use baton_processes::cgroup::{self, Limiter, Limits};
use baton_processes::{Procs, adopt, collect, collect_ended};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::decide::{Run, Told};
use crate::launch::{Common, Launch};
use crate::names::Names;
use crate::process::{Heard, Lines, attend};

/// The processes of all groups.
pub(crate) struct Crew {
    common: Common,
    names: Names,
    lines: Lines,
    heard: UnboundedSender<Heard>,
    members: BTreeMap<Run, Member>,
    last: BTreeMap<(GroupName, u32), Last>,
    /// The numbers of its processes that have not been waited for. Held while one is started, so that nobody takes it for an
    /// orphan before it is known.
    own: Arc<Mutex<BTreeSet<i32>>>,
    limiter: Limited,
    attended: JoinSet<()>,
}

/// A process.
struct Member {
    group: GroupName,
    number: u32,
    process: u32,
    orders: UnboundedSender<Told>,
    cgroup: Option<PathBuf>,
}

/// What is remembered of a worker's process that has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    pub(crate) exit: Option<String>,
    pub(crate) output: Option<String>,
    /// The process that has its name.
    pub(crate) held_by: Option<String>,
}

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    Yes,
    No,
    NameHeld,
}

/// Whether control groups with limits can be made.
#[derive(Debug)]
enum Limited {
    /// Nobody has asked for limits yet.
    Unasked,
    Yes(Limiter),
    /// The system allows none, and that has been said.
    No,
}

impl Crew {
    pub(crate) fn new(common: Common, names: Names, lines: Lines, heard: UnboundedSender<Heard>) -> Self {
        Self {
            common,
            names,
            lines,
            heard,
            members: BTreeMap::new(),
            last: BTreeMap::new(),
            own: Arc::default(),
            limiter: Limited::Unasked,
            attended: JoinSet::new(),
        }
    }

    /// The name of a worker.
    pub(crate) fn worker(&self, group: &GroupName, number: u32) -> Option<WorkerId> {
        // The settings' bounds leave room for all three.
        format!("{}-{group}-{number}", self.common.name).parse().ok()
    }

    pub(crate) fn process(&self, run: Run) -> Option<u32> {
        self.members.get(&run).map(|member| member.process)
    }

    pub(crate) fn last(&self, group: &GroupName, number: u32) -> Option<&Last> {
        self.last.get(&(group.clone(), number))
    }

    /// Prepares for limits, if any group has some.
    pub(crate) fn limit(&mut self, asked: bool) {
        if !asked || !matches!(self.limiter, Limited::Unasked) {
            return;
        }
        self.limiter = match Limiter::open(&format!("baton-supervisor-{}", std::process::id())) {
            Ok(limiter) => Limited::Yes(limiter),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "limits of memory and processors do not hold: this system lets no control groups (cgroup v2) be made here; under \
                     systemd, give the unit Delegate=yes"
                );
                Limited::No
            }
        };
    }

    /// Starts a worker's process.
    pub(crate) fn start(&mut self, launch: &Launch, number: u32, run: Run) -> Started {
        let group = launch.group.name.clone();
        let started = self.try_start(launch, number, run);
        let last = self.last.entry((group.clone(), number)).or_default();
        match started {
            Ok(None) => {
                last.held_by = None;
                Started::Yes
            }
            Ok(Some(holder)) => {
                if last.held_by.replace(holder.clone()).is_none() {
                    tracing::warn!(%group, number, process = holder, "a worker's name is another process's, which an earlier \
                        supervisor has started; it is waited for until that has ended");
                }
                Started::NameHeld
            }
            Err(problem) => {
                last.exit = Some(problem);
                last.output = None;
                Started::No
            }
        }
    }

    /// The answer is who has the name, if another process has it.
    fn try_start(&mut self, launch: &Launch, number: u32, run: Run) -> Result<Option<String>, String> {
        let group = &launch.group.name;
        let worker = self.worker(group, number).ok_or("its name does not fit; set a shorter fleet.name")?;
        let held =
            self.names.holder(&worker).map_err(|error| format!("its name cannot be locked: {error}"))?;
        if held.is_some() {
            return Ok(held);
        }
        let mut command = launch.command(&self.common, &worker, &self.names.path(&worker));
        let mut own = lock(&self.own);
        let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let process = child.id().ok_or("it has no process id")?;
        own.extend(i32::try_from(process));
        drop(own);
        self.names.note(&worker, process);
        let cgroup = self.confine(launch, run, process);
        let (orders, told) = unbounded_channel();
        let member = Member { group: group.clone(), number, process, orders, cgroup };
        self.members.insert(run, member);
        self.attended.spawn(attend(run, child, told, self.heard.clone(), Arc::clone(&self.lines)));
        while self.attended.try_join_next().is_some() {}
        tracing::info!(%group, worker_id = %worker, pid = process, "a worker is started");
        Ok(None)
    }

    /// Puts a process, which has not begun yet, into a control group with the limits of its own.
    fn confine(&self, launch: &Launch, run: Run, process: u32) -> Option<PathBuf> {
        let limits = Limits { memory: launch.group.memory_bytes, cpus: launch.group.cpus };
        let Limited::Yes(limiter) = &self.limiter else { return None };
        if limits == Limits::default() {
            return None;
        }
        let name = format!("baton-supervised-{}-{}", std::process::id(), run.0);
        let made = limiter.make(&name, limits).and_then(|path| {
            cgroup::move_into(&path, process)?;
            Ok(path)
        });
        made.inspect_err(|error| {
            tracing::error!(group = %launch.group.name, %error, "a worker's limits cannot be set; it runs without");
        })
        .ok()
    }

    pub(crate) fn tell(&self, run: Run, told: Told) {
        if let Some(member) = self.members.get(&run) {
            // It may just have ended, which is about to be heard.
            let _ = member.orders.send(told);
        }
    }

    /// Notes that a process has ended and has been waited for.
    pub(crate) fn ended(&mut self, run: Run, how: &str, output: &str) {
        let Some(member) = self.members.remove(&run) else { return };
        lock(&self.own).retain(|own| u32::try_from(*own) != Ok(member.process));
        let last = self.last.entry((member.group, member.number)).or_default();
        last.exit = Some(how.to_owned());
        last.output = Some(output.to_owned()).filter(|output| !output.is_empty());
        if let Some(path) = member.cgroup {
            // It may take a moment until all in it has ended.
            tokio::task::spawn_blocking(move || cgroup::end(&path));
        }
    }

    /// Adopts and collects what workers leave behind: their guards, when a worker was killed.
    pub(crate) fn collect_orphans(&self) -> impl Future<Output = ()> + Send + use<> {
        let own = Arc::clone(&self.own);
        let procs = Procs::here();
        let adopts = adopt() || std::process::id() == 1;
        async move {
            if adopts {
                collect(|| {
                    let own = lock(&own);
                    collect_ended(&procs, |process| own.contains(&process))
                })
                .await;
            }
        }
    }

    /// Ends what is left when no worker is.
    pub(crate) async fn close(&mut self) {
        while self.attended.join_next().await.is_some() {}
        // Guards end within moments of their workers, and would stay as zombies.
        let procs = Procs::here();
        let _ = collect_ended(&procs, |_| false);
        if let Limited::Yes(limiter) = std::mem::replace(&mut self.limiter, Limited::No) {
            limiter.close();
        }
    }
}

fn lock(own: &Mutex<BTreeSet<i32>>) -> MutexGuard<'_, BTreeSet<i32>> {
    // What it guards is whole after every line that writes it.
    own.lock().unwrap_or_else(PoisonError::into_inner)
}
