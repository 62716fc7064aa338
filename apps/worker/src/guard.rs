//! The guard: a small process that outlives a killed worker just long enough to end the commands.
//!
//! The worker writes to the guard's standard input which process groups it runs; when that pipe closes, for whatever
//! reason, the guard ends the groups that are left. It needs neither the worker's consent nor its health, nor any
//! facility that only some systems have.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::group::Group;
use crate::options::WorkerError;

/// Serves as a worker's guard until `input` ends: what a program does that is named in
/// [`WorkerOptions::guard`](crate::WorkerOptions::guard).
///
/// A line `+7` takes process group 7 under guard, a line `-7` lets it go; the groups that are left at the end of the
/// input are told SIGKILL.
pub fn guard(input: impl BufRead) {
    let mut groups = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        let Some((sign, number)) = line.split_at_checked(1) else { continue };
        // 0 is the guard's own group, 1 the system's first process.
        let Some(number) = number.parse::<i32>().ok().filter(|number| *number > 1) else { continue };
        match sign {
            "+" => drop(groups.insert(number)),
            "-" => drop(groups.remove(&number)),
            _ => {}
        }
    }
    for number in groups {
        // A refusal says that the group has ended by itself.
        let _ = killpg(Pid::from_raw(number), Signal::SIGKILL);
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

    pub(crate) fn take_up(&mut self, group: Group) {
        self.tell('+', group);
    }

    pub(crate) fn let_go(&mut self, group: Group) {
        self.tell('-', group);
    }

    fn tell(&mut self, sign: char, group: Group) {
        let Some(Process { input: slot @ Some(_), .. }) = &mut self.0 else { return };
        let told: io::Result<()> = slot
            .as_mut()
            .map_or(Ok(()), |input| input.write_all(format!("{sign}{}\n", group.number()).as_bytes()));
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
