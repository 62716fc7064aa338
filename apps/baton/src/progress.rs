//! How far a long command has come, said on stderr.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use terminal_size::{Height, Width, terminal_size_of};

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
            talk::write(&format!("\r\x1b[K{}", cut(&words(), terminal_size_of(io::stderr()))));
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

/// What fits on a line of a terminal: what went over its end could not be written over. One that does not say its size is wide.
fn cut(words: &str, size: Option<(Width, Height)>) -> String {
    match size {
        Some((Width(width), _)) if width > 0 => words.chars().take(usize::from(width)).collect(),
        _ => words.to_owned(),
    }
}

/// How many places a bar has.
const PLACES: u64 = 30;

/// How much of a whole is done, drawn, such as `[#####.....]  50 %`.
pub(crate) fn bar(done: u64, whole: u64) -> String {
    let of = |full: u64| u128::from(done.min(whole)) * u128::from(full) / u128::from(whole.max(1));
    let (drawn, hundredths) = (of(PLACES), of(100));
    let drawn = usize::try_from(drawn).unwrap_or_default();
    format!("[{}{}] {hundredths:>3} %", "#".repeat(drawn), ".".repeat(PLACES as usize - drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_the_terminal() {
        for (size, shown) in [(Some(4), "abcd"), (Some(9), "abcdef"), (Some(0), "abcdef"), (None, "abcdef")] {
            assert_eq!(cut("abcdef", size.map(|width| (Width(width), Height(24)))), shown);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_what_is_done() {
        assert_eq!(bar(0, 0), format!("[{}]   0 %", ".".repeat(30)));
        assert_eq!(bar(50, 100), format!("[{}{}]  50 %", "#".repeat(15), ".".repeat(15)));
        assert_eq!(bar(u64::MAX, 7), format!("[{}] 100 %", "#".repeat(30)));
    }
}
