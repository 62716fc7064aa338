//! `GET /api/v1/tasks/{id}/logs`: a task's history as server-sent events, until it is over.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use baton_api::task::EventView;
use baton_http::App;
use baton_model::{State, TaskId, limits};
use baton_store::{Cursor, PageRequest};
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::answer::{Answer, Ask};
use crate::one;

/// How long until it is looked again whether more has happened.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many looks without news until a comment keeps the connection alive.
const COMMENT_EVERY: u32 = 30;

struct Follow {
    app: App,
    task: TaskId,
    after: Option<Cursor>,
    /// The number of the last event that was told.
    told: u32,
    quiet: u32,
    is_over: bool,
}

pub(crate) async fn stream(ask: &Ask<'_>, request: Request) -> Answer {
    let task = one::found(ask, one::named(&request)).await?.task.head.id;
    let follow = Follow { app: ask.app.clone(), task, after: None, told: 0, quiet: 0, is_over: false };
    let parts = stream::unfold(follow, |mut follow| async move {
        let part = follow.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), follow))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

impl Follow {
    /// The next piece of the stream; none at its end: the task is over, gone, or the server stops.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.is_over {
                return None;
            }
            let page = PageRequest { after: self.after.clone(), ..PageRequest::first(limits::PAGE) };
            let found = self.app.store.history(self.task, page).await.ok()?;
            let mut text = String::new();
            let told = self.told;
            for event in found.items.into_iter().filter(|event| event.seq > told) {
                self.told = event.seq;
                self.is_over = matches!(event.to, State::Completed | State::Failed | State::Cancelled);
                let event = serde_json::to_string(&EventView::from(event)).ok()?;
                text.push_str(&format!("data: {event}\n\n"));
            }
            if let Some(next) = found.next {
                self.after = Some(next);
            }
            if !text.is_empty() {
                self.quiet = 0;
                return Some(text);
            }
            if self.app.shutdown.begun() {
                return None;
            }
            tokio::select! {
                () = self.app.shutdown.wait() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.quiet += 1;
            if self.quiet.is_multiple_of(COMMENT_EVERY) {
                return Some(": still here\n\n".to_owned());
            }
        }
    }
}
