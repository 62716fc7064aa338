//! What is under way on a connection, so that one on which nothing is does not keep its place for ever.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::grpc::Answer;

/// How many requests of a connection are under way, until their answers have been sent. Copies are of the same connection.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<watch::Sender<usize>>);

impl UnderWay {
    /// Counts a request for as long as the answer lives.
    pub(crate) fn begin(&self) -> Begun {
        self.0.send_modify(|many| *many += 1);
        Begun(self.clone())
    }

    /// Waits until nothing has been under way for so long.
    pub(crate) async fn none_for(&self, span: Duration) {
        let mut many = self.0.subscribe();
        loop {
            // The sender lives as long as `self`, so waiting cannot fail.
            let _ = many.wait_for(|many| *many == 0).await;
            if timeout(span, many.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is under way.
pub(crate) struct Begun(UnderWay);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.send_modify(|many| *many = many.saturating_sub(1));
    }
}

/// An answer, with the request that is under way until it has been sent.
pub(crate) struct Sent {
    answer: Answer,
    _begun: Begun,
}

impl Sent {
    pub(crate) fn new(answer: Answer, begun: Begun) -> Self {
        Self { answer, _begun: begun }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.answer).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_stream_is_not_silent_and_each_request_begins_the_span_anew() {
        let under_way = UnderWay::default();
        let stream = under_way.begin();
        assert!(timeout(SPAN * 10, under_way.none_for(SPAN)).await.is_err(), "somebody listens");
        drop(stream);
        let (since, asks) = (Instant::now(), under_way.clone());
        let asks = tokio::spawn(async move {
            sleep(SPAN / 2).await;
            drop(asks.begin());
        });
        under_way.none_for(SPAN).await;
        let lasted = since.elapsed();
        assert!(lasted >= SPAN / 2 * 3 && lasted < SPAN * 2, "{lasted:?}");
        asks.await.unwrap();
    }
}
