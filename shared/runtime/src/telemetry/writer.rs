//! The buffer between those who log and stderr.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Beyond this, who logs waits: a line is late rather than lost.
const FULL: usize = 8 << 20;

/// Lines are gathered this long, so that a busy server wakes the writing thread 200 times a second and not once a line.
const GATHER: Duration = Duration::from_millis(5);

/// Takes log lines without waiting for their writing.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

/// Writes what is still in the buffer when dropped.
pub struct LogGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    lines: Condvar,
    room: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    closing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogWriter {
    /// Starts the thread that writes to `sink`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), lines: Condvar::new(), room: Condvar::new() });
        let writing = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || drain(&writing, sink))?;
        Ok((Self(Arc::clone(&shared)), LogGuard { shared, thread: Some(thread) }))
    }
}

fn drain(shared: &Shared, mut sink: impl Write) {
    let mut out = Vec::new();
    loop {
        let mut state = shared.state();
        while state.buffer.is_empty() && !state.closing {
            state = shared.lines.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.closing {
            let wait = shared
                .lines
                .wait_timeout_while(state, GATHER, |state| !state.closing && state.buffer.len() < FULL / 2);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.buffer, &mut out);
        let last = state.closing && out.is_empty();
        drop(state);
        shared.room.notify_all();
        if last {
            return;
        }
        // If stderr is gone there is nobody to tell.
        let _ = sink.write_all(&out).and_then(|()| sink.flush());
        out.clear();
    }
}

impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        while state.buffer.len() >= FULL && !state.closing {
            self.0.lines.notify_one();
            state = self.0.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let first = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        drop(state);
        if first {
            self.0.lines.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.lines.notify_one();
        self.shared.room.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_of_every_thread_is_written_whole() {
        let sink = Sink::default();
        let (writer, guard) = LogWriter::start(sink.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let writer = writer.clone();
                scope.spawn(move || {
                    for line in 0..5_000 {
                        (&writer)
                            .write_all(format!("{thread} {line} {}\n", "x".repeat(500)).as_bytes())
                            .unwrap();
                    }
                });
            }
        });
        drop(guard);
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: std::collections::BTreeSet<_> =
            written.lines().map(|line| line.strip_suffix(&"x".repeat(500)).unwrap().to_owned()).collect();
        assert_eq!((written.lines().count(), lines.len()), (20_000, 20_000));
    }
}
