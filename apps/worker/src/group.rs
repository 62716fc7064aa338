//! Process groups: each command leads one, so that all that it started ends with it.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

/// How often a group that was told to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The group of a command that was started with `process_group(0)`: its number is the command's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(Pid);

impl Group {
    /// The group that `child` leads; none if the child has been waited for.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let id = i32::try_from(child.id()?).ok()?;
        (id > 1).then_some(Self(Pid::from_raw(id)))
    }

    pub(crate) fn number(self) -> i32 {
        self.0.as_raw()
    }

    /// Whether any of its processes is left.
    pub(crate) fn exists(self) -> bool {
        killpg(self.0, None) != Err(Errno::ESRCH)
    }

    /// Tells all of it SIGTERM and, if some of it is left after `grace`, SIGKILL. Waits for the leader too.
    pub(crate) async fn end(self, child: &mut Child, grace: Duration) {
        // A refusal (ESRCH) only says that the group has ended by itself.
        let _ = killpg(self.0, Signal::SIGTERM);
        let patience = Instant::now() + grace;
        loop {
            // A leader that is not waited for stays in its group as a zombie.
            let led = matches!(child.try_wait(), Ok(None));
            if !led && !self.exists() {
                return;
            }
            if Instant::now() >= patience {
                break;
            }
            sleep(LOOK).await;
        }
        let _ = killpg(self.0, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}
