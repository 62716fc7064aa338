//! The guard: a small process that outlives a killed worker just long enough to end the commands.
//!
//! The worker writes to the guard's standard input what it runs; when that pipe closes, for whatever reason, the guard ends
//! what is left. It needs neither the worker's consent nor its health, nor any facility that only some systems have.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use baton_model::SessionId;
use baton_processes::{Process as Seen, Procs, cgroup};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpid};

use crate::mark::Mark;
use crate::options::WorkerError;

/// How often the guard looks for processes that are left, and how many times: 2 s.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 100;

/// What a guard has been told.
#[derive(Debug, Default)]
struct Ward {
    groups: BTreeSet<i32>,
    session: Option<String>,
    cgroup: Option<PathBuf>,
}

/// Serves as a worker's guard until `input` ends: what a program does that is named in
/// [`WorkerOptions::guard`](crate::WorkerOptions::guard).
///
/// A line `+7` takes process group 7 under guard, a line `-7` lets it go; `=…` names the worker's session, and `@…` the
/// control group that it has made. What is left of these at the end of the input is told SIGKILL: the control group, the
/// groups, whatever descends from them, and whatever has the session in its environment.
pub fn guard(input: impl BufRead) {
    let mut ward = Ward::default();
    for line in input.lines().map_while(Result::ok) {
        ward.hear(&line);
    }
    ward.end();
}

impl Ward {
    fn hear(&mut self, line: &str) {
        let Some((sign, rest)) = line.split_at_checked(1) else { return };
        // 0 is the guard's own group, 1 the system's first process.
        let number = || rest.parse::<i32>().ok().filter(|number| *number > 1);
        match sign {
            "+" => self.groups.extend(number()),
            "-" => drop(number().map(|number| self.groups.remove(&number))),
            "=" => self.session = Some(rest.to_owned()),
            "@" => self.cgroup = Some(PathBuf::from(rest)),
            _ => {}
        }
    }

    fn end(&self) {
        let procs = Procs::here();
        // Before anything ends, as that breaks the lines by which others are found.
        let mut left = self.left(&procs);
        if let Some(path) = &self.cgroup {
            cgroup::end(path);
        }
        for group in &self.groups {
            // A refusal says that the group has ended by itself.
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
        for _ in 0..LOOKS {
            if left.is_empty() {
                return;
            }
            for process in left {
                // Not one that has come to the same number since.
                if procs.read(process.id).is_some_and(|now| now.started == process.started) {
                    let _ = kill(Pid::from_raw(process.id), Signal::SIGKILL);
                }
            }
            sleep(LOOK);
            left = self.left(&procs);
        }
    }

    /// The processes that live and are in a group, descend from one that is, or carry the session.
    fn left(&self, procs: &Procs) -> Vec<Seen> {
        let mut others = procs.all();
        others.retain(|process| !process.ended && process.id != getpid().as_raw());
        let carries = |id| {
            self.session.as_deref().is_some_and(|session| {
                procs.environment(id).is_some_and(|environment| Mark::read(&environment, session).is_some())
            })
        };
        let mut left: Vec<Seen> = Vec::new();
        let mut ids = BTreeSet::new();
        loop {
            let (found, rest): (Vec<Seen>, Vec<Seen>) = others.into_iter().partition(|process| {
                self.groups.contains(&process.group)
                    || ids.contains(&process.parent)
                    // Once is enough for each: the first round has everything.
                    || (ids.is_empty() && carries(process.id))
            });
            if found.is_empty() {
                return left;
            }
            ids.extend(found.iter().map(|process| process.id));
            left.extend(found);
            others = rest;
        }
    }
}

/// The worker's end of its guard; without a guard, nothing.
#[derive(Debug, Default)]
pub(crate) struct Guard(Option<Process>);

#[derive(Debug)]
struct Process {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start(command: Option<&[OsString]>) -> Result<Self, WorkerError> {
        let Some([program, arguments @ ..]) = command else { return Ok(Self::default()) };
        // In a group of its own, so that what ends the worker's group (Ctrl-C) does not end the guard first.
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove("BATON_TOKEN")
            .env_remove("BATON_TOKEN_FILE")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(WorkerError::Guard)?;
        let input = child.stdin.take();
        Ok(Self(Some(Process { child, input })))
    }

    /// Its process; none without a guard.
    pub(crate) fn id(&self) -> Option<u32> {
        self.0.as_ref().map(|process| process.child.id())
    }

    /// Names the session that all of the worker's commands carry.
    pub(crate) fn know(&mut self, session: SessionId) {
        self.tell('=', session);
    }

    /// Names the control group that all of them are in.
    pub(crate) fn know_cgroup(&mut self, path: &Path) {
        self.tell('@', path.display());
    }

    pub(crate) fn take_up(&mut self, group: i32) {
        self.tell('+', group);
    }

    pub(crate) fn let_go(&mut self, group: i32) {
        self.tell('-', group);
    }

    fn tell(&mut self, sign: char, what: impl std::fmt::Display) {
        let Some(Process { input: slot @ Some(_), .. }) = &mut self.0 else { return };
        let told: io::Result<()> =
            slot.as_mut().map_or(Ok(()), |input| input.write_all(format!("{sign}{what}\n").as_bytes()));
        if let Err(error) = told {
            tracing::warn!(%error, "the worker's guard is gone; commands would outlive this worker if it were killed");
            *slot = None;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            drop(process.input.take());
            // It ends by itself now that its input has.
            let _ = process.child.wait();
        }
    }
}
