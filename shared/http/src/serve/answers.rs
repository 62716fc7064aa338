//! Answers on their way, until their callers have taken them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::stage::Stage;
use crate::dialect::Asked;
use crate::envelope::tell;
use crate::request_id::REQUEST_ID;
use crate::room::{COUNTED, Held, Kept, Room, Unchanged, no_room};

/// What an answer holds that is read in parts: one of them, and what the HTTP library keeps to be written (about 400 KiB).
const IN_PARTS: usize = 512 * 1024;

/// Lets an answer go out if there is room for it. Only what was asked and changed nothing is refused for want of room: a change
/// is made, and its caller is to hear of it. Room that was kept for it is given back once it is counted as large as it is.
pub(super) fn admit(
    room: &Arc<Room>,
    mut response: Response,
    changes: bool,
    asked: Option<&Asked>,
) -> (Response, Hold) {
    let kept = response.extensions_mut().remove::<Arc<Kept>>();
    let unchanged = response.extensions_mut().remove::<Unchanged>();
    // How many may listen has a bound of its own, and one that takes nothing is broken off: counted as lists are, 256 would
    // fill the room while nothing of theirs waits.
    if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream") {
        return (response, None);
    }
    let bytes = match response.body().size_hint().exact() {
        Some(bytes) if bytes <= COUNTED as u64 => return (response, None),
        Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX / 2),
        None => IN_PARTS,
    };
    // A GET may change something, too, where a dialect has it so.
    let has_changed = kept.is_some() || (changes && unchanged.is_none());
    match room.hold(bytes, has_changed) {
        Some(held) => (response, Some(Arc::new(held))),
        None => (instead_of(&response, asked), None),
    }
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
        let room = Room::new(100_000);
        let (first, hold) = admit(&room, answer(60_000), false, None);
        assert!(first.status().is_success());
        let (refused, none) = admit(&room, answer(60_000), false, None);
        assert_eq!(refused.status(), 503);
        assert!(none.is_none());
        // A change was made, and is told.
        let (told, change) = admit(&room, answer(60_000), true, None);
        assert!(told.status().is_success() && room.held() == 120_000);
        // What is small is always told.
        assert!(admit(&room, answer(1_000), false, None).0.status().is_success());
        let piece = Piece { bytes: Bytes::new(), _hold: hold.clone() };
        drop((hold, change));
        assert_eq!(room.held(), 60_000);
        drop(piece);
        assert_eq!(room.held(), 0);
        assert!(admit(&room, answer(900_000), false, None).0.status().is_success(), "one alone");
    }

    #[test]
    fn what_changes_nothing_is_refused_whatever_its_method() {
        let room = Room::new(100_000);
        let _full = room.hold(100_000, false);
        let mut read = answer(60_000);
        read.extensions_mut().insert(Unchanged);
        assert_eq!(admit(&room, read, true, None).0.status(), 503);
    }

    #[tokio::test]
    async fn an_answer_that_room_was_kept_for_holds_what_it_comes_to() {
        let room = Room::new(100_000);
        let kept = Arc::new(room.keep(40_000).await.unwrap());
        assert_eq!(room.held(), 40_000);
        let mut told = answer(20_000);
        told.extensions_mut().insert(kept);
        let (told, hold) = admit(&room, told, false, None);
        assert!(told.status().is_success() && hold.is_some());
        assert_eq!(room.held(), 20_000);
        let mut small = answer(10);
        small.extensions_mut().insert(Arc::new(room.keep(40_000).await.unwrap()));
        assert!(admit(&room, small, true, None).1.is_none());
        assert_eq!(room.held(), 20_000, "what is small holds nothing");
    }
}
