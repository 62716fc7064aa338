//! All processes that a worker's programs have started: found, told to end, and collected when they have.
//!
//! A process that leaves its group (`setsid`) and whose parent ends would be out of reach. So the worker's process, if it is
//! the worker's alone, asks Linux to adopt such orphans (`PR_SET_CHILD_SUBREAPER`): they stay below it, and whose they are
//! is judged in [`crate::kin`]. See docs/decisions/0006-what-a-program-leaves.md.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_model::SessionId;
use baton_processes::{Collected, Name, Process, Procs, adopt, collect, collect_ended};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::kin::{Attempt, Attempts, Place};
use crate::lock::lock;
use crate::mark::Mark;

/// How soon, and how often at least, processes that were told to end are looked at.
const SOON: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(200);
/// How long processes that were told SIGKILL are waited for: one that a device holds ends when that lets go.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// The number of no process: what belongs to no attempt that goes on.
const NOBODY: i32 = 0;

#[derive(Debug)]
pub(crate) struct Family {
    procs: Procs,
    worker: i32,
    session: String,
    /// Whether orphans become this process's children, and are its to collect.
    collects: bool,
    /// Whether whatever becomes its child is of its programs. As process 1 of a container it gets those of others too:
    /// of `docker exec`.
    adopts: bool,
    /// Held while a program is started, so that nobody takes it for an orphan before it is known.
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    attempts: Attempts,
    guard: Option<i32>,
    /// Processes that were told SIGTERM: once each, as for many the second one means to drop everything.
    told: BTreeSet<Name>,
    /// Processes that this one may not signal.
    beyond: BTreeSet<Name>,
}

/// One attempt's part of it, until all of that has ended.
#[derive(Debug)]
pub(crate) struct Kin {
    family: Arc<Family>,
    leader: i32,
}

impl Family {
    /// That of a worker's start. If the process is the worker's `alone`, it adopts what loses its parent.
    pub(crate) fn new(session: SessionId, alone: bool) -> Arc<Self> {
        let worker = getpid().as_raw();
        let collects = alone && (adopt() || worker == 1);
        Arc::new(Self {
            procs: Procs::here(),
            worker,
            session: session.to_string(),
            collects,
            adopts: collects && worker != 1,
            members: Mutex::default(),
        })
    }

    /// Names the process that the worker has started for itself.
    pub(crate) fn set_guard(&self, guard: Option<u32>) {
        lock(&self.members).guard = guard.and_then(|id| i32::try_from(id).ok());
    }

    /// Starts an attempt's program, with its mark, in a group of its own.
    pub(crate) fn start(self: &Arc<Self>, command: &mut Command, mark: Mark) -> io::Result<(Child, Kin)> {
        command.envs(mark.variables()).process_group(0);
        let mut members = lock(&self.members);
        let child = command.spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 1);
        let leader = leader.ok_or_else(|| io::Error::other("the command has no process id"))?;
        let started = self.procs.read(leader).map_or(0, |process| process.started);
        members.attempts.insert(leader, Attempt { mark, started, led: true, ending: false });
        drop(members);
        Ok((child, Kin { family: Arc::clone(self), leader }))
    }

    /// Ends what is left when no attempt goes on.
    pub(crate) async fn end(self: &Arc<Self>, grace: Duration) {
        let rest = Kin { family: Arc::clone(self), leader: NOBODY };
        if self.adopts && rest.is_left() {
            tracing::warn!("processes of programs that have ended are left; they are ended");
            rest.end(Instant::now(), grace, &mut || false).await;
        }
    }

    /// Collects orphans that have ended, so that they do not stay as zombies, until it is dropped.
    pub(crate) async fn collect(self: Arc<Self>) {
        if self.collects {
            collect(|| self.collect_ended()).await;
        }
    }

    /// Collects the orphans that have ended by now. An own child's exit code is for whoever has started it, and is left.
    fn collect_ended(&self) -> Collected {
        // No program is started meanwhile, so that each child is either known or an orphan.
        let mut members = lock(&self.members);
        collect_ended(&self.procs, |id| {
            if members.guard != Some(id) {
                return members.is_own(id);
            }
            members.guard = None;
            tracing::error!(
                "the worker's guard has ended; commands would outlive this worker if it were killed"
            );
            false
        })
    }
}

impl Members {
    fn is_own(&self, id: i32) -> bool {
        self.guard == Some(id) || self.attempts.get(&id).is_some_and(|attempt| attempt.led)
    }
}

