//! Events of tasks as they happen, to a browser that has a session instead of a token: what tells a page that it is to look again.

use std::future::{pending, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::Response;
use baton_http::ApiError;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, Method};

use crate::visit::Visit;

/// Their path, and how much longer than others its request may take until it is answered.
pub(crate) const SLOW: (&str, Duration) = ("/ui/events", Duration::from_secs(60));

/// What a browser names the last event that it has had by.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The route's own events, for as long as the session lasts: one that has signed out hears no more, though its token may be good.
pub(crate) async fn hear(
    mut visit: Visit,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(last) = headers.get(&LAST_EVENT_ID) {
        visit.headers.insert(LAST_EVENT_ID, last.clone());
    }
    let path = query.map_or_else(|| "/v1/events".to_owned(), |query| format!("/v1/events?{query}"));
    let answer = visit.send(Method::GET, &path, Body::empty()).await?;
    let (head, body) = answer.into_parts();
    let stop = visit.ui.source.stop();
    let stopped = async move {
        match stop {
            Some(stop) => stop.wait().await,
            None => pending().await,
        }
    };
    let goes_on = move || {
        let now = visit.ui.clock.now();
        visit.session.as_ref().is_none_or(|id| visit.ui.sessions.find(id, now).is_some())
    };
    // Something comes every ten seconds at least.
    let told = body.into_data_stream().take_while(move |_| ready(goes_on())).take_until(stopped);
    Ok(Response::from_parts(head, Body::from_stream(told)))
}
