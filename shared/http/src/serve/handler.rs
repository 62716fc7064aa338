//! The requests of one connection: handed to the envelope, and their answers to the HTTP library.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::Service;

use super::answers::{Taken, admit};
use super::stage::{At, Stage};
use crate::body::waits_for_continue;
use crate::dialect::Asked;
use crate::envelope::Envelope;
use crate::room::Room;

/// A request's body as it comes, which says when it has come whole.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    stage: Arc<Stage>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.stage.whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Does the requests of one connection.
pub(super) struct Handler<S> {
    pub(super) envelope: Envelope<S>,
    pub(super) stage: Arc<Stage>,
    pub(super) room: Arc<Room>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Handler<S>
where
    S: Service<Request<Arriving>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Taken>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let whole = request.body().is_end_stream();
        self.stage.asked(whole);
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let waits = !whole && waits_for_continue(request.headers());
        let asked = self.envelope.asked(request.uri().path());
        let stage = Arc::clone(&self.stage);
        let answer = self.envelope.clone().call(request.map(|body| Arriving { body, stage }));
        Answering {
            answer,
            stage: Arc::clone(&self.stage),
            room: Arc::clone(&self.room),
            asked,
            changes,
            waits,
        }
    }
}

/// A request that is being done.
pub(super) struct Answering {
    answer: Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>,
    stage: Arc<Stage>,
    room: Arc<Room>,
    /// The dialect that it is answered in.
    asked: Option<Asked>,
    /// Whether the request may change something.
    changes: bool,
    /// Whether its sender waits to be told to send the body.
    waits: bool,
}

impl Future for Answering {
    type Output = Result<Response<Taken>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.answer.as_mut().poll(context)).unwrap_or_else(|never| match never {});
        if self.waits && self.stage.at() == At::Arriving {
            // It was not told to, so that what follows on the connection is a body or the next request: nobody knows
            // (RFC 9110 §10.1.1).
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // The connection is no longer one of HTTP, and has no answers whose room were counted.
            self.stage.switched();
            return Poll::Ready(Ok(response.map(|body| Taken::new(body, None, Arc::clone(&self.stage)))));
        }
        let (response, hold) = admit(&self.room, response, self.changes, self.asked.as_ref());
        self.stage.answered();
        Poll::Ready(Ok(response.map(|body| Taken::new(body, hold, Arc::clone(&self.stage)))))
    }
}
