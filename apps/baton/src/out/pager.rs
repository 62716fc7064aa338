//! What is longer than the terminal is high, shown page by page.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Stdio};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a shell says that it could not run a command: not executable, not found.
const NOT_RUN: [i32; 2] = [126, 127];

/// The program that shows pages: what PAGER says, or `less` if it says nothing; none if it says nothing on purpose.
pub(crate) fn wanted() -> Option<Pager> {
    match std::env::var_os("PAGER") {
        None => Some(Pager::Less),
        Some(pager) if pager.is_empty() || pager == "cat" => None,
        Some(pager) => Some(Pager::Named(pager)),
    }
}

/// A program that shows pages.
#[derive(Debug)]
pub(crate) enum Pager {
    Less,
    /// Words for a shell, as PAGER is by custom.
    Named(OsString),
}

impl Pager {
    /// Shows a text, until the reader has seen enough.
    ///
    /// # Errors
    /// That no such program could be run; nothing was shown then.
    pub(crate) fn show(&self, text: &str) -> io::Result<()> {
        let mut command = match self {
            Self::Less => Command::new("less"),
            Self::Named(words) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(words);
                shell
            }
        };
        if std::env::var_os("LESS").is_none() {
            // F: ends at once if all fits. R: colours are colours. X: what was shown stays on the terminal.
            command.env("LESS", "FRX");
        }
        // Ctrl-C is for the pager, which stops a search by it; it must not end this program and leave the pager alone.
        let _held = interrupts()?;
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(text.as_bytes()) {
                // The reader has seen enough.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        ran(child.wait()?)
    }
}

fn interrupts() -> io::Result<Signal> {
    signal(SignalKind::interrupt())
}

fn ran(status: ExitStatus) -> io::Result<()> {
    match status.code() {
        Some(code) if NOT_RUN.contains(&code) => Err(io::Error::other("it could not be run")),
        _ => Ok(()),
    }
}
