//! What is said on stderr, without waiting for who does not read it: a program that hangs there does not hear that it is to
//! end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_runtime::telemetry::{LogGuard, LogWriter};

use crate::exit::Failure;
use crate::out::harmless;

/// How long a word waits to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

static WRITER: LazyLock<io::Result<(LogWriter, LogGuard)>> =
    // Of what is lost here there is nothing more to say.
    LazyLock::new(|| LogWriter::start_telling(io::stderr(), |_| {}));

/// Whether nobody took the last word; the next ones do not wait.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// Says a line.
pub(crate) fn say(text: &str) {
    write(&format!("{text}\n"));
}

/// Writes a text as it is.
pub(crate) fn write(text: &str) {
    let Ok((writer, _)) = &*WRITER else {
        // Without a thread for it, it is said in the plain way; about a stderr that fails nothing can be said.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        return;
    };
    let mut writer = writer;
    let _ = writer.write_all(text.as_bytes());
    let patience = if UNHEARD.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
    UNHEARD.store(!writer.flush_within(patience), Ordering::Relaxed);
}

/// Asks whoever sits at the terminal.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    let question = harmless::line(question);
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} nobody is there to say so; add --yes to do it")));
    }
    write(&format!("{question} [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failure::failed(error.to_string()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}
