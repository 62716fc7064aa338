//! The signals by which the program is asked to end: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is gone).

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// How the program was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// By SIGTERM: by a supervisor, or by `kill`.
    Terminate,
    /// By SIGHUP: by a terminal that was closed. Who supervises workers reads its settings again instead.
    HangUp,
    /// By SIGINT: by a person who presses Ctrl-C.
    Interrupt,
}

/// Hears the signals from its making on; none is lost between two calls of [`Signals::next`].
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None under `nohup`, which asks for SIGHUP to be passed over.
    hang_up: Option<Signal>,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let hear = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
            hang_up: if hang_up_is_ignored() { None } else { Some(hear(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = hang_up => Asked::HangUp,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

/// Whether whoever started the program had SIGHUP ignored, as `nohup` does. Asking the system itself (sigaction) takes
/// unsafe code; /proc tells the same, and where it is not there, SIGHUP ends the program in order.
fn hang_up_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hang_up(&status))
}

/// Reads the mask `SigIgn` of proc(5): hexadecimal, bit 0 for signal 1, which is SIGHUP.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        assert!(ignores_hang_up("Name:\tbaton\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hang_up("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hang_up("SigIgn:\tnone\n") && !ignores_hang_up(""));
    }
}
