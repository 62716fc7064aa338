//! The buffer between those who write and stderr. Nobody waits for stderr to be read: what does not fit is dropped, and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes that wait to be written; a line that would go beyond is dropped. Why not wait, as nothing would be lost:
/// whoever holds the other end of a pipe and does not read it would stop the requests, and the server's end.
const FULL: usize = 8 << 20;

/// Lines are gathered this long, so that a busy server wakes the writing thread 200 times a second and not once a line.
const GATHER: Duration = Duration::from_millis(5);

/// The most bytes of one write, so that it shows how writing goes on.
const PIECE: usize = 64 * 1024;

/// How long the end waits for what is still to be written: while nothing of it is taken, and in all.
const STANDSTILL: Duration = Duration::from_secs(1);
const AT_MOST: Duration = Duration::from_secs(3);

/// Takes lines without waiting for their writing.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

/// Writes what is still in the buffer when dropped, as far as somebody takes it.
pub struct LogGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Those of the log's files, which end after it; each with whether its lines have the form of these.
    others: Vec<(Self, bool)>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    lines: Condvar,
    /// Something was written, or writing has ended.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    closing: bool,
    ended: bool,
    /// Somebody waits for the writing.
    hurry: bool,
    /// The bytes that were taken to be written, and those of them that are written or lost.
    taken: u64,
    done: u64,
    /// The lines that were dropped, and those of them that were told of.
    dropped: u64,
    told: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogGuard {
    /// What takes whole lines that another process has logged in the form of this one's: stderr, and the file of the same form.
    pub fn writers(&self) -> Vec<LogWriter> {
        let others = self.others.iter().filter(|(_, same)| *same).map(|(other, _)| other);
        std::iter::once(self).chain(others).map(|guard| LogWriter(Arc::clone(&guard.shared))).collect()
    }

    /// This one, and others to end after it, each with whether its lines have the same form.
    pub(super) fn with(mut self, others: Vec<(Self, bool)>) -> Self {
        self.others = others;
        self
    }
}

impl LogWriter {
    /// Starts the thread that writes to `sink`. Once it can write again after lines were dropped, it logs how many.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        Self::start_telling(sink, |lines| {
            tracing::warn!(lines, "log lines were dropped, as nobody read them; see what reads stderr");
        })
    }

    /// Starts the thread that writes to `sink`, and calls `tell` with the number of lines that were dropped.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start_telling(
        sink: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, LogGuard)> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), lines: Condvar::new(), progress: Condvar::new() });
        let writing = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || drain(&writing, sink, &tell))?;
        Ok((Self(Arc::clone(&shared)), LogGuard { shared, thread: Some(thread), others: Vec::new() }))
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    /// Has written what was taken so far, and waits for that; says whether it was done in time.
    pub fn flush_within(&self, most: Duration) -> bool {
        let mut state = self.0.state();
        let taken = state.taken;
        state.hurry = true;
        self.0.lines.notify_one();
        let waited =
            self.0.progress.wait_timeout_while(state, most, |state| state.done < taken && !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.done >= taken
    }
}

fn drain(shared: &Shared, mut sink: impl Write, tell: &impl Fn(u64)) {
    let mut out = Vec::new();
    loop {
        let mut state = shared.state();
        while state.buffer.is_empty() && !state.closing {
            state = shared.lines.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let gathering = |state: &mut State| !state.closing && !state.hurry && state.buffer.len() < FULL / 2;
        let wait = shared.lines.wait_timeout_while(state, GATHER, gathering);
        state = wait.unwrap_or_else(PoisonError::into_inner).0;
        state.hurry = false;
        std::mem::swap(&mut state.buffer, &mut out);
        if out.is_empty() {
            state.ended = true;
            shared.progress.notify_all();
            return;
        }
        drop(state);
        let mut failed = false;
        for piece in out.chunks(PIECE) {
            // If stderr is gone there is nobody to tell; what follows may be taken by another who opens the pipe.
            failed |= sink.write_all(piece).is_err();
            shared.state().done += piece.len() as u64;
            shared.progress.notify_all();
        }
        failed |= sink.flush().is_err();
        let mut state = shared.state();
        if failed {
            state.dropped += out.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        let dropped = state.dropped - state.told;
        if dropped > 0 && !failed {
            state.told = state.dropped;
            drop(state);
            tell(dropped);
        }
        out.clear();
    }
}

impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.buffer.len() + line.len() > FULL {
            state.dropped += 1;
            return Ok(line.len());
        }
        let first = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        state.taken += line.len() as u64;
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
        let mut state = self.shared.state();
        state.closing = true;
        self.shared.lines.notify_one();
        let began = Instant::now();
        while !state.ended && began.elapsed() < AT_MOST {
            let done = state.done;
            let standing = |state: &mut State| state.done == done && !state.ended;
            let waited = self.shared.progress.wait_timeout_while(state, STANDSTILL, standing);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() {
                break;
            }
        }
        let ended = state.ended;
        drop(state);
        // A thread that hangs in a write ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
                    for line in 0..3_000 {
                        (&writer)
                            .write_all(format!("{thread} {line} {}\n", "x".repeat(500)).as_bytes())
                            .unwrap();
                    }
                });
            }
        });
        drop(guard);
        assert_eq!(writer.dropped(), 0);
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: std::collections::BTreeSet<_> =
            written.lines().map(|line| line.strip_suffix(&"x".repeat(500)).unwrap().to_owned()).collect();
        assert_eq!((written.lines().count(), lines.len()), (12_000, 12_000));
    }

    /// Takes nothing until it is let go.
    struct Stuck(mpsc::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error says that nobody holds it any more.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_waits_for_nobody_and_what_is_dropped_is_counted_and_told() {
        let (let_go, stuck) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let sink = Sink::default();
        let telling = move |lines| tell.send(lines).unwrap();
        let (writer, guard) = LogWriter::start_telling(Stuck(stuck, sink.clone()), telling).unwrap();
        let line = [[b'x'; 999].as_slice(), b"\n"].concat();
        // Twice the buffer, and as much as the thread may have taken, and some.
        let lines = 2 * FULL / line.len() + 10_000;
        for _ in 0..lines {
            (&writer).write_all(&line).unwrap();
        }
        let dropped = writer.dropped();
        assert!(dropped > 0);
        assert!(!writer.flush_within(Duration::from_millis(10)));
        drop(let_go);
        assert_eq!(told.recv().unwrap(), dropped);
        drop(guard);
        let written = sink.0.lock().unwrap().len() / line.len();
        assert_eq!(written as u64 + dropped, lines as u64);
    }

    #[test]
    fn the_end_does_not_wait_for_who_does_not_read() {
        let (let_go, stuck) = mpsc::channel();
        let (writer, guard) = LogWriter::start(Stuck(stuck, Sink::default())).unwrap();
        (&writer).write_all(b"a line\n").unwrap();
        let began = Instant::now();
        drop(guard);
        let took = began.elapsed();
        drop(let_go);
        assert!(took < Duration::from_secs(20), "{took:?}");
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted() {
        struct Gone;

        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (writer, guard) = LogWriter::start(Gone).unwrap();
        (&writer).write_all(b"one\n").unwrap();
        (&writer).write_all(b"two\n").unwrap();
        drop(guard);
        assert_eq!(writer.dropped(), 2);
    }
}
