//! How far a long command has come, said on stderr.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use crate::talk;

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
        if self.terminal {
            talk::write(&format!("\r\x1b[K{}", words()));
        } else if self.told.is_none_or(|told| told.elapsed() >= EVERY) {
            talk::say(&words());
            self.told = Some(Instant::now());
        }
    }

    /// Takes the terminal's line away.
    pub(crate) fn end(&mut self) {
        if self.terminal {
            talk::write("\r\x1b[K");
        }
    }
}
