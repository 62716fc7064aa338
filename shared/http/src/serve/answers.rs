//! Answers on their way: how much memory all of them may hold together, until their callers have taken them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use baton_api::ProblemCode;
use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::stage::Stage;
use crate::dialect::Asked;
use crate::envelope::tell;
use crate::error::ApiError;
use crate::request_id::REQUEST_ID;

/// Smaller answers are not counted: most are, and a connection's own buffers hold as much.
const COUNTED: u64 = 16 * 1024;

/// What an answer holds that is read in parts: one of them, and what the HTTP library keeps to be written (about 400 KiB).
const IN_PARTS: usize = 512 * 1024;

/// The bytes of all answers that are not taken yet.
#[derive(Debug)]
pub(super) struct Answers {
    held: AtomicUsize,
    most: usize,
}

/// A part of those bytes, as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    of: Arc<Answers>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Answers {
    /// Answers of up to `most` bytes in all.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), most })
    }

    /// Whether there is no room for another large answer.
    pub(super) fn are_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.most
    }

    /// Counts an answer in. One alone may be as large as it is, as it could never be given otherwise.
    fn hold(self: &Arc<Self>, bytes: usize, beyond: bool) -> Option<Held> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { of: Arc::clone(self), bytes };
        (beyond || before == 0 || before.saturating_add(bytes) <= self.most).then_some(held)
    }

    /// Lets an answer go out if there is room for it. Only what was asked and changed nothing is refused for want of
    /// room: a change is made, and its caller is to hear of it.
    pub(super) fn admit(
        self: &Arc<Self>,
        response: Response,
        changes: bool,
        asked: Option<&Asked>,
    ) -> (Response, Hold) {
        // How many may listen has a bound of its own, and one that takes nothing is broken off: counted as lists are, 256 would
        // fill the room while nothing of theirs waits.
        if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
            return (response, None);
        }
        let bytes = match response.body().size_hint().exact() {
            Some(bytes) if bytes <= COUNTED => return (response, None),
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX / 2),
            None => IN_PARTS,
        };
        match self.hold(bytes, changes) {
            Some(held) => (response, Some(Arc::new(held))),
            None => (instead_of(&response, asked), None),
        }
    }
}

/// What to answer where there is no room for more.
pub(super) fn no_room() -> ApiError {
    ApiError::new(
        ProblemCode::Busy,
        "too many large answers wait for their callers to take them, and nothing was done; try again in a second, or ask \
         for less at once",
    )
}

fn instead_of(response: &Response, asked: Option<&Asked>) -> Response {
    let id = response.headers().get(REQUEST_ID).cloned();
    let mut refusal = tell(no_room(), id.as_ref().and_then(|id| id.to_str().ok()), asked);
    if let Some(id) = id {
        refusal.headers_mut().insert(REQUEST_ID, id);
    }
    refusal
}

/// What an answer holds of the room, if it is counted.
pub(super) type Hold = Option<Arc<Held>>;

/// An answer's body, which says when all of it is handed on. Its room is free once the last piece is written.
#[derive(Debug)]
pub(super) struct Taken {
    body: Body,
    hold: Hold,
    stage: Arc<Stage>,
}

impl Taken {
    pub(super) fn new(body: Body, hold: Hold, stage: Arc<Stage>) -> Self {
        Self { body, hold, stage }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.stage.handed();
    }
}

impl HttpBody for Taken {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let held = |bytes| Piece { bytes, _hold: self.hold.clone() };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer, which the HTTP library drops when it is written.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    _hold: Hold,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'x'; bytes]))
    }

    #[test]
    fn answers_hold_their_room_until_the_last_piece_is_gone() {
        let answers = Answers::new(100_000);
        let (first, hold) = answers.admit(answer(60_000), false, None);
        assert!(first.status().is_success() && !answers.are_full());
        let (refused, none) = answers.admit(answer(60_000), false, None);
        assert_eq!(refused.status(), 503);
        assert!(none.is_none());
        // A change was made, and is told.
        let (told, change) = answers.admit(answer(60_000), true, None);
        assert!(told.status().is_success() && answers.are_full());
        // What is small is always told.
        assert!(answers.admit(answer(1_000), false, None).0.status().is_success());
        let piece = Piece { bytes: Bytes::new(), _hold: hold.clone() };
        drop((hold, change));
        assert_eq!(answers.held.load(Ordering::Relaxed), 60_000);
        drop(piece);
        assert_eq!(answers.held.load(Ordering::Relaxed), 0);
        assert!(answers.admit(answer(900_000), false, None).0.status().is_success(), "one alone");
    }
}
