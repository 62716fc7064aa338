//! How far a long command has come, said on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a line about the progress is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Says how far a command has come: on one line of a terminal, or in a line now and then.
pub(crate) struct Teller {
    terminal: bool,
    told: Option<Instant>,
}

impl Teller {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), told: None }
    }

    pub(crate) fn tell(&mut self, words: impl FnOnce() -> String) {
        let mut stderr = std::io::stderr().lock();
        // Nothing can be said about a stderr that cannot be written to.
        if self.terminal {
            let _ = write!(stderr, "\r\x1b[K{}", words());
            let _ = stderr.flush();
        } else if self.told.is_none_or(|told| told.elapsed() >= EVERY) {
            let _ = writeln!(stderr, "{}", words());
            self.told = Some(Instant::now());
        }
    }

    /// Takes the terminal's line away.
    pub(crate) fn end(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