impl Kin {
    /// Notes that its program has been waited for: its number may soon be another's.
    pub(crate) fn waited_for(&self) {
        if let Some(attempt) = lock(&self.family.members).attempts.get_mut(&self.leader) {
            attempt.led = false;
        }
    }

    /// The group that its program leads.
    pub(crate) fn group(&self) -> i32 {
        self.leader
    }

    /// Whether anything that it has started is left and can be ended.
    pub(crate) fn is_left(&self) -> bool {
        let members = lock(&self.family.members);
        if !self.family.procs.can_see() {
            return self.leader != NOBODY && killpg(Pid::from_raw(self.leader), None).is_ok();
        }
        self.find(&members).iter().any(|process| !members.beyond.contains(&process.name()))
    }

    /// All that is left of it.
    fn find(&self, members: &Members) -> Vec<Process> {
        let family = &*self.family;
        let processes = if family.adopts { family.procs.below(family.worker) } else { family.procs.all() };
        let place = Place {
            worker: family.worker,
            apart: members.guard,
            attempts: &members.attempts,
            adopts: family.adopts,
        };
        let mark_of = |id| Mark::read(&family.procs.environment(id)?, &family.session);
        place.doomed(&processes, self.leader, mark_of)
    }

    /// Tells all of it SIGTERM that has not been told before. What it starts in answer, to clean up, is left to do that.
    pub(crate) fn terminate(&self) {
        let mut members = lock(&self.family.members);
        if let Some(attempt) = members.attempts.get_mut(&self.leader) {
            attempt.ending = true;
        }
        let mut found = self.find(&members);
        found.retain(|process| members.told.insert(process.name()));
        self.signal(&mut members, &found, Signal::SIGTERM);
    }

    fn kill(&self) {
        let mut members = lock(&self.family.members);
        let found = self.find(&members);
        self.signal(&mut members, &found, Signal::SIGKILL);
    }

    fn signal(&self, members: &mut Members, processes: &[Process], signal: Signal) {
        let group = Pid::from_raw(self.leader);
        if !self.family.procs.can_see() {
            if self.leader != NOBODY {
                // A refusal says that all of it has ended by itself.
                let _ = killpg(group, signal);
            }
            return;
        }
        // The group at one blow, so that it cannot start another meanwhile; but not where none of it is left, as its number
        // may have become another's.
        let mut told = processes.iter().all(|process| process.group != self.leader);
        for process in processes {
            // Not one that has come to the same number since.
            if self.family.procs.read(process.id).is_none_or(|now| now.started != process.started) {
                continue;
            }
            let id = Pid::from_raw(process.id);
            let answer = if process.group != self.leader {
                kill(id, signal)
            } else {
                if !told {
                    told = true;
                    let _ = killpg(group, signal);
                }
                kill(id, None)
            };
            if answer == Err(Errno::EPERM) {
                beyond(members, *process);
            }
        }
    }

    /// Has all of it end: what was told SIGTERM at `since` and, `grace` after that, SIGKILL. `runs` says whether its program
    /// itself, which only its owner may wait for, still runs.
    pub(crate) async fn end(&self, since: Instant, grace: Duration, runs: &mut (dyn FnMut() -> bool + Send)) {
        self.terminate();
        let patience = since + grace;
        let mut pause = SOON;
        while runs() || self.is_left() {
            let now = Instant::now();
            if now >= patience {
                return self.end_by_force(runs).await;
            }
            sleep(pause.min(patience - now)).await;
            pause = (pause * 2).min(LOOK);
        }
    }

    async fn end_by_force(&self, runs: &mut (dyn FnMut() -> bool + Send)) {
        let last = Instant::now() + AFTER_KILL;
        loop {
            // Again and again: between the look and the blow, another may have been started.
            self.kill();
            sleep(SOON).await;
            if !runs() && !self.is_left() {
                return;
            }
            if Instant::now() >= last {
                let members = lock(&self.family.members);
                let left: Vec<i32> = self.find(&members).iter().map(|process| process.id).collect();
                tracing::error!(pids = ?left, "processes of the command have not ended after SIGKILL; the system has to end them");
                return;
            }
        }
    }
}

impl Drop for Kin {
    fn drop(&mut self) {
        let mut members = lock(&self.family.members);
        members.attempts.remove(&self.leader);
        if members.attempts.is_empty() {
            members.told.clear();
            members.beyond.clear();
        }
    }
}

/// Gives up a process that this one may not signal.
fn beyond(members: &mut Members, process: Process) {
    if members.beyond.insert(process.name()) {
        tracing::error!(
            pid = process.id,
            "the command has started a process as another user, which this worker may not end; it is left"
        );
    }
}
