//! Orphans: processes whose parents have ended, and who collects them when they end.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::procs::{Process, Procs};

/// How soon it is looked again for children whose owners have not yet asked for them.
const SOON: Duration = Duration::from_millis(20);

/// What became of a round of collecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// All that had ended.
    All,
    /// An own child comes first, whose owner has not yet asked for it.
    NotYet,
}

/// Has Linux hand orphans below this process to it; whether it does.
pub fn adopt() -> bool {
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_child_subreaper(true).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// Collects orphans by `round` whenever a child has ended, so that they do not stay as zombies, until it is dropped.
pub async fn collect(mut round: impl FnMut() -> Collected) {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            return tracing::warn!(%error, "orphans of programs are not collected when they end");
        }
    };
    loop {
        match round() {
            Collected::All => {
                if ended.recv().await.is_none() {
                    return;
                }
            }
            Collected::NotYet => sleep(SOON).await,
        }
    }
}

/// Collects the orphans that have ended by now. A child that `is_own` is left, as its exit code is for whoever has started it; so
/// no program may be started meanwhile.
pub fn collect_ended(procs: &Procs, mut is_own: impl FnMut(i32) -> bool) -> Collected {
    loop {
        let id = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Collected::All,
            Ok(status) => status.pid().map(Pid::as_raw),
            // Ended by a real-time signal, which has no name there.
            Err(_) => ended_orphan(procs, &mut is_own),
        };
        match id {
            // It has ended, so this does not wait; how is nobody's business.
            Some(id) if !is_own(id) => drop(waitpid(Pid::from_raw(id), Some(WaitPidFlag::WNOHANG))),
            _ => return Collected::NotYet,
        }
    }
}

fn ended_orphan(procs: &Procs, is_own: &mut impl FnMut(i32) -> bool) -> Option<i32> {
    let parent = getpid().as_raw();
    let mut ended = |process: &Process| process.ended && process.parent == parent && !is_own(process.id);
    procs.all().into_iter().find(|process| ended(process)).map(|process| process.id)
}
