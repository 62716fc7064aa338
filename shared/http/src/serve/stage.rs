//! What a connection is at. Its stream, its requests and the loop that accepts connections tell each other by this.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Where a connection is between one request and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum At {
    /// It was accepted, and nothing has come.
    New,
    /// Its last answer is taken, and nothing of another request has come.
    Silent,
    /// A part of a request's head has come.
    Head,
    /// A request is being done whose body is still on its way.
    Arriving,
    /// A request that has come whole is being done.
    Working,
    /// An answer is being taken.
    Answering,
    /// It speaks another protocol, whose pauses are the business of who speaks it.
    Switched,
}

impl At {
    const ALL: [Self; 7] =
        [Self::New, Self::Silent, Self::Head, Self::Arriving, Self::Working, Self::Answering, Self::Switched];
}

/// What one connection is at.
#[derive(Debug)]
pub(super) struct Stage {
    at: AtomicU8,
    /// When it came there, in milliseconds after `began`.
    since: AtomicU64,
    /// When a part of a body came, or of an answer was taken that had to wait for it, in milliseconds after `began`.
    moved: AtomicU64,
    began: Instant,
    /// Whether bytes came that belong to the next request, as this one had come whole.
    early: AtomicBool,
    /// Whether the whole answer has been handed to the HTTP library.
    handed: AtomicBool,
    unwanted: Notify,
    /// Whether its place goes to another.
    given_up: AtomicBool,
}

// One task does all of it but for the looks of the accepting loop, which may be a moment late: nothing is ordered by these.
const ORDER: Ordering = Ordering::Relaxed;

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            at: AtomicU8::new(At::New as u8),
            since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            began: Instant::now(),
            early: AtomicBool::new(false),
            handed: AtomicBool::new(false),
            unwanted: Notify::new(),
            given_up: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn at(&self) -> At {
        At::ALL[usize::from(self.at.load(ORDER))]
    }

    fn go(&self, at: At) {
        self.since.store(self.now(), ORDER);
        self.at.store(at as u8, ORDER);
    }

    /// When it came to where it is.
    pub(super) fn since(&self) -> Instant {
        self.began + Duration::from_millis(self.since.load(ORDER))
    }

    /// Bytes have come.
    pub(super) fn heard(&self) {
        match self.at() {
            At::New | At::Silent => self.go(At::Head),
            At::Working | At::Answering => self.early.store(true, ORDER),
            At::Arriving => self.moved(),
            At::Head | At::Switched => {}
        }
    }

    /// A part of a body has come, or of an answer was taken.
    pub(super) fn moved(&self) {
        self.moved.store(self.now(), ORDER);
    }

    /// A request is to be done, with its whole body or the first of it.
    pub(super) fn asked(&self, whole: bool) {
        self.early.store(false, ORDER);
        self.handed.store(false, ORDER);
        self.go(if whole { At::Working } else { At::Arriving });
    }

    /// The request has come whole.
    pub(super) fn whole(&self) {
        if self.at() == At::Arriving {
            self.go(At::Working);
        }
    }

    /// There is an answer.
    pub(super) fn answered(&self) {
        self.go(At::Answering);
    }

    /// The answer says that the connection speaks another protocol from now on.
    pub(super) fn switched(&self) {
        self.go(At::Switched);
    }

    /// The HTTP library has the whole answer.
    pub(super) fn handed(&self) {
        self.handed.store(true, ORDER);
    }

    /// All that the HTTP library had is written.
    pub(super) fn flushed(&self) {
        if self.at() == At::Answering && self.handed.load(ORDER) {
            self.go(if self.early.load(ORDER) { At::Head } else { At::Silent });
        }
    }

    /// Whether it is between two requests, as far as is known: what came together with the end of a request's body shows
    /// only once more comes.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.at(), At::New | At::Silent)
    }

    /// For how long nothing has come of a request, or gone of its answer, that the caller is to send or to take; none
    /// while the server is at work, or once the connection's place has been given to another. A head counts from its first
    /// byte: it is small, and who sends it byte by byte is no better than who sends none.
    pub(super) fn stuck_for(&self) -> Option<Duration> {
        let since = self.since.load(ORDER);
        let from = match self.at() {
            At::Head => since,
            At::Arriving | At::Answering => since.max(self.moved.load(ORDER)),
            At::New | At::Silent | At::Working | At::Switched => return None,
        };
        (!self.is_given_up()).then(|| Duration::from_millis(self.now().saturating_sub(from)))
    }

    /// Asks the connection to close if it is still silent or stuck.
    pub(super) fn make_room(&self) {
        self.unwanted.notify_one();
    }

    /// What it waits for is waited for no longer.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, ORDER);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(ORDER)
    }

    /// Waits until it is asked to close.
    pub(super) async fn unwanted(&self) {
        self.unwanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_from_request_to_request() {
        let stage = Stage::new();
        assert!(stage.at() == At::New && stage.is_silent());
        stage.heard();
        assert_eq!(stage.at(), At::Head);
        stage.asked(false);
        stage.heard();
        assert_eq!(stage.at(), At::Arriving);
        stage.whole();
        assert_eq!(stage.at(), At::Working);
        stage.answered();
        stage.flushed();
        assert_eq!(stage.at(), At::Answering, "there is more of it");
        stage.handed();
        stage.flushed();
        assert!(stage.at() == At::Silent && stage.is_silent());
    }

    #[test]
    fn a_connection_is_stuck_while_its_caller_keeps_it_waiting_and_not_while_the_server_works() {
        let stage = Stage::new();
        assert!(stage.stuck_for().is_none(), "silent");
        stage.heard();
        assert!(stage.stuck_for().is_some(), "half a head");
        stage.asked(false);
        assert!(stage.stuck_for().is_some(), "half a body");
        stage.whole();
        assert!(stage.stuck_for().is_none(), "at work");
        stage.answered();
        assert!(stage.stuck_for().is_some(), "an answer");
        stage.give_up();
        assert!(stage.stuck_for().is_none(), "asked once");
    }

    #[test]
    fn what_comes_while_an_answer_is_taken_begins_the_next_request() {
        let stage = Stage::new();
        stage.asked(true);
        stage.answered();
        stage.heard();
        stage.handed();
        stage.flushed();
        assert_eq!(stage.at(), At::Head);
    }
}
