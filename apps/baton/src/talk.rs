//! What is said on stderr, without waiting for who does not read it: a program that hangs there does not hear that it is to
//! end.

use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_runtime::telemetry::{LogGuard, LogWriter};

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
