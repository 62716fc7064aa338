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

    /// Whether any of its processes is left that has not ended. One that has ended but was not waited for by its
    /// parent (a zombie, as in a container without an init) can be told nothing more.
    pub(crate) fn exists(self) -> bool {
        killpg(self.0, None) != Err(Errno::ESRCH) && self.has_live_process().unwrap_or(true)
    }

    /// Looks through /proc; none where there is no such thing.
    fn has_live_process(self) -> Option<bool> {
        let mut seen = false;
        for entry in std::fs::read_dir("/proc").ok()? {
            let Ok(entry) = entry else { continue };
            if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            // A process that ends meanwhile has no file any more.
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((group, state)) = group_and_state(&stat) else { continue };
            if group == self.number() {
                seen = true;
                if !matches!(state, 'Z' | 'X') {
                    return Some(true);
                }
            }
        }
        // A /proc that hides the group (hidepid) says nothing of it.
        seen.then_some(false)
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

/// The process group and the state in a line of `/proc/<pid>/stat` (proc(5)): `pid (name) state parent group …`. The
/// name may contain anything, so what follows its last parenthesis is read.
fn group_and_state(stat: &str) -> Option<(i32, char)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(1)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        assert_eq!(group_and_state("7 (sh) S 1 5 5 0"), Some((5, 'S')));
        assert_eq!(group_and_state("7 (a) Z 1 (b) Z 1 5 5 0"), Some((5, 'Z')));
        assert_eq!(group_and_state("7 (sh"), None);
    }

    #[tokio::test]
    async fn a_group_of_which_only_a_zombie_is_left_has_ended() {
        let mut command = std::process::Command::new("true");
        let mut child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
        let group = Group(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        // Not waited for, it stays as a zombie.
        for _ in 0..500 {
            if !group.exists() {
                break;
            }
            sleep(LOOK).await;
        }
        assert!(!group.exists());
        assert_eq!(killpg(group.0, None), Ok(()));
        child.wait().unwrap();
        assert!(!group.exists());
    }
}
