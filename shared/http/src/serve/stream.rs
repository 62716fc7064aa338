//! The bytes of one connection, with a watch on how they come and go: a head that does not come to its end, a connection
//! that says nothing, and an answer that nobody takes are given up.
//!
//! Why not the HTTP library's own limit for heads: it counts from the end of the last answer, so that it is either too short
//! for a connection that is kept for later, or too long for one that holds back half a head. It has none for answers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::library::{self, Unread};
use super::stage::{At, Stage};
use crate::request_id::RequestIds;

/// What an answer must be taken at in the long run, in bytes a second: a slow line of 128 kbit/s.
const RATE: f64 = 16.0 * 1024.0;

/// The end of a head that is none. The library is given it for what does not come: it gives the head up and answers, and what
/// it answers is replaced by what says why.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";

/// How long and how much is read from who was refused, so that the refusal is read before the connection breaks.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 << 20;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last; from the start of a connection to its first head.
    pub(super) head: Duration,
    /// Between an answer and the next request.
    pub(super) silence: Duration,
    /// For an answer to be taken, while nothing of it is; a steady taker has as long as it needs.
    pub(super) answer: Duration,
}

/// A connection's bytes.
pub(super) struct Stream {
    stream: TcpStream,
    /// Its place among those that may be open, which it holds as long as it lives, whatever it speaks.
    _place: OwnedSemaphorePermit,
    stage: Arc<Stage>,
    patience: Patience,
    ids: Arc<RequestIds>,
    reading: Timer,
    writing: Timer,
    /// When the answer that is being taken is given up; none while nothing waits.
    due: Option<Instant>,
    /// Whether all that was written is gone, so that what comes next begins a message.
    clean: bool,
    unread: Unread,
    /// What is written instead of the library's answer, and how much of it is gone.
    own: Option<(Vec<u8>, usize)>,
    /// How much may still be read from who was refused, and until when.
    linger: Option<(usize, Instant)>,
}

impl Stream {
    pub(super) fn new(
        (stream, place): (TcpStream, OwnedSemaphorePermit),
        stage: Arc<Stage>,
        patience: Patience,
        ids: Arc<RequestIds>,
    ) -> Self {
        Self {
            stream,
            _place: place,
            stage,
            patience,
            ids,
            reading: Timer::default(),
            writing: Timer::default(),
            due: None,
            clean: true,
            unread: Unread::default(),
            own: None,
            linger: None,
        }
    }

    /// When to give up waiting for bytes; never while a request is being done, which has a time of its own.
    fn reading_due(&self) -> Option<Instant> {
        let patience = match self.stage.at() {
            At::New | At::Head => self.patience.head,
            At::Silent => self.patience.silence,
            At::Arriving | At::Working | At::Answering | At::Switched => return None,
        };
        Some(self.stage.since() + patience)
    }

    /// What of a head has come, for the answer if it cannot be read.
    fn heard(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.stage.at() != At::Head {
            self.unread = Unread::default();
        }
        self.stage.heard();
        self.unread.line |= bytes.contains(&b'\n');
    }

    /// The bytes of an answer have gone out: who takes it steadily has as long as it needs.
    fn taken(&mut self, bytes: usize) {
        if let Some(due) = &mut self.due {
            let earned = Duration::from_secs_f64(bytes as f64 / RATE);
            *due = (*due + earned).min(Instant::now() + self.patience.answer);
            self.stage.moved();
        }
    }

    /// The answer cannot go out now: says when that is given up.
    fn stuck<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.patience.answer);
        if !self.stage.is_given_up() {
            ready!(self.writing.poll(context, due));
        }
        tracing::debug!("an answer was not taken in time; breaking off");
        // What the kernel still holds of it goes, too.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes what takes the place of the library's answer.
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, gone)) = &mut self.own {
            if *gone == bytes.len() {
                self.own = None;
                break;
            }
            match Pin::new(&mut self.stream).poll_write(context, &bytes[*gone..]) {
                Poll::Ready(written) => *gone += written?,
                Poll::Pending => return self.stuck(context),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the library's answer out of what it writes; says whether it was one.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        // An answer to a request that was read comes while that is done, and after it the buffers are empty once.
        let by_library = self.clean && matches!(self.stage.at(), At::New | At::Silent | At::Head);
        if !by_library {
            return false;
        }
        let Some(own) = library::instead_of(bytes, self.unread, &self.ids.of(None)) else { return false };
        self.own = Some((own, 0));
        self.linger = Some((LINGER_BYTES, Instant::now() + LINGER));
        true
    }

    /// Writes by `write`, with a watch on how it goes.
    fn poll_watched(
        &mut self,
        context: &mut Context<'_>,
        first: &[u8],
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_own(context))?;
        if self.replace(first) {
            return Poll::Ready(Ok(first.len()));
        }
        self.clean = false;
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(written) => {
                self.taken(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => self.stuck(context),
        }
    }

    /// Reads away what still comes from who was refused, to a bound: a connection that is closed on unread bytes is reset,
    /// and its client may never see the answer.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while let Some((left, until)) = &mut self.linger {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && buffer.filled().len() < *left => {
                    *left -= buffer.filled().len();
                }
                Poll::Ready(_) => self.linger = None,
                Poll::Pending => {
                    let until = *until;
                    ready!(self.reading.poll(context, until));
                    self.linger = None;
                }
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(read) => {
                self.heard(&buffer.filled()[before..]);
                Poll::Ready(read)
            }
            Poll::Pending => {
                let half = matches!(self.stage.at(), At::Head | At::Arriving);
                // Of a request that is being done nothing may seem to end.
                if !(half && self.stage.is_given_up()) {
                    let Some(due) = self.reading_due() else { return Poll::Pending };
                    ready!(self.reading.poll(context, due));
                }
                if self.stage.at() == At::Head && buffer.remaining() >= NO_HEAD.len() && !self.unread.late {
                    self.unread.late = true;
                    buffer.put_slice(NO_HEAD);
                }
                // Without a byte it is the end of the connection.
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_watched(context, bytes, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map_or(&[][..], |slice| slice);
        self.poll_watched(context, first, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        // The library flushes when it has written all that it had.
        self.clean = true;
        self.due = None;
        self.stage.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}

/// A timer that is set only where something waits, and set anew only when it has gone off too early: most requests cost it
/// nothing.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once `due` is past.
    fn poll(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<()> {
        let due = tokio::time::Instant::from_std(due);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
